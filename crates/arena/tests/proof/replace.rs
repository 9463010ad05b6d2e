//! One incarnation takes the place of another: by order, after a death, by a standby that was there before.

use crate::engine::{Explored, dawdle, each_death, explore, once, spawn, yield_now};
use crate::rig::{C, P, Shm, me, release, sorted};
use arena::Me;
use arena::page::Command;
use arena::sync::Ordering;
use arena::sync::death::dies_at;
use std::sync::Arc;

/// The loop of a stage that takes from ring 0 and pushes to ring 2: works while it is ordered to, then stores PARKED.
fn stage(shm: &Shm, who: Me, ticket: u32, turns: usize) {
    let active = Command::Active { incarnation: who.incarnation, ticket };
    let drain = Command::Drain { incarnation: who.incarnation, ticket };
    let mut from = shm.ring(0).consumer(shm.table(), who);
    let mut to = shm.ring(2).producer(shm.table(), who);
    let mut hand = Vec::with_capacity(2);
    for held in shm.drain(1, who) {
        assert!(to.push(held).is_ok());
    }
    for _ in 0..turns {
        match shm.control.command() {
            command if command == drain => {
                shm.parked.store(who.incarnation, Ordering::Release);
                return;
            }
            command => assert_eq!(command, active, "nobody else is active beside it"),
        }
        if from.pop_batch(&mut hand, 2).expect("no poison") == 0 {
            yield_now();
        }
        for held in hand.drain(..) {
            assert!(to.push(held).is_ok());
        }
    }
}

/// Ordered to drain, an incarnation parks, or dies on the way; then the standby, there since before, is activated.
pub fn a_standby_takes_over() -> Explored {
    each_death(Explored { executions: 120_000, deaths: 8 }, |victim| {
        let shm = Shm::new(2, 0, P, 4, &[(P, C), (C, C), (C, P)]);
        let mut hand = shm.hold(&[0, 1], me(P, 1));
        let later = hand.split_off(1);
        shm.push(0, me(P, 1), hand);
        shm.control.order(Command::Active { incarnation: 1, ticket: 7 });
        let (a, b, victim) = (Arc::clone(&shm), Arc::clone(&shm), victim.clone());
        let first = spawn(move || victim.live(|| stage(&a, me(C, 1), 7, 2)));
        let standby = spawn(move || {
            // Attached and prepared; touches nothing before it is named.
            for _ in 0..2 {
                if let Command::Active { incarnation, ticket: 8 } = b.control.command() {
                    stage(&b, me(C, incarnation), 8, 2);
                    return true;
                }
                yield_now();
            }
            false
        });
        dawdle();
        shm.control.order(Command::Drain { incarnation: 1, ticket: 7 });
        shm.push(0, me(P, 1), later); // upstream does not stop
        let parked = shm.parked.load(Ordering::Acquire) == 1;
        let mut first = Some(first);
        if !parked {
            first.take().expect("not joined").join().unwrap(); // SIGKILL after drain_ms, and its pidfd
        }
        shm.reclaim(me(C, 1));
        shm.control.order(Command::Active { incarnation: 2, ticket: 8 });
        let ran = standby.join().unwrap();
        if let Some(first) = first {
            first.join().unwrap();
        }
        if !ran {
            stage(&shm, me(C, 2), 8, 1);
        }
        stage(&shm, me(C, 2), 8, 2);
        let done = release(shm.drain(2, me(P, 1)));
        assert_eq!(sorted(done.clone()), [0, 1]);
        shm.audit(&[(me(P, 1), &done)]);
    })
}

/// Who sees PARKED sees every commit before it.
pub fn parked_comes_after_every_commit() -> Explored {
    explore(20, || {
        let shm = Shm::new(1, 0, P, 4, &[(P, C), (C, C), (C, P)]);
        let hand = shm.hold(&[0], me(P, 1));
        shm.push(0, me(P, 1), hand);
        shm.control.order(Command::Active { incarnation: 1, ticket: 7 });
        let (a, b) = (Arc::clone(&shm), Arc::clone(&shm));
        let first = spawn(move || {
            let held = a.ring(0).consumer(a.table(), me(C, 1)).pop().expect("no poison").expect("an entry");
            assert!(a.ring(2).producer(a.table(), me(C, 1)).push(held).is_ok());
            a.parked.store(1, Ordering::Release);
        });
        let second = spawn(move || {
            (b.parked.load(Ordering::Acquire) == 1).then(|| {
                b.reclaim(me(C, 1));
                b.drain(0, me(C, 2)).len() + b.drain(1, me(C, 2)).len() + release(b.drain(2, me(P, 1))).len()
            })
        });
        first.join().unwrap();
        if let Some(found) = second.join().unwrap() {
            assert_eq!(found, 1, "the one that was pushed before PARKED");
        }
    })
}

/// Opening ring ends stores nothing: whoever is told to go before he is activated has changed nothing.
pub fn attaching_writes_nothing() -> Explored {
    once(|| {
        let shm = Shm::new(2, 0, P, 4, &[(P, C)]);
        let mut hand = shm.hold(&[0, 1], me(P, 1));
        let second = hand.split_off(1);
        shm.push(0, me(P, 1), hand);
        let open = || {
            let ring = shm.ring(0);
            let (producer, consumer) = (ring.producer(shm.table(), me(P, 2)), ring.consumer(shm.table(), me(C, 2)));
            assert!(!consumer.is_empty() && producer.look() == 1 && consumer.depth() == 1);
            ring.for_each(|index, _| assert_eq!(index, 0));
        };
        assert_eq!(dies_at(Some(0), open), Ok(()), "a store");
        assert_eq!(release(second), [1]);
    })
}

/// A standby that was started before a restart gets a number above all of that time, or its claims would be poison.
pub fn a_standby_is_numbered_at_its_activation() -> Explored {
    once(|| {
        let shm = Shm::new(1, 0, P, 4, &[(P, C), (C, C)]);
        let hand = shm.hold(&[0], me(P, 1));
        shm.push(0, me(P, 1), hand);
        let third = || shm.ring(0).consumer(shm.table(), me(C, 3)).pop().map(|_| ());
        assert!(dies_at(Some(1), third).is_err());
        shm.reclaim(me(C, 3));
        assert!(shm.ring(0).consumer(shm.table(), me(C, 2)).pop().is_err(), "a number from before");
        let got = release(shm.drain(0, me(C, 4)));
        shm.audit(&[(me(C, 4), &got)]);
    })
}
