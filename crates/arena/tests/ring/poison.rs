//! What cannot be is recognised, named with its position, and never followed.

use crate::rig::{C, Hand, P, Rig, me};
use arena::ring::{Fault, Poison, PoisonReason, RingId};
use arena::sync::Ordering;
use arena::{Held, Me, Owner, OwnerId};

const START: u64 = 40;

/// Ring of 8 from P to C with buffers 0, 1 and 2 in it, of 4.
fn loaded() -> (Rig, Hand) {
    let rig = Rig::new(4, me(P, 1), 8, &[(P, C)], START);
    let mut hand = rig.take_all(me(P, 1));
    let mut out = rig.ring(0).producer(rig.table(), me(P, 1));
    for held in hand.0.drain(..3) {
        out.push(held).unwrap();
    }
    (rig, hand)
}

fn poison(position: u64, reason: PoisonReason) -> Poison {
    Poison { ring: RingId(0), position, reason }
}

/// Pops as C's incarnation 5 after the damage; what was in memory must still be there.
#[track_caller]
fn meets(damage: impl FnOnce(&Rig), reason: PoisonReason) {
    let (rig, _hand) = loaded();
    damage(&rig);
    let before: Vec<_> = (0..4).map(|i| rig.owner(i)).collect();
    let mut input = rig.ring(0).consumer(rig.table(), me(C, 5));
    for _ in 0..2 {
        assert_eq!(input.pop().map(|h| h.map(Held::release)), Err(poison(START, reason)));
        let mut c = Hand::with_room(8);
        assert_eq!(input.pop_batch(&mut c.0, 8), Err(poison(START, reason)));
    }
    assert!(!input.is_empty(), "poison counts as something, or a stage would sleep on it");
    assert_eq!(rig.head(0).load(Ordering::Relaxed), START, "nobody steps over poison by popping");
    assert_eq!((0..4).map(|i| rig.owner(i)).collect::<Vec<_>>(), before, "owner words are untouched");
}

#[test]
fn every_wrong_lap() {
    // Start 40 in a ring of 8 is lap 6; 5 is the one before, which reads as empty.
    for lap in (0..256).filter(|l| *l != 5 && *l != 6) {
        meets(|rig| Rig::damage(rig.entry(0, START), |e| e & !(0xff << 32) | lap << 32), PoisonReason::Lap);
    }
    let (rig, _hand) = loaded();
    Rig::damage(rig.entry(0, START), |e| e & !(0xff << 32) | 5 << 32);
    assert!(rig.ring(0).consumer(rig.table(), me(C, 1)).pop().unwrap().is_none());
}

#[test]
fn index_out_of_range() {
    for index in [4, 5, 0x00ff_ffff_u64] {
        meets(|rig| Rig::damage(rig.entry(0, START), |e| e << 24 >> 24 | index << 40), PoisonReason::Index);
    }
}

fn set_owner(rig: &Rig, id: OwnerId, incarnation: u32, seq: u32) {
    rig.table().get(0).unwrap().owner.store(Owner { id, incarnation, seq }.pack(), Ordering::Relaxed);
}

#[test]
fn owner_word_of_somebody_else() {
    // Buffer 0 was pushed with seq 2.
    let cases = [
        (OwnerId(6), 1, 2),
        (OwnerId::SUPERVISOR, 1, 2),
        (OwnerId::ATTACHED, 1, 2),
        // Upstream, another change of hands.
        (P, 1, 1),
        (P, 1, 3),
        // This very incarnation claimed it already: a second entry of the same buffer.
        (C, 5, 3),
        // A newer incarnation than the one that pops: it has no business here any more.
        (C, 6, 3),
        // An older one, but with a claim of another entry.
        (C, 4, 2),
        (C, 4, 4),
    ];
    for (id, incarnation, seq) in cases {
        meets(|rig| set_owner(rig, id, incarnation, seq), PoisonReason::Owner);
    }
}

#[test]
fn entry_of_another_change_of_hands() {
    meets(|rig| Rig::damage(rig.entry(0, START), |e| e + 1), PoisonReason::Owner);
}

/// Only a recovery ring, whose two ends have one owner, hands out what an older incarnation of the taker owns.
#[test]
fn a_recovery_ring_takes_older_incarnations_only() {
    for (now, taken) in [(2, true), (1, false), (0, false)] {
        let rig = Rig::new(1, me(C, 1), 2, &[(C, C)], 0);
        let dead = me(C, 1);
        let held = rig.table().take(0, dead).unwrap();
        rig.ring(0).producer(rig.table(), dead).push(held).unwrap();
        let got = rig.ring(0).consumer(rig.table(), me(C, now)).pop();
        match (taken, got.map(|h| h.map(Held::release))) {
            (true, got) => assert_eq!(got, Ok(Some(0))),
            (false, got) => assert_eq!(got, Err(poison(0, PoisonReason::Owner)), "incarnation {now}"),
        }
    }
}

#[test]
fn a_buffer_pushed_twice_is_met_by_the_consumer() {
    let (rig, _hand) = loaded();
    let e = rig.entry(0, START).load(Ordering::Relaxed);
    rig.entry(0, START + 3).store(e, Ordering::Relaxed);
    let mut input = rig.ring(0).consumer(rig.table(), me(C, 5));
    let mut c = Hand::with_room(8);
    assert_eq!(input.pop_batch(&mut c.0, 8).unwrap(), 3, "the good ones before it");
    assert_eq!(rig.head(0).load(Ordering::Relaxed), START + 3);
    assert_eq!(input.pop_batch(&mut c.0, 8), Err(poison(START + 3, PoisonReason::Owner)));
    assert_eq!(c.indices(), [0, 1, 2]);
}

fn refused(rig: &Rig, name: Me, held: Held) -> Fault {
    let refused = rig.ring(0).producer(rig.table(), name).push(held).expect_err("must be refused");
    refused.held.release();
    refused.fault
}

#[test]
fn pushing_what_is_not_mine() {
    let (rig, mut hand) = loaded();
    let held = hand.0.pop().unwrap();
    let index = held.index();
    held.release();
    for name in [me(P, 2), me(C, 1), me(P, 0)] {
        let held = rig.table().take(index, me(P, 1)).unwrap();
        assert_eq!(refused(&rig, name, held), Fault::Poison(poison(START + 3, PoisonReason::NotMine)));
    }
    assert_eq!(rig.content(0), [0, 1, 2], "nothing was stored");
}

#[test]
fn cursors_further_apart_than_the_ring_is_long() {
    // The ring is full up to START + 8; the consumer can stand anywhere in START..=START + 8.
    for head in [START - 1, START - 39, START + 9, START + 1000, u64::MAX] {
        let (rig, mut hand) = loaded();
        let mut out = rig.ring(0).producer(rig.table(), me(P, 1));
        // The producer looks again once the ring seems full.
        for n in 0..5 {
            let held = rig.table().take(3, me(P, 1)).unwrap();
            assert!(out.push(held).is_ok(), "push {n}");
        }
        rig.head(0).store(head, Ordering::Relaxed);
        let expected = poison(START + 8, PoisonReason::Cursor);
        assert_eq!(out.room(1), Err(expected), "head {head}");
        let refused = out.push(hand.0.pop().unwrap()).expect_err("must be refused");
        assert_eq!(refused.fault, Fault::Poison(expected));
        hand.0.push(refused.held);
    }
}

#[test]
fn messages_name_ring_position_and_cause() {
    let text = Fault::Poison(poison(7, PoisonReason::Owner)).to_string();
    assert_eq!(text, "poison in ring 0 at position 7: the owner word does not match the entry");
}
