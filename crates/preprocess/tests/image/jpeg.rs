//! JPEG frames: decoding, sizes, segments, and files that are not what they claim.

use crate::support::{LIMITS, noise_bytes, run_with};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use preprocess::image::{
    Color, Geometry, ImageError, JpegDecoder, JpegFault, Layout, Limits, Options, PixelFormat, Preprocessor, Report,
    Resize, Source, TensorSpec,
};
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

/// Both decoders, or the one that is there.
fn decoders() -> Vec<JpegDecoder> {
    match Preprocessor::with_options(unscaled(Color::Rgb), LIMITS, by(JpegDecoder::TurboJpeg)) {
        Ok(_) => vec![JpegDecoder::Zune, JpegDecoder::TurboJpeg],
        Err(missing) => {
            println!("SKIPPED: {missing}");
            vec![JpegDecoder::Zune]
        }
    }
}

fn by(jpeg: JpegDecoder) -> Options {
    Options { jpeg, ..Options::default() }
}

fn preprocessor(decoder: JpegDecoder, spec: TensorSpec) -> Preprocessor {
    Preprocessor::with_options(spec, LIMITS, by(decoder)).expect("valid")
}

fn run_segments_by(
    decoder: JpegDecoder,
    spec: TensorSpec,
    segments: &[&[u8]],
    geometry: Geometry,
) -> Result<(Vec<f32>, Report), ImageError> {
    run_with(by(decoder), spec, segments, geometry)
}

fn run_by(decoder: JpegDecoder, spec: TensorSpec, file: &[u8], geometry: Geometry) -> Vec<f32> {
    run_segments_by(decoder, spec, &[file], geometry).expect("a valid file").0
}

#[test]
fn colour_pictures_come_back() {
    for decoder in decoders() {
        let expected = picture(3);
        let samplings = [SamplingFactor::F_1_1, SamplingFactor::F_2_1, SamplingFactor::F_2_2];
        for (progressive, sampling) in [false, true].into_iter().flat_map(|p| samplings.map(|sampling| (p, sampling))) {
            let file = encode(&expected, ColorType::Rgb, progressive, sampling);
            let (tensor, report) =
                run_segments_by(decoder, unscaled(Color::Rgb), &[&file], FROM_FILE).expect("a valid file");
            let error = worst(&tensor, &expected);
            assert!(error <= 6.0, "progressive {progressive}, {sampling:?}: off by {error}");
            assert!(report.decoded);
            assert_eq!(report.copied_bytes, 0);
        }
    }
}

#[test]
fn gray_pictures_come_back_as_gray_and_as_colour() {
    for decoder in decoders() {
        let gray = picture(1);
        let file = encode(&gray, ColorType::Luma, false, SamplingFactor::F_1_1);
        assert!(worst(&run_by(decoder, unscaled(Color::Gray), &file, FROM_FILE), &gray) <= 3.0);
        let tripled: Vec<u8> = gray.iter().flat_map(|sample| [*sample; 3]).collect();
        assert!(worst(&run_by(decoder, unscaled(Color::Rgb), &file, FROM_FILE), &tripled) <= 3.0);
    }
}

#[test]
fn gray_tensors_take_the_luma_of_colour_pictures() {
    for decoder in decoders() {
        let luma = |rgb: &[u8]| 0.299 * f32::from(rgb[0]) + 0.587 * f32::from(rgb[1]) + 0.114 * f32::from(rgb[2]);
        let expected: Vec<u8> = picture(3).chunks_exact(3).map(|rgb| luma(rgb).round() as u8).collect();
        assert!(worst(&run_by(decoder, unscaled(Color::Gray), &rgb_file(), FROM_FILE), &expected) <= 3.0);
    }
}

#[test]
fn cmyk_pictures_decode() {
    for decoder in decoders() {
        let file = encode(&picture(4), ColorType::Cmyk, false, SamplingFactor::F_1_1);
        assert!(run_segments_by(decoder, unscaled(Color::Rgb), &[&file], FROM_FILE).is_ok());
    }
}

