//! Push, pop and batches: order, fullness, laps, successors, against a queue.

use crate::rig::{C, Hand, P, Rig, me};
use arena::ring::{Consumer, Fault, Producer};
use arena::sync::Ordering;
use proptest::prelude::*;
use std::collections::VecDeque;

const BUFFERS: u32 = 12;

#[derive(Clone, Debug)]
enum Step {
    Push,
    PopBatch(usize),
    Pop,
    Return,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Push),
        1 => (0..6_usize).prop_map(Step::PopBatch),
        2 => Just(Step::Pop),
        1 => Just(Step::Return),
    ]
}

/// Cursors that start at 0, anywhere, and so that they wrap within the test.
fn start() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), any::<u64>(), (0..60_u64).prop_map(|n| u64::MAX - n)]
}

fn push_is_as_the_oracle(out: &mut Producer<'_>, hand: &mut Hand, oracle: &mut VecDeque<u32>) {
    let Some(held) = hand.0.pop() else { return };
    let (index, full) = (held.index(), oracle.len() as u64 == out.ring().capacity());
    match out.push(held) {
        Ok(()) => {
            assert!(!full, "pushed into a full ring");
            oracle.push_back(index);
        }
        Err(refused) => {
            assert!(full && refused.fault == Fault::Full, "refused with {} of {}", oracle.len(), out.ring().capacity());
            assert_eq!(refused.held.index(), index);
            hand.0.push(refused.held);
        }
    }
}

fn check_gauges(out: &mut Producer<'_>, input: &Consumer<'_>, oracle: &VecDeque<u32>) {
    let (depth, capacity) = (oracle.len() as u64, out.ring().capacity());
    assert_eq!((out.ring().count(), out.ring().depth(), out.depth(), input.depth()), (depth, depth, depth, depth));
    assert_eq!(out.room(capacity), Ok(capacity - depth));
    assert_eq!(input.is_empty(), oracle.is_empty());
}

proptest! {
    #[test]
    fn a_ring_is_a_bounded_queue(bits in 1..4_u32, start in start(), steps in prop::collection::vec(step(), 0..300)) {
        let rig = Rig::new(BUFFERS, me(P, 1), 1 << bits, &[(P, C), (C, P)], start);
        let (mut out, mut back) = (rig.ring(0).producer(rig.table(), me(P, 1)), rig.ring(1).consumer(rig.table(), me(P, 1)));
        let (mut input, mut ret) = (rig.ring(0).consumer(rig.table(), me(C, 1)), rig.ring(1).producer(rig.table(), me(C, 1)));
        let (mut p, mut c) = (rig.take_all(me(P, 1)), Hand::with_room(64));
        let mut oracle = VecDeque::new();
        for step in steps {
            match step {
                Step::Push => push_is_as_the_oracle(&mut out, &mut p, &mut oracle),
                Step::Pop => {
                    let held = input.pop().unwrap();
                    assert_eq!(held.as_ref().map(arena::Held::index), oracle.pop_front());
                    c.0.extend(held);
                }
                Step::PopBatch(max) => {
                    let first = c.0.len();
                    let n = input.pop_batch(&mut c.0, max).unwrap();
                    assert_eq!(n, max.min(oracle.len()));
                    assert_eq!(c.indices()[first..], oracle.drain(..n).collect::<Vec<_>>());
                }
                Step::Return => {
                    if let Some(held) = c.0.pop() && let Err(refused) = ret.push(held) {
                        c.0.push(refused.held);
                    }
                    p.0.extend(back.pop().unwrap());
                }
            }
            assert!(c.0.iter().all(|h| rig.owner(h.index()).is(me(C, 1))), "a popped buffer is its taker's");
            assert_eq!(rig.content(0), oracle.iter().copied().collect::<Vec<_>>());
            check_gauges(&mut out, &input, &oracle);
        }
    }
}

