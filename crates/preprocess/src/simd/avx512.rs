//! The inner loops in AVX-512 F, BW and VNNI.

use super::columns::{Chunk, Columns, GROUP};
use super::{BLOCK, Pixel, ZERO};
use std::arch::x86_64::{
    __m128i, __m512i, _mm_loadu_si128, _mm_setr_epi8, _mm256_loadu_si256, _mm512_add_epi16, _mm512_add_epi32,
    _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_castpd_ps, _mm512_castps_pd, _mm512_castsi128_si512,
    _mm512_castsi256_si512, _mm512_cvtepi32_ps, _mm512_dpwssd_epi32, _mm512_fmadd_ps, _mm512_inserti32x4,
    _mm512_inserti64x4, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_madd_epi16, _mm512_mulhi_epu16,
    _mm512_permutex2var_epi64, _mm512_permutexvar_epi16, _mm512_permutexvar_epi32, _mm512_permutexvar_ps,
    _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_epi32, _mm512_setr_epi64, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i64x2, _mm512_slli_epi16, _mm512_storeu_ps,
    _mm512_storeu_si512, _mm512_unpackhi_epi16, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_epi16,
    _mm512_unpacklo_pd, _mm512_unpacklo_ps,
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
    const WIDE: usize = 4;
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
    let mut even = [[_mm512_set1_epi16(start as i16); VECTORS]; N];
    let mut odd = even;
    for (table, weight) in tables.iter().zip(weights) {
        let weight = _mm512_set1_epi32(*weight as i32);
        for n in 0..N {
            // SAFETY: the caller has checked that the block exists.
            let block = unsafe { *table.add(at + n) };
            for v in 0..VECTORS {
                // SAFETY: a block is VECTORS times WIDTH bytes.
                let bytes = unsafe { _mm512_loadu_si512(block.add(v * WIDTH).cast()) };
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

/// See [`super::Kernels::three`].
///
/// # Safety
/// The processor must have AVX-512 F, BW and VNNI, `row` [`Columns::reach`] elements, and `pixels` exactly [`Columns::pixels`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn three(row: &[u16], columns: &Columns, pixels: &mut [Pixel]) {
    let (starts, _) = columns.starts.as_chunks::<GROUP>();
    let (groups, _) = pixels.as_chunks_mut::<GROUP>();
    // SAFETY: as for this function.
    unsafe {
        match (columns.own, columns.shared) {
            (0, false) => {
                for ((starts, chunk), group) in starts.iter().zip(&columns.chunks).zip(groups) {
                    store(four_of_two_taps(row, *starts, chunk), columns.unit(), group);
                }
            }
            (0, true) => of_chunks::<0, true>(row, columns, starts, groups),
            (1, false) => of_chunks::<1, false>(row, columns, starts, groups),
            (1, true) => of_chunks::<1, true>(row, columns, starts, groups),
            (_, false) => of_chunks::<ANY, false>(row, columns, starts, groups),
            (_, true) => of_chunks::<ANY, true>(row, columns, starts, groups),
        }
    }
}

/// Pixels that have `OWN` chunks of their own, and one per pair if `SHARED`.
///
/// # Safety
/// As [`three`]; unless it is [`ANY`], `OWN` must be what `columns` says, and `SHARED` too.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn of_chunks<const OWN: usize, const SHARED: bool>(
    row: &[u16],
    columns: &Columns,
    starts: &[[u32; GROUP]],
    groups: &mut [[Pixel; GROUP]],
) {
    let own = if OWN == ANY { columns.own } else { OWN };
    let unit = columns.unit();
    let chunks = columns.chunks.chunks_exact(own * GROUP + if SHARED { GROUP / 2 } else { 0 });
    for ((starts, chunks), group) in starts.iter().zip(chunks).zip(groups) {
        let of = |n: usize| &chunks[n * own..][..own];
        // SAFETY: the caller has checked that no start reaches beyond the row.
        let (a, b, c, d) = unsafe {
            (
                one_of_chunks(row, starts[0] as usize, of(0)),
                one_of_chunks(row, starts[1] as usize, of(1)),
                one_of_chunks(row, starts[2] as usize, of(2)),
                one_of_chunks(row, starts[3] as usize, of(3)),
            )
        };
        let (mut ab, mut cd) = (halves_summed(a, b), halves_summed(c, d));
        if SHARED {
            let at = |n: usize| starts[n] as usize + own * 24;
            // SAFETY: as above.
            unsafe {
                ab = add_pair(ab, row, at(0), at(1), &chunks[own * GROUP]);
                cd = add_pair(cd, row, at(2), at(3), &chunks[own * GROUP + 1]);
            }
        }
        let sums = _mm512_add_epi32(_mm512_shuffle_i64x2::<0x88>(ab, cd), _mm512_shuffle_i64x2::<0xdd>(ab, cd));
        store(sums, unit, group);
    }
}

/// Adds four taps of two pixels, two lanes each.
///
/// # Safety
/// 16 elements must exist from both on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn add_pair(sums: __m512i, row: &[u16], first: usize, second: usize, chunk: &Chunk) -> __m512i {
    let order = _mm512_setr_epi32(
        pair(0, 0),
        pair(0, 1),
        pair(0, 2),
        0,
        pair(2, 0),
        pair(2, 1),
        pair(2, 2),
        0,
        pair(0, 16),
        pair(0, 17),
        pair(0, 18),
        0,
        pair(2, 16),
        pair(2, 17),
        pair(2, 18),
        0,
    );
    // SAFETY: the caller has checked the lengths; a chunk is 16 bytes.
    unsafe {
        let from = row.as_ptr();
        let samples = _mm512_castsi256_si512(_mm256_loadu_si256(from.add(first).cast()));
        let samples = _mm512_inserti64x4::<1>(samples, _mm256_loadu_si256(from.add(second).cast()));
        let weights = _mm_loadu_si128(chunk.as_ptr().cast());
        _mm512_dpwssd_epi32(sums, _mm512_permutexvar_epi16(order, samples), spread(weights))
    }
}

/// A chunk's pair of weights for each lane, in all of the lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn spread(chunk: __m128i) -> __m512i {
    let lanes = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    _mm512_permutexvar_epi32(lanes, _mm512_castsi128_si512(chunk))
}

