//! The horizontal filter: weighted sums over one row of 8.8 samples, in f32.

use super::filter::AxisFilter;
use crate::simd::{Columns, Kernels, ZERO};

/// Filtered samples of one pixel, still 256 times their 8-bit values. Four lanes, because that is one vector register; what the
/// lanes hold depends on the source format.
pub(super) use crate::simd::Pixel;

/// Horizontal filter: the same number of taps for each output sample, so that inner loops have a fixed length.
#[derive(Debug)]
pub(super) struct ColumnFilter {
    starts: Vec<u32>,
    /// `taps` weights per output sample, padded with zeros.
    weights: Vec<f32>,
    taps: usize,
    /// The same for vectors, where they take it.
    columns: Option<Columns>,
    kernels: Kernels,
}

impl ColumnFilter {
    /// Room for `output_len` samples of up to `taps_max` taps.
    pub fn with_capacity(output_len: u32, taps_max: usize, kernels: Kernels) -> Self {
        let len = output_len as usize;
        Self {
            starts: Vec::with_capacity(len),
            weights: Vec::with_capacity(len * taps_max),
            taps: 0,
            columns: kernels.are_vectors().then(|| Columns::with_capacity(output_len, taps_max)),
            kernels,
        }
    }

    /// Takes over the weights of `axis`, a filter for rows of `source_len` samples.
    pub fn rebuild(&mut self, axis: &AxisFilter, source_len: usize) {
        self.taps = (0..axis.len()).map(|index| axis.get(index).1.len()).max().unwrap_or(0);
        self.starts.clear();
        self.weights.clear();
        self.weights.resize(axis.len() * self.taps, 0.0);
        for index in 0..axis.len() {
            let (first, weights) = axis.get(index);
            // A padded run must not reach beyond the row.
            let start = first.min(source_len.saturating_sub(self.taps));
            self.starts.push(start as u32);
            self.weights[index * self.taps + first - start..][..weights.len()].copy_from_slice(weights);
        }
        if let Some(columns) = &mut self.columns {
            columns.rebuild(axis.len(), |index| axis.get(index));
        }
    }

    /// What stands for 0 in the rows that [`ColumnFilter::three`] takes.
    pub fn zero_of_three(&self) -> u16 {
        if self.vectors().is_some() { ZERO } else { 0 }
    }

    fn vectors(&self) -> Option<&Columns> {
        self.columns.as_ref().filter(|columns| columns.is_ready())
    }

    /// Filters three interleaved channels into the first three lanes of each pixel; the fourth is meaningless.
    ///
    /// `row` must have [`Columns::PADDING`] elements after its samples, since vectors are fetched whole, and [`ColumnFilter::zero_of_three`]
    /// for 0.
    pub fn three(&self, row: &[u16], pixels: &mut [Pixel]) {
        if let Some(columns) = self.vectors() {
            self.kernels.three(row, columns, pixels);
            return;
        }
        match self.taps {
            1 => self.three_of_taps::<1>(row, pixels),
            2 => self.three_of_taps::<2>(row, pixels),
            _ => self.each(pixels, |start, weights, pixel| {
                *pixel = sum_three(&row[start * 3..][..=weights.len() * 3], weights);
            }),
        }
    }

    /// As [`ColumnFilter::three`], for two rows.
    pub fn three_of_two_rows(&self, rows: [&[u16]; 2], pixels: [&mut [Pixel]; 2]) {
        if let Some(columns) = self.vectors() {
            self.kernels.three_pair(rows, columns, pixels);
            return;
        }
        for (row, pixels) in rows.into_iter().zip(pixels) {
            self.three(row, pixels);
        }
    }

    fn three_of_taps<const TAPS: usize>(&self, row: &[u16], pixels: &mut [Pixel]) {
        let (weights, _) = self.weights.as_chunks::<TAPS>();
        for ((start, weights), pixel) in self.starts.iter().zip(weights).zip(pixels) {
            *pixel = sum_three(&row[*start as usize * 3..][..=TAPS * 3], weights);
        }
    }

    /// Filters one channel, whose samples lie `STEP` elements apart from `row[0]` on, into lane `lane` of each pixel.
    pub fn one<const STEP: usize>(&self, row: &[u16], lane: usize, pixels: &mut [Pixel]) {
        self.each(pixels, |start, weights, pixel| {
            let run = &row[start * STEP..][..=(weights.len() - 1) * STEP];
            let products = run.iter().step_by(STEP).zip(weights).map(|(sample, weight)| f32::from(*sample) * weight);
            pixel[lane] = products.sum();
        });
    }

    #[inline]
    fn each(&self, pixels: &mut [Pixel], mut visit: impl FnMut(usize, &[f32], &mut Pixel)) {
        let weights = self.weights.chunks_exact(self.taps.max(1));
        for ((start, weights), pixel) in self.starts.iter().zip(weights).zip(pixels) {
            visit(*start as usize, weights, pixel);
        }
    }
}

/// Weighted sum of pixels of three elements. All four lanes are computed and stored, which keeps the sum in vector registers.
#[inline]
fn sum_three(run: &[u16], weights: &[f32]) -> Pixel {
    let mut sums = [0.0; 4];
    for (pixel, weight) in run.windows(4).step_by(3).zip(weights) {
        for (sum, sample) in sums.iter_mut().zip(pixel) {
            *sum += f32::from(*sample) * weight;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::{AxisFilter, ColumnFilter, Columns};
    use crate::image::Resize;
    use crate::simd::{Isa, Kernels};

    fn halving(source_len: u32, kernels: Kernels) -> ColumnFilter {
        let mut axis = AxisFilter::with_capacity(source_len, source_len / 2, Resize::Bilinear);
        axis.rebuild(source_len, source_len / 2, Resize::Bilinear);
        let mut filter = ColumnFilter::with_capacity(source_len / 2, 2, kernels);
        filter.rebuild(&axis, source_len as usize);
        filter
    }

    #[test]
    fn channels_are_kept_apart() {
        let mut row = [9_999u16; 12 + Columns::PADDING];
        row[..12].copy_from_slice(&[1, 10, 100, 3, 30, 300, 5, 50, 500, 7, 70, 700]);
        for kernels in [Isa::Portable, Isa::Avx2, Isa::Avx512].into_iter().filter_map(Kernels::of) {
            let filter = halving(4, kernels);
            let biased = row.map(|sample| sample.wrapping_add(filter.zero_of_three()));
            let mut pixels = [[0.0; 4]; 4];
            filter.three(&biased, &mut pixels);
            let sums = pixels.map(|[a, b, c, _]| [a as u32, b as u32, c as u32]);
            assert_eq!(sums[..2], [[2, 20, 200], [6, 60, 600]], "{kernels:?}");
            filter.one::<3>(&row[1..], 2, &mut pixels);
            assert_eq!([pixels[0][2] as u32, pixels[1][2] as u32], [20, 60]);
        }
    }

    #[test]
    fn padded_runs_stay_inside_the_row() {
        let mut axis = AxisFilter::with_capacity(10, 3, Resize::BilinearAntialias);
        axis.rebuild(10, 3, Resize::BilinearAntialias);
        let mut filter = ColumnFilter::with_capacity(3, 10, Kernels::best());
        filter.rebuild(&axis, 10);
        let mut pixels = [[0.0; 4]; 3];
        filter.one::<1>(&[7; 10], 0, &mut pixels);
        assert!(pixels.iter().all(|pixel| (pixel[0] - 7.0).abs() < 1e-5));
    }
}
