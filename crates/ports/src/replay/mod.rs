//! Replay: frames come from one capture file and replies go into another (classic pcap, Ethernet).
//!
//! Both files and the cursors in them are the supervisor's, so that a death of either stage costs nothing:
//!
//! ```text
//! rx    frame into a free buffer    slot := (number, buffer, next offset)    ...recorded...    slot := recorded
//! tx    slots := (head, end)        records written behind `committed`       committed := end of the last one
//! ```
//!
//! A packet is consumed when it is recorded in the arena's words: its slot leads a successor to the buffer that it lies in, and
//! the slot with the highest number says where to read on. A reply is in the file when `committed` is behind it: what a dead
//! incarnation wrote beyond is cut off, and its head, which nobody has settled, is sent again.

mod ffi;
mod host;
mod page;
mod reader;
mod rx;
mod tx;

pub use host::{Host, Options, Progress, examine};
pub use rx::{ReplayRx, RxOptions, Speed};
pub use tx::ReplayTx;

/// Packets that may be unrecorded at once: the largest burst.
pub const SLOTS: usize = 256;
/// Replies of one call to the driver.
pub const BURST: usize = 64;
