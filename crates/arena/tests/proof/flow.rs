//! Buffers on their way: push and pop, batches, full and empty rings, wrapping cursors, and what must be refused.

use crate::engine::{Explored, explore, once, spawn, yield_now};
use crate::rig::{C, FIRST_POSITION, P, Shm, me, release};
use arena::ring::{Fault, PoisonReason};
use arena::sync::Ordering;
use arena::{Held, Me};
use std::sync::Arc;

/// What the payload of a buffer says once its producer has written it.
pub fn written(index: u32) -> u64 {
    100 + u64::from(index)
}

/// Writes to each buffer and pushes it, waiting for room up to `tries` times; returns what is left in hand.
pub fn produce(shm: &Shm, ring: usize, me: Me, hand: Vec<Held>, tries: usize) -> Vec<Held> {
    let mut to = shm.ring(ring).producer(shm.table(), me);
    let (mut left, mut tries) = (Vec::new(), tries);
    for held in hand {
        shm.payload(&held).write(written(held.index()));
        let mut next = Some(held);
        while let Some(held) = next.take() {
            match to.push(held) {
                Ok(()) => {}
                Err(refused) if refused.fault == Fault::Full && tries > 0 => {
                    tries -= 1;
                    next = Some(refused.held);
                    yield_now();
                }
                Err(refused) if refused.fault == Fault::Full => left.push(refused.held),
                Err(refused) => panic!("buffer {}: {}", refused.held.release(), refused.fault),
            }
        }
    }
    left
}

/// Pops up to `batch` at a time, `tries` times, and reads each; returns what it got.
pub fn consume(shm: &Shm, ring: usize, me: Me, tries: usize, batch: usize) -> Vec<Held> {
    let mut from = shm.ring(ring).consumer(shm.table(), me);
    let mut got = Vec::with_capacity(16);
    for _ in 0..tries {
        let first = got.len();
        if from.pop_batch(&mut got, batch).expect("no poison") == 0 {
            yield_now();
        }
        for held in &got[first..] {
            assert_eq!(shm.payload(held).read(), written(held.index()), "what was written before the push");
        }
    }
    got
}

/// A producer and a consumer of `buffers` buffers over a ring of `capacity`.
fn exchange(buffers: u32, capacity: usize, batch: usize, tries: usize) {
    let shm = Shm::new(buffers, 0, P, capacity, &[(P, C)]);
    let all: Vec<_> = (0..buffers).collect();
    let hand = shm.hold(&all, me(P, 1));
    let (a, b) = (Arc::clone(&shm), Arc::clone(&shm));
    let producer = spawn(move || release(produce(&a, 0, me(P, 1), hand, tries)));
    let consumer = spawn(move || release(consume(&b, 0, me(C, 1), tries, batch)));
    let (kept, mut got) = (producer.join().unwrap(), consumer.join().unwrap());
    assert_eq!(got, all[..got.len()], "in order");
    shm.audit(&[(me(P, 1), &kept), (me(C, 1), &got)]);
    got.extend(release(shm.drain(0, me(C, 1))));
    assert_eq!(got.len() + kept.len(), buffers as usize);
}

pub fn push_and_pop() -> Explored {
    explore(50, || exchange(2, 4, 1, 3))
}

pub fn a_batch() -> Explored {
    explore(50, || exchange(3, 4, 2, 2))
}

pub fn a_full_ring() -> Explored {
    explore(50, || exchange(3, 2, 1, 2))
}

pub fn an_empty_ring() -> Explored {
    once(|| {
        let shm = Shm::new(1, 0, P, 2, &[(P, C)]);
        assert_eq!(consume(&shm, 0, me(C, 1), 2, 2).len(), 0);
        assert!(shm.ring(0).consumer(shm.table(), me(C, 1)).is_empty());
        assert_eq!((shm.ring(0).depth(), shm.ring(0).count()), (0, 0));
    })
}

