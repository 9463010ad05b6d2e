//! Deaths of rx-gateway around what is no frame: an answer to a neighbour becomes a head and is sent to tx, and one comes home.

use crate::scenario::Deaths;
use crate::stages::sorted;
use crate::world::{ForChild, World, me, release};
use arena::descriptor::{DataRange, Role};
use arena::frame::{dismantle, make_answer};
use arena::gateway::{Line, NO_STREAM, Operation};
use arena::meta::FrameMeta;
use arena::record::Place;
use arena::topology::{RX, RingKind, TX};
use arena::{Held, Me};
use std::cell::RefCell;

const HEAD: u32 = 4;
/// The packet's verdict, a counter's number.
const CELL: u32 = 15;

/// What rx-gateway does with a packet that it has made an answer of.
fn answer(world: &World, held: &Held) {
    let (table, index) = (world.arena.table(), held.index());
    let (d, page) = (table.of(held), world.arena.gateway(RX).unwrap());
    let seq = d.owner().seq;
    let line = Line { operation: Operation::Packet, index, seq, cell: CELL, value: 1, extra: 0, finished: 0 };
    page.journal.begin(line);
    page.set(&line);
    d.reset();
    let place = Place { data: DataRange { offset: 320, len: 42 }, fragment: 0, count: 1 };
    let meta = FrameMeta { stream_row: NO_STREAM, ..FrameMeta::default() };
    world.arena.extensions()[index as usize].write_record(index, d, &meta, place);
    make_answer(table, held);
    page.journal.end();
}

/// No death makes a frame of it, and none counts one.
#[track_caller]
fn no_frame(world: &World, at: u64) {
    let ledger = world.arena.ledger(1);
    assert!(ledger.balanced(), "death {at}: {ledger:?}");
    assert_eq!((ledger.received, ledger.in_flight, ledger.finished()), (0, 0, 0), "death {at}");
}

#[test]
fn an_answer_is_sent_to_tx() {
    let world = World::new();
    let (table, who) = (world.arena.table(), me(RX, 1));
    let held = ForChild::new(vec![world.take(HEAD, who)]);
    let ring = world.ring(RingKind::Status, RX, TX);
    let out = RefCell::new(ring.producer(table, who));
    let op = || {
        let held = held.hand().swap_remove(0);
        answer(&world, &held);
        assert!(out.borrow_mut().push(held).is_ok());
    };
    world.kill_each("rx-gateway answers a neighbour", Deaths::InBudget, 60..=1500, &op, |at| {
        no_frame(&world, at);
        world.reclaim(who);
        let next = me(RX, 2);
        let heads = world.recovered(next);
        assert!(heads.iter().all(|head| table.of(head).is_answer()), "death {at}: a head, and not marked");
        world.push_all(&ring, next, heads);
        let hand = sorted(release(world.adopt(next)));
        assert!(hand.iter().all(|i| table.get(*i).unwrap().role() == Role::Free), "death {at}");
        let got = release(world.drain(&ring, me(TX, 1)));
        assert!(got == [HEAD] || got.is_empty() && hand.contains(&HEAD), "death {at}: {got:?}");
        assert!(got.iter().all(|i| world.arena.record(*i).is_ok()), "death {at}: its record is whole");
        no_frame(&world, at);
        assert_eq!(world.arena.audit().answers as usize, got.len(), "death {at}");
        world.audit(at, &[(next, &hand), (me(TX, 1), &got)]);
    });
}

fn free_all(world: &World, head: Held, who: Me, free: &mut Vec<Held>) {
    let slots = |slot: Held| -> Result<(), u32> { Err(slot.release()) };
    assert_eq!(dismantle(world.arena.table(), who, head, slots, |held| free.push(held)), Ok(()), "it has no slot");
}

#[test]
fn an_answer_that_came_home_is_free() {
    let world = World::new();
    let (table, who) = (world.arena.table(), me(RX, 1));
    let head = world.take(HEAD, who);
    answer(&world, &head);
    table.of(&head).settle();
    let (head, room) = (ForChild::new(vec![head]), ForChild::room(4));
    let op = || {
        let head = head.hand().swap_remove(0);
        free_all(&world, head, who, &mut room.hand());
    };
    world.kill_each("an answer is free again", Deaths::Each, 5..=500, &op, |at| {
        world.reclaim(who);
        let next = me(RX, 2);
        let mut free = Vec::new();
        for head in world.recovered(next) {
            assert!(table.of(&head).is_answer() && table.of(&head).is_settled(), "death {at}");
            free_all(&world, head, next, &mut free);
        }
        free.extend(world.adopt(next));
        no_frame(&world, at);
        world.audit(at, &[(next, &release(free))]);
        assert_eq!(world.arena.audit().free, 16, "death {at}");
    });
}
