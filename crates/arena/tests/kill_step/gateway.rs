//! Deaths of rx-gateway: a frame with segments is admitted, and one with segments and a slot is dissolved.

use crate::scenario::Deaths;
use crate::world::{ForChild, INFER, PRE, World, me, release};
use arena::descriptor::{Fate, FateKind, NONE, Role};
use arena::frame::take_apart;
use arena::gateway::{Line, Operation};
use arena::ring::Producer;
use arena::sync::Ordering;
use arena::topology::{RX, RingKind};
use arena::{Held, Me};
use std::cell::RefCell;

const HEAD: u32 = 4;
const FRAGMENTS: [u32; 2] = [5, 6];
const FATE: Fate = Fate { kind: FateKind::Answered, reason: 0 };
const FRAME: u64 = 77;

/// Attaches what is not attached yet, last fragment first, and makes the frame a head.
fn admit(world: &World, head: &Held, hand: &mut Vec<Held>) {
    let table = world.arena.table();
    let mut next = NONE;
    for index in FRAGMENTS.into_iter().rev() {
        if let Some(at) = hand.iter().position(|h| h.index() == index) {
            table.attach_segment(head, hand.swap_remove(at), next);
        }
        next = index;
    }
    let d = table.of(head);
    d.next.store(next, Ordering::Relaxed);
    d.segments.store(FRAGMENTS.len() as u32, Ordering::Relaxed);
    world.arena.gateway(RX).unwrap().admit(table, head);
}

#[test]
fn a_frame_with_segments_is_admitted() {
    let world = World::new();
    let (table, who) = (world.arena.table(), me(RX, 1));
    for index in [HEAD].iter().chain(&FRAGMENTS) {
        table.get(*index).unwrap().set_role(Role::Assembling);
    }
    let all = ForChild::new([HEAD].iter().chain(&FRAGMENTS).map(|i| world.take(*i, who)).collect());
    let output = world.ring(RingKind::Forward, RX, PRE);
    let out = RefCell::new(output.producer(table, who));
    let op = || {
        let mut hand = all.hand();
        let head = hand.swap_remove(0);
        admit(&world, &head, &mut hand);
        assert!(out.borrow_mut().push(head).is_ok());
    };
    world.kill_each("rx-gateway admits a frame of 3 packets", Deaths::InBudget, 60..=1500, &op, |at| {
        world.reclaim(who);
        let next = me(RX, 2);
        let mut heads = world.recovered(next);
        if let Some(line) = world.arena.gateway(RX).unwrap().journal.pending() {
            assert_eq!((line.operation, line.index, line.value), (Operation::Admit, HEAD, 1), "death {at}");
            world.arena.gateway(RX).unwrap().repeat_admit(table, &line);
        }
        let mut hand = world.adopt(next);
        // What is still half assembled is admitted from its words and roles.
        if let Some(n) = hand.iter().position(|h| h.index() == HEAD) {
            let head = hand.swap_remove(n);
            if table.of(&head).role() == Role::Assembling {
                let (mut fragments, rest) = hand.into_iter().partition(|h| table.of(h).role() != Role::Free);
                hand = rest;
                admit(&world, &head, &mut fragments);
            }
            heads.push(head);
        }
        world.push_all(&output, next, heads);
        let got = release(world.drain(&output, me(PRE, 1)));
        assert_eq!(got, [HEAD], "death {at}");
        let mut segments = table.segments(HEAD);
        assert_eq!(segments.by_ref().map(|(i, _)| i).collect::<Vec<_>>(), FRAGMENTS, "death {at}");
        assert_eq!(segments.failed(), None, "death {at}");
        assert!(FRAGMENTS.iter().all(|i| table.get(*i).unwrap().role() == Role::Segment));
        let ledger = world.arena.ledger(1);
        assert!(ledger.balanced() && ledger.received == 1, "death {at}: {ledger:?}");
        world.audit(at, &[(next, &release(hand)), (me(PRE, 1), &got)]);
    });
}

