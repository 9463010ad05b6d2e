//! DPDK: poll-mode drivers that receive into the arena's own buffers, and send from them.
//!
//! A stage that has a port runs the library itself, as a primary process of its own: rx-gateway one with ports to receive from,
//! tx one with a port to send by. The supervisor holds nothing of a device, so what waits in a device's queue when its stage
//! dies is lost, and counted.
//!
//! One incarnation's steps: [`Eal::init`] touches no device and may come early. [`DpdkRx::open`] and [`DpdkTx::open`] find and
//! configure the port, which resets it, and come after the predecessor's death alone. From then on no device has a buffer, and
//! words that still name one are taken back ([`take_unposted`](crate::RxPort::take_unposted)). The first
//! [`offer`](crate::RxPort::offer) that brings enough buffers starts the port.
//!
//! Who owns a buffer: in the pool or in a device's ring its word says [`OwnerId::device_rx`](arena::OwnerId::device_rx) of 0,
//! whatever the queue; a buffer in anybody else's hands is never in the pool. mbufs lie in front of the data in each buffer, are
//! written by this module and the device's driver alone, and are made anew by each incarnation.

mod access;
mod device;
mod eal;
mod error;
mod ffi;
mod idle;
mod memory;
mod names;
mod rx;
mod sockets;
mod statistics;
mod tx;

pub use access::{Classifier, FlowReport, FlowRules};
pub use device::{DeviceInfo, remove_forgotten};
pub use eal::{Eal, EalOptions, Versions, versions};
pub use error::DpdkError;
pub use idle::Idle;
pub use rx::{Before, DpdkRx, Filter, RxOptions};
pub use statistics::PortStatistics;
pub use tx::{DpdkTx, TxOptions};
