//! Classic pcap files of Ethernet frames: the two headers, read and written (draft-gharris-opsawg-pcap).
//!
//! ```text
//!             0              24              40                    40 + captured_len
//! file        | file header  | record header | bytes of the frame  | record header | ...
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `file` | the file header: byte order, resolution of times, link type |
//! | `record` | the record header: when, how long |
//! | `error` | what can be wrong with either |
//!
//! Files and buffers are the caller's: nothing here reads, seeks or allocates. Both byte orders and both resolutions are
//! read and written; new files are little-endian with nanoseconds. Of link types Ethernet alone is read.

mod error;
mod file;
mod record;

pub use error::{FileError, RecordError};
pub use file::{ByteOrder, FileHeader, Resolution};
pub use record::RecordHeader;

/// Length of the file header in bytes.
pub const FILE_HEADER_LEN: usize = 24;
/// Length of a record header in bytes.
pub const RECORD_HEADER_LEN: usize = 16;
/// Most bytes of a frame that a record may hold; libpcap's own limit for Ethernet. It bounds a reader's buffer.
pub const MAX_CAPTURED_LEN: u32 = 262_144;
/// LINKTYPE_ETHERNET: frames begin with the destination MAC and end before the check sequence.
pub const LINK_TYPE_ETHERNET: u32 = 1;
