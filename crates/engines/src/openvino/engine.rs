//! A model in OpenVINO as an [`Engine`].

use super::NAME;
use super::batch::Batches;
use super::direct::Direct;
use super::ffi::OpenVino;
use super::model::ffi::CompiledModel;
use super::request::Notice;
use super::request::ffi::Request;
use crate::area::{self, ScratchAreas};
use crate::engine::{Description, Engine, Finished, Frame, Submitted, Ticket};
use crate::error::{EngineError, LoadError};
use crate::finished::{FINISHED_MAX, FinishedQueue};
use crate::regions::Regions;
use crate::spec::Specs;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

/// Runs that make a model's times settle.
const WARM_UP_RUNS: usize = 3;

/// Batches up to this size are each run once, since the first of a size takes longer; of larger ones the largest, since all would take seconds.
const WARM_UP_BATCH: usize = 8;

/// A model loaded by OpenVINO.
pub(super) struct OpenVinoEngine {
    specs: Specs,
    /// Computes inside `submit`.
    direct: Direct,
    /// Compute beside the caller; none where that gains nothing.
    flights: Flights,
    finished: FinishedQueue,
    batches: Option<Batches>,
    regions: Regions,
    description: Description,
}

/// Requests that go on after `submit`.
struct Flights {
    requests: Vec<Request>,
    /// What each computes, and since when.
    frames: Vec<Option<(Ticket, Instant)>>,
    free: Vec<usize>,
    notices: Receiver<Notice>,
    /// Those whose notice has come, and of which the library has not yet said how they ended.
    announced: VecDeque<Notice>,
}

impl OpenVinoEngine {
    /// `description.in_flight_max` is the number of requests that compute beside the caller, 1 for none, and is set to what the engine holds.
    pub(super) fn new(
        library: &'static OpenVino,
        model: &Arc<CompiledModel>,
        specs: Specs,
        batches: Option<Batches>,
        mut description: Description,
    ) -> Result<Self, LoadError> {
        let failed = |reason| LoadError::Runtime { engine: NAME, reason };
        let flights = match description.in_flight_max {
            1 => Flights::new(model, 0),
            count => Flights::new(model, count.min(FINISHED_MAX)),
        };
        let flights = flights.map_err(failed)?;
        description.in_flight_max = match flights.requests.len() {
            0 => FINISHED_MAX,
            // Room for a whole batch too.
            count => count.max(batches.as_ref().map_or(1, Batches::max)),
        };
        Ok(Self {
            direct: Direct::new(library, model, &specs).map_err(failed)?,
            specs,
            flights,
            finished: FinishedQueue::new(),
            batches,
            regions: Regions::none(),
            description,
        })
    }

    fn check_room(&self, frames: usize) -> Result<(), EngineError> {
        let in_flight = self.in_flight();
        if in_flight + frames > self.description.in_flight_max { Err(EngineError::Busy { in_flight }) } else { Ok(()) }
    }
}

impl Flights {
    fn new(model: &Arc<CompiledModel>, count: usize) -> Result<Self, String> {
        let (sender, notices) = sync_channel(count);
        let request = |number| {
            let mut request = Request::new(model)?;
            request.listen(sender.clone(), number)?;
            Ok(request)
        };
        let requests = (0..count).map(request).collect::<Result<_, String>>()?;
        let (frames, announced) = (vec![None; count], VecDeque::with_capacity(count));
        Ok(Self { requests, frames, free: (0..count).rev().collect(), notices, announced })
    }

    fn len(&self) -> usize {
        self.requests.len() - self.free.len()
    }

    fn poll(&mut self) -> Option<Finished> {
        if self.len() == 0 {
            return None;
        }
        self.announced.extend(self.notices.try_iter());
        let &Notice { request, at } = self.announced.front()?;
        // The notice comes shortly before the library's own state changes: if that has not happened yet, the next poll will see it.
        let ended = self.requests[request].ended()?;
        self.announced.pop_front();
        let (ticket, started) = self.frames[request].take()?;
        self.free.push(request);
        let compute_ns = at.saturating_duration_since(started).as_nanos() as u64;
        Some(Finished { ticket, result: ended.map_err(EngineError::Run), compute_ns })
    }
}

