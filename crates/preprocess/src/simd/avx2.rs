//! The inner loops in AVX2 and FMA.

use super::columns::{Chunk, Columns, GROUP};
use super::{BLOCK, Pixel, ZERO};
use std::arch::x86_64::{
    __m256i, _mm_loadu_ps, _mm_loadu_si128, _mm_set1_epi32, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256,
    _mm256_castpd_ps, _mm256_castps_pd, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_mulhi_epu16, _mm256_permute2x128_si256, _mm256_set_m128, _mm256_set_m128i, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi8, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_slli_epi16, _mm256_storeu_ps, _mm256_storeu_si256, _mm256_unpackhi_epi16, _mm256_unpackhi_pd,
    _mm256_unpackhi_ps, _mm256_unpacklo_epi16, _mm256_unpacklo_pd, _mm256_unpacklo_ps,
};

/// Bytes of a vector.
const WIDTH: usize = 32;
/// Vectors of a block.
const VECTORS: usize = BLOCK / WIDTH;

/// See [`super::Kernels::vertical`]. As many blocks at a time as there are registers for sums: weights are fetched less often.
///
/// # Safety
/// The processor must have these instructions; `out` must be whole blocks long, and each table have a pointer to [`BLOCK`] bytes for each.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn vertical(tables: &[*const *const u8], weights: &[u32], start: u16, out: &mut [u16]) {
    for (at, out) in out.chunks_exact_mut(BLOCK).enumerate() {
        // SAFETY: the caller has checked that there are so many blocks.
        unsafe { blocks::<1>(tables, weights, start, at, out) };
    }
}

/// `N` blocks from number `at` on.
///
/// # Safety
/// As [`vertical`]; the blocks must exist, and `out` be as long.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn blocks<const N: usize>(tables: &[*const *const u8], weights: &[u32], start: u16, at: usize, out: &mut [u16]) {
    let mut even = [[_mm256_set1_epi16(start as i16); VECTORS]; N];
    let mut odd = even;
    for (table, weight) in tables.iter().zip(weights) {
        let weight = _mm256_set1_epi32(*weight as i32);
        for n in 0..N {
            // SAFETY: the caller has checked that the block exists.
            let block = unsafe { *table.add(at + n) };
            for v in 0..VECTORS {
                // SAFETY: a block is VECTORS times WIDTH bytes.
                let bytes = unsafe { _mm256_loadu_si256(block.add(v * WIDTH).cast()) };
                (even[n][v], odd[n][v]) = add_products(bytes, weight, even[n][v], odd[n][v]);
            }
        }
    }
    for n in 0..N {
        for v in 0..VECTORS {
            let (first, second) = in_order(even[n][v], odd[n][v]);
            // SAFETY: the caller has checked the length.
            unsafe {
                let to = out.as_mut_ptr().add(n * BLOCK + v * WIDTH);
                _mm256_storeu_si256(to.cast(), first);
                _mm256_storeu_si256(to.add(WIDTH / 2).cast(), second);
            }
        }
    }
}

/// Adds products of the even and of the odd bytes, each as the upper half of a 16-bit sample.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_products(bytes: __m256i, weight: __m256i, even: __m256i, odd: __m256i) -> (__m256i, __m256i) {
    let even_samples = _mm256_slli_epi16::<8>(bytes);
    let odd_samples = _mm256_and_si256(bytes, _mm256_set1_epi16(0xff00_u16 as i16));
    (
        _mm256_add_epi16(even, _mm256_mulhi_epu16(even_samples, weight)),
        _mm256_add_epi16(odd, _mm256_mulhi_epu16(odd_samples, weight)),
    )
}

/// Even and odd elements interleaved again: the first and the second half.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn in_order(even: __m256i, odd: __m256i) -> (__m256i, __m256i) {
    let low = _mm256_unpacklo_epi16(even, odd);
    let high = _mm256_unpackhi_epi16(even, odd);
    (_mm256_permute2x128_si256::<0x20>(low, high), _mm256_permute2x128_si256::<0x31>(low, high))
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
    if columns.own == 0 && !columns.shared {
        for (index, (starts, group)) in starts.iter().zip(groups).enumerate() {
            let chunk = &columns.chunks[index / 2];
            // SAFETY: the caller has checked that no start reaches beyond the row.
            let sums = unsafe {
                let weights = two_lanes(chunk, index % 2);
                _mm256_madd_epi16(pairs(row, starts[0] as usize, starts[1] as usize), weights)
            };
            store(sums, unit, group);
        }
        return;
    }
    let (own, per_group) = (columns.own, columns.chunks_per_group());
    for (index, (starts, group)) in starts.iter().zip(groups).enumerate() {
        // Two of the group's four pixels.
        let first = index % 2 * 2;
        let chunks = &columns.chunks[index / 2 * per_group..][..per_group];
        let of = |n: usize| &chunks[(first + n) * own..][..own];
        // SAFETY: the caller has checked that no start reaches beyond the row.
        let (mut a, mut b) =
            unsafe { (one_of_chunks(row, starts[0] as usize, of(0)), one_of_chunks(row, starts[1] as usize, of(1))) };
        if columns.shared {
            let chunk = &chunks[own * GROUP + index % 2];
            // SAFETY: as above.
            unsafe {
                a = _mm256_add_epi32(a, half_chunk(row, starts[0] as usize + own * 24, chunk, 0));
                b = _mm256_add_epi32(b, half_chunk(row, starts[1] as usize + own * 24, chunk, 1));
            }
        }
        let (low, high) = (_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b));
        store(_mm256_add_epi32(low, high), unit, group);
    }
}

