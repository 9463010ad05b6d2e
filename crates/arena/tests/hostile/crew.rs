//! The four stages and what a supervisor does when one of them ends.

use crate::memory::ids;
use crate::stage::Stage;
use arena::reclaim::{Marks, reclaim};
use arena::refill::{Taker, examine, stands_wrong};
use arena::ring::RingId;
use arena::survey::{self, Instances, Sightings, restore_roles, straighten};
use arena::topology::RingKind;
use arena::{Arena, Me};
use std::collections::HashSet;

/// Deaths in a row after which the repair counts as failed.
const TRIES: u32 = 20;

pub struct Crew {
    arena: Arena,
    stages: [Option<Stage>; 4],
    incarnations: [u32; 4],
    tainted: HashSet<u32>,
    sightings: Sightings,
    marks: Marks,
    doubts: Vec<Option<u64>>,
    /// Stages that stopped at what cannot be.
    pub poisons: u32,
    /// Rings made anew, or words put right.
    pub repairs: u32,
}

impl Crew {
    pub fn new(arena: Arena) -> Self {
        let len = arena.table().len();
        let mut crew = Self {
            stages: [const { None }; 4],
            incarnations: [0; 4],
            tainted: HashSet::new(),
            sightings: Sightings::new(len),
            marks: Marks::new(len),
            doubts: vec![None; arena.layout().rings.len()],
            poisons: 0,
            repairs: 0,
            arena,
        };
        (0..4).for_each(|n| crew.start(n));
        crew
    }

    fn me(&self, n: usize) -> Me {
        Me { id: ids()[n], incarnation: self.incarnations[n] }
    }

    fn crew(&self) -> survey::Crew {
        let living = ids().into_iter().zip(&self.stages).filter(|(_, s)| s.is_some());
        survey::Crew {
            incarnations: self.incarnations.to_vec(),
            active: living.fold(Instances::NONE, |all, (id, _)| all.with(id)),
            queues: 0,
        }
    }

    /// The next incarnation of a dead and swept stage; what stops it is repaired, and it is tried again.
    fn start(&mut self, n: usize) {
        for _ in 0..TRIES {
            self.incarnations[n] += 1;
            if let Ok(stage) = Stage::activate(&self.arena, self.me(n)) {
                stage.tell();
                self.stages[n] = Some(stage);
                return;
            }
            self.poisons += 1;
            self.repair(Instances::NONE.with(ids()[n]), Vec::new());
        }
        panic!("stage {n} cannot be activated");
    }

    pub fn turn(&mut self, n: usize, most: usize) {
        let Some(stage) = &mut self.stages[n] else { return };
        if stage.turn(most, true).is_ok() {
            stage.tell();
            return;
        }
        self.poisons += 1;
        self.die(n);
    }

    /// Death, and all that follows it.
    pub fn die(&mut self, n: usize) {
        self.bury(Instances::NONE.with(ids()[n]), Vec::new());
    }

    fn bury(&mut self, stop: Instances, rings: Vec<RingId>) {
        let stopped = self.repair(stop, rings);
        for n in (0..4).filter(|n| stopped.has(ids()[*n])) {
            self.start(n);
        }
    }

    /// Ends everybody in `stop` and whoever else must be dead; afterwards all of them are swept.
    fn repair(&mut self, mut stop: Instances, mut rings: Vec<RingId>) -> Instances {
        loop {
            let before = stop;
            for n in (0..4).filter(|n| before.has(ids()[*n])) {
                self.stages[n] = None;
                stop = stop.and(self.inspect(n, &mut rings));
            }
            if stop == before {
                break;
            }
        }
        self.repairs += rings.len() as u32;
        for ring in &rings {
            self.arena.ring(*ring).format(0);
        }
        // As the supervisor has it: words are put right in repairs, not at each death.
        if !rings.is_empty() || ids().iter().filter(|id| stop.has(**id)).count() > 1 {
            let done = straighten(&self.arena, &self.crew(), stop, &mut self.sightings);
            self.repairs += u32::from(done.changed());
            for head in done.heads {
                // The supervisor would answer it with a status; here it becomes free.
                let d = self.arena.table().get(head).expect("a head");
                d.set_role(arena::descriptor::Role::Free);
                let rx = Me { incarnation: self.incarnations[0], id: ids()[0] };
                self.arena.table().take(head, rx).map(arena::Held::release);
            }
        }
        for n in (0..4).filter(|n| stop.has(ids()[*n])) {
            self.sweep(n);
        }
        stop
    }

