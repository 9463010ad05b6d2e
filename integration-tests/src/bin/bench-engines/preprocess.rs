//! Raw frames to tensors: ours in one pass, against `fast_image_resize` and a separate normalise pass. 1280x720 rgb8 to `[1, 3, 224, 224]` f32.
//!
//! Like is compared with like: a frame in one piece; and a frame in packets of 1400 bytes, which the other has to put together first. Ours from
//! packets against the other from one piece is shown too, and has no bound. Both get the ImageNet constants.
//! All instruction sets of ours are shown, the fastest, which is the default, counts.

use crate::report::Report;
use crate::rounds::{Contender, take_turns};
use anyhow::{Context as _, Result};
use benches::figures::Required;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use preprocess::image::{
    Geometry, Isa, Kernels, Limits, Options, PixelFormat, Preprocessor, Resize, Source, TensorSpec,
};
use std::hint::black_box;

const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
const SIDE: u32 = 224;
const SEGMENT_BYTES: usize = 1400;
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];
/// Ours at least this many times as fast.
const REQUIRED: Required = Required::AtLeast(2.0);
/// What both answers may differ by, in 8-bit steps: the other rounds to 8 bits after each of two passes.
const STEPS_MAX: f32 = 1.6;

const THEIRS: &str = "fast_image_resize + normalise";
const GATHER: &str = "gather, fast_image_resize + normalise";
const WHOLE: &str = "ours, one piece";
const PACKETS: &str = "ours, 1400-byte packets";

/// Both algorithms.
pub fn measure(report: &mut Report) -> Result<()> {
    let frame = picture();
    for (name, resize, algorithm) in [
        ("bilinear", Resize::Bilinear, ResizeAlg::Interpolation(FilterType::Bilinear)),
        ("antialias", Resize::BilinearAntialias, ResizeAlg::Convolution(FilterType::Bilinear)),
    ] {
        let algorithm = ResizeOptions::new().resize_alg(algorithm);
        compare(report, name, &frame, resize, algorithm).with_context(|| format!("preprocess, {name}"))?;
    }
    Ok(())
}

fn compare(report: &mut Report, name: &str, frame: &[u8], resize: Resize, algorithm: ResizeOptions) -> Result<()> {
    let segments: Vec<&[u8]> = frame.chunks(SEGMENT_BYTES).collect();
    let whole = [frame];
    let mut yardstick = Yardstick::new(algorithm);
    let spec = TensorSpec { resize, mean: MEAN, std: STD, ..TensorSpec::rgb(SIDE, SIDE) };
    agree(&ours(spec, Kernels::best(), &segments)?, yardstick.run(frame)?)?;
    let mut contenders = vec![Contender::new(THEIRS, || {
        yardstick.run(black_box(frame)).map(|tensor| {
            black_box(tensor);
        })
    })];
    let mut from_packets = Yardstick::new(algorithm);
    let mut gathered = vec![0; frame.len()];
    let packets = &segments;
    contenders.push(Contender::new(GATHER, move || {
        let mut rest = &mut gathered[..];
        for segment in black_box(packets) {
            let (now, later) = rest.split_at_mut(segment.len());
            now.copy_from_slice(segment);
            rest = later;
        }
        black_box(from_packets.run(&gathered)?);
        Ok(())
    }));
    let mut resize_only = Yardstick::new(algorithm);
    contenders.push(Contender::new("fast_image_resize alone", move || resize_only.resize(black_box(frame))));
    for (name, segments) in [(WHOLE, &whole[..]), (PACKETS, &segments)] {
        contenders.push(contender(name.to_owned(), spec, Kernels::best(), segments)?);
    }
    for kernels in [Isa::Portable, Isa::Avx2].into_iter().filter_map(Kernels::of) {
        contenders.push(contender(format!("{PACKETS}, {}", kernels.isa()), spec, kernels, &segments)?);
    }
    let times = take_turns(contenders)?;
    report.keep(
        &format!("preprocess_{name}"),
        times.show(&format!("1280x720 rgb8 to 224x224, {name}, {}", Kernels::best().isa())),
    );
    report.add(&format!("preprocess_{name}_us"), Ok(times.median_us(PACKETS)), Required::Nothing);
    report.add(&format!("preprocess_{name}_one_piece_ratio"), Ok(times.ratio(THEIRS, WHOLE)), REQUIRED);
    report.add(&format!("preprocess_{name}_packets_ratio"), Ok(times.ratio(GATHER, PACKETS)), REQUIRED);
    let unequal = times.ratio(THEIRS, PACKETS);
    report.add(&format!("preprocess_{name}_packets_to_one_piece_ratio"), Ok(unequal), Required::Nothing);
    Ok(())
}

