//! What is not a frame gets a typed error.

use crate::support::{LIMITS, run_segments};
use preprocess::image::{Geometry, ImageError, Limits, PixelFormat, Preprocessor, Source, SpecError, TensorSpec};

fn error(frame: &[u8], width: u32, height: u32, format: PixelFormat) -> ImageError {
    run_segments(TensorSpec::rgb(4, 4), &[frame], Geometry { width, height, format }).expect_err("must be refused")
}

#[test]
fn wrong_lengths() {
    for (format, right) in [
        (PixelFormat::Rgb8, 45),
        (PixelFormat::Bgr8, 45),
        (PixelFormat::Gray8, 15),
        (PixelFormat::Nv12, 15 + 12),
        (PixelFormat::Yuyv, 36),
    ] {
        for wrong in [0, right - 1, right + 1] {
            let refused = error(&vec![0; wrong], 5, 3, format);
            let ImageError::Length { expected, actual, .. } = refused else { panic!("{refused}") };
            assert_eq!((expected, actual), (right as u64, wrong as u64));
        }
        let geometry = Geometry { width: 5, height: 3, format };
        assert!(run_segments(TensorSpec::rgb(4, 4), &[&vec![0; right]], geometry).is_ok());
    }
    for wrong in [0, 4 * 48 - 1, 4 * 48 + 4] {
        assert!(matches!(error(&vec![0; wrong], 4, 4, PixelFormat::TensorF32), ImageError::TensorLength { .. }));
    }
}

#[test]
fn impossible_sizes() {
    assert!(matches!(error(&[], 0, 3, PixelFormat::Rgb8), ImageError::NoSize { .. }));
    assert!(matches!(error(&[], 3, 0, PixelFormat::Yuyv), ImageError::NoSize { .. }));
    for (width, height) in [(641, 1), (1, 2_001), (u32::MAX, u32::MAX)] {
        assert!(matches!(error(&[0; 3], width, height, PixelFormat::Rgb8), ImageError::TooLarge { .. }));
    }
    let huge = Geometry { width: u32::MAX, height: u32::MAX, format: PixelFormat::Rgb8 };
    assert_eq!(huge.raw_bytes(), Some(u64::MAX));
}

#[test]
fn a_slot_of_another_size() {
    let mut preprocessor = Preprocessor::new(TensorSpec::rgb(4, 4), LIMITS).expect("valid");
    let geometry = Geometry { width: 1, height: 1, format: PixelFormat::Gray8 };
    for len in [0, 47, 49] {
        let refused = preprocessor.run(&Source::new(&[&[1]]), geometry, &mut vec![0.0; len]);
        assert!(matches!(refused, Err(ImageError::OutputLength { expected: 48, .. })));
    }
}

#[test]
fn specifications_that_cannot_be_served() {
    let good = TensorSpec::rgb(4, 4);
    let size = |spec, limits| matches!(Preprocessor::new(spec, limits), Err(SpecError::Size { .. }));
    assert!(size(TensorSpec { width: 0, ..good }, LIMITS));
    assert!(size(TensorSpec { height: 1 << 20, ..good }, LIMITS));
    assert!(size(good, Limits { source_width: 0, ..LIMITS }));
    assert!(size(good, Limits { source_height: 0, ..LIMITS }));
    for bad in [
        TensorSpec { scale: 0.0, ..good },
        TensorSpec { std: [1.0, 0.0, 1.0], ..good },
        TensorSpec { mean: [0.0, 0.0, f32::NAN], ..good },
    ] {
        assert!(matches!(Preprocessor::new(bad, LIMITS), Err(SpecError::Normalisation { .. })));
    }
}

#[test]
fn messages_name_cause_and_remedy() {
    let message = error(&[0; 7], 2, 1, PixelFormat::Rgb8).to_string();
    assert!(message.contains("rgb8 of 2x1 is 6 bytes, the frame has 7"), "{message}");
}
