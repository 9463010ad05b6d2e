//! Load for benchmarks: the generator in C, bound to a core, and what it is to send.

use crate::bare::{PORT, as_frames, generate};
use crate::netns::Net;
use anyhow::Result;
use serde_json::Value;
use std::path::Path;

/// How the generator sends.
#[derive(Clone, Copy, Debug)]
pub enum Load<'a> {
    /// Whole frames past the queueing discipline: the least that a sender can cost.
    Frames,
    /// Wire frames of a file ([`crate::payloads`]) through a UDP socket, as clients do.
    File(&'a Path),
    /// The same in whole frames.
    FileInFrames(&'a Path),
}

/// Runs the generator on `core`; what it measured.
pub fn offer(net: &Net, core: usize, load: Load<'_>, options: &[&str]) -> Result<Value> {
    let frames = match load {
        Load::Frames | Load::FileInFrames(_) => as_frames(net).to_vec(),
        Load::File(_) => Vec::new(),
    };
    let file = match load {
        Load::Frames => Vec::new(),
        Load::File(file) | Load::FileInFrames(file) => crate::payloads::options(file),
    };
    let core = core.to_string();
    let mut all: Vec<&str> = frames.iter().chain(&file).map(String::as_str).collect();
    all.extend(["-c", &core]);
    all.extend(options);
    generate(net, PORT, &all).map_err(anyhow::Error::msg)
}

/// A number of the generator's.
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}
