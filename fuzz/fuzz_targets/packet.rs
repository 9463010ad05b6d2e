//! Any bytes as an Ethernet frame.
#![no_main]

#[path = "../bodies/packet.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
