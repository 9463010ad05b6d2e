//! Drivers: how packets come into the arena's buffers and leave them.
//!
//! `host` parts need privilege or must outlive a stage (sockets, the vectors that the kernel fills); the supervisor holds
//! them. Data parts implement [`RxPort`] and [`TxPort`] for rx-gateway and tx on descriptors that they inherited.
//! A new driver is done when the suite of `conformance` (feature `conformance`) passes.

pub mod af_xdp;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "dpdk")]
pub mod dpdk;
mod drivers;
mod error;
mod ethernet;
mod port;
pub mod replay;
pub mod udp;
pub mod xdp;

pub use drivers::drivers;
pub use error::PortError;
pub use ethernet::stored as stored_link;
pub use port::{
    Datagram, DeviceCounts, LinkState, Reaped, Received, Refound, Route, RxPort, SendOutcome, Sent, Standing,
    StartTimes, TxPort,
};
