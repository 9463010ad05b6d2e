//! Any bytes as a question of a neighbour.
#![no_main]

#[path = "../bodies/neighbour.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
