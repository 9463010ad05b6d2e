//! Geometries at and beyond their bounds.

use crate::SMALL;
use arena::Geometry;
use arena::layout::Layout;

fn refusal(geometry: Geometry) -> Option<String> {
    Layout::new(geometry).err().map(|e| e.to_string())
}

#[test]
fn each_size_has_its_bounds_and_its_message() {
    let g = SMALL;
    let refused = [
        (Geometry { buffers: 15, ..g }, "buffers = 15 is outside 16..=4194304"),
        (Geometry { buffers: (1 << 22) + 1, ..g }, "buffers = 4194305 is outside 16..=4194304"),
        (Geometry { slots: 0, ..g }, "slots = 0 is outside 1..=1048576"),
        (Geometry { slots: (1 << 20) + 1, ..g }, "slots = 1048577 is outside 1..=1048576"),
        (Geometry { slot_input_bytes: 0, ..g }, "slot input bytes = 0 is outside 64..=1073741824, a multiple of 64"),
        (
            Geometry { slot_input_bytes: 100, ..g },
            "slot input bytes = 100 is outside 64..=1073741824, a multiple of 64",
        ),
        (
            Geometry { slot_output_bytes: (1 << 30) + 64, ..g },
            "slot output bytes = 1073741888 is outside 64..=1073741824, a multiple of 64",
        ),
        (Geometry { preprocess: 0, ..g }, "preprocess instances = 0 is outside 1..=16"),
        (Geometry { preprocess: 17, ..g }, "preprocess instances = 17 is outside 1..=16"),
        (Geometry { infer: 0, ..g }, "infer instances = 0 is outside 1..=16"),
        (Geometry { infer: 17, ..g }, "infer instances = 17 is outside 1..=16"),
        (Geometry { ring_capacity: 1, ..g }, "ring capacity = 1 is outside 2..=1048576, a power of two"),
        (Geometry { ring_capacity: 12, ..g }, "ring capacity = 12 is outside 2..=1048576, a power of two"),
        (Geometry { ring_capacity: 1 << 21, ..g }, "ring capacity = 2097152 is outside 2..=1048576, a power of two"),
        (Geometry { max_streams: 0, ..g }, "max_streams = 0 is outside 1..=1048576"),
        (Geometry { gateways: 0, ..g }, "rx-gateway instances = 0 is outside 1..=16"),
        (Geometry { gateways: 17, ..g }, "rx-gateway instances = 17 is outside 1..=16"),
        (Geometry { gateways: 3, slots: 2, ..g }, "slots = 2 is outside 3..=1048576"),
    ];
    for (geometry, message) in refused {
        assert_eq!(refusal(geometry).as_deref(), Some(message));
    }
}

#[test]
fn the_bounds_themselves_are_allowed() {
    let least = Geometry {
        buffers: 16,
        slots: 1,
        slot_input_bytes: 64,
        slot_output_bytes: 64,
        preprocess: 1,
        infer: 1,
        ring_capacity: 2,
        max_streams: 1,
        gateways: 1,
    };
    let most = Geometry {
        buffers: 1 << 22,
        slots: 1 << 20,
        slot_input_bytes: 1 << 30,
        slot_output_bytes: 1 << 30,
        preprocess: 16,
        infer: 16,
        ring_capacity: 1 << 20,
        max_streams: 1 << 20,
        gateways: 16,
    };
    for geometry in [least, most] {
        let layout = Layout::new(geometry).expect("within bounds");
        assert_eq!(layout.packets_bytes, (u64::from(geometry.buffers) * 4096).next_multiple_of(2 << 20));
        assert_eq!(
            layout.inputs_bytes,
            (u64::from(geometry.slots) * geometry.slot_input_bytes).next_multiple_of(2 << 20)
        );
        assert!(layout.control_bytes.is_multiple_of(2 << 20));
    }
}

/// Rings into which a push must never fail have room for all buffers and slots.
#[test]
fn roomy_rings_hold_everything() {
    use arena::topology::RingKind::{Home, Recovery, Slots, Status};
    let g = Geometry { buffers: 100, slots: 30, preprocess: 2, infer: 2, ..SMALL };
    let layout = Layout::new(g).unwrap();
    for spec in &layout.rings {
        let want = match spec.kind {
            Home | Recovery | Status => 130,
            Slots => 30,
            arena::topology::RingKind::Forward => g.ring_capacity,
        };
        assert!(spec.capacity >= want && spec.capacity.is_power_of_two(), "{spec:?}");
    }
    let recovery = layout.rings.iter().filter(|s| s.kind == Recovery);
    assert!(recovery.clone().all(|s| s.from == s.to) && recovery.count() == g.instances());
}
