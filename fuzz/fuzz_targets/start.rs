//! Any bytes as what a process is started with.
#![no_main]

#[path = "../bodies/start.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
