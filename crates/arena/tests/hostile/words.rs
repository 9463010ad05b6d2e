//! Who must be dead for the repair of which word, and what the repair is.

use crate::memory::{GEOMETRY, Memory, ids};
use arena::descriptor::{Fate, FateKind, Role};
use arena::gateway::{Line, NO_STREAM, Operation};
use arena::reclaim::Marks;
use arena::region::HugePages;
use arena::survey::{
    Crew, Instances, Sightings, Survey, restore_roles, settle_ledger, straighten, strike_line, survey,
};
use arena::sync::Ordering;
use arena::topology::RX;
use arena::{Arena, Geometry, Me, Owner, OwnerId};

const LAST: u32 = 3;

fn crew() -> Crew {
    Crew { incarnations: vec![LAST; 4], active: ids().into_iter().fold(Instances::NONE, Instances::with), queues: 0 }
}

fn these(ids: &[OwnerId]) -> Instances {
    ids.iter().copied().fold(Instances::NONE, Instances::with)
}

/// All buffers free with rx-gateway's third incarnation.
fn arena(memory: &Memory) -> Arena {
    let arena = memory.arena();
    for index in 0..arena.table().buffers() {
        own(&arena, index, ids()[0], LAST);
    }
    arena
}

fn own(arena: &Arena, index: u32, id: OwnerId, incarnation: u32) {
    let d = arena.table().get(index).expect("a buffer");
    d.owner.store(Owner { id, incarnation, seq: 9 }.pack(), Ordering::Release);
}

fn look(arena: &Arena) -> (Survey, Survey) {
    let (mut sightings, mut marks) = (Sightings::new(arena.table().len()), Marks::new(arena.table().len()));
    let mut once = || {
        for id in ids() {
            turn(arena, id);
        }
        survey(arena, &crew(), &mut sightings, &mut marks, 3)
    };
    (once(), once())
}

/// The stage's loop goes round once.
fn turn(arena: &Arena, id: OwnerId) {
    let beat = &arena.page(id).expect("a page").heartbeat_ns;
    beat.store(beat.load(Ordering::Relaxed) + 1, Ordering::Release);
}

#[test]
fn a_stage_in_a_long_turn_is_left_alone() {
    let memory = Memory::fresh();
    let arena = arena(&memory);
    let infer = ids()[3];
    own(&arena, 5, infer, LAST);
    arena.table().get(5).expect("a buffer").set_role(Role::Head);
    let (mut sightings, mut marks) = (Sightings::new(arena.table().len()), Marks::new(arena.table().len()));
    let mut look = || survey(&arena, &crew(), &mut sightings, &mut marks, 3).stop;
    for _ in 0..5 {
        assert!(look().is_empty(), "it has not said yet that it holds one");
    }
    turn(&arena, infer);
    assert_eq!(look(), these(&[infer]), "it has, and says that it holds none");
}

#[test]
fn a_sound_arena_calls_for_nothing() {
    let memory = Memory::fresh();
    assert_eq!(look(&arena(&memory)), (Survey::default(), Survey::default()));
}

#[test]
fn who_must_stop() {
    let [rx, tx, pre, infer] = ids();
    let slot = 32;
    let all = Instances::ALL;
    let cases = [
        (5, Role::Free, tx, LAST, these(&[rx, tx])),
        (5, Role::Assembling, infer, 1, these(&[rx, infer])),
        (5, Role::Free, OwnerId(99), 1, all),
        (5, Role::Free, rx, LAST + 1, all),
        (5, Role::Head, infer, LAST, these(&[infer])),
        (5, Role::Head, infer, LAST - 1, these(&[infer])),
        (5, Role::Head, infer, LAST + 1, all),
        (5, Role::Head, OwnerId::SUPERVISOR, 1, all),
        (5, Role::Head, OwnerId::ATTACHED, 6, all),
        (5, Role::Segment, OwnerId::ATTACHED, 6, these(&[rx])),
        (5, Role::Slot, pre, LAST, these(&[rx, pre])),
        (slot, Role::Slot, pre, LAST, these(&[pre])),
        (slot, Role::Slot, rx, LAST, these(&[rx])),
        (slot, Role::Slot, infer, LAST, all),
        (slot, Role::Slot, OwnerId::ATTACHED, 6, all),
    ];
    for (index, role, id, incarnation, stop) in cases {
        let memory = Memory::fresh();
        let arena = arena(&memory);
        // Out of its ring: the survey leaves alone what stands in one.
        arena.ring(arena.rings_where(|s| s.kind == arena::topology::RingKind::Slots)[0].id).format(0);
        for other in slot..arena.table().len() {
            own(&arena, other, pre, LAST);
        }
        arena
            .page(pre)
            .expect("a page")
            .held_slots
            .store(if id == pre && index == slot { 7 } else { 8 }, Ordering::Release);
        arena.table().get(index).expect("a buffer").set_role(role);
        own(&arena, index, id, incarnation);
        let (first, second) = look(&arena);
        assert_eq!(first.stop, Instances::NONE, "one look is not believed: {role:?} {id:?} {incarnation}");
        assert_eq!(second.stop, stop, "{role:?} {id:?} {incarnation}: {second:?}");
        assert!(second.lost > 0);
    }
}

