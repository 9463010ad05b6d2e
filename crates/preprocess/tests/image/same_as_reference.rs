//! Every raw format, filter, layout and colour order against the f64 oracle.

use crate::reference;
use crate::support::{LIMITS, kernels, next_noise, noise_frame, run, run_with};
use preprocess::image::{
    Color, Geometry, Layout, Limits, Options, PixelFormat, Preprocessor, Resize, Source, TensorSpec,
};
use proptest::prelude::*;

const FORMATS: [PixelFormat; 5] =
    [PixelFormat::Rgb8, PixelFormat::Bgr8, PixelFormat::Gray8, PixelFormat::Nv12, PixelFormat::Yuyv];

/// Largest error in steps of 8-bit values that the module's documentation allows.
const ERROR_MAX: f64 = 0.15;

/// Error in 8-bit steps, worst element, by every set of instructions.
fn worst_error(spec: &TensorSpec, frame: &[u8], geometry: Geometry) -> f64 {
    let expected = reference::tensor(spec, frame, geometry);
    let channels = spec.channels();
    let plane = (spec.height * spec.width) as usize;
    let mut worst = 0.0f64;
    for kernels in kernels() {
        let options = Options { kernels, ..Options::default() };
        let (got, _) = run_with(options, *spec, &[frame], geometry).expect("a valid frame");
        for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let channel = if spec.layout == Layout::Nchw { index / plane } else { index % channels };
            let step = f64::from(spec.scale / spec.std[channel]).abs();
            let error = (f64::from(*got) - expected).abs() / step;
            assert!(error < 0.15, "element {index} of {kernels:?} is {got}, off by {error} steps");
            worst = worst.max(error);
        }
    }
    worst
}

fn spec(height: u32, width: u32, resize: Resize) -> TensorSpec {
    TensorSpec { resize, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], ..TensorSpec::rgb(height, width) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_size_any_format(
        (width, height) in (1u32..60, 1u32..60),
        (tensor_width, tensor_height) in (1u32..20, 1u32..20),
        format in prop::sample::select(&FORMATS),
        color in prop::sample::select(&[Color::Rgb, Color::Bgr, Color::Gray]),
        layout in prop::sample::select(&[Layout::Nchw, Layout::Nhwc]),
        resize in prop::sample::select(&[Resize::Bilinear, Resize::BilinearAntialias]),
        seed: u32,
    ) {
        let geometry = Geometry { width, height, format };
        let spec = TensorSpec { color, layout, ..spec(tensor_height, tensor_width, resize) };
        let error = worst_error(&spec, &noise_frame(geometry, seed), geometry);
        prop_assert!(error < ERROR_MAX, "off by {error} steps");
    }
}

#[test]
fn photograph_sized_sources() {
    for format in FORMATS {
        for resize in [Resize::Bilinear, Resize::BilinearAntialias] {
            let geometry = Geometry { width: 319, height: 241, format };
            let error = worst_error(&spec(22, 31, resize), &noise_frame(geometry, 7), geometry);
            assert!(error < ERROR_MAX, "{format} {resize:?}: off by {error} steps");
        }
    }
}

#[test]
fn so_many_rows_that_sums_need_32_bits() {
    for format in FORMATS {
        let geometry = Geometry { width: 9, height: 1_999, format };
        let error = worst_error(&spec(3, 4, Resize::BilinearAntialias), &noise_frame(geometry, 11), geometry);
        assert!(error < ERROR_MAX, "{format}: off by {error} steps");
    }
}

#[test]
fn as_many_rows_as_sums_in_16_bits_bear() {
    // White rows, so that a sum that overflows shows as black. 127 rows per output row make 253 or 254 taps.
    let geometry = Geometry { width: 5, height: 127 * 4, format: PixelFormat::Rgb8 };
    let white = vec![255; geometry.raw_bytes().expect("raw") as usize];
    let error = worst_error(&spec(4, 5, Resize::BilinearAntialias), &white, geometry);
    assert!(error < ERROR_MAX, "off by {error} steps");
}

/// Each number of taps that vectors treat differently, in both directions, and the first that they leave to the portable code.
#[test]
fn filters_of_every_length() {
    for taps in 1..=20 {
        let spec = spec(3, 5, Resize::BilinearAntialias);
        let geometry = Geometry { width: 5 * taps, height: 3 * taps, format: PixelFormat::Rgb8 };
        let error = worst_error(&spec, &noise_frame(geometry, taps), geometry);
        assert!(error < ERROR_MAX, "{taps} source pixels per pixel: off by {error} steps");
    }
}

