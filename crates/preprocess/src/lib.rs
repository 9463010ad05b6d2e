//! preprocess: makes tensors of frames, in one pass from the packet buffers into a slot.
//!
//! `image` holds the kernels, which know nothing of the arena; `stage` takes heads, finds them a slot and hands them on.
#![deny(unsafe_code)]

mod element;
mod gather;
pub mod image;
mod model;
mod simd;
mod stage;

pub use stage::Preprocess;
