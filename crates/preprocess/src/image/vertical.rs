//! The vertical filter: a weighted sum of source rows, byte by byte, into one row of u16 with 8 fractional bits.
//!
//! A product of an 8.8 sample and a 0.16 weight keeps its upper 16 bits, an operation every vector unit has. That truncates half a unit
//! per tap on average, which the starting value of the sum makes up for. Filters of so many taps that this would show sum in u32 instead.

use super::filter::{AxisFilter, taps_max};
use super::source::Cursor;
use super::spec::Resize;
use crate::simd::{Kernels, RowStore, Rows, TAPS_MAX, Taps};

/// Most taps that are summed in u16: their bias of half a unit each must fit above 255.0.
pub(super) const NARROW_TAPS_MAX: usize = 256;

/// Weight 1 in the narrow form.
const NARROW_ONE: u32 = 1 << 16;
/// Weight 1 in the wide form: 255 times it still fits 32 bits.
const WIDE_ONE: u32 = 1 << 24;

/// Vertical filter with its weights in fixed point.
#[derive(Debug)]
pub(super) struct VerticalFilter {
    axis: AxisFilter,
    weights: Vec<u32>,
    /// First fixed-point weight of each output row.
    starts: Vec<u32>,
    wide: bool,
    /// Each narrow weight twice, in both halves of its word, as [`Kernels::vertical`] takes it.
    doubled: Vec<u32>,
    /// Which output rows vectors can make.
    fits: Vec<bool>,
    /// Most source rows that vectors sum at once: those of an output row, or of two that share some.
    vector_rows: usize,
    kernels: Kernels,
}

impl VerticalFilter {
    /// For `axis`'s capacity; see [`AxisFilter::with_capacity`].
    pub fn with_capacity(axis: AxisFilter, kernels: Kernels) -> Self {
        let (rows, weights) = axis.capacity();
        Self {
            axis,
            weights: Vec::with_capacity(weights),
            starts: Vec::with_capacity(rows),
            wide: false,
            doubled: Vec::with_capacity(if kernels.are_vectors() { weights } else { 0 }),
            fits: Vec::with_capacity(if kernels.are_vectors() { rows } else { 0 }),
            vector_rows: 0,
            kernels,
        }
    }

    /// The filter in floating point, to be rebuilt; [`VerticalFilter::quantise`] must follow.
    pub fn axis_mut(&mut self) -> &mut AxisFilter {
        &mut self.axis
    }

    /// The filter in floating point.
    pub fn axis(&self) -> &AxisFilter {
        &self.axis
    }

    /// Derives the fixed-point weights, which again sum to exactly one.
    pub fn quantise(&mut self) {
        self.wide = (0..self.axis.len()).any(|row| self.axis.get(row).1.len() > NARROW_TAPS_MAX);
        let one = if self.wide { WIDE_ONE } else { NARROW_ONE };
        self.weights.clear();
        self.starts.clear();
        for row in 0..self.axis.len() {
            let start = self.weights.len();
            self.starts.push(start as u32);
            let (_, weights) = self.axis.get(row);
            self.weights.extend(weights.iter().map(|weight| (f64::from(*weight) * f64::from(one)).round() as u32));
            let fixed = &mut self.weights[start..];
            let excess = fixed.iter().map(|weight| i64::from(*weight)).sum::<i64>() - i64::from(one);
            // Rounding is off by at most half a unit per tap; the largest tap notices it least.
            if let Some(largest) = fixed.iter_mut().max() {
                *largest = (i64::from(*largest) - excess).clamp(0, i64::from(one)) as u32;
            }
        }
        if self.kernels.are_vectors() {
            self.doubled.clear();
            self.doubled.extend(self.weights.iter().map(|weight| (weight & 0xffff) * 0x1_0001));
            self.fits.clear();
            for row in 0..self.axis.len() {
                let (_, weights) = self.get(row);
                // Enough precision, and no weight of one, which 16 bits do not hold.
                let fits = !self.wide && weights.len() <= TAPS_MAX && !weights.contains(&NARROW_ONE);
                self.fits.push(fits);
            }
            let rows = |row: usize| match self.pair_for_vectors(row) {
                Some([(first, _), (second, weights)]) => second + weights.len() - first,
                None => self.for_vectors(row).map_or(0, <[u32]>::len),
            };
            self.vector_rows = (0..self.axis.len()).map(rows).max().unwrap_or(0);
        }
    }