#[test]
fn what_a_stage_says_it_holds_is_not_lost() {
    let memory = Memory::fresh();
    let arena = arena(&memory);
    let infer = ids()[3];
    arena.table().get(5).expect("a buffer").set_role(Role::Head);
    own(&arena, 5, infer, LAST);
    arena.page(infer).expect("a page").held_buffers.store(1, Ordering::Release);
    assert_eq!(look(&arena).1, Survey::default());
}

#[test]
fn words_are_put_right_only_while_everybody_who_could_hold_the_buffer_is_dead() {
    let [rx, tx, ..] = ids();
    let memory = Memory::fresh();
    let arena = arena(&memory);
    own(&arena, 5, tx, LAST);
    own(&arena, 6, OwnerId(77), 1);
    arena.table().get(7).expect("a buffer").set_role(Role::Head);
    own(&arena, 7, OwnerId(77), 1);
    let mut sightings = Sightings::new(arena.table().len());
    let mut put = |stop| straighten(&arena, &crew(), stop, &mut sightings);
    let owner = |index| arena.table().get(index).expect("a buffer").owner();
    assert!(!put(these(&[rx])).changed() && !put(these(&[tx])).changed());
    assert_eq!(put(these(&[rx, tx])).words, 1);
    assert_eq!(owner(5), Owner { id: rx, incarnation: LAST, seq: 10 });
    let done = put(these(&ids()));
    assert_eq!((done.words, done.heads), (1, vec![7]));
    assert_eq!((owner(6).id, owner(7).id), (rx, OwnerId(77)), "a head is the supervisor's to end");
}

#[test]
fn roles_that_cannot_be() {
    let memory = Memory::fresh();
    let arena = arena(&memory);
    let infer = Me { id: ids()[3], incarnation: LAST };
    let role = |index| &arena.table().get(index).expect("a buffer").role;
    own(&arena, 5, infer.id, LAST);
    for index in [5, 6, 33] {
        role(index).store(77, Ordering::Release);
    }
    assert_eq!(restore_roles(&arena, infer), 2, "6 is not infer's");
    assert_eq!(role(5).load(Ordering::Acquire), Role::Head as u32);
    assert_eq!((role(6).load(Ordering::Acquire), role(33).load(Ordering::Acquire)), (77, Role::Slot as u32));
}

#[test]
fn a_line_of_the_journal_that_does_not_follow_is_struck_out() {
    let memory = Memory::fresh();
    let arena = arena(&memory);
    let page = arena.gateway(RX).unwrap();
    page.received.store(41, Ordering::Release);
    let line = |index, value| Line {
        operation: Operation::Admit,
        index,
        seq: 1,
        cell: 0,
        value,
        extra: NO_STREAM,
        finished: 0,
    };
    for (line, sound) in [(line(3, 42), true), (line(3, 41), true), (line(3, 43), false), (line(32, 42), false)] {
        page.journal.begin(line);
        assert_eq!(strike_line(&arena, RX), !sound, "{line:?}");
        assert_eq!(page.journal.pending().is_some(), sound);
        page.journal.end();
    }
}

#[test]
fn the_ledger_is_settled() {
    let memory = Memory::fresh();
    let arena = arena(&memory);
    let page = arena.gateway(RX).unwrap();
    let (answered, lost) = (Fate { kind: FateKind::Answered, reason: 0 }, Fate { kind: FateKind::Dropped, reason: 63 });
    page.received.store(10, Ordering::Release);
    page.cells[answered.cell()].store(7, Ordering::Release);
    arena.table().get(5).expect("a buffer").set_role(Role::Head);
    assert_eq!(settle_ledger(&arena, RX, lost.cell()), 2);
    assert_eq!(page.cells[lost.cell()].load(Ordering::Acquire), 2);
    assert_eq!(settle_ledger(&arena, RX, lost.cell()), 0);
    page.cells[answered.cell()].store(1 << 60, Ordering::Release);
    assert!(settle_ledger(&arena, RX, lost.cell()) > 0);
    assert_eq!(page.received.load(Ordering::Acquire), (1 << 60) + 2 + 1);
    assert!(arena.ledger(1).balanced());
}

/// 32 buffers of two rx-gateways, all free with the third incarnation of their homes; nobody else holds anything.
fn two_gateways() -> (Arena, Crew, [OwnerId; 2]) {
    let geometry = Geometry { gateways: 2, ..GEOMETRY };
    let (arena, _) = Arena::create(geometry, HugePages::Off).expect("8 MiB of memory");
    for index in 0..geometry.buffers {
        own(&arena, index, geometry.home_of(index), LAST);
    }
    let everybody = geometry.all_instances().fold(Instances::NONE, |all, (id, _)| all.with(id));
    let crew = Crew { incarnations: vec![LAST; geometry.instances()], active: everybody, queues: 0 };
    (arena, crew, [geometry.gateway_id(0), geometry.gateway_id(1)])
}

