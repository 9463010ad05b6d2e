//! Which source samples make up each output sample along one axis, and with what weights.

use super::spec::Resize;

/// The source samples of one output sample: `count` neighbours from `start`.
#[derive(Debug, Clone, Copy)]
struct Taps {
    start: u32,
    count: u32,
    /// Index of the first weight in the filter's list.
    weights_at: u32,
}

/// Filter for one axis: for each output sample a run of source samples and their weights, which sum to 1.
///
/// Runs start in ascending order; readers rely on it to go through the source once.
#[derive(Debug)]
pub(super) struct AxisFilter {
    taps: Vec<Taps>,
    weights: Vec<f32>,
}

/// Most taps that any output sample has.
pub(super) fn taps_max(source_len: u32, output_len: u32, resize: Resize) -> usize {
    let bound = match resize {
        Resize::Bilinear => 2,
        Resize::BilinearAntialias => 2 * source_len.div_ceil(output_len) as usize + 1,
    };
    bound.min(source_len as usize)
}

impl AxisFilter {
    /// Empty, with room for any source of up to `source_len_max` samples.
    pub fn with_capacity(source_len_max: u32, output_len: u32, resize: Resize) -> Self {
        // A support of s samples to each side covers at most 2 s + 1 of them, and the supports together span the source twice.
        let per_output = match resize {
            Resize::Bilinear => 2,
            Resize::BilinearAntialias => 3,
        };
        let spans = match resize {
            Resize::Bilinear => 0,
            Resize::BilinearAntialias => 2 * source_len_max as usize,
        };
        let output_len = output_len as usize;
        Self { taps: Vec::with_capacity(output_len), weights: Vec::with_capacity(spans + per_output * output_len) }
    }

    /// Number of output samples.
    pub fn len(&self) -> usize {
        self.taps.len()
    }

    /// Output samples and weights that fit without allocating.
    pub fn capacity(&self) -> (usize, usize) {
        (self.taps.capacity(), self.weights.capacity())
    }

    /// First source sample and weights of output sample `index` (which must be below [`AxisFilter::len`]).
    #[inline]
    pub fn get(&self, index: usize) -> (usize, &[f32]) {
        let taps = self.taps[index];
        (taps.start as usize, &self.weights[taps.weights_at as usize..][..taps.count as usize])
    }

    /// Makes the filter from `source_len` to `output_len` samples.
    pub fn rebuild(&mut self, source_len: u32, output_len: u32, resize: Resize) {
        self.taps.clear();
        self.weights.clear();
        for index in 0..output_len {
            match resize {
                Resize::Bilinear => self.push_interpolated(index, source_len, output_len),
                Resize::BilinearAntialias => self.push_triangle(index, source_len, output_len),
            }
        }
    }

    /// Makes the filter for a plane of half the resolution whose samples each stand for two neighbours of `full`'s plane.
    pub fn rebuild_halved(&mut self, full: &Self) {
        self.taps.clear();
        self.weights.clear();
        for index in 0..full.len() {
            let (start, weights) = full.get(index);
            let weights_at = self.weights.len();
            for (offset, weight) in weights.iter().enumerate() {
                // Counted from the pair that `start` belongs to.
                let half = (start % 2 + offset) >> 1;
                match self.weights.get_mut(weights_at + half) {
                    Some(sum) => *sum += weight,
                    None => self.weights.push(*weight),
                }
            }
            self.seal(start as u32 / 2, weights_at);
        }
    }

    /// Half-pixel centres, edges repeated.
    fn push_interpolated(&mut self, index: u32, source_len: u32, output_len: u32) {
        let center = (f64::from(index) + 0.5) * f64::from(source_len) / f64::from(output_len) - 0.5;
        let position = center.clamp(0.0, f64::from(source_len - 1));
        let start = position.floor();
        let fraction = position - start;
        let weights_at = self.weights.len();
        self.weights.push((1.0 - fraction) as f32);
        if fraction > 0.0 {
            self.weights.push(fraction as f32);
        }
        self.seal(start as u32, weights_at);
    }

