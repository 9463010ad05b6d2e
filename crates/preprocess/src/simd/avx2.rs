//! The inner loops in AVX2 and FMA.

use super::Pixel;
use super::columns::{Chunk, Columns};
use std::arch::x86_64::{
    __m256i, _mm_loadu_ps, _mm_loadu_si128, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256, _mm256_castpd_ps,
    _mm256_castps_pd, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_load_si256, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_mulhi_epu16, _mm256_permute2x128_si256, _mm256_set_m128, _mm256_set_m128i, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi16,
    _mm256_storeu_ps, _mm256_storeu_si256, _mm256_unpackhi_epi16, _mm256_unpackhi_pd, _mm256_unpackhi_ps,
    _mm256_unpacklo_epi16, _mm256_unpacklo_pd, _mm256_unpacklo_ps, _mm256_xor_si256,
};

/// Bytes of a vector.
const WIDTH: usize = 32;

/// See [`super::Kernels::vertical`]. Overlapping blocks write the same values twice, which saves a loop for what is left over.
///
/// # Safety
/// The processor must have AVX2, and each tap at least `out.len()` bytes.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn vertical(taps: &[&[u8]], weights: &[u32], start: u16, out: &mut [u16]) {
    const WIDE: usize = 4 * WIDTH;
    let len = out.len();
    let mut at = 0;
    while at + WIDE <= len {
        // SAFETY: WIDE elements from `at` on exist in `out` and in each tap.
        unsafe { block::<4>(taps, weights, start, at, out) };
        at += WIDE;
    }
    while at + WIDTH <= len {
        // SAFETY: as above, WIDTH elements.
        unsafe { block::<1>(taps, weights, start, at, out) };
        at += WIDTH;
    }
    if at < len {
        if len >= WIDTH {
            // SAFETY: the last WIDTH elements exist.
            unsafe { block::<1>(taps, weights, start, len - WIDTH, out) };
        } else {
            short_block(taps, weights, start, out);
        }
    }
}

/// `N` vectors of bytes from `at` on.
///
/// # Safety
/// As [`vertical`]; `N * WIDTH` elements from `at` on must exist.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn block<const N: usize>(taps: &[&[u8]], weights: &[u32], start: u16, at: usize, out: &mut [u16]) {
    let odd_bytes = _mm256_set1_epi16(0xff00_u16 as i16);
    let mut even = [_mm256_set1_epi16(start as i16); N];
    let mut odd = even;
    for (tap, weight) in taps.iter().zip(weights) {
        let weight = _mm256_set1_epi32(*weight as i32);
        for n in 0..N {
            // SAFETY: the caller has checked the length.
            let bytes = unsafe { _mm256_loadu_si256(tap.as_ptr().add(at + n * WIDTH).cast()) };
            let (low, high) = (_mm256_slli_epi16::<8>(bytes), _mm256_and_si256(bytes, odd_bytes));
            even[n] = _mm256_add_epi16(even[n], _mm256_mulhi_epu16(low, weight));
            odd[n] = _mm256_add_epi16(odd[n], _mm256_mulhi_epu16(high, weight));
        }
    }
    for n in 0..N {
        let low = _mm256_unpacklo_epi16(even[n], odd[n]);
        let high = _mm256_unpackhi_epi16(even[n], odd[n]);
        // SAFETY: the caller has checked the length.
        unsafe {
            let to = out.as_mut_ptr().add(at + n * WIDTH);
            _mm256_storeu_si256(to.cast(), _mm256_permute2x128_si256::<0x20>(low, high));
            _mm256_storeu_si256(to.add(WIDTH / 2).cast(), _mm256_permute2x128_si256::<0x31>(low, high));
        }
    }
}

/// Fewer bytes than a vector has.
fn short_block(taps: &[&[u8]], weights: &[u32], start: u16, out: &mut [u16]) {
    out.fill(start);
    for (tap, weight) in taps.iter().zip(weights) {
        let weight = weight & 0xffff;
        for (sum, byte) in out.iter_mut().zip(*tap) {
            *sum = sum.wrapping_add(((u32::from(*byte) << 8) * weight >> 16) as u16);
        }
    }
}