/// A frame with two segments and a slot has come home and lies in rx-gateway's hand.
fn home(world: &World) -> Held {
    let (table, rx) = (world.arena.table(), me(RX, 1));
    let head = world.take(HEAD, rx);
    let mut fragments = FRAGMENTS.iter().map(|i| world.take(*i, rx)).collect();
    admit(world, &head, &mut fragments);
    let output = world.ring(RingKind::Forward, RX, PRE);
    world.push_all(&output, rx, vec![head]);
    let pre = me(PRE, 1);
    let head = world.drain(&output, pre).pop().unwrap();
    let slot = world.ring(RingKind::Slots, RX, PRE).consumer(table, pre).pop().unwrap().unwrap();
    table.attach_slot(&head, slot);
    let on = world.ring(RingKind::Forward, PRE, INFER);
    world.push_all(&on, pre, vec![head]);
    release(world.drain(&on, me(INFER, 1)));
    table.get(HEAD).unwrap().set_fate(FATE);
    world.take(HEAD, rx)
}

/// All steps behind the line; each may be found done already, and words say so, never a list. What became free goes to `free`.
fn dissolve_by_line(world: &World, head: Held, line: &Line, who: Me, slots: &mut Producer<'_>, free: &mut Vec<Held>) {
    let row = &world.arena.streams(RX)[line.extra as usize];
    let send = |slot| slots.push(slot);
    let done = take_apart(world.arena.table(), who, line, head, Some((row, FRAME)), send, |held| free.push(held));
    assert!(done.is_ok(), "the slot ring has room for all slots");
    world.arena.gateway(RX).unwrap().journal.end();
}

fn dissolve(world: &World, head: Held, who: Me, slots: &mut Producer<'_>, free: &mut Vec<Held>) {
    let row = Some((0, &world.arena.streams(RX)[0]));
    let line = world.arena.gateway(RX).unwrap().begin_dissolve(world.arena.table(), &head, FATE, row);
    dissolve_by_line(world, head, &line, who, slots, free);
}

#[test]
fn a_frame_that_came_home_is_dissolved() {
    let world = World::new();
    let (table, who) = (world.arena.table(), me(RX, 1));
    let head = ForChild::new(vec![home(&world)]);
    let ring = world.ring(RingKind::Slots, RX, PRE);
    let slots = RefCell::new(ring.producer(table, who));
    let room = ForChild::room(4);
    let op = || {
        let head = head.hand().swap_remove(0);
        dissolve(&world, head, who, &mut slots.borrow_mut(), &mut room.hand());
    };
    let name = "rx-gateway dissolves a frame of 3 packets and a slot";
    world.kill_each(name, Deaths::InBudget, 100..=2500, &op, |at| {
        world.reclaim(who);
        let next = me(RX, 2);
        // The recovery ring first: its entries do not match words that adoption has changed.
        let mut heads = world.recovered(next);
        let (slots, mut hand): (Vec<_>, Vec<_>) = world.adopt(next).into_iter().partition(|h| table.is_slot(h.index()));
        world.push_all(&ring, next, slots);
        let mut slots = ring.producer(table, next);
        if let Some(line) = world.arena.gateway(RX).unwrap().journal.pending() {
            let found = heads.pop().or_else(|| {
                let n = hand.iter().position(|h| h.index() == line.index)?;
                Some(hand.swap_remove(n))
            });
            let head = found.expect("the head of a pending line is in hand");
            assert_eq!((line.operation, head.index()), (Operation::Dissolve, HEAD), "death {at}");
            world.arena.gateway(RX).unwrap().set(&line);
            dissolve_by_line(&world, head, &line, next, &mut slots, &mut hand);
        }
        for head in heads {
            dissolve(&world, head, next, &mut slots, &mut hand);
        }
        world.audit(at, &[(next, &release(hand))]);
        let (ledger, row) = (world.arena.ledger(1), &world.arena.streams(RX)[0]);
        assert!(ledger.balanced() && ledger.in_flight == 0, "death {at}: {ledger:?}");
        assert_eq!((ledger.received, ledger.cells[FATE.cell()]), (1, 1), "death {at}");
        assert_eq!((row.finished.load(Ordering::Relaxed), row.has_finished(FRAME)), (1, true));
        assert_eq!(ring.count(), 4, "death {at}: all slots are back");
        assert_eq!(world.arena.audit().free, 16, "death {at}");
    });
}
