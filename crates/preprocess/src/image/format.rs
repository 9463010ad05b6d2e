//! How a frame's bytes are to be read.

use std::fmt;

/// Encoding of a frame's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// A JPEG file, baseline or progressive, gray, `YCbCr`, RGB or CMYK. EXIF orientation is ignored.
    Jpeg,
    /// `[H, W, 3]` bytes in the order R, G, B.
    Rgb8,
    /// `[H, W, 3]` bytes in the order B, G, R.
    Bgr8,
    /// `[H, W]` bytes.
    Gray8,
    /// A `[H, W]` plane of Y, then a `[ceil(H/2), ceil(W/2), 2]` plane of U, V.
    Nv12,
    /// `[H, ceil(W/2), 4]` bytes in the order Y0, U, Y1, V.
    Yuyv,
    /// The model's input itself: little-endian f32 in the model's shape.
    TensorF32,
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "jpeg",
            Self::Rgb8 => "rgb8",
            Self::Bgr8 => "bgr8",
            Self::Gray8 => "gray8",
            Self::Nv12 => "nv12",
            Self::Yuyv => "yuyv",
            Self::TensorF32 => "tensor-f32",
        })
    }
}

/// Size and encoding as the frame's header states them. Rows follow each other without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Width in pixels. For JPEG 0 means: as the JPEG says. Ignored for tensors.
    pub width: u32,
    /// Height in pixels. For JPEG 0 means: as the JPEG says. Ignored for tensors.
    pub height: u32,
    /// Encoding.
    pub format: PixelFormat,
}

impl Geometry {
    /// Bytes that a frame of this size must have, or `None` where the format does not fix it (JPEG, tensor).
    ///
    /// Cannot overflow: two 32-bit sides and at most three bytes per pixel are summed in 128 bits and capped.
    pub fn raw_bytes(&self) -> Option<u64> {
        let (width, height) = (u128::from(self.width), u128::from(self.height));
        let bytes = match self.format {
            PixelFormat::Jpeg | PixelFormat::TensorF32 => return None,
            PixelFormat::Rgb8 | PixelFormat::Bgr8 => width * height * 3,
            PixelFormat::Gray8 => width * height,
            PixelFormat::Nv12 => width * height + width.div_ceil(2) * height.div_ceil(2) * 2,
            PixelFormat::Yuyv => width.div_ceil(2) * height * 4,
        };
        Some(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}
