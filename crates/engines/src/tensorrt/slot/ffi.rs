//! Asynchronous copies between areas and device.
#![allow(unsafe_code)]

use super::Layout;
use crate::area::{self, Scratch};
use crate::engine::{Frame, Ticket};
use crate::regions::Regions;
use crate::shim::{self, Element};
use crate::tensorrt::cuda::{Buffer, Device, Event, Graph, Stream};
use crate::tensorrt::ffi::{Context, INPUT, Loaded, OUTPUT};
use std::sync::Arc;
use std::time::Instant;

/// Alignment that TensorRT asks of a tensor's address.
const TENSOR_ALIGN_BYTES: u64 = 256;

/// One run at a time.
pub(in crate::tensorrt) struct Slot {
    /// Frames of the run, in the order of the batch; empty when the slot is free.
    pub tickets: Vec<Ticket>,
    pub started: Instant,
    device: Device,
    layout: Arc<Layout>,
    /// The run of `single`, and gone before it.
    graph: Option<Graph>,
    /// For one frame: shapes and addresses never change, so that its run can be a graph.
    single: Context,
    /// For one frame in memory that the device reads and writes where it is.
    in_place: Option<Context>,
    /// For several.
    batch: Option<Context>,
    inputs: Vec<Buffer>,
    outputs: Vec<Buffer>,
    /// Where outputs go first that are converted.
    converted: Vec<Option<Scratch>>,
    event: Event,
    stream: Stream,
}

impl Slot {
    /// # Errors
    /// The device has no memory left, or what TensorRT says.
    pub(in crate::tensorrt) fn new(
        device: &Device,
        loaded: &Arc<Loaded>,
        layout: &Arc<Layout>,
    ) -> Result<Self, String> {
        let frames = layout.batch_max;
        let inputs = layout.specs.inputs().iter().map(|spec| device.allocate(spec.bytes() * frames));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let places = 0..layout.specs.outputs().len();
        let outputs = places.clone().map(|index| device.allocate(layout.output_bytes(index) * frames));
        let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
        let converted = places.map(|index| {
            let is_plain = matches!(layout.elements[index], Element::Area(_));
            (!is_plain).then(|| Scratch::new(layout.output_bytes(index) * frames))
        });
        let context = || loaded.context().map_err(|failure| failure.message);
        let mut slot = Self {
            tickets: Vec::with_capacity(frames),
            started: Instant::now(),
            device: device.clone(),
            layout: Arc::clone(layout),
            graph: None,
            single: context()?,
            in_place: if device.is_integrated && layout.is_plain() { Some(context()?) } else { None },
            batch: if frames > 1 { Some(context()?) } else { None },
            inputs,
            outputs,
            converted: converted.collect(),
            event: device.event()?,
            stream: device.stream()?,
        };
        // The first runs are on what stands there: zeros and not what somebody left.
        slot.inputs.iter_mut().try_for_each(|buffer| slot.stream.clear(buffer))?;
        shape(&mut slot.single, &slot.layout, 1)?;
        bind(&mut slot.single, &slot.inputs, &slot.outputs)?;
        if let Some(context) = &mut slot.in_place {
            shape(context, &slot.layout, 1)?;
        }
        if let Some(context) = &mut slot.batch {
            bind(context, &slot.inputs, &slot.outputs)?;
        }
        Ok(slot)
    }

    /// Records the run of one frame as a graph, after a run that leaves nothing to set up.
    ///
    /// # Errors
    /// The model runs, but not as a graph.
    pub(in crate::tensorrt) fn capture(&mut self) -> Result<(), String> {
        self.device.enter()?;
        let (stream, single) = (&self.stream, &mut self.single);
        // SAFETY: needed because a run follows addresses. The buffers are bound, as large as the batch, and live as long as the context.
        unsafe { single.enqueue(stream)? };
        stream.wait()?;
        // SAFETY: as above; the graph goes before buffers and context do, and `drop` waits for it.
        let graph = stream.capture(|| unsafe { single.enqueue(stream) })?;
        self.graph = Some(graph);
        Ok(())
    }

