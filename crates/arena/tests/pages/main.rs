//! What lies beside the rings: doorbells, journal and ledger, histograms, stage pages, the configuration document.

#![allow(clippy::disallowed_types, reason = "shared words come from `arena::sync`")]

mod document;
mod doorbell;
mod histogram;
mod journal;
mod stage_page;

use arena::arena::Regions;
use arena::region::HugePages;
use arena::{Arena, Geometry};

/// An arena of a small pipeline.
pub fn small() -> (Arena, Regions) {
    let geometry = Geometry {
        buffers: 64,
        slots: 4,
        slot_input_bytes: 64,
        slot_output_bytes: 64,
        preprocess: 1,
        infer: 1,
        ring_capacity: 8,
        max_streams: 2,
        gateways: 1,
    };
    Arena::create(geometry, HugePages::Off).expect("a few MiB of memory")
}
