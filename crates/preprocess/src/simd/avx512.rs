//! The inner loops in AVX-512 F, BW and VNNI.
#![allow(
    clippy::needless_range_loop,
    reason = "loops of constant length over several arrays, which the compiler unrolls into registers"
)]

use super::columns::{Chunk, Columns, GROUP};
use super::{BLOCK, Pixel, Taps, ZERO};
use std::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm_setr_epi8, _mm256_loadu_si256, _mm512_add_epi16, _mm512_add_epi32, _mm512_and_si512,
    _mm512_broadcast_i32x4, _mm512_castpd_ps, _mm512_castps_pd, _mm512_castsi128_si512, _mm512_castsi256_si512,
    _mm512_cvtepi32_ps, _mm512_dpwssd_epi32, _mm512_fmadd_ps, _mm512_inserti32x4, _mm512_inserti64x4, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_madd_epi16, _mm512_mulhi_epu16, _mm512_permutex2var_epi64, _mm512_permutexvar_epi16,
    _mm512_permutexvar_epi32, _mm512_permutexvar_ps, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setr_epi32, _mm512_setr_epi64, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shuffle_epi8,
    _mm512_shuffle_i64x2, _mm512_slli_epi16, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_unpackhi_epi16,
    _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_epi16, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

/// Bytes of a vector.
const WIDTH: usize = 64;
/// Vectors of a block.
const VECTORS: usize = BLOCK / WIDTH;
/// Chunks per pixel that are not known when this is compiled.
const ANY: usize = usize::MAX;

/// See [`super::Kernels::vertical`]. As many blocks at a time as there are registers for sums: weights are fetched less often.
///
/// # Safety
/// The processor must have these instructions; `out` must be whole blocks long, and each table have a pointer to [`BLOCK`] bytes for each.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn vertical(tables: &[*const *const u8], weights: &[u32], start: u16, out: &mut [u16]) {
    const WIDE: usize = 2;
    let (wide, rest) = out.as_chunks_mut::<{ WIDE * BLOCK }>();
    let mut at = wide.len() * WIDE;
    for (index, out) in wide.iter_mut().enumerate() {
        // SAFETY: the caller has checked that there are so many blocks.
        unsafe { blocks::<WIDE>(tables, weights, start, index * WIDE, out) };
    }
    for out in rest.chunks_exact_mut(BLOCK) {
        // SAFETY: as above.
        unsafe { blocks::<1>(tables, weights, start, at, out) };
        at += 1;
    }
}

/// `N` blocks from number `at` on.
///
/// # Safety
/// As [`vertical`]; the blocks must exist, and `out` be as long.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn blocks<const N: usize>(tables: &[*const *const u8], weights: &[u32], start: u16, at: usize, out: &mut [u16]) {
    let mut sums: Sums<N> = [[(_mm512_set1_epi16(start as i16), _mm512_set1_epi16(start as i16)); VECTORS]; N];
    for (table, weight) in tables.iter().zip(weights) {
        // SAFETY: the caller has checked that the blocks exist.
        unsafe { add_row::<N>(table.add(at), *weight, &mut sums) };
    }
    // SAFETY: the caller has checked the length.
    unsafe { store_sums(sums, out) };
}

/// See [`super::Kernels::vertical_pair`].
///
/// # Safety
/// As [`vertical`], for both parts of `out`; the tables must be those of `a`'s and `b`'s rows together, which overlap.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn vertical_pair(tables: &[*const *const u8], a: Taps<'_>, b: Taps<'_>, out: [&mut [u16]; 2]) {
    const WIDE: usize = 2;
    let [out_a, out_b] = out;
    let (wide_a, rest_a) = out_a.as_chunks_mut::<{ WIDE * BLOCK }>();
    let (wide_b, rest_b) = out_b.as_chunks_mut::<{ WIDE * BLOCK }>();
    let at = wide_a.len() * WIDE;
    for (index, (out_a, out_b)) in wide_a.iter_mut().zip(wide_b).enumerate() {
        // SAFETY: the caller has checked that there are so many blocks.
        unsafe { block_pair::<WIDE>(tables, a, b, index * WIDE, [out_a, out_b]) };
    }
    if !rest_a.is_empty() {
        // SAFETY: as above.
        unsafe { block_pair::<1>(tables, a, b, at, [rest_a, rest_b]) };
    }
}

/// Sums of the even and of the odd bytes of `N` blocks.
type Sums<const N: usize> = [[(__m512i, __m512i); VECTORS]; N];