    fn inspect(&self, n: usize, rings: &mut Vec<RingId>) -> Instances {
        let dead = self.me(n);
        let me = Me { incarnation: dead.incarnation + 1, ..dead };
        let taker = Taker { me, onward: &self.arena.rings_where(|s| s.from == dead.id && s.to != dead.id) };
        let mut stop = Instances::NONE;
        for spec in self.arena.layout().rings.iter().filter(|s| s.from == dead.id || s.to == dead.id) {
            let (ring, takes) = (self.arena.ring(spec.id), spec.to == dead.id);
            let finding = examine(&ring, self.arena.table(), takes.then_some(taker));
            if takes && finding.is_sound() || !takes && finding.is_sound_upstream() || rings.contains(&spec.id) {
                continue;
            }
            if !(takes && finding.is_one_entry() && ring.step_over(ring.cursors().0)) {
                rings.push(spec.id);
                stop = stop.with(spec.from).with(spec.to);
            }
        }
        stop
    }

    fn sweep(&mut self, n: usize) {
        let dead = self.me(n);
        self.repairs += restore_roles(&self.arena, dead);
        let rings = self.arena.rings_of(dead.id);
        let recovery = self.arena.rings_where(|s| s.kind == RingKind::Recovery && s.to == dead.id).remove(0);
        let mut again = || reclaim(self.arena.table(), dead, &rings, &recovery, n != 2, &mut self.marks);
        if again().is_err() {
            recovery.format(0);
            again().expect("a fresh recovery ring takes everything");
        }
    }

    /// What the supervisor looks at although nobody has died.
    pub fn patrol(&mut self) {
        let mut rings = Vec::new();
        let mut stop = Instances::NONE;
        for spec in self.arena.layout().rings.clone() {
            let wrong = stands_wrong(&self.arena.ring(spec.id));
            let doubt = &mut self.doubts[usize::from(spec.id.0)];
            if wrong.is_some() && wrong == *doubt {
                stop = stop.with(spec.from).with(spec.to);
                rings.push(spec.id);
            }
            *doubt = wrong;
        }
        if rings.is_empty() {
            let crew = self.crew();
            stop = survey::survey(&self.arena, &crew, &mut self.sightings, &mut self.marks, 1_000).stop;
            // With everybody: all four, and no more.
            stop = ids().into_iter().filter(|id| stop.has(*id)).fold(Instances::NONE, Instances::with);
        }
        if !stop.is_empty() {
            self.bury(stop, rings);
        }
    }

    /// Everybody stops, every ring is filled again from the words.
    pub fn renew(&mut self) {
        let all = ids().into_iter().fold(Instances::NONE, Instances::with);
        let rings = self.arena.layout().rings.iter().map(|s| s.id).collect();
        self.bury(all, rings);
    }

    /// Turns until nothing moves any more, without new frames.
    pub fn settle(&mut self) {
        for _ in 0..200 {
            for n in 0..4 {
                if let Some(stage) = &mut self.stages[n] {
                    let turned = stage.turn(32, false);
                    assert!(turned.is_ok(), "poison after the repair, in stage {n}");
                }
            }
        }
    }

    pub fn taint(&mut self, touched: &[u32]) {
        self.tainted.extend(touched);
    }

    /// No buffer that no damage touched is in two hands.
    pub fn check_hands(&self) {
        let mut seen = HashSet::new();
        for stage in self.stages.iter().flatten() {
            for held in stage.heads.iter().chain(&stage.free).chain(&stage.slots) {
                let index = held.index();
                assert!(seen.insert(index) || self.tainted.contains(&index), "buffer {index} is in two hands");
            }
        }
    }

    /// Each buffer is free with rx-gateway, each slot in its ring or in preprocess's hand.
    pub fn check_all_is_home(&self) {
        let g = self.arena.geometry();
        let audit = self.arena.audit();
        assert!(audit.sound(), "{audit:?}");
        assert_eq!((audit.free, audit.slots_free), (g.buffers, g.slots), "{audit:?}");
        let rx = self.stages[0].as_ref().expect("rx-gateway");
        let mut free: Vec<_> = rx.free.iter().map(arena::Held::index).collect();
        free.sort_unstable();
        assert_eq!(free, (0..g.buffers).collect::<Vec<_>>(), "what rx-gateway holds");
        let in_hand = self.stages[2].as_ref().map_or(0, |s| s.slots.len() as u64);
        let rings = self.arena.rings_where(|s| s.kind == RingKind::Slots);
        assert_eq!(rings.iter().map(arena::ring::Ring::count).sum::<u64>() + in_hand, u64::from(g.slots));
    }

    /// Every buffer goes round as a frame.
    pub fn carries_frames(&mut self) {
        let poisons = self.poisons;
        for _ in 0..100 {
            (0..4).for_each(|n| self.turn(n, 8));
        }
        assert_eq!(self.poisons, poisons, "poison in repaired rings");
        self.settle();
        self.check_all_is_home();
    }
}
