//! The inner loops in AVX-512 F and BW.

use super::Pixel;
use super::columns::{Chunk, Columns};
use std::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm_setr_epi8, _mm512_add_epi16, _mm512_add_epi32, _mm512_and_si512,
    _mm512_broadcast_i32x4, _mm512_castpd_ps, _mm512_castps_pd, _mm512_castsi128_si512, _mm512_cvtepi32_ps,
    _mm512_fmadd_ps, _mm512_inserti32x4, _mm512_load_si512, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_madd_epi16,
    _mm512_mask_storeu_epi16, _mm512_maskz_loadu_epi8, _mm512_mulhi_epu16, _mm512_permutex2var_epi64,
    _mm512_permutexvar_epi16, _mm512_permutexvar_ps, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setr_epi32, _mm512_setr_epi64, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i64x2,
    _mm512_slli_epi16, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_unpackhi_epi16, _mm512_unpackhi_pd,
    _mm512_unpackhi_ps, _mm512_unpacklo_epi16, _mm512_unpacklo_pd, _mm512_unpacklo_ps, _mm512_xor_si512,
};

/// Bytes of a vector.
const WIDTH: usize = 64;

/// See [`super::Kernels::vertical`]. Overlapping blocks write the same values twice, which saves a loop for what is left over.
///
/// # Safety
/// The processor must have AVX-512 F and BW, and each tap at least `out.len()` bytes.
#[target_feature(enable = "avx512f,avx512bw")]
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
            // SAFETY: nothing before `at` was done, so `at` is 0 and `len` below WIDTH.
            unsafe { short_block(taps, weights, start, out) };
        }
    }
}

/// `N` vectors of bytes from `at` on.
///
/// # Safety
/// As [`vertical`]; `N * WIDTH` elements from `at` on must exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn block<const N: usize>(taps: &[&[u8]], weights: &[u32], start: u16, at: usize, out: &mut [u16]) {
    let mut even = [_mm512_set1_epi16(start as i16); N];
    let mut odd = even;
    for (tap, weight) in taps.iter().zip(weights) {
        let weight = _mm512_set1_epi32(*weight as i32);
        for n in 0..N {
            // SAFETY: the caller has checked the length.
            let bytes = unsafe { _mm512_loadu_si512(tap.as_ptr().add(at + n * WIDTH).cast()) };
            (even[n], odd[n]) = add_products(bytes, weight, even[n], odd[n]);
        }
    }
    for n in 0..N {
        let (first, second) = in_order(even[n], odd[n]);
        // SAFETY: the caller has checked the length.
        unsafe {
            let to = out.as_mut_ptr().add(at + n * WIDTH);
            _mm512_storeu_si512(to.cast(), first);
            _mm512_storeu_si512(to.add(WIDTH / 2).cast(), second);
        }
    }
}

/// Fewer bytes than a vector has.
///
/// # Safety
/// As [`vertical`].
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn short_block(taps: &[&[u8]], weights: &[u32], start: u16, out: &mut [u16]) {
    let mask = (1u64 << (out.len() % WIDTH)) - 1;
    let mut even = _mm512_set1_epi16(start as i16);
    let mut odd = even;
    for (tap, weight) in taps.iter().zip(weights) {
        // SAFETY: the mask keeps the load within the tap.
        let bytes = unsafe { _mm512_maskz_loadu_epi8(mask, tap.as_ptr().cast()) };
        (even, odd) = add_products(bytes, _mm512_set1_epi32(*weight as i32), even, odd);
    }
    let (first, second) = in_order(even, odd);
    // SAFETY: the masks keep both stores within `out`; the second pointer is not used where its mask is empty.
    unsafe {
        _mm512_mask_storeu_epi16(out.as_mut_ptr().cast(), mask as u32, first);
        _mm512_mask_storeu_epi16(out.as_mut_ptr().wrapping_add(WIDTH / 2).cast(), (mask >> 32) as u32, second);
    }
}

/// Adds products of the even and of the odd bytes, each as the upper half of a 16-bit sample.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn add_products(bytes: __m512i, weight: __m512i, even: __m512i, odd: __m512i) -> (__m512i, __m512i) {
    let even_samples = _mm512_slli_epi16::<8>(bytes);
    let odd_samples = _mm512_and_si512(bytes, _mm512_set1_epi16(0xff00_u16 as i16));
    (
        _mm512_add_epi16(even, _mm512_mulhi_epu16(even_samples, weight)),
        _mm512_add_epi16(odd, _mm512_mulhi_epu16(odd_samples, weight)),
    )
}

/// Even and odd elements interleaved again: the first and the second half.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn in_order(even: __m512i, odd: __m512i) -> (__m512i, __m512i) {
    let low = _mm512_unpacklo_epi16(even, odd);
    let high = _mm512_unpackhi_epi16(even, odd);
    (
        _mm512_permutex2var_epi64(low, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high),
        _mm512_permutex2var_epi64(low, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), high),
    )
}

/// See [`super::Kernels::three`].
///
/// # Safety
/// The processor must have AVX-512 F and BW, `row` [`Columns::reach`] elements, and `pixels` exactly [`Columns::pixels`].
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn three(row: &[u16], columns: &Columns, pixels: &mut [Pixel]) {
    let unit = columns.unit();
    let (starts, _) = columns.starts.as_chunks::<4>();
    let (groups, _) = pixels.as_chunks_mut::<4>();
    if columns.chunks_per_pixel == 0 {
        for ((starts, chunk), group) in starts.iter().zip(&columns.chunks).zip(groups) {
            // SAFETY: the caller has checked that no start reaches beyond the row.
            let sums = unsafe { four_of_two_taps(row, *starts, chunk) };
            store(sums, unit, group);
        }
        return;
    }
    let chunks = columns.chunks.chunks_exact(columns.chunks_per_pixel * 4);
    for ((starts, chunks), group) in starts.iter().zip(chunks).zip(groups) {
        let mut sums = [_mm512_setzero_si512(); 4];
        for ((sum, start), chunks) in sums.iter_mut().zip(starts).zip(chunks.chunks_exact(columns.chunks_per_pixel)) {
            // SAFETY: the caller has checked that no start reaches beyond the row.
            *sum = unsafe { one_of_chunks(row, *start as usize, chunks) };
        }
        store(lanes_summed(sums), unit, group);
    }
}

