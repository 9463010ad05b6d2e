//! Frames: slots and segments that follow their head, admission and dissolving with their journal.

use crate::engine::{Explored, each_death, each_death_alone, once, spawn, yield_now};
use crate::flow::written;
use crate::rig::{I, P, R, Shm, me, release, sorted};
use arena::descriptor::{Fate, FateKind, NONE, Role};
use arena::frame::take_apart;
use arena::gateway::Operation;
use arena::sync::Ordering;
use arena::{Held, Me};
use std::sync::Arc;

const FATE: Fate = Fate { kind: FateKind::Answered, reason: 0 };
const FRAME: u64 = 77;

/// preprocess's rings: heads in, heads out, slots in, what came back.
const HEADS: usize = 0;
const TENSORS: usize = 1;
const SLOTS: usize = 2;
const RECOVERY: usize = 3;

/// preprocess's work on heads in hand: a tensor in a slot that follows the head, unless one does already.
fn preprocess(shm: &Shm, who: Me, heads: Vec<Held>, spare: &mut Vec<Held>) {
    let table = shm.table();
    let mut slots = shm.ring(SLOTS).consumer(table, who);
    let mut to = shm.ring(TENSORS).producer(table, who);
    for head in heads {
        let value = written(head.index());
        if let Some(slot) = table.slot_of(head.index()) {
            shm.payload_of(slot).write(value);
        } else {
            let slot = spare.pop().or_else(|| slots.pop().expect("no poison")).expect("as many slots as heads");
            shm.payload(&slot).write(value);
            table.attach_slot(&head, slot);
        }
        assert!(to.push(head).is_ok());
    }
}

/// infer's: every head has its tensor.
fn infer(shm: &Shm, tries: usize) -> Vec<u32> {
    let mut from = shm.ring(TENSORS).consumer(shm.table(), me(I, 1));
    let mut got = Vec::new();
    for _ in 0..tries {
        match from.pop().expect("no poison") {
            Some(head) => {
                let slot = shm.table().slot_of(head.index()).expect("a tensor");
                assert_eq!(shm.payload_of(slot).read(), written(head.index()));
                got.push(head.release());
            }
            None => yield_now(),
        }
    }
    got
}

/// preprocess dies before each store of its work on two frames, while infer goes on.
pub fn slots_are_attached() -> Explored {
    each_death(Explored { executions: 9_000, deaths: 15 }, |victim| {
        let shm = Shm::new(2, 2, R, 4, &[(R, P), (P, I), (R, P), (P, P)]);
        let (heads, slots) = (shm.hold(&[0, 1], me(R, 1)), shm.hold(&[2, 3], me(R, 1)));
        shm.push(HEADS, me(R, 1), heads);
        shm.push(SLOTS, me(R, 1), slots);
        let (a, b, victim) = (Arc::clone(&shm), Arc::clone(&shm), victim.clone());
        let first = spawn(move || {
            victim.live(|| {
                let heads = a.drain(HEADS, me(P, 1));
                preprocess(&a, me(P, 1), heads, &mut Vec::new());
            })
        });
        let next = spawn(move || infer(&b, 2));
        first.join().unwrap();
        shm.reclaim(me(P, 1));
        let (mut heads, mut spare): (Vec<_>, Vec<_>) =
            shm.drain(RECOVERY, me(P, 2)).into_iter().partition(|h| h.index() < 2);
        heads.extend(shm.drain(HEADS, me(P, 2)));
        heads.reverse(); // any order must do
        preprocess(&shm, me(P, 2), heads, &mut spare);
        let mut got = next.join().unwrap();
        got.extend(infer(&shm, 3));
        assert_eq!(sorted(got.clone()), [0, 1]);
        spare.extend(shm.drain(SLOTS, me(P, 2)));
        assert_eq!(spare.len(), 0, "each head has one of two");
        shm.audit(&[(me(I, 1), &got)]);
    })
}