impl Engine for OpenVinoEngine {
    fn specs(&self) -> &Specs {
        &self.specs
    }

    fn submit(&mut self, ticket: Ticket, input: &[u8], output: &mut [u8]) -> Result<Submitted, EngineError> {
        area::check(&self.specs, self.align_bytes(), input, output)?;
        self.check_room(1)?;
        let started = Instant::now();
        if self.regions.contain(input, output)
            && let Some(&free) = self.flights.free.last()
        {
            let request = &mut self.flights.requests[free];
            request.start(self.direct.views(), &self.regions, input, output).map_err(EngineError::Run)?;
            self.flights.free.pop();
            self.flights.frames[free] = Some((ticket, started));
            return Ok(Submitted::Pending);
        }
        let result = self.direct.infer(&self.specs, input, output).map_err(EngineError::Run);
        self.finished.push(ticket, result, started.elapsed());
        Ok(Submitted::Done)
    }

    fn batch_max(&self) -> usize {
        self.batches.as_ref().map_or(1, Batches::max)
    }

    fn submit_batch(&mut self, frames: &mut [Frame<'_>]) -> Result<Submitted, EngineError> {
        let (got, max) = (frames.len(), self.batch_max());
        if let [only] = frames {
            return self.submit(only.ticket, only.input, only.output);
        }
        let align_bytes = self.align_bytes();
        let Some(batches) = self.batches.as_mut().filter(|_| (2..=max).contains(&got)) else {
            return Err(EngineError::Batch { got, max });
        };
        for frame in frames.iter() {
            area::check(&self.specs, align_bytes, frame.input, frame.output)?;
        }
        let in_flight = self.finished.len() + self.flights.len();
        if in_flight + got > self.description.in_flight_max {
            return Err(EngineError::Busy { in_flight });
        }
        let started = Instant::now();
        let together = batches.infer(&self.specs, frames);
        for frame in frames.iter_mut() {
            // One frame that cannot be computed must not take the others with it.
            let result = match &together {
                Ok(()) => Ok(()),
                Err(_) => self.direct.infer(&self.specs, frame.input, frame.output).map_err(EngineError::Run),
            };
            self.finished.push(frame.ticket, result, started.elapsed());
        }
        Ok(Submitted::Done)
    }

    fn attach(&mut self, regions: &Regions) -> Result<(), EngineError> {
        self.direct.keep(regions);
        self.regions = regions.clone();
        Ok(())
    }

    fn poll(&mut self) -> Option<Finished> {
        if let Some(finished) = self.finished.pop() {
            return Some(finished);
        }
        let finished = self.flights.poll()?;
        if finished.result.is_err() {
            self.direct.reset(&self.specs);
        }
        Some(finished)
    }

    fn in_flight(&self) -> usize {
        self.finished.len() + self.flights.len()
    }

    fn warm_up(&mut self) -> Result<(), EngineError> {
        let mut areas = ScratchAreas::new(&self.specs);
        let (input, output) = areas.split();
        for _ in 0..WARM_UP_RUNS {
            self.direct.infer(&self.specs, input, output).map_err(EngineError::Run)?;
        }
        for request in &mut self.flights.requests {
            request.infer(self.direct.views(), input, output).map_err(EngineError::Run)?;
        }
        if let Some(batches) = &mut self.batches {
            let max = batches.max();
            for count in (2..=max).filter(|&count| count <= WARM_UP_BATCH || count == max) {
                batches.run(count).map_err(EngineError::Run)?;
            }
        }
        Ok(())
    }

    fn describe(&self) -> Description {
        self.description.clone()
    }
}
