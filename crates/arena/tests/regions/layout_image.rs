//! What known operations leave in memory, word by word: how owner words, ring entries, orders and records are packed, and
//! that each lands where the layout says.

use arena::arena::Regions;
use arena::descriptor::{DataRange, Fate, FateKind, Role};
use arena::gateway::{Line, Operation};
use arena::meta::{Address, FrameMeta, Link, Moment};
use arena::page::{Command, Event};
use arena::record::Place;
use arena::region::HugePages;
use arena::ring::{Poison, PoisonReason, RingId};
use arena::sync::Ordering;
use arena::topology::{RX, RingKind};
use arena::{Arena, Geometry, Me};

/// The smallest arena with one stage of each kind.
pub const SAMPLE: Geometry = Geometry {
    buffers: 16,
    slots: 2,
    slot_input_bytes: 128,
    slot_output_bytes: 64,
    preprocess: 1,
    infer: 1,
    ring_capacity: 4,
    max_streams: 1,
    gateways: 1,
};

/// The layout's hash and the time of creation: they differ from build to build, and from arena to arena.
const VARYING: [u64; 2] = [16, 88];

fn words(regions: &Regions) -> Vec<u64> {
    let mut bytes = vec![0; regions.control.len as usize];
    assert_eq!(rustix::io::pread(&regions.control.rw, &mut bytes[..], 0), Ok(bytes.len()));
    let word = |c: &[u8]| u64::from_le_bytes(c.try_into().unwrap());
    let mut words: Vec<_> = bytes.chunks_exact(8).map(word).collect();
    for at in VARYING {
        words[at as usize / 8] = 0;
    }
    words
}

/// One line per run of equal words that differ from those before.
fn changes(operation: &str, before: &[u64], after: &[u64], lines: &mut Vec<String>) {
    let mut at = 0;
    while at < after.len() {
        let (first, value) = (at, after[at]);
        while at < after.len() && after[at] == value && after[at] != before[at] {
            at += 1;
        }
        if at == first {
            at += 1;
            continue;
        }
        let more = if at - first > 1 { format!(", {} words", at - first) } else { String::new() };
        lines.push(format!("{operation}: {:#x} = {value:#018x}{more}", first * 8));
    }
}

/// Values whose bytes all differ, so that each shows where it went.
fn meta() -> FrameMeta {
    FrameMeta {
        stream: 0x1112_1314,
        encoding: 0x21,
        flags: 0x22,
        policy: 0x2324,
        stream_row: 0x3132_3334,
        fragment_offset: 0x4142_4344,
        total_len: 0x5152_5354,
        session: 0x6162_6364_6566_6768,
        frame: 0x7172_7374_7576_7778,
        capture_time: 0x8182_8384_8586_8788,
        arrival_ns: 0x0192_9394_9596_9798,
        deadline_ns: 0x01a2_a3a4_a5a6_a7a8,
        width: 0xb1b2_b3b4,
        height: 0xc1c2_c3c4,
        peer: Address::new("1.2.3.4:5000".parse().unwrap()),
        reply_to: Address::new("[fe80::102:304%7]:6000".parse().unwrap()),
        local: Address::new("[2001:db8::9]:7000".parse().unwrap()),
        link: Some(Link {
            peer_mac: [0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6],
            local_mac: [0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6],
            tags: [0xf1f2_f3f4, 0xf5f6_f7f8],
            queue: 0x3f,
        }),
    }
}

type Act = fn(&Arena);

const RX_ME: Me = Me { id: RX, incarnation: 0x0a_0b0c };

fn order(arena: &Arena, command: Command) {
    arena.control_word(arena.geometry().infer_id(0)).unwrap().order(command);
}

