//! Frames that OpenVINO computes.

pub(super) mod ffi;

use std::time::Instant;

/// A started request has finished.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notice {
    /// Its number.
    pub request: usize,
    /// When.
    pub at: Instant,
}
