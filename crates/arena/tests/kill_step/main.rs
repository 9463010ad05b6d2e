//! SIGKILL after each machine instruction of the ownership protocol's operations.
//!
//! A real process attaches to a real arena and performs an operation, single-stepped with ptrace and killed after 0, 1,
//! 2, ... instructions of the code that the compiler really made. After each death the buffers are reclaimed, the next
//! incarnation goes on, and an audit that knows what each living stage believes it holds must find every buffer and
//! every slot in exactly one place.
//!
//! All that a death can leave behind is shared memory, so every state that an operation takes it through is followed by a
//! death. Beyond that, a death after each single instruction takes n * n / 2 steps for n instructions; where that exceeds
//! a scenario's budget it is done in strides, and the line that the scenario prints says so.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::disallowed_types, reason = "shared words come from `arena::sync`")]

mod gateway;
mod stages;
mod supervisor;
mod tracer;
mod world;
