//! What is sent: frames prepared before the first is due, so that preparing costs no time while sending.

use std::path::{Path, PathBuf};

use wire::Encoding;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::convert::RgbImage;

/// One frame in the encoding it is sent in.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// For messages: the file's name, or what was generated.
    pub name: String,
    /// How `bytes` are to be read.
    pub encoding: Encoding,
    /// In pixels; 0 for tensors.
    pub width: u16,
    /// In pixels; 0 for tensors.
    pub height: u16,
    /// The frame's bytes.
    pub bytes: Vec<u8>,
    /// The class that the best result must have to be right, if known.
    pub expected_class: Option<u32>,
}

/// Why a file cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The file cannot be read.
    #[error("{path:?} cannot be read: {error}; name a readable file")]
    Unreadable {
        /// File.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file is larger than the protocol allows.
    #[error(
        "{path:?} makes {bytes} bytes as {encoding}, the protocol carries {}; send a smaller image",
        wire::MAX_TOTAL_LEN
    )]
    TooLarge {
        /// File.
        path: PathBuf,
        /// Encoding.
        encoding: Encoding,
        /// Bytes that it would have.
        bytes: usize,
    },
    /// No JPEG, or a broken one.
    #[error("{path:?} is no JPEG that can be sent: {reason}; convert it to JPEG, or use --generate WxH")]
    NoJpeg {
        /// File.
        path: PathBuf,
        /// What the decoder says.
        reason: String,
    },
    /// A tensor file with a broken length.
    #[error("{path:?} has {bytes} bytes, no whole number of 4-byte floats; write little-endian f32 values")]
    NoTensor {
        /// File.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The generator cannot make this.
    #[error("{0}")]
    Generate(String),
}

/// Reads files and prepares them for `encoding`: JPEG files as they are or decoded at full resolution, tensor files
/// (little-endian f32) as they are.
pub fn load_files(paths: &[PathBuf], encoding: Encoding) -> Result<Vec<Frame>, FrameError> {
    paths.iter().map(|path| load_file(path, encoding)).collect()
}

fn load_file(path: &Path, encoding: Encoding) -> Result<Frame, FrameError> {
    let bytes = std::fs::read(path).map_err(|error| FrameError::Unreadable { path: path.to_owned(), error })?;
    let (width, height, bytes) = match encoding {
        Encoding::TensorF32 if bytes.is_empty() || !bytes.len().is_multiple_of(4) => {
            return Err(FrameError::NoTensor { path: path.to_owned(), bytes: bytes.len() });
        }
        Encoding::TensorF32 | Encoding::TensorRaw => (0, 0, bytes),
        Encoding::Jpeg => {
            let (width, height) =
                jpeg_size(&bytes).map_err(|reason| FrameError::NoJpeg { path: path.to_owned(), reason })?;
            (width, height, bytes)
        }
        _ => {
            let image = decode(&bytes).map_err(|reason| FrameError::NoJpeg { path: path.to_owned(), reason })?;
            // `encode` answers None for the two encodings handled above only.
            image.encode(encoding).unwrap_or_default()
        }
    };
    if bytes.len() > wire::MAX_TOTAL_LEN {
        return Err(FrameError::TooLarge { path: path.to_owned(), encoding, bytes: bytes.len() });
    }
    let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    Ok(Frame { name, encoding, width, height, bytes, expected_class: None })
}

/// Only what the header says: a file whose image data are broken is sent, since that is a test worth having.
fn jpeg_size(bytes: &[u8]) -> Result<(u16, u16), String> {
    let mut decoder = JpegDecoder::new(ZCursor::new(bytes));
    decoder.decode_headers().map_err(|error| error.to_string())?;
    let info = decoder.info().ok_or("its header says no size")?;
    Ok((info.width, info.height))
}

fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let pixels = decoder.decode().map_err(|error| error.to_string())?;
    let info = decoder.info().ok_or("its header says no size")?;
    let (width, height) = (info.width, info.height);
    if pixels.len() != usize::from(width) * usize::from(height) * 3 {
        return Err(format!("{} bytes decoded for {width}x{height} pixels", pixels.len()));
    }
    Ok(RgbImage { width, height, pixels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str, bytes: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("flumeway-frame-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn jpeg(width: u16, height: u16) -> Vec<u8> {
        super::super::generate::generate_images(Encoding::Jpeg, width, height, 1, 1).unwrap().remove(0).bytes
    }

    #[test]
    fn jpeg_files_are_sent_as_they_are_or_decoded() {
        let file = jpeg(33, 21);
        let path = scratch("a.jpg", &file);
        let frames = load_files(std::slice::from_ref(&path), Encoding::Jpeg).unwrap();
        assert_eq!((frames[0].width, frames[0].height, &frames[0].bytes), (33, 21, &file));
        for encoding in [Encoding::Rgb8, Encoding::Bgr8, Encoding::Gray8, Encoding::Nv12, Encoding::Yuyv] {
            let frame = load_files(std::slice::from_ref(&path), encoding).unwrap().remove(0);
            assert_eq!(encoding.expected_len(frame.width, frame.height), Some(frame.bytes.len()), "{encoding}");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn other_files_are_refused_with_what_to_do() {
        let path = scratch("b.jpg", b"no picture");
        let message = load_files(std::slice::from_ref(&path), Encoding::Jpeg).unwrap_err().to_string();
        assert!(message.contains("is no JPEG") && message.contains("--generate"), "{message}");
        let message = load_files(std::slice::from_ref(&path), Encoding::TensorF32).unwrap_err().to_string();
        assert!(message.contains("10 bytes"), "{message}");
        std::fs::remove_file(path).unwrap();
        let message = load_files(&["/nowhere.jpg".into()], Encoding::Rgb8).unwrap_err().to_string();
        assert!(message.contains("/nowhere.jpg"), "{message}");
    }

    #[test]
    fn tensor_files_are_sent_as_they_are() {
        let path = scratch("c.f32", &[0, 0, 128, 63]);
        let frame = load_files(std::slice::from_ref(&path), Encoding::TensorF32).unwrap().remove(0);
        assert_eq!((frame.width, frame.height, frame.bytes), (0, 0, vec![0, 0, 128, 63]));
        std::fs::remove_file(path).unwrap();
    }
}
