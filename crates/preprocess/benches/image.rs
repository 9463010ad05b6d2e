//! Frame to tensor, per format, and `fast_image_resize` on the same job as the yardstick: it only resizes to 8 bits, without reading
//! scattered segments, converting or normalising. One core: `taskset -c 0 cargo bench -p preprocess`.

use criterion::{Criterion, criterion_group, criterion_main};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use preprocess::image::{Geometry, Limits, PixelFormat, Preprocessor, Resize, Source, TensorSpec};
use std::hint::black_box;

const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
const SIDE: u32 = 224;
/// Payload of a packet at MTU 1500.
const SEGMENT_BYTES: usize = 1424;

/// A smooth picture with some noise, so that JPEG sizes are those of photographs.
fn picture(bytes_per_row: usize, rows: usize) -> Vec<u8> {
    let mut noise = 0x2545_f491u32;
    (0..rows * bytes_per_row)
        .map(|at| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((at % bytes_per_row) / 24 + at / bytes_per_row / 6 + (noise >> 28) as usize) as u8
        })
        .collect()
}

fn jpeg() -> Vec<u8> {
    let mut file = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut file, 85);
    let pixels = picture(WIDTH as usize * 3, HEIGHT as usize);
    encoder.encode(&pixels, WIDTH as u16, HEIGHT as u16, jpeg_encoder::ColorType::Rgb).expect("a valid size");
    file
}

fn formats(c: &mut Criterion) {
    let limits = Limits { source_width: WIDTH, source_height: HEIGHT, jpeg_bytes: 1 << 20 };
    for resize in [Resize::Bilinear, Resize::BilinearAntialias] {
        for format in [PixelFormat::Rgb8, PixelFormat::Gray8, PixelFormat::Nv12, PixelFormat::Yuyv, PixelFormat::Jpeg] {
            let geometry = Geometry { width: WIDTH, height: HEIGHT, format };
            let bytes = geometry
                .raw_bytes()
                .map_or_else(jpeg, |bytes| picture(bytes as usize / HEIGHT as usize, HEIGHT as usize));
            let segments: Vec<&[u8]> = bytes.chunks(SEGMENT_BYTES).collect();
            let spec = TensorSpec {
                resize,
                mean: [0.485, 0.456, 0.406],
                std: [0.229, 0.224, 0.225],
                ..TensorSpec::rgb(SIDE, SIDE)
            };
            let mut preprocessor = Preprocessor::new(spec, limits).expect("a valid specification");
            let mut tensor = vec![0.0; spec.elements()];
            c.bench_function(&format!("{resize:?}/{format} 1280x720 to 224x224"), |b| {
                b.iter(|| preprocessor.run(&Source::new(black_box(&segments)), geometry, &mut tensor));
            });
        }
    }
}

fn yardstick(c: &mut Criterion) {
    let pixels = picture(WIDTH as usize * 3, HEIGHT as usize);
    let source = ImageRef::new(WIDTH, HEIGHT, &pixels, PixelType::U8x3).expect("a valid image");
    let mut target = Image::new(SIDE, SIDE, PixelType::U8x3);
    let mut resizer = Resizer::new();
    for (name, algorithm) in [
        ("Bilinear", ResizeAlg::Interpolation(FilterType::Bilinear)),
        ("BilinearAntialias", ResizeAlg::Convolution(FilterType::Bilinear)),
    ] {
        let options = ResizeOptions::new().resize_alg(algorithm);
        c.bench_function(&format!("{name}/fast_image_resize rgb8, resize only"), |b| {
            b.iter(|| resizer.resize(black_box(&source), &mut target, &options));
        });
    }
}

criterion_group!(benches, formats, yardstick);
criterion_main!(benches);
