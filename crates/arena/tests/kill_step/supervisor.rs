//! Deaths of the supervisor: in the middle of a sweep, and while it steps over poison.

use crate::world::{PRE, World, me, release};
use arena::reclaim::{Marks, reclaim};
use arena::topology::{RX, RingKind};
use std::cell::RefCell;

/// preprocess died with two heads and a slot in hand, having claimed a third whose cursor it never stored.
#[test]
fn a_sweep_is_repeated() {
    let world = World::new();
    let (table, dead) = (world.arena.table(), me(PRE, 1));
    let input = world.ring(RingKind::Forward, RX, PRE);
    let heads = world.heads(&[0, 1, 2, 3], me(RX, 1));
    world.push_all(&input, me(RX, 1), heads);
    let mut from = input.consumer(table, dead);
    for _ in 0..2 {
        from.pop().unwrap().unwrap().release();
    }
    world.take(2, dead).release();
    let slot = world.ring(RingKind::Slots, RX, PRE).consumer(table, dead).pop().unwrap().unwrap().release();
    let recovery = world.ring(RingKind::Recovery, PRE, PRE);
    let (rings, marks) = (world.arena.rings_of(PRE), RefCell::new(Marks::new(table.len())));
    let op = || {
        let done = reclaim(table, dead, &rings, &recovery, false, &mut marks.borrow_mut()).unwrap();
        assert_eq!((done.heads, done.slots), (2, 1));
    };
    world.kill_each("supervisor reclaims 2 heads and a slot", &op, |at| {
        world.reclaim(dead);
        let next = me(PRE, 2);
        let mut hand = release(world.recovered(next));
        assert_eq!(hand, [0, 1, slot], "death {at}");
        hand.extend(release(world.drain(&input, next)));
        assert_eq!(hand[3..], [2, 3], "death {at}: the claim is taken over from the ring");
        let rest: Vec<_> = (4..16).collect();
        world.audit(at, &[(next, &hand), (me(RX, 1), &rest)]);
    });
}

/// A damaged entry between two good ones; the supervisor dies while it steps over it, and the next one looks again.
#[test]
fn poison_is_stepped_over() {
    let world = World::new();
    let input = world.ring(RingKind::Forward, RX, PRE);
    // Buffer 1 changes hands after its push, against all rules: its entry does not match its word any more.
    let heads = world.heads(&[0, 1, 2], me(RX, 1));
    world.push_all(&input, me(RX, 1), heads);
    world.take(1, me(RX, 1)).release();
    let first = release(input.consumer(world.arena.table(), me(PRE, 1)).pop().unwrap().into_iter().collect());
    assert_eq!(first, [0]);
    let poison = input.consumer(world.arena.table(), me(PRE, 1)).pop().unwrap_err();
    let op = || assert!(input.step_over(poison.position));
    world.kill_each("supervisor steps over poison", &op, |at| {
        input.step_over(poison.position);
        world.reclaim(me(PRE, 1));
        let next = me(PRE, 2);
        let mut hand = release(world.recovered(next));
        hand.extend(release(world.drain(&input, next)));
        assert_eq!(hand, [0, 2], "death {at}");
        let rest: Vec<_> = std::iter::once(1).chain(3..16).collect();
        world.audit(at, &[(next, &hand), (me(RX, 1), &rest)]);
    });
}