/// `N` blocks of both rows from number `at` on.
///
/// # Safety
/// As [`vertical_pair`]; the blocks must exist, and both parts of `out` be as long.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn block_pair<const N: usize>(
    tables: &[*const *const u8],
    a: Taps<'_>,
    b: Taps<'_>,
    at: usize,
    out: [&mut [u16]; 2],
) {
    let start = |start: u16| [[(_mm512_set1_epi16(start as i16), _mm512_set1_epi16(start as i16)); VECTORS]; N];
    let (mut sums_a, mut sums_b): (Sums<N>, Sums<N>) = (start(a.start), start(b.start));
    let (alone, rest) = tables.split_at(b.first - a.first);
    let (both, others) = rest.split_at(a.weights.len() - alone.len());
    let (weights_alone, weights_a) = a.weights.split_at(alone.len());
    let (weights_b, weights_others) = b.weights.split_at(both.len());
    // SAFETY: for all three the caller has checked that the blocks exist.
    unsafe {
        for (table, weight) in alone.iter().zip(weights_alone) {
            add_row::<N>(table.add(at), *weight, &mut sums_a);
        }
        for ((table, weight_a), weight_b) in both.iter().zip(weights_a).zip(weights_b) {
            add_row_to_both::<N>(table.add(at), [*weight_a, *weight_b], &mut sums_a, &mut sums_b);
        }
        for (table, weight) in others.iter().zip(weights_others) {
            add_row::<N>(table.add(at), *weight, &mut sums_b);
        }
    }
    let [out_a, out_b] = out;
    // SAFETY: the caller has checked the lengths.
    unsafe {
        store_sums(sums_a, out_a);
        store_sums(sums_b, out_b);
    }
}

/// Adds `N` blocks of a row.
///
/// # Safety
/// `blocks` must point to `N` pointers to blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn add_row<const N: usize>(blocks: *const *const u8, weight: u32, sums: &mut Sums<N>) {
    let weight = _mm512_set1_epi32(weight as i32);
    for n in 0..N {
        for v in 0..VECTORS {
            // SAFETY: promised by the caller.
            let bytes = unsafe { _mm512_loadu_si512((*blocks.add(n)).add(v * WIDTH).cast()) };
            let (even, odd) = sums[n][v];
            sums[n][v] = add_products(bytes, weight, even, odd);
        }
    }
}

/// Adds `N` blocks of a row to both sums.
///
/// # Safety
/// As [`add_row`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn add_row_to_both<const N: usize>(
    blocks: *const *const u8,
    weights: [u32; 2],
    sums_a: &mut Sums<N>,
    sums_b: &mut Sums<N>,
) {
    let weight_a = _mm512_set1_epi32(weights[0] as i32);
    let weight_b = _mm512_set1_epi32(weights[1] as i32);
    for n in 0..N {
        for v in 0..VECTORS {
            // SAFETY: promised by the caller.
            let bytes = unsafe { _mm512_loadu_si512((*blocks.add(n)).add(v * WIDTH).cast()) };
            let (even, odd) = sums_a[n][v];
            sums_a[n][v] = add_products(bytes, weight_a, even, odd);
            let (even, odd) = sums_b[n][v];
            sums_b[n][v] = add_products(bytes, weight_b, even, odd);
        }
    }
}

/// # Safety
/// `out` must be `N` blocks long.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn store_sums<const N: usize>(sums: Sums<N>, out: &mut [u16]) {
    for n in 0..N {
        for v in 0..VECTORS {
            let (first, second) = in_order(sums[n][v].0, sums[n][v].1);
            // SAFETY: promised by the caller.
            unsafe {
                let to = out.as_mut_ptr().add(n * BLOCK + v * WIDTH);
                _mm512_storeu_si512(to.cast(), first);
                _mm512_storeu_si512(to.add(WIDTH / 2).cast(), second);
            }
        }
    }
}

/// Adds products of the even and of the odd bytes, each as the upper half of a 16-bit sample.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn in_order(even: __m512i, odd: __m512i) -> (__m512i, __m512i) {
    let low = _mm512_unpacklo_epi16(even, odd);
    let high = _mm512_unpackhi_epi16(even, odd);
    (
        _mm512_permutex2var_epi64(low, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high),
        _mm512_permutex2var_epi64(low, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), high),
    )
}

/// See [`super::Kernels::three`] and [`super::Kernels::three_pair`].
///
/// # Safety
/// The processor must have AVX-512 F, BW and VNNI, each row [`Columns::reach`] elements, and each part of `pixels` exactly
/// [`Columns::pixels`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn three<const R: usize>(rows: [&[u16]; R], columns: &Columns, pixels: &mut [&mut [Pixel]; R]) {
    // SAFETY: as for this function.
    unsafe {
        match (columns.own, columns.shared) {
            (0, false) => of_two_taps(rows, columns, pixels),
            (0, true) => of_chunks::<R, 0, true>(rows, columns, pixels),
            (1, false) => of_chunks::<R, 1, false>(rows, columns, pixels),
            (1, true) => of_chunks::<R, 1, true>(rows, columns, pixels),
            (_, false) => of_chunks::<R, ANY, false>(rows, columns, pixels),
            (_, true) => of_chunks::<R, ANY, true>(rows, columns, pixels),
        }
    }
}

