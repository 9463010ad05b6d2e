//! Several frames computed at once: gathered, run, and given back to their areas.

use super::element::Element;
use super::ffi::{Failure, Session};
use super::run::{Layout, Plan};
use crate::area::Scratch;
use crate::engine::Frame;
use crate::spec::{Specs, TensorSpec};

/// One place for each side: a batch always lies in the same memory.
const KEPT_AREAS: usize = 1;

/// The plans for 2, 3, .. frames, and memory in which their tensors lie side by side.
#[derive(Default)]
pub(super) struct Batches {
    sizes: Vec<(Specs, Plan)>,
    areas: Option<(Scratch, Scratch)>,
}

impl Batches {
    /// Plans for up to `max` frames of `specs`, fewer if the areas of more would be too large.
    pub(super) fn new(
        session: &Session,
        specs: &Specs,
        elements: [&[Element]; 2],
        max: usize,
    ) -> Result<Self, Failure> {
        let mut sizes = Vec::new();
        for frames in 2..=max {
            let Ok(specs) = Specs::new(of(specs.inputs(), frames), of(specs.outputs(), frames)) else { break };
            let (inputs, outputs) = (Layout::inputs(&specs, elements[0]), Layout::outputs(&specs, elements[1]));
            let plan = Plan::new(session, inputs, outputs, KEPT_AREAS)?;
            sizes.push((specs, plan));
        }
        let largest = sizes.last().map(|(specs, _)| specs);
        let areas = largest.map(|specs| (Scratch::new(specs.input_bytes()), Scratch::new(specs.output_bytes())));
        Ok(Self { sizes, areas })
    }

    /// Most frames of a batch.
    pub(super) fn max(&self) -> usize {
        1 + self.sizes.len()
    }

    /// Computes 2 to `max` frames, whose areas have been checked against `single`.
    pub(super) fn run(
        &mut self,
        session: &mut Session,
        single: &Specs,
        frames: &mut [Frame<'_>],
    ) -> Result<(), Failure> {
        let size = frames.len().checked_sub(2).and_then(|index| self.sizes.get_mut(index));
        let (Some((specs, plan)), Some((input, output))) = (size, &mut self.areas) else {
            return Err(Failure::own("no plan for a batch of this size"));
        };
        let (input, output) =
            (&mut input.get_mut()[..specs.input_bytes()], &mut output.get_mut()[..specs.output_bytes()]);
        for (index, &start) in specs.input_offsets().iter().enumerate() {
            let range = single.input_range(index).unwrap_or_default();
            let target = &mut input[start..start + range.len() * frames.len()];
            for (frame, target) in frames.iter().zip(target.chunks_exact_mut(range.len())) {
                target.copy_from_slice(&frame.input[range.clone()]);
            }
        }
        plan.run(session, input, output, true)?;
        for (index, &start) in specs.output_offsets().iter().enumerate() {
            let range = single.output_range(index).unwrap_or_default();
            let source = &output[start..start + range.len() * frames.len()];
            for (frame, source) in frames.iter_mut().zip(source.chunks_exact(range.len())) {
                frame.output[range.clone()].copy_from_slice(source);
            }
        }
        Ok(())
    }

    /// Runs the largest batch once, so that the library's memory has grown.
    pub(super) fn warm_up(&mut self, session: &mut Session) -> Result<(), Failure> {
        let (Some((specs, plan)), Some((input, output))) = (self.sizes.last_mut(), &mut self.areas) else {
            return Ok(());
        };
        let (input, output) = (&input.get()[..specs.input_bytes()], &mut output.get_mut()[..specs.output_bytes()]);
        plan.run(session, input, output, true)
    }
}

/// `tensors` of one frame as those of `frames`.
pub(super) fn of(tensors: &[TensorSpec], frames: usize) -> Vec<TensorSpec> {
    let batched = |tensor: &TensorSpec| {
        let mut batched = tensor.clone();
        if let Some(outermost) = batched.shape.first_mut() {
            *outermost = frames;
        }
        batched
    };
    tensors.iter().map(batched).collect()
}
