//! Buffers in the hands of a device: a NIC's rings are rings, with the kernel at the other end.
//!
//! The kernel knows nothing of owner words, so they are kept around its rings, in an order in which a death at any
//! point leaves exactly one owner:
//!
//! ```text
//! post     entry    posted_at    word = DEVICE(queue)    producer := position + 1
//! pop      entry checked         word = me               consumer := position + 1
//! ```
//!
//! A buffer whose word names a device queue was never posted if its `posted_at` is not before that ring's `producer`:
//! its poster died in between, and the successor takes it back ([`Table::take_unposted`]). Otherwise it is the kernel's
//! until it comes back through RX or COMPLETION. An entry there whose word is not the queue's was claimed by a dead
//! incarnation (or is an allegation that failed), and is stepped over.

use crate::descriptor::{Descriptor, Fate, FateKind, Table};
use crate::held::Held;
use crate::killpoint::{KillPoint, reach};
use crate::owner::{Me, Owner, OwnerId};
use crate::seeded::{Bug, planted};
use crate::sync::Ordering;

/// Most rx queues, and most tx queues.
pub const MAX_QUEUES: u8 = 63;

impl OwnerId {
    /// The receiving side (FILL and RX) of queue `queue`, below [`MAX_QUEUES`].
    pub const fn device_rx(queue: u8) -> Self {
        Self(128 + queue % (MAX_QUEUES + 1))
    }

    /// The sending side (TX and COMPLETION) of queue `queue`, below [`MAX_QUEUES`].
    pub const fn device_tx(queue: u8) -> Self {
        Self(192 + queue % MAX_QUEUES)
    }

    /// Whether it is the receiving side of a device.
    pub const fn is_device_rx(self) -> bool {
        matches!(self.0, 128..=191)
    }

    /// Whether it is the sending side of a device.
    pub const fn is_device_tx(self) -> bool {
        matches!(self.0, 192..=254)
    }
}

/// Where a buffer was posted, as its descriptor keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Position in the ring; wraps at 32 bits, as the kernel's cursors do.
    pub position: u32,
    /// Nothing more follows for this frame once it has been sent.
    pub last: bool,
}

impl Posted {
    const LAST: u64 = 1 << 32;

    const fn word(self) -> u64 {
        self.position as u64 | if self.last { Self::LAST } else { 0 }
    }
}

impl Descriptor {
    /// Where the buffer was last posted.
    #[inline]
    pub fn posted(&self) -> Posted {
        let word = self.posted_at.load(Ordering::Acquire);
        Posted { position: word as u32, last: word & Posted::LAST != 0 }
    }
}

