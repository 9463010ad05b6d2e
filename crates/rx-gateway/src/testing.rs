//! What the tests of this crate share.

use arena::{Arena, Geometry};

/// A small arena with this many rows in its stream table.
pub(crate) fn arena(max_streams: u32) -> Arena {
    let geometry = Geometry {
        buffers: 64,
        slots: 1,
        slot_input_bytes: 64,
        slot_output_bytes: 64,
        preprocess: 1,
        infer: 1,
        ring_capacity: 2,
        max_streams,
        gateways: 1,
    };
    Arena::create(geometry, arena::region::HugePages::Off).expect("a small arena").0
}
