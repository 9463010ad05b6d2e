//! After poison: the supervisor steps over the entry, and the ring goes on for laps.

use crate::rig::{C, Hand, P, Rig, me};
use arena::ring::{Consumer, PoisonReason, Producer};
use arena::sync::Ordering;

const CAPACITY: u64 = 4;
const START: u64 = u64::MAX - 5;

/// A ring of four from P to C (and one back) with entries for buffers 0, 1, 2; buffers 3 to 7 stay in P's hand.
fn loaded() -> (Rig, Hand, Producer<'static>) {
    let rig = Rig::new(8, me(P, 1), CAPACITY as usize, &[(P, C), (C, P)], START);
    let mut hand = rig.take_all(me(P, 1));
    let mut out = rig.ring(0).producer(rig.table(), me(P, 1));
    for held in hand.0.drain(..3) {
        out.push(held).unwrap();
    }
    (rig, hand, out)
}

/// Sends three laps' worth through both rings; every buffer arrives in order.
fn goes_on(rig: &Rig, hand: &mut Hand, out: &mut Producer<'_>, input: &mut Consumer<'_>) {
    let mut ret = rig.ring(1).producer(rig.table(), me(C, 2));
    let mut back = rig.ring(1).consumer(rig.table(), me(P, 1));
    let mut c = Hand::with_room(1);
    for n in 0..=3 * CAPACITY {
        let held = hand.0.remove(0);
        let index = held.index();
        out.push(held).unwrap_or_else(|r| panic!("push {n}: {} with {} in hand", r.fault, r.held.release()));
        assert_eq!(input.pop_batch(&mut c.0, 1), Ok(1), "pop {n}");
        assert_eq!(c.indices(), [index], "pop {n}");
        ret.push(c.0.remove(0)).unwrap();
        hand.0.push(back.pop().unwrap().expect("it comes back"));
    }
}

#[test]
fn a_damaged_entry_is_stepped_over_and_the_rest_arrives() {
    type Damage = fn(&Rig, u64);
    let cases: [(PoisonReason, Damage); 3] = [
        (PoisonReason::Lap, |rig, at| Rig::damage(rig.entry(0, at), |e| e ^ 0x55 << 32)),
        (PoisonReason::Index, |rig, at| Rig::damage(rig.entry(0, at), |e| e | 0xff_ffff << 40)),
        (PoisonReason::Owner, |rig, at| Rig::damage(rig.entry(0, at), |e| e ^ 1 << 9)),
    ];
    for (reason, damage) in cases {
        let (rig, mut hand, mut out) = loaded();
        damage(&rig, START + 1);
        let mut c = Hand::with_room(8);
        let mut input = rig.ring(0).consumer(rig.table(), me(C, 1));
        assert_eq!(input.pop_batch(&mut c.0, 8), Ok(1));
        let poison = input.pop_batch(&mut c.0, 8).unwrap_err();
        assert_eq!((poison.reason, poison.position), (reason, START + 1));

        assert!(!rig.ring(0).step_over(START), "the ring does not stand there any more");
        assert!(!rig.ring(0).step_over(START + 2), "nor there");
        assert!(rig.ring(0).step_over(poison.position));
        assert!(!rig.ring(0).step_over(poison.position), "once only");

        let mut input = rig.ring(0).consumer(rig.table(), me(C, 2));
        assert_eq!(input.pop_batch(&mut c.0, 8), Ok(1));
        assert_eq!(c.indices(), [0, 2], "{reason:?}: the neighbours arrive, the damaged one stays with its owner");
        assert!(rig.owner(1).is(me(P, 1)));
        goes_on(&rig, &mut hand, &mut out, &mut input);
    }
}

/// A stray write hits the place of an entry that was never pushed, while the producer lives: nothing may be stepped
/// over there, or the producer would push behind the consumer's back.
#[test]
fn damage_to_an_empty_place_is_made_empty_again() {
    let (rig, mut hand, mut out) = loaded();
    let mut c = Hand::with_room(8);
    let mut input = rig.ring(0).consumer(rig.table(), me(C, 1));
    assert_eq!(input.pop_batch(&mut c.0, 8), Ok(3));
    Rig::damage(rig.entry(0, START + 3), |e| e ^ 0x2a << 32);
    let poison = input.pop_batch(&mut c.0, 8).unwrap_err();
    assert_eq!((poison.reason, poison.position), (PoisonReason::Lap, START + 3));
    assert!(rig.ring(0).step_over(poison.position));
    assert_eq!(rig.head(0).load(Ordering::Relaxed), START + 3, "the cursor stays behind the producer's");
    let mut input = rig.ring(0).consumer(rig.table(), me(C, 2));
    assert!(input.is_empty());
    goes_on(&rig, &mut hand, &mut out, &mut input);
}