#[test]
fn a_buffer_with_another_gateway_than_its_home_is_nobodys() {
    let (arena, crew, [first, second]) = two_gateways();
    let tx = ids()[1];
    let survey_twice = |arena: &Arena| {
        let (mut sightings, mut marks) = (Sightings::new(arena.table().len()), Marks::new(arena.table().len()));
        let mut once = || {
            arena.geometry().all_instances().for_each(|(id, _)| turn(arena, id));
            survey(arena, &crew, &mut sightings, &mut marks, 3)
        };
        once();
        once()
    };
    assert_eq!(survey_twice(&arena), Survey::default());
    let cases = [
        (5, Role::Free, second, Instances::ALL),
        (5, Role::Head, second, Instances::ALL),
        (20, Role::Assembling, first, Instances::ALL),
        (20, Role::Free, tx, these(&[second, tx])),
        (20, Role::Segment, OwnerId::ATTACHED, these(&[second])),
        (5, Role::Segment, OwnerId::ATTACHED, these(&[first])),
    ];
    for (index, role, id, stop) in cases {
        let d = arena.table().get(index).expect("a buffer");
        d.set_role(role);
        // Attached: to buffer 3, which is no head.
        own(&arena, index, id, LAST);
        let found = survey_twice(&arena);
        assert_eq!((found.stop, found.lost), (stop, 1), "{index} {role:?} {id:?}");
        let mut sightings = Sightings::new(arena.table().len());
        let stopped = if stop == Instances::ALL { crew.active } else { stop };
        let done = straighten(&arena, &crew, stopped, &mut sightings);
        if role == Role::Head {
            assert_eq!((done.words, done.heads), (0, vec![index]), "the supervisor ends it");
        } else if id != OwnerId::ATTACHED {
            let home = Owner { id: arena.geometry().home_of(index), incarnation: LAST, seq: 10 };
            assert_eq!((done.words, d.owner(), d.role()), (1, home, Role::Free), "{index} {role:?} {id:?}");
        }
        d.set_role(Role::Free);
        own(&arena, index, arena.geometry().home_of(index), LAST);
    }
}

#[test]
fn each_gateway_has_books_of_its_own() {
    let (arena, _, [first, second]) = two_gateways();
    let lost = Fate { kind: FateKind::Dropped, reason: 63 };
    let page = |id| arena.gateway(id).expect("a gateway");
    page(first).received.store(3, Ordering::Release);
    page(first).cells[lost.cell()].store(3, Ordering::Release);
    page(second).received.store(10, Ordering::Release);
    page(second).cells[0].store(7, Ordering::Release);
    arena.table().get(31).expect("a buffer").set_role(Role::Head);
    assert!(arena.ledger_of(first, 1).balanced() && !arena.ledger_of(second, 1).balanced());
    assert_eq!((settle_ledger(&arena, first, lost.cell()), settle_ledger(&arena, second, lost.cell())), (0, 2));
    let all = arena.ledger(1);
    assert!(all.balanced() && arena.ledger_of(second, 1).balanced());
    assert_eq!((all.received, all.in_flight, all.cells[lost.cell()]), (13, 1, 5));
    assert_eq!((arena.frames_in_flight_of(first), arena.frames_in_flight_of(second)), (0, 1));
    // A line about somebody else's buffer is none that it can have written.
    for (id, index, sound) in [(first, 3, true), (first, 20, false), (second, 20, true), (second, 3, false)] {
        let value = page(id).received.load(Ordering::Acquire) + 1;
        let line = Line { operation: Operation::Admit, index, seq: 1, cell: 0, value, extra: NO_STREAM, finished: 0 };
        page(id).journal.begin(line);
        assert_eq!(strike_line(&arena, id), !sound, "{id:?} {index}");
        page(id).journal.end();
    }
    // Rows of one are not those of another.
    assert_eq!((arena.streams(first).len(), arena.streams(second).len(), arena.streams(ids()[1]).len()), (4, 4, 0));
    arena.streams(second)[0].record_finished(0, 77);
    assert!(arena.streams(second)[0].has_finished(77) && !arena.streams(first)[0].has_finished(77));
    assert!(arena.gateway(ids()[1]).is_none());
}

#[test]
fn the_header_is_written_again() {
    let memory = Memory::fresh();
    let arena = arena(&memory);
    let epoch = arena.epoch();
    assert!(!arena.mend_header(epoch));
    for word in 0..14 {
        memory.write(8 * word, u64::MAX);
        assert!(arena.mend_header(epoch), "word {word}");
        assert!(!arena.mend_header(epoch), "word {word}");
    }
    memory.attach().expect("it can be attached to again");
}
