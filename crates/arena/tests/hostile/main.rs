//! A pipeline of simulated stages over a real arena whose control region is written to past every rule.
//!
//! Nothing panics, every call returns, what cannot be is poison, a buffer that no damage touched is never in two hands, and when
//! the damage is over everything is back in its place: the rings carry, and each buffer and slot is there once.

#![allow(clippy::disallowed_types, reason = "shared words come from `arena::sync`")]

mod crew;
mod examine;
mod memory;
mod stage;
mod words;

use crew::Crew;
use memory::{Change, Memory, Spot};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Act {
    Turn { stage: usize, most: usize },
    Die { stage: usize },
    Damage { spot: Spot, change: Change },
    Patrol,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0..64_u32).prop_map(Change::Flip),
        any::<u64>().prop_map(Change::Word),
        Just(Change::Word(0)),
        any::<u64>().prop_map(Change::Mix),
    ]
}

fn spot() -> impl Strategy<Value = Spot> {
    prop_oneof![
        4 => (0..64_usize, -4..12_i64).prop_map(|(ring, from_head)| Spot::Entry { ring, from_head }),
        2 => (0..64_usize, any::<bool>()).prop_map(|(ring, head)| Spot::Cursor { ring, head }),
        4 => (0..64_u64, 0..8_u64).prop_map(|(index, word)| Spot::Descriptor { index, word }),
        1 => (0..16_u64, 0..600_u64).prop_map(|(page, word)| Spot::Page { page, word }),
        1 => (0..1_000_000_u64).prop_map(Spot::Anywhere),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        24 => (0..4_usize, 1..6_usize).prop_map(|(stage, most)| Act::Turn { stage, most }),
        1 => (0..4_usize).prop_map(|stage| Act::Die { stage }),
        2 => (spot(), change()).prop_map(|(spot, change)| Act::Damage { spot, change }),
        1 => Just(Act::Patrol),
    ]
}

fn play(acts: &[Act]) {
    let memory = Memory::fresh();
    let mut crew = Crew::new(memory.arena());
    for act in acts {
        match act {
            Act::Turn { stage, most } => crew.turn(*stage, *most),
            Act::Die { stage } => crew.die(*stage),
            Act::Damage { spot, change } => {
                let touched = memory.damage(*spot, *change);
                crew.taint(&touched);
            }
            Act::Patrol => crew.patrol(),
        }
        crew.check_hands();
    }
    crew.renew();
    crew.settle();
    crew.check_all_is_home();
    crew.carries_frames();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, max_shrink_iters: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn damage_is_met_and_repaired(acts in prop::collection::vec(act(), 0..300)) {
        play(&acts);
    }

    /// The same without damage: deaths alone leave everything exact.
    #[test]
    fn without_damage_nothing_is_ever_poison(acts in prop::collection::vec(act(), 0..300)) {
        let acts: Vec<_> = acts.into_iter().filter(|a| !matches!(a, Act::Damage { .. })).collect();
        let memory = Memory::fresh();
        let mut crew = Crew::new(memory.arena());
        for act in &acts {
            match act {
                Act::Turn { stage, most } => crew.turn(*stage, *most),
                Act::Die { stage } => crew.die(*stage),
                Act::Patrol => crew.patrol(),
                Act::Damage { .. } => {}
            }
            crew.check_hands();
        }
        prop_assert_eq!((crew.poisons, crew.repairs), (0, 0));
        crew.settle();
        crew.check_all_is_home();
    }
}
