//! The part of libdpdk that Flumeway calls, as C declares it.
//!
//! `build.rs` makes the bindings from the headers that are installed, and compiles `shim.c` and `buffers.c`, which have a
//! function for each of DPDK's inline functions that is needed, and plain structures in place of those that change from
//! release to release. Everything else of DPDK is left out on purpose.
//!
//! Safe wrappers: `ports::dpdk`.

#![cfg(feature = "library")]
#![allow(non_camel_case_types, non_upper_case_globals, reason = "C's names")]
#![allow(missing_docs, clippy::pedantic, clippy::missing_safety_doc, reason = "generated; DPDK's documentation holds")]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

/// Release of the libdpdk that the bindings were made from, e.g. `22.11.11`.
pub const RELEASE: &str = env!("FLUMEWAY_DPDK_VERSION");