    /// Triangle as wide as the scale, cut off and renormalised at the edges; the same sample ranges as Pillow.
    fn push_triangle(&mut self, index: u32, source_len: u32, output_len: u32) {
        let scale = f64::from(source_len) / f64::from(output_len);
        let support = scale.max(1.0);
        let center = (f64::from(index) + 0.5) * scale;
        let start = (center - support + 0.5).max(0.0) as u32;
        let end = ((center + support + 0.5) as u32).min(source_len);
        let weight = |sample: u32| (1.0 - ((f64::from(sample) + 0.5 - center) / support).abs()).max(0.0);
        let total: f64 = (start..end).map(weight).sum();
        let first = (start..end).find(|&sample| weight(sample) > 0.0).unwrap_or(start);
        let weights_at = self.weights.len();
        self.weights.extend((first..end).map(|sample| (weight(sample) / total) as f32));
        while self.weights.len() > weights_at + 1 && self.weights.last() == Some(&0.0) {
            self.weights.pop();
        }
        self.seal(first, weights_at);
    }

    fn seal(&mut self, start: u32, weights_at: usize) {
        let count = (self.weights.len() - weights_at) as u32;
        self.taps.push(Taps { start, count, weights_at: weights_at as u32 });
    }
}

#[cfg(test)]
mod tests {
    use super::{AxisFilter, Resize, taps_max};

    fn filter(source_len: u32, output_len: u32, resize: Resize) -> AxisFilter {
        let mut filter = AxisFilter::with_capacity(source_len, output_len, resize);
        filter.rebuild(source_len, output_len, resize);
        filter
    }

    #[test]
    fn same_length_is_the_identity() {
        for resize in [Resize::Bilinear, Resize::BilinearAntialias] {
            let filter = filter(7, 7, resize);
            for index in 0..7 {
                assert_eq!(filter.get(index), (index, &[1.0][..]));
            }
        }
    }

    #[test]
    fn interpolation_by_hand() {
        // 4 to 2: centres 0.5 and 2.5 in the source. 2 to 4: centres -0.25, 0.25, 0.75, 1.25.
        let down = filter(4, 2, Resize::Bilinear);
        assert_eq!(down.get(0), (0, &[0.5, 0.5][..]));
        assert_eq!(down.get(1), (2, &[0.5, 0.5][..]));
        let up = filter(2, 4, Resize::Bilinear);
        assert_eq!(up.get(0), (0, &[1.0][..]));
        assert_eq!(up.get(1), (0, &[0.75, 0.25][..]));
        assert_eq!(up.get(2), (0, &[0.25, 0.75][..]));
        assert_eq!(up.get(3), (1, &[1.0][..]));
    }

    #[test]
    fn triangle_by_hand() {
        // 4 to 2: support 2, centre 1.0: samples at 0.5 1.5 2.5 weigh 0.75 0.75 0.25.
        let down = filter(4, 2, Resize::BilinearAntialias);
        let expected: Vec<f32> = [0.75, 0.75, 0.25].iter().map(|w| w / 1.75).collect();
        assert_eq!(down.get(0), (0, &expected[..]));
        let mirrored: Vec<f32> = expected.iter().rev().copied().collect();
        assert_eq!(down.get(1), (1, &mirrored[..]));
    }

    #[test]
    fn halved_merges_pairs() {
        let full = filter(8, 2, Resize::BilinearAntialias);
        let mut half = AxisFilter::with_capacity(8, 2, Resize::BilinearAntialias);
        half.rebuild_halved(&full);
        let (start, weights) = full.get(1);
        let (half_start, half_weights) = half.get(1);
        assert_eq!(half_start, start / 2);
        let mut expected = vec![0.0; half_weights.len()];
        for (offset, weight) in weights.iter().enumerate() {
            let sample = start + offset;
            expected[sample / 2 - half_start] += weight;
        }
        assert_eq!(half_weights, expected);
    }

    proptest::proptest! {
        #[test]
        fn weights_sum_to_one_and_stay_inside(source_len in 1u32..3000, output_len in 1u32..300, antialias: bool) {
            let resize = if antialias { Resize::BilinearAntialias } else { Resize::Bilinear };
            let mut filter = AxisFilter::with_capacity(source_len, output_len, resize);
            let capacity = filter.capacity();
            filter.rebuild(source_len, output_len, resize);
            assert_eq!(filter.capacity(), capacity, "rebuilding allocated");
            let mut previous = 0;
            for index in 0..filter.len() {
                let (start, weights) = filter.get(index);
                assert!(start >= previous, "runs go backwards");
                assert!(start + weights.len() <= source_len as usize);
                assert!(weights.len() <= taps_max(source_len, output_len, resize));
                assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                assert!(weights.iter().all(|weight| *weight > 0.0));
                previous = start;
            }
        }
    }
}
