//! ONNX Runtime without `engines` in between.

mod ffi;

pub use self::ffi::Direct;
