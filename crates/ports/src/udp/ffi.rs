//! The vectors that `recvmmsg` and `sendmmsg` work on, in shared memory, and the calls themselves.
//!
//! Why unsafe: the kernel reads and writes through pointers that stand in the vector. Each process writes its own
//! pointers before each call (a predecessor's are addresses of a dead process), so none of them is ever followed that
//! this process did not store.

#![allow(clippy::borrow_as_ptr, reason = "the C interface takes addresses")]

use super::ancillary::{self, CONTROL, Control};
use super::{MAX_DATAGRAM, VECTOR};
use crate::PortError;
use arena::descriptor::DataRange;
use arena::meta::Address;
use arena::region::Mapping;
use rustix::io::Errno;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;

#[repr(C, align(64))]
struct Memory {
    messages: [libc::mmsghdr; VECTOR],
    iovecs: [[libc::iovec; 2]; VECTOR],
    names: [libc::sockaddr_storage; VECTOR],
    controls: [Control; VECTOR],
    /// What stands at a position: `index:32 | seq:32`.
    records: [u64; VECTOR],
    /// 1: last datagram of its head.
    last: [u64; VECTOR],
}

/// Bytes of a vector.
pub(super) const VECTOR_BYTES: usize = size_of::<Memory>();

/// One vector, mapped.
#[derive(Debug)]
pub(super) struct Vector {
    memory: NonNull<Memory>,
}

/// Asks the kernel for the destination address and the drop count with each packet.
pub(super) fn want_ancillary(socket: impl AsFd, ipv4: bool) -> Result<(), Errno> {
    let options: &[(i32, i32)] = if ipv4 {
        &[(libc::SOL_SOCKET, libc::SO_RXQ_OVFL), (libc::IPPROTO_IP, libc::IP_PKTINFO)]
    } else {
        &[(libc::SOL_SOCKET, libc::SO_RXQ_OVFL), (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)]
    };
    let one: libc::c_int = 1;
    for (level, name) in options {
        // SAFETY: needed for options rustix does not have; the pointer and length describe a live c_int.
        let rc = unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                *level,
                *name,
                (&raw const one).cast(),
                size_of::<libc::c_int>() as u32,
            )
        };
        if rc != 0 {
            return Err(last_errno());
        }
    }
    Ok(())
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

impl Vector {
    /// Maps the vector of an inherited descriptor.
    pub(super) fn map(fd: BorrowedFd<'_>) -> Result<Self, PortError> {
        let len = (VECTOR_BYTES as u64).next_multiple_of(arena::region::ALIGN);
        let mapping = Mapping::map("udp vector", fd, len, true)?;
        Ok(Self { memory: mapping.base().cast() })
    }

    fn get(&self) -> &Memory {
        // SAFETY: mapped for the process's life, page aligned, large enough, any bytes are valid; only this process
        // (and the kernel, during the calls below) touches it while this stage lives.
        unsafe { self.memory.as_ref() }
    }

    fn get_mut(&mut self) -> &mut Memory {
        // SAFETY: as above; `&mut self` makes it exclusive within the process.
        unsafe { self.memory.as_mut() }
    }

    /// Bytes received (or sent) at `position`; 0 = nothing.
    pub(super) fn len(&self, position: usize) -> usize {
        self.get().messages[position].msg_len as usize
    }

    /// Forgets what was received (or sent) at `position`.
    pub(super) fn clear(&mut self, position: usize) {
        let len = &raw mut self.get_mut().messages[position].msg_len;
        // SAFETY: a live field; volatile, so that the store is neither merged nor moved past the next one.
        unsafe { len.write_volatile(0) };
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    }

    /// What stands at `position`: (index, seq, last).
    pub(super) fn record(&self, position: usize) -> (u32, u32, bool) {
        let memory = self.get();
        ((memory.records[position] >> 32) as u32, memory.records[position] as u32, memory.last[position] != 0)
    }

