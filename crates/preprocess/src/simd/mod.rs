//! The filters' inner loops in the processor's widest instructions, chosen once, at start.
//!
//! Everything here has a plain counterpart in `image`, which serves processors without these instructions and the cases that they are not
//! made for (very long filters). Both are held to the same reference by the same tests.
//!
//! | [`Isa`] | needs | where |
//! |---|---|---|
//! | `Avx512` | AVX-512 F, BW | servers since 2017, Zen 4 and later |
//! | `Avx2` | AVX2, FMA | x86-64 since 2013 |
//! | `Portable` | nothing | |
//!
//! Why unsafe: loads and stores of vectors take pointers, and a function made for some instructions may only be called where the
//! processor has them. [`Kernels`] can only be had for an instruction set that was found, and checks all lengths before a pointer is made.
#![allow(unsafe_code, reason = "std::arch; see above")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod columns;

pub(crate) use columns::Columns;
use std::fmt;

/// Most rows that one call of [`Kernels::vertical`] sums. The sum is rounded down per row, so with many more the error would show.
pub(crate) const TAPS_MAX: usize = 36;

/// Samples of one pixel; see [`Kernels::three`].
pub(crate) type Pixel = [f32; 4];

/// A set of instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// What the compiler makes of plain code.
    Portable,
    /// AVX2 and FMA: 32 bytes at a time.
    Avx2,
    /// AVX-512 F and BW: 64 bytes at a time.
    Avx512,
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

/// The inner loops for an instruction set that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernels(Isa);

impl Kernels {
    /// The fastest that this processor has.
    pub fn best() -> Self {
        [Isa::Avx512, Isa::Avx2].into_iter().find_map(Self::of).unwrap_or(Self(Isa::Portable))
    }

    /// Those for `isa`, if this processor has it.
    pub fn of(isa: Isa) -> Option<Self> {
        let found = match isa {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw"),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => false,
        };
        found.then_some(Self(isa))
    }

    /// Which instructions these are.
    pub fn isa(self) -> Isa {
        self.0
    }

    /// Whether the functions below do anything.
    pub(crate) fn are_vectors(self) -> bool {
        self.0 != Isa::Portable
    }

    /// `out[i] = start + sum of (taps[t][i] * 256 * weights[t] >> 16)` in 16 bits that wrap: bytes times 0.16 weights, 8 fractional bits.
    ///
    /// A weight is given twice, in the lower and the upper half of its word. What an element becomes does not depend on its neighbours or on
    /// where it lies, so that frames in many pieces give the same bits.
    ///
    /// # Panics
    /// If there is not a weight for each tap, or a tap is shorter than `out`: a bug of the caller.
    #[inline]
    pub(crate) fn vertical(self, taps: &[&[u8]], weights: &[u32], start: u16, out: &mut [u16]) {
        assert_eq!(taps.len(), weights.len(), "a weight for each tap");
        assert!(taps.iter().all(|tap| tap.len() >= out.len()), "taps as long as what they make");
        match self.0 {
            Isa::Portable => {}
            // SAFETY: `self` exists, so the processor has these instructions; each tap has as many bytes as `out` elements.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::vertical(taps, weights, start, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::vertical(taps, weights, start, out) },
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => {}
        }
    }

    /// Filters three interleaved channels of samples with 8 fractional bits into the first three lanes of each pixel; the fourth is
    /// meaningless. `row` must have [`Columns::PADDING`] elements after its last sample, `pixels` those of [`Columns::pixels`].
    ///
    /// # Panics
    /// If `row` or `pixels` is too short: a bug of the caller.
    #[inline]
    pub(crate) fn three(self, row: &[u16], columns: &Columns, pixels: &mut [Pixel]) {
        assert!(row.len() >= columns.reach(), "a row with its padding");
        let pixels = &mut pixels[..columns.pixels()];
        match self.0 {
            Isa::Portable => {}
            // SAFETY: `self` exists, so the processor has these instructions; no start reaches beyond the row, and there are as many starts
            // and weights as `columns` says there are pixels.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::three(row, columns, pixels) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::three(row, columns, pixels) },
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => {}
        }
    }

    /// `planes[c][i] = pixels[i][c] * mul[c] + add[c]`. Returns how many pixels were done: a multiple of the vector's length.
    ///
    /// # Panics
    /// If the planes are not equally long, or `pixels` is shorter: a bug of the caller.
    #[inline]
    pub(crate) fn planes(self, pixels: &[Pixel], mul: [f32; 3], add: [f32; 3], planes: [&mut [f32]; 3]) -> usize {
        let len = planes[0].len();
        assert!(planes.iter().all(|plane| plane.len() == len) && pixels.len() >= len, "as many pixels as values");
        match self.0 {
            Isa::Portable => 0,
            // SAFETY: `self` exists, so the processor has these instructions; the lengths agree.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::planes(&pixels[..len], mul, add, planes) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::planes(&pixels[..len], mul, add, planes) },
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => 0,
        }
    }
}
