//! What outlives the stages: the sockets, and the memory of the vectors.

use super::ffi;
use crate::PortError;
use arena::region::{HugePages, Region};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Sockets and vectors, held by the supervisor.
#[derive(Debug)]
pub struct Host {
    /// Socket and vector of the first rx-gateway; tx sends on the socket.
    first: (OwnedFd, Region),
    /// Those of the others.
    others: Vec<(OwnedFd, Region)>,
    tx_vector: Region,
    local: SocketAddr,
    receive_buffer_bytes: usize,
}

/// One socket that is not bound yet, with the receive buffer that could be had.
fn socket(listen: SocketAddr, receive_buffer_bytes: usize) -> Result<OwnedFd, PortError> {
    let family = if listen.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        rustix::net::socket_with(family, SocketType::DGRAM, flags, None).map_err(PortError::system("socket"))?;
    if sockopt::set_socket_recv_buffer_size_force(&socket, receive_buffer_bytes).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, receive_buffer_bytes).map_err(PortError::system("SO_RCVBUF"))?;
    }
    ffi::want_ancillary(&socket, listen.is_ipv4()).map_err(PortError::system("setsockopt"))?;
    Ok(socket)
}

fn bind(socket: &OwnedFd, listen: SocketAddr) -> Result<(), PortError> {
    rustix::net::bind(socket, &listen).map_err(|e| match e {
        Errno::ADDRINUSE => PortError::InUse(listen),
        Errno::ADDRNOTAVAIL => PortError::NotLocal(listen),
        Errno::ACCESS => PortError::Privileged(listen),
        source => PortError::System { call: "bind", source },
    })
}

fn share_port(socket: &OwnedFd) -> Result<(), PortError> {
    sockopt::set_socket_reuseport(socket, true).map_err(PortError::system("SO_REUSEPORT"))
}

fn local_addr(socket: &OwnedFd) -> Result<SocketAddr, PortError> {
    let name = rustix::net::getsockname(socket).map_err(PortError::system("getsockname"))?;
    SocketAddr::try_from(name).map_err(PortError::system("getsockname"))
}

impl Host {
    /// Binds `sockets` sockets (at least one) to one address and creates the vectors. Of several, the kernel chooses by a hash of
    /// both addresses and ports (`SO_REUSEPORT`, socket(7)): all packets of a sender come to one. A `receive_buffer_bytes`
    /// above `net.core.rmem_max` is forced with CAP_NET_ADMIN, else cut by the kernel; [`Host::receive_buffer_bytes`] says what
    /// came of it.
    ///
    /// # Errors
    /// [`PortError::InUse`] if anybody else has the port, another pipeline with several sockets included; others as they say.
    pub fn open(listen: SocketAddr, receive_buffer_bytes: usize, sockets: usize) -> Result<Self, PortError> {
        let first = socket(listen, receive_buffer_bytes)?;
        // Bound alone, before it shares: one that shares from the start would join the sockets of another pipeline, and take
        // packets from it.
        bind(&first, listen)?;
        let local = local_addr(&first)?;
        let granted = sockopt::socket_recv_buffer_size(&first).map_err(PortError::system("SO_RCVBUF"))?;
        if sockets > 1 {
            share_port(&first)?;
        }
        let mut others = Vec::new();
        for _ in 1..sockets {
            let socket = socket(listen, receive_buffer_bytes)?;
            share_port(&socket)?;
            bind(&socket, local)?;
            others.push(socket);
        }
        let vector = |name| Region::create(name, ffi::VECTOR_BYTES as u64, HugePages::Off);
        let with_vector = |socket| -> Result<_, PortError> { Ok((socket, vector("flumeway-udp-rx")?)) };
        Ok(Self {
            first: with_vector(first)?,
            others: others.into_iter().map(with_vector).collect::<Result<_, _>>()?,
            tx_vector: vector("flumeway-udp-tx")?,
            local,
            // The kernel doubles what was asked for, to cover its bookkeeping.
            receive_buffer_bytes: granted / 2,
        })
    }

    /// The address it listens on, the port chosen by the kernel filled in.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Bytes of receive buffer that the kernel granted.
    pub fn receive_buffer_bytes(&self) -> usize {
        self.receive_buffer_bytes
    }

    /// What rx-gateway `n` inherits: socket, vector. Nothing if there is none of that number.
    pub fn rx_fds(&self, n: usize) -> Vec<RawFd> {
        self.rx_descriptors(n).iter().flatten().map(AsRawFd::as_raw_fd).collect()
    }

    /// What tx inherits: the first socket, vector.
    pub fn tx_fds(&self) -> Vec<RawFd> {
        self.tx_descriptors().map(|fd| fd.as_raw_fd()).into()
    }

    /// The descriptors of [`Host::rx_fds`], for whoever duplicates them.
    pub fn rx_descriptors(&self, n: usize) -> Option<[BorrowedFd<'_>; 2]> {
        let all = std::iter::once(&self.first).chain(&self.others);
        all.skip(n).map(|(socket, vector)| [socket.as_fd(), vector.rw.as_fd()]).next()
    }

    /// The descriptors of [`Host::tx_fds`], for whoever duplicates them.
    pub fn tx_descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.first.0.as_fd(), self.tx_vector.rw.as_fd()]
    }
}