/// The pairs of weights of half a chunk, each in all of its lane.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn two_lanes(chunk: &Chunk, half: usize) -> __m256i {
    let [[a, b], [c, d]] = [chunk[half * 2], chunk[half * 2 + 1]];
    let pair = |low: i16, high: i16| i32::from(low as u16) | i32::from(high) << 16;
    _mm256_set_m128i(_mm_set1_epi32(pair(c, d)), _mm_set1_epi32(pair(a, b)))
}

/// Four taps of one pixel, with the weights of half a chunk.
///
/// # Safety
/// 14 elements must exist from `at` on.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn half_chunk(row: &[u16], at: usize, chunk: &Chunk, half: usize) -> __m256i {
    // SAFETY: the caller has checked the length.
    unsafe {
        let weights = two_lanes(chunk, half);
        _mm256_madd_epi16(pairs(row, at, at + 6), weights)
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
            // SAFETY: the caller has checked the length.
            let products = unsafe { half_chunk(row, start + n * 24 + half * 12, chunk, half) };
            sum = _mm256_add_epi32(sum, products);
        }
    }
    sum
}

/// The samples of two neighbouring pixels from `first` on in the lower lane and from `second` on in the upper one, in pairs by channel.
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
        let from = row.as_ptr();
        _mm256_set_m128i(_mm_loadu_si128(from.add(second).cast()), _mm_loadu_si128(from.add(first).cast()))
    };
    _mm256_shuffle_epi8(samples, order)
}

/// The sums as samples again, with what [`super::ZERO`] took from them.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn store(sums: __m256i, unit: f32, group: &mut [Pixel; 2]) {
    let samples = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(unit), _mm256_set1_ps(f32::from(ZERO)));
    // SAFETY: two pixels are 32 bytes.
    unsafe { _mm256_storeu_ps(group.as_mut_ptr().cast(), samples) };
}

/// See [`super::Kernels::planes`].
///
/// # Safety
/// The processor must have AVX2 and FMA, and all planes as many elements as `pixels`.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn planes(pixels: &[Pixel], mul: [f32; 3], add: [f32; 3], planes: &mut [&mut [f32]; 3]) -> usize {
    // Loops rather than closures given to `map`: those are compiled without these instructions, and would not be inlined.
    let (mut muls, mut adds) = ([_mm256_setzero_ps(); 3], [_mm256_setzero_ps(); 3]);
    for channel in 0..3 {
        muls[channel] = _mm256_set1_ps(mul[channel]);
        adds[channel] = _mm256_set1_ps(add[channel]);
    }
    let (groups, _) = pixels.as_chunks::<8>();
    for (index, group) in groups.iter().enumerate() {
        let mut v = [_mm256_setzero_ps(); 4];
        for n in 0..4 {
            // SAFETY: a pixel is 16 bytes.
            v[n] = unsafe { _mm256_set_m128(_mm_loadu_ps(group[n + 4].as_ptr()), _mm_loadu_ps(group[n].as_ptr())) };
        }
        let low = (_mm256_castps_pd(_mm256_unpacklo_ps(v[0], v[1])), _mm256_castps_pd(_mm256_unpacklo_ps(v[2], v[3])));
        let high = (_mm256_castps_pd(_mm256_unpackhi_ps(v[0], v[1])), _mm256_castps_pd(_mm256_unpackhi_ps(v[2], v[3])));
        let channels =
            [_mm256_unpacklo_pd(low.0, low.1), _mm256_unpackhi_pd(low.0, low.1), _mm256_unpacklo_pd(high.0, high.1)];
        for channel in 0..3 {
            let values = _mm256_fmadd_ps(_mm256_castpd_ps(channels[channel]), muls[channel], adds[channel]);
            // SAFETY: each plane is as long as `pixels`.
            unsafe { _mm256_storeu_ps(planes[channel].as_mut_ptr().add(index * 8), values) };
        }
    }
    groups.len() * 8
}
