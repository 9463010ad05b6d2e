//! AF_XDP system calls (`linux/if_xdp.h`, Documentation/networking/af_xdp.rst).
//!
//! Why unsafe: libc has the constants and structures of AF_XDP, and nobody has the calls.

#![allow(clippy::borrow_as_ptr, reason = "the C interface takes addresses")]

use arena::device_ring::{DeviceRing, RingOffsets};
use rustix::io::Errno;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

/// Socket option of `SOL_SOCKET`: NAPI is driven by this socket's busy polling (linux/socket.h; libc lacks it on some targets).
const SO_PREFER_BUSY_POLL: libc::c_int = 69;
/// Packets per busy poll.
const SO_BUSY_POLL_BUDGET: libc::c_int = 70;

/// One of the four rings of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RingKind {
    Rx,
    Tx,
    Fill,
    Completion,
}

impl RingKind {
    const fn option(self) -> libc::c_int {
        match self {
            Self::Rx => libc::XDP_RX_RING,
            Self::Tx => libc::XDP_TX_RING,
            Self::Fill => libc::XDP_UMEM_FILL_RING,
            Self::Completion => libc::XDP_UMEM_COMPLETION_RING,
        }
    }

    const fn page_offset(self) -> u64 {
        match self {
            Self::Rx => libc::XDP_PGOFF_RX_RING as u64,
            Self::Tx => libc::XDP_PGOFF_TX_RING as u64,
            Self::Fill => libc::XDP_UMEM_PGOFF_FILL_RING,
            Self::Completion => libc::XDP_UMEM_PGOFF_COMPLETION_RING,
        }
    }

    /// Bytes of an entry: `struct xdp_desc`, or an address.
    const fn stride(self) -> usize {
        match self {
            Self::Rx | Self::Tx => 16,
            Self::Fill | Self::Completion => 8,
        }
    }
}

/// Maps `kind` of a bound socket whose rings have `entries` entries.
pub(super) fn map(socket: BorrowedFd<'_>, kind: RingKind, entries: u32) -> Result<DeviceRing, Errno> {
    let all: libc::xdp_mmap_offsets = get(socket, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS)?;
    let o = match kind {
        RingKind::Rx => all.rx,
        RingKind::Tx => all.tx,
        RingKind::Fill => all.fr,
        RingKind::Completion => all.cr,
    };
    let at = RingOffsets {
        page: kind.page_offset(),
        producer: o.producer,
        consumer: o.consumer,
        flags: o.flags,
        entries: o.desc,
        stride: kind.stride(),
    };
    DeviceRing::map(socket, at, entries)
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn set<T>(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &T) -> Result<(), Errno> {
    // SAFETY: needed for options that rustix does not have; pointer and length describe a live value that the kernel reads.
    let rc = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const *value).cast(), size_of::<T>() as libc::socklen_t)
    };
    if rc == 0 { Ok(()) } else { Err(last()) }
}

/// Only for structures of plain numbers: every pattern of bytes must be a value.
fn get<T: Plain>(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> Result<T, Errno> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: as above, for writing; the kernel writes `len` bytes at most.
    let rc = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut len) };
    if rc != 0 {
        return Err(last());
    }
    // SAFETY: zeroed before, and any bytes are a value of a `Plain` type.
    Ok(unsafe { value.assume_init() })
}

/// Structures of which any bytes are a value.
trait Plain {}
impl Plain for libc::xdp_mmap_offsets {}
impl Plain for libc::xdp_statistics {}
impl Plain for libc::xdp_options {}

/// A new AF_XDP socket. Needs CAP_NET_RAW.
pub(super) fn socket() -> Result<OwnedFd, Errno> {
    // SAFETY: needed because rustix has no AF_XDP bind; the call takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    if fd < 0 {
        return Err(last());
    }
    // SAFETY: the descriptor was just created and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Registers `len` bytes at `base` as the socket's UMEM, in chunks of `chunk` bytes of which the kernel leaves the first
/// `headroom` (and 256) alone. The kernel pins the memory; it must stay mapped writable during the call.
pub(super) fn register_umem(
    socket: BorrowedFd<'_>,
    base: NonNull<u8>,
    len: u64,
    chunk: u32,
    headroom: u32,
) -> Result<(), Errno> {
    // SAFETY: all-zero bytes are a value of this structure of numbers.
    let mut umem: libc::xdp_umem_reg = unsafe { std::mem::zeroed() };
    umem.addr = base.as_ptr() as u64;
    umem.len = len;
    umem.chunk_size = chunk;
    umem.headroom = headroom;
    set(socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &umem)
}

/// Creates a ring of `entries` entries, a power of two.
pub(super) fn create_ring(socket: BorrowedFd<'_>, kind: RingKind, entries: u32) -> Result<(), Errno> {
    set(socket, libc::SOL_XDP, kind.option(), &entries)
}

/// Binds to queue `queue` of interface `ifindex`; `shared`: on the UMEM of that socket.
pub(super) fn bind(
    socket: BorrowedFd<'_>,
    ifindex: u32,
    queue: u32,
    flags: u16,
    shared: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let shared = shared.map(|fd| fd.as_raw_fd() as u32);
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: if shared.is_some() { flags | libc::XDP_SHARED_UMEM } else { flags },
        sxdp_ifindex: ifindex,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: shared.unwrap_or(0),
    };
    let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    // SAFETY: pointer and length describe a live address structure, which the kernel reads.
    let rc = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    if rc == 0 { Ok(()) } else { Err(last()) }
}

/// Whether the bound socket is in zero-copy mode.
pub(super) fn is_zero_copy(socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    let options: libc::xdp_options = get(socket, libc::SOL_XDP, libc::XDP_OPTIONS)?;
    Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
}

/// Packets that the kernel dropped because RX was full, or FILL empty.
pub(super) fn dropped(socket: BorrowedFd<'_>) -> Result<u64, Errno> {
    let s: libc::xdp_statistics = get(socket, libc::SOL_XDP, libc::XDP_STATISTICS)?;
    Ok(s.rx_dropped.saturating_add(s.rx_ring_full))
}

/// Preferred busy polling: the socket's owner drives the device's NAPI. Needs CAP_NET_ADMIN.
pub(super) fn prefer_busy_poll(socket: BorrowedFd<'_>, busy_poll_us: u32, budget: u32) -> Result<(), Errno> {
    set(socket, libc::SOL_SOCKET, SO_PREFER_BUSY_POLL, &1_u32)?;
    set(socket, libc::SOL_SOCKET, libc::SO_BUSY_POLL, &busy_poll_us)?;
    set(socket, libc::SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget)
}

/// Makes the kernel look at TX. In copy mode it sends during the call, some 32 packets at most (EAGAIN: there are more).
pub(super) fn kick_tx(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: needed because rustix insists on an address; no pointer is given.
    let rc = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            std::ptr::null(),
            0,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            std::ptr::null(),
            0,
        )
    };
    if rc < 0 { Err(last()) } else { Ok(()) }
}

/// Makes the kernel look at FILL, and with busy polling at the device.
pub(super) fn kick_rx(socket: BorrowedFd<'_>) {
    // SAFETY: no pointer is given and no byte asked for. AF_XDP returns nothing this way, so the answer tells nothing.
    unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            std::ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
    }
}
