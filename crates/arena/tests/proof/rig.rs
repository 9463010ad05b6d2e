//! The arena's parts in ordinary memory, the engines' atomics in them.

use arena::descriptor::{Descriptor, Role, Table, is_attached};
use arena::gateway::{GatewayPage, StreamRow};
use arena::page::ControlWord;
use arena::reclaim::{Marks, Reclaimed, reclaim};
use arena::ring::{Fault, Ring, RingId};
use arena::sync::{AtomicU32, AtomicU64};
use arena::{Held, Me, Owner, OwnerId};
use std::sync::Arc;

/// rx-gateway.
pub const R: OwnerId = arena::topology::RX;
/// Upstream of two; preprocess where there are frames.
pub const P: OwnerId = OwnerId(4);
/// Downstream of two.
pub const C: OwnerId = OwnerId(5);
/// infer.
pub const I: OwnerId = OwnerId(6);

/// Who acts.
pub const fn me(id: OwnerId, incarnation: u32) -> Me {
    Me { id, incarnation }
}

/// Where sequence numbers start: they wrap within a scenario.
const FIRST_SEQ: u32 = u32::MAX;
/// Where cursors start: they wrap too.
pub const FIRST_POSITION: u64 = u64::MAX;

/// A word of payload that is no atomic: whoever reads it must have been told that it is written.
#[derive(Debug)]
pub struct Payload(#[cfg(loom)] loom::cell::UnsafeCell<u64>, #[cfg(not(loom))] std::cell::UnsafeCell<u64>);

// SAFETY: needed to share it between a scenario's threads, as packet buffers are between processes. That the accesses do
// not overlap is what the scenarios check: loom reports those that do.
unsafe impl Sync for Payload {}

impl Payload {
    fn new() -> Self {
        #[cfg(loom)]
        return Self(loom::cell::UnsafeCell::new(0));
        #[cfg(not(loom))]
        return Self(std::cell::UnsafeCell::new(0));
    }

    /// Writes.
    pub fn write(&self, value: u64) {
        // SAFETY: needed to write through a shared reference; the caller holds the buffer.
        #[cfg(loom)]
        self.0.with_mut(|p| unsafe { *p = value });
        // SAFETY: as above.
        #[cfg(not(loom))]
        unsafe {
            *self.0.get() = value;
        }
    }

    /// Reads.
    pub fn read(&self) -> u64 {
        // SAFETY: needed to read what is written through a shared reference; the caller holds the buffer.
        #[cfg(loom)]
        return self.0.with(|p| unsafe { *p });
        // SAFETY: as above.
        #[cfg(not(loom))]
        return unsafe { *self.0.get() };
    }
}

struct Words {
    head: AtomicU64,
    tail: AtomicU64,
    slots: Vec<AtomicU64>,
    ends: (OwnerId, OwnerId),
}

/// Everything that a scenario's threads share.
pub struct Shm {
    descriptors: Vec<Descriptor>,
    buffers: u32,
    rings: Vec<Words>,
    payloads: Vec<Payload>,
    /// Orders to the stage whose replacement a scenario is about.
    pub control: ControlWord,
    /// That stage's PARKED.
    pub parked: AtomicU32,
    /// That stage's SLEEPING.
    pub sleeping: AtomicU32,
    /// Ledger and journal.
    pub gateway: Box<GatewayPage>,
    /// One stream.
    pub row: StreamRow,
}

impl Shm {
    /// `buffers` heads and `slots` slots, all with incarnation 0 of `owner`, and one ring for each of `ends`.
    pub fn new(buffers: u32, slots: u32, owner: OwnerId, capacity: usize, ends: &[(OwnerId, OwnerId)]) -> Arc<Self> {
        let word = Owner { id: owner, incarnation: 0, seq: FIRST_SEQ };
        let role = |i| if i < buffers { Role::Head } else { Role::Slot };
        let words = |ends: &(OwnerId, OwnerId)| Words {
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            slots: (0..capacity).map(|_| AtomicU64::new(0)).collect(),
            ends: *ends,
        };
        let shm = Self {
            descriptors: (0..buffers + slots).map(|i| Descriptor::new(word, role(i))).collect(),
            buffers,
            rings: ends.iter().map(words).collect(),
            payloads: (0..buffers + slots).map(|_| Payload::new()).collect(),
            control: ControlWord::default(),
            parked: AtomicU32::new(0),
            sleeping: AtomicU32::new(0),
            gateway: Box::default(),
            row: StreamRow::default(),
        };
        for n in 0..ends.len() {
            shm.ring(n).format(FIRST_POSITION);
        }
        Arc::new(shm)
    }

    /// All descriptors.
    pub fn table(&self) -> Table<'_> {
        Table::new(&self.descriptors, self.buffers)
    }

    /// A ring by its number.
    pub fn ring(&self, n: usize) -> Ring<'_> {
        let w = &self.rings[n];
        Ring::new(RingId(n as u16), w.ends, &w.head, &w.tail, &w.slots)
    }

    /// An entry's word.
    pub fn entry(&self, ring: usize, position: u64) -> &AtomicU64 {
        &self.rings[ring].slots[position as usize % self.rings[ring].slots.len()]
    }

    fn rings(&self) -> impl Iterator<Item = Ring<'_>> {
        (0..self.rings.len()).map(|n| self.ring(n))
    }

    /// Takes what incarnation 0 had.
    pub fn hold(&self, indices: &[u32], me: Me) -> Vec<Held> {
        indices.iter().map(|i| self.table().adopt(*i, me).expect("incarnation 0 had it")).collect()
    }

    /// The payload of a buffer or slot in hand.
    pub fn payload(&self, held: &Held) -> &Payload {
        &self.payloads[held.index() as usize]
    }

    /// The payload of a slot that follows a head in hand.
    pub fn payload_of(&self, index: u32) -> &Payload {
        &self.payloads[index as usize]
    }

    /// Pushes what is in hand; every ring of a scenario has room, unless the scenario is about that.
    #[track_caller]
    pub fn push(&self, ring: usize, me: Me, hand: Vec<Held>) {
        let mut to = self.ring(ring).producer(self.table(), me);
        for held in hand {
            to.push(held).unwrap_or_else(|r| panic!("buffer {}: {}", r.held.release(), r.fault));
        }
    }

    /// Pops all that there is.
    #[track_caller]
    pub fn drain(&self, ring: usize, me: Me) -> Vec<Held> {
        let mut all = Vec::with_capacity(16);
        let mut from = self.ring(ring).consumer(self.table(), me);
        while from.pop_batch(&mut all, 16).expect("no poison") > 0 {}
        all
    }

    /// Hands on what `dead` held, through the ring from it to itself.
    ///
    /// # Errors
    /// As [`reclaim`].
    pub fn try_reclaim(&self, dead: Me) -> Result<Reclaimed, Fault> {
        let rings: Vec<_> = self.rings().filter(|r| r.from == dead.id || r.to == dead.id).collect();
        let recovery = *rings.iter().find(|r| r.from == r.to).expect("a recovery ring");
        let mut marks = Marks::new(self.table().len());
        reclaim(self.table(), dead, &rings, &recovery, dead.id == R, &mut marks)
    }

    /// As [`Shm::try_reclaim`], where nothing can go wrong.
    #[track_caller]
    pub fn reclaim(&self, dead: Me) -> Reclaimed {
        self.try_reclaim(dead).expect("a sweep")
    }

    /// Every buffer and slot is in one place: a ring, a living hand (whose word says so), or attached to a head.
    #[track_caller]
    pub fn audit(&self, living: &[(Me, &[u32])]) {
        let mut places = vec![Vec::new(); self.descriptors.len()];
        for ring in self.rings() {
            ring.for_each(|index, _| places[index as usize].push(format!("ring {}", ring.id.0)));
        }
        for (me, hand) in living {
            for index in *hand {
                let owner = self.descriptors[*index as usize].owner();
                assert!(owner.is(*me), "{me:?} holds {index}, the word says {owner:?}");
                places[*index as usize].push(format!("hand of {me:?}"));
            }
        }
        for (index, d) in self.table().iter().filter(|(_, d)| is_attached(d.owner())) {
            let head = d.owner().incarnation;
            let role = self.table().get(head).map(Descriptor::role);
            assert_eq!(role, Some(Role::Head), "{index} follows {head}");
            places[index as usize].push(format!("attached to {head}"));
        }
        for (index, places) in places.iter().enumerate() {
            assert_eq!(places.len(), 1, "{index} is in {places:?}; its word: {:?}", self.descriptors[index].owner());
        }
    }
}

/// Ends handles whose buffers a scenario goes on counting.
pub fn release(hand: Vec<Held>) -> Vec<u32> {
    hand.into_iter().map(Held::release).collect()
}

/// In ascending order.
pub fn sorted(mut v: Vec<u32>) -> Vec<u32> {
    v.sort_unstable();
    v
}
