//! No wake-up is lost, however commit and falling asleep interleave.

use arena::doorbell::{Doorbells, announce_sleep, awake, create};
use arena::page::StagePage;
use arena::sync::{AtomicU64, Ordering};
use arena::topology::{RX, TX};
use arena::{Arena, OwnerId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};

const ROUNDS: u64 = 100_000;
/// A missing fence shows once in some ten thousand meetings, and only while both sides really run at the same time.
const MEETINGS: u64 = 300_000;
/// On a busy machine there are fewer.
const MEETINGS_LIMIT: Duration = Duration::from_secs(4);
/// Far beyond any delay of the scheduler: a sleep this long is a lost wake-up.
const LOST: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
const LIMIT: Duration = Duration::from_mins(2);

/// Sleeps until `input` shows `round`, as a stage does; returns whether it really slept.
fn wait_for(round: u64, input: &StagePage, mine: (OwnerId, &StagePage), bells: &Doorbells, spins: u64) -> bool {
    let there = || input.heartbeat_ns.load(Ordering::Acquire) >= round;
    // Varies when sleep is announced relative to the other side's commit.
    for _ in 0..spins {
        if there() {
            return false;
        }
    }
    let (mut slept, bell) = (false, bells.fd(mine.0).expect("my doorbell"));
    while !there() {
        announce_sleep(mine.1);
        if !there() {
            let n = poll(&mut [PollFd::new(&bell, PollFlags::IN)], Some(&LOST)).expect("poll");
            assert!(n == 1, "a wake-up was lost in round {round}");
            let _ = rustix::io::read(bell, &mut [0; 8]);
            slept = true;
        }
        awake(mine.1);
    }
    slept
}

/// Plays one side: waits for its turn, commits, rings. Returns how many times it slept.
fn play(arena: &Arena, bells: &Doorbells, me: OwnerId, other: OwnerId, first: bool) -> u64 {
    let (mine, input) = (arena.page(me).unwrap(), arena.page(other).unwrap());
    let (mut sleeps, mut random) = (0, u64::from(me.0));
    for round in 1..=ROUNDS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let awaited = if first { round - 1 } else { round };
        sleeps += u64::from(wait_for(awaited, input, (me, mine), bells, random >> 57));
        // The commit: here a counter of this side's page stands for a ring entry.
        mine.heartbeat_ns.store(round, Ordering::Release);
        bells.ring(other);
    }
    sleeps
}

#[test]
fn no_wake_up_is_lost() {
    let (arena, _regions) = crate::small();
    let bells = Doorbells::new(&arena, [create().ok(), create().ok()]);
    let begin = Instant::now();
    let (a, b) = std::thread::scope(|s| {
        let other = s.spawn(|| play(&arena, &bells, TX, RX, false));
        (play(&arena, &bells, RX, TX, true), other.join().expect("the other side"))
    });
    assert!(begin.elapsed() < LIMIT, "took {:?}", begin.elapsed());
    assert!(a + b > 100, "nobody slept ({a}, {b} times): the test shows nothing");
}

#[test]
fn the_bell_is_rung_for_sleepers_alone() {
    let (arena, _regions) = crate::small();
    let bells = Doorbells::new(&arena, [create().ok(), None]);
    let rung = || {
        let mut value = [0; 8];
        rustix::io::read(bells.fd(RX).unwrap(), &mut value).is_ok()
    };
    let page = arena.page(RX).unwrap();
    bells.ring(RX);
    assert!(!rung(), "it is awake");
    announce_sleep(page);
    bells.ring(RX);
    assert!(rung());
    awake(page);
    bells.ring(RX);
    assert!(!rung());
    bells.ring_always(RX);
    assert!(rung());
    // Nobody's doorbell, and numbers that name no stage.
    for id in [TX, OwnerId::SUPERVISOR, OwnerId(99), OwnerId::ATTACHED] {
        bells.ring(id);
        bells.ring_always(id);
        assert!(bells.fd(id).is_none());
    }
}

/// Waits for the other side of a round: busily, so that both go on within nanoseconds of each other.
fn meet(other: &AtomicU64, round: u64) {
    let mut turns = 0_u32;
    while other.load(Ordering::Acquire) < round {
        turns += 1;
        if turns.is_multiple_of(4096) {
            std::thread::yield_now();
        }
    }
}

/// Passes some turns of an empty loop.
fn linger(turns: u64) {
    for n in 0..turns {
        std::hint::black_box(n);
    }
}

/// The heart of it, without sleeping: falling asleep and committing happen at the same time, round for round. Either the
/// sleeper sees the commit, or the doorbell rings. A missing fence on either side shows here.
#[test]
fn either_the_sleeper_sees_the_commit_or_the_bell_rings() {
    let (arena, _regions) = crate::small();
    let bells = Doorbells::new(&arena, [create().ok()]);
    let (page, commit) = (arena.page(RX).unwrap(), &arena.page(TX).unwrap().heartbeat_ns);
    let (ready, done) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|s| {
        s.spawn(|| {
            for round in 1..=MEETINGS {
                meet(&ready, round);
                if ready.load(Ordering::Acquire) == u64::MAX {
                    break;
                }
                linger(round % 16);
                // With the sleeper's word at hand and the commit's line elsewhere, a load that is not fenced comes first.
                std::hint::black_box(page.sleeping.load(Ordering::Relaxed));
                commit.store(round, Ordering::Release);
                bells.ring(RX);
                done.store(round, Ordering::Release);
            }
        });
        let (mut delay, mut saw_commit) = (0_u64, 0);
        let (begin, mut met) = (Instant::now(), 0);
        for round in 1..=MEETINGS {
            if begin.elapsed() > MEETINGS_LIMIT {
                ready.store(u64::MAX, Ordering::Release);
                break;
            }
            ready.store(round, Ordering::Release);
            // The delay is steered to where both are equally often first: there the two meet within nanoseconds.
            linger(delay + round % 11);
            announce_sleep(page);
            let saw = commit.load(Ordering::Acquire) == round;
            meet(&done, round);
            let rung = rustix::io::read(bells.fd(RX).unwrap(), &mut [0; 8]).is_ok();
            awake(page);
            assert!(saw || rung, "round {round}: neither saw the other");
            (met, saw_commit) = (round, saw_commit + u64::from(saw));
            delay = if saw { delay.saturating_sub(4) } else { (delay + 4).min(10_000) };
        }
        println!("the sleeper saw the commit in {saw_commit} of {met} rounds");
    });
}
