//! Where everything is, counted from outside: by words, roles and ring membership, never as a difference.

use crate::arena::Arena;
use crate::descriptor::{Descriptor, Fate, Role, is_attached};
use crate::gateway::GatewayPage;
use crate::owner::OwnerId;
use crate::sync::Ordering;
use std::ops::Range;

/// What an audit found. Exact while nothing moves; in between a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Buffers free with the rx-gateway that they belong to.
    pub free: u32,
    /// Free buffers that a device queue has, to receive into.
    pub with_device: u32,
    /// Buffers of incomplete frames.
    pub assembling: u32,
    /// Heads: frames in flight, and [`Self::answers`].
    pub heads: u32,
    /// Heads that are no frames': answers to neighbours on their way.
    pub answers: u32,
    /// Segments attached to heads.
    pub segments: u32,
    /// Slots in slot rings, or in the hands of their stages.
    pub slots_free: u32,
    /// Slots attached to heads.
    pub slots_attached: u32,
    /// Entries found twice in rings.
    pub doubled: u32,
    /// Buffers that fit no rule: free but not with their rx-gateway, attached to something that is no head.
    pub orphaned_buffers: u32,
    /// Slots that are attached to something that is no head.
    pub orphaned_slots: u32,
}

impl Audit {
    /// Nothing doubled and nothing orphaned.
    pub fn sound(&self) -> bool {
        self.doubled == 0 && self.orphaned_buffers == 0 && self.orphaned_slots == 0
    }
}

/// Whether a buffer is a frame's head.
///
/// The mark is stored before the role and goes after it: looked for on both sides, it is not missed on a head that comes or goes
/// at this moment.
fn is_frame(d: &Descriptor) -> bool {
    let before = d.is_answer();
    d.role() == Role::Head && !before && !d.is_answer()
}

impl Arena {
    /// Counts frames in flight: heads, from the roles.
    pub fn frames_in_flight(&self) -> u64 {
        self.heads_in(0..self.geometry().buffers)
    }

    /// Counts those of one rx-gateway.
    pub fn frames_in_flight_of(&self, gateway: OwnerId) -> u64 {
        self.heads_in(self.geometry().home_range(gateway))
    }

    fn heads_in(&self, range: Range<u32>) -> u64 {
        let buffers = self.table().iter().take(range.end as usize).skip(range.start as usize);
        buffers.filter(|(_, d)| is_frame(d)).count() as u64
    }

    /// Whether there is no frame, complete or not.
    pub fn is_empty_of_frames(&self) -> bool {
        let buffers = self.table().iter().take(self.geometry().buffers as usize);
        buffers.map(|(_, d)| d.role()).all(|role| role == Role::Free)
    }

    /// Accounts for every buffer and slot.
    pub fn audit(&self) -> Audit {
        let table = self.table();
        let mut audit = Audit::default();
        let mut in_ring = vec![0_u8; table.len() as usize];
        for spec in &self.layout().rings {
            self.ring(spec.id).for_each(|index, _| {
                if let Some(n) = in_ring.get_mut(index as usize) {
                    *n = n.saturating_add(1);
                }
            });
        }
        audit.doubled = in_ring.iter().filter(|n| **n > 1).count() as u32;
        for (index, d) in table.iter() {
            let (owner, role) = (d.owner(), d.role());
            let head_ok =
                || table.get(owner.incarnation).is_some_and(|h| matches!(h.role(), Role::Head | Role::Assembling));
            if table.is_slot(index) {
                match (is_attached(owner), table.slot_of(owner.incarnation) == Some(index)) {
                    (true, true) if head_ok() => audit.slots_attached += 1,
                    (true, _) => audit.orphaned_slots += 1,
                    (false, _) => audit.slots_free += 1,
                }
                continue;
            }
            match role {
                Role::Head => {
                    audit.heads += 1;
                    audit.answers += u32::from(d.is_answer());
                }
                Role::Assembling => audit.assembling += 1,
                Role::Segment if is_attached(owner) && head_ok() => audit.segments += 1,
                Role::Free if owner.id == self.geometry().home_of(index) => audit.free += 1,
                Role::Free if owner.id.is_device_rx() => audit.with_device += 1,
                _ => audit.orphaned_buffers += 1,
            }
        }
        audit
    }

    /// A ledger snapshot that adds up, if one can be had while frames move: (received, in flight, per fate cell), all
    /// rx-gateways together. Tries until counters stand still around the count of heads.
    pub fn ledger(&self, tries: u32) -> Ledger {
        let pages: Vec<_> = self.gateways().collect();
        self.snapshot(&pages, &(0..self.geometry().buffers), tries)
    }