/// See [`super::Kernels::three`].
///
/// # Safety
/// The processor must have AVX2 and FMA, `row` [`Columns::reach`] elements, and `pixels` exactly [`Columns::pixels`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn three(row: &[u16], columns: &Columns, pixels: &mut [Pixel]) {
    let unit = columns.unit();
    let (starts, _) = columns.starts.as_chunks::<2>();
    let (groups, _) = pixels.as_chunks_mut::<2>();
    if columns.chunks_per_pixel == 0 {
        let lanes = columns.chunks.iter().flat_map(|chunk| [[chunk.0[0], chunk.0[1]], [chunk.0[2], chunk.0[3]]]);
        for ((starts, weights), group) in starts.iter().zip(lanes).zip(groups) {
            // SAFETY: the caller has checked that no start reaches beyond the row; two lanes are 32 bytes.
            let sums = unsafe {
                let weights = _mm256_loadu_si256(weights.as_ptr().cast());
                _mm256_madd_epi16(pairs(row, starts[0] as usize, starts[1] as usize), weights)
            };
            store(sums, unit, group);
        }
        return;
    }
    let chunks = columns.chunks.chunks_exact(columns.chunks_per_pixel * 2);
    for ((starts, chunks), group) in starts.iter().zip(chunks).zip(groups) {
        let (first, second) = chunks.split_at(columns.chunks_per_pixel);
        // SAFETY: the caller has checked that no start reaches beyond the row.
        let (a, b) =
            unsafe { (one_of_chunks(row, starts[0] as usize, first), one_of_chunks(row, starts[1] as usize, second)) };
        let (low, high) = (_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b));
        store(_mm256_add_epi32(low, high), unit, group);
    }
}

/// One pixel's channels, in two lanes still to be added up.
///
/// # Safety
/// 24 elements per chunk, and 8 more, must exist from `start` on.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn one_of_chunks(row: &[u16], start: usize, chunks: &[Chunk]) -> __m256i {
    let mut sum = _mm256_setzero_si256();
    for (n, chunk) in chunks.iter().enumerate() {
        for half in 0..2 {
            let at = start + n * 24 + half * 12;
            // SAFETY: the caller has checked the length; half a chunk is 32 bytes, aligned.
            let products = unsafe {
                let weights = _mm256_load_si256(chunk.0.as_ptr().add(half * 2).cast());
                _mm256_madd_epi16(pairs(row, at, at + 6), weights)
            };
            sum = _mm256_add_epi32(sum, products);
        }
    }
    sum
}

/// The samples of two neighbouring pixels from `first` on in the lower lane and from `second` on in the upper one, in pairs by channel,
/// less half their range, for multiplications that know signs only; [`store`] adds it back.
///
/// # Safety
/// 8 elements must exist from both on.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn pairs(row: &[u16], first: usize, second: usize) -> __m256i {
    let order = _mm256_setr_epi8(
        0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, 0, 1, 0, 1, 0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, 0, 1, 0, 1,
    );
    // SAFETY: the caller has checked the lengths.
    let samples = unsafe {
        let at = |start: usize| _mm_loadu_si128(row.as_ptr().add(start).cast());
        _mm256_set_m128i(at(second), at(first))
    };
    _mm256_shuffle_epi8(_mm256_xor_si256(samples, _mm256_set1_epi16(i16::MIN)), order)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store(sums: __m256i, unit: f32, group: &mut [Pixel; 2]) {
    let samples = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(unit), _mm256_set1_ps(32_768.0));
    // SAFETY: two pixels are 32 bytes.
    unsafe { _mm256_storeu_ps(group.as_mut_ptr().cast(), samples) };
}

/// See [`super::Kernels::planes`].
///
/// # Safety
/// The processor must have AVX2 and FMA, and all planes as many elements as `pixels`.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn planes(pixels: &[Pixel], mul: [f32; 3], add: [f32; 3], planes: [&mut [f32]; 3]) -> usize {
    let (mul, add) = (mul.map(|m| _mm256_set1_ps(m)), add.map(|a| _mm256_set1_ps(a)));
    let (groups, _) = pixels.as_chunks::<8>();
    for (index, group) in groups.iter().enumerate() {
        // SAFETY: a pixel is 16 bytes.
        let v: [_; 4] = std::array::from_fn(|n| unsafe {
            _mm256_set_m128(_mm_loadu_ps(group[n + 4].as_ptr()), _mm_loadu_ps(group[n].as_ptr()))
        });
        let low = [_mm256_unpacklo_ps(v[0], v[1]), _mm256_unpacklo_ps(v[2], v[3])].map(|v| _mm256_castps_pd(v));
        let high = [_mm256_unpackhi_ps(v[0], v[1]), _mm256_unpackhi_ps(v[2], v[3])].map(|v| _mm256_castps_pd(v));
        let channels = [
            _mm256_unpacklo_pd(low[0], low[1]),
            _mm256_unpackhi_pd(low[0], low[1]),
            _mm256_unpacklo_pd(high[0], high[1]),
        ];
        for (channel, samples) in channels.into_iter().enumerate() {
            let values = _mm256_fmadd_ps(_mm256_castpd_ps(samples), mul[channel], add[channel]);
            // SAFETY: each plane is as long as `pixels`.
            unsafe { _mm256_storeu_ps(planes[channel].as_mut_ptr().add(index * 8), values) };
        }
    }
    groups.len() * 8
}
