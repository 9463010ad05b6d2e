//! Flumeway's command line as a library, so that tests and benchmarks can use its parts without starting processes.
//!
//! | module | what it holds |
//! |---|---|
//! | [`client`] | sends frames at a fixed rate, receives the answers, accounts for each frame |
//! | [`control`] | asks a running pipeline through its control socket |
//! | [`demo`] | a pipeline, the bundled frames, and a SIGKILL halfway |
//! | [`models`] | the bundled network and its frames |
//! | [`failure`] | how commands end: exit codes and messages |
//!
//! The commands themselves are in the program, `main.rs` and `commands/`.
#![forbid(unsafe_code)]

pub mod client;
pub mod control;
pub mod demo;
pub mod failure;
pub mod models;
