//! The journal's operations: each is begun with a line, sets counters from it, and is idempotent from there on.

use arena::counters::Verdict;
use arena::descriptor::{Fate, FateKind, NONE, Role};
use arena::gateway::{GatewayPage, Line, NO_STREAM, Operation, StreamRow};
use arena::killpoint::{KillPoint, reach};
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

    /// Makes a head of a frame whose segments are attached, and counts it as received.
    #[inline]
    pub(crate) fn admit(&self, arena: &Arena, head: &Held, now_ns: u64) {
        let d = arena.table().of(head);
        let value = self.page.received.load(Ordering::Relaxed) + 1;
        let (index, seq) = (head.index(), d.owner().seq);
        let line = Line { operation: Operation::Admit, index, seq, cell: 0, value, extra: NO_STREAM, finished: 0 };
        arena.extensions()[index as usize].set_moment(Moment::Admitted, now_ns);
        self.page.journal.begin(line);
        reach(KillPoint::Admitting);
        self.page.set(&line);
        d.set_role(Role::Head);
        self.end();
    }

    /// Completes an admission that a predecessor began.
    pub(crate) fn repeat_admit(&self, arena: &Arena, line: &Line) {
        self.page.set(line);
        if let Some(d) = arena.table().get(line.index).filter(|_| line.index < arena.geometry().buffers)
            && d.role() == Role::Assembling
        {
            d.set_role(Role::Head);
        }
        self.end();
    }

    /// Counts a frame by its fate and begins to take it apart.
    #[inline]
    pub(crate) fn begin_dissolve(&self, arena: &Arena, head: &Held, row: Option<(u32, &StreamRow)>) -> Line {
        let d = arena.table().of(head);
        // A head without a fate cannot come home; if its word was overwritten it is counted as dropped, not lost.
        let lost = Fate { kind: FateKind::Dropped, reason: wire::DropReason::Other.code() };
        let cell = d.fate().unwrap_or(lost).cell() as u32;
        let value = self.page.cells[cell as usize].load(Ordering::Relaxed) + 1;
        let (extra, finished) = row.map_or((NO_STREAM, 0), |(n, r)| (n, r.finished.load(Ordering::Relaxed)));
        let (index, seq) = (head.index(), d.owner().seq);
        let line = Line { operation: Operation::Dissolve, index, seq, cell, value, extra, finished };
        self.page.journal.begin(line);
        self.page.set(&line);
        line
    }
}

/// The rest of a dissolving: history, slot, segments, head. Every step may be repeated.
pub(crate) fn take_apart(
    arena: &Arena,
    me: Me,
    line: &Line,
    head: Held,
    slots: &mut [Outlet],
    free: &mut Vec<Held>,
) -> Result<(), Stop> {
    let table = arena.table();
    let frame = arena.extensions()[head.index() as usize].meta().frame;
    if let Some(row) = arena.streams().get(line.extra as usize) {
        row.record_finished(line.finished, frame);
    }
    reach(KillPoint::Counted);
    if let Some(slot) = table.detach_slot(&head, me) {
        send_slot(arena, slot, slots)?;
    }
    reach(KillPoint::Dissolving);
    let d = table.of(&head);
    // Bounded: a table that runs in a circle must not keep every successor here for ever.
    let (mut next, mut left) =
        (d.next.load(Ordering::Relaxed), d.segments.load(Ordering::Relaxed).min(table.buffers()));
    while left > 0 && next != NONE {
        let Some(segment) = table.get(next).filter(|_| next < table.buffers()) else { break };
        let after = segment.next.load(Ordering::Relaxed);
        if let Some(held) = table.detach_segment(&head, next, me) {
            free.push(held);
        }
        (next, left) = (after, left - 1);
    }
    d.set_role(Role::Free);
    free.push(head);
    Ok(())
}

/// A free slot goes to the preprocess instance that it belongs to.
pub(crate) fn send_slot(arena: &Arena, slot: Held, slots: &mut [Outlet]) -> Result<(), Stop> {
    let n = (slot.index() - arena.geometry().buffers) as usize % slots.len();
    slots[n].push_roomy(slot)
}
