//! Any bytes as a datagram.
#![no_main]

#[path = "../bodies/datagram.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
