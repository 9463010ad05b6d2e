//! Photographs in the encodings of the wire, made here anew so that sender and pipeline share no arithmetic.

use integration_tests::client::Frame;
use std::path::Path;
use wire::Encoding;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// A photograph at full resolution.
pub struct Picture {
    /// The file.
    pub jpeg: Vec<u8>,
    pub width: usize,
    pub height: usize,
    /// `[height, width, 3]`, red, green, blue.
    pub rgb: Vec<u8>,
}

/// Bytes of a frame, and how they are to be read.
pub struct Encoded {
    pub encoding: Encoding,
    pub width: u16,
    pub height: u16,
    pub bytes: Vec<u8>,
}

impl Encoded {
    pub fn frame(&self) -> Frame<'_> {
        Frame { encoding: self.encoding, width: self.width, height: self.height, bytes: &self.bytes }
    }
}

/// Limited-range BT.601 code values (ITU-R BT.601-7, 2.5.3) of a colour.
fn ycbcr(rgb: [f32; 3]) -> [f32; 3] {
    let [r, g, b] = rgb.map(|c| c / 255.0);
    let y = 0.299 * r + 0.587 * g + 0.114 * b;
    [16.0 + 219.0 * y, 128.0 + 224.0 * (b - y) / 1.772, 128.0 + 224.0 * (r - y) / 1.402]
}

fn code(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

impl Picture {
    /// Decodes a JPEG file.
    pub fn load(path: &Path) -> Self {
        let jpeg = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&jpeg), options);
        let rgb = decoder.decode().expect("a JPEG");
        let (width, height) = decoder.dimensions().expect("dimensions");
        Self { jpeg, width, height, rgb }
    }

    fn at(&self, x: usize, y: usize) -> [f32; 3] {
        let at = (y * self.width + x) * 3;
        [0, 1, 2].map(|c| f32::from(self.rgb[at + c]))
    }

    fn luma(&self, x: usize, y: usize) -> u8 {
        code(ycbcr(self.at(x, y))[0])
    }

    /// The chroma that two pixels of each of `rows` rows share.
    fn chroma(&self, x: usize, y: usize, rows: usize) -> [u8; 2] {
        let pixels: Vec<_> = (y..y + rows).flat_map(|y| [self.at(x, y), self.at(x + 1, y)]).collect();
        let mean = [0, 1, 2].map(|c| pixels.iter().map(|p| p[c]).sum::<f32>() / pixels.len() as f32);
        let [_, u, v] = ycbcr(mean);
        [code(u), code(v)]
    }

    /// The photograph as a frame; its sides must be even for [`Encoding::Nv12`] and [`Encoding::Yuyv`].
    pub fn encode(&self, encoding: Encoding) -> Encoded {
        let (w, h) = (self.width, self.height);
        let rows = |step: usize| (0..h).step_by(step);
        let pairs = || (0..w).step_by(2);
        let bytes = match encoding {
            Encoding::Jpeg => {
                return Encoded { encoding, width: 0, height: 0, bytes: self.jpeg.clone() };
            }
            Encoding::Rgb8 => self.rgb.clone(),
            Encoding::Bgr8 => self.rgb.chunks_exact(3).flat_map(|p| [p[2], p[1], p[0]]).collect(),
            Encoding::Gray8 => {
                let luma = |p: &[u8]| 0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2]);
                self.rgb.chunks_exact(3).map(|p| code(luma(p))).collect()
            }
            Encoding::Nv12 => {
                let luma = rows(1).flat_map(|y| (0..w).map(move |x| self.luma(x, y)));
                let chroma = rows(2).flat_map(|y| pairs().flat_map(move |x| self.chroma(x, y, 2)));
                luma.chain(chroma).collect()
            }
            Encoding::Yuyv => rows(1)
                .flat_map(|y| pairs().map(move |x| (x, y)))
                .flat_map(|(x, y)| {
                    let [u, v] = self.chroma(x, y, 1);
                    [self.luma(x, y), u, self.luma(x + 1, y), v]
                })
                .collect(),
            Encoding::TensorF32 | Encoding::TensorRaw => panic!("a photograph is no tensor"),
        };
        assert_eq!(Some(bytes.len()), encoding.expected_len(w as u16, h as u16), "{encoding} {w}x{h}");
        Encoded { encoding, width: w as u16, height: h as u16, bytes }
    }
}
