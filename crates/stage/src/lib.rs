//! One run loop for all stages: attach, layout check, pin, activation, heartbeat, wait, reload, drain, park.
//!
//! A stage is a library that implements [`Stage`] and a `main.rs` that calls [`run`]. It takes buffers from [`Inlet`]s and
//! hands them on through [`Outlet`]s; both know their watermarks and whom to wake.
#![forbid(unsafe_code)]

mod context;
mod inlet;
mod outlet;
mod recycle;
mod run;
mod stop;
mod wait;

pub use context::Context;
pub use inlet::{Inlet, Inlets};
pub use outlet::{Outlet, Spread};
pub use recycle::recycle;
pub use run::{Stage, run};
pub use stop::Stop;