    /// Prepares `position` to receive into `buffer`, which belongs to the caller until the position is handed out.
    pub(super) fn prepare_receive(&mut self, position: usize, (index, seq): (u32, u32), buffer: &mut [u8]) {
        self.clear(position);
        let memory = self.get_mut();
        memory.records[position] = u64::from(index) << 32 | u64::from(seq);
        memory.iovecs[position][0] =
            libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len().min(MAX_DATAGRAM) };
    }

    /// Receives into the positions `from..to`, all prepared, without waiting; returns how many.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, from: usize, to: usize) -> Result<usize, Errno> {
        let memory = self.get_mut();
        for p in from..to {
            let header = &mut memory.messages[p].msg_hdr;
            header.msg_name = (&raw mut memory.names[p]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
            header.msg_iov = (&raw mut memory.iovecs[p]).cast();
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut memory.controls[p]).cast();
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
        }
        // SAFETY: all pointers of the headers were just set to live memory of this process (names, vectors, controls in
        // the mapping; data in arena buffers that the caller holds); the count is within the array.
        let n = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                memory.messages[from..to].as_mut_ptr(),
                (to - from) as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if n < 0 { Err(last_errno()) } else { Ok(n as usize) }
    }

    /// Where the datagram at `position` came from, as the kernel (this process's or its predecessor's call) left it.
    pub(super) fn peer(&self, position: usize) -> Address {
        address(&self.get().names[position]).map_or(Address::NONE, Address::new)
    }

    /// Our own address that it was sent to, with our port filled in, and the drop count if the kernel told one.
    pub(super) fn ancillary(&self, position: usize, port: u16) -> (Address, Option<u32>) {
        let memory = self.get();
        let len = memory.messages[position].msg_hdr.msg_controllen;
        ancillary::parse(&memory.controls[position], len, port)
    }

    /// Places a datagram at `position` for sending: two parts, destination, source address.
    pub(super) fn prepare_send(&mut self, position: usize, d: &crate::Datagram<'_>) -> bool {
        self.clear(position);
        let Some(to) = d.to.get() else { return false };
        let memory = self.get_mut();
        memory.records[position] = u64::from(d.head.index()) << 32 | u64::from(d.seq);
        memory.last[position] = u64::from(d.last);
        for (iovec, part) in memory.iovecs[position].iter_mut().zip([d.first, d.second]) {
            *iovec = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
        }
        let name_len = store_address(&mut memory.names[position], to);
        let control_len = ancillary::store_source(&mut memory.controls[position], d.from, to.is_ipv4());
        let header = &mut memory.messages[position].msg_hdr;
        header.msg_name = (&raw mut memory.names[position]).cast();
        header.msg_namelen = name_len;
        header.msg_iov = (&raw mut memory.iovecs[position]).cast();
        header.msg_iovlen = if d.second.is_empty() { 1 } else { 2 };
        header.msg_control =
            if control_len == 0 { std::ptr::null_mut() } else { (&raw mut memory.controls[position]).cast() };
        header.msg_controllen = control_len as _;
        header.msg_flags = 0;
        true
    }

    /// Hands the positions `from..to` to the kernel without waiting; returns how many it took.
    ///
    /// The parts given to [`Vector::prepare_send`] must still be alive: the one caller prepares and sends in one call.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, from: usize, to: usize) -> Result<usize, Errno> {
        let memory = self.get_mut();
        // SAFETY: every header in the range was prepared in this call chain; names and controls lie in the mapping, the
        // parts are borrowed by the caller of `UdpTx::send`.
        let n = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                memory.messages[from..to].as_mut_ptr(),
                (to - from) as u32,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        if n < 0 { Err(last_errno()) } else { Ok(n as usize) }
    }

    /// Where the datagram at `position` lies in its buffer.
    pub(super) fn data(&self, position: usize) -> DataRange {
        DataRange { offset: arena::layout::DATA_OFFSET, len: self.len(position).min(MAX_DATAGRAM) as u16 }
    }
}

fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: sockaddr_storage is large and aligned enough for every address; any bytes are a valid value.
            let a: &libc::sockaddr_in = unsafe { &*(&raw const *name).cast() };
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(u32::from_be(a.sin_addr.s_addr))), u16::from_be(a.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let a: &libc::sockaddr_in6 = unsafe { &*(&raw const *name).cast() };
            let (ip, port) = (Ipv6Addr::from(a.sin6_addr.s6_addr), u16::from_be(a.sin6_port));
            // A socket on `::` serves IPv4 senders too; a rule that names an IPv4 prefix must know them.
            Some(match ip.to_ipv4_mapped() {
                Some(ip) => SocketAddr::new(IpAddr::V4(ip), port),
                None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, a.sin6_scope_id)),
            })
        }
        _ => None,
    }
}

fn store_address(name: &mut libc::sockaddr_storage, to: SocketAddr) -> u32 {
    match to {
        SocketAddr::V4(to) => {
            // SAFETY: all-zero bytes are a valid sockaddr_in.
            let mut a: libc::sockaddr_in = unsafe { zeroed() };
            a.sin_family = libc::AF_INET as u16;
            a.sin_port = to.port().to_be();
            a.sin_addr.s_addr = u32::from(*to.ip()).to_be();
            // SAFETY: sockaddr_storage is large and aligned enough for every address.
            unsafe { (&raw mut *name).cast::<libc::sockaddr_in>().write(a) };
            size_of::<libc::sockaddr_in>() as u32
        }
        SocketAddr::V6(to) => {
            // SAFETY: all-zero bytes are a valid sockaddr_in6.
            let mut a: libc::sockaddr_in6 = unsafe { zeroed() };
            a.sin6_family = libc::AF_INET6 as u16;
            a.sin6_port = to.port().to_be();
            a.sin6_addr.s6_addr = to.ip().octets();
            a.sin6_scope_id = to.scope_id();
            // SAFETY: as above.
            unsafe { (&raw mut *name).cast::<libc::sockaddr_in6>().write(a) };
            size_of::<libc::sockaddr_in6>() as u32
        }
    }
}
