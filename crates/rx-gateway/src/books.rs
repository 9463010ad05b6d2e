//! The journal's operations: each is begun with a line, sets counters from it, and is idempotent from there on.

use arena::counters::Verdict;
use arena::descriptor::{Fate, FateKind};
use arena::gateway::{GatewayPage, Line, Operation, StreamRow};
use arena::meta::Moment;
use arena::sync::Ordering;
use arena::{Arena, Held, Me};
use stage::{Outlet, Stop};

/// The ledger's writer.
#[derive(Debug)]
pub(crate) struct Books {
    page: &'static GatewayPage,
}

impl Books {
    pub(crate) fn new(page: &'static GatewayPage) -> Self {
        Self { page }
    }

    /// What a predecessor had begun.
    pub(crate) fn pending(&self) -> Option<Line> {
        self.page.journal.pending()
    }

    /// Sets the counter of a line again.
    pub(crate) fn repeat(&self, line: &Line) {
        self.page.set(line);
    }

    pub(crate) fn end(&self) {
        self.page.journal.end();
    }

    /// Counts a packet by its verdict; call [`Books::end`] when what follows from it stands in the words.
    #[inline]
    pub(crate) fn packet(&self, verdict: Verdict, buffer: u32, seq: u32, position: u32) {
        let cell = verdict as u32;
        let value = self.page.packets[cell as usize].load(Ordering::Relaxed) + 1;
        let line = Line { operation: Operation::Packet, index: buffer, seq, cell, value, extra: position, finished: 0 };
        self.page.journal.begin(line);
        self.page.set(&line);
    }

    /// Counts a packet that rule `rule` of the access list decided. A death may lose one count or double it.
    #[inline]
    pub(crate) fn access_hit(&self, rule: usize) {
        self.access_hits(rule, 1);
    }

    /// The same for `count` packets.
    #[inline]
    pub(crate) fn access_hits(&self, rule: usize, count: u64) {
        if let Some(cell) = self.page.acl_hits.get(rule) {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
        }
    }

    /// Another access list: rule `n` of it was rule `was[n]` of the old one, or is new and begins at zero.
    pub(crate) fn renumber_access_list(&self, was: &[Option<usize>]) {
        let cells = &self.page.acl_hits;
        let old: Vec<u64> = cells.iter().map(|cell| cell.load(Ordering::Relaxed)).collect();
        for (n, cell) in cells.iter().enumerate().take(cells.len() - 1) {
            let hits = was.get(n).copied().flatten().and_then(|was| old.get(was).copied());
            cell.store(hits.unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// Makes a head of a frame whose segments are attached, and counts it as received.
    #[inline]
    pub(crate) fn admit(&self, arena: &Arena, head: &Held, now_ns: u64) {
        arena.extensions()[head.index() as usize].set_moment(Moment::Admitted, now_ns);
        self.page.admit(arena.table(), head);
    }

    /// Completes an admission that a predecessor began.
    pub(crate) fn repeat_admit(&self, arena: &Arena, line: &Line) {
        self.page.repeat_admit(arena.table(), line);
    }

    /// Counts a frame by its fate and begins to take it apart.
    #[inline]
    pub(crate) fn begin_dissolve(&self, arena: &Arena, head: &Held, row: Option<(u32, &StreamRow)>) -> Line {
        // A head without a fate cannot come home; if its word was overwritten it is counted as dropped, not lost.
        let lost = Fate { kind: FateKind::Dropped, reason: wire::DropReason::Other.code() };
        self.page.begin_dissolve(arena.table(), head, lost, row)
    }
}

/// The rest of a dissolving: history, slot, segments, head.
pub(crate) fn take_apart(
    arena: &Arena,
    me: Me,
    line: &Line,
    head: Held,
    slots: &mut [Outlet],
    free: &mut Vec<Held>,
) -> Result<(), Stop> {
    // A damaged record leaves no history: the row and the id that it names may be another frame's.
    let row = arena.streams(me.id).get(line.extra as usize);
    let history = row.and_then(|row| arena.frame_meta(head.index()).ok().map(|meta| (row, meta.frame)));
    let send_slot = |slot| send_slot(arena, slot, slots);
    arena::frame::take_apart(arena.table(), me, line, head, history, send_slot, |held| free.push(held))
}

/// Takes apart what came home and is no frame.
pub(crate) fn dismantle(
    arena: &Arena,
    me: Me,
    head: Held,
    slots: &mut [Outlet],
    free: &mut Vec<Held>,
) -> Result<(), Stop> {
    let send_slot = |slot| send_slot(arena, slot, slots);
    arena::frame::dismantle(arena.table(), me, head, send_slot, |held| free.push(held))
}

/// A free slot goes to the preprocess instance that it belongs to.
pub(crate) fn send_slot(arena: &Arena, slot: Held, slots: &mut [Outlet]) -> Result<(), Stop> {
    let n = (slot.index() - arena.geometry().buffers) as usize % slots.len();
    slots[n].push_roomy(slot)
}
