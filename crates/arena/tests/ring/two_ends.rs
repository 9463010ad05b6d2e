//! Two threads that share nothing but memory exchange a million buffers.

use crate::rig::{C, Hand, P, Rig, me};
use arena::sync::Ordering;
use std::time::{Duration, Instant};

const EXCHANGES: u64 = 1_000_000;
const LIMIT: Duration = Duration::from_mins(2);

/// Sends numbered buffers and takes them back; returns the numbers in the order in which they came home.
fn sender(rig: &Rig, deadline: Instant) -> u64 {
    let who = me(P, 1);
    let (mut out, mut back) = (rig.ring(0).producer(rig.table(), who), rig.ring(1).consumer(rig.table(), who));
    let mut hand = rig.take_all(who);
    hand.0.reserve(64);
    let (mut sent, mut home) = (0, 0);
    while home < EXCHANGES {
        while sent < EXCHANGES
            && let Some(held) = hand.0.pop()
        {
            rig.payload(held.index()).store(sent, Ordering::Relaxed);
            match out.push(held) {
                Ok(()) => sent += 1,
                Err(refused) => {
                    hand.0.push(refused.held);
                    break;
                }
            }
        }
        let first = hand.0.len();
        if back.pop_batch(&mut hand.0, 16).expect("no poison") == 0 {
            std::thread::yield_now();
        }
        for held in &hand.0[first..] {
            assert_eq!(rig.payload(held.index()).load(Ordering::Relaxed), home + EXCHANGES, "answers come in order");
            home += 1;
        }
        assert!(Instant::now() < deadline, "sender stalled at {home}");
    }
    home
}

/// Answers each numbered buffer.
fn echo(rig: &Rig, deadline: Instant) -> u64 {
    let who = me(C, 1);
    let (mut input, mut ret) = (rig.ring(0).consumer(rig.table(), who), rig.ring(1).producer(rig.table(), who));
    let (mut hand, mut seen) = (Hand::with_room(16), 0);
    while seen < EXCHANGES {
        if input.pop_batch(&mut hand.0, 1 + seen as usize % 16).expect("no poison") == 0 {
            std::thread::yield_now();
        }
        for held in hand.0.drain(..) {
            let number = rig.payload(held.index());
            assert_eq!(number.load(Ordering::Relaxed), seen, "each arrives once and in order");
            number.store(seen + EXCHANGES, Ordering::Relaxed);
            ret.push(held).expect("the way back has room for all");
            seen += 1;
        }
        assert!(Instant::now() < deadline, "echo stalled at {seen}");
    }
    seen
}

#[test]
fn a_million_buffers_arrive_once_and_in_order() {
    // More buffers than the way out has room for: the sender meets a full ring all the time.
    let rig = Rig::new(64, me(P, 0), 64, &[(P, C), (C, P)], u64::MAX - 500_000);
    let deadline = Instant::now() + LIMIT;
    let (home, seen) = std::thread::scope(|s| {
        let other = s.spawn(|| echo(&rig, deadline));
        (sender(&rig, deadline), other.join().expect("echo"))
    });
    assert_eq!((home, seen), (EXCHANGES, EXCHANGES));
    assert!(rig.content(0).is_empty() && rig.content(1).is_empty());
    assert!((0..64).all(|i| rig.owner(i).is(me(P, 1))), "all came home");
}