/// The lap has 8 bits: 300 laps show that an entry of 256 laps ago is not taken for a new one.
#[test]
fn three_hundred_laps_across_the_end_of_the_cursors() {
    let (capacity, laps) = (4_usize, 300);
    let start = u64::MAX - 601;
    let rig = Rig::new(8, me(P, 1), capacity, &[(P, C), (C, P)], start);
    let (mut out, mut back) =
        (rig.ring(0).producer(rig.table(), me(P, 1)), rig.ring(1).consumer(rig.table(), me(P, 1)));
    let (mut input, mut ret) =
        (rig.ring(0).consumer(rig.table(), me(C, 1)), rig.ring(1).producer(rig.table(), me(C, 1)));
    let (mut p, mut c) = (rig.take_all(me(P, 1)), Hand::with_room(8));
    for lap in 0..laps {
        let mut sent = Vec::new();
        for _ in 0..capacity {
            let held = p.0.remove(0);
            sent.push(held.index());
            out.push(held).expect("there is room");
        }
        let refused = out.push(p.0.remove(0)).expect_err("the ring is full");
        assert_eq!(refused.fault, Fault::Full);
        p.0.push(refused.held);
        let (a, b) = (lap % 3 + 1, capacity);
        assert_eq!(input.pop_batch(&mut c.0, a).unwrap(), a, "lap {lap}");
        assert_eq!(input.pop_batch(&mut c.0, b).unwrap(), capacity - a, "lap {lap}");
        assert_eq!((c.indices(), input.is_empty()), (sent, true), "lap {lap}");
        for held in c.0.drain(..) {
            ret.push(held).expect("there is room");
        }
        assert_eq!(back.pop_batch(&mut p.0, 8).unwrap(), capacity);
    }
    assert_eq!(rig.head(0).load(Ordering::Relaxed), start.wrapping_add(300 * 4), "the cursor went past its end");
}

/// A batch never exceeds the room of the vector that it goes into: nothing is allocated.
#[test]
fn a_batch_keeps_to_the_room_of_its_vector() {
    let rig = Rig::new(4, me(P, 1), 8, &[(P, C)], 0);
    let mut out = rig.ring(0).producer(rig.table(), me(P, 1));
    for held in rig.take_all(me(P, 1)).0.drain(..) {
        out.push(held).unwrap();
    }
    let mut input = rig.ring(0).consumer(rig.table(), me(C, 1));
    let mut c = Hand::with_room(3);
    let room = c.0.capacity();
    assert_eq!(input.pop_batch(&mut c.0, 99).unwrap(), room.min(4));
    assert_eq!(c.0.capacity(), room);
}

/// Each push and each pop is done by a new incarnation that knows only what lies in memory, the depth gauge being wrong.
#[test]
fn successors_find_both_ends_whatever_the_gauge_says() {
    let rig = Rig::new(6, me(P, 0), 4, &[(P, C)], u64::MAX - 21);
    let mut oracle = VecDeque::new();
    for turn in 1..200_u32 {
        for n in 0..3 {
            let now = me(P, 2 * turn + n % 2);
            let index = (turn + n) % 6;
            if oracle.contains(&index) {
                continue;
            }
            let held = rig.table().take(index, now).unwrap();
            rig.tail(0).store(u64::from(turn).wrapping_mul(0x9e37_79b9_7f4a_7c15), Ordering::Relaxed);
            match rig.ring(0).producer(rig.table(), now).push(held) {
                Ok(()) => oracle.push_back(index),
                Err(refused) => {
                    assert_eq!((refused.fault, oracle.len()), (Fault::Full, 4));
                    refused.held.release();
                }
            }
        }
        for n in 0..2 {
            let held = rig.ring(0).consumer(rig.table(), me(C, 2 * turn + n)).pop().unwrap();
            assert_eq!(held.map(arena::Held::release), oracle.pop_front(), "turn {turn}");
        }
    }
}

/// A dead consumer claimed entries and never stored its cursor: the next incarnation takes them all the same, once.
#[test]
fn claims_without_commit_are_taken_over() {
    let rig = Rig::new(4, me(P, 1), 8, &[(P, C)], 0);
    let mut out = rig.ring(0).producer(rig.table(), me(P, 1));
    for held in rig.take_all(me(P, 1)).0.drain(..) {
        out.push(held).unwrap();
    }
    for index in 0..3 {
        rig.table().take(index, me(C, 1)).unwrap().release();
    }
    assert_eq!(rig.head(0).load(Ordering::Relaxed), 0);
    let mut input = rig.ring(0).consumer(rig.table(), me(C, 2));
    let mut c = Hand::with_room(8);
    assert_eq!(input.pop_batch(&mut c.0, 8).unwrap(), 4);
    assert_eq!(c.indices(), [0, 1, 2, 3]);
    // The claim counted as the one change of hands that it was.
    assert!((0..4).all(|i| rig.owner(i) == arena::Owner { id: C, incarnation: 2, seq: 3 }));
}
