//! The atomics this crate is built on, in one place, so that a model checker can take theirs.

#![allow(clippy::disallowed_types, reason = "this is the shim that everything else goes through")]

pub use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
