//! Photographs as model inputs: the plain, slow reference that the recorded answers were made with.

use std::path::Path;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Decodes a JPEG, resizes it to `width` x `height` without keeping the aspect ratio (bilinear, antialiased: the triangle filter is widened by the
/// scale), and normalises each channel: `(x - mean) / std` on 0..255. Returns `[3, height, width]`, RGB.
pub(super) fn tensor(path: &Path, width: usize, height: usize, mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let bytes = std::fs::read(path).unwrap();
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&bytes), options);
    let pixels = decoder.decode().unwrap();
    let (from_width, from_height) = decoder.dimensions().unwrap();
    let columns = filter(from_width, width);
    let rows = filter(from_height, height);
    let mut tensor = vec![0.0; 3 * width * height];
    for channel in 0..3 {
        // Horizontal pass over all source rows, then the vertical one, each rounded to a byte as an image library does.
        let mut narrow = vec![0.0; width * from_height];
        for y in 0..from_height {
            for (x, (first, weights)) in columns.iter().enumerate() {
                let at = |i: usize| f32::from(pixels[(y * from_width + first + i) * 3 + channel]);
                narrow[y * width + x] = weights.iter().enumerate().map(|(i, w)| at(i) * w).sum::<f32>().round();
            }
        }
        for (y, (first, weights)) in rows.iter().enumerate() {
            for x in 0..width {
                let sum = weights.iter().enumerate().map(|(i, w)| narrow[(first + i) * width + x] * w).sum::<f32>();
                tensor[(channel * height + y) * width + x] = (sum.round() - mean[channel]) / std[channel];
            }
        }
    }
    tensor
}

/// For each of `to` outputs, the first source index and the weights, which sum to 1.
fn filter(from: usize, to: usize) -> Vec<(usize, Vec<f32>)> {
    let scale = from as f32 / to as f32;
    let support = scale.max(1.0);
    (0..to)
        .map(|i| {
            let centre = (i as f32 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let weight = |j| (1.0 - ((j as f32 + 0.5 - centre) / support).abs()).max(0.0);
            let sum: f32 = (first..end).map(weight).sum();
            (first, (first..end).map(|j| weight(j) / sum).collect())
        })
        .collect()
}