    /// First source row and fixed-point weights of output row `row`.
    fn get(&self, row: usize) -> (usize, &[u32]) {
        let (start, weights) = self.axis.get(row);
        (start, &self.weights[self.starts[row] as usize..][..weights.len()])
    }

    /// The same for output rows `row` and `row + 1` with their first source rows, if they share some.
    fn pair_for_vectors(&self, row: usize) -> Option<[(usize, &[u32]); 2]> {
        if row + 1 >= self.axis.len() {
            return None;
        }
        let of = |row: usize| Some((self.axis.get(row).0, self.for_vectors(row)?));
        let (a, b) = (of(row)?, of(row + 1)?);
        let shared = b.0 < a.0 + a.1.len() && a.0 + a.1.len() <= b.0 + b.1.len();
        (shared && b.0 + b.1.len() - a.0 <= TAPS_MAX).then_some([a, b])
    }

    /// The weights of output row `row` for vectors, if these can make it.
    #[inline]
    fn for_vectors(&self, row: usize) -> Option<&[u32]> {
        let fits = self.fits.get(row).copied().unwrap_or(false);
        fits.then(|| &self.doubled[self.starts[row] as usize..][..self.axis.get(row).1.len()])
    }
}

/// Most source rows that vectors need at once, for sources of up to `source_len_max` rows; 0 without vectors.
pub(super) fn vector_rows_max(kernels: Kernels, source_len_max: u32, output_len: u32, resize: Resize) -> usize {
    if !kernels.are_vectors() {
        return 0;
    }
    // A second output row begins at most one scale below the first.
    (taps_max(source_len_max, output_len, resize) + source_len_max.div_ceil(output_len) as usize + 1).min(TAPS_MAX)
}

/// Reads one plane of an image from top to bottom.
#[derive(Debug)]
pub(super) struct PlaneReader<'a> {
    /// At the start of `row`.
    cursor: Cursor<'a>,
    row: usize,
    row_bytes: usize,
    /// For vectors: the rows that they sum, and the start of the one after these.
    rows: Rows<'a>,
    next: Cursor<'a>,
}

impl<'a> PlaneReader<'a> {
    /// A plane whose first row starts at `cursor` and whose rows follow each other without gaps, for `filter`.
    pub fn new(cursor: Cursor<'a>, row_bytes: usize, filter: &VerticalFilter, store: &'a mut RowStore) -> Self {
        let rows = Rows::new(store, row_bytes, filter.vector_rows);
        Self { cursor, row: 0, row_bytes, rows, next: cursor }
    }

    /// Adds what is missing of `count` rows from `start` on.
    fn add_rows(&mut self, start: usize, count: usize, kernels: Kernels) {
        if self.rows.next() < start {
            self.rows.skip_to(start, &mut self.next);
        }
        while self.rows.next() < start + count {
            self.rows.add(&mut self.next, kernels);
        }
    }

    /// Computes output rows `row` and `row + 1`, as two calls of [`PlaneReader::filter_row`] do but faster. False, and nothing is done, if that is
    /// not for vectors or they share no source row.
    pub fn filter_two_rows(&mut self, filter: &VerticalFilter, row: usize, zero: u16, sums: [&mut [u16]; 2]) -> bool {
        let Some(pair) = filter.pair_for_vectors(row) else { return false };
        self.add_rows_of(pair, filter.kernels);
        let [a, b] = pair.map(|(first, weights)| Taps { first, weights, start: start_of_sum(zero, weights) });
        filter.kernels.vertical_pair(&self.rows, a, b, sums);
        // Those of the next two now: blocks that are joined from pieces have reached the cache when they are read.
        if let Some(next) = filter.pair_for_vectors(row + 2) {
            self.add_rows_of(next, filter.kernels);
        }
        true
    }

    fn add_rows_of(&mut self, [(first, _), (second, weights)]: [(usize, &[u32]); 2], kernels: Kernels) {
        self.add_rows(first, second + weights.len() - first, kernels);
    }

