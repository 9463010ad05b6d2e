//! The weights of a horizontal filter in the order in which vectors take them.

use super::TAPS_MAX;

/// Taps of one [`Chunk`] where a pixel has chunks of its own.
const CHUNK_TAPS: usize = 8;
/// Pixels whose chunks lie together; where two taps are enough, they share one.
pub(super) const GROUP: usize = 4;
/// Elements of the widest fetch.
const FETCHED: usize = 32;
/// Largest fixed-point exponent of weights: with it, sums of 16-bit samples just fit 32 bits.
const SHIFT_MAX: u32 = 16;

/// The weights of two neighbouring taps for each of four lanes. A vector gets each pair four times over: once per channel, and once for nothing.
pub(super) type Chunk = [[i16; 2]; 4];

/// A horizontal filter for three interleaved channels, in 16-bit fixed point.
#[derive(Debug)]
pub(crate) struct Columns {
    /// First element of each pixel's first tap, padded to whole groups of four pixels.
    pub(super) starts: Vec<u32>,
    pub(super) chunks: Vec<Chunk>,
    /// Chunks that each pixel has to itself, in front of those that pairs share.
    pub(super) own: usize,
    /// Whether each pair of pixels shares one more chunk, for four taps each. Without either, four pixels share one, for two taps each.
    pub(super) shared: bool,
    /// What a sum of weights is worth: 2 to the power of this is one.
    shift: u32,
    reach: usize,
    ready: bool,
}

impl Columns {
    /// Elements that a row must have after its last sample: vectors are fetched whole, also where a pixel at the edge has fewer taps than others.
    pub const PADDING: usize = TAPS_MAX / CHUNK_TAPS * CHUNK_TAPS * 3 + FETCHED;

    /// Room for `output_len` pixels of up to `taps_max` taps.
    pub fn with_capacity(output_len: u32, taps_max: usize) -> Self {
        let padded = (output_len as usize).next_multiple_of(GROUP);
        let chunks = padded * (taps_max.min(TAPS_MAX) / CHUNK_TAPS + 1);
        Self {
            starts: Vec::with_capacity(padded),
            chunks: Vec::with_capacity(chunks),
            own: 0,
            shared: false,
            shift: 0,
            reach: 0,
            ready: false,
        }
    }

    /// Whether the filter could be taken over: it has no more taps than fixed point is precise enough for.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Takes over a filter: for each of `len` output pixels, `get` tells the first source pixel and the weights, which sum to 1.
    pub fn rebuild<'w>(&mut self, len: usize, get: impl Fn(usize) -> (usize, &'w [f32])) {
        self.starts.clear();
        self.chunks.clear();
        let taps = (0..len).map(|pixel| get(pixel).1.len()).max().unwrap_or(0);
        self.ready = (1..=TAPS_MAX).contains(&taps);
        if !self.ready {
            return;
        }
        let heaviest = (0..len).flat_map(|pixel| get(pixel).1).copied().fold(0.0, f32::max);
        // One more than the heaviest weight may become by rounding must fit 16 bits with a sign.
        let fits = |shift: &u32| heaviest * (1u32 << shift) as f32 + 2.0 <= f32::from(i16::MAX);
        self.shift = (0..=SHIFT_MAX).rev().find(fits).unwrap_or(0);
        let rest = taps % CHUNK_TAPS;
        self.shared = taps > 2 && (1..=CHUNK_TAPS / 2).contains(&rest);
        self.own = taps / CHUNK_TAPS + usize::from(rest > CHUNK_TAPS / 2);
        let padded = len.next_multiple_of(GROUP);
        self.chunks.resize(padded / GROUP * self.chunks_per_group(), [[0; 2]; 4]);
        for pixel in 0..len {
            let (start, weights) = get(pixel);
            self.starts.push(start as u32 * 3);
            self.fill(pixel, weights);
        }
        self.starts.resize(padded, 0);
        let furthest = self.starts.iter().max().copied().unwrap_or(0) as usize;
        self.reach = furthest + self.own * CHUNK_TAPS * 3 + FETCHED;
    }

    /// Weights in fixed point. The running total is rounded rather than each weight, so that they sum to exactly one.
    fn fill(&mut self, pixel: usize, weights: &[f32]) {
        let one = f64::from(1u32 << self.shift);
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let (mut sum, mut given) = (0.0, 0);
        for (tap, weight) in weights.iter().enumerate() {
            sum += f64::from(*weight);
            let due = (sum / total * one).round() as i32;
            let fixed = (due - given) as i16;
            given = due;
            let (chunk, lane) = self.place(pixel, tap);
            self.chunks[chunk][lane][tap % 2] = fixed;
        }
    }

    /// Chunk and lane of a pixel's tap.
    fn place(&self, pixel: usize, tap: usize) -> (usize, usize) {
        let (group, member) = (pixel / GROUP * self.chunks_per_group(), pixel % GROUP);
        let own = self.own * CHUNK_TAPS;
        match self.shared {
            _ if tap < own => (group + member * self.own + tap / CHUNK_TAPS, tap % CHUNK_TAPS / 2),
            true => (group + GROUP * self.own + member / 2, member % 2 * 2 + (tap - own) / 2),
            false => (group, member),
        }
    }

    /// Chunks of four pixels.
    pub(super) fn chunks_per_group(&self) -> usize {
        (GROUP * self.own + if self.shared { GROUP / 2 } else { 0 }).max(1)
    }

    /// Output pixels, padded to whole groups of four.
    pub fn pixels(&self) -> usize {
        self.starts.len()
    }

    /// Elements that a row must have, with its padding.
    pub(super) fn reach(&self) -> usize {
        self.reach
    }

    /// What a weighted sum is multiplied by to be a sample again.
    pub(super) fn unit(&self) -> f32 {
        1.0 / (1u32 << self.shift) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::Columns;

    fn weights_of(columns: &Columns, pixel: usize, taps: usize) -> Vec<i32> {
        let at = |tap: usize| {
            let (chunk, lane) = columns.place(pixel, tap);
            columns.chunks[chunk][lane][tap % 2]
        };
        (0..taps).map(|tap| i32::from(at(tap))).collect()
    }

    #[test]
    fn weights_sum_to_exactly_one() {
        for taps in [1usize, 2, 3, 4, 5, 8, 9, 12, 13, 16, 17, 36] {
            let weights: Vec<f32> = (1..=taps).map(|tap| tap as f32 / (taps * (taps + 1) / 2) as f32).collect();
            let mut columns = Columns::with_capacity(5, taps);
            columns.rebuild(5, |pixel| (pixel, &weights));
            assert!(columns.is_ready());
            let one = (1.0 / columns.unit()) as i32;
            for pixel in 0..5 {
                let fixed = weights_of(&columns, pixel, taps);
                assert_eq!(fixed.iter().sum::<i32>(), one, "{taps} taps");
                let near = |(fixed, weight): (&i32, &f32)| (*fixed as f32 - weight * one as f32).abs() <= 1.01;
                assert!(fixed.iter().zip(&weights).all(near), "{taps} taps: {fixed:?}");
            }
            assert_eq!(columns.pixels(), 8);
        }
    }

    #[test]
    fn filters_that_are_too_long_are_left_to_others() {
        let weights = vec![1.0 / 37.0; 37];
        let mut columns = Columns::with_capacity(1, 37);
        columns.rebuild(1, |_| (0, &weights));
        assert!(!columns.is_ready());
    }
}