/// 300 laps of a ring of two: the lap's eight bits go round, and the cursors pass the end of 64 bits.
pub fn many_laps() -> Explored {
    once(|| {
        let shm = Shm::new(1, 0, P, 2, &[(P, C), (C, P)]);
        let mut hand = shm.hold(&[0], me(P, 1));
        let (mut out, mut input) =
            (shm.ring(0).producer(shm.table(), me(P, 1)), shm.ring(0).consumer(shm.table(), me(C, 1)));
        let (mut back, mut home) =
            (shm.ring(1).producer(shm.table(), me(C, 1)), shm.ring(1).consumer(shm.table(), me(P, 1)));
        for lap in 0..600 {
            assert!(out.push(hand.pop().expect("in hand")).is_ok());
            assert_eq!(shm.ring(0).count(), 1, "lap {lap}");
            let there = input.pop().expect("no poison").expect("an entry");
            assert!(back.push(there).is_ok());
            hand.extend(home.pop().expect("no poison"));
        }
        shm.audit(&[(me(P, 1), &release(hand))]);
    })
}

/// A producer of many laps dies; the next one finds the end of the ring.
pub fn the_end_after_many_laps() -> Explored {
    once(|| {
        let shm = Shm::new(3, 0, P, 2, &[(P, C), (C, P)]);
        let mut hand = shm.hold(&[0, 1, 2], me(P, 1));
        for _ in 0..7 {
            let next = hand.remove(0);
            shm.push(0, me(P, 1), vec![next]);
            let there = shm.drain(0, me(C, 1));
            shm.push(1, me(C, 1), there);
            hand.extend(shm.drain(1, me(P, 1)));
        }
        let next = hand.remove(0);
        shm.push(0, me(P, 1), vec![next]);
        // The gauge is behind, as after a death between commit and gauge.
        let mut kept: Vec<_> =
            hand.into_iter().map(|h| shm.table().adopt(h.release(), me(P, 2)).expect("older")).collect();
        let next = kept.remove(0);
        shm.push(0, me(P, 2), vec![next]);
        let got = shm.drain(0, me(C, 1));
        assert_eq!(got.len(), 2, "both are there");
        shm.audit(&[(me(C, 1), &release(got)), (me(P, 2), &release(kept))]);
    })
}

/// A buffer pushed twice is taken once.
pub fn a_second_push_is_poison() -> Explored {
    once(|| {
        let shm = Shm::new(1, 0, P, 4, &[(P, C)]);
        let twice = shm.hold(&[0], me(P, 1)).into_iter().next().map(Held::release);
        let again = || shm.table().take(twice.unwrap(), me(P, 1));
        let mut to = shm.ring(0).producer(shm.table(), me(P, 1));
        let first = again().expect("in range");
        assert!(to.push(first).is_ok());
        // The same entry once more, as a producer would that has lost count.
        let entry = shm.entry(0, FIRST_POSITION).load(Ordering::Relaxed);
        let next = FIRST_POSITION.wrapping_add(1);
        let lap = lap_of(next);
        shm.entry(0, next).store(entry & !(0xff << 32) | lap << 32, Ordering::Release);
        let mut from = shm.ring(0).consumer(shm.table(), me(C, 1));
        let held = from.pop().expect("no poison").expect("an entry").release();
        let poison = from.pop().expect_err("it is mine already");
        assert_eq!((poison.reason, poison.position), (PoisonReason::Owner, next));
        assert_eq!(held, 0);
    })
}

/// The lap that is due at `position` of a ring of four, as the ring's documentation gives it.
fn lap_of(position: u64) -> u64 {
    (position >> 2).wrapping_add(1) & 0xff
}

