//! The two sockets of a queue, opened by who has the privilege.
//!
//! R has RX and FILL and is rx-gateway's; T has TX and is tx's, with COMPLETION mapped through it. The kernel wants FILL
//! and COMPLETION created on the socket that owns the queue's pool (R). All queues share one UMEM: the first R registers it.

use super::ffi::{self, RingKind};
use super::{BUFFER_BYTES, HEADROOM, MAX_QUEUES};
use crate::PortError;
use arena::region::Mapping;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The kernel frees a queue some 14 ms after the last socket on it is closed; this is generous.
const BUSY_PATIENCE: Duration = Duration::from_millis(500);

/// The sockets of one queue.
#[derive(Debug)]
pub struct Pair {
    /// Its number.
    pub queue: u32,
    /// RX and FILL.
    pub rx: OwnedFd,
    /// TX, and COMPLETION mapped through it.
    pub tx: OwnedFd,
}

/// What the sockets are to be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The interface's name, for messages.
    pub interface: &'a str,
    /// Its number.
    pub ifindex: u32,
    /// Entries of each ring, a power of two.
    pub ring_size: u32,
    /// The device must not copy; else the kernel copies.
    pub zero_copy: bool,
    /// The kernel says when it wants to be woken.
    pub need_wakeup: bool,
    /// Microseconds and packets; `None`: interrupts.
    pub busy_poll: Option<(u32, u32)>,
}

impl Wanted<'_> {
    fn flags(&self) -> u16 {
        let copy = if self.zero_copy { libc::XDP_ZEROCOPY } else { libc::XDP_COPY };
        copy | if self.need_wakeup { libc::XDP_USE_NEED_WAKEUP } else { 0 }
    }

    /// What a refused bind means.
    fn refused(&self, queue: u32, source: Errno) -> PortError {
        let interface = self.interface.to_owned();
        match source {
            Errno::BUSY => PortError::QueueTaken { interface, queue },
            Errno::PERM | Errno::ACCESS => PortError::NotPermitted,
            // Drivers refuse zero copy in many words: no such operation, a ring of the wrong size, no memory of the right kind.
            _ if self.zero_copy => PortError::NoZeroCopy { interface, source },
            Errno::INVAL => PortError::NoQueue { interface, queue },
            source => PortError::Device { call: "bind", source },
        }
    }

    fn bind(
        &self,
        socket: BorrowedFd<'_>,
        queue: u32,
        flags: u16,
        shared: Option<BorrowedFd<'_>>,
    ) -> Result<(), PortError> {
        let until = Instant::now() + BUSY_PATIENCE;
        loop {
            match ffi::bind(socket, self.ifindex, queue, flags, shared) {
                Ok(()) => return Ok(()),
                Err(Errno::BUSY) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                Err(source) => return Err(self.refused(queue, source)),
            }
        }
    }

    /// Opens both sockets of each queue on the UMEM in `packets`, which is mapped writable.
    ///
    /// # Errors
    /// [`PortError`] with the cause; what was opened is closed again.
    pub fn open(&self, queues: &[u32], packets: &Mapping) -> Result<Vec<Pair>, PortError> {
        let mut pairs: Vec<Pair> = Vec::with_capacity(queues.len().min(MAX_QUEUES.into()));
        for queue in queues {
            super::owners(*queue).ok_or(PortError::Queue { queue: *queue })?;
            let socket = || ffi::socket().map_err(cannot_open);
            let (rx, tx) = (socket()?, socket()?);
            if pairs.is_empty() {
                let len = (packets.len() as u64) / BUFFER_BYTES * BUFFER_BYTES;
                ffi::register_umem(rx.as_fd(), packets.base(), len, BUFFER_BYTES as u32, HEADROOM).map_err(
                    |e| match e {
                        Errno::NOBUFS | Errno::NOMEM => PortError::Locked { mib: len >> 20 },
                        source => PortError::Device { call: "XDP_UMEM_REG", source },
                    },
                )?;
            }
            let ring = |fd: &OwnedFd, kind| {
                ffi::create_ring(fd.as_fd(), kind, self.ring_size).map_err(PortError::device("creating a ring"))
            };
            for kind in [RingKind::Rx, RingKind::Fill, RingKind::Completion] {
                ring(&rx, kind)?;
            }
            ring(&tx, RingKind::Tx)?;
            let umem = pairs.first().map(|first| first.rx.as_fd());
            // A socket on somebody else's UMEM must not name a mode: it has the first one's.
            self.bind(rx.as_fd(), *queue, if umem.is_some() { 0 } else { self.flags() }, umem)?;
            self.bind(tx.as_fd(), *queue, 0, Some(rx.as_fd()))?;
            if let Some((us, budget)) = self.busy_poll {
                ffi::prefer_busy_poll(rx.as_fd(), us, budget).map_err(PortError::device("SO_PREFER_BUSY_POLL"))?;
            }
            pairs.push(Pair { queue: *queue, rx, tx });
        }
        Ok(pairs)
    }
}

fn cannot_open(source: Errno) -> PortError {
    match source {
        Errno::PERM | Errno::ACCESS => PortError::NotPermitted,
        Errno::AFNOSUPPORT => PortError::NoAfXdp,
        source => PortError::Device { call: "socket", source },
    }
}

impl Pair {
    /// Whether the kernel neither copies in nor out.
    pub fn is_zero_copy(&self) -> Result<bool, PortError> {
        ffi::is_zero_copy(self.rx.as_fd()).map_err(PortError::device("XDP_OPTIONS"))
    }
}
