//! From filtered samples to the tensor's values: colour matrices and normalisation.

use super::horizontal::Pixel;
use super::spec::{Color, Layout, TensorSpec};
use crate::simd::Kernels;

/// Filtered samples carry 8 fractional bits.
const SAMPLE_ONE: f32 = 256.0;
/// The sample of the 8-bit value 255.
const SAMPLE_MAX: f32 = 255.0 * SAMPLE_ONE;

/// `value = sample * mul[c] + add[c]`, the whole normalisation in one step, c in the tensor's channel order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Normalise {
    mul: [f32; 3],
    add: [f32; 3],
}

impl Normalise {
    /// For samples with 8 fractional bits.
    pub fn new(spec: &TensorSpec) -> Self {
        let mul = spec.std.map(|std| spec.scale / (SAMPLE_ONE * std));
        let add = std::array::from_fn(|channel| -spec.mean[channel] / spec.std[channel]);
        Self { mul, add }
    }

    #[inline]
    fn three(&self, samples: [f32; 3]) -> [f32; 3] {
        std::array::from_fn(|channel| samples[channel] * self.mul[channel] + self.add[channel])
    }

    #[inline]
    fn one(&self, sample: f32) -> f32 {
        sample * self.mul[0] + self.add[0]
    }
}

/// BT.601 luma (ITU-R BT.601-7, 2.5.1) of samples in the order R, G, B.
#[inline]
pub(super) fn luma(rgb: [f32; 3]) -> f32 {
    0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
}

/// Limited-range Y expanded to the full range.
#[inline]
pub(super) fn expand_luma(y: f32) -> f32 {
    ((y - 16.0 * SAMPLE_ONE) * (255.0 / 219.0)).clamp(0.0, SAMPLE_MAX)
}

/// Limited-range BT.601 to R, G, B; the matrix stands in the module's documentation.
#[inline]
pub(super) fn yuv_to_rgb(y: f32, u: f32, v: f32) -> [f32; 3] {
    const CHROMA: f32 = 255.0 / 224.0;
    let luma = (y - 16.0 * SAMPLE_ONE) * (255.0 / 219.0);
    let (u, v) = (u - 128.0 * SAMPLE_ONE, v - 128.0 * SAMPLE_ONE);
    [luma + 1.402 * CHROMA * v, luma - 0.344_136 * CHROMA * u - 0.714_136 * CHROMA * v, luma + 1.772 * CHROMA * u]
        .map(|sample| sample.clamp(0.0, SAMPLE_MAX))
}

/// Writes rows of the tensor.
#[derive(Debug)]
pub(super) struct TensorWriter<'a> {
    out: &'a mut [f32],
    width: usize,
    plane: usize,
    layout: Layout,
    /// Whether R and B of the samples change places in the tensor.
    swap: bool,
    normalise: Normalise,
    kernels: Kernels,
}

impl<'a> TensorWriter<'a> {
    /// `out` must have the tensor's length.
    pub fn new(spec: &TensorSpec, normalise: Normalise, kernels: Kernels, out: &'a mut [f32]) -> Self {
        let width = spec.width as usize;
        let plane = width * spec.height as usize;
        Self { out, width, plane, layout: spec.layout, swap: spec.color == Color::Bgr, normalise, kernels }
    }

    /// Row `row` of a tensor of three channels from pixels whose first lanes are R, G, B, or B, G, R if `bgr`.
    #[inline]
    pub fn row_samples(&mut self, row: usize, pixels: &[Pixel], bgr: bool) {
        let in_order = |[a, b, c, _]: Pixel| if bgr { [c, b, a] } else { [a, b, c] };
        if self.layout == Layout::Nhwc || !self.kernels.are_vectors() {
            self.row_rgb(row, pixels, in_order);
            return;
        }
        let (Normalise { mul, add }, kernels) = (self.normalise, self.kernels);
        let reversed = bgr != self.swap;
        let lanes = |[a, b, c]: [f32; 3]| if reversed { [c, b, a] } else { [a, b, c] };
        let mut planes = self.plane_rows(row);
        if reversed {
            planes.reverse();
        }
        let (mul, add) = (lanes(mul), lanes(add));
        let done = kernels.planes(pixels, mul, add, planes.each_mut().map(|plane| &mut **plane));
        for (lane, plane) in planes.into_iter().enumerate() {
            for (value, pixel) in plane.iter_mut().zip(pixels).skip(done) {
                *value = pixel[lane] * mul[lane] + add[lane];
            }
        }
    }

    /// Row `row` of each of three planes.
    fn plane_rows(&mut self, row: usize) -> [&mut [f32]; 3] {
        let (start, width) = (row * self.width, self.width);
        let (first, rest) = self.out.split_at_mut(self.plane);
        let (second, third) = rest.split_at_mut(self.plane);
        [first, second, third].map(|plane| &mut plane[start..][..width])
    }