/// An entry from two changes of hands ago does not pass for today's, although owner and index are the same.
pub fn a_stale_entry_is_poison() -> Explored {
    once(|| {
        let shm = Shm::new(1, 0, P, 4, &[(P, C), (C, P)]);
        let hand = shm.hold(&[0], me(P, 1));
        shm.push(0, me(P, 1), hand);
        let stale = shm.entry(0, FIRST_POSITION).load(Ordering::Relaxed);
        let there = shm.drain(0, me(C, 1));
        shm.push(1, me(C, 1), there);
        let home = release(shm.drain(1, me(P, 1)));
        let next = FIRST_POSITION.wrapping_add(1);
        shm.entry(0, next).store(stale & !(0xff << 32) | lap_of(next) << 32, Ordering::Release);
        let poison = shm.ring(0).consumer(shm.table(), me(C, 1)).pop().expect_err("P holds it");
        assert_eq!(poison.reason, PoisonReason::Owner);
        // Stepped over, it can be neither poison nor an entry again: the place waits for its next lap.
        assert!(shm.ring(0).step_over(poison.position));
        let mut again: Vec<_> = home.into_iter().map(|i| shm.table().take(i, me(P, 1)).expect("in range")).collect();
        for _ in 0..6 {
            shm.push(0, me(P, 1), again);
            let there = shm.drain(0, me(C, 1));
            assert_eq!(there.len(), 1);
            shm.push(1, me(C, 1), there);
            again = shm.drain(1, me(P, 1));
        }
        shm.audit(&[(me(P, 1), &release(again))]);
    })
}

/// An entry that nobody committed, with an impossible lap, is made empty again, and the ring goes on.
pub fn a_damaged_lap_is_stepped_over() -> Explored {
    once(|| {
        let shm = Shm::new(3, 0, P, 2, &[(P, C)]);
        let mut hand = shm.hold(&[0, 1, 2], me(P, 1));
        let last = hand.pop().expect("three");
        let next = hand.pop().expect("two");
        shm.push(0, me(P, 1), hand);
        let word = shm.entry(0, FIRST_POSITION).load(Ordering::Relaxed);
        shm.entry(0, FIRST_POSITION).store(word ^ 0x55 << 32, Ordering::Release);
        let poison = shm.ring(0).consumer(shm.table(), me(C, 1)).pop().expect_err("no such lap");
        assert_eq!(poison.reason, PoisonReason::Lap);
        assert!(shm.ring(0).step_over(poison.position));
        assert!(!shm.ring(0).step_over(poison.position), "once");
        // The buffer stays with the one its word names; the next entries pass, twice round this place.
        let mut to = shm.ring(0).producer(shm.table(), me(P, 1));
        for held in [next, last] {
            let none = shm.ring(0).consumer(shm.table(), me(C, 1)).pop().expect("no poison before the next push");
            assert!(none.is_none());
            assert!(to.push(held).is_ok());
            let got = shm.ring(0).consumer(shm.table(), me(C, 1)).pop().expect("no poison").expect("an entry");
            got.release();
        }
        shm.audit(&[(me(P, 1), &[0]), (me(C, 1), &[1, 2])]);
    })
}

/// An index behind the last descriptor names nothing, wherever it stands.
pub fn an_index_out_of_range_is_poison() -> Explored {
    once(|| {
        let shm = Shm::new(2, 1, P, 4, &[(P, C)]);
        let table = shm.table();
        let hand = shm.hold(&[0, 1, 2], me(P, 1));
        shm.push(0, me(P, 1), hand);
        let word = shm.entry(0, FIRST_POSITION).load(Ordering::Relaxed);
        shm.entry(0, FIRST_POSITION).store(word | 3 << 40, Ordering::Release);
        assert!(shm.ring(0).consumer(table, me(C, 1)).pop().is_err());
        table.get(0).expect("a head").slot.store(3, Ordering::Relaxed);
        assert_eq!(table.slot_of(0), None);
        table.get(0).expect("a head").next.store(3, Ordering::Relaxed);
        table.get(0).expect("a head").segments.store(1, Ordering::Relaxed);
        assert_eq!(table.segments(0).count(), 0);
        assert!(table.take(3, me(C, 1)).is_none());
    })
}
