//! Who must be dead for the repair of which word, and what the repair is.

use crate::memory::{Memory, ids};
use arena::descriptor::{Fate, FateKind, Role};
use arena::gateway::{Line, NO_STREAM, Operation};
use arena::reclaim::Marks;
use arena::survey::{
    Crew, Instances, Sightings, Survey, restore_roles, settle_ledger, straighten, strike_line, survey,
};
use arena::sync::Ordering;
use arena::{Arena, Me, Owner, OwnerId};

const LAST: u32 = 3;

fn crew() -> Crew {
    Crew { incarnations: vec![LAST; 4], active: ids().into_iter().fold(Instances::NONE, Instances::with) }
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
    let page = arena.gateway();
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
        assert_eq!(strike_line(&arena), !sound, "{line:?}");
        assert_eq!(page.journal.pending().is_some(), sound);
        page.journal.end();
    }
}

#[test]
fn the_ledger_is_settled() {
    let memory = Memory::fresh();
    let arena = arena(&memory);
    let page = arena.gateway();
    let (answered, lost) = (Fate { kind: FateKind::Answered, reason: 0 }, Fate { kind: FateKind::Dropped, reason: 63 });
    page.received.store(10, Ordering::Release);
    page.cells[answered.cell()].store(7, Ordering::Release);
    arena.table().get(5).expect("a buffer").set_role(Role::Head);
    assert_eq!(settle_ledger(&arena, lost.cell()), 2);
    assert_eq!(page.cells[lost.cell()].load(Ordering::Acquire), 2);
    assert_eq!(settle_ledger(&arena, lost.cell()), 0);
    page.cells[answered.cell()].store(1 << 60, Ordering::Release);
    assert!(settle_ledger(&arena, lost.cell()) > 0);
    assert_eq!(page.received.load(Ordering::Acquire), (1 << 60) + 2 + 1);
    assert!(arena.ledger(1).balanced());
}

#[test]
fn the_header_is_written_again() {
    let memory = Memory::fresh();
    let arena = arena(&memory);
    let epoch = arena.epoch();
    assert!(!arena.mend_header(epoch));
    for word in 0..13 {
        memory.write(8 * word, u64::MAX);
        assert!(arena.mend_header(epoch), "word {word}");
        assert!(!arena.mend_header(epoch), "word {word}");
    }
    memory.attach().expect("it can be attached to again");
}
