//! JPEG decoding into memory reserved at start-up.
//!
//! Strict: a file that is cut, or has a marker where none belongs, is refused. One thing passes: an end marker before the last block. The
//! decoder shows what is missing as gray; only an encoder can produce such a file, since packets carry a checksum.

use super::error::{ImageError, JpegFault, SpecError};
use super::format::{Geometry, PixelFormat};
use super::jpeg_scans::more_scans_than;
use super::source::Source;
use super::spec::{JpegDecoder, Limits, Options, TensorSpec};
use super::turbojpeg::{FileColor, TurboJpeg};
use std::fmt;
use zune_jpeg::JpegDecoder as Zune;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Most scans of a JPEG. Encoders of progressive files use about ten; each costs a pass over the image, so a hostile file must not have
/// thousands.
const SCANS_MAX: usize = 64;

/// Marker EOI (ITU-T T.81, table B.1).
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

/// Fractions of a picture's size at which libjpeg-turbo decodes in vectors: one over these.
const SCALES: [u32; 3] = [8, 4, 2];

/// The decoder's memory.
#[derive(Debug)]
pub(super) struct Decoder {
    limits: Limits,
    gray_tensor: bool,
    /// Width and height below which no picture is scaled while it is decoded; `None` if none is.
    scale_above: Option<(u32, u32)>,
    turbo: Option<TurboJpeg>,
    choice: JpegChoice,
    /// A JPEG from several segments in one piece.
    gathered: Vec<u8>,
    /// The decoded image, gray8 or rgb8.
    pixels: Vec<u8>,
}

/// Which decoder is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JpegChoice {
    /// No frame may be a JPEG.
    None,
    /// libjpeg-turbo, by this version of its API.
    TurboJpeg(u32),
    /// The embedded decoder, because it was asked for.
    Zune,
    /// The embedded decoder, because libjpeg-turbo cannot be used.
    ZuneInstead {
        /// What is missing.
        reason: String,
    },
}

impl fmt::Display for JpegChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none: the longest frame that is taken has no bytes"),
            Self::TurboJpeg(version) => write!(f, "libjpeg-turbo (TurboJPEG {version})"),
            Self::Zune => f.write_str("zune-jpeg, as configured"),
            Self::ZuneInstead { reason } => write!(f, "zune-jpeg; libjpeg-turbo would be faster: {reason}"),
        }
    }
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
    /// Allocates for the largest image and file, and loads libjpeg-turbo if it is wanted. The first two must have been validated.
    ///
    /// # Errors
    /// If libjpeg-turbo must be used and cannot.
    pub fn new(spec: &TensorSpec, limits: Limits, options: Options) -> Result<Self, SpecError> {
        let (turbo, choice) = match options.jpeg {
            _ if limits.jpeg_bytes == 0 => (None, JpegChoice::None),
            JpegDecoder::Zune => (None, JpegChoice::Zune),
            wanted => match TurboJpeg::load() {
                Ok(turbo) => {
                    let version = turbo.version();
                    (Some(turbo), JpegChoice::TurboJpeg(version))
                }
                Err(reason) if wanted == JpegDecoder::Auto => (None, JpegChoice::ZuneInstead { reason }),
                Err(reason) => return Err(SpecError::NoTurboJpeg { reason }),
            },
        };
        let channels = if limits.jpeg_bytes == 0 { 0 } else { 3 };
        let pixels = limits.source_width as usize * limits.source_height as usize * channels;
        Ok(Self {
            limits,
            gray_tensor: spec.channels() == 1,
            scale_above: options.jpeg_scaling.then_some((spec.width, spec.height)),
            turbo,
            choice,
            gathered: vec![0; limits.jpeg_bytes as usize],
            pixels: vec![0; pixels],
        })
    }

    /// Which decoder is used.
    pub fn choice(&self) -> &JpegChoice {
        &self.choice
    }

    /// Decodes `source`, whose frame header says `geometry`, to gray8 if the JPEG is gray or the tensor wants luma, else to rgb8; perhaps at a
    /// fraction of its size.
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
        let wanted = Wanted { limits: self.limits, gray: self.gray_tensor, scale_above: self.scale_above, geometry };
        let by_turbo = match &mut self.turbo {
            Some(turbo) => wanted.by_turbo(turbo, file, &mut self.pixels)?,
            None => None,
        };
        let geometry = match by_turbo {
            Some(geometry) => geometry,
            None => wanted.by_zune(file, &mut self.pixels)?,
        };
        let len = geometry.raw_bytes().map_or(0, |bytes| bytes as usize);
        Ok(Decoded { pixels: &self.pixels[..len], geometry, copied_bytes })
    }
}

/// What a file is to become.
struct Wanted {
    limits: Limits,
    gray: bool,
    scale_above: Option<(u32, u32)>,
    geometry: Geometry,
}

