//! The entry point: checks what a frame claims, and sends it down the path of its format.

use super::error::{ImageError, SpecError};
use super::format::{Geometry, PixelFormat};
use super::jpeg::{Decoder, JpegChoice};
use super::resizer::Resizer;
use super::source::{Cursor, Source};
use super::spec::{Limits, Options, TensorSpec};

/// Turns frames into tensors of one shape. Holds all memory that takes; one per stage instance.
#[derive(Debug)]
pub struct Preprocessor {
    spec: TensorSpec,
    limits: Limits,
    decoder: Decoder,
    resizer: Resizer,
}

/// What was done to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Bytes that were only moved, not converted.
    pub copied_bytes: usize,
    /// Whether a JPEG was decoded.
    pub decoded: bool,
}

impl Preprocessor {
    /// Allocates everything for tensors of `spec` from frames within `limits`.
    ///
    /// # Errors
    /// If a size is zero or too large, or a normalisation constant cannot be used.
    pub fn new(spec: TensorSpec, limits: Limits) -> Result<Self, SpecError> {
        Self::with_options(spec, limits, Options::default())
    }

    /// As [`Preprocessor::new`], with these inner loops and this decoder instead of the fastest.
    ///
    /// # Errors
    /// As [`Preprocessor::new`], and if the decoder is one that the machine does not have.
    pub fn with_options(spec: TensorSpec, limits: Limits, options: Options) -> Result<Self, SpecError> {
        spec.validate()?;
        limits.validate()?;
        let decoder = Decoder::new(&spec, limits, options)?;
        Ok(Self { spec, limits, decoder, resizer: Resizer::new(spec, &limits, options.kernels) })
    }

    /// Which decoder JPEG frames get, and why not a better one.
    pub fn jpeg_choice(&self) -> &JpegChoice {
        self.decoder.choice()
    }

    /// The tensor that is produced.
    pub fn spec(&self) -> &TensorSpec {
        &self.spec
    }

    /// Fills `out`, [`TensorSpec::elements`] long, from a frame. After an error its contents are unspecified.
    ///
    /// # Errors
    /// If the frame is not what `geometry` says, exceeds the limits or does not decode; see [`ImageError`].
    pub fn run(&mut self, source: &Source<'_>, geometry: Geometry, out: &mut [f32]) -> Result<Report, ImageError> {
        if out.len() != self.spec.elements() {
            return Err(ImageError::OutputLength { expected: self.spec.elements(), actual: out.len() });
        }
        match geometry.format {
            PixelFormat::TensorF32 => copy_tensor(source, out),
            PixelFormat::Jpeg => {
                let decoded = self.decoder.decode(source, geometry)?;
                let segments = [decoded.pixels];
                self.resizer.run(&Source::new(&segments), decoded.geometry, out);
                Ok(Report { copied_bytes: decoded.copied_bytes, decoded: true })
            }
            _ => {
                self.check_raw(source, geometry)?;
                self.resizer.run(source, geometry, out);
                Ok(Report { copied_bytes: 0, decoded: false })
            }
        }
    }

    fn check_raw(&self, source: &Source<'_>, geometry: Geometry) -> Result<(), ImageError> {
        let Geometry { width, height, format } = geometry;
        if width == 0 || height == 0 {
            return Err(ImageError::NoSize { format, width, height });
        }
        let (max_width, max_height) = (self.limits.source_width, self.limits.source_height);
        if width > max_width || height > max_height {
            return Err(ImageError::TooLarge { width, height, max_width, max_height });
        }
        let actual = source.len() as u64;
        match geometry.raw_bytes() {
            Some(expected) if expected != actual => Err(ImageError::Length { format, width, height, expected, actual }),
            _ => Ok(()),
        }
    }
}

/// Copies a tensor frame; values may be split between segments. NaN and infinities pass: they are the sender's business.
fn copy_tensor(source: &Source<'_>, out: &mut [f32]) -> Result<Report, ImageError> {
    const VALUE_BYTES: usize = size_of::<f32>();
    let expected = out.len() * VALUE_BYTES;
    if source.len() != expected {
        return Err(ImageError::TensorLength { expected: expected as u64, actual: source.len() as u64 });
    }
    let mut cursor = Cursor::start(source);
    let mut out = out;
    while !out.is_empty() {
        let (values, _) = cursor.run().as_chunks::<VALUE_BYTES>();
        let count = values.len().min(out.len()).max(1);
        let (now, later) = out.split_at_mut(count);
        if values.is_empty() {
            now[0] = f32::from_le_bytes(std::array::from_fn(|_| cursor.byte()));
        } else {
            for (value, bytes) in now.iter_mut().zip(values) {
                *value = f32::from_le_bytes(*bytes);
            }
            cursor.consume(count * VALUE_BYTES);
        }
        out = later;
    }
    Ok(Report { copied_bytes: expected, decoded: false })
}
