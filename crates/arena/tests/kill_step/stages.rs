//! Deaths of the stages in the middle: push, pop, batches.

use crate::scenario::Deaths;
use crate::world::{ForChild, INFER, PRE, World, me, release};
use arena::ring::Ring;
use arena::topology::{RX, RingKind};
use arena::{Held, Me};
use std::cell::RefCell;

/// Entries that have gone through the rings before: two of the three frames stand before the end of the first lap.
const TURNED: usize = 6;

pub fn input(world: &World) -> Ring<'static> {
    world.ring(RingKind::Forward, RX, PRE)
}

pub fn output(world: &World) -> Ring<'static> {
    world.ring(RingKind::Forward, PRE, INFER)
}

pub fn sorted(mut v: Vec<u32>) -> Vec<u32> {
    v.sort_unstable();
    v
}

/// What rx-gateway keeps when the heads 0, 1 and 2 are on their way.
pub const REST: [u32; 13] = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Both rings stand shortly before the end of a lap.
fn turned() -> World {
    let world = World::new();
    world.turn(&input(&world), (me(RX, 1), me(PRE, 1)), TURNED);
    world.turn(&output(&world), (me(PRE, 1), me(INFER, 1)), TURNED);
    world
}

/// Heads 0, 1 and 2 lie in the ring to preprocess.
pub fn three_frames() -> World {
    let world = turned();
    let heads = world.heads(&[0, 1, 2], me(RX, 1));
    world.push_all(&input(&world), me(RX, 1), heads);
    world
}

/// All three frames must come out of preprocess, each once, whatever became of incarnation `dead`.
pub fn successor_forwards_all(world: &World, at: u64, dead: Me) {
    world.reclaim(dead);
    goes_on(world, at, me(PRE, dead.incarnation + 1));
}

/// What an activated incarnation does, and what must have come out of it.
pub fn goes_on(world: &World, at: u64, next: Me) {
    let mut heads = world.recovered(next);
    heads.extend(world.drain(&input(world), next));
    world.push_all(&output(world), next, heads);
    let out = release(world.drain(&output(world), me(INFER, 1)));
    assert_eq!(sorted(out.clone()), [0, 1, 2], "death {at}");
    world.audit(at, &[(me(RX, 1), &REST), (me(INFER, 1), &out)]);
}

/// rx-gateway pushed `heads` one by one and died; its successor must find each either sent, in order, or in its hand.
fn producer_pushes(name: &str, instructions: std::ops::RangeInclusive<u64>, indices: &[u32]) {
    let world = turned();
    let who = me(RX, 1);
    let heads = ForChild::new(world.heads(indices, who));
    let out = RefCell::new(input(&world).producer(world.arena.table(), who));
    let op = || {
        let mut out = out.borrow_mut();
        for held in heads.hand().drain(..) {
            assert!(out.push(held).is_ok());
        }
    };
    world.kill_each(name, Deaths::Each, instructions, &op, |at| {
        world.reclaim(who);
        let next = me(RX, 2);
        let mut heads = world.recovered(next);
        let kept: Vec<_> = heads.iter().map(Held::index).collect();
        // One more goes behind what the dead one committed; the rest stays in hand.
        let rest = heads.split_off(heads.len().min(1));
        world.push_all(&input(&world), next, heads);
        let mut hand = release(rest);
        hand.extend(release(world.adopt(next)));
        let got = release(world.drain(&input(&world), me(PRE, 1)));
        let sent = indices.len() - kept.len();
        assert_eq!(got[..sent], indices[..sent], "death {at}: what was sent arrives in order");
        assert_eq!(got.get(sent), kept.first(), "death {at}");
        world.audit(at, &[(next, &hand), (me(PRE, 1), &got)]);
    });
}

#[test]
fn producer_pushes_one() {
    producer_pushes("push", 10..=150, &[0]);
}

#[test]
fn producer_pushes_three() {
    producer_pushes("3 pushes, across the end of a lap", 30..=300, &[0, 1, 2]);
}

