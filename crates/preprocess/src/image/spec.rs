//! What the model wants, and how large the images may be.

use super::error::SpecError;
use crate::simd::Kernels;

/// Largest side of a source image or tensor, pixels. Beyond it table entries would not fit their types.
const SIDE_MAX: u32 = 16_384;

/// Order of the tensor's dimensions; N is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `[N, C, H, W]`: plane after plane.
    Nchw,
    /// `[N, H, W, C]`: pixel after pixel.
    Nhwc,
}

/// Meaning and order of the tensor's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Color {
    /// Three channels: red, green, blue.
    Rgb,
    /// Three channels: blue, green, red.
    Bgr,
    /// One channel: luma.
    Gray,
}

/// How the image is brought to the tensor's size. It is always stretched to fill the tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resize {
    /// Interpolates between the four nearest source pixels, half-pixel centres, edges repeated: what ONNX `Resize` (linear,
    /// `half_pixel`) and `OpenCV`'s `INTER_LINEAR` do. Fast, aliases when the image shrinks by more than two.
    Bilinear,
    /// Triangle filter whose support grows with the scale, weights renormalised at the edges: what Pillow's
    /// `Image.resize(..., BILINEAR)` and torchvision's `antialias=True` do.
    BilinearAntialias,
}

/// The tensor to be produced, and how pixels map onto its values: `value = (pixel * scale - mean[c]) / std[c]`,
/// pixel in 0..=255, c counted in the tensor's own channel order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TensorSpec {
    /// Height H, elements.
    pub height: u32,
    /// Width W, elements.
    pub width: u32,
    /// Order of dimensions.
    pub layout: Layout,
    /// Channels: their number and order.
    pub color: Color,
    /// Filter.
    pub resize: Resize,
    /// Factor applied to pixels first; 1/255 maps them to 0..=1.
    pub scale: f32,
    /// Subtracted after scaling. Gray tensors use the first entry.
    pub mean: [f32; 3],
    /// Divisor after that. Gray tensors use the first entry.
    pub std: [f32; 3],
}

impl TensorSpec {
    /// `[1, 3, height, width]`, RGB, pixels mapped to 0..=1, interpolating: change fields from here.
    pub fn rgb(height: u32, width: u32) -> Self {
        Self {
            height,
            width,
            layout: Layout::Nchw,
            color: Color::Rgb,
            resize: Resize::Bilinear,
            scale: 1.0 / 255.0,
            mean: [0.0; 3],
            std: [1.0; 3],
        }
    }

    /// Number of channels: 1 or 3.
    pub fn channels(&self) -> usize {
        match self.color {
            Color::Rgb | Color::Bgr => 3,
            Color::Gray => 1,
        }
    }

    /// Number of f32 elements of the tensor.
    pub fn elements(&self) -> usize {
        self.height as usize * self.width as usize * self.channels()
    }

    pub(super) fn validate(&self) -> Result<(), SpecError> {
        side("tensor height", self.height)?;
        side("tensor width", self.width)?;
        for channel in 0..self.channels() {
            let checks = [
                ("scale", self.scale, self.scale.is_normal()),
                ("mean", self.mean[channel], self.mean[channel].is_finite()),
                ("std", self.std[channel], self.std[channel].is_normal()),
            ];
            for (what, value, good) in checks {
                if !good {
                    return Err(SpecError::Normalisation { what, channel, value });
                }
            }
        }
        Ok(())
    }
}

/// The largest frames that are taken; memory for them is reserved at start-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest source width, pixels.
    pub source_width: u32,
    /// Largest source height, pixels.
    pub source_height: u32,
    /// Largest JPEG, bytes; 0 where none are to be taken.
    pub jpeg_bytes: u32,
}

impl Limits {
    pub(super) fn validate(&self) -> Result<(), SpecError> {
        side("maximum source width", self.source_width)?;
        side("maximum source height", self.source_height)
    }
}

/// Which decoder JPEG frames get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum JpegDecoder {
    /// libjpeg-turbo if the machine has it, else the embedded one.
    #[default]
    Auto,
    /// libjpeg-turbo (`libturbojpeg.so.0`, TurboJPEG 2 or 3); an error if the machine does not have it.
    TurboJpeg,
    /// The embedded one, zune-jpeg.
    Zune,
}

/// How the work is done. Other choices give nearly the same tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The filters' inner loops.
    pub kernels: Kernels,
    /// Decoder of JPEG frames.
    pub jpeg: JpegDecoder,
    /// Whether a JPEG that is at least twice as large as the tensor, in both directions, is decoded at 1/2, 1/4 or 1/8 of its size: the smallest
    /// that is not below the tensor's. Each pixel then is the mean of the square that it stands for, so [`Resize::Bilinear`] aliases less,
    /// and [`Resize::BilinearAntialias`] is a little softer. Only libjpeg-turbo does it.
    pub jpeg_scaling: bool,
}

impl Default for Options {
    /// The fastest that the processor and the machine have.
    fn default() -> Self {
        Self { kernels: Kernels::best(), jpeg: JpegDecoder::Auto, jpeg_scaling: true }
    }
}

fn side(what: &'static str, value: u32) -> Result<(), SpecError> {
    if (1..=SIDE_MAX).contains(&value) {
        return Ok(());
    }
    Err(SpecError::Size { what, value: u64::from(value), max: u64::from(SIDE_MAX) })
}
