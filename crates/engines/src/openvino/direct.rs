//! Frames computed on the calling thread, with a check that they were.
//!
//! Where the shape of something inside a model depends on the data, a run can fail. OpenVINO 2026.4 then has two faults: on one thread `infer` reports
//! success and writes nothing; and the same graph, run again with the same shapes, skips the step that failed and answers with numbers of an
//! earlier frame. So outputs are marked before a run and looked at after it, and after a failure the graph computes a frame
//! of zeros, whose shapes are others.

use super::ffi::OpenVino;
use super::model::ffi::CompiledModel;
use super::request::ffi::{Request, Views};
use crate::area::ScratchAreas;
use crate::regions::Regions;
use crate::spec::Specs;
use std::ops::Range;
use std::sync::Arc;

/// What stands in the first bytes of every output before a run. Two, for answers that happen to be the first.
pub(super) const MARKS: [u8; 2] = [0x6d, 0x92];

/// Bytes of each output that are marked, if it has as many.
const MARKED_BYTES: usize = 8;

/// Said where the library says nothing.
pub(super) const UNWRITTEN: &str =
    "OpenVINO computed nothing: a shape inside the model depends on the data and did not fit";

/// The request of the calling thread.
pub(super) struct Direct {
    request: Request,
    inputs: Views,
    outputs: Views,
    /// Beginnings of the outputs.
    marked: Vec<Range<usize>>,
}

impl Direct {
    pub(super) fn new(library: &'static OpenVino, model: &Arc<CompiledModel>, specs: &Specs) -> Result<Self, String> {
        Ok(Self {
            request: Request::new(model)?,
            inputs: Views::new(library, specs.inputs(), specs.input_offsets(), specs.input_bytes(), 1)?,
            outputs: Views::new(library, specs.outputs(), specs.output_offsets(), specs.output_bytes(), 1)?,
            marked: specs
                .output_offsets()
                .iter()
                .zip(specs.outputs())
                .map(|(&at, spec)| marked(at, spec.bytes()))
                .collect(),
        })
    }

    /// From now on, tensors over these regions are kept.
    pub(super) fn keep(&mut self, regions: &Regions) {
        self.inputs.keep(regions.inputs());
        self.outputs.keep(std::slice::from_ref(regions.outputs()));
    }

    /// How tensors lie in the areas, for requests that compute beside the caller.
    pub(super) fn views(&mut self) -> [&mut Views; 2] {
        [&mut self.inputs, &mut self.outputs]
    }

    /// Computes a frame; the areas have the sizes of `specs`.
    pub(super) fn infer(&mut self, specs: &Specs, input: &[u8], output: &mut [u8]) -> Result<(), String> {
        for mark in MARKS {
            set_mark(&self.marked, output, mark);
            let run = self.request.infer([&mut self.inputs, &mut self.outputs], input, output);
            if run.is_ok() && !has_mark(&self.marked, output, mark) {
                return Ok(());
            }
            self.reset(specs);
            run?;
        }
        Err(UNWRITTEN.to_owned())
    }

    /// Lets the graph forget a failure. Allocates, as only failures do.
    #[cold]
    pub(super) fn reset(&mut self, specs: &Specs) {
        let mut zeros = ScratchAreas::new(specs);
        let (input, output) = zeros.split();
        // That the shapes are others is what counts, not how the run ends.
        let _ = self.request.infer([&mut self.inputs, &mut self.outputs], input, output);
    }
}

/// The part of an output at `begin`, `bytes` long, that is marked.
pub(super) fn marked(begin: usize, bytes: usize) -> Range<usize> {
    begin..begin + bytes.min(MARKED_BYTES)
}

pub(super) fn set_mark(marked: &[Range<usize>], output: &mut [u8], mark: u8) {
    for range in marked {
        output[range.clone()].fill(mark);
    }
}

/// Whether any output begins as [`set_mark`] has left it.
pub(super) fn has_mark(marked: &[Range<usize>], output: &[u8], mark: u8) -> bool {
    marked.iter().any(|range| output[range.clone()].iter().all(|&byte| byte == mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stay_inside_their_tensors_and_are_seen_in_any() {
        let ranges = [marked(0, 4), marked(64, 400)];
        let mut output = [1; 80];
        set_mark(&ranges, &mut output, MARKS[0]);
        assert_eq!((output[3], output[4], output[63], output[71], output[72]), (MARKS[0], 1, 1, MARKS[0], 1));
        assert!(has_mark(&ranges, &output, MARKS[0]) && !has_mark(&ranges, &output, MARKS[1]));
        output[0] = 0;
        assert!(has_mark(&ranges, &output, MARKS[0]), "the second output is as it was");
        output[70] = 0;
        assert!(!has_mark(&ranges, &output, MARKS[0]));
    }
}
