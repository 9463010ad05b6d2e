//! A pipeline of three stages in a circle, random work and random deaths, against a model of where each buffer is.
//!
//! Deaths between machine instructions are the business of `kill_step`; here they fall between the steps of the
//! protocol, in combinations that no list of scenarios would have.

use crate::rig::{Hand, Rig, me};
use arena::reclaim::{Marks, Reclaimed, reclaim};
use arena::{Held, Me, OwnerId};
use proptest::prelude::*;
use std::collections::VecDeque;

const STAGES: usize = 3;
const BUFFERS: u32 = 8;

#[derive(Clone, Debug)]
enum Act {
    Pop { stage: usize, max: usize },
    Push { stage: usize, which: usize },
    Drain { stage: usize, max: usize },
    Die { stage: usize, claimed: usize, sweeps: usize },
}

fn act() -> impl Strategy<Value = Act> {
    let stage = 0..STAGES;
    prop_oneof![
        4 => (stage.clone(), 1..4_usize).prop_map(|(stage, max)| Act::Pop { stage, max }),
        4 => (stage.clone(), any::<usize>()).prop_map(|(stage, which)| Act::Push { stage, which }),
        2 => (stage.clone(), 1..9_usize).prop_map(|(stage, max)| Act::Drain { stage, max }),
        1 => (stage, 0..4_usize, 1..3_usize).prop_map(|(stage, claimed, sweeps)| Act::Die { stage, claimed, sweeps }),
    ]
}

fn id(stage: usize) -> OwnerId {
    OwnerId(OwnerId::FIRST_STAGE + stage as u8)
}

/// Where the model says that everything is.
#[derive(Default)]
struct Model {
    rings: [VecDeque<u32>; STAGES],
    recovery: [Vec<u32>; STAGES],
    hands: [Vec<u32>; STAGES],
}

/// The real thing beside its model. Ring `n` leads from stage `n` to the next; ring `STAGES + n` is its recovery ring.
struct World {
    rig: Rig,
    incarnation: [u32; STAGES],
    hands: [Hand; STAGES],
    model: Model,
}

impl World {
    fn new(start: u64) -> Self {
        let forward = (0..STAGES).map(|n| (id(n), id((n + 1) % STAGES)));
        let ends: Vec<_> = forward.chain((0..STAGES).map(|n| (id(n), id(n)))).collect();
        let rig = Rig::new(BUFFERS, me(id(0), 0), 8, &ends, start);
        let mut world = Self { rig, incarnation: [1; STAGES], hands: Default::default(), model: Model::default() };
        world.hands[0] = rig.take_all(me(id(0), 1));
        world.model.hands[0] = (0..BUFFERS).collect();
        world
    }

    fn me(&self, stage: usize) -> Me {
        me(id(stage), self.incarnation[stage])
    }

    fn rings_of(&self, stage: usize) -> Vec<arena::ring::Ring<'static>> {
        self.rig.rings().into_iter().filter(|r| r.from == id(stage) || r.to == id(stage)).collect()
    }

    fn pop(&mut self, stage: usize, max: usize) {
        let from = (stage + STAGES - 1) % STAGES;
        let mut got = Hand::with_room(max);
        let who = self.me(stage);
        self.rig.ring(from).consumer(self.rig.table(), who).pop_batch(&mut got.0, max).expect("no poison");
        let expected: Vec<_> = (0..max).map_while(|_| self.model.rings[from].pop_front()).collect();
        assert_eq!(got.indices(), expected);
        self.model.hands[stage].extend(expected);
        self.hands[stage].0.append(&mut got.0);
    }

    fn drain(&mut self, stage: usize, max: usize) {
        let mut got = Hand::with_room(max);
        let who = self.me(stage);
        self.rig.ring(STAGES + stage).consumer(self.rig.table(), who).pop_batch(&mut got.0, max).expect("no poison");
        let n = max.min(self.model.recovery[stage].len());
        let expected: Vec<_> = self.model.recovery[stage].drain(..n).collect();
        assert_eq!(got.indices(), expected);
        self.model.hands[stage].extend(expected);
        self.hands[stage].0.append(&mut got.0);
    }

    fn push(&mut self, stage: usize, which: usize) {
        let hand = &mut self.hands[stage].0;
        if hand.is_empty() {
            return;
        }
        let held: Held = hand.swap_remove(which % hand.len());
        let index = held.index();
        let who = self.me(stage);
        self.rig.ring(stage).producer(self.rig.table(), who).push(held).expect("each ring has room for all");
        self.model.hands[stage].retain(|i| *i != index);
        self.model.rings[stage].push_back(index);
    }

    /// The stage dies having claimed some entries whose cursor it never stored; `sweeps` > 1: the supervisor dies after
    /// its sweep, and the next one sweeps again.
    fn die(&mut self, stage: usize, claimed: usize, sweeps: usize) {
        let who = self.me(stage);
        let from = (stage + STAGES - 1) % STAGES;
        for index in self.model.rings[from].iter().take(claimed) {
            // What a claim stores. An entry claimed by an earlier incarnation keeps its seq.
            let d = self.rig.table().get(*index).unwrap();
            let word = d.owner();
            let seq = if word.id == who.id { word.seq } else { word.seq.wrapping_add(1) };
            let mine = arena::Owner { id: who.id, incarnation: who.incarnation, seq };
            d.owner.store(mine.pack(), arena::sync::Ordering::Release);
        }
        drop(std::mem::take(&mut self.hands[stage]));
        let recovery = self.rig.ring(STAGES + stage);
        let mut marks = Marks::new(BUFFERS);
        let mut lost = std::mem::take(&mut self.model.hands[stage]);
        lost.sort_unstable();
        for sweep in 0..sweeps {
            let done =
                reclaim(self.rig.table(), who, &self.rings_of(stage), &recovery, false, &mut marks).expect("no fault");
            let heads = if sweep == 0 { lost.len() as u32 } else { 0 };
            assert_eq!(done, Reclaimed { heads, in_rings: done.in_rings, ..Reclaimed::default() });
        }
        self.model.recovery[stage].extend(lost);
        self.incarnation[stage] += 1;
    }

    /// Each buffer is where the model says, and nowhere else.
    fn check(&self) {
        let mut seen = [0; BUFFERS as usize];
        for stage in 0..STAGES {
            let (ring, recovery) = (self.rig.content(stage), self.rig.content(STAGES + stage));
            assert_eq!(ring, self.model.rings[stage].iter().copied().collect::<Vec<_>>(), "ring of {stage}");
            assert_eq!(recovery, self.model.recovery[stage], "recovery ring of {stage}");
            let hand = self.hands[stage].indices();
            assert!(hand.iter().all(|i| self.rig.owner(*i).is(self.me(stage))), "words of what {stage} holds");
            for index in ring.iter().chain(&recovery).chain(&hand) {
                seen[*index as usize] += 1;
            }
        }
        assert_eq!(seen, [1; BUFFERS as usize], "each buffer once");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn every_buffer_is_in_one_place_whoever_dies(start: u64, acts in prop::collection::vec(act(), 0..200)) {
        let mut world = World::new(start);
        for act in acts {
            match act {
                Act::Pop { stage, max } => world.pop(stage, max),
                Act::Push { stage, which } => world.push(stage, which),
                Act::Drain { stage, max } => world.drain(stage, max),
                Act::Die { stage, claimed, sweeps } => world.die(stage, claimed, sweeps),
            }
            world.check();
        }
    }
}
