//! ONNX Runtime: loaded at run time, used through its C API.
//!
//! What a frame costs beside the model: the library reads the tensors of the input area and writes those of the output area where they are. Tensor
//! objects over areas in lasting memory are made once and kept; over others they are made for each frame. Our code allocates nothing per
//! frame; the library takes intermediate tensors from an arena of its own that has grown in the warm-up. With one thread the model runs on the
//! caller's; more are the library's, and sleep when they wait.

mod batch;
mod element;
mod ffi;
mod library;
mod load;
mod provider;
mod run;
mod signature;

use self::batch::Batches;
use self::ffi::{Failure, Session};
use self::run::Plan;
use crate::area::{self, ScratchAreas};
use crate::available::Availability;
use crate::engine::Finished;
use crate::engine::{Description, Engine, Frame, Submitted, Ticket};
use crate::error::{EngineError, LoadError};
use crate::finished::{FINISHED_MAX, FinishedQueue};
use crate::options::EngineOptions;
use crate::regions::Regions;
use crate::spec::Specs;
use std::path::Path;
use std::time::Instant;

const NAME: &str = "onnxruntime";

/// Runs that make a model's times settle: the first plans the library's memory, the second grows it.
const WARM_UP_RUNS: usize = 3;

/// A model loaded by ONNX Runtime.
struct OnnxRuntimeEngine {
    session: Session,
    specs: Specs,
    single: Plan,
    batches: Batches,
    regions: Regions,
    finished: FinishedQueue,
    description: Description,
}

pub(crate) fn load(model: &Path, options: &EngineOptions) -> Result<Box<dyn Engine>, LoadError> {
    Ok(Box::new(load::engine(model, options)?))
}

pub(crate) fn probe(options: &EngineOptions) -> Availability {
    match library::get(options) {
        Ok(runtime) => Availability {
            engine: NAME,
            version: Some(runtime.version.clone()),
            library: Some(runtime.path.clone()),
            devices: provider::devices(runtime),
            note: None,
        },
        Err(error) => Availability::missing(NAME, error.to_string()),
    }
}

fn failed(failure: Failure) -> EngineError {
    EngineError::Run(failure.message)
}

impl Engine for OnnxRuntimeEngine {
    fn specs(&self) -> &Specs {
        &self.specs
    }

    fn submit(&mut self, ticket: Ticket, input: &[u8], output: &mut [u8]) -> Result<Submitted, EngineError> {
        self.finished.check_room()?;
        area::check(&self.specs, self.align_bytes(), input, output)?;
        let lasting = self.regions.contain(input, output);
        let started = Instant::now();
        let result = self.single.run(&mut self.session, input, output, lasting).map_err(failed);
        self.finished.push(ticket, result, started.elapsed());
        Ok(Submitted::Done)
    }

    fn batch_max(&self) -> usize {
        self.batches.max()
    }

    fn submit_batch(&mut self, frames: &mut [Frame<'_>]) -> Result<Submitted, EngineError> {
        let (got, max) = (frames.len(), self.batch_max());
        if got == 0 || got > max {
            return Err(EngineError::Batch { got, max });
        }
        if let [only] = frames {
            return self.submit(only.ticket, only.input, only.output);
        }
        if self.finished.len() + got > FINISHED_MAX {
            return Err(EngineError::Busy { in_flight: self.finished.len() });
        }
        for frame in &*frames {
            area::check(&self.specs, self.align_bytes(), frame.input, frame.output)?;
        }
        let started = Instant::now();
        let result = self.batches.run(&mut self.session, &self.specs, frames).map_err(failed);
        let elapsed = started.elapsed();
        for frame in frames {
            self.finished.push(frame.ticket, result.clone(), elapsed);
        }
        Ok(Submitted::Done)
    }

    fn attach(&mut self, regions: &Regions) -> Result<(), EngineError> {
        self.regions = regions.clone();
        Ok(())
    }

    fn poll(&mut self) -> Option<Finished> {
        self.finished.pop()
    }

    fn in_flight(&self) -> usize {
        self.finished.len()
    }

    fn warm_up(&mut self) -> Result<(), EngineError> {
        let mut areas = ScratchAreas::new(&self.specs);
        for _ in 0..WARM_UP_RUNS {
            let (input, output) = areas.split();
            self.single.run(&mut self.session, input, output, false).map_err(failed)?;
        }
        self.batches.warm_up(&mut self.session).map_err(failed)
    }

    fn describe(&self) -> Description {
        self.description.clone()
    }
}