fn stage_page(arena: &Arena) {
    let page = arena.page(arena.geometry().preprocess_id(0)).unwrap();
    page.set_poison(Poison { ring: RingId(3), position: 0x55, reason: PoisonReason::Owner });
    page.note(0x66, Event::Suspect, 0x77);
    page.set_current(5, 0x88);
    page.add(2, 0x99);
    page.heartbeat_ns.store(0xaa, Ordering::Relaxed);
    for (histogram, ns) in [(&page.wait, 9), (&page.work, 1000), (&page.since_arrival, u64::MAX)] {
        histogram.record(ns);
    }
}

fn gateway(arena: &Arena) {
    let line = Line {
        operation: Operation::Dissolve,
        index: 0x101,
        seq: 0x202,
        cell: 133,
        value: 0x303,
        extra: 0x404,
        finished: 0x505,
    };
    arena.gateway(RX).unwrap().journal.begin(line);
    arena.gateway(RX).unwrap().set(&line);
    arena.streams(RX)[0].record_finished(66, 0x606);
}

fn frame(arena: &Arena) {
    let held = arena.table().take(7, RX_ME).unwrap();
    let d = arena.table().of(&held);
    let data = DataRange { offset: 0x1ff, len: 0x2ee };
    arena.write_record(&held, &meta(), Place { data, fragment: 1, count: 3 });
    d.set_role(Role::Head);
    d.set_fate(Fate { kind: FateKind::Dropped, reason: 5 });
    d.settle();
    for (moment, ns) in [(Moment::Admitted, 0x11), (Moment::PreprocessEnd, 0x22), (Moment::InferEnd, 0x33)] {
        arena.extensions()[7].set_moment(moment, ns);
    }
    arena.extensions()[7].set_input(Some(448), 0);
    arena.extensions()[7].set_output_bytes(0x44);
    held.release();
}

fn earlier(arena: &Arena) {
    arena.extensions()[7].set_first_arrival(7, 0x1234_5678);
}

fn through_a_ring(arena: &Arena) {
    let to = arena.geometry().preprocess_id(0);
    let ring = arena.rings_where(|s| s.kind == RingKind::Forward && s.to == to)[0];
    let held = arena.table().take(9, RX_ME).unwrap();
    arena.table().of(&held).set_role(Role::Head);
    assert!(ring.producer(arena.table(), RX_ME).push(held).is_ok());
}

fn attached(arena: &Arena) {
    let me = Me { id: arena.geometry().preprocess_id(0), incarnation: 0x0d_0e0f };
    let rings = |kind| arena.rings_where(|s| s.kind == kind && s.to == me.id)[0].consumer(arena.table(), me);
    let head = rings(RingKind::Forward).pop().unwrap().unwrap();
    let slot = rings(RingKind::Slots).pop().unwrap().unwrap();
    arena.table().attach_slot(&head, slot);
    head.release();
    let segment = arena.table().take(4, RX_ME).unwrap();
    let head = arena.table().take(7, RX_ME).unwrap();
    arena.table().attach_segment(&head, segment, 0x0c);
    head.release();
}

const ACTS: &[(&str, Act)] = &[
    ("order active", |a| order(a, Command::Active { incarnation: 0x01_0203, ticket: 0x0405_0607 })),
    ("order drain", |a| order(a, Command::Drain { incarnation: 0x01_0203, ticket: 0x0405_0607 })),
    ("stage page", stage_page),
    ("journal, ledger, history", gateway),
    ("a frame's record", frame),
    ("its first packet came earlier", earlier),
    ("push", through_a_ring),
    ("pop, attach a slot and a segment", attached),
];

/// The words that a fresh arena holds, then those that each operation changed.
pub fn image() -> Vec<String> {
    let (arena, regions) = Arena::create(SAMPLE, HugePages::Off).expect("a few MiB of memory");
    let mut lines = Vec::new();
    let mut before = words(&regions);
    changes("fresh", &vec![0; before.len()], &before, &mut lines);
    for (name, act) in ACTS {
        act(&arena);
        let after = words(&regions);
        changes(name, &before, &after, &mut lines);
        before = after;
    }
    lines
}
