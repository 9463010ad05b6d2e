//! A frame becomes a head, and a head that came home is taken apart: the operations that only rx-gateway performs, in an
//! order in which each may be interrupted by a death and repeated by the successor.
//!
//! ```text
//! admit      segments attached (last first)   line(Admit)      received := value   role := HEAD        end
//! dissolve   line(Dissolve)   cells := value   history   slot to its ring   segments free   role := FREE   end
//! answer     record   marked   role := HEAD   ...   role := FREE                 not counted, so without a line
//! ```

use crate::descriptor::{Fate, NONE, Role, Table};
use crate::gateway::{GatewayPage, Line, NO_STREAM, Operation, StreamRow};
use crate::held::Held;
use crate::killpoint::{KillPoint, reach};
use crate::owner::Me;
use crate::sync::Ordering;

impl GatewayPage {
    /// Makes a head of a frame whose segments are attached, and counts it as received.
    #[inline]
    pub fn admit(&self, table: Table<'_>, head: &Held) {
        let d = table.of(head);
        let value = self.received.load(Ordering::Relaxed) + 1;
        let (index, seq) = (head.index(), d.owner().seq);
        let line = Line { operation: Operation::Admit, index, seq, cell: 0, value, extra: NO_STREAM, finished: 0 };
        self.journal.begin(line);
        reach(KillPoint::Admitting);
        self.set(&line);
        d.set_role(Role::Head);
        self.journal.end();
    }

    /// Completes an admission that a predecessor began.
    pub fn repeat_admit(&self, table: Table<'_>, line: &Line) {
        self.set(line);
        if let Some(d) = table.get(line.index).filter(|_| line.index < table.buffers())
            && d.role() == Role::Assembling
        {
            d.set_role(Role::Head);
        }
        self.journal.end();
    }

    /// Counts a frame by its fate (`lost` if it has none) and begins to take it apart: [`take_apart`] with the line that this
    /// returns, then [`crate::gateway::Journal::end`]. `row`: the stream's number and row, if its history is kept.
    #[inline]
    pub fn begin_dissolve(&self, table: Table<'_>, head: &Held, lost: Fate, row: Option<(u32, &StreamRow)>) -> Line {
        let d = table.of(head);
        let cell = d.fate().unwrap_or(lost).cell() as u32;
        let value = self.cells[cell as usize].load(Ordering::Relaxed) + 1;
        let (extra, finished) = row.map_or((NO_STREAM, 0), |(n, r)| (n, r.finished.load(Ordering::Relaxed)));
        let (index, seq) = (head.index(), d.owner().seq);
        let line = Line { operation: Operation::Dissolve, index, seq, cell, value, extra, finished };
        self.journal.begin(line);
        self.set(&line);
        line
    }
}

/// Makes a head of a buffer that holds an answer to a neighbour and its record: marked before it is a head, so that nobody ever
/// takes it for a frame's.
#[inline]
pub fn make_answer(table: Table<'_>, held: &Held) {
    let d = table.of(held);
    d.mark_answer();
    reach(KillPoint::Admitting);
    d.set_role(Role::Head);
}

/// The rest of a dissolving: history, slot, segments, head. Every step may be repeated. `row` and `frame`: the stream whose
/// history gets the frame's id; `send_slot` pushes the slot home; `free` takes every buffer that becomes free, the head last.
///
/// # Errors
/// What `send_slot` says.
#[inline]
pub fn take_apart<E>(
    table: Table<'_>,
    me: Me,
    line: &Line,
    head: Held,
    history: Option<(&StreamRow, u64)>,
    send_slot: impl FnOnce(Held) -> Result<(), E>,
    free: impl FnMut(Held),
) -> Result<(), E> {
    if let Some((row, frame)) = history {
        row.record_finished(line.finished, frame);
    }
    reach(KillPoint::Counted);
    dismantle(table, me, head, send_slot, free)
}

/// Takes apart a head that is no frame's ([`crate::descriptor::ANSWER`]): as [`take_apart`], without history. It has neither slot nor
/// segments; if a stray write marked a frame's head so, its are freed all the same. Every step may be repeated.
///
/// # Errors
/// What `send_slot` says.
#[inline]
pub fn dismantle<E>(
    table: Table<'_>,
    me: Me,
    head: Held,
    send_slot: impl FnOnce(Held) -> Result<(), E>,
    mut free: impl FnMut(Held),
) -> Result<(), E> {
    let d = table.of(&head);
    if let Some(slot) = table.detach_slot(&head, me) {
        send_slot(slot)?;
    }
    reach(KillPoint::Dissolving);
    // Bounded: a table that runs in a circle must not keep every successor here for ever.
    let (mut next, mut left) =
        (d.next.load(Ordering::Relaxed), d.segments.load(Ordering::Relaxed).min(table.buffers()));
    while left > 0 && next != NONE {
        let Some(segment) = table.get(next).filter(|_| next < table.buffers()) else { break };
        let after = segment.next.load(Ordering::Relaxed);
        if let Some(held) = table.detach_segment(&head, next, me) {
            free(held);
        }
        (next, left) = (after, left - 1);
    }
    d.set_role(Role::Free);
    free(head);
    Ok(())
}