    /// The same of one rx-gateway; nothing at all for any other id.
    pub fn ledger_of(&self, gateway: OwnerId, tries: u32) -> Ledger {
        self.snapshot(self.gateway(gateway).as_slice(), &self.geometry().home_range(gateway), tries)
    }

    fn snapshot(&self, pages: &[&GatewayPage], heads: &Range<u32>, tries: u32) -> Ledger {
        let sum = |of: &dyn Fn(&GatewayPage) -> u64| pages.iter().fold(0_u64, |sum, page| sum.wrapping_add(of(page)));
        let received = || sum(&|page| page.received.load(Ordering::Acquire));
        let finished = || sum(&GatewayPage::finished);
        let mut ledger = Ledger::default();
        for _ in 0..tries.max(1) {
            let before = (received(), finished());
            let cell = |c: usize| sum(&|page| page.cells[c].load(Ordering::Acquire));
            ledger.cells = (0..Fate::CELLS).map(cell).collect();
            ledger.in_flight = self.heads_in(heads.clone());
            ledger.received = received();
            ledger.settled = before == (ledger.received, finished());
            if ledger.settled && ledger.balanced() {
                break;
            }
            std::thread::yield_now();
        }
        ledger
    }
}

/// A snapshot of the frames' ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Frames admitted.
    pub received: u64,
    /// Heads counted.
    pub in_flight: u64,
    /// Frames finished, by fate cell.
    pub cells: Vec<u64>,
    /// The counters stood still around the count.
    pub settled: bool,
}

impl Ledger {
    /// Frames finished.
    pub fn finished(&self) -> u64 {
        // Damaged cells may add up to anything.
        self.cells.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }

    /// `received = finished + in flight`.
    pub fn balanced(&self) -> bool {
        self.received == self.finished().wrapping_add(self.in_flight)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::frame::{dismantle, make_answer};
    use crate::region::HugePages;
    use crate::topology::{Geometry, RX};
    use crate::{Held, Me};
    use std::convert::Infallible;

    const GEOMETRY: Geometry = Geometry {
        buffers: 16,
        slots: 2,
        slot_input_bytes: 64,
        slot_output_bytes: 64,
        preprocess: 1,
        infer: 1,
        ring_capacity: 8,
        max_streams: 1,
        gateways: 1,
    };

    #[test]
    fn answers_are_heads_and_no_frames() {
        let (arena, _regions) = Arena::create(GEOMETRY, HugePages::Off).expect("a few MiB of memory");
        let (table, me) = (arena.table(), Me { id: RX, incarnation: 1 });
        let [answer, frame] = [3, 4].map(|index| table.take(index, me).expect("a buffer"));
        make_answer(table, &answer);
        arena.gateway(RX).expect("a page").admit(table, &frame);
        let (audit, ledger) = (arena.audit(), arena.ledger(1));
        assert_eq!((audit.heads, audit.answers, audit.sound()), (2, 1, true));
        assert_eq!((ledger.received, ledger.in_flight, ledger.balanced()), (1, 1, true));
        assert_eq!((arena.frames_in_flight(), arena.is_empty_of_frames()), (1, false));
        let d = table.of(&answer);
        d.set_fate(Fate { kind: crate::descriptor::FateKind::Dropped, reason: 3 });
        assert_eq!((d.fate(), d.is_answer()), (None, true), "what is no frame has no fate");
        let mut free = Vec::new();
        let slots = |slot: Held| -> Result<(), Infallible> { panic!("slot {}", slot.release()) };
        let Ok(()) = dismantle(table, me, answer, slots, |held| free.push(held));
        assert_eq!(free.into_iter().map(Held::release).collect::<Vec<_>>(), [3]);
        frame.release();
        assert_eq!((arena.audit().heads, arena.audit().answers, arena.ledger(1).balanced()), (1, 0, true));
        // Used again, it is a frame's like any other.
        d.reset();
        assert!(!d.is_answer() && d.fate().is_none());
    }

    /// The mark is in no reach of a fate with one damaged bit.
    #[test]
    fn no_fate_is_nearly_the_mark() {
        let mark = crate::descriptor::ANSWER;
        assert_eq!(Fate::from_cell(mark as usize), None);
        assert!((0..Fate::CELLS as u64).all(|cell| (cell ^ mark).count_ones() > 2));
    }
}
