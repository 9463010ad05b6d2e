//! The image path from frame bytes to tensor, through its public interface.

mod errors;
mod jpeg;
mod pillow;
mod reference;
mod same_as_reference;
mod segments;
mod support;