/// A head whose slot went home keeps its number in the descriptor; only the slot's word counts.
pub fn a_slot_that_went_home_is_nobodys() -> Explored {
    once(|| {
        let shm = Shm::new(2, 1, R, 4, &[(R, R)]);
        let table = shm.table();
        let heads = shm.hold(&[0, 1], me(R, 1));
        let slot = shm.hold(&[2], me(R, 1)).pop().expect("one");
        table.attach_slot(&heads[0], slot);
        let slot = table.detach_slot(&heads[0], me(R, 1)).expect("attached");
        table.attach_slot(&heads[1], slot);
        assert_eq!((table.slot_of(0), table.slot_of(1)), (None, Some(2)));
        release(heads);
    })
}

/// Attaches the segments 1 and 2 to head 0 where they are not attached yet, then admits the head.
fn admit(shm: &Shm, head: &Held, mut segments: Vec<Held>) {
    let table = shm.table();
    let mut next = NONE;
    for index in [2, 1] {
        if let Some(at) = segments.iter().position(|s| s.index() == index) {
            table.attach_segment(head, segments.swap_remove(at), next);
        }
        next = index;
    }
    let d = table.of(head);
    d.next.store(1, Ordering::Relaxed);
    d.segments.store(2, Ordering::Relaxed);
    shm.gateway.admit(table, head);
}

