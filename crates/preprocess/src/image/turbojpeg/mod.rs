//! JPEG decoding by libjpeg-turbo, where the machine has it: faster than the embedded decoder, and able to decode at a fraction of the size.

mod ffi;

use ffi::Decompressor;

/// A decoder of libjpeg-turbo. [`Preprocessor`](super::Preprocessor) has one; it is public for comparisons with the library alone.
#[derive(Debug)]
pub struct TurboJpeg(Decompressor);

/// What a file's header says.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// Width, pixels.
    pub width: u32,
    /// Height, pixels.
    pub height: u32,
    /// Colours.
    pub color: FileColor,
}

/// Colours of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileColor {
    /// Luma alone.
    Gray,
    /// Luma and two chroma components.
    YCbCr,
    /// Red, green, blue.
    Rgb,
    /// CMYK or YCCK, which the library does not turn into RGB.
    Other,
}

impl TurboJpeg {
    /// Loads the library.
    ///
    /// # Errors
    /// A line that says what is missing.
    pub fn load() -> Result<Self, String> {
        Decompressor::load().map(Self)
    }

    /// Major version of the library's API.
    pub fn version(&self) -> u32 {
        self.0.version()
    }

    /// Reads the header.
    ///
    /// # Errors
    /// The library's own words.
    pub fn header(&mut self, file: &[u8]) -> Result<Header, String> {
        let ffi::Header { width, height, colour_space } = self.0.header(file)?;
        let color = match colour_space {
            ffi::FILE_GRAY => FileColor::Gray,
            ffi::FILE_YCBCR => FileColor::YCbCr,
            ffi::FILE_RGB => FileColor::Rgb,
            _ => FileColor::Other,
        };
        Ok(Header { width, height, color })
    }

    /// Decodes to `width` x `height`, which must be the file's size or the size at one of the library's scales, as gray8 or rgb8. `pixels`
    /// must have exactly that length.
    ///
    /// # Errors
    /// The library's own words.
    pub fn decode(
        &mut self,
        file: &[u8],
        width: u32,
        height: u32,
        gray: bool,
        pixels: &mut [u8],
    ) -> Result<(), String> {
        self.0.decode(file, width, height, gray, pixels)
    }
}
