//! The arena: everything that Flumeway's processes share, and the protocol by which they share it.
//!
//! Four regions of memory (control, packets, inputs, outputs), single-producer single-consumer rings of buffer indices,
//! and one 64-bit owner word per buffer and per slot. The words and ring membership are the only truth about where a
//! buffer is; whatever else there is can be rebuilt from them after any process has been killed at any instruction.
//!
//! Read in this order: [`owner`], [`ring`], [`descriptor`], [`attach`], [`frame`], [`reclaim`], [`page`], [`gateway`]. The states a
//! buffer can be in, and what the sweep does with each, are in `docs/decisions/0002-ownership-states.md`.
//!
//! What lies in mapped memory (`arena`, `region`, `layout`, `launch`, `audit`) is not there in a model checker's build, whose atomics
//! are no plain words.
//!
//! This crate holds the only unsafe code for shared memory, and the only raw atomics.

#![allow(clippy::disallowed_types, reason = "the atomics live here, behind `sync`")]

#[cfg(not(any(loom, shuttle)))]
pub mod arena;
pub mod attach;
#[cfg(not(any(loom, shuttle)))]
pub mod audit;
pub mod counters;
pub mod descriptor;
pub mod device;
#[cfg(not(any(loom, shuttle)))]
pub mod device_ring;
pub mod doorbell;
#[cfg(not(any(loom, shuttle)))]
pub mod facts;
pub mod frame;
pub mod gateway;
pub mod held;
pub mod histogram;
pub mod killpoint;
#[cfg(not(any(loom, shuttle)))]
pub mod launch;
#[cfg(not(any(loom, shuttle)))]
pub mod layout;
pub mod meta;
pub mod owner;
pub mod page;
pub mod reclaim;
pub mod record;
pub mod refill;
#[cfg(not(any(loom, shuttle)))]
pub mod region;
pub mod ring;
pub mod seeded;
#[cfg(not(any(loom, shuttle)))]
pub mod survey;
pub mod sync;
pub mod topology;

#[cfg(not(any(loom, shuttle)))]
pub use crate::arena::{Arena, ArenaError};
pub use crate::held::Held;
pub use crate::owner::{Me, Owner, OwnerId};
pub use crate::topology::{Geometry, Instance, StageKind};

/// CLOCK_MONOTONIC, nanoseconds: the time base of everything in the arena.
#[inline]
pub fn now_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