    /// Starts a run of `frames`, which have passed [`area::check`] and are at most a batch. Returns whether it goes on: where any area lies outside of
    /// `regions`, and after an error, nothing is under way any more.
    ///
    /// # Errors
    /// What driver or TensorRT says.
    pub(in crate::tensorrt) fn start(&mut self, frames: &mut [Frame<'_>], regions: &Regions) -> Result<bool, String> {
        self.device.enter()?;
        let lasting = self.layout.is_plain() && frames.iter().all(|frame| regions.contain(frame.input, frame.output));
        let enqueued = self.enqueue(frames, lasting);
        if lasting && enqueued.is_ok() {
            return Ok(true);
        }
        let waited = self.stream.wait();
        enqueued.and(waited)?;
        self.convert(frames).map(|()| false)
    }

    fn enqueue(&mut self, frames: &mut [Frame<'_>], lasting: bool) -> Result<(), String> {
        let in_place = match frames {
            [only] if lasting => self.bind_in_place(only)?,
            _ => false,
        };
        if in_place {
            let Some(context) = &mut self.in_place else { return Ok(()) };
            // SAFETY: needed because a run follows addresses. Those of the areas' tensors were bound just now; the areas are the engine's until the ticket
            // is handed back, in memory that lasts.
            unsafe { context.enqueue(&self.stream)? };
            return self.stream.record(&self.event);
        }
        for (place, frame) in frames.iter().enumerate() {
            for (index, buffer) in self.inputs.iter().enumerate() {
                let Some(tensor) = self.layout.specs.input_range(index).and_then(|range| frame.input.get(range)) else {
                    continue;
                };
                // SAFETY: needed because the copy goes on. The area is readable until the run has ended: it lasts, or `start` waits. The buffer has room
                // for a batch, and nobody uses it but this slot.
                unsafe {
                    self.stream.copy_in(
                        buffer.address + (place * tensor.len()) as u64,
                        tensor.as_ptr(),
                        tensor.len(),
                    )?;
                };
            }
        }
        self.run(frames.len())?;
        for (place, frame) in frames.iter_mut().enumerate() {
            for (index, buffer) in self.outputs.iter().enumerate() {
                let bytes = self.layout.output_bytes(index);
                let from = buffer.address + (place * bytes) as u64;
                let area = self.layout.specs.output_range(index).and_then(|range| frame.output.get_mut(range));
                let scratch = self.converted[index].as_mut();
                let scratch = scratch.and_then(|scratch| scratch.get_mut().get_mut(place * bytes..(place + 1) * bytes));
                let Some(target) = scratch.or(area).filter(|target| target.len() == bytes) else { continue };
                // SAFETY: as above: target and buffer have `bytes` there, and are the engine's until the run has ended.
                unsafe { self.stream.copy_out(target.as_mut_ptr(), from, bytes)? };
            }
        }
        self.stream.record(&self.event)
    }

    fn run(&mut self, frames: usize) -> Result<(), String> {
        if frames == 1 {
            return match &self.graph {
                Some(graph) => self.stream.launch(graph),
                // SAFETY: needed because a run follows addresses. The buffers are bound, as large as the batch, and live as long as the context.
                None => unsafe { self.single.enqueue(&self.stream) },
            };
        }
        let Some(context) = &mut self.batch else { return Err("the plan takes single frames".to_owned()) };
        shape(context, &self.layout, frames as i64)?;
        // SAFETY: as above.
        unsafe { context.enqueue(&self.stream) }
    }

    /// Binds the areas themselves, where the device sees them and they are aligned as TensorRT wants them; returns whether.
    fn bind_in_place(&mut self, frame: &mut Frame<'_>) -> Result<bool, String> {
        let Some(context) = &mut self.in_place else { return Ok(false) };
        let specs = &self.layout.specs;
        let on_device =
            |at: usize| self.device.address_of(at).filter(|address| address.is_multiple_of(TENSOR_ALIGN_BYTES));
        for (index, &offset) in specs.input_offsets().iter().enumerate() {
            let Some(address) = on_device(frame.input.as_ptr().addr() + offset) else { return Ok(false) };
            context.bind(INPUT, index, address)?;
        }
        for (index, &offset) in specs.output_offsets().iter().enumerate() {
            let Some(address) = on_device(frame.output.as_ptr().addr() + offset) else { return Ok(false) };
            context.bind(OUTPUT, index, address)?;
        }
        Ok(true)
    }

    /// Writes the outputs that are converted.
    fn convert(&self, frames: &mut [Frame<'_>]) -> Result<(), String> {
        for (index, scratch) in self.converted.iter().enumerate() {
            let Some(scratch) = scratch else { continue };
            for (frame, from) in frames.iter_mut().zip(scratch.get().chunks_exact(self.layout.output_bytes(index))) {
                let target =
                    area::output(&self.layout.specs, frame.output, index).map_err(|error| error.to_string())?;
                shim::convert(self.layout.elements[index], from, target);
            }
        }
        Ok(())
    }

    /// Whether the run that was started last has ended.
    ///
    /// # Errors
    /// It has failed, and ended.
    pub(in crate::tensorrt) fn is_done(&self) -> Result<bool, String> {
        self.device.enter()?;
        self.event.is_past()
    }

    /// Waits for the run.
    ///
    /// # Errors
    /// It has failed, and ended.
    pub(in crate::tensorrt) fn wait(&self) -> Result<(), String> {
        self.device.enter()?;
        self.stream.wait()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Whatever is still under way reads and writes areas, buffers and contexts. After an error the device does nothing any more.
        let _ = self.wait();
    }
}

/// Sets the shapes of all inputs for so many frames.
fn shape(context: &mut Context, layout: &Layout, frames: i64) -> Result<(), String> {
    for (index, sizes) in layout.sizes.iter().enumerate() {
        let mut dims = sizes.least;
        // Only a dimension that was left open for batches differs.
        if frames > 1 {
            dims[0] *= frames;
        }
        context.shape(index, &dims)?;
    }
    Ok(())
}

fn bind(context: &mut Context, inputs: &[Buffer], outputs: &[Buffer]) -> Result<(), String> {
    for (index, buffer) in inputs.iter().enumerate() {
        context.bind(INPUT, index, buffer.address)?;
    }
    for (index, buffer) in outputs.iter().enumerate() {
        context.bind(OUTPUT, index, buffer.address)?;
    }
    Ok(())
}