#[test]
fn consumer_takes_one() {
    let world = three_frames();
    let who = me(PRE, 1);
    let (from, room) = (RefCell::new(input(&world).consumer(world.arena.table(), who)), ForChild::room(1));
    let op = || {
        if let Some(held) = from.borrow_mut().pop().unwrap() {
            room.hand().push(held);
        }
    };
    world.kill_each("pop", Deaths::Each, 10..=200, &op, |at| successor_forwards_all(&world, at, who));
}

#[test]
fn consumer_takes_one_by_one() {
    let world = three_frames();
    let (table, who) = (world.arena.table(), me(PRE, 1));
    let ends = RefCell::new((input(&world).consumer(table, who), output(&world).producer(table, who)));
    let op = || {
        let (from, to) = &mut *ends.borrow_mut();
        while let Some(held) = from.pop().unwrap() {
            assert!(to.push(held).is_ok());
        }
    };
    let name = "3 pops and pushes, one by one, across the end of a lap";
    world.kill_each(name, Deaths::Each, 60..=800, &op, |at| successor_forwards_all(&world, at, who));
}

#[test]
fn consumer_takes_a_batch() {
    let world = three_frames();
    let (table, who) = (world.arena.table(), me(PRE, 1));
    let (ends, room) =
        (RefCell::new((input(&world).consumer(table, who), output(&world).producer(table, who))), ForChild::room(8));
    let op = || {
        let ((from, to), mut batch) = (&mut *ends.borrow_mut(), room.hand());
        from.pop_batch(&mut batch, 8).unwrap();
        for held in batch.drain(..) {
            assert!(to.push(held).is_ok());
        }
    };
    let name = "batch of 3 popped and pushed, across the end of a lap";
    world.kill_each(name, Deaths::Each, 60..=800, &op, |at| successor_forwards_all(&world, at, who));
}

/// preprocess's work on a frame: a slot of its own unless one is attached already, then on to infer.
fn preprocess(world: &World, who: Me, heads: Vec<Held>, spare: &mut Vec<Held>) {
    let table = world.arena.table();
    let mut slots = world.ring(RingKind::Slots, RX, PRE).consumer(table, who);
    let mut to = output(world).producer(table, who);
    for head in heads {
        if table.slot_of(head.index()).is_none() {
            let slot = spare.pop().or_else(|| slots.pop().unwrap()).expect("a free slot");
            table.attach_slot(&head, slot);
        }
        assert!(to.push(head).is_ok());
    }
}

#[test]
fn slots_are_attached() {
    let world = three_frames();
    let (table, who) = (world.arena.table(), me(PRE, 1));
    let from = RefCell::new((
        input(&world).consumer(table, who),
        world.ring(RingKind::Slots, RX, PRE).consumer(table, who),
        output(&world).producer(table, who),
    ));
    let room = ForChild::room(8);
    let op = || {
        let ((from, slots, to), mut batch) = (&mut *from.borrow_mut(), room.hand());
        from.pop_batch(&mut batch, 8).unwrap();
        for head in batch.drain(..) {
            let slot = slots.pop().unwrap().unwrap();
            table.attach_slot(&head, slot);
            assert!(to.push(head).is_ok());
        }
    };
    world.kill_each("preprocess attaches slots to 3 heads", Deaths::InBudget, 90..=1500, &op, |at| {
        let next = me(PRE, 2);
        world.reclaim(who);
        let (mut spare, mut heads): (Vec<_>, Vec<_>) =
            world.recovered(next).into_iter().partition(|h| world.arena.table().is_slot(h.index()));
        assert!(spare.len() <= 1, "death {at}: one slot in hand at a time");
        heads.extend(world.drain(&input(&world), next));
        preprocess(&world, next, heads, &mut spare);
        let out = release(world.drain(&output(&world), me(INFER, 1)));
        assert_eq!(sorted(out.clone()), [0, 1, 2], "death {at}");
        let slots: Vec<_> = out.iter().filter_map(|h| world.arena.table().slot_of(*h)).collect();
        assert_eq!(slots.len(), 3, "death {at}: each has a tensor");
        world.audit(at, &[(me(RX, 1), &REST), (next, &release(spare)), (me(INFER, 1), &out)]);
    });
}
