//! Ports of poll-mode drivers, where this build has them.

#[cfg(not(feature = "dpdk"))]
mod missing;
#[cfg(feature = "dpdk")]
mod present;

#[cfg(not(feature = "dpdk"))]
pub(crate) use missing::{Environment, open, prepare};
#[cfg(feature = "dpdk")]
pub(crate) use present::{Environment, open, prepare};
