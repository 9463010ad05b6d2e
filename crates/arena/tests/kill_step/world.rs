//! The arena under test: set back to one state before each death, and audited after each recovery.

use arena::arena::Regions;
use arena::descriptor::{Role, is_attached};
use arena::device_ring::{DeviceRing, RingOffsets};
use arena::reclaim::{Marks, Reclaimed, reclaim};
use arena::region::HugePages;
use arena::ring::Ring;
use arena::sync::Ordering;
use arena::topology::{RX, RingKind};
use arena::{Arena, Geometry, Held, Me, Owner, OwnerId};
use rustix::mm::{MapFlags, ProtFlags};
use std::cell::{RefCell, RefMut};
use std::os::fd::AsFd;

pub const GEOMETRY: Geometry = Geometry {
    buffers: 16,
    slots: 4,
    slot_input_bytes: 64,
    slot_output_bytes: 64,
    preprocess: 1,
    infer: 1,
    ring_capacity: 8,
    max_streams: 1,
    gateways: 1,
};
/// Sequence number of all buffers at the beginning: it passes the end of its 32 bits in the scenarios.
const SEQ: u32 = u32::MAX - 1;

pub const PRE: OwnerId = GEOMETRY.preprocess_id(0);
pub const INFER: OwnerId = GEOMETRY.infer_id(0);

pub const fn me(id: OwnerId, incarnation: u32) -> Me {
    Me { id, incarnation }
}

/// Handles (or room for them) that a child takes over when it is forked: it works on its copy, while the parent keeps and
/// never uses its own. Made before the fork, so that what is stepped is the operation and not the allocator.
pub struct ForChild(RefCell<Vec<Held>>);

impl ForChild {
    pub fn new(handles: Vec<Held>) -> Self {
        Self(RefCell::new(handles))
    }

    /// Room for this many.
    pub fn room(capacity: usize) -> Self {
        Self::new(Vec::with_capacity(capacity))
    }

    /// The child's copy; take out of it, and leave the vector where it is.
    pub fn hand(&self) -> RefMut<'_, Vec<Held>> {
        self.0.borrow_mut()
    }
}

impl Drop for ForChild {
    fn drop(&mut self) {
        release(self.0.take());
    }
}

pub fn release(handles: Vec<Held>) -> Vec<u32> {
    handles.into_iter().map(Held::release).collect()
}

pub struct World {
    pub arena: Arena,
    regions: Regions,
    control: *mut u8,
    used: usize,
}

