//! Kernel UDP sockets: the default, without privilege.
//!
//! The kernel's `recvmmsg` and `sendmmsg` work on vectors of headers. These lie in a memfd that the supervisor created
//! and only it and the stage map, with every `msg_len` zeroed before the call: after a SIGKILL between the kernel's
//! dequeue and the process's own record, the successor finds what was received (or sent) by its `msg_len`.

mod ancillary;
mod ffi;
mod host;
mod rx;
mod tx;

pub use host::Host;
pub use rx::UdpRx;
pub use tx::UdpTx;

/// Entries of a vector: the largest burst.
pub const VECTOR: usize = 256;
/// Largest datagram received, bytes (`wire::MAX_DATAGRAM`).
pub const MAX_DATAGRAM: usize = wire::MAX_DATAGRAM;
