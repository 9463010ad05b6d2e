//! Attaching refuses what it does not know, and writes nothing.

use crate::SMALL;
use arena::arena::{Access, Regions, rights};
use arena::layout::{LAYOUT_HASH, LAYOUT_VERSION};
use arena::region::{HugePages, Region, RegionError};
use arena::topology::{RX, RingKind, StageKind};
use arena::{Arena, ArenaError, Geometry, Me};
use std::os::fd::{AsFd, BorrowedFd};

// The header's first words: part of the layout that every release must find at these places.
const VERSION_AT: u64 = 8;
const HASH_AT: u64 = 16;
const GEOMETRY_AT: u64 = 24;
const READY_AT: u64 = 96;

fn arena() -> (Arena, Regions) {
    Arena::create(SMALL, HugePages::Off).expect("a few MiB of memory")
}

fn word(regions: &Regions, at: u64) -> u64 {
    let mut bytes = [0; 8];
    assert_eq!(rustix::io::pread(&regions.control.rw, &mut bytes, at), Ok(8));
    u64::from_ne_bytes(bytes)
}

fn set(regions: &Regions, at: u64, value: u64) {
    assert_eq!(rustix::io::pwrite(&regions.control.rw, &value.to_ne_bytes(), at), Ok(8));
}

fn attach(regions: &Regions) -> Result<Arena, ArenaError> {
    Arena::attach(regions.control.rw.as_fd(), None, None, None)
}

fn contents(region: &Region) -> Vec<u8> {
    let mut bytes = vec![0; region.len as usize];
    assert_eq!(rustix::io::pread(&region.ro, &mut bytes[..], 0), Ok(region.len as usize));
    bytes
}

#[test]
fn another_magic() {
    let (_arena, regions) = arena();
    assert_eq!(word(&regions, 0).to_le_bytes(), *b"FLUMEWAY");
    set(&regions, 0, word(&regions, 0) ^ 1);
    assert!(matches!(attach(&regions), Err(ArenaError::Magic)));
    // Other files altogether: too short for a header, or empty of one.
    let short = arena::region::document("short", b"FLUMEWAY").unwrap();
    assert!(matches!(Arena::attach(short.as_fd(), None, None, None), Err(ArenaError::Magic)));
    let zero = Region::create("zero", 1, HugePages::Off).unwrap();
    assert!(matches!(Arena::attach(zero.rw.as_fd(), None, None, None), Err(ArenaError::Magic)));
}

#[test]
fn another_version_or_hash() {
    let (_arena, regions) = arena();
    for at in [VERSION_AT, HASH_AT] {
        let right = word(&regions, at);
        set(&regions, at, right.wrapping_add(1));
        match attach(&regions).map(|_| ()) {
            Err(ArenaError::Layout { is_version, want_version, is_hash, want_hash }) => {
                assert_eq!((want_version, want_hash), (u64::from(LAYOUT_VERSION), LAYOUT_HASH));
                assert_eq!((is_version, is_hash), (word(&regions, VERSION_AT), word(&regions, HASH_AT)));
            }
            other => panic!("{other:?}"),
        }
        set(&regions, at, right);
    }
    attach(&regions).expect("all is as it was");
}

#[test]
fn not_ready() {
    let (_arena, regions) = arena();
    set(&regions, READY_AT, 0);
    assert!(matches!(attach(&regions), Err(ArenaError::NotReady)));
    set(&regions, READY_AT, 1);
    attach(&regions).expect("ready");
}

#[test]
fn a_geometry_that_cannot_be_or_of_another_length() {
    let (_arena, regions) = arena();
    let buffers = word(&regions, GEOMETRY_AT);
    assert_eq!(buffers, u64::from(SMALL.buffers));
    set(&regions, GEOMETRY_AT, 1);
    assert!(matches!(attach(&regions), Err(ArenaError::Geometry(_))));
    set(&regions, GEOMETRY_AT, 1 << 20);
    let refused = attach(&regions).map(|_| ()).unwrap_err();
    assert!(matches!(refused, ArenaError::Region(RegionError::Length { name: "control", .. })), "{refused}");
}

#[test]
fn a_region_of_another_arena() {
    let (_arena, regions) = arena();
    let (_, other) = Arena::create(Geometry { buffers: 2048, ..SMALL }, HugePages::Off).unwrap();
    let packets = Some((other.packets.ro.as_fd(), false));
    let refused = Arena::attach(regions.control.rw.as_fd(), packets, None, None).map(|_| ()).unwrap_err();
    let want = regions.packets.len;
    assert!(
        matches!(refused, ArenaError::Region(RegionError::Length { name: "packets", is: 0x80_0000, want: w }) if w == want),
        "{refused}"
    );
}

