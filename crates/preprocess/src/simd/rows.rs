//! Rows of a frame in blocks that vectors can load, wherever the frame was cut.
//!
//! A block lies in its packet, unless the packet ends within it: then its pieces are put together here. At 1400-byte packets that is one block
//! in eleven. Each row is looked at once, though two or more output rows are made of it.

use super::{Isa, Kernels, TAPS_MAX};
use crate::image::Cursor;
use std::marker::PhantomData;

/// Bytes of a block.
pub(crate) const BLOCK: usize = 128;

/// Memory for the blocks of a few rows of a plane.
#[derive(Debug)]
pub(crate) struct RowStore {
    /// First byte of each block, row by row.
    blocks: Vec<*const u8>,
    /// Blocks that are in pieces in the frame, at their block's index.
    joined: Vec<Joined>,
}

/// Room for a block, with as much before and after it.
#[derive(Debug, Clone)]
struct Joined([u8; 3 * BLOCK]);

// SAFETY: needed because of the pointers. They are followed only through `Rows`, which borrows what they point to.
unsafe impl Send for RowStore {}

/// Rows of one plane of one frame: the last few that were added.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    store: &'a mut RowStore,
    row_bytes: usize,
    per_row: usize,
    /// Rows that are kept, a power of two.
    kept: usize,
    /// Number of rows that were added or skipped: the number of the next one.
    next: usize,
    /// Rows from this one on were added, not skipped.
    known_from: usize,
    frame: PhantomData<&'a [u8]>,
}

/// Pointers from one row's first to the next one's: room for those that are written too many.
fn stride(per_row: usize) -> usize {
    per_row + 4
}

impl RowStore {
    /// For rows of up to `row_bytes`, filtered by up to `taps` taps, 0 if none will be.
    pub fn with_capacity(row_bytes: usize, taps: usize) -> Self {
        let kept = if taps == 0 { 0 } else { taps.min(TAPS_MAX).next_power_of_two() };
        let blocks = stride(row_bytes.div_ceil(BLOCK)) * kept;
        Self { blocks: vec![std::ptr::null(); blocks], joined: vec![Joined([0; 3 * BLOCK]); blocks] }
    }
}

impl<'a> Rows<'a> {
    /// No row yet of a plane whose rows have `row_bytes`, for filters of up to `taps` taps, 0 if none will be added; both within the store's capacity.
    pub fn new(store: &'a mut RowStore, row_bytes: usize, taps: usize) -> Self {
        let (per_row, kept) = (row_bytes.div_ceil(BLOCK), if taps == 0 { 0 } else { taps.next_power_of_two() });
        assert!(stride(per_row) * kept <= store.blocks.len().min(store.joined.len()), "a store that is large enough");
        Self { store, row_bytes, per_row, kept, next: 0, known_from: 0, frame: PhantomData }
    }

    /// Number of the row that is added or skipped next.
    pub fn next(&self) -> usize {
        self.next
    }

    /// Steps over rows: the next one to be added is `row`, which must not be before it.
    pub fn skip_to(&mut self, row: usize, cursor: &mut Cursor<'a>) {
        cursor.skip((row - self.next) * self.row_bytes);
        if row > self.next {
            self.known_from = row;
        }
        self.next = row;
    }

    /// Adds the row at `cursor`, which then is behind it, and begins to fetch it into the cache.
    #[inline]
    pub fn add(&mut self, cursor: &mut Cursor<'a>, kernels: Kernels) {
        match kernels.isa() {
            // SAFETY: a `Kernels` of these exists, so the processor has them.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { self.add_in_wide_registers(cursor) },
            _ => self.add_anywhere(cursor),
        }
    }

