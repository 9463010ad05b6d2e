//! What outlives the stages: the socket, and the memory of the vectors.

use super::ffi;
use crate::PortError;
use arena::region::{HugePages, Region};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Socket and vectors, held by the supervisor.
#[derive(Debug)]
pub struct Host {
    socket: OwnedFd,
    rx_vector: Region,
    tx_vector: Region,
    local: SocketAddr,
    receive_buffer_bytes: usize,
}

impl Host {
    /// Binds the socket and creates the vectors. A `receive_buffer_bytes` above `net.core.rmem_max` is forced with
    /// CAP_NET_ADMIN, else cut by the kernel; [`Host::receive_buffer_bytes`] says what came of it.
    pub fn open(listen: SocketAddr, receive_buffer_bytes: usize) -> Result<Self, PortError> {
        let family = if listen.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(family, SocketType::DGRAM, flags, None).map_err(PortError::system("socket"))?;
        if sockopt::set_socket_recv_buffer_size_force(&socket, receive_buffer_bytes).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, receive_buffer_bytes)
                .map_err(PortError::system("SO_RCVBUF"))?;
        }
        ffi::want_ancillary(&socket, listen.is_ipv4()).map_err(PortError::system("setsockopt"))?;
        rustix::net::bind(&socket, &listen).map_err(|e| match e {
            Errno::ADDRINUSE => PortError::InUse(listen),
            Errno::ADDRNOTAVAIL => PortError::NotLocal(listen),
            Errno::ACCESS => PortError::Privileged(listen),
            source => PortError::System { call: "bind", source },
        })?;
        let granted = sockopt::socket_recv_buffer_size(&socket).map_err(PortError::system("SO_RCVBUF"))?;
        let socket = UdpSocket::from(socket);
        let local = socket.local_addr().map_err(|e| PortError::System {
            call: "getsockname",
            source: Errno::from_io_error(&e).unwrap_or(Errno::IO),
        })?;
        let len = ffi::VECTOR_BYTES as u64;
        Ok(Self {
            socket: socket.into(),
            rx_vector: Region::create("flumeway-udp-rx", len, HugePages::Off)?,
            tx_vector: Region::create("flumeway-udp-tx", len, HugePages::Off)?,
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

    /// What rx-gateway inherits: socket, vector.
    pub fn rx_fds(&self) -> Vec<RawFd> {
        self.rx_descriptors().map(|fd| fd.as_raw_fd()).into()
    }

    /// What tx inherits: socket, vector.
    pub fn tx_fds(&self) -> Vec<RawFd> {
        self.tx_descriptors().map(|fd| fd.as_raw_fd()).into()
    }

    /// The descriptors of [`Host::rx_fds`], for whoever duplicates them.
    pub fn rx_descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.socket.as_fd(), self.rx_vector.rw.as_fd()]
    }

    /// The descriptors of [`Host::tx_fds`], for whoever duplicates them.
    pub fn tx_descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.socket.as_fd(), self.tx_vector.rw.as_fd()]
    }
}
