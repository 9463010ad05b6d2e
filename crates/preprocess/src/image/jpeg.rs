//! JPEG decoding into memory reserved at start-up.
//!
//! Strict: a file that is cut, or has a marker where none belongs, is refused. One thing passes: an end marker before the last block. The
//! decoder shows what is missing as gray; only an encoder can produce such a file, since packets carry a checksum.

use super::error::ImageError;
use super::format::{Geometry, PixelFormat};
use super::source::Source;
use super::spec::{Limits, TensorSpec};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Most scans of a progressive JPEG. Encoders use about ten; each costs a pass over the image, so a hostile file must not have thousands.
const SCANS_MAX: usize = 64;

/// Marker EOI (ITU-T T.81, table B.1).
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

/// The decoder's memory.
#[derive(Debug)]
pub(super) struct Decoder {
    limits: Limits,
    gray_tensor: bool,
    /// A JPEG from several segments in one piece.
    gathered: Vec<u8>,
    /// The decoded image, gray8 or rgb8.
    pixels: Vec<u8>,
}

/// A decoded image.
#[derive(Debug)]
pub(super) struct Decoded<'a> {
    pub pixels: &'a [u8],
    pub geometry: Geometry,
    /// Bytes moved to bring the file into one piece.
    pub copied_bytes: usize,
}

impl Decoder {
    /// Allocates for the largest image and file. Both arguments must have been validated.
    pub fn new(spec: &TensorSpec, limits: Limits) -> Self {
        let channels = if limits.jpeg_bytes == 0 { 0 } else { 3 };
        let pixels = limits.source_width as usize * limits.source_height as usize * channels;
        Self {
            limits,
            gray_tensor: spec.channels() == 1,
            gathered: vec![0; limits.jpeg_bytes as usize],
            pixels: vec![0; pixels],
        }
    }

    /// Decodes `source`, whose frame header says `geometry`, to gray8 if the JPEG is gray or the tensor wants luma, else to rgb8.
    pub fn decode(&mut self, source: &Source<'_>, geometry: Geometry) -> Result<Decoded<'_>, ImageError> {
        if source.len() > self.gathered.len() {
            return Err(ImageError::JpegTooLong {
                actual: source.len() as u64,
                max: u64::from(self.limits.jpeg_bytes),
            });
        }
        let (file, copied_bytes) = match source.contiguous() {
            Some(file) => (file, 0),
            None => (gather(source, &mut self.gathered), source.len()),
        };
        // Even a strict decoder forgives a missing last row of blocks. Entropy-coded data cannot contain this marker; bytes after it are
        // common (cameras pad), so it is looked for from the end.
        if !file.ends_with(&END_OF_IMAGE) && !file.windows(2).rev().any(|pair| pair == END_OF_IMAGE) {
            return Err(ImageError::JpegCut { actual: file.len() as u64 });
        }
        // The decoder's own size limits would report an image beyond them as just another decoding error; headers allocate nothing
        // that grows with the size, and the size is checked right after them.
        let options = DecoderOptions::default()
            .set_strict_mode(true)
            .set_max_width(usize::from(u16::MAX))
            .set_max_height(usize::from(u16::MAX))
            .jpeg_set_max_scans(SCANS_MAX)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
        decoder.decode_headers().map_err(ImageError::Decode)?;
        let (width, height) = decoder.dimensions().unwrap_or((0, 0));
        let geometry = check_size(&self.limits, geometry, width as u32, height as u32)?;
        let (format, color, channels) = match decoder.input_colorspace() {
            Some(ColorSpace::Luma) => (PixelFormat::Gray8, ColorSpace::Luma, 1),
            Some(ColorSpace::YCbCr) if self.gray_tensor => (PixelFormat::Gray8, ColorSpace::Luma, 1),
            _ => (PixelFormat::Rgb8, ColorSpace::RGB, 3),
        };
        decoder.set_options(options.jpeg_set_out_colorspace(color));
        let len = width * height * channels;
        let components = decoder.info().map_or(0, |info| info.components);
        if decoder.output_buffer_size() != Some(len) {
            return Err(ImageError::JpegComponents { components });
        }
        let pixels = self.pixels.get_mut(..len).ok_or(ImageError::JpegComponents { components })?;
        decoder.decode_into(pixels).map_err(ImageError::Decode)?;
        Ok(Decoded { pixels, geometry: Geometry { format, ..geometry }, copied_bytes })
    }
}

/// The JPEG's size, if it is within the limits and the frame header agrees.
fn check_size(limits: &Limits, header: Geometry, width: u32, height: u32) -> Result<Geometry, ImageError> {
    let (max_width, max_height) = (limits.source_width, limits.source_height);
    if width == 0 || height == 0 {
        return Err(ImageError::NoSize { format: header.format, width, height });
    }
    if width > max_width || height > max_height {
        return Err(ImageError::TooLarge { width, height, max_width, max_height });
    }
    let agrees = |stated: u32, actual: u32| stated == 0 || stated == actual;
    if !agrees(header.width, width) || !agrees(header.height, height) {
        return Err(ImageError::SizeMismatch {
            width: header.width,
            height: header.height,
            jpeg_width: width,
            jpeg_height: height,
        });
    }
    Ok(Geometry { width, height, ..header })
}

/// Brings the segments into one piece. `gathered` must be long enough.
fn gather<'a>(source: &Source<'_>, gathered: &'a mut [u8]) -> &'a [u8] {
    let mut at = 0;
    for segment in source.segments() {
        gathered[at..at + segment.len()].copy_from_slice(segment);
        at += segment.len();
    }
    &gathered[..at]
}