impl World {
    /// All buffers are in the hands of rx-gateway's incarnation 1, all slots in the slot ring.
    pub fn new() -> Self {
        let (arena, regions) = Arena::create(GEOMETRY, HugePages::Off).expect("a few MiB of memory");
        // SAFETY: needed to set the control region back as a whole. A new mapping at the kernel's choice; it is used
        // only while no other process runs on the arena.
        let control = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                arena.layout().control_bytes as usize,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                regions.control.rw.as_fd(),
                0,
            )
        }
        .expect("mmap");
        let mut world =
            Self { used: arena.layout().control_bytes as usize, arena, regions: regions, control: control.cast() };
        // Ring ends are formatted, so what lies behind the last byte that is not zero is padding.
        let last = world.bytes().iter().rposition(|b| *b != 0).expect("a formatted arena");
        world.used = (last + 1).next_multiple_of(4096);
        for (_, d) in world.arena.table().iter().take(GEOMETRY.buffers as usize) {
            let word = Owner { id: RX, incarnation: 1, seq: SEQ };
            d.owner.store(word.pack(), Ordering::Release);
        }
        world
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: needed to compare and copy the region; within the mapping, and all other processes are stopped or dead.
        unsafe { std::slice::from_raw_parts(self.control, self.used) }
    }

    /// The region as it is now.
    pub fn snapshot(&self) -> Vec<u8> {
        self.bytes().to_vec()
    }

    /// The region as it is now, into a snapshot.
    pub fn save(&self, state: &mut [u8]) {
        state.copy_from_slice(self.bytes());
    }

    /// Whether the region is not as in the snapshot.
    pub fn differs(&self, state: &[u8]) -> bool {
        state != self.bytes()
    }

    /// Sets the region back to a snapshot.
    pub fn restore(&self, state: &[u8]) {
        assert_eq!(state.len(), self.used);
        // SAFETY: needed to set the region back; within the mapping, lengths are equal, and nobody else runs on it.
        unsafe { std::ptr::copy_nonoverlapping(state.as_ptr(), self.control, self.used) };
    }

    /// A stray write: the one word in the region that is `from` becomes `to`.
    pub fn overwrite(&self, from: u64, to: u64) {
        let mut state = self.snapshot();
        let (from, to) = (from.to_le_bytes(), to.to_le_bytes());
        let mut words = state.chunks_exact_mut(8).filter(|word| **word == from);
        words.next().expect("that word").copy_from_slice(&to);
        assert_eq!(words.count(), 0, "one such word");
        self.restore(&state);
    }

    pub fn take(&self, index: u32, me: Me) -> Held {
        self.arena.table().take(index, me).expect("an index in range")
    }

    /// Gives `me` these buffers as heads.
    pub fn heads(&self, indices: &[u32], me: Me) -> Vec<Held> {
        for index in indices {
            self.arena.table().get(*index).unwrap().set_role(Role::Head);
        }
        indices.iter().map(|i| self.take(*i, me)).collect()
    }

    pub fn ring(&self, kind: RingKind, from: OwnerId, to: OwnerId) -> Ring<'static> {
        let found = self.arena.rings_where(|s| s.kind == kind && s.from == from && s.to == to);
        assert_eq!(found.len(), 1, "{kind:?} {from:?} -> {to:?}");
        found[0]
    }

    /// A device's ring of 8 entries, of 8 or 16 bytes each, in what a ring of ours leaves of its last page: it is set back with the
    /// region. Its cursors stand shortly before the end of their 32 bits.
    pub fn device_ring(&self, beside: &Ring<'_>, stride: usize) -> DeviceRing {
        let page = self.arena.layout().ring_at(beside.id).expect("a ring") + 8192;
        let at = RingOffsets { page, producer: 1024, consumer: 1088, flags: 1152, entries: 1216, stride };
        let ring = DeviceRing::map(self.regions.control.rw.as_fd(), at, 8).expect("a mapping");
        ring.set_producer(u32::MAX);
        ring.set_consumer(u32::MAX);
        ring
    }

    pub fn push_all(&self, ring: &Ring<'static>, me: Me, handles: Vec<Held>) {
        let mut out = ring.producer(self.arena.table(), me);
        for held in handles {
            out.push(held).unwrap_or_else(|r| panic!("buffer {}: {}", r.held.release(), r.fault));
        }
    }

    /// Pops all that there is, as a living or successor consumer.
    #[track_caller]
    pub fn drain(&self, ring: &Ring<'static>, me: Me) -> Vec<Held> {
        let mut all = Vec::with_capacity(32);
        ring.consumer(self.arena.table(), me).pop_batch(&mut all, 32).expect("no poison");
        all
    }

    pub fn reclaim(&self, dead: Me) -> Reclaimed {
        let recovery = self.ring(RingKind::Recovery, dead.id, dead.id);
        let mut marks = Marks::new(self.arena.table().len());
        reclaim(self.arena.table(), dead, &self.arena.rings_of(dead.id), &recovery, dead.id == RX, &mut marks).unwrap()
    }

    /// Moves a ring's cursors on by `n` and leaves it empty; buffer 0 goes through it and back to `from`.
    pub fn turn(&self, ring: &Ring<'static>, (from, to): (Me, Me), n: usize) {
        for _ in 0..n {
            let head = self.heads(&[0], from);
            self.push_all(ring, from, head);
            release(self.drain(ring, to));
            assert!(self.drain(ring, to).is_empty(), "nothing there, and no poison either");
        }
        self.take(0, me(RX, 1)).release();
        self.arena.table().get(0).unwrap().set_role(Role::Free);
    }

    /// What the next incarnation finds in its recovery ring.
    #[track_caller]
    pub fn recovered(&self, me: Me) -> Vec<Held> {
        self.drain(&self.ring(RingKind::Recovery, me.id, me.id), me)
    }

    /// rx-gateway's successor takes what its words say is its own and what stands in no ring.
    pub fn adopt(&self, me: Me) -> Vec<Held> {
        let mut in_ring = [false; (GEOMETRY.buffers + GEOMETRY.slots) as usize];
        for ring in self.arena.rings_of(RX) {
            ring.for_each(|index, _| in_ring[index as usize] = true);
        }
        let table = self.arena.table();
        let mine = table.iter().filter(|(i, d)| d.owner().is_older(me) && !in_ring[*i as usize]);
        mine.map(|(i, _)| self.take(i, me)).collect()
    }

    /// Every buffer and slot is in exactly one place: one ring, one living hand, or attached to a head.
    #[track_caller]
    pub fn audit(&self, at: u64, living: &[(Me, &[u32])]) {
        let table = self.arena.table();
        let mut places = vec![Vec::new(); table.len() as usize];
        for spec in &self.arena.layout().rings {
            self.arena.ring(spec.id).for_each(|index, _| {
                places[index as usize].push(format!("{:?} {:?} -> {:?}", spec.kind, spec.from, spec.to));
            });
        }
        for (me, hand) in living {
            for index in *hand {
                let owner = table.get(*index).unwrap().owner();
                assert!(owner.is(*me), "death {at}: {me:?} holds {index}, the word says {owner:?}");
                places[*index as usize].push(format!("hand of {me:?}"));
            }
        }
        for (index, d) in table.iter().filter(|(_, d)| is_attached(d.owner())) {
            let head = d.owner().incarnation;
            assert_eq!(
                table.get(head).map(arena::descriptor::Descriptor::role),
                Some(Role::Head),
                "death {at}: {index} follows {head}"
            );
            places[index as usize].push(format!("attached to {head}"));
        }
        for (index, places) in places.iter().enumerate() {
            assert_eq!(places.len(), 1, "death {at}: {index} is in {places:?}");
        }
        let audit = self.arena.audit();
        assert!(audit.sound(), "death {at}: {audit:?}");
    }
}
