//! The atomics this crate is built on, in one place, so that model checkers and simulated deaths can take theirs.
//!
//! | build | atomics | a thread can die before any of its stores |
//! |---|---|---|
//! | ordinary | `core`'s, re-exported | no: processes die, see `tests/kill_step` |
//! | feature `simulated-death` | `core`'s, wrapped | yes |
//! | `--cfg loom` | loom's, wrapped | yes |
//! | `--cfg shuttle` | shuttle's, wrapped | yes |

#![allow(clippy::disallowed_types, reason = "this is the shim that everything else goes through")]

pub use core::sync::atomic::Ordering;

#[cfg(not(any(loom, shuttle, feature = "simulated-death")))]
pub use core::sync::atomic::{AtomicU32, AtomicU64, fence};

#[cfg(any(loom, shuttle, feature = "simulated-death"))]
pub mod death;
#[cfg(any(loom, shuttle, feature = "simulated-death"))]
mod mortal;
#[cfg(any(loom, shuttle, feature = "simulated-death"))]
pub use mortal::{AtomicU32, AtomicU64, fence};
