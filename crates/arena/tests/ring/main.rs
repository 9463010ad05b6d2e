//! Rings, owner words and reclaim over plain memory, against oracles.

#![allow(clippy::disallowed_types, reason = "the words of the rings under test come from `arena::sync`")]

mod flow;
mod poison;
mod reclaim_model;
mod rig;
mod step_over;
mod sweep;
mod two_ends;
