//! What an examination tells of one damaged ring.

use crate::memory::ids;
use arena::descriptor::Role;
use arena::refill::{Finding, Taker, examine, stands_wrong};
use arena::region::HugePages;
use arena::ring::{Producer, Ring};
use arena::topology::RingKind;
use arena::{Arena, Geometry, Me};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// A ring of 8 from rx-gateway to preprocess with heads 0, 1 and 2 in it, 5 taken before.
struct World {
    arena: Arena,
    ring: Ring<'static>,
    control: File,
    at: u64,
    producer: Producer<'static>,
}

const HEAD: u64 = 5;

impl World {
    fn new() -> Self {
        let geometry = Geometry {
            buffers: 16,
            slots: 2,
            slot_input_bytes: 64,
            slot_output_bytes: 64,
            preprocess: 1,
            infer: 1,
            ring_capacity: 8,
            max_streams: 1,
            gateways: 1,
        };
        let (arena, regions) = Arena::create(geometry, HugePages::Off).expect("8 MiB of memory");
        let [rx, _, pre, _] = ids();
        let ring = arena.rings_where(|s| s.kind == RingKind::Forward && s.to == pre).remove(0);
        let me = Me { id: rx, incarnation: 1 };
        let mut producer = ring.producer(arena.table(), me);
        let mut consumer = ring.consumer(arena.table(), Me { id: pre, incarnation: 1 });
        let mut push = |index: u32| {
            let held = arena.table().take(index, me).expect("a buffer");
            arena.table().of(&held).set_role(Role::Head);
            producer.push(held).expect("room");
        };
        (8..13).for_each(&mut push);
        while let Some(held) = consumer.pop().expect("no poison") {
            // On their way elsewhere: what a dead consumer still held would count as claimed again.
            let next = Me { id: ids()[3], incarnation: 1 };
            arena.table().take(held.release(), next).expect("a buffer").release();
        }
        (0..3).for_each(push);
        let at = arena.layout().ring_at(ring.id).expect("a ring");
        let control = File::from(regions.control.rw.try_clone().expect("a descriptor"));
        Self { arena, ring, control, at, producer }
    }

    fn examine(&self, consumer_is_dead: bool) -> Finding {
        let me = Me { id: ids()[2], incarnation: 2 };
        let taker = Taker { me, onward: &self.arena.rings_where(|s| s.from == me.id && s.to != me.id) };
        examine(&self.ring, self.arena.table(), consumer_is_dead.then_some(taker))
    }

    fn change(&self, at: u64, change: impl Fn(u64) -> u64) {
        let mut word = [0; 8];
        self.control.read_exact_at(&mut word, at).expect("read");
        let new = change(u64::from_ne_bytes(word));
        self.control.write_all_at(&new.to_ne_bytes(), at).expect("write");
    }

    fn entry(&self, position: u64, change: impl Fn(u64) -> u64) {
        self.change(self.at + 8192 + 8 * (position & 7), change);
    }

    fn head(&self, change: impl Fn(u64) -> u64) {
        self.change(self.at + 4096, change);
    }

    fn tail(&self, change: impl Fn(u64) -> u64) {
        self.change(self.at, change);
    }
}

#[test]
fn a_sound_ring_is_sound() {
    let world = World::new();
    assert_eq!(world.examine(true), Finding::default());
    assert_eq!(stands_wrong(&world.ring), None);
    assert_eq!(world.ring.cursors(), (HEAD, HEAD + 3));
    assert_eq!(world.producer.look(), 3);
}

