//! Regions with rights that hold, the header that proves a layout, and the geometries that are refused.

#![allow(clippy::disallowed_types, reason = "shared words come from `arena::sync`")]

mod attach;
mod geometry;
mod layout;
mod layout_image;
mod pages_present;
mod record;
mod rights;

use arena::Geometry;
use std::io::Write as _;

/// Says that a test did not run, past the test runner's capture.
pub fn skipped(why: &str) {
    // One write: lines of other tests must not fall in between.
    let _ = std::io::stderr().write_all(format!("\nSKIPPED: {why}\n").as_bytes());
}

/// A small pipeline: one of each stage.
pub const SMALL: Geometry = Geometry {
    buffers: 32,
    slots: 4,
    slot_input_bytes: 256,
    slot_output_bytes: 128,
    preprocess: 1,
    infer: 1,
    ring_capacity: 8,
    max_streams: 2,
    gateways: 1,
};