    /// The same code, compiled for registers that hold half a block.
    ///
    /// # Safety
    /// The processor must have AVX-512 F, BW and VNNI.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn add_in_wide_registers(&mut self, cursor: &mut Cursor<'a>) {
        self.add_anywhere(cursor);
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "compiled twice, once for each caller's instructions")]
    fn add_anywhere(&mut self, cursor: &mut Cursor<'a>) {
        let first = self.slot(self.next);
        let end = first + self.per_row;
        assert!(end <= self.store.blocks.len().min(self.store.joined.len()), "a store that is large enough");
        let (mut index, mut left) = (first, self.row_bytes);
        while index < end {
            // As many whole blocks as the packet still has; the row's last block may reach into what follows the row.
            let run = cursor.run();
            let whole = (run.len() / BLOCK).min(end - index);
            // In fours, so that how often this is done can be foreseen: what is too much is overwritten.
            for (fours, blocks) in self.store.blocks[index..].chunks_exact_mut(4).take(whole.div_ceil(4)).enumerate() {
                for (number, block) in blocks.iter_mut().enumerate() {
                    *block = run.as_ptr().wrapping_add((fours * 4 + number) * BLOCK);
                    fetch(*block);
                }
            }
            cursor.consume(left.min(whole * BLOCK));
            left -= left.min(whole * BLOCK);
            index += whole;
            if index < end {
                // SAFETY: needed so that pointers to other blocks stay valid, which a borrow of all of them would end; the index was checked,
                // and nobody reads while this `Rows` is borrowed mutably.
                let joined = unsafe { &mut *self.store.joined.as_mut_ptr().add(index) };
                self.store.blocks[index] = joined.join(cursor, left.min(BLOCK)).as_ptr();
                left -= left.min(BLOCK);
                index += 1;
            }
        }
        self.next += 1;
    }

    /// Index of a row's first block.
    fn slot(&self, row: usize) -> usize {
        (row & self.kept.wrapping_sub(1)) * stride(self.per_row)
    }

    /// Blocks of a row.
    pub fn blocks(&self) -> usize {
        self.per_row
    }

    /// For each of `tables.len()` rows from `first` on, its blocks: [`Rows::blocks`] pointers, each to [`BLOCK`] bytes that can be read as long
    /// as this `Rows` is not changed.
    ///
    /// # Panics
    /// If one of the rows is not there: a bug of the caller.
    pub(super) fn tables(&self, first: usize, tables: &mut [*const *const u8]) {
        let end = first + tables.len();
        assert!(first >= self.known_from && end <= self.next && first + self.kept >= self.next, "rows that were added");
        for (row, table) in tables.iter_mut().enumerate() {
            *table = self.store.blocks[self.slot(first + row)..][..self.per_row].as_ptr();
        }
    }
}

impl Joined {
    /// The block at `cursor`, which then is `len` bytes further; what comes after these does not matter.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as its caller")]
    fn join(&mut self, cursor: &mut Cursor<'_>, len: usize) -> &[u8; BLOCK] {
        let (segment, first) = cursor.segment();
        match (segment.last_chunk::<BLOCK>(), cursor.following().and_then(|next| next.first_chunk::<BLOCK>())) {
            // The usual case, two pieces of long packets: whole blocks are copied, which takes no loop, and what is too much is covered or cut.
            (Some(end), Some(begin)) if first < len && first + BLOCK >= len => {
                self.0[first..][..BLOCK].copy_from_slice(end);
                self.0[BLOCK + first..][..BLOCK].copy_from_slice(begin);
            }
            _ => {
                join_any(&mut self.0[BLOCK..][..len], *cursor);
            }
        }
        cursor.skip(len);
        let (block, _) = self.0[BLOCK..].as_chunks::<BLOCK>();
        &block[0]
    }
}

/// Begins to fetch a block into the cache; nothing more, so that any address will do.
#[inline]
fn fetch(block: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which touches nothing.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(block.cast());
            _mm_prefetch::<_MM_HINT_T0>(block.wrapping_add(64).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = block;
}

/// Collects a block from any number of pieces.
#[cold]
fn join_any(mut block: &mut [u8], mut cursor: Cursor<'_>) {
    while !block.is_empty() {
        let run = cursor.run();
        let len = run.len().min(block.len());
        // Only where the source ends, which its checked size excludes.
        if len == 0 {
            return;
        }
        let (now, later) = block.split_at_mut(len);
        now.copy_from_slice(&run[..len]);
        cursor.consume(len);
        block = later;
    }
}
