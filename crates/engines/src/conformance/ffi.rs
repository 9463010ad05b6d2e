//! Memory as the arena's: mapped for as long as the process lives, written by whom the protocol names.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ops::Range;

/// Zeroed memory that is never given back.
pub(crate) struct Leaked {
    cells: &'static [Cell<u8>],
    start: usize,
    len: usize,
}

impl Leaked {
    /// `len` bytes from a multiple of `align_bytes` on.
    pub(crate) fn new(len: usize, align_bytes: usize) -> Self {
        let cells: &'static [Cell<u8>] = vec![Cell::new(0); len + align_bytes].leak();
        Self { cells, start: cells.as_ptr().align_offset(align_bytes), len }
    }

    pub(crate) fn cells(&self) -> &'static [Cell<u8>] {
        &self.cells[self.start..self.start + self.len]
    }

    /// What stands in `range`. Only while no engine writes there.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        let cells = &self.cells()[range];
        // SAFETY: needed because bytes that an engine writes beside its caller are cells, and `submit` takes slices. The memory is leaked; this
        // type alone hands out references to it, and `bytes_mut` borrows it mutably. Engines write while no test looks.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast::<u8>(), cells.len()) }
    }

    /// The same, for writing.
    pub(crate) fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        let cells = &self.cells()[range];
        // SAFETY: as above; `Cell` allows writing through its pointer.
        unsafe { std::slice::from_raw_parts_mut(cells.as_ptr().cast::<u8>().cast_mut(), cells.len()) }
    }
}
