//! Any bytes as a pcap file.
#![no_main]

#[path = "../bodies/pcap.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
