//! Deaths while one incarnation hands over to the next: a stage that drains and parks, a supervisor that activates.

use crate::scenario::Deaths;
use crate::stages::{goes_on, input, output, three_frames};
use crate::tracer::{Core, interleave, say};
use crate::world::{ForChild, PRE, World, me, release};
use arena::page::Command;
use arena::reclaim::{Marks, reclaim};
use arena::sync::Ordering;
use arena::topology::RingKind;
use std::cell::RefCell;

const OLD: u32 = 3;
const STANDBY: u32 = 4;

/// A stage that is told to drain forwards what it has in hand and stores PARKED last. It may live on after that, so
/// PARKED must mean that it holds nothing; if it died before, the same sweep finds what it held.
#[test]
fn stage_drains_and_parks() {
    let world = three_frames();
    let (table, who) = (world.arena.table(), me(PRE, 1));
    let (page, control) = (world.arena.page(PRE).unwrap(), world.arena.control_word(PRE).unwrap());
    let order = Command::Drain { incarnation: who.incarnation, ticket: OLD };
    control.order(order);
    let (ends, room) =
        (RefCell::new((input(&world).consumer(table, who), output(&world).producer(table, who))), ForChild::room(2));
    let op = || {
        let ((from, to), mut batch) = (&mut *ends.borrow_mut(), room.hand());
        // Two in hand when the order is seen; the third stays in the ring.
        from.pop_batch(&mut batch, 2).unwrap();
        assert_eq!(control.command(), order);
        for held in batch.drain(..) {
            assert!(to.push(held).is_ok());
        }
        page.clear_current();
        page.parked.store(who.incarnation, Ordering::Release);
    };
    world.kill_each("stage forwards 2 heads and parks", Deaths::InBudget, 60..=800, &op, |at| {
        let swept = world.reclaim(who);
        if page.parked.load(Ordering::Acquire) == who.incarnation {
            assert_eq!((swept.heads, swept.slots), (0, 0), "death {at}: parked with something in hand");
        }
        control.order(Command::Active { incarnation: 2, ticket: STANDBY });
        goes_on(&world, at, me(PRE, 2));
    });
}

/// Two heads in the dead one's hand, one in its ring.
fn two_in_hand() -> World {
    let world = three_frames();
    let mut hand = Vec::with_capacity(2);
    input(&world).consumer(world.arena.table(), me(PRE, 1)).pop_batch(&mut hand, 2).unwrap();
    release(hand);
    let control = world.arena.control_word(PRE).unwrap();
    control.order(Command::Drain { incarnation: 1, ticket: OLD });
    world
}

/// The supervisor dies between its look at the dead one and the order to the standby. Only that order is the hand-over:
/// as long as it is not stored, the next supervisor sweeps again; once it is, the standby runs on what was swept.
#[test]
fn supervisor_hands_over() {
    let world = two_in_hand();
    let (table, dead, next) = (world.arena.table(), me(PRE, 1), me(PRE, 2));
    let (control, recovery) = (world.arena.control_word(PRE).unwrap(), world.ring(RingKind::Recovery, PRE, PRE));
    let (rings, marks) = (world.arena.rings_of(PRE), RefCell::new(Marks::new(table.len())));
    let activation = Command::Active { incarnation: next.incarnation, ticket: STANDBY };
    let op = || {
        assert_eq!(reclaim(table, dead, &rings, &recovery, false, &mut marks.borrow_mut()).unwrap().heads, 2);
        control.order(activation);
    };
    world.kill_each("supervisor sweeps and activates the standby", Deaths::Each, 200..=3000, &op, |at| {
        if control.command() != activation {
            world.reclaim(dead);
            control.order(activation);
        }
        goes_on(&world, at, next);
    });
}

/// The supervisor dies after the activation, and the next one, which cannot know how far that sweep came, sweeps again: the
/// standby is at work with a head in its hand, and what it has must not be given to its successor as well.
#[test]
fn sweep_comes_late() {
    let world = two_in_hand();
    let (table, dead, next) = (world.arena.table(), me(PRE, 1), me(PRE, 2));
    assert_eq!(world.reclaim(dead).heads, 2);
    let recovery = world.ring(RingKind::Recovery, PRE, PRE);
    let head = recovery.consumer(table, next).pop().unwrap().unwrap().release();
    let (rings, marks) = (world.arena.rings_of(PRE), RefCell::new(Marks::new(table.len())));
    let control = world.arena.control_word(PRE).unwrap();
    let op = || {
        assert_eq!(reclaim(table, dead, &rings, &recovery, false, &mut marks.borrow_mut()).unwrap().heads, 0);
        control.order(Command::Active { incarnation: next.incarnation, ticket: STANDBY });
    };
    world.kill_each("late sweep, its successor is at work", Deaths::Each, 200..=3000, &op, |at| {
        assert_eq!(world.reclaim(dead).heads, 0, "death {at}");
        let word = table.get(head).unwrap().owner();
        assert!(word.is(next), "death {at}: what it has in hand is its own, {word:?}");
        // It goes on with what it has in hand; the handle is made again, since each death begins with the same one.
        world.push_all(&output(&world), next, vec![world.take(head, next)]);
        goes_on(&world, at, next);
    });
}

/// A standby opens its ring ends while the incarnation before it is still at work, which takes a head between any two of
/// its instructions: attaching must not write, not even what it has read.
#[test]
fn standby_attaches_without_writing() {
    let _core = Core::take();
    let world = three_frames();
    let (table, old, next) = (world.arena.table(), me(PRE, 1), me(PRE, 2));
    let (from, to, recovery) = (input(&world), output(&world), world.ring(RingKind::Recovery, PRE, PRE));
    let start = world.snapshot();
    let op = || {
        let ends = (from.consumer(table, next), recovery.consumer(table, next), to.producer(table, next));
        std::hint::black_box(&ends);
    };
    let mut instructions = 0;
    let forward_one = || {
        let head = from.consumer(table, old).pop().unwrap().unwrap();
        world.push_all(&to, old, vec![head]);
    };
    while interleave(&op, instructions, forward_one) {
        world.reclaim(old);
        goes_on(&world, instructions, next);
        world.restore(&start);
        instructions += 1;
    }
    assert!(instructions > 20, "{instructions} instructions: nothing was opened");
    say(&format!(
        "standby opens its ring ends: the old one takes a head between any two of {instructions} instructions"
    ));
}
