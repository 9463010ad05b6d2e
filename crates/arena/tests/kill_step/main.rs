//! SIGKILL after each machine instruction of the ownership protocol's operations, in the code of the release build.
//!
//! A real process attaches to a real arena and performs an operation, single-stepped with ptrace and killed after 0, 1,
//! 2, ... instructions of the code that the compiler really made. After each death the buffers are reclaimed, the next
//! incarnation goes on, and an audit that knows what each living stage believes it holds must find every buffer and
//! every slot in exactly one place.
//!
//! Push, pop, batches and the sweep die after each of their instructions, whatever it takes. Longer operations do too
//! if that fits into `KILLSTEP_BUDGET_S` seconds; if not, they die after each change of shared memory and in strides
//! between, and the line that the scenario prints says so. A budget of 0 is for runs that plant a bug: changes alone.
//!
//! `make killstep` runs it; what depends on the machine is in `step.rs`.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_types, reason = "shared words come from `arena::sync`")]

mod answers;
mod device;
mod gateway;
mod handover;
mod recovery;
mod scenario;
mod stages;
mod step;
mod supervisor;
mod tracer;
mod world;
