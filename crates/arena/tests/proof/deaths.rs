//! A process dies before each of its stores, and whoever comes after it goes on, while its neighbours never stop.

use crate::engine::{Explored, dawdle, each_death, explore, once, spawn, yield_now};
use crate::flow::{consume, produce, written};
use crate::rig::{C, FIRST_POSITION, P, Shm, me, release, sorted};
use std::sync::Arc;

const SUCCESSOR: u32 = 2;

/// The producer dies while the consumer goes on; the next one pushes what comes back.
pub fn the_producer_dies() -> Explored {
    each_death(Explored { executions: 7_000, deaths: 4 }, |victim| {
        let shm = Shm::new(2, 0, P, 4, &[(P, C), (P, P)]);
        let hand = shm.hold(&[0, 1], me(P, 1));
        let (a, b, victim) = (Arc::clone(&shm), Arc::clone(&shm), victim.clone());
        let producer = spawn(move || victim.live(|| release(produce(&a, 0, me(P, 1), hand, 0))));
        let consumer = spawn(move || release(consume(&b, 0, me(C, 1), 2, 1)));
        producer.join().unwrap(); // stands for its pidfd
        shm.reclaim(me(P, 1));
        let mut kept = shm.drain(1, me(P, SUCCESSOR));
        let next = kept.pop();
        let left = produce(&shm, 0, me(P, SUCCESSOR), next.into_iter().collect(), 0);
        assert!(left.is_empty());
        let mut got = consumer.join().unwrap();
        got.extend(release(consume(&shm, 0, me(C, 1), 3, 2)));
        shm.audit(&[(me(C, 1), &got), (me(P, SUCCESSOR), &release(kept))]);
    })
}

/// The consumer dies while the producer goes on, and another one takes over.
fn the_consumer_dies(batch: usize) -> Explored {
    each_death(Explored { executions: 4_500, deaths: 4 }, move |victim| {
        let shm = Shm::new(3, 0, P, 4, &[(P, C), (C, C)]);
        let hand = shm.hold(&[0, 1, 2], me(P, 1));
        let (a, b, victim) = (Arc::clone(&shm), Arc::clone(&shm), victim.clone());
        let producer = spawn(move || produce(&a, 0, me(P, 1), hand, 0).len());
        let consumer = spawn(move || victim.live(|| release(consume(&b, 0, me(C, 1), 2, batch)).len()));
        consumer.join().unwrap();
        shm.reclaim(me(C, 1));
        let mut got = release(shm.drain(1, me(C, SUCCESSOR)));
        got.extend(release(consume(&shm, 0, me(C, SUCCESSOR), 2, batch)));
        assert_eq!(producer.join().unwrap(), 0);
        got.extend(release(consume(&shm, 0, me(C, SUCCESSOR), 3, batch)));
        assert_eq!(sorted(got.clone()), [0, 1, 2], "all come again");
        shm.audit(&[(me(C, SUCCESSOR), &got)]);
    })
}

pub fn the_consumer_of_single_buffers_dies() -> Explored {
    the_consumer_dies(1)
}

pub fn the_consumer_of_batches_dies() -> Explored {
    the_consumer_dies(2)
}

/// The supervisor dies during a sweep, while the dead producer's consumer goes on; its successor sweeps again. loom explores
/// little here, since a sweep reads words that others load and store; shuttle and `kill_step` cover it.
pub fn the_supervisor_dies() -> Explored {
    each_death(Explored { executions: 75, deaths: 4 }, |victim| {
        let shm = Shm::new(3, 0, P, 4, &[(P, C), (P, P)]);
        let mut hand = shm.hold(&[0, 1, 2], me(P, 1));
        let lost = release(hand.split_off(1));
        produce(&shm, 0, me(P, 1), hand, 0);
        let a = Arc::clone(&shm);
        let consumer = spawn(move || release(consume(&a, 0, me(C, 1), 1, 1)));
        dawdle();
        victim.live(|| shm.try_reclaim(me(P, 1)).map(|_| ()).expect("a sweep"));
        shm.reclaim(me(P, 1));
        let got = consumer.join().unwrap();
        let again = release(shm.drain(1, me(P, SUCCESSOR)));
        assert_eq!(again, lost);
        shm.audit(&[(me(C, 1), &got), (me(P, SUCCESSOR), &again)]);
    })
}

