//! Any bytes as a ring and its descriptors, under any sequence of operations.
#![no_main]

#[path = "../bodies/ring.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
