//! What each rx-gateway keeps in the arena: its ledger, the journal line that makes it crash-safe, packet counts, streams.
//!
//! Counters are *set* from the journal's line, never incremented twice: a successor repeats the line, and every step of
//! the operations it names is idempotent.
//!
//! ```text
//! begin(line)           fields, then `commit` (release)   a death before this: nothing happened
//! counter := line.value                                    a death from here on: the successor repeats all steps
//! ...steps...
//! end()                 commit := 0
//! ```

use crate::descriptor::Fate;
use crate::seeded::{Bug, planted};
use crate::sync::{AtomicU64, Ordering};

/// Packet verdicts counted.
pub const VERDICTS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 64 };
/// Counters of the access list: one for each rule, and the last one for its policy.
pub const ACL_CELLS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 513 };
/// Finished frame ids kept per stream.
pub const HISTORY: usize = if cfg!(any(loom, shuttle)) { 1 } else { 64 };

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

/// The operations that the journal makes atomic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Operation {
    /// A complete frame becomes a head: `received := value`.
    Admit = 1,
    /// A frame that came home is counted by its fate and dissolved: `cells[cell] := value`.
    Dissolve = 2,
    /// A packet is counted by its verdict: `packets[cell] := value`.
    Packet = 3,
}

/// One line of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// What is being done.
    pub operation: Operation,
    /// Head (or buffer) index.
    pub index: u32,
    /// Sequence number of its owner word when the line was written.
    pub seq: u32,
    /// Which counter.
    pub cell: u32,
    /// Its value afterwards.
    pub value: u64,
    /// Dissolve: stream row, [`NO_STREAM`] for none. Packet: position in the socket's vector.
    pub extra: u32,
    /// Dissolve: how many finished frames the stream has had before this one.
    pub finished: u64,
}

/// "No stream row".
pub const NO_STREAM: u32 = u32::MAX;

/// The journal: one line, since rx-gateway does one thing at a time.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Journal {
    pub(crate) commit: AtomicU64,
    pub(crate) index_seq: AtomicU64,
    pub(crate) cell_extra: AtomicU64,
    pub(crate) value: AtomicU64,
    pub(crate) finished: AtomicU64,
}

impl Journal {
    fn new() -> Self {
        let [commit, index_seq, cell_extra, value, finished] = zeros();
        Self { commit, index_seq, cell_extra, value, finished }
    }

    /// Writes a line; from its last store on the operation will be completed, by this process or by its successor.
    #[inline]
    pub fn begin(&self, line: Line) {
        self.commit.store(0, Ordering::Release);
        if planted(Bug::JournalCommitFirst) {
            self.commit.store(line.operation as u64, Ordering::Release);
        }
        self.index_seq.store(u64::from(line.index) << 32 | u64::from(line.seq), Ordering::Release);
        self.cell_extra.store(u64::from(line.cell) << 32 | u64::from(line.extra), Ordering::Release);
        self.value.store(line.value, Ordering::Release);
        self.finished.store(line.finished, Ordering::Release);
        self.commit.store(line.operation as u64, Ordering::Release);
    }

    /// The operation is complete.
    #[inline]
    pub fn end(&self) {
        self.commit.store(0, Ordering::Release);
    }

    /// The line of an operation that has begun and not ended.
    pub fn pending(&self) -> Option<Line> {
        let operation = match self.commit.load(Ordering::Acquire) {
            1 => Operation::Admit,
            2 => Operation::Dissolve,
            3 => Operation::Packet,
            _ => return None,
        };
        let (index_seq, cell_extra) = (self.index_seq.load(Ordering::Relaxed), self.cell_extra.load(Ordering::Relaxed));
        Some(Line {
            operation,
            index: (index_seq >> 32) as u32,
            seq: index_seq as u32,
            cell: (cell_extra >> 32) as u32,
            extra: cell_extra as u32,
            value: self.value.load(Ordering::Relaxed),
            finished: self.finished.load(Ordering::Relaxed),
        })
    }
}

/// One (peer, stream, session) and the frames it has finished.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct StreamRow {
    /// 0 = unused; stored last when a row is filled.
    pub used: AtomicU64,
    /// Peer address, see [`crate::meta::Address`].
    pub peer: [AtomicU64; 3],
    /// Stream id.
    pub stream: AtomicU64,
    /// Sender's session.
    pub session: AtomicU64,
    /// CLOCK_MONOTONIC of its last packet.
    pub last_seen_ns: AtomicU64,
    /// Frames finished; the last [`HISTORY`] ids are kept.
    pub finished: AtomicU64,
    /// Their ids; frame number n lies at n mod [`HISTORY`].
    pub ids: [AtomicU64; HISTORY],
}

/// An unused row in ordinary memory, for models and tests.
impl Default for StreamRow {
    fn default() -> Self {
        let [used, stream, session, last_seen_ns, finished] = zeros();
        Self { used, peer: zeros(), stream, session, last_seen_ns, finished, ids: zeros() }
    }
}

impl StreamRow {
    /// Whether frame `id` is among the last finished ones.
    #[inline]
    pub fn has_finished(&self, id: u64) -> bool {
        let n = self.finished.load(Ordering::Relaxed).min(HISTORY as u64) as usize;
        self.ids[..n].iter().any(|i| i.load(Ordering::Relaxed) == id)
    }

    /// Records that `id` is the frame that finished after `before` others; repeating it changes nothing.
    #[inline]
    pub fn record_finished(&self, before: u64, id: u64) {
        self.ids[before as usize % HISTORY].store(id, Ordering::Relaxed);
        self.finished.store(before + 1, Ordering::Release);
    }
}

/// The ledger and the journal; the stream rows follow in memory.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct GatewayPage {
    /// The journal.
    pub journal: Journal,
    /// Frames admitted since the arena was created.
    pub received: AtomicU64,
    /// Frames finished, by fate ([`Fate::cell`]).
    pub cells: [AtomicU64; Fate::CELLS],
    /// Packets by verdict; the numbers are rx-gateway's.
    pub packets: [AtomicU64; VERDICTS],
    /// Packets that each rule of the access list decided in this stage; the last cell is the policy's.
    pub acl_hits: [AtomicU64; ACL_CELLS],
}

/// A fresh page in ordinary memory, for models and tests.
impl Default for GatewayPage {
    fn default() -> Self {
        let [received] = zeros();
        Self { journal: Journal::new(), received, cells: zeros(), packets: zeros(), acl_hits: zeros() }
    }
}

impl GatewayPage {
    /// Frames finished, all fates.
    pub fn finished(&self) -> u64 {
        self.cells.iter().fold(0, |sum, c| sum.wrapping_add(c.load(Ordering::Acquire)))
    }

    /// Sets the counter that `line` names.
    #[inline]
    pub fn set(&self, line: &Line) {
        let counter = match line.operation {
            Operation::Admit => Some(&self.received),
            Operation::Dissolve => self.cells.get(line.cell as usize),
            Operation::Packet => self.packets.get(line.cell as usize),
        };
        if let Some(counter) = counter {
            let again = planted(Bug::JournalAdds).then(|| counter.load(Ordering::Relaxed) + 1);
            counter.store(again.unwrap_or(line.value), Ordering::Release);
        }
    }
}
