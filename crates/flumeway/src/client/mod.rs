//! A client of the Flumeway frame protocol: sends frames at a fixed rate, receives the answers, and accounts for each frame.
//!
//! [`run`] executes a [`SendPlan`] and gives back a [`SendReport`]. It is an *open loop*: the time at which a frame is due
//! follows from the rate alone, never from the answers, and latency is counted from the time at which the frame was due,
//! not from the time at which a late sender got round to it. A slow pipeline therefore cannot slow its own measurement
//! (no coordinated omission). Rate 0 is the exception: as fast as the window of unanswered frames allows.
//!
//! ```text
//!   schedule --> transmit --> impair --> socket ==> pipeline
//!      due times   fragments    loss, reorder, copies
//!                      |
//!                 outstanding  <-- receive <-- socket <== pipeline
//!                      |              checks, latency, stage times
//!                   report
//! ```
//!
//! One thread does both directions from one socket: on a small machine a second one would compete with the stages it
//! measures, and between two datagrams the receive side is always looked at.

mod convert;
mod frame;
mod generate;
mod impair;
mod kernel_drops;
mod observer;
mod outstanding;
mod plan;
mod random;
mod receive;
mod report;
mod run;
mod schedule;
mod socket;
mod statistics;
mod transmit;

pub use frame::{Frame, FrameError, load_files};
pub use generate::{generate_images, generate_tensors};
pub use impair::{Impairments, Simulated};
pub use observer::{Answer, Observer, Silent};
pub use plan::{PlanError, SendPlan};
pub use report::{Datagrams, KernelDropped, SendReport, StageReport, Unsent};
pub use run::{RunError, run};
pub use statistics::{Distribution, Percentiles};
