//! The same transformation, written as plainly as possible in f64: the oracle. Shares no code with the crate.

use preprocess::image::{Color, Geometry, Layout, PixelFormat, Resize, TensorSpec};

/// Colour of pixel (x, y): R, G, B, not yet clamped for YUV formats.
fn rgb(frame: &[u8], geometry: Geometry, x: usize, y: usize) -> [f64; 3] {
    let (width, height) = (geometry.width as usize, geometry.height as usize);
    let at = |index: usize| f64::from(frame[index]);
    let first = (y * width + x) * 3;
    match geometry.format {
        PixelFormat::Rgb8 => [at(first), at(first + 1), at(first + 2)],
        PixelFormat::Bgr8 => [at(first + 2), at(first + 1), at(first)],
        PixelFormat::Gray8 => [at(y * width + x); 3],
        PixelFormat::Nv12 => {
            let chroma = width * height + y / 2 * width.div_ceil(2) * 2 + x / 2 * 2;
            from_yuv(at(y * width + x), at(chroma), at(chroma + 1))
        }
        PixelFormat::Yuyv => {
            let pair = y * width.div_ceil(2) * 4 + x / 2 * 4;
            from_yuv(at(pair + x % 2 * 2), at(pair + 1), at(pair + 3))
        }
        PixelFormat::Jpeg | PixelFormat::TensorF32 => panic!("not a raw format"),
    }
}

/// BT.601, limited range, from its luma weights.
fn from_yuv(y: f64, u: f64, v: f64) -> [f64; 3] {
    let (kr, kb) = (0.299, 0.114);
    let luma = (y - 16.0) / 219.0;
    let (cb, cr) = ((u - 128.0) / 224.0, (v - 128.0) / 224.0);
    let red = luma + 2.0 * (1.0 - kr) * cr;
    let blue = luma + 2.0 * (1.0 - kb) * cb;
    let green = (luma - kr * red - kb * blue) / (1.0 - kr - kb);
    [red * 255.0, green * 255.0, blue * 255.0]
}

/// Weight of source sample `sample` in output sample `output`.
fn weight(sample: usize, output: usize, source_len: u32, output_len: u32, resize: Resize) -> f64 {
    let scale = f64::from(source_len) / f64::from(output_len);
    let center = (output as f64 + 0.5) * scale;
    match resize {
        Resize::BilinearAntialias => (1.0 - (sample as f64 + 0.5 - center).abs() / scale.max(1.0)).max(0.0),
        Resize::Bilinear => {
            let position = (center - 0.5).clamp(0.0, f64::from(source_len) - 1.0);
            (1.0 - (sample as f64 - position).abs()).max(0.0)
        }
    }
}

/// Normalised weights of all source samples that count.
fn weights(output: usize, source_len: u32, output_len: u32, resize: Resize) -> Vec<(usize, f64)> {
    let all = (0..source_len as usize).map(|sample| (sample, weight(sample, output, source_len, output_len, resize)));
    let some: Vec<_> = all.filter(|(_, weight)| *weight > 0.0).collect();
    let total: f64 = some.iter().map(|(_, weight)| weight).sum();
    some.into_iter().map(|(sample, weight)| (sample, weight / total)).collect()
}

/// The tensor that `spec` asks for.
pub fn tensor(spec: &TensorSpec, frame: &[u8], geometry: Geometry) -> Vec<f64> {
    let (height, width) = (spec.height as usize, spec.width as usize);
    let channels = spec.channels();
    let mut out = vec![0.0; spec.elements()];
    for row in 0..height {
        let rows = weights(row, geometry.height, spec.height, spec.resize);
        for column in 0..width {
            let mut sum = [0.0; 3];
            for (x, across) in weights(column, geometry.width, spec.width, spec.resize) {
                for (y, down) in &rows {
                    let pixel = rgb(frame, geometry, x, *y);
                    for channel in 0..3 {
                        sum[channel] += pixel[channel] * across * down;
                    }
                }
            }
            for (channel, sample) in values(spec.color, geometry.format, sum).into_iter().take(channels).enumerate() {
                let value =
                    (sample * f64::from(spec.scale) - f64::from(spec.mean[channel])) / f64::from(spec.std[channel]);
                let index = match spec.layout {
                    Layout::Nchw => (channel * height + row) * width + column,
                    Layout::Nhwc => (row * width + column) * channels + channel,
                };
                out[index] = value;
            }
        }
    }
    out
}

/// Samples in the tensor's channel order.
fn values(color: Color, format: PixelFormat, rgb: [f64; 3]) -> Vec<f64> {
    // The luma of RGB that came from YUV is Y again, as long as nothing has been clamped.
    let luma = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
    let clamp = |sample: f64| match format {
        PixelFormat::Nv12 | PixelFormat::Yuyv => sample.clamp(0.0, 255.0),
        _ => sample,
    };
    match color {
        Color::Rgb => rgb.map(clamp).to_vec(),
        Color::Bgr => [rgb[2], rgb[1], rgb[0]].map(clamp).to_vec(),
        Color::Gray => vec![clamp(luma)],
    }
}
