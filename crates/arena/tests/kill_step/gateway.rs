//! Deaths of rx-gateway: a frame with segments is admitted, and one with segments and a slot is dissolved.

use crate::world::{ForChild, INFER, PRE, World, me, release};
use arena::descriptor::{Fate, FateKind, NONE, Role};
use arena::gateway::{Line, Operation};
use arena::sync::Ordering;
use arena::topology::{RX, RingKind};
use arena::{Held, Me};

const HEAD: u32 = 4;
const FRAGMENTS: [u32; 2] = [5, 6];
const FATE: Fate = Fate { kind: FateKind::Answered, reason: 0 };
const FRAME: u64 = 77;

/// The journal and the stores that it guards; repeating it changes nothing.
fn admit_by_line(world: &World, line: &Line) {
    world.arena.gateway().set(line);
    world.arena.table().get(line.index).unwrap().set_role(Role::Head);
    world.arena.gateway().journal.end();
}

/// Attaches what is not attached yet, last fragment first, and makes the frame a head.
fn admit(world: &World, head: &Held, fragments: Vec<Held>) {
    let table = world.arena.table();
    let mut next = NONE;
    let mut hand = fragments;
    for index in FRAGMENTS.into_iter().rev() {
        if let Some(at) = hand.iter().position(|h| h.index() == index) {
            table.attach_segment(head, hand.swap_remove(at), next);
        }
        next = index;
    }
    let d = table.of(head);
    d.next.store(next, Ordering::Relaxed);
    d.segments.store(FRAGMENTS.len() as u32, Ordering::Relaxed);
    let value = world.arena.gateway().received.load(Ordering::Relaxed) + 1;
    let seq = d.owner().seq;
    let line = Line { operation: Operation::Admit, index: head.index(), seq, cell: 0, value, extra: NONE, finished: 0 };
    world.arena.gateway().journal.begin(line);
    admit_by_line(world, &line);
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
    let op = || {
        let mut all = all.take();
        let fragments = all.split_off(1);
        let head = all.pop().unwrap();
        admit(&world, &head, fragments);
        assert!(output.producer(table, who).push(head).is_ok());
    };
    world.kill_each("rx-gateway admits a frame of 3 packets", &op, |at| {
        world.reclaim(who);
        let next = me(RX, 2);
        let mut heads = world.recovered(next);
        if let Some(line) = world.arena.gateway().journal.pending() {
            assert_eq!((line.operation, line.index, line.value), (Operation::Admit, HEAD, 1), "death {at}");
            admit_by_line(&world, &line);
        }
        let mut hand = world.adopt(next);
        // What is still half assembled is admitted from its words and roles.
        if let Some(n) = hand.iter().position(|h| h.index() == HEAD) {
            let head = hand.swap_remove(n);
            if table.of(&head).role() == Role::Assembling {
                let (fragments, rest) = hand.into_iter().partition(|h| table.of(h).role() != Role::Free);
                hand = rest;
                admit(&world, &head, fragments);
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
    let fragments = FRAGMENTS.iter().map(|i| world.take(*i, rx)).collect();
    admit(world, &head, fragments);
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

/// All steps behind the line; each may be found done already, and words say so, never a list.
fn dissolve_by_line(world: &World, head: &Held, line: &Line, who: Me) {
    let table = world.arena.table();
    world.arena.gateway().set(line);
    world.arena.streams()[line.extra as usize].record_finished(line.finished, FRAME);
    if let Some(slot) = table.detach_slot(head, who) {
        assert!(world.ring(RingKind::Slots, RX, PRE).producer(table, who).push(slot).is_ok());
    }
    for index in 0..table.buffers() {
        if let Some(segment) = table.detach_segment(head, index, who) {
            segment.release(); // free: its word and role say so
        }
    }
    table.of(head).fate.store(0, Ordering::Relaxed);
    table.of(head).set_role(Role::Free);
    world.arena.gateway().journal.end();
}

fn dissolve(world: &World, head: &Held, who: Me) {
    let page = world.arena.gateway();
    let line = Line {
        operation: Operation::Dissolve,
        index: head.index(),
        seq: world.arena.table().of(head).owner().seq,
        cell: FATE.cell() as u32,
        value: page.cells[FATE.cell()].load(Ordering::Relaxed) + 1,
        extra: 0,
        finished: world.arena.streams()[0].finished.load(Ordering::Relaxed),
    };
    page.journal.begin(line);
    dissolve_by_line(world, head, &line, who);
}

#[test]
fn a_frame_that_came_home_is_dissolved() {
    let world = World::new();
    let (table, who) = (world.arena.table(), me(RX, 1));
    let head = ForChild::new(vec![home(&world)]);
    let op = || {
        for head in head.take() {
            dissolve(&world, &head, who);
            head.release();
        }
    };
    world.kill_each("rx-gateway dissolves a frame of 3 packets and a slot", &op, |at| {
        world.reclaim(who);
        let next = me(RX, 2);
        // The recovery ring first: its entries do not match words that adoption has changed.
        let mut heads = world.recovered(next);
        let (slots, mut hand): (Vec<_>, Vec<_>) = world.adopt(next).into_iter().partition(|h| table.is_slot(h.index()));
        world.push_all(&world.ring(RingKind::Slots, RX, PRE), next, slots);
        if let Some(line) = world.arena.gateway().journal.pending() {
            let found = heads.pop().or_else(|| {
                let n = hand.iter().position(|h| h.index() == line.index)?;
                Some(hand.swap_remove(n))
            });
            let head = found.expect("the head of a pending line is in hand");
            assert_eq!((line.operation, head.index()), (Operation::Dissolve, HEAD), "death {at}");
            dissolve_by_line(&world, &head, &line, next);
            hand.push(head);
        }
        for head in heads {
            dissolve(&world, &head, next);
            hand.push(head);
        }
        // Segments that this life detached are free in its hand as well.
        let mut mine = release(hand);
        mine.extend(FRAGMENTS.iter().filter(|i| !mine.contains(i)).copied().collect::<Vec<_>>());
        world.audit(at, &[(next, &mine)]);
        let (ledger, row) = (world.arena.ledger(1), &world.arena.streams()[0]);
        assert!(ledger.balanced() && ledger.in_flight == 0, "death {at}: {ledger:?}");
        assert_eq!((ledger.received, ledger.cells[FATE.cell()]), (1, 1), "death {at}");
        assert_eq!((row.finished.load(Ordering::Relaxed), row.has_finished(FRAME)), (1, true));
        assert_eq!(world.ring(RingKind::Slots, RX, PRE).count(), 4, "death {at}: all slots are back");
        assert_eq!(world.arena.audit().free, 16, "death {at}");
    });
}