/// One pixel's channels, in four lanes still to be added up.
///
/// # Safety
/// 24 elements per chunk, and 8 more, must exist from `start` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn one_of_chunks(row: &[u16], start: usize, chunks: &[Chunk]) -> __m512i {
    // Lane j: taps 2j and 2j+1 of the first channel, of the second, of the third, and of nothing that matters.
    const fn pair(tap: i32, channel: i32) -> i32 {
        let first = tap * 3 + channel;
        first | (first + 3) << 16
    }
    let order = _mm512_setr_epi32(
        pair(0, 0),
        pair(0, 1),
        pair(0, 2),
        0,
        pair(2, 0),
        pair(2, 1),
        pair(2, 2),
        0,
        pair(4, 0),
        pair(4, 1),
        pair(4, 2),
        0,
        pair(6, 0),
        pair(6, 1),
        pair(6, 2),
        0,
    );
    let mut sum = _mm512_setzero_si512();
    for (n, chunk) in chunks.iter().enumerate() {
        // SAFETY: the caller has checked the length; a chunk is 64 bytes, aligned.
        let (samples, weights) = unsafe {
            let samples = _mm512_loadu_si512(row.as_ptr().add(start + n * 24).cast());
            (samples, _mm512_load_si512((&raw const chunk.0).cast()))
        };
        let pairs = _mm512_permutexvar_epi16(order, signed(samples));
        sum = _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, weights));
    }
    sum
}

/// Four pixels' channels, a lane each.
///
/// # Safety
/// 8 elements must exist from each start on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn four_of_two_taps(row: &[u16], starts: [u32; 4], chunk: &Chunk) -> __m512i {
    let order = _mm_setr_epi8(0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, 0, 1, 0, 1);
    // SAFETY: the caller has checked the lengths; a chunk is 64 bytes, aligned.
    let (samples, weights) = unsafe {
        let at = |n: usize| _mm_loadu_si128(row.as_ptr().add(starts[n] as usize).cast());
        let samples = _mm512_castsi128_si512(at(0));
        let samples = _mm512_inserti32x4::<1>(samples, at(1));
        let samples = _mm512_inserti32x4::<2>(samples, at(2));
        let samples = _mm512_inserti32x4::<3>(samples, at(3));
        (samples, _mm512_load_si512((&raw const chunk.0).cast()))
    };
    let pairs = _mm512_shuffle_epi8(signed(samples), _mm512_broadcast_i32x4(order));
    _mm512_madd_epi16(pairs, weights)
}

/// Samples less half their range, for multiplications that know signs only; [`store`] adds it back.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn signed(samples: __m512i) -> __m512i {
    _mm512_xor_si512(samples, _mm512_set1_epi16(i16::MIN))
}

/// The sum of the lanes of each vector, a lane each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn lanes_summed([a, b, c, d]: [__m512i; 4]) -> __m512i {
    let halves = |a, b| _mm512_add_epi32(_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0xee>(a, b));
    let (ab, cd) = (halves(a, b), halves(c, d));
    _mm512_add_epi32(_mm512_shuffle_i64x2::<0x88>(ab, cd), _mm512_shuffle_i64x2::<0xdd>(ab, cd))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store(sums: __m512i, unit: f32, group: &mut [Pixel; 4]) {
    let samples = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(unit), _mm512_set1_ps(32_768.0));
    // SAFETY: four pixels are 64 bytes.
    unsafe { _mm512_storeu_ps(group.as_mut_ptr().cast(), samples) };
}

/// See [`super::Kernels::planes`].
///
/// # Safety
/// The processor must have AVX-512 F and BW, and all planes as many elements as `pixels`.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn planes(pixels: &[Pixel], mul: [f32; 3], add: [f32; 3], planes: [&mut [f32]; 3]) -> usize {
    let natural = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let (mul, add) = (mul.map(|m| _mm512_set1_ps(m)), add.map(|a| _mm512_set1_ps(a)));
    let (groups, _) = pixels.as_chunks::<16>();
    for (index, group) in groups.iter().enumerate() {
        // SAFETY: 16 pixels are four vectors.
        let v: [_; 4] = std::array::from_fn(|n| unsafe { _mm512_loadu_ps(group.as_ptr().add(n * 4).cast()) });
        let low = [_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpacklo_ps(v[2], v[3])].map(|v| _mm512_castps_pd(v));
        let high = [_mm512_unpackhi_ps(v[0], v[1]), _mm512_unpackhi_ps(v[2], v[3])].map(|v| _mm512_castps_pd(v));
        let channels = [
            _mm512_unpacklo_pd(low[0], low[1]),
            _mm512_unpackhi_pd(low[0], low[1]),
            _mm512_unpacklo_pd(high[0], high[1]),
        ];
        for (channel, samples) in channels.into_iter().enumerate() {
            let samples = _mm512_permutexvar_ps(natural, _mm512_castpd_ps(samples));
            let values = _mm512_fmadd_ps(samples, mul[channel], add[channel]);
            // SAFETY: each plane is as long as `pixels`.
            unsafe { _mm512_storeu_ps(planes[channel].as_mut_ptr().add(index * 16), values) };
        }
    }
    groups.len() * 16
}
