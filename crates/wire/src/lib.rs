//! The Flumeway frame protocol over UDP, version 1: parse and build, nothing else. In modules of their own: the packet
//! headers below UDP's payload ([`packet`]) and files of captured frames ([`pcap`]).
//!
//! `docs/PROTOCOL.md` describes every byte; this crate is its implementation for both sides. It owns no socket, keeps no
//! clock and reassembles no request (the gateway does that in the packet buffers themselves).
//!
//! ```text
//!             0            40                      128          header_len
//! datagram    | prefix     | fields of the kind    | extensions | payload .................. |
//!             | same in    | request.rs, reply.rs  | TLV, MAC   | one fragment of the frame  |
//!             | all versions                                      or of the result           |
//! ```
//!
//! The header length, extensions included, is a multiple of 64 bytes: a payload that arrives in a 64-byte aligned buffer
//! is itself 64-byte aligned and a tensor can be read where it lies.
//!
//! | file | what it holds |
//! |---|---|
//! | `layout` | where each field lies |
//! | `header` | what requests and replies share: envelope check, checksum, sealing |
//! | `extension`, `mac` | the area between base header and payload; the keyed MAC |
//! | `fragment` | the arithmetic of fragments, for both directions |
//! | `encoding` | pixel formats and their lengths |
//! | `request`, `reply` | the two kinds of datagram |
//! | `result`, `entries`, `tensor` | results: what the header says of them; classes and detections; tensors |
//! | `status` | status, reasons for drops and refusals |
//! | `error` | everything that can be wrong with a datagram, each with a stable code |
//! | `fragmenter`, `assembler` | for clients: one frame into datagrams, datagrams into one result |
//! | [`packet`] | Ethernet, VLAN tags, IPv4, IPv6, UDP: for drivers that see whole frames |
//! | [`pcap`] | headers of classic pcap files |
//!
//! Hot-path functions ([`RequestHeader::parse`], [`Request::authenticate`], [`ReplyHeader::write_header`],
//! [`write_classes`], [`write_detections`], all of [`packet`]) neither allocate nor panic, whatever the bytes.
#![forbid(unsafe_code)]

#[macro_use]
mod codes;

mod assembler;
mod encoding;
mod entries;
mod error;
mod extension;
mod fragment;
mod fragmenter;
mod header;
mod layout;
mod mac;
mod reply;
mod request;
mod result;
mod status;
mod tensor;

pub mod packet;
pub mod pcap;

pub use assembler::{CompleteReply, ReplyAssembler};
pub use codes::UnknownName;
pub use encoding::Encoding;
pub use entries::{
    ClassEntry, Classes, Detection, Detections, classes_len, detections_len, write_classes, write_detections,
};
pub use error::{BuildError, HeaderError, ReplyError, RequestError};
pub use fragment::{Fragment, FragmentError, FragmentPlan};
pub use fragmenter::Fragmenter;
pub use header::{FrameKey, header_len, reseal};
pub use mac::{MacError, MacKey, MacKeyError};
pub use reply::{Reply, ReplyHeader, StageTimes};
pub use request::{Request, RequestHeader};
pub use result::{ResultInfo, ResultView};
pub use status::{BadRequestReason, DropReason, Status};
pub use tensor::{ElementType, TensorShape, TensorView};

/// First four bytes of every datagram, "FLWY".
pub const MAGIC: [u8; 4] = *b"FLWY";
/// The protocol version that this crate speaks.
pub const VERSION: u8 = 1;
/// Length of the base header in bytes, for requests and for replies.
pub const BASE_HEADER_LEN: usize = 128;
/// Longest header in bytes, extensions included.
pub const MAX_HEADER_LEN: usize = 512;
/// Header lengths, fragment offsets and fragment lengths (except a last one's) are multiples of this many bytes.
pub const ALIGNMENT: usize = 64;
/// Largest UDP payload in bytes that fits a packet buffer behind its headers: 3 648 bytes of room less 320 for headroom.
pub const MAX_DATAGRAM: usize = 3_328;
/// Largest frame, and largest result, in bytes: 64 MiB.
pub const MAX_TOTAL_LEN: usize = 64 << 20;
/// Largest rank of a tensor.
pub const MAX_RANK: usize = 6;
