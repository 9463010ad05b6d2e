//! Checked views of the two areas.

use crate::error::EngineError;
use crate::spec::{AREA_ALIGN_BYTES, Specs};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Checks lengths and alignment of both areas. Runs per frame and in release builds: the slices come from peers' descriptors.
pub(crate) fn check(specs: &Specs, align_bytes: usize, input: &[u8], output: &[u8]) -> Result<(), EngineError> {
    if input.len() != specs.input_bytes() {
        return Err(EngineError::InputLength { expected_bytes: specs.input_bytes(), got_bytes: input.len() });
    }
    if output.len() != specs.output_bytes() {
        return Err(EngineError::OutputLength { expected_bytes: specs.output_bytes(), got_bytes: output.len() });
    }
    if !input.as_ptr().addr().is_multiple_of(align_bytes) {
        return Err(EngineError::Misaligned { area: "input", align_bytes });
    }
    if !output.as_ptr().addr().is_multiple_of(align_bytes) {
        return Err(EngineError::Misaligned { area: "output", align_bytes });
    }
    Ok(())
}

/// Input `index` as elements of its type; `input` has passed [`check`].
pub(crate) fn input<'a, T: FromBytes + Immutable>(
    specs: &Specs,
    input: &'a [u8],
    index: usize,
) -> Result<&'a [T], EngineError> {
    let bytes = specs.input_range(index).and_then(|range| input.get(range));
    let elements = bytes.and_then(|bytes| <[T]>::ref_from_bytes(bytes).ok());
    elements.ok_or(EngineError::Misaligned { area: "input", align_bytes: align_of::<T>() })
}

/// Output `index` as elements of its type; `output` has passed [`check`].
pub(crate) fn output<'a, T: FromBytes + IntoBytes>(
    specs: &Specs,
    output: &'a mut [u8],
    index: usize,
) -> Result<&'a mut [T], EngineError> {
    let bytes = specs.output_range(index).and_then(|range| output.get_mut(range));
    let elements = bytes.and_then(|bytes| <[T]>::mut_from_bytes(bytes).ok());
    elements.ok_or(EngineError::Misaligned { area: "output", align_bytes: align_of::<T>() })
}

/// As much memory as tensors are aligned to.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(64))]
struct Line([u8; AREA_ALIGN_BYTES]);

/// Zeroed memory that is aligned as areas are: for warm-up, trial runs, and what must be gathered or kept.
#[derive(Debug)]
pub struct Scratch {
    lines: Vec<Line>,
    len: usize,
}

impl Scratch {
    /// `len` bytes.
    pub fn new(len: usize) -> Self {
        Self { lines: vec![Line::new_zeroed(); len.div_ceil(AREA_ALIGN_BYTES)], len }
    }

    /// The bytes.
    pub fn get(&self) -> &[u8] {
        &self.lines.as_bytes()[..self.len]
    }

    /// The bytes, to write to.
    pub fn get_mut(&mut self) -> &mut [u8] {
        &mut self.lines.as_mut_bytes()[..self.len]
    }
}

/// Zeroed input and output areas.
pub(crate) struct ScratchAreas {
    input: Scratch,
    output: Scratch,
}

impl ScratchAreas {
    pub(crate) fn new(specs: &Specs) -> Self {
        Self { input: Scratch::new(specs.input_bytes()), output: Scratch::new(specs.output_bytes()) }
    }

    pub(crate) fn split(&mut self) -> (&[u8], &mut [u8]) {
        (self.input.get(), self.output.get_mut())
    }
}
