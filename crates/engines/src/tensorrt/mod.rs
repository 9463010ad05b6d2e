//! TensorRT: ONNX models on NVIDIA's GPUs, through a shim (`shims/tensorrt.cpp`) and the driver's own interface.
//!
//! A model is built into a plan once and kept in `cache_dir`. A frame is one copy to the device, the run, and one copy back, all on a stream of its slot, so
//! that several are under way; with an attached arena the memory is pinned, the processor has no part in the copies, and `submit` returns at once.
//! Frames of a batch are copied to their places side by side, with nothing gathered before. Where device and processor share their memory the device
//! reads and writes the areas themselves, if they lie as it wants them.

mod cuda;
mod ffi;
mod library;
mod plan;
mod plan_cache;
mod slot;

use self::cuda::Device;
use self::library::Found;
use self::plan::Origin;
use self::slot::{Layout, Slot};
use crate::area;
use crate::available::Availability;
use crate::engine::{Description, Engine, Finished, Frame, Submitted, Ticket};
use crate::error::{EngineError, LoadError};
use crate::finished::{FINISHED_MAX, FinishedQueue};
use crate::options::{EngineOptions, Precision};
use crate::regions::Regions;
use crate::spec::Specs;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const NAME: &str = "tensorrt";

/// Runs that settle clocks and lazy set-up.
const WARM_UP_RUNS: usize = 3;

pub(crate) fn load(model: &Path, options: &EngineOptions) -> Result<Box<dyn Engine>, LoadError> {
    let found = library::open(options)?;
    let failed = |reason| LoadError::Runtime { engine: NAME, reason };
    found.device.enter().map_err(failed)?;
    let (loaded, layout, origin) = plan::load(&found, model, options)?;
    let layout = Arc::new(Layout { batch_max: layout.batch_max.min(FINISHED_MAX), ..layout });
    let limit = options.max_in_flight.max(layout.batch_max).min(FINISHED_MAX);
    let slots = (0..options.max_in_flight.min(limit)).map(|_| Slot::new(&found.device, &loaded, &layout));
    let mut slots = slots.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let graphs = slots.iter_mut().try_for_each(Slot::capture);
    let notes = Notes::new(&found, &origin, options, graphs.err());
    Ok(Box::new(TensorrtEngine {
        order: VecDeque::with_capacity(slots.len()),
        slots,
        layout,
        limit,
        regions: Regions::none(),
        finished: FinishedQueue::new(),
        device: found.device,
        pinned: Err("no arena is attached".to_owned()),
        notes,
    }))
}

pub(crate) fn probe(options: &EngineOptions) -> Availability {
    match library::open(&EngineOptions { device: None, ..options.clone() }) {
        Ok(found) => Availability {
            engine: NAME,
            version: Some(version(found.tensorrt.version)),
            library: Some(found.path),
            devices: found.devices,
            note: Some(found.device.name.clone()),
        },
        Err(error) => Availability::missing(NAME, error.to_string()),
    }
}

fn version(number: i32) -> String {
    format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100)
}

/// What the description says.
struct Notes {
    version: String,
    precision: &'static str,
    plan: String,
    graphs: String,
}

impl Notes {
    fn new(found: &Found, origin: &Origin, options: &EngineOptions, no_graphs: Option<String>) -> Self {
        let reduced = options.precision == Precision::Reduced;
        Self {
            version: version(found.tensorrt.version),
            // From 11 on the model alone says how it is computed.
            precision: if reduced && found.tensorrt.major < 11 { "f16" } else { "model" },
            plan: match origin {
                Origin::Cached => "plan from cache_dir".to_owned(),
                Origin::Built => "plan built and kept".to_owned(),
                Origin::BuiltOnly(reason) => format!("plan built and not kept ({reason})"),
            },
            graphs: no_graphs.map_or("CUDA graphs".to_owned(), |reason| format!("no CUDA graphs ({reason})")),
        }
    }
}

/// A plan on a device, with as many runs under way as it has slots.
struct TensorrtEngine {
    slots: Vec<Slot>,
    /// Slots that are under way, in the order in which they were started.
    order: VecDeque<usize>,
    layout: Arc<Layout>,
    /// Most frames in flight.
    limit: usize,
    regions: Regions,
    finished: FinishedQueue,
    device: Device,
    /// Whether the regions are pinned, or why not.
    pinned: Result<(), String>,
    notes: Notes,
}

