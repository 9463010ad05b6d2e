//! What a sweep takes: by owner, incarnation, role and ring membership.

use crate::rig::{C, P, Rig, me};
use arena::descriptor::{Role, Table};
use arena::reclaim::{Marks, Reclaimed, reclaim};
use arena::ring::{Fault, PoisonReason};
use arena::sync::Ordering;
use arena::{Me, Owner, OwnerId};

const DEAD: Me = me(C, 3);

/// Buffers that belong to these, and the recovery ring of C as ring 1.
fn with_owners(owners: &[(OwnerId, u32)]) -> Rig {
    let rig = Rig::new(owners.len() as u32, me(P, 1), 16, &[(P, C), (C, C)], 0);
    for (index, (id, incarnation)) in owners.iter().enumerate() {
        let word = Owner { id: *id, incarnation: *incarnation, seq: 9 };
        rig.table().get(index as u32).unwrap().owner.store(word.pack(), Ordering::Relaxed);
    }
    rig
}

fn sweep(rig: &Rig, table: Table<'static>, adopts_slots: bool) -> Result<Reclaimed, Fault> {
    reclaim(table, DEAD, &rig.rings(), &rig.ring(1), adopts_slots, &mut Marks::new(table.len()))
}

#[test]
fn all_incarnations_up_to_the_dead_one_and_no_other_owner() {
    let rig = with_owners(&[
        (C, 0),
        (C, 1),
        (C, 2),
        (C, 3),
        (C, 4),
        (C, 5),
        (P, 3),
        (OwnerId::SUPERVISOR, 3),
        (OwnerId::ATTACHED, 3),
    ]);
    let words: Vec<_> = (0..9).map(|i| rig.owner(i)).collect();
    assert_eq!(sweep(&rig, rig.table(), false), Ok(Reclaimed { heads: 4, ..Reclaimed::default() }));
    assert_eq!(rig.content(1), [0, 1, 2, 3]);
    assert_eq!((0..9).map(|i| rig.owner(i)).collect::<Vec<_>>(), words, "a sweep changes no word");
    // Again: all of it stands in a ring now.
    assert_eq!(sweep(&rig, rig.table(), false), Ok(Reclaimed { in_rings: 4, ..Reclaimed::default() }));
    assert_eq!(rig.content(1), [0, 1, 2, 3]);
}

#[test]
fn heads_and_slots_come_back_and_the_rest_is_adopted() {
    let roles = [Role::Free, Role::Assembling, Role::Segment, Role::Head, Role::Slot];
    for (adopts_slots, back, done) in [
        (false, vec![3, 4], Reclaimed { heads: 1, slots: 1, adoptable: 3, in_rings: 0 }),
        (true, vec![3], Reclaimed { heads: 1, slots: 0, adoptable: 4, in_rings: 0 }),
    ] {
        let rig = with_owners(&[(C, 3); 5]);
        for (index, role) in roles.iter().enumerate() {
            rig.table().get(index as u32).unwrap().set_role(*role);
        }
        assert_eq!(sweep(&rig, rig.table(), adopts_slots), Ok(done));
        assert_eq!(rig.content(1), back);
    }
}

#[test]
fn what_stands_in_a_ring_is_left_there() {
    // C claimed buffer 0 out of ring 0 and died before it stored its cursor; it holds buffer 1.
    let rig = with_owners(&[(P, 1), (C, 3)]);
    let held = rig.table().take(0, me(P, 1)).unwrap();
    rig.ring(0).producer(rig.table(), me(P, 1)).push(held).unwrap();
    rig.table().take(0, DEAD).unwrap().release();
    assert_eq!(sweep(&rig, rig.table(), false), Ok(Reclaimed { heads: 1, in_rings: 1, ..Reclaimed::default() }));
    assert_eq!((rig.content(0), rig.content(1)), (vec![0], vec![1]));
}

/// An entry of its recovery ring that a dead stage could not take is swept again once it has been stepped over.
#[test]
fn stepped_over_in_the_recovery_ring() {
    let rig = with_owners(&[(C, 3), (C, 3)]);
    sweep(&rig, rig.table(), false).unwrap();
    Rig::damage(rig.entry(1, 0), |e| e ^ 1 << 9);
    let poison = rig.ring(1).consumer(rig.table(), me(C, 4)).pop().map(|h| h.map(arena::Held::release)).unwrap_err();
    assert_eq!(poison.reason, PoisonReason::Owner);
    assert!(rig.ring(1).step_over(poison.position));
    assert_eq!(sweep(&rig, rig.table(), false), Ok(Reclaimed { heads: 1, in_rings: 1, ..Reclaimed::default() }));
    assert_eq!(rig.content(1), [1, 0]);
}

#[test]
fn a_recovery_ring_without_room_is_a_fault() {
    let rig = with_owners(&[(C, 3); 17]);
    // Seventeen heads and room for sixteen: cannot be in an arena, whose recovery rings hold everything.
    assert_eq!(sweep(&rig, rig.table(), false), Err(Fault::Full));
}
