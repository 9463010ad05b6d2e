//! The interface that every engine implements.

use crate::error::EngineError;
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

/// What runs, for logs and `flumeway engines`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Name of the engine.
    pub engine: &'static str,
    /// Where it computes: `cpu`, or `none` for the test engines.
    pub device: &'static str,
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
    /// `{"engine":..,"device":..,"precision":..,"threads":..,"in_flight_max":..,"note":..}`.
    pub fn to_json(&self) -> Value {
        json!({
            "engine": self.engine,
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
/// goes on after `submit` (`Submitted::Pending`) must not rely on these borrows. Its constructor, an `unsafe fn` in this crate's
/// `ffi.rs`, is given the arena's input and output regions once, with the promise that they stay mapped for the engine's life (it needs
/// them anyway, to pin or import the memory); `submit` then checks that both areas lie inside these regions and keeps addresses in them. An area
/// from elsewhere is computed synchronously or refused. That nobody touches an area while its ticket is out is the caller's part of that
/// promise, and in a stage it holds because the frame's owner word names the stage.
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
        align_of::<f32>()
    }
}
