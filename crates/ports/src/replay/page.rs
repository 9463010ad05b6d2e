//! The cursors, in memory that outlives the stages. What a page says is an allegation: a wrong number reads as nothing, or as
//! the end of the file.

#![allow(clippy::disallowed_types, reason = "the words of this driver's own pages, from `arena::sync`")]

use super::{BURST, SLOTS};
use arena::descriptor::DataRange;
use arena::sync::{AtomicU64, Ordering};

/// A packet that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its number, from 0.
    pub number: u64,
    /// The buffer that it lies in, and the sequence number of that buffer's word.
    pub index: u32,
    pub seq: u32,
    /// Where the frame lies there.
    pub at: DataRange,
    /// Offset of the record behind it, bytes.
    pub next: u64,
    /// What had been passed over before it: frames for others, and frames too long for a buffer.
    pub skipped: u64,
    pub dropped: u64,
    /// It stands in the arena's words.
    pub recorded: bool,
}

/// An [`Entry`]. `state` is `number + 1 : 63 | recorded : 1`; 0 while the rest is being written.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct RxSlot {
    state: AtomicU64,
    next: AtomicU64,
    name: AtomicU64,
    at: AtomicU64,
    skipped: AtomicU64,
    dropped: AtomicU64,
}

impl RxSlot {
    /// What stands in slot `slot`.
    pub fn get(&self, slot: usize) -> Option<Entry> {
        let state = self.state.load(Ordering::Acquire);
        let number = (state >> 1).checked_sub(1).filter(|n| *n as usize % SLOTS == slot)?;
        let (name, at) = (self.name.load(Ordering::Relaxed), self.at.load(Ordering::Relaxed));
        Some(Entry {
            number,
            index: (name >> 32) as u32,
            seq: name as u32,
            at: DataRange { offset: (at >> 16) as u16, len: at as u16 },
            next: self.next.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            recorded: state & 1 != 0,
        })
    }

    /// Writes an entry that is not recorded. A death in between leaves the slot empty, and what stood there was recorded.
    pub fn set(&self, entry: &Entry) {
        self.state.store(0, Ordering::Release);
        self.next.store(entry.next, Ordering::Relaxed);
        self.name.store(u64::from(entry.index) << 32 | u64::from(entry.seq), Ordering::Relaxed);
        self.at.store(u64::from(entry.at.offset) << 16 | u64::from(entry.at.len), Ordering::Relaxed);
        self.skipped.store(entry.skipped, Ordering::Relaxed);
        self.dropped.store(entry.dropped, Ordering::Relaxed);
        self.state.store((entry.number + 1) << 1, Ordering::Release);
    }

    /// Marks the packet at `position` (the low half of its number) as recorded; says whether it was not before.
    pub fn record(&self, position: u32) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        let is_it = state & 1 == 0 && (state >> 1).checked_sub(1).is_some_and(|n| n as u32 == position);
        if is_it {
            self.state.store(state | 1, Ordering::Release);
        }
        is_it
    }
}

/// rx-gateway's page; the supervisor and tx read it.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct RxPage {
    first_ns: AtomicU64,
    /// 0 before the first packet was seen; stored after `first_ns`.
    began_ns: AtomicU64,
    ended: AtomicU64,
    /// Offset + 1 at which the input makes no sense any more.
    damaged: AtomicU64,
    skipped: AtomicU64,
    dropped: AtomicU64,
    slots: [RxSlot; SLOTS],
}

impl RxPage {
    /// Time of the first packet in the file (UNIX) and when its replay began (CLOCK_MONOTONIC), nanoseconds.
    pub fn began(&self) -> Option<(u64, u64)> {
        let began_ns = self.began_ns.load(Ordering::Acquire);
        (began_ns != 0).then(|| (self.first_ns.load(Ordering::Relaxed), began_ns))
    }

    pub fn begin(&self, first_ns: u64, began_ns: u64) {
        self.first_ns.store(first_ns, Ordering::Relaxed);
        self.began_ns.store(began_ns.max(1), Ordering::Release);
    }

    pub fn slot(&self, number: u64) -> &RxSlot {
        &self.slots[number as usize % SLOTS]
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.slots.iter().enumerate().filter_map(|(n, slot)| slot.get(n))
    }

    /// Frames for others, and frames too long for a buffer.
    pub fn set_passed_over(&self, skipped: u64, dropped: u64) {
        self.skipped.store(skipped, Ordering::Relaxed);
        self.dropped.store(dropped, Ordering::Relaxed);
    }

    pub fn passed_over(&self) -> (u64, u64) {
        (self.skipped.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }

    /// The input makes no sense from this offset on.
    pub fn set_damaged(&self, offset: u64) {
        self.damaged.store(offset + 1, Ordering::Release);
    }

    pub fn damaged(&self) -> Option<u64> {
        self.damaged.load(Ordering::Acquire).checked_sub(1)
    }

    /// Nothing more will be read.
    pub fn end(&self) {
        self.ended.store(1, Ordering::Release);
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire) != 0
    }
}

/// A head whose last datagram is in the file once `committed` is behind `end`.
#[repr(C)]
#[derive(Debug)]
struct TxSlot {
    /// `head:32 | seq:32`.
    name: AtomicU64,
    /// Offset behind its record; 0: nothing stands here.
    end: AtomicU64,
}

/// tx's page; the supervisor reads it.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct TxPage {
    committed: AtomicU64,
    slots: [TxSlot; BURST],
}

impl TxPage {
    /// Offset up to which the output counts.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    pub fn commit(&self, end: u64) {
        self.committed.store(end, Ordering::Release);
    }

    /// Names the head whose last record will end at `end`.
    pub fn post(&self, position: usize, (head, seq): (u32, u32), end: u64) {
        let slot = &self.slots[position];
        slot.name.store(u64::from(head) << 32 | u64::from(seq), Ordering::Relaxed);
        slot.end.store(end, Ordering::Release);
    }

    pub fn clear(&self, position: usize) {
        self.slots[position].end.store(0, Ordering::Release);
    }

    /// Heads and sequence numbers of those whose last record is in the file.
    pub fn sent(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let committed = self.committed();
        let in_file = move |slot: &&TxSlot| (1..=committed).contains(&slot.end.load(Ordering::Acquire));
        self.slots.iter().filter(in_file).map(|slot| {
            let name = slot.name.load(Ordering::Relaxed);
            ((name >> 32) as u32, name as u32)
        })
    }
}
