//! Sockets that drivers open and forget.
//!
//! `net_af_xdp`: the driver's library gives a queue's socket up and keeps its descriptor; the queue stays taken for as long as the process
//! lives, and neither this process nor a successor can have it. What is left is closed here.
//!
//! Both drivers on interfaces of the kernel open sockets that a program started by this process would inherit: a socket of
//! `net_af_packet` that lived on there would go on taking its share of the packets.

use super::ffi;
use std::os::fd::RawFd;
use std::sync::{Mutex, PoisonError};

/// A descriptor, and which socket it is: a number may have been given to another one meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Socket(RawFd, String);

/// Families that drivers use.
const FAMILIES: [i32; 2] = [libc::AF_XDP, libc::AF_PACKET];

/// By the devices' names. Ports are configured by one thread at a time.
static NOTED: Mutex<Vec<(String, Socket)>> = Mutex::new(Vec::new());

/// Sockets of drivers in this process.
fn open() -> Vec<Socket> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let socket = |entry: std::fs::DirEntry| {
        let link = std::fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok()?;
        let fd = entry.file_name().to_str()?.parse().ok()?;
        (link.starts_with("socket:") && FAMILIES.contains(&ffi::family(fd)?)).then_some(Socket(fd, link))
    };
    entries.filter_map(socket).collect()
}

/// No program that this process starts gets them.
pub(super) fn keep_private() {
    for Socket(fd, _) in open() {
        ffi::close_on_exec(fd);
    }
}

/// Does `work`, and notes the sockets that are new then as the device's.
pub(super) fn noting<T>(device: &str, work: impl FnOnce() -> T) -> T {
    let before = open();
    let result = work();
    let new = open().into_iter().filter(|socket| !before.contains(socket));
    NOTED.lock().unwrap_or_else(PoisonError::into_inner).extend(new.map(|socket| (device.to_owned(), socket)));
    keep_private();
    result
}

/// Closes what is left of a device that was taken away. Nobody uses it any more.
pub(super) fn close(device: &str) {
    let mut noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner);
    let left = if noted.iter().any(|(of, _)| of == device) { open() } else { return };
    for (_, socket) in noted.extract_if(.., |(of, _)| of == device).filter(|(_, socket)| left.contains(socket)) {
        ffi::close(socket.0);
    }
}
