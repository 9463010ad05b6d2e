//! Segments and slots that follow a head, and the frame as its readers see it.
//!
//! Tables (segment list, `descriptor.slot`) are written before the one store that attaches, and can be rebuilt from the
//! words. The sweep never takes attached buffers: they follow their head.

use crate::descriptor::{Descriptor, NONE, Role, Table};
use crate::held::Held;
use crate::killpoint::{KillPoint, reach};
use crate::owner::Me;
use crate::ring::PoisonReason;
use crate::seeded::{Bug, planted};
use crate::sync::Ordering;

impl<'a> Table<'a> {
    /// Attaches a slot in hand to a head in hand. Afterwards the slot travels with the head.
    #[inline]
    pub fn attach_slot(&self, head: &Held, slot: Held) {
        let d = self.of(&slot);
        if planted(Bug::AttachBeforeSlot) {
            d.owner.store(d.owner().attached_to(head.index()).pack(), Ordering::Release);
        }
        self.of(head).slot.store(slot.index(), Ordering::Release);
        reach(KillPoint::SlotNamed);
        d.owner.store(d.owner().attached_to(head.index()).pack(), Ordering::Release);
        slot.release();
        reach(KillPoint::Attached);
    }

    /// Attaches a fragment in hand as a segment of `head`; `next` is the segment after it, or [`NONE`].
    #[inline]
    pub fn attach_segment(&self, head: &Held, segment: Held, next: u32) {
        let d = self.of(&segment);
        d.next.store(next, Ordering::Relaxed);
        d.set_role(Role::Segment);
        d.owner.store(d.owner().attached_to(head.index()).pack(), Ordering::Release);
        segment.release();
        reach(KillPoint::AttachSegments);
    }

    /// The segments of a head, in order, each checked: in range, attached to this head, no more than it says it has.
    pub fn segments(&self, head: u32) -> Segments<'a> {
        let (next, left) = self.get(head).map_or((NONE, 0), |d| {
            (d.next.load(Ordering::Relaxed), d.segments.load(Ordering::Relaxed).min(self.buffers()))
        });
        Segments { table: *self, head, next, left, failed: false }
    }

    /// Detaches the slot of a head that came home; `None` if it has none (any more).
    #[inline]
    pub fn detach_slot(&self, head: &Held, me: Me) -> Option<Held> {
        let slot = self.slot_of(head.index())?;
        self.take(slot, me)
    }

    /// Frees one segment of a head that came home, if it is still attached to it.
    #[inline]
    pub fn detach_segment(&self, head: &Held, segment: u32, me: Me) -> Option<Held> {
        let d = self.get(segment)?;
        if segment >= self.buffers() || !d.owner().is_attached_to(head.index()) {
            return None;
        }
        let early = planted(Bug::WordBeforeRole).then(|| self.take(segment, me)).flatten();
        // The role goes first: a word that says "mine" beside the role of a segment would be an orphan's.
        d.set_role(Role::Free);
        early.or_else(|| self.take(segment, me))
    }
}

/// Iterator over a head's segments; see [`Table::segments`].
#[derive(Debug)]
pub struct Segments<'a> {
    table: Table<'a>,
    head: u32,
    next: u32,
    left: u32,
    failed: bool,
}

impl Segments<'_> {
    /// Whether the list contradicted the words before its end.
    pub fn failed(&self) -> Option<PoisonReason> {
        (self.failed || self.left > 0).then_some(PoisonReason::Segments)
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = (u32, &'a Descriptor);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let index = self.next;
        let d = self.table.get(index).filter(|_| index < self.table.buffers());
        let Some(d) = d.filter(|d| d.owner().is_attached_to(self.head)) else {
            self.failed = true;
            self.left = 0;
            return None;
        };
        self.next = d.next.load(Ordering::Relaxed);
        self.left -= 1;
        Some((index, d))
    }
}
