//! The sender's socket.

use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;

use super::kernel_drops::{self, Wanted};

/// Asked for in both directions; the kernel may grant less (`net.core.rmem_max`, `wmem_max`).
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// One UDP socket, connected so that the kernel reports when nobody listens, and non-blocking.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    socket: UdpSocket,
    to: SocketAddr,
    inode: Option<u64>,
    requests_dropped_before: Option<u64>,
    /// Times the other host said that nobody listens.
    pub(crate) refused: u64,
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handed {
    /// The kernel has it.
    Over,
    /// There is no room at present.
    NoRoom,
}

impl ClientSocket {
    pub(crate) fn open(to: SocketAddr) -> Result<Self, Error> {
        let any: SocketAddr =
            if to.is_ipv6() { (Ipv6Addr::UNSPECIFIED, 0).into() } else { (Ipv4Addr::UNSPECIFIED, 0).into() };
        let socket = UdpSocket::bind(any)?;
        // Best effort: with less buffer, drops become more likely, and they are counted.
        if sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER_BYTES).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_BYTES);
        }
        let _ = sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER_BYTES);
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        let inode = rustix::fs::fstat(&socket).ok().map(|stat| stat.st_ino);
        let mut this = Self { socket, to, inode, requests_dropped_before: None, refused: 0 };
        this.requests_dropped_before = this.requests_dropped_total();
        Ok(this)
    }

    pub(crate) fn send(&mut self, datagram: &[u8]) -> Result<Handed, Error> {
        // A refusal belongs to an earlier datagram: it is reported in place of sending, once.
        for _ in 0..2 {
            match self.socket.send(datagram) {
                Ok(_) => return Ok(Handed::Over),
                Err(error) if is_no_room(&error) => return Ok(Handed::NoRoom),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => self.refused += 1,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // Refused twice in a row: the datagram is as lost as those before it.
        Ok(Handed::Over)
    }

    /// The next datagram, or `None` if there is none.
    pub(crate) fn receive<'a>(&mut self, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>, Error> {
        match self.socket.recv(buffer) {
            Ok(len) => Ok(buffer.get(..len)),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.refused += 1;
                Ok(None)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sleeps until there is something to receive, or room to send if `for_room`, or `timeout_ns` are over.
    pub(crate) fn wait(&self, timeout_ns: u64, for_room: bool) -> Result<(), Error> {
        let flags = if for_room { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let timeout =
            Timespec { tv_sec: (timeout_ns / 1_000_000_000) as i64, tv_nsec: (timeout_ns % 1_000_000_000) as _ };
        match poll(&mut [PollFd::new(&self.socket, flags)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Replies that the kernel dropped because this socket's buffer was full; `None` if that cannot be known here.
    pub(crate) fn replies_dropped(&self) -> Option<u64> {
        kernel_drops::drops(Wanted::Inode(self.inode?), self.to.is_ipv6())
    }

    /// Requests that the kernel dropped since this socket was opened because the pipeline's buffer was full; `None` if the
    /// pipeline is elsewhere.
    pub(crate) fn requests_dropped(&self) -> Option<u64> {
        Some(self.requests_dropped_total()?.saturating_sub(self.requests_dropped_before?))
    }

    fn requests_dropped_total(&self) -> Option<u64> {
        if !kernel_drops::is_local(&self.to) {
            return None;
        }
        kernel_drops::drops(Wanted::Port(self.to.port()), self.to.is_ipv6())
    }
}

/// ENOBUFS is how some devices say that their queue is full.
fn is_no_room(error: &Error) -> bool {
    error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_nobody_listens_on_is_reported() {
        let to = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut socket = ClientSocket::open(to).unwrap();
        for _ in 0..3 {
            assert_eq!(socket.send(b"x").unwrap(), Handed::Over);
        }
        socket.wait(1_000_000, false).unwrap();
        assert_eq!(socket.receive(&mut [0; 16]).unwrap(), None);
        assert!(socket.refused > 0);
    }

    #[test]
    fn datagrams_go_both_ways() {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut socket = ClientSocket::open(peer.local_addr().unwrap()).unwrap();
        socket.send(b"there").unwrap();
        let mut buffer = [0; 16];
        let (len, from) = peer.recv_from(&mut buffer).unwrap();
        peer.send_to(&buffer[..len], from).unwrap();
        socket.wait(1_000_000_000, false).unwrap();
        assert_eq!(socket.receive(&mut [0; 16]).unwrap(), Some(b"there".as_slice()));
        assert_eq!(socket.receive(&mut [0; 16]).unwrap(), None);
        assert!(matches!(socket.requests_dropped(), None | Some(0)));
    }
}