/// Two elements of a vector of pixels: those of a channel in two neighbouring taps.
const fn pair(tap: i32, channel: i32) -> i32 {
    let first = tap * 3 + channel;
    first | (first + 3) << 16
}

/// One pixel's channels, in four lanes still to be added up.
///
/// # Safety
/// 24 elements per chunk, and 8 more, must exist from `start` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn one_of_chunks(row: &[u16], start: usize, chunks: &[Chunk]) -> __m512i {
    // Lane j: taps 2j and 2j+1 of the first channel, of the second, of the third, and of nothing that matters.
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
    let mut sum = None;
    for (n, chunk) in chunks.iter().enumerate() {
        // SAFETY: the caller has checked the length; a chunk is 16 bytes.
        let (samples, weights) = unsafe {
            let samples = _mm512_loadu_si512(row.as_ptr().add(start + n * 24).cast());
            (samples, _mm_loadu_si128(chunk.as_ptr().cast()))
        };
        let pairs = _mm512_permutexvar_epi16(order, samples);
        sum = Some(match sum {
            None => _mm512_madd_epi16(pairs, spread(weights)),
            Some(sum) => _mm512_dpwssd_epi32(sum, pairs, spread(weights)),
        });
    }
    sum.unwrap_or(_mm512_setzero_si512())
}

/// Four pixels' channels, a lane each.
///
/// # Safety
/// 8 elements must exist from each start on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn four_of_two_taps(row: &[u16], starts: [u32; 4], chunk: &Chunk) -> __m512i {
    let order = _mm_setr_epi8(0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, 0, 1, 0, 1);
    // SAFETY: the caller has checked the lengths; a chunk is 16 bytes.
    let (samples, weights) = unsafe {
        let at = |n: usize| _mm_loadu_si128(row.as_ptr().add(starts[n] as usize).cast());
        let samples = _mm512_castsi128_si512(at(0));
        let samples = _mm512_inserti32x4::<1>(samples, at(1));
        let samples = _mm512_inserti32x4::<2>(samples, at(2));
        let samples = _mm512_inserti32x4::<3>(samples, at(3));
        (samples, _mm_loadu_si128(chunk.as_ptr().cast()))
    };
    let pairs = _mm512_shuffle_epi8(samples, _mm512_broadcast_i32x4(order));
    _mm512_madd_epi16(pairs, spread(weights))
}

/// The upper halves added to the lower ones: `a`'s in the lower half, `b`'s in the upper one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn halves_summed(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0xee>(a, b))
}

/// The sums as samples again, with what [`super::ZERO`] took from them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn store(sums: __m512i, unit: f32, group: &mut [Pixel; 4]) {
    let samples = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(unit), _mm512_set1_ps(f32::from(ZERO)));
    // SAFETY: four pixels are 64 bytes.
    unsafe { _mm512_storeu_ps(group.as_mut_ptr().cast(), samples) };
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