#[test]
fn a_read_only_descriptor_where_the_stage_writes() {
    let (_arena, regions) = arena();
    let packets = Some((regions.packets.ro.as_fd(), true));
    let refused = Arena::attach(regions.control.rw.as_fd(), packets, None, None).map(|_| ()).unwrap_err();
    assert!(matches!(refused, ArenaError::Region(RegionError::System { call: "mmap", .. })), "{refused}");
    assert!(Arena::attach(regions.control.ro.as_fd(), None, None, None).is_err(), "control is written by all");
}

fn give(region: &Region, access: Access) -> Option<(BorrowedFd<'_>, bool)> {
    match access {
        Access::None => None,
        Access::Read => Some((region.ro.as_fd(), false)),
        Access::Write => Some((region.rw.as_fd(), true)),
    }
}

#[test]
fn attaching_writes_nothing() {
    let (_arena, regions) = arena();
    let all = [&regions.control, &regions.packets, &regions.inputs, &regions.outputs];
    let before: Vec<_> = all.iter().map(|r| contents(r)).collect();
    assert!(before[0].iter().any(|b| *b != 0), "there is something to compare");
    for kind in [StageKind::RxGateway, StageKind::Preprocess, StageKind::Infer, StageKind::Tx] {
        let (packets, inputs, outputs) = rights(kind);
        let arena = Arena::attach(
            regions.control.rw.as_fd(),
            give(&regions.packets, packets),
            give(&regions.inputs, inputs),
            give(&regions.outputs, outputs),
        )
        .expect("attach");
        assert_eq!(arena.geometry(), SMALL);
    }
    let after: Vec<_> = all.iter().map(|r| contents(r)).collect();
    assert!(before == after, "bytes changed");
}

/// What one process stores, another one that attached on its own sees; and the fresh arena adds up.
#[test]
fn two_views_of_one_arena() {
    let (arena, regions) = arena();
    let audit = arena.audit();
    assert_eq!((audit.free, audit.slots_free, audit.heads, audit.sound()), (32, 4, 0, true));
    let other = attach(&regions).expect("attach");
    assert_eq!(other.epoch(), arena.epoch());
    let me = Me { id: RX, incarnation: 1 };
    let head = other.table().take(3, me).unwrap();
    other.table().of(&head).set_role(arena::descriptor::Role::Head);
    let to = SMALL.preprocess_id(0);
    let spec = *other.layout().rings.iter().find(|s| s.kind == RingKind::Forward && s.to == to).unwrap();
    assert!(other.ring(spec.id).producer(other.table(), me).push(head).is_ok());
    assert_eq!((arena.audit().heads, arena.audit().free, arena.frames_in_flight()), (1, 31, 1));
    let got = arena.ring(spec.id).consumer(arena.table(), Me { id: to, incarnation: 1 }).pop().unwrap();
    assert_eq!(got.map(arena::Held::release), Some(3));
}

/// Each buffer is free with its home from the start, and all slots are in the rings of the first rx-gateway.
#[test]
fn several_gateways_share_the_buffers() {
    let geometry = Geometry { gateways: 3, slots: 7, preprocess: 2, ..SMALL };
    let (arena, _regions) = Arena::create(geometry, HugePages::Off).unwrap();
    for (index, d) in arena.table().iter().take(geometry.buffers as usize) {
        assert_eq!(d.owner().id, geometry.home_of(index), "buffer {index}");
    }
    assert_eq!((arena.audit().free, arena.audit().sound()), (geometry.buffers, true));
    let depth = |id| {
        arena.rings_where(|s| s.kind == RingKind::Slots && s.from == id).iter().map(arena::ring::Ring::depth).sum()
    };
    let slots: Vec<u64> = geometry.gateway_ids().map(depth).collect();
    assert_eq!(slots, [7, 0, 0]);
}

/// Each preprocess instance has its own share of the slots, all of them in its ring from the start.
#[test]
fn slots_are_shared_out_among_the_instances() {
    let (arena, _regions) = Arena::create(Geometry { slots: 7, preprocess: 3, ..SMALL }, HugePages::Off).unwrap();
    let mut all = Vec::new();
    for n in 0..3 {
        let to = arena.geometry().preprocess_id(n);
        let rings = arena.rings_where(|s| s.kind == RingKind::Slots && s.to == to);
        let mut mine = Vec::new();
        rings[0].for_each(|index, _| mine.push(index - SMALL.buffers));
        assert!(rings.len() == 1 && mine.iter().all(|s| s % 3 == u32::from(n)), "instance {n}: {mine:?}");
        all.extend(mine);
    }
    all.sort_unstable();
    assert_eq!(all, (0..7).collect::<Vec<_>>());
}
