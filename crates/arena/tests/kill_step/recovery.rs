//! Deaths of a successor: while it drains its recovery ring, and while it starts as the standby that was activated.

use crate::scenario::Deaths;
use crate::stages::{input, output, successor_forwards_all, three_frames};
use crate::world::{ForChild, PRE, World, me, release};
use arena::page::Command;
use arena::topology::RingKind;
use std::cell::RefCell;

const TICKET: u32 = 7;

/// Incarnation 1 died with two heads in hand and left one in the ring; the sweep is done.
fn swept() -> World {
    let world = three_frames();
    let mut hand = Vec::with_capacity(2);
    input(&world).consumer(world.arena.table(), me(PRE, 1)).pop_batch(&mut hand, 2).unwrap();
    release(hand);
    assert_eq!(world.reclaim(me(PRE, 1)).heads, 2);
    world
}

/// A successor that dies while it drains its recovery ring has a successor, too.
#[test]
fn successor_drains_its_recovery_ring() {
    let world = swept();
    let (table, who) = (world.arena.table(), me(PRE, 2));
    let recovery = world.ring(RingKind::Recovery, PRE, PRE);
    let (ends, room) =
        (RefCell::new((recovery.consumer(table, who), output(&world).producer(table, who))), ForChild::room(2));
    let op = || {
        let ((from, to), mut batch) = (&mut *ends.borrow_mut(), room.hand());
        while from.pop_batch(&mut batch, 2).unwrap() > 0 {
            for held in batch.drain(..) {
                assert!(to.push(held).is_ok());
            }
        }
    };
    let name = "successor drains its recovery ring";
    world.kill_each(name, Deaths::InBudget, 60..=800, &op, |at| successor_forwards_all(&world, at, who));
}

/// And that one may die in the same place, after a sweep that found what two dead incarnations held.
#[test]
fn second_successor_drains_it_again() {
    let world = swept();
    let recovery = world.ring(RingKind::Recovery, PRE, PRE);
    // Incarnation 2 claimed one head of the ring and died with it.
    recovery.consumer(world.arena.table(), me(PRE, 2)).pop().unwrap().unwrap().release();
    assert_eq!(world.reclaim(me(PRE, 2)).heads, 1);
    let (table, who) = (world.arena.table(), me(PRE, 3));
    let (ends, room) =
        (RefCell::new((recovery.consumer(table, who), output(&world).producer(table, who))), ForChild::room(2));
    let op = || {
        let ((from, to), mut batch) = (&mut *ends.borrow_mut(), room.hand());
        while from.pop_batch(&mut batch, 2).unwrap() > 0 {
            for held in batch.drain(..) {
                assert!(to.push(held).is_ok());
            }
        }
    };
    let name = "third incarnation drains what two dead ones held";
    world.kill_each(name, Deaths::InBudget, 60..=800, &op, |at| successor_forwards_all(&world, at, who));
}

/// A standby has attached long ago; once it is ordered ACTIVE it reads the cursors, recovers and takes new input.
#[test]
fn standby_takes_over() {
    let world = swept();
    let (table, who) = (world.arena.table(), me(PRE, 2));
    let control = world.arena.control_word(PRE).unwrap();
    control.order(Command::Active { incarnation: who.incarnation, ticket: TICKET });
    let (recovery, from, to) = (world.ring(RingKind::Recovery, PRE, PRE), input(&world), output(&world));
    let (page, room) = (world.arena.page(PRE).unwrap(), ForChild::room(4));
    let op = || {
        assert_eq!(control.command(), Command::Active { incarnation: who.incarnation, ticket: TICKET });
        page.incarnation.store(who.incarnation, arena::sync::Ordering::Release);
        let mut batch = room.hand();
        let mut to = to.producer(table, who);
        for ring in [&recovery, &from] {
            ring.consumer(table, who).pop_batch(&mut batch, 4).unwrap();
            for held in batch.drain(..) {
                assert!(to.push(held).is_ok());
            }
        }
    };
    let name = "standby is activated, recovers 2 heads and takes 1";
    world.kill_each(name, Deaths::InBudget, 90..=1500, &op, |at| successor_forwards_all(&world, at, who));
}
