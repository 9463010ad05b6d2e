//! AF_XDP: the kernel puts a queue's packets into the arena's own buffers, and sends from them.
//!
//! The supervisor registers the arena's packets region as UMEM, opens two sockets per queue on it (R with RX and FILL for
//! rx-gateway, T with TX and COMPLETION for tx) and keeps every descriptor, so that the kernel goes on filling and sending
//! while a stage is dead. The stages map the rings and need no privilege.
//!
//! Who owns which buffer meanwhile: `arena::device`. The ordinary UDP socket on the same port serves what the XDP program
//! leaves to the kernel: frames on queues without a socket, IPv6 with extension headers, and replies to where no link is known.

mod ffi;
mod host;
#[cfg(feature = "conformance")]
pub mod rings_for_tests;
mod rx;
mod sockets;
mod tx;

pub use host::{Choice, Chosen, Host, Options, examine};
pub use rx::{AfXdpRx, RxOptions};
pub use sockets::{Pair, Wanted};
pub use tx::{AfXdpTx, TxOptions};

use arena::OwnerId;
use arena::device::MAX_QUEUES;
use arena::layout::{BUFFER_BYTES, DATA_OFFSET};

/// What the kernel leaves free at the beginning of a chunk besides the configured headroom (`XDP_PACKET_HEADROOM`).
const KERNEL_HEADROOM: u32 = 256;
/// Ethernet, IPv4 and UDP headers.
const PLAIN_HEADERS: u32 = 14 + 20 + 8;
/// Headroom of the UMEM: with it an untagged IPv4 datagram begins at [`DATA_OFFSET`], and a tensor in it lies aligned.
const HEADROOM: u32 = DATA_OFFSET as u32 - KERNEL_HEADROOM - PLAIN_HEADERS;
/// Longest frame that fits behind the headroom, bytes, with two VLAN tags and without checksum. The same for every driver
/// that receives into these buffers: what DPDK's layout of a buffer leaves.
pub const MAX_FRAME: u32 = 3648;
/// Largest MTU that is accepted: a frame of it has a link header and two tags besides.
pub const MAX_MTU: u32 = MAX_FRAME - 14 - 8;

/// Which buffer an address in a ring lies in, and where: addresses are allegations.
const fn split(address: u64) -> Option<(u32, u16)> {
    let (index, offset) = (address / BUFFER_BYTES, address % BUFFER_BYTES);
    if index > u32::MAX as u64 { None } else { Some((index as u32, offset as u16)) }
}

/// Owner ids of a queue's two sides; `None` beyond [`MAX_QUEUES`].
fn owners(queue: u32) -> Option<(OwnerId, OwnerId)> {
    let queue = u8::try_from(queue).ok().filter(|q| *q < MAX_QUEUES)?;
    Some((OwnerId::device_rx(queue), OwnerId::device_tx(queue)))
}