impl Wanted {
    /// Decodes at the file's size or a fraction; `None` if the file's colours are none that libjpeg-turbo converts.
    fn by_turbo(&self, turbo: &mut TurboJpeg, file: &[u8], pixels: &mut [u8]) -> Result<Option<Geometry>, ImageError> {
        let fault = |text| ImageError::Decode(JpegFault::TurboJpeg(text));
        let header = turbo.header(file).map_err(fault)?;
        let full = check_size(&self.limits, self.geometry, header.width, header.height)?;
        let gray = match header.color {
            FileColor::Other => return Ok(None),
            FileColor::Gray => true,
            FileColor::YCbCr => self.gray,
            FileColor::Rgb => false,
        };
        if more_scans_than(SCANS_MAX, file) {
            return Err(ImageError::Decode(JpegFault::Scans { limit: SCANS_MAX }));
        }
        let (width, height) = self.scaled(full.width, full.height);
        let format = if gray { PixelFormat::Gray8 } else { PixelFormat::Rgb8 };
        let geometry = Geometry { width, height, format };
        let len = geometry.raw_bytes().map_or(0, |bytes| bytes as usize);
        // Within the limits that `pixels` was made for.
        let pixels = pixels.get_mut(..len).ok_or(ImageError::JpegComponents { components: 0 })?;
        turbo.decode(file, width, height, gray, pixels).map_err(fault)?;
        Ok(Some(geometry))
    }

    /// The smallest size that is not below the tensor's.
    fn scaled(&self, width: u32, height: u32) -> (u32, u32) {
        let Some((least_width, least_height)) = self.scale_above else { return (width, height) };
        let sizes = SCALES.map(|scale| (width.div_ceil(scale), height.div_ceil(scale)));
        let enough = |&(width, height): &(u32, u32)| width >= least_width && height >= least_height;
        sizes.into_iter().find(enough).unwrap_or((width, height))
    }

    /// Decodes at the file's size.
    fn by_zune(&self, file: &[u8], pixels: &mut [u8]) -> Result<Geometry, ImageError> {
        let fault = |error| ImageError::Decode(JpegFault::Zune(error));
        // The decoder's own size limits would report an image beyond them as just another decoding error; headers allocate nothing
        // that grows with the size, and the size is checked right after them.
        let options = DecoderOptions::default()
            .set_strict_mode(true)
            .set_max_width(usize::from(u16::MAX))
            .set_max_height(usize::from(u16::MAX))
            .jpeg_set_max_scans(SCANS_MAX)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = Zune::new_with_options(ZCursor::new(file), options);
        decoder.decode_headers().map_err(fault)?;
        let (width, height) = decoder.dimensions().unwrap_or((0, 0));
        let geometry = check_size(&self.limits, self.geometry, width as u32, height as u32)?;
        let (format, color, channels) = match decoder.input_colorspace() {
            Some(ColorSpace::Luma) => (PixelFormat::Gray8, ColorSpace::Luma, 1),
            Some(ColorSpace::YCbCr) if self.gray => (PixelFormat::Gray8, ColorSpace::Luma, 1),
            _ => (PixelFormat::Rgb8, ColorSpace::RGB, 3),
        };
        decoder.set_options(options.jpeg_set_out_colorspace(color));
        let len = width * height * channels;
        let components = decoder.info().map_or(0, |info| info.components);
        if decoder.output_buffer_size() != Some(len) {
            return Err(ImageError::JpegComponents { components });
        }
        let pixels = pixels.get_mut(..len).ok_or(ImageError::JpegComponents { components })?;
        decoder.decode_into(pixels).map_err(fault)?;
        Ok(Geometry { format, ..geometry })
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

#[cfg(test)]
mod tests {
    use super::{Geometry, Limits, PixelFormat, Wanted};

    #[test]
    fn the_smallest_scale_that_is_not_below_the_tensor() {
        let limits = Limits { source_width: 1, source_height: 1, jpeg_bytes: 0 };
        let geometry = Geometry { width: 0, height: 0, format: PixelFormat::Jpeg };
        let wanted = |scale_above| Wanted { limits, gray: false, scale_above, geometry };
        for (size, scaled) in [
            ((1280, 720), (640, 360)),
            ((1920, 1080), (480, 270)),
            ((3840, 2160), (480, 270)),
            ((1792, 1792), (224, 224)),
            ((1785, 1785), (224, 224)),
            ((1784, 1784), (446, 446)),
            ((447, 447), (224, 224)),
            ((446, 447), (446, 447)),
            ((100, 3000), (100, 3000)),
        ] {
            assert_eq!(wanted(Some((224, 224))).scaled(size.0, size.1), scaled);
            assert_eq!(wanted(None).scaled(size.0, size.1), size);
        }
    }
}
