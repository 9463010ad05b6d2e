//! A frame whose record was damaged gets no tensor: it is dropped, and the stage goes on.

#[path = "../../stage/tests/world/mod.rs"]
mod world;

use arena::counters::PreCounter;
use arena::meta::Address;
use arena::sync::Ordering;
use arena::topology::{RX, RingKind, TX};
use arena::{Me, OwnerId, StageKind};
use preprocess::Preprocess;
use stage::{Context, Stage};
use world::{DAMAGED, ELEMENTS, World, meta, pipeline, place};

const HEAD: u32 = 9;
const WHOLE: u16 = 4 * ELEMENTS as u16;

struct Rig {
    world: World,
    stage: Preprocess,
    cx: Context,
    infer: OwnerId,
}

impl Rig {
    fn new() -> Self {
        let world = World::new(StageKind::Preprocess);
        let attached = world.attached(Vec::new());
        let mut stage = Preprocess::prepare(&pipeline(), &attached).expect("a stage");
        let mut cx = world.context(1, attached);
        stage.activate(&mut cx).expect("active");
        let infer = world.arena.geometry().infer_id(0);
        Self { world, stage, cx, infer }
    }

    /// One turn; true if the head went on to infer, false if it was dropped as damaged.
    fn goes_on(&mut self) -> bool {
        self.stage.poll(&mut self.cx).expect("no stop, no poison");
        if let Some(head) = self.world.take_from(RingKind::Forward, self.infer) {
            assert_eq!((head, self.world.descriptor(HEAD).fate()), (HEAD, None));
            // Its slot goes back, so that the next frame finds one.
            let me = Me { id: RX, incarnation: 1 };
            let table = self.world.arena.table();
            let head = table.take(HEAD, me).unwrap();
            let slot = table.detach_slot(&head, me).expect("a slot");
            let ring = self.world.arena.rings_where(|s| s.kind == RingKind::Slots)[0];
            ring.producer(table, me).push(slot).expect("room");
            head.release();
            return true;
        }
        assert_eq!(self.world.take_from(RingKind::Status, TX), Some(HEAD), "it went nowhere");
        assert_eq!(self.world.descriptor(HEAD).fate(), Some(DAMAGED));
        false
    }

    fn feed_whole(&self) {
        self.world.feed(HEAD, &meta(Address::NONE), place(0, 1, WHOLE), RX);
    }

    /// Three fragments: the head and the buffers after it.
    fn feed_parts(&self) {
        let (world, me) = (&self.world, Me { id: RX, incarnation: 1 });
        let len = WHOLE / 4;
        let head = world.arena.table().take(HEAD, me).unwrap();
        for (n, next) in [(2, arena::descriptor::NONE), (1, HEAD + 2)] {
            let part = world.arena.table().take(HEAD + n, me).unwrap();
            world.arena.write_record(&part, &meta(Address::NONE), place(n as u16, 3, len));
            world.arena.table().attach_segment(&head, part, next);
        }
        head.release();
        world.feed(HEAD, &meta(Address::NONE), place(0, 3, len * 2), RX);
        let d = world.descriptor(HEAD);
        d.segments.store(2, Ordering::Relaxed);
        d.next.store(HEAD + 1, Ordering::Relaxed);
    }
}

#[test]
fn every_bit_of_a_heads_record_counts() {
    let mut rig = Rig::new();
    for at in rig.world.immutable(HEAD) {
        for bit in 0..64 {
            rig.feed_whole();
            rig.world.flip(at, bit);
            assert!(!rig.goes_on(), "bit {bit} at {at:#x}");
        }
    }
    assert_eq!(rig.cx.page.counter(PreCounter::Damaged as usize), 23 * 64);
    assert_eq!(rig.cx.page.counter(PreCounter::Frames as usize), 0, "no pixel was read");
    rig.feed_whole();
    assert!(rig.goes_on(), "a sound frame still passes");
}

#[test]
fn every_bit_of_a_segments_place_counts() {
    let mut rig = Rig::new();
    rig.feed_parts();
    assert!(rig.goes_on(), "a sound frame of three packets passes");
    let words = rig.world.immutable(HEAD + 2);
    // The check of the place, and the place itself; a segment's metadata is nobody's.
    for at in [words[20], words[22]] {
        for bit in 0..64 {
            rig.feed_parts();
            rig.world.flip(at, bit);
            assert!(!rig.goes_on(), "bit {bit} at {at:#x}");
        }
    }
    rig.feed_parts();
    assert!(rig.goes_on());
}

/// Which segments follow has no checksum, but what they are does: one too few, one too many, or in another order shows.
#[test]
fn a_list_of_other_segments_is_no_frame() {
    let mut rig = Rig::new();
    let spoil: [fn(&World); 4] = [
        |w| w.descriptor(HEAD).segments.store(1, Ordering::Relaxed),
        |w| {
            w.descriptor(HEAD).segments.store(9, Ordering::Relaxed);
            w.descriptor(HEAD + 2).next.store(HEAD + 1, Ordering::Relaxed);
        },
        |w| w.descriptor(HEAD).next.store(HEAD + 2, Ordering::Relaxed),
        |w| w.descriptor(HEAD + 1).next.store(HEAD + 1, Ordering::Relaxed),
    ];
    for (n, spoil) in spoil.iter().enumerate() {
        rig.feed_parts();
        spoil(&rig.world);
        assert!(!rig.goes_on(), "case {n}");
    }
    rig.feed_parts();
    assert!(rig.goes_on());
}