/// What preprocess finds: heads whose lists are whole.
fn find_whole_frames(shm: &Shm, tries: usize) -> Vec<u32> {
    let mut from = shm.ring(0).consumer(shm.table(), me(P, 1));
    let mut got = Vec::new();
    for _ in 0..tries {
        let Some(head) = from.pop().expect("no poison") else {
            yield_now();
            continue;
        };
        let mut segments = shm.table().segments(head.index());
        assert_eq!(segments.by_ref().map(|(i, _)| i).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(segments.failed(), None);
        got.push(head.release());
    }
    got
}

/// rx-gateway dies before each store of an admission, while preprocess takes what comes; its successor, by words, roles and
/// journal, finishes it once.
pub fn a_frame_is_admitted() -> Explored {
    each_death(Explored { executions: 2_000, deaths: 19 }, |victim| {
        let shm = Shm::new(3, 0, R, 4, &[(R, P), (R, R)]);
        let table = shm.table();
        for (_, d) in table.iter() {
            d.set_role(Role::Assembling);
        }
        let mut hand = shm.hold(&[0, 1, 2], me(R, 1));
        let segments = hand.split_off(1);
        let head = hand.pop().expect("one");
        let (a, b, victim) = (Arc::clone(&shm), Arc::clone(&shm), victim.clone());
        let first = spawn(move || {
            victim.live(|| {
                admit(&a, &head, segments);
                a.push(0, me(R, 1), vec![head]);
            })
        });
        let preprocess = spawn(move || find_whole_frames(&b, 2));
        first.join().unwrap();
        shm.reclaim(me(R, 1));
        let who = me(R, 2);
        let mut heads = shm.drain(1, who);
        if let Some(line) = shm.gateway.journal.pending() {
            assert_eq!((line.operation, line.index, line.value), (Operation::Admit, 0, 1));
            shm.gateway.repeat_admit(table, &line);
        }
        // What the recovery ring does not bring is half assembled, or became a head only now: words and roles tell.
        let mut on_its_way = false;
        shm.ring(0).for_each(|_, _| on_its_way = true);
        if !on_its_way && table.get(0).is_some_and(|d| d.role() == Role::Head) {
            heads.extend(table.adopt(0, who));
        }
        let mut mine: Vec<_> = (0..3).filter_map(|i| assembling(&shm, i, who)).collect();
        if let Some(at) = mine.iter().position(|h| h.index() == 0) {
            let head = mine.swap_remove(at);
            admit(&shm, &head, std::mem::take(&mut mine));
            heads.push(head);
        }
        assert!(mine.is_empty(), "segments follow their head");
        shm.push(0, who, heads);
        let mut got = preprocess.join().unwrap();
        got.extend(find_whole_frames(&shm, 2));
        assert_eq!(got, [0]);
        assert_eq!((shm.gateway.received.load(Ordering::Relaxed), shm.gateway.finished()), (1, 0));
        shm.audit(&[(me(P, 1), &got)]);
    })
}

/// The buffer as a fragment in the hand of rx-gateway's successor, if it is one: half assembled, or in the middle of being
/// attached.
fn assembling(shm: &Shm, index: u32, who: Me) -> Option<Held> {
    let d = shm.table().get(index)?;
    if !matches!(d.role(), Role::Assembling | Role::Segment) {
        return None;
    }
    let held = shm.table().adopt(index, who)?;
    d.set_role(Role::Assembling);
    Some(held)
}

/// tx dies before each store of its last work on a frame, fate and push home, while rx-gateway takes home what comes.
pub fn a_frame_goes_home() -> Explored {
    each_death(Explored { executions: 1_200, deaths: 4 }, |victim| {
        // Ring 0: frames going home. Ring 1: slots, unused here. Ring 2: what tx's successor gets.
        let shm = Shm::new(1, 0, I, 4, &[(I, R), (R, P), (I, I)]);
        let hand = shm.hold(&[0], me(I, 1));
        let (a, b, victim) = (Arc::clone(&shm), Arc::clone(&shm), victim.clone());
        let finish = |shm: &Shm, who: Me, hand: Vec<Held>| {
            for head in &hand {
                shm.table().of(head).set_fate(FATE);
                shm.table().of(head).settle();
            }
            shm.push(0, who, hand);
        };
        let tx = spawn(move || victim.live(|| finish(&a, me(I, 1), hand)));
        let gateway = spawn(move || go_home(&b, 2));
        tx.join().unwrap();
        shm.reclaim(me(I, 1));
        let again = shm.drain(2, me(I, 2));
        finish(&shm, me(I, 2), again);
        let mut free = gateway.join().unwrap();
        free.extend(go_home(&shm, 2));
        assert_eq!(free, [0]);
        assert_eq!(shm.gateway.finished(), 1, "counted once");
        shm.audit(&[(me(R, 1), &free)]);
    })
}

/// rx-gateway takes frames home, each with its fate.
fn go_home(shm: &Shm, tries: usize) -> Vec<u32> {
    let mut home = shm.ring(0).consumer(shm.table(), me(R, 1));
    let mut free = Vec::new();
    for _ in 0..tries {
        let Some(head) = home.pop().expect("no poison") else {
            yield_now();
            continue;
        };
        assert_eq!((shm.table().of(&head).fate(), shm.table().of(&head).is_settled()), (Some(FATE), true));
        let line = shm.gateway.begin_dissolve(shm.table(), &head, FATE, Some((0, &shm.row)));
        free.extend(dissolve_by_line(shm, me(R, 1), &line, head));
    }
    free
}

/// Takes head 0 apart behind its line: its slot 3 to ring 1, everything else into the returned hand.
fn dissolve_by_line(shm: &Shm, who: Me, line: &arena::gateway::Line, head: Held) -> Vec<u32> {
    let mut free = Vec::new();
    let send = |slot| {
        shm.push(1, who, vec![slot]);
        Ok::<_, std::convert::Infallible>(())
    };
    let Ok(()) =
        take_apart(shm.table(), who, line, head, Some((&shm.row, FRAME)), send, |held| free.push(held.release()));
    shm.gateway.journal.end();
    free
}

/// rx-gateway dies before each store of a dissolving, while preprocess takes slots; counted once, nothing lost.
pub fn a_frame_is_dissolved() -> Explored {
    each_death(Explored { executions: 4_000, deaths: 19 }, |victim| {
        // Ring 0: frames going home. Ring 1: slots to preprocess.
        let shm = Shm::new(3, 1, R, 4, &[(I, R), (R, P), (R, R)]);
        let table = shm.table();
        let mut hand = shm.hold(&[0, 1, 2], me(R, 1));
        let segments = hand.split_off(1);
        let head = hand.pop().expect("one");
        let slot = shm.hold(&[3], me(R, 1)).pop().expect("one");
        table.attach_slot(&head, slot);
        admit(&shm, &head, segments);
        table.of(&head).set_fate(FATE);
        head.release();
        let head = table.take(0, me(I, 1)).expect("in range");
        shm.push(0, me(I, 1), vec![head]);

        let (a, b, victim) = (Arc::clone(&shm), Arc::clone(&shm), victim.clone());
        let first = spawn(move || {
            victim.live(|| {
                for head in a.drain(0, me(R, 1)) {
                    let line = a.gateway.begin_dissolve(a.table(), &head, FATE, Some((0, &a.row)));
                    dissolve_by_line(&a, me(R, 1), &line, head);
                }
            })
        });
        let preprocess = spawn(move || {
            for _ in 0..2 {
                if let Some(slot) = b.ring(1).consumer(b.table(), me(P, 1)).pop().expect("no poison") {
                    return vec![slot.release()];
                }
                yield_now();
            }
            Vec::new()
        });
        first.join().unwrap();
        let free = take_over(&shm);
        let mut slots = preprocess.join().unwrap();
        slots.extend(release(shm.drain(1, me(P, 1))));
        assert_eq!(slots, [3], "the slot is home");
        assert_eq!((shm.gateway.finished(), shm.gateway.cells[FATE.cell()].load(Ordering::Relaxed)), (1, 1));
        assert_eq!((shm.row.finished.load(Ordering::Relaxed), shm.row.has_finished(FRAME)), (1, true));
        assert!((0..3).all(|i| table.get(i).is_some_and(|d| d.role() == Role::Free)));
        shm.audit(&[(me(R, 2), &free), (me(P, 1), &slots)]);
    })
}

/// rx-gateway's successor: the recovery ring, the journal, its words, then new input. Returns what is free in its hands.
fn take_over(shm: &Shm) -> Vec<u32> {
    let (table, who) = (shm.table(), me(R, 2));
    shm.reclaim(me(R, 1));
    let mut heads = shm.drain(2, who);
    let mut free = Vec::new();
    if let Some(line) = shm.gateway.journal.pending() {
        shm.gateway.set(&line);
        if let Some(at) = heads.iter().position(|h| h.index() == line.index) {
            free.extend(dissolve_by_line(shm, who, &line, heads.swap_remove(at)));
        }
        shm.gateway.journal.end();
    }
    let mut marked = [false; 4];
    for ring in [0, 1] {
        shm.ring(ring).for_each(|index, _| marked[index as usize] = true);
    }
    for (index, d) in table.iter().filter(|(i, _)| !marked[*i as usize]) {
        let mine = d.owner().is_older(who);
        let orphan = arena::descriptor::is_attached(d.owner())
            && table.get(d.owner().incarnation).is_none_or(|head| head.role() != Role::Head);
        let taken = if mine {
            table.adopt(index, who)
        } else if orphan {
            table.take(index, who)
        } else {
            None
        };
        let Some(held) = taken else { continue };
        match d.role() {
            Role::Slot => shm.push(1, who, vec![held]),
            Role::Head => heads.push(held),
            Role::Segment if mine => panic!("{index} would become a part of some unfinished frame"),
            _ => {
                d.set_role(Role::Free);
                free.push(held.release());
            }
        }
    }
    heads.extend(shm.drain(0, who));
    for head in heads {
        let line = shm.gateway.begin_dissolve(table, &head, FATE, Some((0, &shm.row)));
        free.extend(dissolve_by_line(shm, who, &line, head));
    }
    free
}

/// A line is there as a whole or not at all, and repeating it changes nothing.
pub fn a_journal_line_is_whole() -> Explored {
    each_death_alone(7, |victim| {
        let shm = Shm::new(1, 0, R, 2, &[(R, R)]);
        let head = shm.hold(&[0], me(R, 1)).pop().expect("one");
        // A line of another operation before: nothing of it may shine through.
        shm.gateway.admit(shm.table(), &head);
        victim.live(|| {
            shm.gateway.begin_dissolve(shm.table(), &head, FATE, Some((0, &shm.row)));
        });
        let finished = shm.gateway.finished();
        if let Some(line) = shm.gateway.journal.pending() {
            assert_eq!((line.operation, line.cell, line.value), (Operation::Dissolve, FATE.cell() as u32, 1));
            assert_eq!((line.index, line.extra, line.finished), (0, 0, 0));
            for _ in 0..2 {
                shm.gateway.set(&line);
            }
            assert_eq!(shm.gateway.finished(), 1);
        } else {
            assert_eq!(finished, 0, "counted without a line");
        }
        head.release();
    })
}
