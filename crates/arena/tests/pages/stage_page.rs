//! Stage pages and control words: what is stored is what is read.

use arena::OwnerId;
use arena::page::{Command, Event, FLIGHT_EVENTS};
use arena::ring::PoisonReason::{Cursor, Index, Lap, NotMine, Owner, Segments};
use arena::ring::{Poison, RingId};
use arena::topology::RX;

#[test]
fn poison_is_recorded_and_forgotten() {
    let (arena, _regions) = crate::small();
    let page = arena.page(RX).unwrap();
    assert_eq!(page.poison(), None);
    for reason in [Lap, Index, Owner, Cursor, NotMine, Segments] {
        let poison = Poison { ring: RingId(u16::MAX), position: u64::MAX - 1, reason };
        page.set_poison(poison);
        assert_eq!(page.poison(), Some(poison));
        page.clear_poison();
        assert_eq!(page.poison(), None);
    }
}

#[test]
fn the_frame_being_worked_on() {
    let (arena, _regions) = crate::small();
    for (id, _) in arena.geometry().all_instances() {
        let page = arena.page(id).unwrap();
        assert_eq!(page.current(), None, "a fresh page blames no frame");
        page.set_current(0, 0);
        assert_eq!(page.current(), Some((0, 0)));
        page.set_current(0x00ff_ffff, u32::MAX);
        assert_eq!(page.current(), Some((0x00ff_ffff, u32::MAX)));
        page.clear_current();
        assert_eq!(page.current(), None);
    }
}

#[test]
fn the_flight_recorder_keeps_the_last_events() {
    let (arena, _regions) = crate::small();
    let page = arena.page(RX).unwrap();
    assert_eq!(page.flight().count(), 0);
    for n in 0..150 {
        page.note(n, Event::Adopted, n as u32 + 7);
    }
    let events: Vec<_> = page.flight().collect();
    let first = 150 - FLIGHT_EVENTS as u64;
    assert_eq!(events, (first..150).map(|n| (n, Event::Adopted as u32, n as u32 + 7)).collect::<Vec<_>>());
}

#[test]
fn counters_out_of_range_are_nobodys() {
    let (arena, _regions) = crate::small();
    let page = arena.page(RX).unwrap();
    page.add(3, 5);
    page.add(3, u64::MAX);
    page.add(9999, 1);
    assert_eq!((page.counter(3), page.counter(9999)), (4, 0));
}

#[test]
fn commands_round_trip() {
    let (arena, _regions) = crate::small();
    let word = arena.control_word(RX).unwrap();
    assert_eq!(word.command(), Command::Wait);
    for incarnation in [0, 1, 0xff_ffff] {
        for ticket in [0, 1, u32::MAX] {
            for command in [Command::Active { incarnation, ticket }, Command::Drain { incarnation, ticket }] {
                word.order(command);
                assert_eq!(word.command(), command);
            }
        }
    }
    word.order(Command::Wait);
    assert_eq!(word.command(), Command::Wait);
}

#[test]
fn pages_of_owners_that_are_no_stage() {
    let (arena, _regions) = crate::small();
    for id in [OwnerId::SUPERVISOR, OwnerId::QUARANTINE, OwnerId(6), OwnerId::ATTACHED] {
        assert!(arena.page(id).is_none(), "{id:?}");
    }
    assert!(arena.control_word(OwnerId::SUPERVISOR).is_none() && arena.control_word(OwnerId::ATTACHED).is_none());
}
