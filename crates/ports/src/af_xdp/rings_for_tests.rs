//! The rings that the kernel writes, mapped once more: for tests that write into them what no kernel does.

use super::ffi::{self, RingKind};
use arena::device_ring::DeviceRing;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// RX of a receiving socket with rings of `entries` entries.
///
/// # Errors
/// What the kernel says.
pub fn rx(socket: BorrowedFd<'_>, entries: u32) -> Result<DeviceRing, Errno> {
    ffi::map(socket, RingKind::Rx, entries)
}

/// COMPLETION of a sending socket with rings of `entries` entries.
///
/// # Errors
/// What the kernel says.
pub fn completion(socket: BorrowedFd<'_>, entries: u32) -> Result<DeviceRing, Errno> {
    ffi::map(socket, RingKind::Completion, entries)
}