fn contender<'a>(name: String, spec: TensorSpec, kernels: Kernels, segments: &'a [&'a [u8]]) -> Result<Contender<'a>> {
    let mut preprocessor = preprocessor(spec, kernels)?;
    let mut tensor = vec![0.0; spec.elements()];
    let geometry = Geometry { width: WIDTH, height: HEIGHT, format: PixelFormat::Rgb8 };
    Ok(Contender::new(name, move || {
        preprocessor.run(&Source::new(black_box(segments)), geometry, black_box(&mut tensor))?;
        Ok(())
    }))
}

fn preprocessor(spec: TensorSpec, kernels: Kernels) -> Result<Preprocessor> {
    let limits = Limits { source_width: WIDTH, source_height: HEIGHT, jpeg_bytes: 0 };
    Ok(Preprocessor::with_options(spec, limits, Options { kernels, ..Options::default() })?)
}

fn ours(spec: TensorSpec, kernels: Kernels, segments: &[&[u8]]) -> Result<Vec<f32>> {
    let mut tensor = vec![0.0; spec.elements()];
    let geometry = Geometry { width: WIDTH, height: HEIGHT, format: PixelFormat::Rgb8 };
    preprocessor(spec, kernels)?.run(&Source::new(segments), geometry, &mut tensor)?;
    Ok(tensor)
}

/// That both did the same work.
fn agree(ours: &[f32], theirs: &[f32]) -> Result<()> {
    let steps = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs() * 255.0 * STD[1]).fold(0.0, f32::max);
    anyhow::ensure!(
        steps <= STEPS_MAX,
        "the two answers differ by {steps} of 255 steps: they are not the same algorithm"
    );
    Ok(())
}

/// A resizer to 8 bits, and a pass that makes the tensor of what it gives.
struct Yardstick {
    resizer: Resizer,
    options: ResizeOptions,
    resized: Image<'static>,
    tensor: Vec<f32>,
}

impl Yardstick {
    fn new(options: ResizeOptions) -> Self {
        let resized = Image::new(SIDE, SIDE, PixelType::U8x3);
        Self { resizer: Resizer::new(), options, resized, tensor: vec![0.0; (SIDE * SIDE * 3) as usize] }
    }

    fn resize(&mut self, frame: &[u8]) -> Result<()> {
        let source = ImageRef::new(WIDTH, HEIGHT, frame, PixelType::U8x3)?;
        Ok(self.resizer.resize(&source, &mut self.resized, &self.options)?)
    }

    fn run(&mut self, frame: &[u8]) -> Result<&[f32]> {
        self.resize(frame)?;
        normalise(self.resized.buffer(), &mut self.tensor);
        Ok(&self.tensor)
    }
}

/// Bytes of pixels to planes of f32: one multiplication and one addition per value.
fn normalise(pixels: &[u8], tensor: &mut [f32]) {
    let (pixels, _) = pixels.as_chunks::<3>();
    for (channel, plane) in tensor.chunks_exact_mut(pixels.len()).enumerate() {
        let (mul, add) = (1.0 / (255.0 * STD[channel]), -MEAN[channel] / STD[channel]);
        for (value, pixel) in plane.iter_mut().zip(pixels) {
            *value = f32::from(pixel[channel]) * mul + add;
        }
    }
}

/// A smooth picture with some noise.
fn picture() -> Vec<u8> {
    let mut noise = 0x2545_f491u32;
    let row_bytes = WIDTH as usize * 3;
    (0..row_bytes * HEIGHT as usize)
        .map(|at| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (at % row_bytes / 24 + at / row_bytes / 6 + (noise >> 28) as usize) as u8
        })
        .collect()
}