impl Table<'_> {
    /// Gives a buffer of `me` to a device queue. The entry stands in the ring already; the ring's producer is stored
    /// afterwards. The caller's handle names nothing of his any more.
    #[inline]
    pub fn post(&self, held: &Held, device: OwnerId, me: Me, posted: Posted) {
        let d = self.of(held);
        if !planted(Bug::DeviceWordFirst) {
            d.posted_at.store(posted.word(), Ordering::Release);
        }
        let to = Me { id: device, incarnation: me.incarnation };
        d.owner.store(d.owner().taken_by(to).pack(), Ordering::Release);
        if planted(Bug::DeviceWordFirst) {
            d.posted_at.store(posted.word(), Ordering::Release);
        }
    }

    /// Whether a device ring's entry names a buffer that was given to that queue. `index` may be any number.
    #[inline]
    pub fn is_with(&self, index: u32, device: OwnerId) -> bool {
        index < self.buffers() && self.get(index).is_some_and(|d| d.owner().id == device)
    }

    /// Takes a buffer that came back through a device ring; the ring's consumer is stored afterwards. `None`: the word is
    /// not this queue's.
    #[inline]
    pub fn claim(&self, index: u32, device: OwnerId, me: Me) -> Option<Held> {
        if !self.is_with(index, device) {
            return None;
        }
        self.take(index, me)
    }

    /// Takes a head whose datagram a device queue has sent; the ring's consumer is stored afterwards. If nothing was to follow
    /// ([`Posted::last`]), the frame is answered and settled first: whoever finds the entry after a death in between does the
    /// same. Returns the head, and whether it was the last. `None`: the word is not this queue's.
    #[inline]
    pub fn complete(&self, index: u32, device: OwnerId, me: Me) -> Option<(Held, bool)> {
        let d = self.get(index).filter(|_| self.is_with(index, device))?;
        let last = d.posted().last;
        let early = planted(Bug::ClaimedBeforeSettled).then(|| self.take(index, me)).flatten();
        if last {
            // Another fate stands there already, if the datagram was a status.
            d.set_fate(Fate { kind: FateKind::Answered, reason: 0 });
            d.settle();
        }
        reach(KillPoint::DeviceSettled);
        early.or_else(|| self.take(index, me)).map(|held| (held, last))
    }

    /// Takes back what a dead incarnation gave to the queue and never posted. `producer`: the ring's, as the dead one left it.
    pub fn take_unposted(&self, device: OwnerId, producer: u32, me: Me, found: &mut Vec<Held>) {
        for (index, d) in self.iter().take(self.buffers() as usize) {
            let Owner { id, .. } = d.owner();
            // Positions wrap: one at or behind the producer is less than half a turn ahead of it.
            if id == device && (d.posted().position.wrapping_sub(producer) as i32) >= 0 {
                found.extend(self.take(index, me));
            }
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::descriptor::Role;

    const ME: Me = Me { id: OwnerId(2), incarnation: 7 };

    fn descriptors(n: u32) -> Vec<Descriptor> {
        let word = Owner { id: ME.id, incarnation: ME.incarnation, seq: 1 };
        (0..n).map(|_| Descriptor::new(word, Role::Free)).collect()
    }

    #[test]
    fn what_is_posted_comes_back_to_who_claims_it() {
        let all = descriptors(4);
        let table = Table::new(&all, 3);
        let queue = OwnerId::device_rx(5);
        let held = table.take(1, ME).unwrap();
        table.post(&held, queue, ME, Posted { position: 9, last: true });
        held.release();
        assert_eq!(all[1].owner(), Owner { id: queue, incarnation: 7, seq: 3 });
        assert_eq!(all[1].posted(), Posted { position: 9, last: true });
        for (index, device) in [(0, queue), (1, OwnerId::device_tx(5)), (3, queue), (u32::MAX, queue)] {
            assert!(table.claim(index, device, ME).is_none(), "{index} {device:?}");
        }
        let next = Me { incarnation: 8, ..ME };
        let back = table.claim(1, queue, next).unwrap();
        assert!(all[back.release() as usize].owner().is(next));
        assert!(table.claim(1, queue, next).is_none(), "a second time");
    }

    #[test]
    fn the_last_datagram_settles_its_frame_and_no_other_does() {
        let all = descriptors(2);
        let table = Table::new(&all, 2);
        let queue = OwnerId::device_tx(0);
        for (index, last) in [(0, true), (1, false)] {
            let held = table.take(index, ME).unwrap();
            table.post(&held, queue, ME, Posted { position: index, last });
            held.release();
            let (held, was_last) = table.complete(index, queue, ME).unwrap();
            assert_eq!((held.index(), was_last), (index, last));
            assert_eq!((all[held.release() as usize].is_settled(), all[index as usize].fate().is_some()), (last, last));
            assert!(table.complete(index, queue, ME).is_none(), "a second time");
        }
    }

    #[test]
    fn unposted_is_told_from_posted_across_the_wrap() {
        let all = descriptors(4);
        let table = Table::new(&all, 4);
        let queue = OwnerId::device_tx(0);
        for (index, position) in [(0, u32::MAX - 1), (1, u32::MAX), (2, 0), (3, 1)] {
            let held = table.take(index, ME).unwrap();
            table.post(&held, queue, ME, Posted { position, last: false });
            held.release();
        }
        let mut found = Vec::new();
        table.take_unposted(OwnerId::device_rx(0), 0, ME, &mut found);
        assert!(found.is_empty(), "another queue's");
        table.take_unposted(queue, 0, ME, &mut found);
        assert_eq!(found.into_iter().map(Held::release).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn ids_do_not_meet() {
        let mut all: Vec<_> = (0..MAX_QUEUES).flat_map(|q| [OwnerId::device_rx(q), OwnerId::device_tx(q)]).collect();
        assert!(all.iter().all(|id| id.is_device_rx() != id.is_device_tx()));
        all.push(OwnerId::ATTACHED);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2 * usize::from(MAX_QUEUES) + 1);
    }
}
