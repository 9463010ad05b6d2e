//! JPEG frames: decoding, sizes, segments, and files that are not what they claim.

use crate::support::{LIMITS, noise_bytes, run, run_segments};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use preprocess::image::{Color, Geometry, ImageError, Layout, PixelFormat, Preprocessor, Source, TensorSpec};
use proptest::prelude::*;

const SIZE: (u16, u16) = (67, 45);
const FROM_FILE: Geometry = Geometry { width: 0, height: 0, format: PixelFormat::Jpeg };

/// A smooth picture, which JPEG keeps nearly as it is.
fn picture(channels: usize) -> Vec<u8> {
    let (width, height) = (usize::from(SIZE.0), usize::from(SIZE.1));
    let sample = |at: usize| {
        let (x, y, channel) = (at / channels % width, at / channels / width, at % channels);
        (20 + x * 2 + y + channel * 15) as u8
    };
    (0..width * height * channels).map(sample).collect()
}

fn encode(pixels: &[u8], color: ColorType, progressive: bool, sampling: SamplingFactor) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 98);
    encoder.set_progressive(progressive);
    encoder.set_sampling_factor(sampling);
    encoder.encode(pixels, SIZE.0, SIZE.1, color).expect("a valid picture");
    file
}

fn rgb_file() -> Vec<u8> {
    encode(&picture(3), ColorType::Rgb, false, SamplingFactor::F_1_1)
}

/// 8-bit values, pixel after pixel, at the file's own size.
fn unscaled(color: Color) -> TensorSpec {
    TensorSpec { scale: 1.0, layout: Layout::Nhwc, color, ..TensorSpec::rgb(u32::from(SIZE.1), u32::from(SIZE.0)) }
}

fn worst(tensor: &[f32], expected: &[u8]) -> f32 {
    assert_eq!(tensor.len(), expected.len());
    tensor.iter().zip(expected).map(|(got, expected)| (got - f32::from(*expected)).abs()).fold(0.0, f32::max)
}

#[test]
fn colour_pictures_come_back() {
    let expected = picture(3);
    let samplings = [SamplingFactor::F_1_1, SamplingFactor::F_2_1, SamplingFactor::F_2_2];
    for (progressive, sampling) in [false, true].into_iter().flat_map(|p| samplings.map(|sampling| (p, sampling))) {
        let file = encode(&expected, ColorType::Rgb, progressive, sampling);
        let (tensor, report) = run_segments(unscaled(Color::Rgb), &[&file], FROM_FILE).expect("a valid file");
        let error = worst(&tensor, &expected);
        assert!(error <= 6.0, "progressive {progressive}, {sampling:?}: off by {error}");
        assert!(report.decoded);
        assert_eq!(report.copied_bytes, 0);
    }
}

#[test]
fn gray_pictures_come_back_as_gray_and_as_colour() {
    let gray = picture(1);
    let file = encode(&gray, ColorType::Luma, false, SamplingFactor::F_1_1);
    assert!(worst(&run(unscaled(Color::Gray), &file, FROM_FILE), &gray) <= 3.0);
    let tripled: Vec<u8> = gray.iter().flat_map(|sample| [*sample; 3]).collect();
    assert!(worst(&run(unscaled(Color::Rgb), &file, FROM_FILE), &tripled) <= 3.0);
}

#[test]
fn gray_tensors_take_the_luma_of_colour_pictures() {
    let luma = |rgb: &[u8]| 0.299 * f32::from(rgb[0]) + 0.587 * f32::from(rgb[1]) + 0.114 * f32::from(rgb[2]);
    let expected: Vec<u8> = picture(3).chunks_exact(3).map(|rgb| luma(rgb).round() as u8).collect();
    assert!(worst(&run(unscaled(Color::Gray), &rgb_file(), FROM_FILE), &expected) <= 3.0);
}

#[test]
fn cmyk_pictures_decode() {
    let file = encode(&picture(4), ColorType::Cmyk, false, SamplingFactor::F_1_1);
    assert!(run_segments(unscaled(Color::Rgb), &[&file], FROM_FILE).is_ok());
}

#[test]
fn segments_are_gathered_and_counted() {
    let file = rgb_file();
    let whole = run(unscaled(Color::Bgr), &file, FROM_FILE);
    for length in [1, 13, 1_400] {
        let segments: Vec<&[u8]> = file.chunks(length).collect();
        let (tensor, report) = run_segments(unscaled(Color::Bgr), &segments, FROM_FILE).expect("a valid file");
        assert_eq!(tensor, whole);
        assert_eq!(report.copied_bytes, if segments.len() > 1 { file.len() } else { 0 });
    }
}

