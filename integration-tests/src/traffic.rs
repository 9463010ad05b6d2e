//! Steady traffic of tiny tensors, each with an answer known beforehand.

use crate::client::{Client, values};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};
use wire::Status;

/// Elements of a tensor.
pub const ELEMENTS: usize = 16;

/// The tensor of frame `id`.
pub fn tensor_of(id: u64) -> [f32; ELEMENTS] {
    std::array::from_fn(|i| (id % 65_536) as f32 + i as f32 / 32.0)
}

/// A pipeline for these tensors: engine, answers as they are.
pub fn config(engine: &str, more: &str) -> String {
    format!(
        "[pipeline]\nprofile = \"small\"\n[arena]\nslots = 64\n[infer]\nengine = \"{engine}\"\nnull_input_elements = {ELEMENTS}\n\
         null_output_elements = {ELEMENTS}\n[post]\nkind = \"tensor\"\n{more}"
    )
}

/// Sends frames `from..to` at a steady rate, receiving in between; `each` is called before each frame.
pub fn steady(client: &mut Client, ids: std::ops::Range<u64>, per_s: u32, mut each: impl FnMut(u64)) {
    let start = Instant::now();
    let gap = Duration::from_secs(1) / per_s;
    for (n, id) in ids.enumerate() {
        let due = start + gap * n as u32;
        while Instant::now() < due {
            if client.receive() == 0 {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        each(id);
        client.send_tensor(id, &tensor_of(id));
    }
}

/// Sends frames from 0 on at a steady rate until the other end of `working` is dropped, also by a panic; returns how many.
pub fn steady_until(client: &mut Client, per_s: u32, working: &Receiver<()>) -> u64 {
    let mut sent = 0;
    while working.try_recv() == Err(TryRecvError::Empty) {
        steady(client, sent..sent + 50, per_s, |_| {});
        sent += 50;
    }
    sent
}

/// Asserts that frame `id` was answered, and answered right.
pub fn assert_right(client: &Client, id: u64) {
    for answer in &client.replies[&id] {
        assert_eq!(answer.status, Status::Ok, "frame {id}");
        assert_eq!(values(&answer.bytes), tensor_of(id), "frame {id}");
    }
}
