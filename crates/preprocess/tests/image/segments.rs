//! Frames in many packets give the same tensor, bit by bit, as frames in one piece.

use crate::support::{kernels, noise_bytes, noise_frame, run_segments, run_with};
use preprocess::image::{Geometry, Options, PixelFormat, Resize, TensorSpec};
use proptest::prelude::*;

/// Cuts `frame` after each of `lengths`, repeating them; zero lengths give empty segments.
fn cut<'a>(frame: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = frame;
    let mut segments = Vec::new();
    for length in lengths.iter().cycle() {
        let (now, later) = rest.split_at((*length).min(rest.len()));
        segments.push(now);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    segments.push(&[]);
    segments
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0usize..400, 1..8).prop_filter("must advance", |lengths| lengths.iter().any(|len| *len > 0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn raw_frames(
        (width, height) in (1u32..300, 1u32..40),
        format in prop::sample::select(&[
            PixelFormat::Rgb8, PixelFormat::Bgr8, PixelFormat::Gray8, PixelFormat::Nv12, PixelFormat::Yuyv,
        ]),
        antialias: bool,
        lengths in lengths(),
    ) {
        let geometry = Geometry { width, height, format };
        let frame = noise_frame(geometry, width * 100 + height);
        let resize = if antialias { Resize::BilinearAntialias } else { Resize::Bilinear };
        let spec = TensorSpec { resize, ..TensorSpec::rgb(9, 11) };
        for kernels in kernels() {
            let options = Options { kernels, ..Options::default() };
            let (tensor, report) = run_with(options, spec, &cut(&frame, &lengths), geometry).expect("a valid frame");
            let (whole, _) = run_with(options, spec, &[&frame], geometry).expect("a valid frame");
            prop_assert_eq!(tensor, whole, "{:?}", kernels);
            prop_assert_eq!(report.copied_bytes, 0);
            prop_assert!(!report.decoded);
        }
    }

    #[test]
    fn tensor_frames(lengths in lengths()) {
        let spec = TensorSpec::rgb(3, 5);
        let values: Vec<f32> = noise_bytes(45, 1).iter().map(|byte| f32::from(*byte) - 100.5).collect();
        let frame: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let geometry = Geometry { width: 0, height: 0, format: PixelFormat::TensorF32 };
        let (tensor, report) = run_segments(spec, &cut(&frame, &lengths), geometry).expect("a valid frame");
        prop_assert_eq!(tensor, values);
        prop_assert_eq!(report.copied_bytes, frame.len());
    }
}
