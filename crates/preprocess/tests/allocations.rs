//! What a frame costs in heap allocations: nothing for raw formats, and for JPEG what the decoder takes and gives back.

use allocation_counter::measure;
use jpeg_encoder::{ColorType, Encoder};
use preprocess::image::{
    Geometry, JpegDecoder, Limits, Options, PixelFormat, Preprocessor, Resize, Source, TensorSpec,
};

const LIMITS: Limits = Limits { source_width: 640, source_height: 480, jpeg_bytes: 1 << 20 };

fn preprocessor(resize: Resize) -> (Preprocessor, Vec<f32>) {
    let spec = TensorSpec { resize, ..TensorSpec::rgb(96, 96) };
    (Preprocessor::new(spec, LIMITS).expect("valid"), vec![0.0; spec.elements()])
}

#[test]
fn raw_frames_of_any_size_allocate_nothing() {
    for resize in [Resize::Bilinear, Resize::BilinearAntialias] {
        let (mut preprocessor, mut tensor) = preprocessor(resize);
        for format in [PixelFormat::Rgb8, PixelFormat::Bgr8, PixelFormat::Gray8, PixelFormat::Nv12, PixelFormat::Yuyv] {
            // More sizes than the cache keeps, each of them twice.
            for width in (1..=640).step_by(53).flat_map(|width| [width, width]).chain([640]) {
                let geometry = Geometry { width, height: (width * 3 / 4).max(1), format };
                let frame = vec![9; geometry.raw_bytes().expect("raw") as usize];
                let segments: Vec<&[u8]> = frame.chunks(1_424).collect();
                let heap = measure(|| {
                    preprocessor.run(&Source::new(&segments), geometry, &mut tensor).expect("valid");
                });
                assert_eq!(heap.count_total, 0, "{format}, {width} pixels wide, {resize:?}");
            }
        }
    }
}

#[test]
fn tensors_and_refused_frames_allocate_nothing() {
    let (mut preprocessor, mut tensor) = preprocessor(Resize::Bilinear);
    let frame = vec![0; tensor.len() * 4];
    let heap = measure(|| {
        for (format, good) in [(PixelFormat::TensorF32, true), (PixelFormat::Rgb8, false), (PixelFormat::Nv12, false)] {
            let geometry = Geometry { width: 10, height: 10, format };
            assert_eq!(preprocessor.run(&Source::new(&[&frame]), geometry, &mut tensor).is_ok(), good);
        }
    });
    assert_eq!(heap.count_total, 0);
}

#[test]
fn jpegs_give_back_what_the_decoder_takes() {
    let spec = TensorSpec::rgb(96, 96);
    let options = Options { jpeg: JpegDecoder::Zune, ..Options::default() };
    let mut preprocessor = Preprocessor::with_options(spec, LIMITS, options).expect("valid");
    let mut tensor = vec![0.0; spec.elements()];
    let pixels = vec![99; 640 * 480 * 3];
    let geometry = Geometry { width: 640, height: 480, format: PixelFormat::Jpeg };
    for (progressive, bytes_limit) in [(false, 512 << 10), (true, 8 << 20)] {
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, 90);
        encoder.set_progressive(progressive);
        encoder.encode(&pixels, 640, 480, ColorType::Rgb).expect("valid");
        let heap = measure(|| {
            preprocessor.run(&Source::new(&[&file]), geometry, &mut tensor).expect("valid");
        });
        println!(
            "640x480, progressive {progressive}: {} allocations, at most {} bytes",
            heap.count_total, heap.bytes_max
        );
        assert_eq!((heap.count_current, heap.bytes_current), (0, 0), "the decoder leaks");
        assert!(heap.bytes_max < bytes_limit, "{} bytes", heap.bytes_max);
    }
}

/// libjpeg-turbo's own memory comes from `malloc` and is not counted here.
#[test]
fn around_libjpeg_turbo_nothing_is_allocated() {
    let spec = TensorSpec::rgb(96, 96);
    let options = Options { jpeg: JpegDecoder::TurboJpeg, ..Options::default() };
    let mut preprocessor = match Preprocessor::with_options(spec, LIMITS, options) {
        Ok(preprocessor) => preprocessor,
        Err(missing) => {
            println!("SKIPPED: {missing}");
            return;
        }
    };
    let mut tensor = vec![0.0; spec.elements()];
    let geometry = Geometry { width: 640, height: 480, format: PixelFormat::Jpeg };
    for progressive in [false, true] {
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, 90);
        encoder.set_progressive(progressive);
        encoder.encode(&vec![99; 640 * 480 * 3], 640, 480, ColorType::Rgb).expect("valid");
        let segments: Vec<&[u8]> = file.chunks(1_400).collect();
        let heap = measure(|| {
            preprocessor.run(&Source::new(&segments), geometry, &mut tensor).expect("valid");
        });
        assert_eq!(heap.count_total, 0);
    }
}