    /// Computes output row `row` of `filter` into the first `row_bytes` elements of `sums`.
    ///
    /// Rows must be asked for in ascending order. `wide` is scratch of at least `row_bytes` elements where the filter may have more than
    /// [`NARROW_TAPS_MAX`] taps. Both slices must be long enough, `sums` for whole [`BLOCK`](crate::simd::BLOCK)s, and the source must have been checked to hold the plane. `zero` is what
    /// stands for 0; sums wrap.
    pub fn filter_row(&mut self, filter: &VerticalFilter, row: usize, zero: u16, sums: &mut [u16], wide: &mut [u32]) {
        let (start, weights) = filter.get(row);
        if let Some(weights) = filter.for_vectors(row) {
            self.add_rows(start, weights.len(), filter.kernels);
            filter.kernels.vertical(&self.rows, start, weights, start_of_sum(zero, weights), sums);
            // Those of the next output row now: blocks that are joined from pieces have reached the cache when they are read.
            if row + 1 < filter.axis.len() && filter.for_vectors(row + 1).is_some() {
                let (start, weights) = filter.axis.get(row + 1);
                self.add_rows(start, weights.len(), filter.kernels);
            }
            return;
        }
        self.cursor.skip(start.saturating_sub(self.row) * self.row_bytes);
        self.row = start;
        let mut cursor = self.cursor;
        let sums = &mut sums[..self.row_bytes];
        if filter.wide {
            let wide = &mut wide[..self.row_bytes];
            wide.fill(WIDE_ONE >> 9);
            for weight in weights {
                each_run(&mut cursor, wide, |sums, bytes| add_wide(sums, bytes, *weight));
            }
            for (sum, wide) in sums.iter_mut().zip(wide) {
                *sum = zero.wrapping_add((*wide >> 16) as u16);
            }
            return;
        }
        // `product` adds the first unit.
        // Half a unit per tap, less the unit that `product` adds. A single tap of weight one overwrites it.
        sums.fill(zero.wrapping_add((weights.len() / 2).saturating_sub(1) as u16));
        for weight in weights {
            match *weight {
                0 => cursor.skip(self.row_bytes),
                NARROW_ONE => each_run(&mut cursor, sums, |sums, bytes| widen(sums, bytes, zero)),
                weight => each_run(&mut cursor, sums, |sums, bytes| add_narrow(sums, bytes, weight as u16)),
            }
        }
    }
}

/// What a sum of products in vectors begins with: each is rounded down, by half a unit on average.
fn start_of_sum(zero: u16, weights: &[u32]) -> u16 {
    zero.wrapping_add((weights.len() / 2) as u16)
}

/// Hands out `sums` together with the bytes at the cursor, run by run.
#[inline]
fn each_run<T>(cursor: &mut Cursor<'_>, mut sums: &mut [T], mut visit: impl FnMut(&mut [T], &[u8])) {
    while !sums.is_empty() {
        let bytes = cursor.run();
        let len = bytes.len().min(sums.len());
        if len == 0 {
            return;
        }
        let (now, later) = sums.split_at_mut(len);
        visit(now, &bytes[..len]);
        cursor.consume(len);
        sums = later;
    }
}

/// An 8.8 sample times a 0.16 weight, 8.8, rounded down.
///
/// The sample's lowest bit is set, which adds one unit to the sum of all taps, on purpose: without it the compiler narrows the
/// factor to 8 bits, no longer sees a 16-bit high multiplication, and the loop runs four times slower on SSE2.
#[inline]
fn product(byte: u8, weight: u16) -> u16 {
    let sample = u16::from(byte) << 8 | 1;
    ((u32::from(sample) * u32::from(weight)) >> 16) as u16
}

/// Applies `step` to each sum and its byte. In blocks of fixed length, for which the compiler needs no loop of vectors.
#[inline]
fn each_byte<T>(sums: &mut [T], bytes: &[u8], step: impl Fn(&mut T, u8)) {
    const BLOCK: usize = 32;
    let (sum_blocks, sum_rest) = sums.as_chunks_mut::<BLOCK>();
    let (byte_blocks, byte_rest) = bytes.as_chunks::<BLOCK>();
    for (sums, bytes) in sum_blocks.iter_mut().zip(byte_blocks) {
        for (sum, byte) in sums.iter_mut().zip(bytes) {
            step(sum, *byte);
        }
    }
    for (sum, byte) in sum_rest.iter_mut().zip(byte_rest) {
        step(sum, *byte);
    }
}

fn widen(sums: &mut [u16], bytes: &[u8], zero: u16) {
    each_byte(sums, bytes, |sum, byte| *sum = zero.wrapping_add(u16::from(byte) << 8));
}

fn add_narrow(sums: &mut [u16], bytes: &[u8], weight: u16) {
    each_byte(sums, bytes, |sum, byte| *sum = sum.wrapping_add(product(byte, weight)));
}

fn add_wide(sums: &mut [u32], bytes: &[u8], weight: u32) {
    each_byte(sums, bytes, |sum, byte| *sum = sum.wrapping_add(u32::from(byte) * weight));
}