#[test]
fn one_damaged_entry_at_the_head_is_stepped_over_and_others_are_not() {
    let changes: [fn(u64) -> u64; 3] = [|e| e ^ 1 << 39, |e| e ^ 0xff_ff00 << 40, |e| e ^ 1];
    for (n, change) in changes.into_iter().enumerate() {
        let world = World::new();
        world.entry(HEAD, change);
        assert!(world.examine(true).is_one_entry(), "{n}: {:?}", world.examine(true));
        assert!(world.ring.step_over(HEAD));
        let after = world.examine(true);
        // A buffer whose entry still says what its word says was lost with the step: a stray, to be fetched by a refill.
        assert_eq!(after, Finding { strays: u32::from(n == 0), ..Finding::default() }, "{n}");
        let world = World::new();
        world.entry(HEAD + 1, change);
        let finding = world.examine(true);
        assert!(!finding.is_sound() && !finding.is_one_entry() && finding.bad == 1, "{n}: {finding:?}");
    }
}

#[test]
fn an_entry_made_to_look_empty_is_a_hole() {
    // Positions 5 to 7 are of lap 1, and 0 is the one before.
    let world = World::new();
    world.entry(HEAD + 1, |e| e & !(0xff << 32));
    let finding = world.examine(false);
    assert!(finding.holes > 0 && !finding.is_sound_upstream(), "{finding:?}");
    assert_eq!(stands_wrong(&world.ring), None, "the consumer does not stand there yet");
    let world = World::new();
    world.entry(HEAD, |e| e & !(0xff << 32));
    assert_eq!(stands_wrong(&world.ring), Some(HEAD));
}

#[test]
fn a_moved_cursor_is_seen_wherever_it_went() {
    for moved in (1..64).map(|bit| HEAD ^ 1 << bit).chain([HEAD + 1, HEAD + 3, HEAD + 5, 0, u64::MAX]) {
        let world = World::new();
        world.head(|_| moved);
        let finding = world.examine(true);
        assert!(!finding.is_sound() && !finding.is_one_entry(), "{moved}: {finding:?}");
    }
    // One back: the entry there was taken long ago; stepping over it is all that is needed.
    let world = World::new();
    world.head(|_| HEAD - 1);
    assert!(world.examine(true).is_one_entry() && world.ring.step_over(HEAD - 1) && world.examine(true).is_sound());
    // The gauge alone: too far ahead, far behind. One that lags by what a killed producer left is no damage.
    for (tail, sound) in [(HEAD + 7, false), (HEAD + 9, false), (1 << 40, false), (HEAD + 2, true), (HEAD, true)] {
        let world = World::new();
        world.tail(|_| tail);
        assert_eq!(world.examine(true).is_sound(), sound, "{tail}: {:?}", world.examine(true));
    }
}

/// preprocess took head 0 and pushed it on, then the cursor was moved back and preprocess died: its word bears out both entries.
#[test]
fn a_claim_whose_buffer_stands_in_the_next_ring_is_no_claim() {
    let world = World::new();
    let dead = Me { id: ids()[2], incarnation: 1 };
    let held = world.ring.consumer(world.arena.table(), dead).pop().expect("no poison").expect("head 0");
    let onward = world.arena.rings_where(|s| s.kind == RingKind::Forward && s.from == dead.id).remove(0);
    onward.producer(world.arena.table(), dead).push(held).expect("room");
    assert!(world.examine(true).is_sound());
    world.head(|_| HEAD);
    let finding = world.examine(true);
    assert!(finding.taken == 1 && !finding.is_sound() && !finding.is_one_entry(), "{finding:?}");
    // Without the entry further on it is what a claim without its cursor looks like, and may be taken again.
    onward.format(0);
    assert!(world.examine(true).is_sound());
}

#[test]
fn damage_beyond_the_end_matters_only_where_the_consumer_stands() {
    let world = World::new();
    world.entry(HEAD + 4, |e| e ^ 0x55 << 32);
    let finding = world.examine(true);
    assert!(finding.is_sound() && finding.bad_beyond == 1, "{finding:?}");
    let world = World::new();
    world.ring.format(0);
    world.entry(0, |e| e ^ 0x55 << 32);
    let finding = world.examine(true);
    assert!(finding.is_one_entry() && finding.is_sound_upstream(), "{finding:?}");
    assert!(world.ring.step_over(0));
    assert_eq!(world.ring.cursors().0, 0, "made empty again");
}
