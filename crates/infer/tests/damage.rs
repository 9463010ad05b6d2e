//! A frame whose record was damaged is not given to the engine: it is dropped, and the stage goes on.

#[path = "../../stage/tests/world/mod.rs"]
mod world;

use arena::counters::InferCounter;
use arena::meta::Address;
use arena::topology::{RingKind, TX};
use arena::{Me, OwnerId, StageKind};
use infer::Infer;
use stage::{Context, Stage};
use world::{DAMAGED, ELEMENTS, World, meta, pipeline, place};

const HEAD: u32 = 9;
const WHOLE: u16 = 4 * ELEMENTS as u16;

struct Rig {
    world: World,
    stage: Infer,
    cx: Context,
    preprocess: OwnerId,
}

impl Rig {
    fn new() -> Self {
        let world = World::new(StageKind::Infer);
        let attached = world.attached(Vec::new());
        let mut stage = Infer::prepare(&pipeline(), &attached).expect("a stage");
        let mut cx = world.context(1, attached);
        stage.activate(&mut cx).expect("active");
        let preprocess = world.arena.geometry().preprocess_id(0);
        Self { world, stage, cx, preprocess }
    }

    /// Feeds a frame whose tensor lies in the slot, or at this offset of its packet, lets `spoil` at it, and tells whether
    /// it was inferred.
    fn goes_through(&mut self, in_packet: Option<u16>, spoil: impl Fn(&World)) -> bool {
        let (world, me) = (&self.world, Me { id: self.preprocess, incarnation: 1 });
        let table = world.arena.table();
        let head = table.take(HEAD, me).unwrap();
        if let Some(slot) = table.detach_slot(&head, me) {
            slot.release();
        }
        head.release();
        world.arena.extensions()[HEAD as usize].reset();
        let before = self.cx.page.counter(InferCounter::Frames as usize);
        // The slot is attached before the head is pushed, as preprocess does.
        let frame = meta(Address::NONE);
        world.descriptor(HEAD).reset();
        let held = table.take(HEAD, me).unwrap();
        world.arena.write_record(&held, &frame, place(0, 1, WHOLE));
        held.release();
        world.descriptor(HEAD).set_role(arena::descriptor::Role::Head);
        world.attach_slot(HEAD, 0, me);
        world.arena.extensions()[HEAD as usize].set_input(in_packet, 0);
        world.push(table.take(HEAD, me).unwrap(), self.preprocess);
        spoil(world);
        self.stage.poll(&mut self.cx).expect("no stop, no poison");
        assert_eq!(world.take_from(RingKind::Forward, TX), Some(HEAD));
        let inferred = self.cx.page.counter(InferCounter::Frames as usize) > before;
        assert_eq!(world.descriptor(HEAD).fate(), if inferred { None } else { Some(DAMAGED) });
        inferred
    }
}

#[test]
fn every_bit_of_a_heads_record_counts() {
    let mut rig = Rig::new();
    for at in rig.world.immutable(HEAD) {
        for bit in 0..64 {
            assert!(!rig.goes_through(None, |w| w.flip(at, bit)), "bit {bit} at {at:#x}");
        }
    }
    assert_eq!(rig.cx.page.counter(InferCounter::Damaged as usize), 23 * 64);
    assert!(rig.goes_through(None, |_| {}), "a sound frame still passes");
}

/// A tensor that is said to lie in the packet lies where the payload does, or the frame is not believed.
#[test]
fn a_tensor_lies_where_the_payload_does() {
    let mut rig = Rig::new();
    let offset = place(0, 1, WHOLE).data.offset;
    assert!(rig.goes_through(Some(offset), |_| {}));
    for wrong in [0, offset - 64, offset + 64, u16::MAX] {
        assert!(!rig.goes_through(Some(wrong), |_| {}), "{wrong}");
    }
}
