//! Deaths of the stages in the middle: push, pop, batches, slots, recovery.

use crate::world::{ForChild, INFER, PRE, World, me, release};
use arena::ring::Ring;
use arena::topology::{RX, RingKind};
use arena::{Held, Me};

fn input(world: &World) -> Ring<'static> {
    world.ring(RingKind::Forward, RX, PRE)
}

fn output(world: &World) -> Ring<'static> {
    world.ring(RingKind::Forward, PRE, INFER)
}

fn sorted(mut v: Vec<u32>) -> Vec<u32> {
    v.sort_unstable();
    v
}

/// What rx-gateway keeps when the heads 0, 1 and 2 are on their way.
const REST: [u32; 13] = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Heads 0, 1 and 2 lie in the ring to preprocess.
fn three_frames() -> World {
    let world = World::new();
    let heads = world.heads(&[0, 1, 2], me(RX, 1));
    world.push_all(&input(&world), me(RX, 1), heads);
    world
}

/// All three frames must come out of preprocess, each once, whatever became of incarnation `dead`.
fn successor_forwards_all(world: &World, at: u64, dead: Me) {
    let next = me(PRE, dead.incarnation + 1);
    world.reclaim(dead);
    let mut heads = world.recovered(next);
    heads.extend(world.drain(&input(world), next));
    world.push_all(&output(world), next, heads);
    let out = release(world.drain(&output(world), me(INFER, 1)));
    assert_eq!(sorted(out.clone()), [0, 1, 2], "death {at}");
    world.audit(at, &[(me(RX, 1), &REST), (me(INFER, 1), &out)]);
}

#[test]
fn producer_pushes_three() {
    let world = World::new();
    let who = me(RX, 1);
    let heads = ForChild::new(world.heads(&[0, 1, 2], who));
    let op = || {
        let mut out = input(&world).producer(world.arena.table(), who);
        for held in heads.take() {
            assert!(out.push(held).is_ok());
        }
    };
    world.kill_each("rx-gateway pushes 3 heads", &op, |at| {
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
        let sent = 3 - kept.len();
        assert_eq!(got[..sent], [0, 1, 2][..sent], "death {at}: what was sent arrives in order");
        assert_eq!(got.get(sent), kept.first(), "death {at}");
        world.audit(at, &[(next, &hand), (me(PRE, 1), &got)]);
    });
}

#[test]
fn consumer_takes_one_by_one() {
    let world = three_frames();
    let who = me(PRE, 1);
    let op = || {
        let mut from = input(&world).consumer(world.arena.table(), who);
        let mut to = output(&world).producer(world.arena.table(), who);
        while let Some(held) = from.pop().unwrap() {
            assert!(to.push(held).is_ok());
        }
    };
    world.kill_each("preprocess pops and pushes 3 heads", &op, |at| successor_forwards_all(&world, at, who));
}

#[test]
fn consumer_takes_a_batch() {
    let world = three_frames();
    let who = me(PRE, 1);
    let room = ForChild::new(Vec::with_capacity(8));
    let op = || {
        let mut batch = room.take();
        let mut from = input(&world).consumer(world.arena.table(), who);
        let mut to = output(&world).producer(world.arena.table(), who);
        from.pop_batch(&mut batch, 8).unwrap();
        for held in batch {
            assert!(to.push(held).is_ok());
        }
    };
    world.kill_each("preprocess pops a batch of 3 and pushes", &op, |at| successor_forwards_all(&world, at, who));
}

/// A successor that dies while it drains its recovery ring has a successor, too.
#[test]
fn successor_drains_its_recovery_ring() {
    let world = three_frames();
    release(world.drain(&input(&world), me(PRE, 1)));
    assert_eq!(world.reclaim(me(PRE, 1)).heads, 3);
    let who = me(PRE, 2);
    let room = ForChild::new(Vec::with_capacity(2));
    let op = || {
        let mut batch = room.take();
        let mut from = world.ring(RingKind::Recovery, PRE, PRE).consumer(world.arena.table(), who);
        let mut to = output(&world).producer(world.arena.table(), who);
        while from.pop_batch(&mut batch, 2).unwrap() > 0 {
            for held in batch.drain(..) {
                assert!(to.push(held).is_ok());
            }
        }
    };
    world.kill_each("preprocess recovers 3 heads", &op, |at| successor_forwards_all(&world, at, who));
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
    let who = me(PRE, 1);
    let room = ForChild::new(Vec::with_capacity(8));
    let op = || {
        let mut batch = room.take();
        input(&world).consumer(world.arena.table(), who).pop_batch(&mut batch, 8).unwrap();
        preprocess(&world, who, batch, &mut Vec::new());
    };
    world.kill_each("preprocess attaches slots to 3 heads", &op, |at| {
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