#[test]
fn the_header_must_agree() {
    let file = rgb_file();
    let with = |width, height| run_segments(unscaled(Color::Rgb), &[&file], Geometry { width, height, ..FROM_FILE });
    let (width, height) = (u32::from(SIZE.0), u32::from(SIZE.1));
    assert!(with(width, height).is_ok());
    assert!(with(0, height).is_ok());
    for (width, height) in [(width + 1, height), (width, height - 1), (height, width)] {
        assert!(matches!(with(width, height), Err(ImageError::SizeMismatch { jpeg_width: 67, jpeg_height: 45, .. })));
    }
}

#[test]
fn files_that_are_too_large() {
    let mut file = Vec::new();
    Encoder::new(&mut file, 50).encode(&vec![0; 700 * 8], 700, 8, ColorType::Luma).expect("valid");
    let too_wide = run_segments(unscaled(Color::Rgb), &[&file], FROM_FILE);
    assert!(matches!(too_wide, Err(ImageError::TooLarge { width: 700, max_width: 640, .. })));
    let too_long = run_segments(unscaled(Color::Rgb), &[&vec![0; LIMITS.jpeg_bytes as usize + 1]], FROM_FILE);
    assert!(matches!(too_long, Err(ImageError::JpegTooLong { .. })));
}

#[test]
fn broken_files_are_refused() {
    // A marker that has no place in the middle of a scan.
    let mut marked = encode(&noise_bytes(picture(3).len(), 8), ColorType::Rgb, false, SamplingFactor::F_1_1);
    let middle = marked.len() / 2;
    marked[middle..middle + 2].copy_from_slice(&[0xff, 0x33]);
    for broken in [&[][..], &rgb_file()[2..], &marked, &noise_bytes(5_000, 5)] {
        let refused = run_segments(unscaled(Color::Rgb), &[broken], FROM_FILE).map(|(_, report)| report);
        assert!(matches!(refused, Err(ImageError::Decode(_) | ImageError::JpegCut { .. })), "{refused:?}");
    }
}

#[test]
fn cut_files_are_refused_not_filled_with_gray() {
    let noise = noise_bytes(picture(3).len(), 8);
    let spec = unscaled(Color::Rgb);
    let mut preprocessor = Preprocessor::new(spec, LIMITS).expect("valid");
    let mut tensor = vec![0.0; spec.elements()];
    for progressive in [false, true] {
        let file = encode(&noise, ColorType::Rgb, progressive, SamplingFactor::F_1_1);
        for len in (0..file.len()).step_by(37).chain([file.len() - 1]) {
            let refused = preprocessor.run(&Source::new(&[&file[..len]]), FROM_FILE, &mut tensor);
            assert!(matches!(refused, Err(ImageError::JpegCut { .. })), "{len} of {} bytes: {refused:?}", file.len());
        }
    }
}

#[test]
fn bytes_after_the_end_are_ignored() {
    let mut file = rgb_file();
    let expected = run(unscaled(Color::Rgb), &file, FROM_FILE);
    file.extend([0; 77]);
    assert_eq!(run(unscaled(Color::Rgb), &file, FROM_FILE), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever comes: an answer, no panic, and the next good frame is unharmed.
    #[test]
    fn damaged_files_do_no_harm(
        progressive: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        keep in any::<prop::sample::Index>(),
    ) {
        let good = encode(&picture(3), ColorType::Rgb, progressive, SamplingFactor::F_2_2);
        let mut bad = good.clone();
        for (at, byte) in damage {
            let at = at.index(bad.len());
            bad[at] = byte;
        }
        bad.truncate(keep.index(bad.len() * 4).min(bad.len()));
        let spec = unscaled(Color::Rgb);
        let mut preprocessor = Preprocessor::new(spec, LIMITS).expect("valid");
        let mut tensor = vec![0.0; spec.elements()];
        let _ = preprocessor.run(&Source::new(&[&bad]), FROM_FILE, &mut tensor);
        preprocessor.run(&Source::new(&[&good]), FROM_FILE, &mut tensor).expect("a good file");
        prop_assert_eq!(tensor, run(spec, &good, FROM_FILE));
    }
}
