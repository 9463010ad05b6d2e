//! infer: runs the engine on tensors where they lie, and lets it write its results where they belong.
#![forbid(unsafe_code)]

mod describe;
mod expect;
mod options;
mod stage;

pub use describe::describe;
pub use stage::Infer;