/// Pixels of two taps.
///
/// # Safety
/// As [`three`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn of_two_taps<const R: usize>(rows: [&[u16]; R], columns: &Columns, pixels: &mut [&mut [Pixel]; R]) {
    let (starts, _) = columns.starts.as_chunks::<GROUP>();
    for (index, (starts, chunk)) in starts.iter().zip(&columns.chunks).enumerate() {
        let weights = spread(chunk);
        for r in 0..R {
            // SAFETY: the caller has checked that no start reaches beyond the row, and that there are so many pixels.
            unsafe {
                let sums = four_of_two_taps(rows[r], *starts, weights);
                store(sums, columns.unit(), pixels[r].as_mut_ptr().add(index * GROUP));
            }
        }
    }
}

/// Pixels that have `OWN` chunks of their own, and one per pair if `SHARED`.
///
/// # Safety
/// As [`three`]; unless it is [`ANY`], `OWN` must be what `columns` says, and `SHARED` too.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn of_chunks<const R: usize, const OWN: usize, const SHARED: bool>(
    rows: [&[u16]; R],
    columns: &Columns,
    pixels: &mut [&mut [Pixel]; R],
) {
    let own = if OWN == ANY { columns.own } else { OWN };
    let unit = columns.unit();
    let chunks = columns.chunks.chunks_exact(own * GROUP + if SHARED { GROUP / 2 } else { 0 });
    let (starts, _) = columns.starts.as_chunks::<GROUP>();
    for (index, (starts, chunks)) in starts.iter().zip(chunks).enumerate() {
        let mut sums = [[_mm512_setzero_si512(); GROUP]; R];
        for member in 0..GROUP {
            for (n, chunk) in chunks[member * own..][..own].iter().enumerate() {
                let weights = spread(chunk);
                for r in 0..R {
                    // SAFETY: the caller has checked that no start reaches beyond the row.
                    let pairs = unsafe { eight_taps(rows[r], starts[member] as usize + n * 24) };
                    sums[r][member] = if n == 0 {
                        _mm512_madd_epi16(pairs, weights)
                    } else {
                        _mm512_dpwssd_epi32(sums[r][member], pairs, weights)
                    };
                }
            }
        }
        let mut halves = [[_mm512_setzero_si512(); 2]; R];
        for r in 0..R {
            halves[r] = [halves_summed(sums[r][0], sums[r][1]), halves_summed(sums[r][2], sums[r][3])];
        }
        if SHARED {
            for pair in 0..2 {
                let weights = spread(&chunks[own * GROUP + pair]);
                let at = |n: usize| starts[pair * 2 + n] as usize + own * 24;
                for r in 0..R {
                    // SAFETY: as above.
                    let pairs = unsafe { four_taps_of_two(rows[r], at(0), at(1)) };
                    halves[r][pair] = _mm512_dpwssd_epi32(halves[r][pair], pairs, weights);
                }
            }
        }
        for r in 0..R {
            let [ab, cd] = halves[r];
            let sums = _mm512_add_epi32(_mm512_shuffle_i64x2::<0x88>(ab, cd), _mm512_shuffle_i64x2::<0xdd>(ab, cd));
            // SAFETY: the caller has checked that there are so many pixels.
            unsafe { store(sums, unit, pixels[r].as_mut_ptr().add(index * GROUP)) };
        }
    }
}

/// Four taps of two pixels, two lanes each.
///
/// # Safety
/// 16 elements must exist from both on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[rustfmt::skip]
unsafe fn four_taps_of_two(row: &[u16], first: usize, second: usize) -> __m512i {
    let order = _mm512_setr_epi32(
        pair(0, 0), pair(0, 1), pair(0, 2), 0, pair(2, 0), pair(2, 1), pair(2, 2), 0,
        pair(0, 16), pair(0, 17), pair(0, 18), 0, pair(2, 16), pair(2, 17), pair(2, 18), 0,
    );
    // SAFETY: the caller has checked the lengths.
    let samples = unsafe {
        let from = row.as_ptr();
        let samples = _mm512_castsi256_si512(_mm256_loadu_si256(from.add(first).cast()));
        _mm512_inserti64x4::<1>(samples, _mm256_loadu_si256(from.add(second).cast()))
    };
    _mm512_permutexvar_epi16(order, samples)
}

/// A chunk's pair of weights for each lane, in all of the lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn spread(chunk: &Chunk) -> __m512i {
    let lanes = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    // SAFETY: a chunk is 16 bytes.
    let chunk = unsafe { _mm_loadu_si128(chunk.as_ptr().cast()) };
    _mm512_permutexvar_epi32(lanes, _mm512_castsi128_si512(chunk))
}

