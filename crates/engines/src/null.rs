//! Engines without a model: the shapes they pretend to have, and the one that answers at once.

use crate::area;
use crate::engine::{Description, Engine, Finished, Frame, Submitted, Ticket};
use crate::error::{EngineError, LoadError};
use crate::finished::{FINISHED_MAX, FinishedQueue};
use crate::options::EngineOptions;
use crate::rten_engine::RtenEngine;
use crate::spec::{Specs, TensorSpec};
use std::path::Path;
use std::time::{Duration, Instant};

/// Without model and options: what an ImageNet classifier has.
const INPUT_SHAPE_DEFAULT: [usize; 4] = [1, 3, 224, 224];
const OUTPUT_SHAPE_DEFAULT: [usize; 2] = [1, 1000];

/// What [`crate::Engine::align_bytes`] says unless an engine wants more.
pub(crate) const ALIGN_BYTES: usize = align_of::<f32>();

/// Echoes: byte `i` of every output is byte `i % n` of the first input, which has `n` bytes; with one element type that holds for elements
/// too. So a test can tell the answers of different frames apart, and check every byte of them.
pub(crate) struct NullEngine {
    specs: Specs,
    finished: FinishedQueue,
    batch_max: usize,
}

impl NullEngine {
    pub(crate) fn load(model: Option<&Path>, options: &EngineOptions) -> Result<Self, LoadError> {
        let batch_max = options.max_batch.min(FINISHED_MAX);
        Ok(Self { specs: test_specs(model, options)?, finished: FinishedQueue::new(), batch_max })
    }
}

/// Shapes of a test engine: the model's if there is one, else those of the options, else the defaults.
pub(crate) fn test_specs(model: Option<&Path>, options: &EngineOptions) -> Result<Specs, LoadError> {
    if let Some(model) = model {
        return Ok(RtenEngine::load(model, options)?.specs().clone());
    }
    let input = options.input_shape.clone().unwrap_or_else(|| INPUT_SHAPE_DEFAULT.to_vec());
    let output = options.output_shape.clone().unwrap_or_else(|| OUTPUT_SHAPE_DEFAULT.to_vec());
    Ok(Specs::new(vec![TensorSpec::f32("input", input)], vec![TensorSpec::f32("output", output)])?)
}

/// Writes the echo of `input` to every tensor of `output`.
pub(crate) fn echo(specs: &Specs, input: &[u8], output: &mut [u8]) -> Result<(), EngineError> {
    area::check(specs, ALIGN_BYTES, input, output)?;
    let source: &[u8] = area::input(specs, input, 0)?;
    for index in 0..specs.outputs().len() {
        for chunk in area::output::<u8>(specs, output, index)?.chunks_mut(source.len()) {
            chunk.copy_from_slice(&source[..chunk.len()]);
        }
    }
    Ok(())
}

/// Echoes each frame of a batch, if all of them can be taken beside `in_flight` others.
pub(crate) fn echo_batch(
    specs: &Specs,
    batch_max: usize,
    in_flight: usize,
    frames: &mut [Frame<'_>],
) -> Result<(), EngineError> {
    if frames.is_empty() || frames.len() > batch_max {
        return Err(EngineError::Batch { got: frames.len(), max: batch_max });
    }
    if in_flight + frames.len() > FINISHED_MAX {
        return Err(EngineError::Busy { in_flight });
    }
    frames.iter().try_for_each(|frame| area::check(specs, ALIGN_BYTES, frame.input, frame.output))?;
    frames.iter_mut().try_for_each(|frame| echo(specs, frame.input, frame.output))
}

impl Engine for NullEngine {
    fn specs(&self) -> &Specs {
        &self.specs
    }

    fn submit(&mut self, ticket: Ticket, input: &[u8], output: &mut [u8]) -> Result<Submitted, EngineError> {
        self.finished.check_room()?;
        let started = Instant::now();
        echo(&self.specs, input, output)?;
        self.finished.push(ticket, Ok(()), started.elapsed());
        Ok(Submitted::Done)
    }

    fn batch_max(&self) -> usize {
        self.batch_max
    }

    fn submit_batch(&mut self, frames: &mut [Frame<'_>]) -> Result<Submitted, EngineError> {
        echo_batch(&self.specs, self.batch_max, self.finished.len(), frames)?;
        for frame in frames {
            self.finished.push(frame.ticket, Ok(()), Duration::ZERO);
        }
        Ok(Submitted::Done)
    }

    fn poll(&mut self) -> Option<Finished> {
        self.finished.pop()
    }

    fn in_flight(&self) -> usize {
        self.finished.len()
    }

    fn warm_up(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn describe(&self) -> Description {
        test_description("null", "answers with its own input")
    }
}

/// The description of an engine that computes nothing.
pub(crate) fn test_description(engine: &'static str, note: &str) -> Description {
    Description {
        engine,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        device: "none".to_owned(),
        precision: "f32",
        threads: 1,
        in_flight_max: FINISHED_MAX,
        note: note.to_owned(),
    }
}
