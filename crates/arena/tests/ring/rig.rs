//! Rings and descriptors in ordinary memory, and what holds their handles.

use arena::descriptor::{Descriptor, Role, Table};
use arena::ring::{Ring, RingId};
use arena::sync::{AtomicU64, Ordering};
use arena::{Held, Me, OwnerId};

/// The producing stage of most tests.
pub const P: OwnerId = OwnerId(4);
/// The consuming stage of most tests.
pub const C: OwnerId = OwnerId(5);

pub const fn me(id: OwnerId, incarnation: u32) -> Me {
    Me { id, incarnation }
}

struct Words {
    head: AtomicU64,
    tail: AtomicU64,
    slots: Vec<AtomicU64>,
    ends: (OwnerId, OwnerId),
}

/// Descriptors and rings that live as long as the test program.
#[derive(Clone, Copy)]
pub struct Rig {
    descriptors: &'static [Descriptor],
    rings: &'static [Words],
}

fn descriptor(owner: Me) -> Descriptor {
    let word = arena::Owner { id: owner.id, incarnation: owner.incarnation, seq: 1 };
    Descriptor::new(word, Role::Head)
}

impl Rig {
    /// `buffers` heads owned by `owner`, one ring for each of `ends`, whose cursors start at `start`.
    pub fn new(buffers: u32, owner: Me, capacity: usize, ends: &[(OwnerId, OwnerId)], start: u64) -> Self {
        let words = |ends: &(OwnerId, OwnerId)| Words {
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            slots: (0..capacity).map(|_| AtomicU64::new(0)).collect(),
            ends: *ends,
        };
        let rig = Self {
            descriptors: (0..buffers).map(|_| descriptor(owner)).collect::<Vec<_>>().leak(),
            rings: ends.iter().map(words).collect::<Vec<_>>().leak(),
        };
        for n in 0..ends.len() {
            rig.ring(n).format(start);
        }
        rig
    }

    pub fn table(&self) -> Table<'static> {
        Table::new(self.descriptors, self.descriptors.len() as u32)
    }

    pub fn ring(&self, n: usize) -> Ring<'static> {
        let w = &self.rings[n];
        Ring::new(RingId(n as u16), w.ends, &w.head, &w.tail, &w.slots)
    }

    pub fn rings(&self) -> Vec<Ring<'static>> {
        (0..self.rings.len()).map(|n| self.ring(n)).collect()
    }

    /// The consumer's cursor of a ring, as it lies in memory.
    pub fn head(&self, ring: usize) -> &'static AtomicU64 {
        &self.rings[ring].head
    }

    /// The depth gauge of a ring, as it lies in memory.
    pub fn tail(&self, ring: usize) -> &'static AtomicU64 {
        &self.rings[ring].tail
    }

    /// The entry's word at a position, as it lies in memory.
    pub fn entry(&self, ring: usize, position: u64) -> &'static AtomicU64 {
        let slots = &self.rings[ring].slots;
        &slots[position as usize % slots.len()]
    }

    /// The owner word of a buffer, unpacked.
    pub fn owner(&self, index: u32) -> arena::Owner {
        self.descriptors[index as usize].owner()
    }

    /// A free-standing number per buffer that travels with it.
    pub fn payload(&self, index: u32) -> &'static AtomicU64 {
        &self.descriptors[index as usize].posted_at
    }

    /// Indices and seqs that stand in a ring, oldest first.
    pub fn content(&self, ring: usize) -> Vec<u32> {
        let mut all = Vec::new();
        self.ring(ring).for_each(|index, _| all.push(index));
        all
    }

    /// Takes every buffer for `me`.
    pub fn take_all(&self, me: Me) -> Hand {
        Hand((0..self.descriptors.len() as u32).filter_map(|i| self.table().take(i, me)).collect())
    }

    /// Stores `value` into a word, for tests that damage something.
    pub fn damage(word: &AtomicU64, change: impl Fn(u64) -> u64) {
        word.store(change(word.load(Ordering::Relaxed)), Ordering::Relaxed);
    }
}

/// Handles that a test holds; the end of a test is no leak.
#[derive(Debug, Default)]
pub struct Hand(pub Vec<Held>);

impl Hand {
    pub fn with_room(room: usize) -> Self {
        Self(Vec::with_capacity(room))
    }

    pub fn indices(&self) -> Vec<u32> {
        self.0.iter().map(Held::index).collect()
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        for held in self.0.drain(..) {
            held.release();
        }
    }
}