    /// Row `row` of a tensor of three channels; `rgb` makes samples in the order R, G, B of a pixel.
    #[inline]
    pub fn row_rgb(&mut self, row: usize, pixels: &[Pixel], rgb: impl Fn(Pixel) -> [f32; 3]) {
        let (normalise, swap, start) = (self.normalise, self.swap, row * self.width);
        let value = |pixel| {
            let [r, g, b] = rgb(pixel);
            normalise.three(if swap { [b, g, r] } else { [r, g, b] })
        };
        match self.layout {
            Layout::Nhwc => {
                let (values, _) = self.out[start * 3..][..self.width * 3].as_chunks_mut::<3>();
                for (values, pixel) in values.iter_mut().zip(pixels) {
                    *values = value(*pixel);
                }
            }
            Layout::Nchw => {
                let [first, second, third] = self.plane_rows(row);
                for (((first, second), third), pixel) in first.iter_mut().zip(second).zip(third).zip(pixels) {
                    [*first, *second, *third] = value(*pixel);
                }
            }
        }
    }

    /// Row `row` of a tensor of one channel; `luma` makes the sample of a pixel.
    #[inline]
    pub fn row_gray(&mut self, row: usize, pixels: &[Pixel], luma: impl Fn(Pixel) -> f32) {
        let normalise = self.normalise;
        for (value, pixel) in self.out[row * self.width..][..self.width].iter_mut().zip(pixels) {
            *value = normalise.one(luma(*pixel));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SAMPLE_ONE, expand_luma, yuv_to_rgb};

    /// 8-bit Y, U, V to 8-bit R, G, B.
    fn rgb8(y: u8, u: u8, v: u8) -> [u8; 3] {
        let sample = |byte: u8| f32::from(byte) * SAMPLE_ONE;
        yuv_to_rgb(sample(y), sample(u), sample(v)).map(|sample| (sample / SAMPLE_ONE).round() as u8)
    }

    #[test]
    fn primaries_of_bt601() {
        // The 100 % colour bars in 8-bit limited-range BT.601.
        for (yuv, rgb) in [
            ([16, 128, 128], [0, 0, 0]),
            ([235, 128, 128], [255, 255, 255]),
            ([126, 128, 128], [128, 128, 128]),
            ([82, 90, 240], [255, 1, 0]),
            ([145, 54, 34], [0, 255, 1]),
            ([41, 240, 110], [0, 0, 255]),
            ([210, 16, 146], [255, 255, 0]),
            ([170, 166, 16], [0, 255, 255]),
            ([107, 202, 222], [255, 0, 255]),
        ] {
            let got = rgb8(yuv[0], yuv[1], yuv[2]);
            let error = (0..3).map(|c| i32::from(got[c]).abs_diff(rgb[c])).max();
            // YUV codes are rounded themselves, so the bars come back within one step.
            assert!(error <= Some(1), "{yuv:?} gave {got:?}");
        }
        assert_eq!(rgb8(16, 128, 128), [0, 0, 0]);
        assert_eq!(rgb8(235, 128, 128), [255, 255, 255]);
    }

    #[test]
    fn matches_the_exact_matrix_on_a_grid_of_all_codes() {
        for y in (0..=255u8).step_by(5) {
            for u in (0..=255u8).step_by(15) {
                for v in (0..=255u8).step_by(15) {
                    let luma = (f64::from(y) - 16.0) * 255.0 / 219.0;
                    let (cb, cr) = ((f64::from(u) - 128.0) * 255.0 / 224.0, (f64::from(v) - 128.0) * 255.0 / 224.0);
                    let green = luma - 0.114 * 1.772 / 0.587 * cb - 0.299 * 1.402 / 0.587 * cr;
                    let exact = [luma + 1.402 * cr, green, luma + 1.772 * cb];
                    let samples = [y, u, v].map(|byte| f32::from(byte) * SAMPLE_ONE);
                    let got = yuv_to_rgb(samples[0], samples[1], samples[2]);
                    for (got, exact) in got.iter().zip(exact) {
                        assert!((f64::from(got / SAMPLE_ONE) - exact.clamp(0.0, 255.0)).abs() < 1e-3);
                    }
                }
            }
        }
    }

    #[test]
    fn luma_range_expands_and_clamps() {
        let expand = |byte: u8| expand_luma(f32::from(byte) * SAMPLE_ONE) / SAMPLE_ONE;
        for (limited, full) in [(0, 0.0), (16, 0.0), (235, 255.0), (255, 255.0)] {
            assert!((expand(limited) - full).abs() < 1e-3);
        }
    }
}
