//! The arena under test: set back to one state before each death, and audited after each recovery.

use crate::tracer::{End, Refused, die_when, say};
use arena::arena::Regions;
use arena::descriptor::{Role, is_attached};
use arena::reclaim::{Marks, Reclaimed, reclaim};
use arena::region::HugePages;
use arena::ring::Ring;
use arena::topology::{RX, RingKind};
use arena::{Arena, Geometry, Held, Me, OwnerId};
use rustix::mm::{MapFlags, ProtFlags};
use std::cell::RefCell;
use std::os::fd::AsFd;
use std::time::Instant;

/// Time for the deaths of one scenario, seconds; what takes longer goes in strides.
const BUDGET_S: f64 = 4.0;

pub const GEOMETRY: Geometry = Geometry {
    buffers: 16,
    slots: 4,
    slot_input_bytes: 64,
    slot_output_bytes: 64,
    preprocess: 1,
    infer: 1,
    ring_capacity: 8,
    max_streams: 1,
};
pub const PRE: OwnerId = GEOMETRY.preprocess_id(0);
pub const INFER: OwnerId = GEOMETRY.infer_id(0);

pub const fn me(id: OwnerId, incarnation: u32) -> Me {
    Me { id, incarnation }
}

/// Handles that a child takes over when it is forked: its copy, while the parent keeps and never uses its own.
pub struct ForChild(RefCell<Vec<Held>>);

impl ForChild {
    pub fn new(handles: Vec<Held>) -> Self {
        Self(RefCell::new(handles))
    }

    pub fn take(&self) -> Vec<Held> {
        self.0.take()
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
    _regions: Regions,
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
            Self { used: arena.layout().control_bytes as usize, arena, _regions: regions, control: control.cast() };
        // Ring ends are formatted, so what lies behind the last byte that is not zero is padding.
        let last = world.bytes().iter().rposition(|b| *b != 0).expect("a formatted arena");
        world.used = (last + 1).next_multiple_of(4096);
        for index in 0..GEOMETRY.buffers {
            world.take(index, me(RX, 1)).release();
        }
        world
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: needed to compare and copy the region; within the mapping, and all other processes are stopped or dead.
        unsafe { std::slice::from_raw_parts(self.control, self.used) }
    }

    fn restore(&self, state: &[u8]) {
        assert_eq!(state.len(), self.used);
        // SAFETY: needed to set the region back; within the mapping, lengths are equal, and nobody else runs on it.
        unsafe { std::ptr::copy_nonoverlapping(state.as_ptr(), self.control, self.used) };
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

    /// Runs `op` from `start` until `enough(instructions, changes)`; changes are those of the control region.
    fn run(&self, start: &[u8], op: &dyn Fn(), enough: impl Fn(u64, u64) -> bool) -> Result<(End, u64), Refused> {
        self.restore(start);
        let (mut last, mut changes) = (start.to_vec(), 0);
        let end = die_when(op, |lived| {
            if last != self.bytes() {
                last.copy_from_slice(self.bytes());
                changes += 1;
            }
            enough(lived, changes)
        })?;
        Ok((end, changes))
    }

    /// Kills `op` after each change that it makes to shared memory, then after each of its instructions (in strides
    /// where that takes too long); `recover` gets the number of the death for its messages, u64::MAX if there was none.
    pub fn kill_each(&self, name: &str, op: &dyn Fn(), recover: impl Fn(u64)) {
        let start = self.bytes().to_vec();
        let begin = Instant::now();
        let Ok((End::Finished { instructions }, states)) = self.run(&start, op, |_, _| false) else {
            say(&format!("SKIPPED: {name}: this system does not let a process trace its children"));
            return;
        };
        let per_step_s = begin.elapsed().as_secs_f64() / instructions.max(1) as f64;
        assert!(states > 0, "{name}: no change of shared memory was seen");
        recover(u64::MAX);
        for state in 0..=states {
            let (end, _) = self.run(&start, op, |_, changes| changes == state).expect("allowed before");
            assert_eq!(end, End::Killed, "{name}: state {state} of {states}");
            recover(state);
        }
        // Dying after n instructions takes n steps: instructions^2 / (2 * stride) altogether.
        let all_s = per_step_s * (instructions * instructions) as f64 / 2.0;
        let stride = (all_s / BUDGET_S).ceil().max(1.0) as u64;
        let mut deaths = states + 1;
        for n in (0..instructions).step_by(stride as usize) {
            self.restore(&start);
            // Some are shorter than the first: the allocator and the dynamic linker have been here before.
            if let End::Finished { .. } = die_when(op, |lived| lived == n).expect("allowed before") {
                break;
            }
            recover(n);
            deaths += 1;
        }
        let strides = if stride == 1 { String::new() } else { format!(", in strides of {stride} between the states") };
        say(&format!("{name}: {deaths} deaths over {instructions} instructions and {} states{strides}", states + 1));
    }
}
