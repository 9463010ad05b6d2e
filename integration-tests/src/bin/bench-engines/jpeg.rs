//! JPEG files to tensors, against libjpeg-turbo's own decode to RGB at the scale that is used. 1280x720 4:2:0 to `[1, 3, 224, 224]` f32: 1/2.
//!
//! Ours gets the file in the pieces of packets of 1400 bytes, puts it together, and makes the tensor; the yardstick gets it in one piece and ends
//! with pixels.

use crate::report::Report;
use crate::rounds::{Contender, take_turns};
use anyhow::{Result, anyhow};
use benches::figures::Required;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use preprocess::image::{
    Geometry, JpegDecoder, Limits, Options, PixelFormat, Preprocessor, Resize, Source, TensorSpec, TurboJpeg,
};
use std::hint::black_box;

const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
const SIDE: u32 = 224;
const SEGMENT_BYTES: usize = 1400;
const QUALITY: u8 = 85;
/// Ours at most this many times as long.
const REQUIRED: Required = Required::AtMost(1.1);

const THEIRS: &str = "libjpeg-turbo to RGB, at 1/2";
const FIGURES: [(&str, Resize); 2] =
    [("jpeg_bilinear_ratio", Resize::Bilinear), ("jpeg_antialias_ratio", Resize::BilinearAntialias)];

/// Both algorithms; what full size and the embedded decoder cost is shown beside them.
pub fn measure(report: &mut Report) -> Result<()> {
    if let Err(missing) = TurboJpeg::load() {
        for (name, _) in FIGURES {
            report.add(name, Err(missing.clone()), REQUIRED);
        }
        return Ok(());
    }
    let file = photograph()?;
    let segments: Vec<&[u8]> = file.chunks(SEGMENT_BYTES).collect();
    let mut contenders = Vec::new();
    for (name, scale) in [(THEIRS, 2), ("libjpeg-turbo to RGB, full size", 1)] {
        let (width, height) = (WIDTH / scale, HEIGHT / scale);
        let mut pixels = vec![0; (width * height * 3) as usize];
        let mut decoder = TurboJpeg::load().map_err(|e| anyhow!(e))?;
        let file = &file;
        contenders.push(Contender::new(name, move || {
            decoder.decode(black_box(file), width, height, false, &mut pixels).map_err(|e| anyhow!(e))
        }));
    }
    for (_, resize) in FIGURES {
        contenders.push(ours(format!("ours, {resize:?}"), resize, JpegDecoder::TurboJpeg, &segments)?);
    }
    contenders.push(ours("ours, zune-jpeg, full size".to_owned(), Resize::Bilinear, JpegDecoder::Zune, &segments)?);
    let times = take_turns(contenders)?;
    report.keep("jpeg", times.show(&format!("1280x720 JPEG of {} bytes to 224x224", file.len())));
    for (name, resize) in FIGURES {
        report.add(name, Ok(times.ratio(&format!("ours, {resize:?}"), THEIRS)), REQUIRED);
    }
    Ok(())
}

fn ours<'a>(name: String, resize: Resize, jpeg: JpegDecoder, segments: &'a [&'a [u8]]) -> Result<Contender<'a>> {
    let spec = TensorSpec { resize, ..TensorSpec::rgb(SIDE, SIDE) };
    let limits = Limits { source_width: WIDTH, source_height: HEIGHT, jpeg_bytes: 4 << 20 };
    let mut preprocessor = Preprocessor::with_options(spec, limits, Options { jpeg, ..Options::default() })?;
    let mut tensor = vec![0.0; spec.elements()];
    let geometry = Geometry { width: WIDTH, height: HEIGHT, format: PixelFormat::Jpeg };
    Ok(Contender::new(name, move || {
        preprocessor.run(&Source::new(black_box(segments)), geometry, black_box(&mut tensor))?;
        Ok(())
    }))
}

/// Edges, gradients and grain: about the bytes per pixel of a photograph.
fn photograph() -> Result<Vec<u8>> {
    let mut noise = 0x2545_f491u32;
    let mut pixels = Vec::with_capacity((WIDTH * HEIGHT * 3) as usize);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let grain = (noise >> 28) as i32;
            let shade = if (x / 37 + y / 23) % 3 == 0 { 90 } else { 20 };
            for base in [x / 9 + shade, y / 5 + shade, (x + y) / 14 + 40] {
                pixels.push((base as i32 + grain).clamp(0, 255) as u8);
            }
        }
    }
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, QUALITY);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(&pixels, WIDTH as u16, HEIGHT as u16, ColorType::Rgb)?;
    Ok(file)
}
