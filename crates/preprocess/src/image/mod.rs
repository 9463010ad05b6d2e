//! From a frame's bytes, scattered over packet buffers, to a normalised tensor, in one pass.
//!
//! ```text
//!  packets ────► vertical filter ────► horizontal filter ────► colour ────► x scale - mean / std ────► tensor
//!  (or decoded   on bytes, into one    on samples, f32         matrix                                written once
//!   JPEG rows)   row of u16, 8.8                               (YUV, luma)
//! ```
//!
//! The vertical filter comes first because it works on bytes and need not know what a pixel is: a row that is split at any
//! byte between two packets is just two runs of bytes. So every raw format, YUV included, is consumed where the NIC wrote it and
//! nothing is copied or converted beforehand. Rows that no output row needs are never read.
//!
//! # Instructions
//! rgb8 and bgr8 go both ways through vectors, AVX-512 or AVX2 (`simd`), chosen when the [`Preprocessor`] is made; the other raw formats do in the
//! vertical filter. Everything else, filters of more than 36 taps, and other processors get plain code of the same accuracy.
//! Vectors load blocks of 128 bytes. A block that a packet's end cuts in two is put together on the way, one in eleven at 1400 bytes per packet;
//! that is part of loading it, and not counted as a copy.
//!
//! # Copies and allocations
//! [`Report::copied_bytes`] counts bytes that were only moved: 0 for every raw format and for a JPEG in one segment, the
//! JPEG's length if it had to be gathered from several, the tensor's length for [`PixelFormat::TensorF32`].
//! [`Preprocessor::new`] allocates all memory, and no call of [`Preprocessor::run`] on a raw format or tensor allocates.
//! A JPEG decoder has tables and a few rows of coefficients (those of the whole image for progressive JPEGs) of its own: it
//! allocates and frees them in each call, within what the largest source size needs (`tests/allocations.rs` prints how much;
//! libjpeg-turbo does so through the C library's `malloc`).
//!
//! # Colour
//! NV12 and YUYV are ITU-R BT.601-7, limited range (Y 16..=235, U and V 16..=240, 128 neutral; section 2.5.3):
//! ```text
//!  R = 255/219 (Y-16)                        + 1.402 * 255/224 (V-128)
//!  G = 255/219 (Y-16) - 0.344136 * 255/224 (U-128) - 0.714136 * 255/224 (V-128)
//!  B = 255/219 (Y-16) + 1.772 * 255/224 (U-128)
//! ```
//! Chroma is replicated to the luma grid. The matrix is applied after the filter, which is the same as before it, since both
//! are linear; only the clamp to 0..=255 differs, and only near colours outside the RGB gamut. Results are not rounded to 8 bits.
//! Gray tensors take the luma: of RGB sources by BT.601's weights 0.299, 0.587, 0.114, of YUV sources Y alone, expanded to 0..=255.
//!
//! # Accuracy
//! Between the two filters a sample has 8 fractional bits; against exact arithmetic the result is off by less than 0.15 of an 8-bit step.

mod color;
mod error;
mod filter;
mod format;
mod horizontal;
mod jpeg;
mod jpeg_scans;
mod preprocessor;
mod resizer;
mod source;
mod spec;
mod tables;
mod turbojpeg;
mod vertical;

pub use crate::simd::{Isa, Kernels};
pub use error::{ImageError, JpegFault, SpecError};
pub use format::{Geometry, PixelFormat};
pub use jpeg::JpegChoice;
pub use preprocessor::{Preprocessor, Report};
pub(crate) use source::Cursor;
pub use source::Source;
pub use spec::{Color, JpegDecoder, Layout, Limits, Options, Resize, TensorSpec};
pub use turbojpeg::{FileColor, Header, TurboJpeg};