/// Two elements of a vector of pixels: those of a channel in two neighbouring taps.
const fn pair(tap: i32, channel: i32) -> i32 {
    let first = tap * 3 + channel;
    first | (first + 3) << 16
}

/// Eight taps of a pixel: lane j has taps 2j and 2j+1 of the first channel, of the second, of the third, and nothing that matters.
///
/// # Safety
/// 32 elements must exist from `start` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[rustfmt::skip]
unsafe fn eight_taps(row: &[u16], start: usize) -> __m512i {
    let order = _mm512_setr_epi32(
        pair(0, 0), pair(0, 1), pair(0, 2), 0, pair(2, 0), pair(2, 1), pair(2, 2), 0,
        pair(4, 0), pair(4, 1), pair(4, 2), 0, pair(6, 0), pair(6, 1), pair(6, 2), 0,
    );
    // SAFETY: the caller has checked the length.
    let samples = unsafe { _mm512_loadu_si512(row.as_ptr().add(start).cast()) };
    _mm512_permutexvar_epi16(order, samples)
}

/// Four pixels' channels, a lane each.
///
/// # Safety
/// 8 elements must exist from each start on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn four_of_two_taps(row: &[u16], starts: [u32; GROUP], weights: __m512i) -> __m512i {
    let order = _mm_setr_epi8(0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, 0, 1, 0, 1);
    // SAFETY: the caller has checked the lengths.
    let samples = unsafe {
        let at = |n: usize| _mm_loadu_si128(row.as_ptr().add(starts[n] as usize).cast());
        let samples = _mm512_castsi128_si512(at(0));
        let samples = _mm512_inserti32x4::<1>(samples, at(1));
        let samples = _mm512_inserti32x4::<2>(samples, at(2));
        _mm512_inserti32x4::<3>(samples, at(3))
    };
    _mm512_madd_epi16(_mm512_shuffle_epi8(samples, _mm512_broadcast_i32x4(order)), weights)
}

/// The upper halves added to the lower ones: `a`'s in the lower half, `b`'s in the upper one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn halves_summed(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0xee>(a, b))
}

/// The sums as samples again, with what [`super::ZERO`] took from them.
///
/// # Safety
/// Four pixels must exist from `group` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn store(sums: __m512i, unit: f32, group: *mut Pixel) {
    let samples = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(unit), _mm512_set1_ps(f32::from(ZERO)));
    // SAFETY: promised by the caller; four pixels are 64 bytes.
    unsafe { _mm512_storeu_ps(group.cast(), samples) };
}

/// See [`super::Kernels::planes`].
///
/// # Safety
/// The processor must have AVX-512 F, BW and VNNI, and all planes as many elements as `pixels`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn planes(pixels: &[Pixel], mul: [f32; 3], add: [f32; 3], planes: &mut [&mut [f32]; 3]) -> usize {
    let natural = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    // Loops rather than closures given to `map`: those are compiled without these instructions, and would not be inlined.
    let (mut muls, mut adds) = ([_mm512_setzero_ps(); 3], [_mm512_setzero_ps(); 3]);
    for channel in 0..3 {
        muls[channel] = _mm512_set1_ps(mul[channel]);
        adds[channel] = _mm512_set1_ps(add[channel]);
    }
    let (groups, _) = pixels.as_chunks::<16>();
    for (index, group) in groups.iter().enumerate() {
        let mut v = [_mm512_setzero_ps(); 4];
        for (v, four) in v.iter_mut().zip(group.as_chunks::<4>().0) {
            // SAFETY: four pixels are 64 bytes.
            *v = unsafe { _mm512_loadu_ps(four.as_ptr().cast()) };
        }
        let low = (_mm512_castps_pd(_mm512_unpacklo_ps(v[0], v[1])), _mm512_castps_pd(_mm512_unpacklo_ps(v[2], v[3])));
        let high = (_mm512_castps_pd(_mm512_unpackhi_ps(v[0], v[1])), _mm512_castps_pd(_mm512_unpackhi_ps(v[2], v[3])));
        let channels =
            [_mm512_unpacklo_pd(low.0, low.1), _mm512_unpackhi_pd(low.0, low.1), _mm512_unpacklo_pd(high.0, high.1)];
        for channel in 0..3 {
            let samples = _mm512_permutexvar_ps(natural, _mm512_castpd_ps(channels[channel]));
            let values = _mm512_fmadd_ps(samples, muls[channel], adds[channel]);
            // SAFETY: each plane is as long as `pixels`.
            unsafe { _mm512_storeu_ps(planes[channel].as_mut_ptr().add(index * 16), values) };
        }
    }
    groups.len() * 16
}
