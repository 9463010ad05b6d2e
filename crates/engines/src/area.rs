//! Checked views of the two areas.

use crate::error::EngineError;
use crate::spec::Specs;
use zerocopy::FromBytes;

/// Checks the lengths of both areas. Runs per frame and in release builds: the slices come from peers' descriptors.
pub(crate) fn check_lengths(specs: &Specs, input: &[u8], output: &[u8]) -> Result<(), EngineError> {
    if input.len() != specs.input_bytes() {
        return Err(EngineError::InputLength { expected_bytes: specs.input_bytes(), got_bytes: input.len() });
    }
    if output.len() != specs.output_bytes() {
        return Err(EngineError::OutputLength { expected_bytes: specs.output_bytes(), got_bytes: output.len() });
    }
    if !is_aligned(input) {
        return Err(misaligned("input"));
    }
    if !is_aligned(output) {
        return Err(misaligned("output"));
    }
    Ok(())
}

/// Input `index` as numbers; `input` has passed [`check_lengths`].
pub(crate) fn input_f32<'a>(specs: &Specs, input: &'a [u8], index: usize) -> Result<&'a [f32], EngineError> {
    let bytes = specs.input_range(index).and_then(|range| input.get(range));
    bytes.and_then(|bytes| <[f32]>::ref_from_bytes(bytes).ok()).ok_or(misaligned("input"))
}

/// Output `index` as numbers; `output` has passed [`check_lengths`].
pub(crate) fn output_f32<'a>(specs: &Specs, output: &'a mut [u8], index: usize) -> Result<&'a mut [f32], EngineError> {
    let bytes = specs.output_range(index).and_then(|range| output.get_mut(range));
    bytes.and_then(|bytes| <[f32]>::mut_from_bytes(bytes).ok()).ok_or(misaligned("output"))
}

fn is_aligned(area: &[u8]) -> bool {
    area.as_ptr().addr().is_multiple_of(align_of::<f32>())
}

fn misaligned(area: &'static str) -> EngineError {
    EngineError::Misaligned { area, align_bytes: align_of::<f32>() }
}

/// Zeroed areas for warm-up and trial runs, aligned as the engines demand.
pub(crate) struct ScratchAreas {
    input: Vec<f32>,
    output: Vec<f32>,
}

impl ScratchAreas {
    pub(crate) fn new(specs: &Specs) -> Self {
        // Both sizes are multiples of four: every tensor is f32 and starts at a multiple of 64.
        Self { input: vec![0.0; specs.input_bytes() / 4], output: vec![0.0; specs.output_bytes() / 4] }
    }

    pub(crate) fn split(&mut self) -> (&[u8], &mut [u8]) {
        use zerocopy::IntoBytes;
        (self.input.as_bytes(), self.output.as_mut_bytes())
    }
}