/// Rows around the length of the blocks that vectors sum, and tensors around the number of pixels that they filter at once.
#[test]
fn rows_of_every_length() {
    for width in (1..=20).chain(36..=50).chain(80..=90).chain([170, 171, 256, 300]) {
        for resize in [Resize::Bilinear, Resize::BilinearAntialias] {
            let geometry = Geometry { width, height: 5, format: PixelFormat::Rgb8 };
            let error = worst_error(&spec(3, width / 3 + 1, resize), &noise_frame(geometry, width), geometry);
            assert!(error < ERROR_MAX, "{width} pixels, {resize:?}: off by {error} steps");
        }
    }
}

/// Sources as wide as the preprocessor was made for: what vectors fetch too much must be there, too.
#[test]
fn sources_of_the_largest_width() {
    for kernels in kernels() {
        for width in (1..=90).chain([124, 210, 252, 640]) {
            for tensor_width in [1, 2, 3, 5, 7, 11, 18, 40] {
                let limits = Limits { source_width: width, source_height: 2, jpeg_bytes: 0 };
                let spec = spec(2, tensor_width, Resize::BilinearAntialias);
                let options = Options { kernels, ..Options::default() };
                let mut preprocessor = Preprocessor::with_options(spec, limits, options).expect("valid");
                let geometry = Geometry { width, height: 2, format: PixelFormat::Rgb8 };
                let frame = noise_frame(geometry, width);
                let mut tensor = vec![0.0; spec.elements()];
                preprocessor.run(&Source::new(&[&frame]), geometry, &mut tensor).expect("valid");
                let (expected, _) = run_with(options, spec, &[&frame], geometry).expect("valid");
                assert_eq!(tensor, expected, "{kernels:?}: {width} to {tensor_width} pixels");
            }
        }
    }
}

/// The largest sums there are.
#[test]
fn white_stays_white_and_black_black() {
    for byte in [0, 255] {
        for format in FORMATS {
            for resize in [Resize::Bilinear, Resize::BilinearAntialias] {
                let geometry = Geometry { width: 150, height: 90, format };
                let frame = vec![byte; geometry.raw_bytes().expect("raw") as usize];
                let error = worst_error(&spec(14, 23, resize), &frame, geometry);
                assert!(error < ERROR_MAX, "{byte} as {format}, {resize:?}: off by {error} steps");
            }
        }
    }
}

#[test]
fn sizes_and_formats_in_turn_do_not_mix_their_filters() {
    let spec = spec(6, 5, Resize::BilinearAntialias);
    let mut preprocessor = Preprocessor::new(spec, LIMITS).expect("valid");
    let mut tensor = vec![0.0; spec.elements()];
    let mut noise = 1;
    for _ in 0..300 {
        let (width, height) = (20 + (next_noise(&mut noise) >> 28) % 5, 20 + (next_noise(&mut noise) >> 28) % 5);
        let format = FORMATS[(next_noise(&mut noise) >> 28) as usize % FORMATS.len()];
        let geometry = Geometry { width, height, format };
        let frame = noise_frame(geometry, noise);
        preprocessor.run(&Source::new(&[&frame]), geometry, &mut tensor).expect("valid");
        assert_eq!(tensor, run(spec, &frame, geometry));
    }
}

#[test]
fn same_size_is_exact() {
    let geometry = Geometry { width: 13, height: 7, format: PixelFormat::Rgb8 };
    let frame = noise_frame(geometry, 3);
    for resize in [Resize::Bilinear, Resize::BilinearAntialias] {
        let spec = TensorSpec { resize, layout: Layout::Nhwc, scale: 1.0, ..TensorSpec::rgb(7, 13) };
        let expected: Vec<f32> = frame.iter().map(|byte| f32::from(*byte)).collect();
        assert_eq!(run(spec, &frame, geometry), expected);
    }
}

#[test]
fn known_colours_of_yuv_frames() {
    // Two pixels of BT.601 red (Y 81, U 90, V 240), as every table of test bars has it.
    let spec = TensorSpec { scale: 1.0, layout: Layout::Nhwc, ..TensorSpec::rgb(1, 2) };
    let nv12 = Geometry { width: 2, height: 1, format: PixelFormat::Nv12 };
    let yuyv = Geometry { format: PixelFormat::Yuyv, ..nv12 };
    for tensor in [run(spec, &[81, 81, 90, 240], nv12), run(spec, &[81, 90, 81, 240], yuyv)] {
        let rounded: Vec<u8> = tensor.iter().map(|value| value.round() as u8).collect();
        assert_eq!(rounded, [254, 0, 0, 254, 0, 0]);
    }
    let gray = TensorSpec { color: Color::Gray, ..spec };
    let tensor = run(gray, &[16, 235, 128, 128], nv12);
    assert!(tensor[0].abs() < 1e-3 && (tensor[1] - 255.0).abs() < 1e-3);
}