/// A successor dies while it takes what its predecessor left, and pushes it on; a third one finishes.
pub fn the_successor_dies_over_its_recovery_ring() -> Explored {
    each_death(Explored { executions: 6_000, deaths: 8 }, |victim| {
        let shm = Shm::new(2, 0, P, 4, &[(P, C), (P, P)]);
        for held in shm.hold(&[0, 1], me(P, 1)) {
            shm.payload(&held).write(written(held.index()));
            held.release();
        }
        assert_eq!(shm.reclaim(me(P, 1)).heads, 2);
        let (a, b, victim) = (Arc::clone(&shm), Arc::clone(&shm), victim.clone());
        let successor = spawn(move || {
            victim.live(|| {
                let back = consume(&a, 1, me(P, SUCCESSOR), 2, 1);
                produce(&a, 0, me(P, SUCCESSOR), back, 0).len()
            })
        });
        let consumer = spawn(move || release(consume(&b, 0, me(C, 1), 2, 1)));
        successor.join().unwrap();
        shm.reclaim(me(P, SUCCESSOR));
        let back = shm.drain(1, me(P, 3));
        produce(&shm, 0, me(P, 3), back, 0);
        let mut got = consumer.join().unwrap();
        got.extend(release(consume(&shm, 0, me(C, 1), 3, 2)));
        assert_eq!(sorted(got.clone()), [0, 1]);
        shm.audit(&[(me(C, 1), &got)]);
    })
}

/// A late sweep of an incarnation beside its successor, who is at work already, takes nothing of what he has.
pub fn a_late_sweep_leaves_the_successor_alone() -> Explored {
    explore(5, || {
        let shm = Shm::new(2, 0, P, 4, &[(P, C), (P, P)]);
        let mut lost = shm.hold(&[0, 1], me(P, 1));
        let home = lost.pop().into_iter().collect();
        shm.push(1, me(P, 1), home);
        release(lost);
        let a = Arc::clone(&shm);
        let successor = spawn(move || {
            let back = a.ring(1).consumer(a.table(), me(P, SUCCESSOR)).pop().expect("no poison");
            yield_now();
            release(back.into_iter().collect())
        });
        dawdle();
        shm.reclaim(me(P, 1));
        let mut held = successor.join().unwrap();
        held.extend(release(shm.drain(1, me(P, SUCCESSOR))));
        shm.audit(&[(me(P, SUCCESSOR), &held)]);
    })
}

/// Incarnation 1 claims an entry and dies; 2 dies before it does anything; the entry has to be stepped over. What incarnation
/// 1 claimed is swept all the same.
pub fn claims_of_earlier_incarnations_are_swept() -> Explored {
    once(|| {
        let shm = Shm::new(1, 0, P, 4, &[(P, C), (C, C)]);
        let hand = shm.hold(&[0], me(P, 1));
        shm.push(0, me(P, 1), hand);
        let died =
            arena::sync::death::dies_at(Some(1), || shm.ring(0).consumer(shm.table(), me(C, 1)).pop().map(|_| ()));
        assert!(died.is_err(), "between the word and the cursor");
        assert_eq!(shm.reclaim(me(C, 1)).heads, 0, "it is in the ring");
        assert!(shm.ring(0).step_over(FIRST_POSITION));
        assert_eq!(shm.reclaim(me(C, SUCCESSOR)).heads, 1);
        let got = shm.drain(1, me(C, 3));
        shm.audit(&[(me(C, 3), &release(got))]);
    })
}

/// What an earlier incarnation claimed is taken from the ring by whoever comes after it, however many died in between.
pub fn claims_of_earlier_incarnations_are_taken_over() -> Explored {
    once(|| {
        let shm = Shm::new(2, 0, P, 4, &[(P, C), (C, C)]);
        let hand = shm.hold(&[0, 1], me(P, 1));
        shm.push(0, me(P, 1), hand);
        for incarnation in 1..4 {
            let life = || {
                let mut out = Vec::with_capacity(2);
                let _ = shm.ring(0).consumer(shm.table(), me(C, incarnation)).pop_batch(&mut out, 2);
            };
            assert!(arena::sync::death::dies_at(Some(incarnation.min(2)), life).is_err());
            assert_eq!(shm.reclaim(me(C, incarnation)).heads, 0);
        }
        let got = shm.drain(0, me(C, 4));
        assert_eq!(got.len(), 2);
        shm.audit(&[(me(C, 4), &release(got))]);
    })
}
