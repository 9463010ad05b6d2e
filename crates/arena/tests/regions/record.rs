//! The immutable part of a record: whatever is written over it is found.

use crate::SMALL;
use arena::Arena;
use arena::Me;
use arena::arena::Regions;
use arena::descriptor::{DataRange, Descriptor};
use arena::meta::{Address, Extension, FrameMeta};
use arena::record::{Damaged, Place};
use arena::region::HugePages;
use arena::topology::RX;
use proptest::prelude::*;

const BUFFER: u32 = 5;
/// Words of an extension: the metadata, and those that guard it.
const META: std::ops::Range<u64> = 0..19;
const GUARDS: std::ops::Range<u64> = 26..29;

fn meta() -> FrameMeta {
    FrameMeta {
        stream: 7,
        frame: 42,
        session: 3,
        encoding: 2,
        stream_row: 1,
        total_len: 1_000_000,
        arrival_ns: 5_000_000_000,
        deadline_ns: 5_010_000_000,
        width: 640,
        height: 480,
        reply_to: Address::new("10.0.0.9:4000".parse().unwrap()),
        ..FrameMeta::default()
    }
}

const PLACE: Place = Place { data: DataRange { offset: 448, len: 1400 }, fragment: 0, count: 700 };

struct World {
    arena: Arena,
    regions: Regions,
}

impl World {
    fn new() -> Self {
        let (arena, regions) = Arena::create(SMALL, HugePages::Off).expect("a few MiB of memory");
        let world = Self { arena, regions };
        world.write(BUFFER, &meta(), PLACE);
        world
    }

    fn write(&self, index: u32, meta: &FrameMeta, place: Place) {
        let held = self.arena.table().take(index, Me { id: RX, incarnation: 1 }).unwrap();
        self.arena.write_record(&held, meta, place);
        held.release();
    }

    /// Where the words of the immutable part lie in the control region.
    fn immutable(&self, index: u32) -> Vec<u64> {
        let areas = self.arena.layout().areas();
        let at = |name| areas.iter().find(|(area, _)| *area == name).unwrap().1;
        let extension = at("extensions") + u64::from(index) * size_of::<Extension>() as u64;
        let descriptor = at("descriptors") + u64::from(index) * size_of::<Descriptor>() as u64;
        let data = std::mem::offset_of!(Descriptor, data) as u64;
        assert_eq!(std::mem::offset_of!(Descriptor, fragment) as u64, data + 4, "both in one word");
        META.chain(GUARDS).map(|n| extension + 8 * n).chain([descriptor + data]).collect()
    }

    fn get(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        assert_eq!(rustix::io::pread(&self.regions.control.rw, &mut bytes, at), Ok(8));
        u64::from_le_bytes(bytes)
    }

    fn set(&self, at: u64, word: u64) {
        assert_eq!(rustix::io::pwrite(&self.regions.control.rw, &word.to_le_bytes(), at), Ok(8));
    }
}

#[test]
fn what_was_written_is_read() {
    let world = World::new();
    assert_eq!(world.arena.record(BUFFER), Ok((meta(), PLACE)));
    assert_eq!((world.arena.frame_meta(BUFFER), world.arena.place(BUFFER)), (Ok(meta()), Ok(PLACE)));
    world.write(BUFFER, &FrameMeta::default(), PLACE);
    assert_eq!(world.arena.frame_meta(BUFFER), Ok(FrameMeta::default()), "the next frame of this buffer");
}

#[test]
fn every_single_bit_flip_is_found() {
    let world = World::new();
    let words = world.immutable(BUFFER);
    assert_eq!(words.len(), 19 + 3 + 1);
    let mut flips = 0;
    for at in &words {
        let right = world.get(*at);
        for bit in 0..64 {
            world.set(*at, right ^ 1 << bit);
            assert_eq!(world.arena.record(BUFFER), Err(Damaged { index: BUFFER }), "bit {bit} at {at:#x}");
            flips += 1;
        }
        world.set(*at, right);
    }
    assert_eq!((flips, world.arena.record(BUFFER)), (23 * 64, Ok((meta(), PLACE))));
}