#[test]
fn segments_are_gathered_and_counted() {
    for decoder in decoders() {
        let file = rgb_file();
        let whole = run_by(decoder, unscaled(Color::Bgr), &file, FROM_FILE);
        for length in [1, 13, 1_400] {
            let segments: Vec<&[u8]> = file.chunks(length).collect();
            let (tensor, report) =
                run_segments_by(decoder, unscaled(Color::Bgr), &segments, FROM_FILE).expect("a valid file");
            assert_eq!(tensor, whole);
            assert_eq!(report.copied_bytes, if segments.len() > 1 { file.len() } else { 0 });
        }
    }
}

#[test]
fn the_header_must_agree() {
    for decoder in decoders() {
        let file = rgb_file();
        let with = |width, height| {
            run_segments_by(decoder, unscaled(Color::Rgb), &[&file], Geometry { width, height, ..FROM_FILE })
        };
        let (width, height) = (u32::from(SIZE.0), u32::from(SIZE.1));
        assert!(with(width, height).is_ok());
        assert!(with(0, height).is_ok());
        for (width, height) in [(width + 1, height), (width, height - 1), (height, width)] {
            assert!(matches!(
                with(width, height),
                Err(ImageError::SizeMismatch { jpeg_width: 67, jpeg_height: 45, .. })
            ));
        }
    }
}

#[test]
fn files_that_are_too_large() {
    for decoder in decoders() {
        let mut file = Vec::new();
        Encoder::new(&mut file, 50).encode(&vec![0; 700 * 8], 700, 8, ColorType::Luma).expect("valid");
        let too_wide = run_segments_by(decoder, unscaled(Color::Rgb), &[&file], FROM_FILE);
        assert!(matches!(too_wide, Err(ImageError::TooLarge { width: 700, max_width: 640, .. })));
        let too_long =
            run_segments_by(decoder, unscaled(Color::Rgb), &[&vec![0; LIMITS.jpeg_bytes as usize + 1]], FROM_FILE);
        assert!(matches!(too_long, Err(ImageError::JpegTooLong { .. })));
    }
}

#[test]
fn broken_files_are_refused() {
    for decoder in decoders() {
        // A marker that has no place in the middle of a scan.
        let mut marked = encode(&noise_bytes(picture(3).len(), 8), ColorType::Rgb, false, SamplingFactor::F_1_1);
        let middle = marked.len() / 2;
        marked[middle..middle + 2].copy_from_slice(&[0xff, 0x33]);
        for broken in [&[][..], &rgb_file()[2..], &marked, &noise_bytes(5_000, 5)] {
            let refused =
                run_segments_by(decoder, unscaled(Color::Rgb), &[broken], FROM_FILE).map(|(_, report)| report);
            assert!(matches!(refused, Err(ImageError::Decode(_) | ImageError::JpegCut { .. })), "{refused:?}");
        }
    }
}

#[test]
fn cut_files_are_refused_not_filled_with_gray() {
    for decoder in decoders() {
        let noise = noise_bytes(picture(3).len(), 8);
        let spec = unscaled(Color::Rgb);
        let mut preprocessor = preprocessor(decoder, spec);
        let mut tensor = vec![0.0; spec.elements()];
        for progressive in [false, true] {
            let file = encode(&noise, ColorType::Rgb, progressive, SamplingFactor::F_1_1);
            for len in (0..file.len()).step_by(37).chain([file.len() - 1]) {
                let refused = preprocessor.run(&Source::new(&[&file[..len]]), FROM_FILE, &mut tensor);
                assert!(
                    matches!(refused, Err(ImageError::JpegCut { .. })),
                    "{len} of {} bytes: {refused:?}",
                    file.len()
                );
            }
        }
    }
}

#[test]
fn bytes_after_the_end_are_ignored() {
    for decoder in decoders() {
        let mut file = rgb_file();
        let expected = run_by(decoder, unscaled(Color::Rgb), &file, FROM_FILE);
        file.extend([0; 77]);
        assert_eq!(run_by(decoder, unscaled(Color::Rgb), &file, FROM_FILE), expected);
    }
}

