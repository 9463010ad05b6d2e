//! Drivers: how packets come into the arena's buffers and leave them.
//!
//! `host` parts need privilege or must outlive a stage (sockets, the vectors that the kernel fills); the supervisor holds
//! them. Data parts implement [`RxPort`] and [`TxPort`] for rx-gateway and tx on descriptors that they inherited.
//! A new driver is done when the suite of `conformance` (feature `conformance`) passes.

#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod port;
pub mod udp;

pub use error::PortError;
pub use port::{Datagram, Received, Refound, RxPort, SendOutcome, Sent, TxPort};
