//! A small arena for unit tests.

use arena::descriptor::Role;
use arena::region::HugePages;
use arena::{Arena, Geometry, Me};

/// 64 buffers, 8 slots, one preprocess, one infer.
pub(crate) fn arena() -> Arena {
    let geometry = Geometry {
        buffers: 64,
        slots: 8,
        slot_input_bytes: 64,
        slot_output_bytes: 64,
        preprocess: 1,
        infer: 1,
        ring_capacity: 64,
        max_streams: 4,
        gateways: 1,
    };
    Arena::create(geometry, HugePages::Off).expect("8 MiB of memory").0
}

/// Makes buffer `index` a head in the hands of `me`; returns its sequence number.
pub(crate) fn head_with(arena: &Arena, index: u32, me: Me) -> u32 {
    let held = arena.table().take(index, me).expect("a buffer");
    let d = arena.table().of(&held);
    d.set_role(Role::Head);
    d.segments.store(0, arena::sync::Ordering::Relaxed);
    held.release();
    d.owner().seq
}