/// The last scan of a progressive file once more, many times: valid, small, and without end.
#[test]
fn files_of_very_many_scans_are_refused() {
    let file = encode(&picture(3), ColorType::Rgb, true, SamplingFactor::F_1_1);
    let last = file.windows(2).rposition(|pair| pair == [0xff, 0xda]).expect("a scan");
    let (before, scan) = (&file[..last], &file[last..file.len() - 2]);
    let repeated = |times: usize| [before, &scan.repeat(times), &[0xff, 0xd9]].concat();
    for decoder in decoders() {
        let refused = run_segments_by(decoder, unscaled(Color::Rgb), &[&repeated(400)], FROM_FILE);
        assert!(matches!(refused, Err(ImageError::Decode(_))), "{decoder:?}");
        if decoder == JpegDecoder::TurboJpeg {
            assert!(matches!(refused, Err(ImageError::Decode(JpegFault::Scans { limit: 64 }))));
        }
    }
}

#[test]
fn decoders_agree() {
    for sampling in [SamplingFactor::F_1_1, SamplingFactor::F_2_1, SamplingFactor::F_2_2] {
        let file = encode(&picture(3), ColorType::Rgb, false, sampling);
        let tensors: Vec<Vec<f32>> =
            decoders().into_iter().map(|decoder| run_by(decoder, unscaled(Color::Rgb), &file, FROM_FILE)).collect();
        for tensor in &tensors {
            let off = tensor.iter().zip(&tensors[0]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off <= 4.0, "{sampling:?}: off by {off}");
        }
    }
}

/// What decoding at a fraction of the size changes, in 8-bit steps, on photographs that are 2 to 9 times as large as the tensor.
#[test]
fn photographs_decoded_at_a_fraction_of_their_size() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/images");
    if !folder.exists() || decoders().len() < 2 {
        println!("SKIPPED: {} or libjpeg-turbo is missing", folder.display());
        return;
    }
    let limits = Limits { source_width: 2_000, source_height: 2_000, jpeg_bytes: 4 << 20 };
    for name in ["astronaut", "chelsea", "coffee", "rocket"] {
        let file = std::fs::read(folder.join(name).with_extension("jpg")).expect("a photograph");
        for (resize, side, mean_max) in
            [(Resize::BilinearAntialias, 96, 2.0), (Resize::BilinearAntialias, 64, 4.0), (Resize::Bilinear, 96, 16.0)]
        {
            let spec = TensorSpec { scale: 1.0, resize, ..TensorSpec::rgb(side, side) };
            let [full, scaled] = [false, true].map(|jpeg_scaling| {
                let options = Options { jpeg: JpegDecoder::TurboJpeg, jpeg_scaling, ..Options::default() };
                let mut preprocessor = Preprocessor::with_options(spec, limits, options).expect("valid");
                let mut tensor = vec![0.0; spec.elements()];
                preprocessor.run(&Source::new(&[&file]), FROM_FILE, &mut tensor).expect("a photograph");
                tensor
            });
            let off: Vec<f32> = full.iter().zip(&scaled).map(|(a, b)| (a - b).abs()).collect();
            let (mean, worst) = (off.iter().sum::<f32>() / off.len() as f32, off.iter().copied().fold(0.0, f32::max));
            println!("{name} to {side}x{side}, {resize:?}: off by {mean:.2} steps on average, {worst:.1} at most");
            assert!(mean > 0.0, "{name}: it was not scaled");
            assert!(mean <= mean_max, "{name} to {side}x{side}, {resize:?}: off by {mean} steps on average");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever comes: an answer, no panic, and the next good frame is unharmed.
    #[test]
    fn damaged_files_do_no_harm(
        decoder in prop::sample::select(decoders()),
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
        let mut preprocessor = preprocessor(decoder, spec);
        let mut tensor = vec![0.0; spec.elements()];
        let _ = preprocessor.run(&Source::new(&[&bad]), FROM_FILE, &mut tensor);
        preprocessor.run(&Source::new(&[&good]), FROM_FILE, &mut tensor).expect("a good file");
        prop_assert_eq!(tensor, run_by(decoder, spec, &good, FROM_FILE));
    }
}
