//! What can be wrong with a frame, and with a specification.

use super::format::PixelFormat;
use zune_jpeg::errors::DecodeErrors;

/// Why a frame could not become a tensor. All of them are the frame's (or its sender's) fault: trying the same bytes again gives the same answer.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The number of bytes is not what format and size ask for.
    #[error(
        "{format} of {width}x{height} is {expected} bytes, the frame has {actual}: send exactly that many, without row padding"
    )]
    Length {
        /// Format in the frame's header.
        format: PixelFormat,
        /// Width in the frame's header, pixels.
        width: u32,
        /// Height in the frame's header, pixels.
        height: u32,
        /// Bytes that format and size ask for.
        expected: u64,
        /// Bytes that came.
        actual: u64,
    },
    /// A tensor frame has the wrong number of bytes.
    #[error(
        "the model's input is {expected} bytes of f32, the frame has {actual}: send the tensor in the model's shape"
    )]
    TensorLength {
        /// Bytes of the model's input.
        expected: u64,
        /// Bytes that came.
        actual: u64,
    },
    /// Width or height is zero, and the format does not carry its own size.
    #[error("{format} needs its width and height in the frame's header, got {width}x{height}")]
    NoSize {
        /// Format in the frame's header.
        format: PixelFormat,
        /// Width in the frame's header, pixels.
        width: u32,
        /// Height in the frame's header, pixels.
        height: u32,
    },
    /// The image is larger than the memory reserved at start-up.
    #[error(
        "image of {width}x{height} exceeds the configured maximum of {max_width}x{max_height}: raise it or send smaller images"
    )]
    TooLarge {
        /// Width, pixels.
        width: u32,
        /// Height, pixels.
        height: u32,
        /// Largest width, pixels.
        max_width: u32,
        /// Largest height, pixels.
        max_height: u32,
    },
    /// The JPEG has more bytes than the memory reserved at start-up.
    #[error("JPEG of {actual} bytes exceeds the configured maximum of {max}: raise it or send a lower quality")]
    JpegTooLong {
        /// Bytes that came.
        actual: u64,
        /// Largest JPEG, bytes.
        max: u64,
    },
    /// The JPEG's own size is not the one in the frame's header.
    #[error(
        "the frame's header says {width}x{height}, the JPEG in it is {jpeg_width}x{jpeg_height}: correct the header or leave it 0x0"
    )]
    SizeMismatch {
        /// Width in the frame's header, pixels.
        width: u32,
        /// Height in the frame's header, pixels.
        height: u32,
        /// Width in the JPEG, pixels.
        jpeg_width: u32,
        /// Height in the JPEG, pixels.
        jpeg_height: u32,
    },
    /// The JPEG does not decode.
    #[error("not a JPEG that can be decoded ({0}): check the encoder and that the whole file was sent")]
    Decode(#[source] JpegFault),
    /// The JPEG has no end marker. The decoder alone would show what is missing at the end as gray.
    #[error("JPEG of {actual} bytes has no end marker (EOI): its end is missing, send the whole file")]
    JpegCut {
        /// Bytes that came.
        actual: u64,
    },
    /// The JPEG's components are neither gray nor convertible to RGB.
    #[error("JPEG with {components} components is not supported: send gray, YCbCr, RGB or CMYK")]
    JpegComponents {
        /// Components in the JPEG.
        components: u8,
    },
    /// The output slice is not the tensor's size. The caller's fault, not the frame's.
    #[error("the tensor has {expected} elements, the slot offers {actual}: slot and model do not belong together")]
    OutputLength {
        /// Elements of the tensor.
        expected: usize,
        /// Elements of the slice.
        actual: usize,
    },
}

/// What a JPEG decoder found wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum JpegFault {
    /// In the words of the embedded decoder.
    #[error("{0}")]
    Zune(#[from] DecodeErrors),
    /// In libjpeg-turbo's words; its warnings count.
    #[error("{0}")]
    TurboJpeg(String),
    /// Each scan costs a pass over the picture.
    #[error("more than {limit} scans")]
    Scans {
        /// Most scans that are decoded.
        limit: usize,
    },
}

/// Why a [`TensorSpec`](super::TensorSpec) or [`Limits`](super::Limits) cannot be served.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// The decoder that was asked for is not there.
    #[error("libjpeg-turbo cannot be used: {reason}; install it, or let the decoder be chosen (jpeg = \"auto\")")]
    NoTurboJpeg {
        /// What is missing.
        reason: String,
    },
    /// A size is zero or beyond what the tables can index.
    #[error("{what} is {value}: it must lie between 1 and {max}")]
    Size {
        /// Which size.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The largest that is allowed.
        max: u64,
    },
    /// A normalisation constant is not finite, or a divisor is zero.
    #[error("{what} of channel {channel} is {value}: it must be finite, and std and scale not zero")]
    Normalisation {
        /// `mean`, `std` or `scale`.
        what: &'static str,
        /// Channel, in the tensor's order.
        channel: usize,
        /// Its value.
        value: f32,
    },
}
