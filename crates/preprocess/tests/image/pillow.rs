//! The antialiased filter against arrays that Pillow 13.0.0 made: `Image.resize(size, Image.BILINEAR)` of [`picture`].

use crate::support::{next_noise, run};
use preprocess::image::{Color, Geometry, Layout, PixelFormat, Resize, TensorSpec};

/// Pillow rounds to 8 bits after each of its two passes, half a step each; ours is off by up to 0.15 itself.
const ERROR_MAX: f32 = 1.15;

/// A gradient with noise on it.
fn picture(width: u32, height: u32, channels: u32, seed: u32) -> Vec<u8> {
    let mut noise = seed;
    let mut bytes = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for channel in 0..channels {
                let gradient = (x * 7 + y * 5 + channel * 40) / 2;
                bytes.push((gradient + (next_noise(&mut noise) >> 25)) as u8);
            }
        }
    }
    bytes
}

fn check(
    (width, height): (u32, u32),
    (out_width, out_height): (u32, u32),
    format: PixelFormat,
    seed: u32,
    golden: &[u8],
) {
    let (channels, color) = if format == PixelFormat::Gray8 { (1, Color::Gray) } else { (3, Color::Rgb) };
    let spec = TensorSpec {
        color,
        layout: Layout::Nhwc,
        resize: Resize::BilinearAntialias,
        scale: 1.0,
        ..TensorSpec::rgb(out_height, out_width)
    };
    let tensor = run(spec, &picture(width, height, channels, seed), Geometry { width, height, format });
    assert_eq!(tensor.len(), golden.len());
    for (index, (got, golden)) in tensor.iter().zip(golden).enumerate() {
        let error = (got - f32::from(*golden)).abs();
        assert!(
            error <= ERROR_MAX,
            "{width}x{height} to {out_width}x{out_height}, element {index}: {got}, not {golden}"
        );
    }
}

#[test]
fn shrinking() {
    check((37, 23), (8, 6), PixelFormat::Rgb8, 1, &DOWN_RGB);
    check((12, 11), (9, 7), PixelFormat::Rgb8, 3, &SLIGHT_RGB);
    check((101, 64), (7, 5), PixelFormat::Gray8, 4, &DOWN_GRAY);
}

#[test]
fn enlarging() {
    check((5, 4), (9, 7), PixelFormat::Rgb8, 2, &UP_RGB);
}

/// 37x23 to 8x6.
#[rustfmt::skip]
const DOWN_RGB: [u8; 144] = [
    81, 91, 121, 97, 109, 134, 108, 136, 147, 111, 150, 163, 143, 170, 186, 164, 172, 171, 184, 186, 160, 197, 172, 173,
    78, 117, 122, 99, 121, 125, 114, 144, 150, 123, 159, 168, 149, 175, 186, 159, 168, 152, 189, 187, 138, 203, 178, 142,
    88, 114, 124, 99, 127, 146, 129, 148, 176, 138, 160, 186, 150, 179, 175, 166, 192, 179, 185, 198, 155, 201, 147, 121,
    96, 118, 152, 117, 125, 170, 131, 150, 180, 150, 169, 200, 161, 189, 191, 175, 202, 164, 190, 173, 152, 184, 119, 132,
    106, 133, 148, 126, 146, 166, 145, 168, 178, 161, 179, 181, 180, 192, 189, 190, 190, 166, 186, 141, 148, 181, 131, 132,
    128, 135, 153, 143, 165, 163, 152, 171, 183, 160, 188, 171, 176, 203, 149, 186, 165, 144, 197, 146, 125, 164, 109, 112,
];

/// 5x4 to 9x7.
#[rustfmt::skip]
const UP_RGB: [u8; 189] = [
    30, 78, 64, 52, 90, 62, 90, 110, 59, 69, 102, 83, 33, 87, 114, 70, 105, 86, 98, 122, 69, 90, 129, 96,
    86, 134, 113, 40, 58, 72, 63, 73, 80, 102, 97, 93, 85, 101, 101, 55, 100, 108, 69, 97, 86, 78, 97, 73,
    71, 100, 95, 67, 102, 109, 57, 27, 84, 81, 45, 108, 121, 76, 146, 112, 99, 130, 90, 120, 99, 66, 85, 86,
    47, 56, 78, 41, 53, 94, 38, 51, 104, 65, 45, 84, 79, 65, 101, 103, 97, 129, 93, 116, 131, 74, 130, 125,
    79, 107, 123, 83, 89, 118, 76, 97, 107, 72, 101, 100, 68, 72, 89, 74, 89, 95, 84, 117, 106, 74, 126, 124,
    58, 129, 144, 93, 125, 153, 120, 125, 154, 114, 144, 121, 109, 155, 101, 43, 114, 135, 65, 104, 128, 102, 87, 116,
    105, 78, 103, 100, 70, 89, 104, 89, 109, 106, 107, 126, 104, 125, 133, 103, 136, 137, 27, 140, 164, 59, 113, 148,
    113, 68, 122, 125, 48, 89, 126, 34, 55, 110, 67, 81, 97, 96, 108, 98, 114, 141, 99, 124, 160,
];

/// 12x11 to 9x7.
#[rustfmt::skip]
const SLIGHT_RGB: [u8; 189] = [
    39, 89, 144, 67, 79, 122, 74, 70, 132, 83, 97, 139, 95, 81, 125, 56, 120, 123, 84, 127, 142, 108, 130, 142,
    63, 116, 128, 52, 79, 114, 73, 87, 123, 88, 105, 102, 74, 110, 128, 88, 100, 128, 49, 122, 147, 113, 148, 106,
    127, 132, 133, 94, 156, 151, 51, 97, 117, 52, 111, 110, 86, 119, 108, 80, 125, 104, 99, 96, 95, 91, 133, 157,
    112, 145, 144, 131, 128, 173, 119, 127, 163, 97, 111, 96, 95, 124, 121, 102, 105, 142, 90, 116, 134, 103, 126, 124,
    114, 121, 123, 77, 118, 170, 71, 115, 158, 118, 114, 172, 101, 107, 150, 112, 128, 153, 74, 109, 155, 99, 130, 126,
    129, 120, 126, 110, 105, 138, 97, 117, 135, 104, 107, 138, 106, 116, 162, 92, 112, 113, 100, 139, 143, 73, 100, 131,
    105, 132, 137, 96, 121, 136, 93, 126, 128, 97, 164, 119, 88, 119, 149, 83, 136, 196, 110, 117, 145, 52, 110, 130,
    66, 128, 171, 91, 131, 123, 98, 151, 152, 109, 131, 142, 132, 145, 126, 138, 106, 169, 108, 90, 217,
];

/// 101x64 to 7x5.
#[rustfmt::skip]
const DOWN_GRAY: [u8; 35] = [
    110, 156, 173, 136, 87, 107, 146, 139, 170, 149, 109, 87, 133, 171, 167, 165, 112, 88, 110, 159, 168, 174, 129, 88,
    97, 144, 175, 141, 148, 101, 82, 119, 168, 160, 116,
];
