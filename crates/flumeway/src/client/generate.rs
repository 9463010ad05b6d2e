//! Frames without files: a scene of gradients with a moving bright square, and tensors.

use jpeg_encoder::{ColorType, Encoder};
use wire::{Encoding, MAX_TOTAL_LEN};

use super::convert::RgbImage;
use super::frame::{Frame, FrameError};
use super::random::Random;

/// JPEG quality of generated frames: that of many network cameras.
const QUALITY: u8 = 85;
/// Memory that generated frames may take together; fewer different ones are made of large frames.
const BYTES_MAX: usize = 64 << 20;

/// `variants` different images of `width` x `height` pixels, fewer if they are very large; the same for the same seed.
pub fn generate_images(
    encoding: Encoding,
    width: u16,
    height: u16,
    variants: usize,
    seed: u64,
) -> Result<Vec<Frame>, FrameError> {
    let pixels = usize::from(width) * usize::from(height);
    if pixels == 0 || pixels * 3 > MAX_TOTAL_LEN {
        return Err(FrameError::Generate(format!(
            "images of {width}x{height} pixels cannot be generated; write sides from 1 to 65535 with at most {} pixels",
            MAX_TOTAL_LEN / 3
        )));
    }
    let variants = variants.min(BYTES_MAX / (pixels * 3)).max(1);
    (0..variants).map(|variant| image(encoding, width, height, variant, seed)).collect()
}

/// `variants` different tensors of `elements` f32 values from -1 to 1.
pub fn generate_tensors(elements: usize, variants: usize, seed: u64) -> Result<Vec<Frame>, FrameError> {
    if elements == 0 || elements > MAX_TOTAL_LEN / 4 {
        return Err(FrameError::Generate(format!(
            "a tensor of {elements} elements cannot be sent; write 1 to {}",
            MAX_TOTAL_LEN / 4
        )));
    }
    let variants = variants.min(BYTES_MAX / (elements * 4)).max(1);
    let tensor = |variant: usize| {
        let mut random = Random::new(seed.wrapping_add(variant as u64));
        let value = |_| ((random.unit() * 2.0 - 1.0) as f32).to_le_bytes();
        let bytes = (0..elements).flat_map(value).collect();
        let name = format!("tensor {variant}");
        Frame { name, encoding: Encoding::TensorF32, width: 0, height: 0, bytes, expected_class: None }
    };
    Ok((0..variants).map(tensor).collect())
}

fn image(encoding: Encoding, width: u16, height: u16, variant: usize, seed: u64) -> Result<Frame, FrameError> {
    let scene = scene(width, height, variant, seed);
    let (width, height, bytes) = match encoding {
        Encoding::Jpeg => (width, height, jpeg(&scene)?),
        Encoding::TensorF32 | Encoding::TensorRaw => {
            let remedy = "give --tensor N instead of --generate WxH";
            return Err(FrameError::Generate(format!("a tensor has elements and no width and height; {remedy}")));
        }
        _ => scene.encode(encoding).unwrap_or_default(),
    };
    if bytes.is_empty() {
        let message = format!("{width}x{height} pixels are too few for {encoding}; both sides need 2 at least");
        return Err(FrameError::Generate(message));
    }
    let name = format!("generated {width}x{height} {variant}");
    Ok(Frame { name, encoding, width, height, bytes, expected_class: None })
}

/// Gradients with a little noise, so that a JPEG of it is neither empty nor absurdly large.
fn scene(width: u16, height: u16, variant: usize, seed: u64) -> RgbImage {
    let mut random = Random::new(seed.wrapping_add(variant as u64));
    let (w, h) = (usize::from(width), usize::from(height));
    let side = (w.min(h) / 4).max(1);
    let (left, top) = (random.below(w as u64) as usize, random.below(h as u64) as usize);
    let mut pixels = Vec::with_capacity(w * h * 3);
    for y in 0..h {
        for x in 0..w {
            let noise = (random.next_u64() & 7) as usize;
            let inside = (left..left + side).contains(&x) && (top..top + side).contains(&y);
            let color = if inside { [240, 200, 40] } else { [x * 255 / w, y * 255 / h, (variant * 37 + x + y) / 4] };
            pixels.extend(color.map(|value| (value % 248 + noise) as u8));
        }
    }
    RgbImage { width, height, pixels }
}

fn jpeg(image: &RgbImage) -> Result<Vec<u8>, FrameError> {
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes, QUALITY)
        .encode(&image.pixels, image.width, image.height, ColorType::Rgb)
        .map_err(|error| FrameError::Generate(format!("the generated image cannot be encoded: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_has_the_length_of_the_protocol() {
        for &encoding in Encoding::ALL {
            if matches!(encoding, Encoding::TensorF32 | Encoding::TensorRaw) {
                continue;
            }
            let frames = generate_images(encoding, 64, 48, 3, 1).unwrap();
            assert_eq!(frames.len(), 3);
            assert_ne!(frames[0].bytes, frames[1].bytes);
            if encoding.is_raw() {
                assert_eq!(encoding.expected_len(64, 48), Some(frames[0].bytes.len()));
            }
        }
    }

    #[test]
    fn a_seed_repeats_itself() {
        assert_eq!(
            generate_images(Encoding::Jpeg, 32, 32, 2, 5).unwrap(),
            generate_images(Encoding::Jpeg, 32, 32, 2, 5).unwrap()
        );
        assert_ne!(generate_tensors(8, 1, 5).unwrap(), generate_tensors(8, 1, 6).unwrap());
    }

    #[test]
    fn large_frames_are_made_once_and_impossible_ones_refused() {
        assert_eq!(generate_images(Encoding::Gray8, 4000, 4000, 8, 1).unwrap().len(), 1);
        assert!(generate_images(Encoding::Rgb8, 0, 5, 1, 1).is_err());
        assert!(generate_images(Encoding::Rgb8, u16::MAX, u16::MAX, 1, 1).is_err());
        assert!(generate_images(Encoding::Nv12, 1, 1, 1, 1).is_err());
        assert!(generate_images(Encoding::TensorF32, 8, 8, 1, 1).is_err());
        assert!(generate_tensors(0, 1, 1).is_err());
    }

    #[test]
    fn tensors_hold_finite_floats() {
        let frame = generate_tensors(256, 1, 1).unwrap().remove(0);
        assert_eq!(frame.bytes.len(), 1024);
        let values = frame.bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap()));
        assert!(values.into_iter().all(|value| (-1.0..=1.0).contains(&value)));
    }
}
