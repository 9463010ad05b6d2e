//! Deaths of the supervisor: in the middle of a sweep, and while it steps over poison.

use crate::scenario::Deaths;
use crate::world::{GEOMETRY, PRE, World, me, release};
use arena::descriptor::Role;
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
    world.kill_each("sweep of preprocess: 2 heads, a slot, a claim", Deaths::Each, 200..=3000, &op, |at| {
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

/// rx-gateway died with a head on its way, one in hand and a fragment; free buffers, fragments and slots are adopted.
#[test]
fn a_sweep_of_the_gateway_is_repeated() {
    let world = World::new();
    let (table, dead) = (world.arena.table(), me(RX, 1));
    let input = world.ring(RingKind::Forward, RX, PRE);
    let mut heads = world.heads(&[0, 1], dead);
    heads.pop().unwrap().release();
    world.push_all(&input, dead, heads);
    table.get(2).unwrap().set_role(Role::Assembling);
    let recovery = world.ring(RingKind::Recovery, RX, RX);
    let (rings, marks) = (world.arena.rings_of(RX), RefCell::new(Marks::new(table.len())));
    let op = || {
        let done = reclaim(table, dead, &rings, &recovery, true, &mut marks.borrow_mut()).unwrap();
        // In rings: the head that was sent, and all four slots.
        assert_eq!((done.heads, done.slots, done.in_rings), (1, 0, 5));
    };
    world.kill_each("sweep of rx-gateway: a head", Deaths::Each, 200..=3000, &op, |at| {
        world.reclaim(dead);
        let next = me(RX, 2);
        let mut hand = release(world.recovered(next));
        assert_eq!(hand, [1], "death {at}");
        hand.extend(release(world.adopt(next)));
        assert_eq!(hand[1..], [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], "death {at}");
        let sent = release(world.drain(&input, me(PRE, 1)));
        assert_eq!(sent, [0], "death {at}");
        world.audit(at, &[(next, &hand), (me(PRE, 1), &sent)]);
    });
}

/// A damaged entry between two good ones; the supervisor dies while it steps over it, and the next one looks again.
fn poison_is_stepped_over(name: &str, damage: impl Fn(&World)) {
    let world = World::new();
    let input = world.ring(RingKind::Forward, RX, PRE);
    let heads = world.heads(&[0, 1, 2], me(RX, 1));
    world.push_all(&input, me(RX, 1), heads);
    damage(&world);
    let first = release(input.consumer(world.arena.table(), me(PRE, 1)).pop().unwrap().into_iter().collect());
    assert_eq!(first, [0]);
    let poison = input.consumer(world.arena.table(), me(PRE, 1)).pop().unwrap_err();
    let op = || assert!(input.step_over(poison.position));
    world.kill_each(name, Deaths::InBudget, 10..=200, &op, |at| {
        input.step_over(poison.position);
        world.reclaim(me(PRE, 1));
        let next = me(PRE, 2);
        let mut hand = release(world.recovered(next));
        hand.extend(release(world.drain(&input, next)));
        assert_eq!(hand, [0, 2], "death {at}");
        let rest: Vec<_> = std::iter::once(1).chain(3..16).collect();
        world.audit(at, &[(next, &hand), (me(RX, 1), &rest)]);
        // Once round: the place that was stepped over shows the next lap like any other.
        world.turn(&input, (me(RX, 1), next), 2 * GEOMETRY.ring_capacity as usize);
    });
}

/// Buffer 1 changes hands twice after its push, against all rules: its entry does not match its word any more.
#[test]
fn an_entry_that_contradicts_its_word_is_stepped_over() {
    poison_is_stepped_over("supervisor steps over an entry that contradicts its word", |world| {
        for _ in 0..2 {
            world.take(1, me(RX, 1)).release();
        }
    });
}

/// The lap in buffer 1's entry is overwritten.
#[test]
fn an_entry_of_no_lap_is_stepped_over() {
    poison_is_stepped_over("supervisor steps over an entry of no lap", |world| {
        let seq = world.arena.table().get(1).unwrap().owner().seq;
        let entry = |lap: u64| 1 << 40 | lap << 32 | u64::from(seq);
        world.overwrite(entry(1), entry(0x55));
    });
}
