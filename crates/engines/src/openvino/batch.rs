//! Several frames computed together.

use super::direct::{MARKS, UNWRITTEN, has_mark, marked, set_mark};
use super::ffi::OpenVino;
use super::model::ffi::CompiledModel;
use super::request::ffi::{Request, Views};
use crate::area::Scratch;
use crate::engine::Frame;
use crate::spec::{AREA_ALIGN_BYTES, Specs, TensorSpec};
use std::ops::Range;
use std::sync::Arc;

/// A model compiled for any batch from 1 up, and the memory in which the frames of a batch lie side by side.
pub(super) struct Batches {
    request: Request,
    /// Inputs and outputs of a batch of two, of three, and so on.
    views: Vec<[Views; 2]>,
    input: Scratch,
    output: Scratch,
    input_offsets: Vec<usize>,
    output_offsets: Vec<usize>,
    /// Beginnings of the outputs.
    marked: Vec<Range<usize>>,
}

impl Batches {
    pub(super) fn new(
        library: &'static OpenVino,
        model: &Arc<CompiledModel>,
        specs: &Specs,
        max: usize,
    ) -> Result<Self, String> {
        let (input_offsets, input_bytes) = layout(specs.inputs(), max);
        let (output_offsets, output_bytes) = layout(specs.outputs(), max);
        let (input, output) = (Scratch::new(input_bytes), Scratch::new(output_bytes));
        let view = |batch| {
            let mut inputs = Views::new(library, specs.inputs(), &input_offsets, input_bytes, batch)?;
            let mut outputs = Views::new(library, specs.outputs(), &output_offsets, output_bytes, batch)?;
            // The memory lives as long as this value, and so do the tensors over it.
            inputs.keep(&[input.get().as_ptr_range()].map(|range| range.start.addr()..range.end.addr()));
            outputs.keep(&[output.get().as_ptr_range()].map(|range| range.start.addr()..range.end.addr()));
            Ok([inputs, outputs])
        };
        let views = (2..=max).map(view).collect::<Result<_, String>>()?;
        // A batch has two frames at least.
        let marked =
            output_offsets.iter().zip(specs.outputs()).map(|(&at, spec)| marked(at, 2 * spec.bytes())).collect();
        Ok(Self { request: Request::new(model)?, views, input, output, input_offsets, output_offsets, marked })
    }

    /// Most frames of a batch.
    pub(super) fn max(&self) -> usize {
        self.views.len() + 1
    }

    /// Computes 2 to [`Batches::max`] frames, whose areas have the sizes of `specs`.
    pub(super) fn infer(&mut self, specs: &Specs, frames: &mut [Frame<'_>]) -> Result<(), String> {
        for (i, frame) in frames.iter().enumerate() {
            for (index, &offset) in self.input_offsets.iter().enumerate() {
                let Some(range) = specs.input_range(index) else { continue };
                let at = offset + i * range.len();
                self.input.get_mut()[at..at + range.len()].copy_from_slice(&frame.input[range]);
            }
        }
        if let Err(error) = self.run(frames.len()) {
            // The graph forgets the failure over shapes that differ, as in `direct`; how that run ends does not matter.
            self.input.get_mut().fill(0);
            let _ = self.run(frames.len());
            return Err(error);
        }
        for (i, frame) in frames.iter_mut().enumerate() {
            for (index, &offset) in self.output_offsets.iter().enumerate() {
                let Some(range) = specs.output_range(index) else { continue };
                let at = offset + i * range.len();
                frame.output[range.clone()].copy_from_slice(&self.output.get()[at..at + range.len()]);
            }
        }
        Ok(())
    }

    /// Computes `count` frames that lie side by side. An output that happens to begin with the mark is taken for a failure: the frames are then
    /// computed one by one, where it is not.
    pub(super) fn run(&mut self, count: usize) -> Result<(), String> {
        let views = count.checked_sub(2).and_then(|index| self.views.get_mut(index));
        let Some([inputs, outputs]) = views else { return Err(format!("a batch of {count} frames")) };
        set_mark(&self.marked, self.output.get_mut(), MARKS[0]);
        self.request.infer([inputs, outputs], self.input.get(), self.output.get_mut())?;
        if has_mark(&self.marked, self.output.get(), MARKS[0]) { Err(UNWRITTEN.to_owned()) } else { Ok(()) }
    }
}

/// Offsets of the tensors, each `max` frames long, and the bytes of all.
fn layout(tensors: &[TensorSpec], max: usize) -> (Vec<usize>, usize) {
    let mut end = 0_usize;
    let place = |tensor: &TensorSpec| {
        let start = end.next_multiple_of(AREA_ALIGN_BYTES);
        end = start + tensor.bytes() * max;
        start
    };
    (tensors.iter().map(place).collect(), end)
}
