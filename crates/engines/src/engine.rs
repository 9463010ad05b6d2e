//! The interface that every engine implements.

use crate::error::EngineError;
use crate::regions::Regions;
use crate::spec::Specs;
use serde_json::{Value, json};

/// The caller's name for a submitted frame; the engine only hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// How far a frame is when `submit` returns. Its ticket comes back from `poll` in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// The engine has finished with both areas; the next `poll` returns a ticket without waiting.
    Done,
    /// The engine works on it; both areas are the engine's until `poll` returns the ticket.
    Pending,
}

/// A frame that the engine has finished with, well or not.
#[derive(Debug)]
pub struct Finished {
    /// As given to `submit`.
    pub ticket: Ticket,
    /// Whether the output area holds an answer. After an error it holds nothing meaningful.
    pub result: Result<(), EngineError>,
    /// Time the engine spent on it, queueing in the engine included, in nanoseconds.
    pub compute_ns: u64,
}

/// One frame of a batch, as [`Engine::submit`] takes it.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Comes back from `poll`, each frame's for itself.
    pub ticket: Ticket,
    /// Its tensors, in the layout of the specs.
    pub input: &'a [u8],
    /// Where its results belong.
    pub output: &'a mut [u8],
}

/// What runs, for logs and `flumeway engines`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Name of the engine.
    pub engine: &'static str,
    /// Version of the library that computes, as it says itself; the crate's for engines that are built in.
    pub version: String,
    /// Where it computes: `cpu`, the device's own name, or `none` for the test engines.
    pub device: String,
    /// Number format it computes in.
    pub precision: &'static str,
    /// Threads that compute one frame.
    pub threads: usize,
    /// Most frames in flight, those finished and not yet polled included.
    pub in_flight_max: usize,
    /// Why a better choice was not made, and what is special.
    pub note: String,
}

impl Description {
    /// `{"engine":..,"version":..,"device":..,"precision":..,"threads":..,"in_flight_max":..,"note":..}`.
    pub fn to_json(&self) -> Value {
        json!({
            "engine": self.engine,
            "version": self.version,
            "device": self.device,
            "precision": self.precision,
            "threads": self.threads,
            "in_flight_max": self.in_flight_max,
            "note": self.note,
        })
    }
}

/// An engine with a model in it.
///
/// # Areas and their lifetime
/// `submit` borrows both areas for the call only, so an engine that finishes inside it (`Submitted::Done`) is safe code. An engine that
/// goes on after `submit` (`Submitted::Pending`) must not rely on these borrows: [`Engine::attach`] gives it, once, the [`Regions`] in
/// which areas lie and which stay mapped as long as the process lives (it may want them anyway, to pin or import the memory); `submit` then
/// checks that both areas lie inside and keeps addresses. A frame from elsewhere is computed inside `submit`. That nobody touches an area while
/// its ticket is out is the caller's part, and in a stage it holds because the frame's owner word names the stage.
///
/// # Batches
/// [`Specs`] describe one frame. An engine that gains by computing several at once says so by [`Engine::batch_max`]; each frame keeps areas
/// and ticket of its own. Where the engine needs the inputs of a batch side by side, it gathers them itself, and that is the one copy there is.
///
/// # Errors
/// An error from `submit` means that the engine has not taken the ticket: it will not come back. What goes wrong
/// later comes back as [`Finished::result`].
pub trait Engine: Send {
    /// The model's tensors and the layout of the areas. Fixed for the engine's life.
    fn specs(&self) -> &Specs;

    /// Takes a frame. `input` has exactly [`Specs::input_bytes`], `output` exactly [`Specs::output_bytes`]; both start at a multiple of
    /// [`Engine::align_bytes`]. `input` is only read. The whole of each output tensor is written.
    ///
    /// # Errors
    /// [`EngineError`]: wrong length or alignment, or [`EngineError::Busy`] when [`Description::in_flight_max`] is reached (poll first).
    fn submit(&mut self, ticket: Ticket, input: &[u8], output: &mut [u8]) -> Result<Submitted, EngineError>;

    /// Most frames that [`Engine::submit_batch`] takes at once; 1 where a batch gains nothing, or the model's shape does not allow one.
    fn batch_max(&self) -> usize {
        1
    }

    /// Takes 1 to [`Engine::batch_max`] frames and computes them together; an error means that none was taken.
    ///
    /// # Errors
    /// As [`Engine::submit`], and [`EngineError::Batch`] for a number of frames that the engine cannot take.
    fn submit_batch(&mut self, frames: &mut [Frame<'_>]) -> Result<Submitted, EngineError> {
        match frames {
            [only] => self.submit(only.ticket, only.input, only.output),
            _ => Err(EngineError::Batch { got: frames.len(), max: 1 }),
        }
    }

    /// Tells where areas will lie; call it at most once, before the first frame. Engines that compute inside `submit` do not care.
    ///
    /// # Errors
    /// [`EngineError::Attach`]: a device refuses the memory. The engine can be used all the same, with copies, as [`Engine::describe`] then says.
    fn attach(&mut self, regions: &Regions) -> Result<(), EngineError> {
        let _ = regions;
        Ok(())
    }

    /// Takes back a finished frame; `None` if there is none at the moment. Never waits. Tickets may come back in another order.
    fn poll(&mut self) -> Option<Finished>;

    /// Frames taken and not yet handed back.
    fn in_flight(&self) -> usize;

    /// Runs the model a few times on zeros, so that the first frame does not pay for caches, page faults and lazy set-up. Call before
    /// the first `submit`; it may allocate.
    ///
    /// # Errors
    /// [`EngineError`]: the model does not run.
    fn warm_up(&mut self) -> Result<(), EngineError>;

    /// What runs.
    fn describe(&self) -> Description;

    /// Alignment that `submit` demands of both areas, at most [`crate::AREA_ALIGN_BYTES`]. A tensor in a packet
    /// that meets it can be read where it lies.
    fn align_bytes(&self) -> usize {
        crate::null::ALIGN_BYTES
    }
}