/// What only a segment's place says is found too, by the look that segments get.
#[test]
fn every_single_bit_flip_of_a_place_is_found() {
    let world = World::new();
    let words = world.immutable(BUFFER);
    for at in [words[20], words[22]] {
        let right = world.get(at);
        for bit in 0..64 {
            world.set(at, right ^ 1 << bit);
            assert_eq!(world.arena.place(BUFFER), Err(Damaged { index: BUFFER }), "bit {bit} at {at:#x}");
        }
        world.set(at, right);
    }
    assert_eq!(world.arena.place(BUFFER), Ok(PLACE));
}

#[test]
fn a_buffer_that_never_had_a_record_or_has_none_is_refused() {
    let world = World::new();
    let n = SMALL.buffers;
    for index in [0, BUFFER + 1, n - 1, n, n + SMALL.slots, u32::MAX] {
        assert_eq!(world.arena.record(index), Err(Damaged { index }), "never written, a slot, or nothing");
        assert_eq!(world.arena.place(index), Err(Damaged { index }));
    }
    assert!(Damaged { index: 9 }.to_string().contains("buffer 9"));
}

#[test]
fn another_buffers_record_is_none_of_this_one() {
    let world = World::new();
    world.write(6, &FrameMeta { frame: 43, ..meta() }, PLACE);
    for (from, to) in world.immutable(BUFFER).into_iter().zip(world.immutable(6)) {
        world.set(to, world.get(from));
    }
    assert_eq!(world.arena.record(6), Err(Damaged { index: 6 }));
    assert_eq!(world.arena.place(6), Err(Damaged { index: 6 }));
}

#[test]
fn an_earlier_first_packet_moves_arrival_and_deadline() {
    let world = World::new();
    let (e, meta) = (&world.arena.extensions()[BUFFER as usize], meta());
    for _ in 0..2 {
        e.set_first_arrival(BUFFER, 2_000_500);
        let moved = world.arena.frame_meta(BUFFER).expect("valid");
        assert_eq!(moved.arrival_ns, meta.arrival_ns - 2_001_000, "rounded up to microseconds");
        assert_eq!(moved.deadline_ns, meta.deadline_ns - 2_001_000);
        assert_eq!(FrameMeta { arrival_ns: meta.arrival_ns, deadline_ns: meta.deadline_ns, ..moved }, meta);
    }
    e.set_first_arrival(BUFFER, u64::MAX);
    let moved = world.arena.frame_meta(BUFFER).expect("valid");
    assert_eq!((moved.arrival_ns, moved.deadline_ns), (0, 1), "a deadline never turns into none");
    world.write(BUFFER, &FrameMeta { deadline_ns: 0, ..meta }, PLACE);
    e.set_first_arrival(BUFFER, 5_000);
    assert_eq!(world.arena.frame_meta(BUFFER).unwrap().deadline_ns, 0, "and none never into one");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Any damage to any of the words: other values, zeros, or words that have changed places.
    #[test]
    fn random_damage_is_found(
        damage in proptest::collection::vec((0..23_usize, prop_oneof![any::<u64>(), Just(0), Just(u64::MAX)]), 1..23),
        swap in (0..23_usize, 0..23_usize),
    ) {
        let world = World::new();
        let words = world.immutable(BUFFER);
        let before: Vec<_> = words.iter().map(|at| world.get(*at)).collect();
        for (n, word) in damage {
            world.set(words[n], word);
        }
        let (a, b) = (world.get(words[swap.0]), world.get(words[swap.1]));
        world.set(words[swap.0], b);
        world.set(words[swap.1], a);
        let after: Vec<_> = words.iter().map(|at| world.get(*at)).collect();
        prop_assert_eq!(world.arena.record(BUFFER).is_err(), after != before);
    }
}
