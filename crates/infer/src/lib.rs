//! infer: runs the engine on tensors where they lie, and lets it write its results where they belong.
#![forbid(unsafe_code)]

mod ask;
mod choose;
mod expect;
mod model;
mod options;
mod shadow;
mod stage;

pub use ask::answer;
pub use stage::Infer;
