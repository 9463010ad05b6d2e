//! RGB images into the raw encodings of the protocol.
//!
//! Luma and chroma are BT.601 in limited range (ITU-R BT.601-7, 2.5.1 and 2.5.3): Y 16 to 235, U and V 16 to 240, as cameras
//! deliver them and as the pipeline reads them. Gray is luma in full range.

use wire::Encoding;

/// An image of `[H, W, 3]` bytes, red, green, blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RgbImage {
    pub(crate) width: u16,
    pub(crate) height: u16,
    pub(crate) pixels: Vec<u8>,
}

/// What a colour is in limited-range BT.601: Y, U, V as fractions before rounding.
fn yuv(rgb: [f32; 3]) -> [f32; 3] {
    let [r, g, b] = rgb.map(|value| value / 255.0);
    let luma = luma([r, g, b]);
    [16.0 + 219.0 * luma, 128.0 + 224.0 * (b - luma) / 1.772, 128.0 + 224.0 * (r - luma) / 1.402]
}

fn luma([r, g, b]: [f32; 3]) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

fn byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

impl RgbImage {
    fn rgb(&self, x: usize, y: usize) -> [f32; 3] {
        let at = (y * usize::from(self.width) + x) * 3;
        [0, 1, 2].map(|channel| f32::from(self.pixels[at + channel]))
    }

    /// The image without its last column and row where the sides are odd.
    #[must_use]
    fn with_even_sides(&self) -> Self {
        let (width, height) = (self.width & !1, self.height & !1);
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let rows = self.pixels.chunks_exact(usize::from(self.width) * 3).take(height.into());
        let pixels = rows.flat_map(|row| &row[..usize::from(width) * 3]).copied().collect();
        Self { width, height, pixels }
    }

    /// Width, height and bytes of the image in a raw encoding; `None` if the encoding is not raw. NV12 and YUYV lose the last
    /// column and row of odd sides, since their pixels share chroma.
    pub(crate) fn encode(&self, encoding: Encoding) -> Option<(u16, u16, Vec<u8>)> {
        let even;
        let image = match encoding {
            Encoding::Nv12 | Encoding::Yuyv => {
                even = self.with_even_sides();
                &even
            }
            _ => self,
        };
        let bytes = match encoding {
            Encoding::Rgb8 => image.pixels.clone(),
            Encoding::Bgr8 => image.pixels.chunks_exact(3).flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect(),
            Encoding::Gray8 => image
                .pixels
                .chunks_exact(3)
                .map(|pixel| byte(luma([pixel[0].into(), pixel[1].into(), pixel[2].into()])))
                .collect(),
            Encoding::Nv12 => image.nv12(),
            Encoding::Yuyv => image.yuyv(),
            Encoding::Jpeg | Encoding::TensorF32 | Encoding::TensorRaw => return None,
        };
        Some((image.width, image.height, bytes))
    }

    /// Chroma of a 2x2 block is that of the block's mean colour.
    fn nv12(&self) -> Vec<u8> {
        let (width, height) = (usize::from(self.width), usize::from(self.height));
        let mut bytes = Vec::with_capacity(width * height / 2 * 3);
        for y in 0..height {
            bytes.extend((0..width).map(|x| byte(yuv(self.rgb(x, y))[0])));
        }
        for y in (0..height).step_by(2) {
            for x in (0..width).step_by(2) {
                let block = [self.rgb(x, y), self.rgb(x + 1, y), self.rgb(x, y + 1), self.rgb(x + 1, y + 1)];
                let [_, u, v] = yuv(mean(&block));
                bytes.extend([byte(u), byte(v)]);
            }
        }
        bytes
    }

    fn yuyv(&self) -> Vec<u8> {
        let (width, height) = (usize::from(self.width), usize::from(self.height));
        let mut bytes = Vec::with_capacity(width * height * 2);
        for y in 0..height {
            for x in (0..width).step_by(2) {
                let pair = [self.rgb(x, y), self.rgb(x + 1, y)];
                let [_, u, v] = yuv(mean(&pair));
                bytes.extend([byte(yuv(pair[0])[0]), byte(u), byte(yuv(pair[1])[0]), byte(v)]);
            }
        }
        bytes
    }
}

fn mean(colors: &[[f32; 3]]) -> [f32; 3] {
    [0, 1, 2].map(|channel| colors.iter().map(|color| color[channel]).sum::<f32>() / colors.len() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(width: u16, height: u16, color: [u8; 3]) -> RgbImage {
        let pixels = color.repeat(usize::from(width) * usize::from(height));
        RgbImage { width, height, pixels }
    }

    /// Limited-range code values of 100 % bars, BT.601 (8 bit).
    #[test]
    fn primary_colours_have_their_known_code_values() {
        for (color, expected) in [
            ([0, 0, 0], [16, 128, 128]),
            ([255, 255, 255], [235, 128, 128]),
            ([255, 0, 0], [81, 90, 240]),
            ([0, 255, 0], [145, 54, 34]),
            ([0, 0, 255], [41, 240, 110]),
        ] {
            let (_, _, bytes) = uniform(2, 2, color).encode(Encoding::Yuyv).unwrap();
            let [y, u, v] = expected;
            assert_eq!(bytes[..4], [y, u, y, v], "{color:?}");
            let (_, _, bytes) = uniform(2, 2, color).encode(Encoding::Nv12).unwrap();
            assert_eq!(bytes, [y, y, y, y, u, v], "{color:?}");
        }
    }

    #[test]
    fn orders_of_channels() {
        let image = uniform(1, 1, [10, 20, 30]);
        assert_eq!(image.encode(Encoding::Rgb8), Some((1, 1, vec![10, 20, 30])));
        assert_eq!(image.encode(Encoding::Bgr8), Some((1, 1, vec![30, 20, 10])));
        assert_eq!(image.encode(Encoding::Gray8), Some((1, 1, vec![18])));
        assert_eq!(image.encode(Encoding::Jpeg), None);
    }

    #[test]
    fn lengths_are_those_of_the_protocol_and_odd_sides_are_cut() {
        let image = uniform(451, 301, [1, 2, 3]);
        for &encoding in Encoding::ALL {
            let Some((width, height, bytes)) = image.encode(encoding) else { continue };
            assert_eq!(encoding.expected_len(width, height), Some(bytes.len()), "{encoding}");
        }
        let (width, height, _) = image.encode(Encoding::Nv12).unwrap();
        assert_eq!((width, height), (450, 300));
        let mut one = uniform(3, 2, [0; 3]);
        one.pixels[3..6].copy_from_slice(&[9, 9, 9]);
        assert_eq!(one.with_even_sides().pixels[3..6], [9, 9, 9]);
    }
}
