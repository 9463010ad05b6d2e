//! The filters' inner loops in the processor's widest instructions, chosen once, at start.
//!
//! Everything here has a plain counterpart in `image`, which serves processors without these instructions and the cases that they are not
//! made for (very long filters). Both are held to the same reference by the same tests.
//!
//! | [`Isa`] | needs | where |
//! |---|---|---|
//! | `Avx512` | AVX-512 F, BW, VNNI | servers since 2019, Zen 4 and later |
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
mod rows;

pub(crate) use columns::Columns;
pub(crate) use rows::{BLOCK, RowStore, Rows};
use std::fmt;

/// Most rows that one call of [`Kernels::vertical`] sums. The sum is rounded down per row, so with many more the error would show.
pub(crate) const TAPS_MAX: usize = 36;

/// What stands for 0 in the rows that [`Kernels::three`] takes: half the range, since vectors multiply numbers that have signs.
pub(crate) const ZERO: u16 = 0x8000;

/// Samples of one pixel; see [`Kernels::three`].
pub(crate) type Pixel = [f32; 4];

/// The source rows of an output row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taps<'a> {
    /// The first one's number.
    pub first: usize,
    /// A weight for each; see [`Kernels::vertical`].
    pub weights: &'a [u32],
    /// What the sum begins with.
    pub start: u16,
}

/// A set of instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// What the compiler makes of plain code.
    Portable,
    /// AVX2 and FMA: 32 bytes at a time.
    Avx2,
    /// AVX-512 F, BW and VNNI: 64 bytes at a time.
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
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
            }
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

    /// `out[i] = start + sum of (row[t][i] * 256 * weights[t] >> 16)` in 16 bits that wrap: bytes times 0.16 weights, 8 fractional bits.
    ///
    /// The rows are those from `first` on, as many as there are weights. A weight is given twice, in the lower and the upper half of its
    /// word. `out` must have a row's length, rounded up to whole [`BLOCK`]s.
    ///
    /// # Panics
    /// If rows are missing, there are more than [`TAPS_MAX`], or `out` is too short: a bug of the caller.
    #[inline]
    pub(crate) fn vertical(self, rows: &Rows<'_>, first: usize, weights: &[u32], start: u16, out: &mut [u16]) {
        let mut tables = [std::ptr::null(); TAPS_MAX];
        let tables = &mut tables[..weights.len()];
        rows.tables(first, tables);
        let out = &mut out[..rows.blocks() * BLOCK];
        match self.0 {
            Isa::Portable => {}
            // SAFETY: `self` exists, so the processor has these instructions; each table has as many blocks as `out`.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::vertical(tables, weights, start, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::vertical(tables, weights, start, out) },
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => {}
        }
    }

    /// Two calls of [`Kernels::vertical`] in one, which fetches rows that both need once.
    ///
    /// # Panics
    /// As there; all rows from the first of `a` to the last of `b` must be there, at most [`TAPS_MAX`], and overlap.
    #[inline]
    pub(crate) fn vertical_pair(self, rows: &Rows<'_>, a: Taps<'_>, b: Taps<'_>, out: [&mut [u16]; 2]) {
        let [out_a, out_b] = out;
        #[cfg(target_arch = "x86_64")]
        if self.0 == Isa::Avx512 {
            let (second, end) = (b.first - a.first, b.first + b.weights.len() - a.first);
            assert!(second <= a.weights.len() && a.weights.len() <= end, "rows that overlap, in order");
            let mut tables = [std::ptr::null(); TAPS_MAX];
            let tables = &mut tables[..end];
            rows.tables(a.first, tables);
            let len = rows.blocks() * BLOCK;
            let out = [&mut out_a[..len], &mut out_b[..len]];
            // SAFETY: `self` exists, so the processor has these instructions; each table has as many blocks as both parts of `out`.
            unsafe { avx512::vertical_pair(tables, a, b, out) };
            return;
        }
        self.vertical(rows, a.first, a.weights, a.start, out_a);
        self.vertical(rows, b.first, b.weights, b.start, out_b);
    }

    /// Two calls of [`Kernels::three`] in one, which fetches the weights once.
    ///
    /// # Panics
    /// As there.
    #[inline]
    pub(crate) fn three_pair(self, rows: [&[u16]; 2], columns: &Columns, pixels: [&mut [Pixel]; 2]) {
        let [pixels_a, pixels_b] = pixels;
        #[cfg(target_arch = "x86_64")]
        if self.0 == Isa::Avx512 {
            assert!(rows.iter().all(|row| row.len() >= columns.reach()), "rows with their padding");
            let mut pixels = [&mut pixels_a[..columns.pixels()], &mut pixels_b[..columns.pixels()]];
            // SAFETY: `self` exists, so the processor has these instructions; no start reaches beyond a row, and there are as many starts and
            // weights as `columns` says there are pixels.
            unsafe { avx512::three(rows, columns, &mut pixels) };
            return;
        }
        self.three(rows[0], columns, pixels_a);
        self.three(rows[1], columns, pixels_b);
    }

    /// Filters three interleaved channels of samples with 8 fractional bits into the first three lanes of each pixel; the fourth is
    /// meaningless. `row` must have [`ZERO`] for 0, [`Columns::PADDING`] elements after its last sample, `pixels` those of [`Columns::pixels`].
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
            Isa::Avx512 => unsafe { avx512::three([row], columns, &mut [pixels]) },
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => {}
        }
    }

    /// `planes[c][i] = pixels[i][c] * mul[c] + add[c]`. Returns how many pixels were done: a multiple of the vector's length.
    ///
    /// # Panics
    /// If the planes are not equally long, or `pixels` is shorter: a bug of the caller.
    #[inline]
    pub(crate) fn planes(self, pixels: &[Pixel], mul: [f32; 3], add: [f32; 3], mut planes: [&mut [f32]; 3]) -> usize {
        let len = planes[0].len();
        assert!(planes.iter().all(|plane| plane.len() == len) && pixels.len() >= len, "as many pixels as values");
        match self.0 {
            Isa::Portable => 0,
            // SAFETY: `self` exists, so the processor has these instructions; the lengths agree.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::planes(&pixels[..len], mul, add, &mut planes) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::planes(&pixels[..len], mul, add, &mut planes) },
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => 0,
        }
    }
}