impl TensorrtEngine {
    /// Takes frames that belong to one run.
    fn take(&mut self, frames: &mut [Frame<'_>]) -> Result<Submitted, EngineError> {
        let in_flight = self.in_flight();
        if in_flight + frames.len() > self.limit {
            return Err(EngineError::Busy { in_flight });
        }
        for frame in frames.iter() {
            area::check(&self.layout.specs, self.align_bytes(), frame.input, frame.output)?;
        }
        let index = self.free_slot();
        let slot = &mut self.slots[index];
        slot.started = Instant::now();
        match slot.start(frames, &self.regions) {
            Ok(true) => {
                slot.tickets.extend(frames.iter().map(|frame| frame.ticket));
                self.order.push_back(index);
                Ok(Submitted::Pending)
            }
            ended => {
                let (result, took) = (ended.map(|_| ()).map_err(EngineError::Run), slot.started.elapsed());
                for frame in frames {
                    self.finished.push(frame.ticket, result.clone(), took);
                }
                Ok(Submitted::Done)
            }
        }
    }

    /// A slot that is free; where none is, the oldest run is waited for.
    fn free_slot(&mut self) -> usize {
        if let Some(free) = self.slots.iter().position(|slot| slot.tickets.is_empty()) {
            return free;
        }
        let oldest = self.order.front().copied().unwrap_or(0);
        let result = self.slots[oldest].wait();
        self.retire(result);
        oldest
    }

    /// Hands out the tickets of the oldest run, which has ended.
    fn retire(&mut self, result: Result<(), String>) {
        let Some(index) = self.order.pop_front() else { return };
        let slot = &mut self.slots[index];
        let (result, took) = (result.map_err(EngineError::Run), slot.started.elapsed());
        for ticket in slot.tickets.drain(..) {
            self.finished.push(ticket, result.clone(), took);
        }
    }
}

impl Engine for TensorrtEngine {
    fn specs(&self) -> &Specs {
        &self.layout.specs
    }

    fn submit(&mut self, ticket: Ticket, input: &[u8], output: &mut [u8]) -> Result<Submitted, EngineError> {
        self.take(&mut [Frame { ticket, input, output }])
    }

    fn batch_max(&self) -> usize {
        self.layout.batch_max
    }

    fn submit_batch(&mut self, frames: &mut [Frame<'_>]) -> Result<Submitted, EngineError> {
        let max = self.layout.batch_max;
        if frames.is_empty() || frames.len() > max {
            return Err(EngineError::Batch { got: frames.len(), max });
        }
        self.take(frames)
    }

    fn attach(&mut self, regions: &Regions) -> Result<(), EngineError> {
        let inputs = regions.inputs().iter().map(|region| (region, true));
        let all = inputs.chain([(regions.outputs(), false)]).filter(|(region, _)| !region.is_empty());
        let pinned = all.map(|(region, read_only)| {
            // Devices that cannot tell reading from writing take the memory without the promise.
            self.device.register(region, read_only).or_else(|_| self.device.register(region, false))
        });
        // One that is refused does not keep the others from being pinned.
        self.pinned = pinned.collect::<Vec<_>>().into_iter().collect();
        // Memory that is not pinned lasts all the same: copies then go through the driver's own.
        self.regions = regions.clone();
        self.pinned.clone().map_err(EngineError::Attach)
    }

    fn poll(&mut self) -> Option<Finished> {
        if let Some(finished) = self.finished.pop() {
            return Some(finished);
        }
        let oldest = *self.order.front()?;
        match self.slots[oldest].is_done() {
            Ok(false) => None,
            ended => {
                self.retire(ended.map(|_| ()));
                self.finished.pop()
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.finished.len() + self.slots.iter().map(|slot| slot.tickets.len()).sum::<usize>()
    }

    fn warm_up(&mut self) -> Result<(), EngineError> {
        let mut areas = area::ScratchAreas::new(&self.layout.specs);
        for slot in &mut self.slots {
            for _ in 0..WARM_UP_RUNS {
                let (input, output) = areas.split();
                let ticket = Ticket(0);
                slot.start(&mut [Frame { ticket, input, output }], &Regions::none()).map_err(EngineError::Run)?;
            }
        }
        Ok(())
    }

    fn describe(&self) -> Description {
        let memory = match (&self.pinned, self.device.is_integrated) {
            (Ok(()), true) => "areas are used in place where they are aligned to 256 bytes".to_owned(),
            (Ok(()), false) => "arena pinned, one DMA each way".to_owned(),
            (Err(reason), _) => format!("frames are copied by the driver ({reason})"),
        };
        let (major, minor) = self.device.capability;
        let Notes { version, precision, plan, graphs } = &self.notes;
        Description {
            engine: NAME,
            version: version.clone(),
            device: self.device.name.clone(),
            precision,
            threads: 1,
            in_flight_max: self.limit,
            note: format!(
                "compute capability {major}.{minor}; {plan}; {graphs}; {memory}; batches of up to {}, {} runs under way",
                self.layout.batch_max,
                self.slots.len()
            ),
        }
    }
}
