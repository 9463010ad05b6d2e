//! What the kernel offers: a Unix datagram socket and a pipe, 64-byte messages, blocking.

use crate::pair::Side;
use anyhow::{Context as _, Result, ensure};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

const MESSAGE_BYTES: usize = 64;

/// One side's ends.
pub struct Channels {
    socket: UnixDatagram,
    from: File,
    to: File,
}

impl Channels {
    /// Both sides' ends.
    pub fn pair() -> Result<(Self, Self)> {
        let (a, b) = UnixDatagram::pair()?;
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let ((from_b, to_a), (from_a, to_b)) = (pipe()?, pipe()?);
        let side = |socket, from: OwnedFd, to: OwnedFd| Self { socket, from: from.into(), to: to.into() };
        Ok((side(a, from_b, to_b), side(b, from_a, to_a)))
    }

    /// From descriptors in the order of [`Self::fds`].
    pub fn take(fds: Vec<OwnedFd>) -> Result<Self> {
        let [socket, from, to] = <[OwnedFd; 3]>::try_from(fds).ok().context("three descriptors are expected")?;
        Ok(Self { socket: socket.into(), from: from.into(), to: to.into() })
    }

    /// To be inherited.
    pub fn fds(&self) -> [BorrowedFd<'_>; 3] {
        [self.socket.as_fd(), self.from.as_fd(), self.to.as_fd()]
    }
}

/// Datagrams.
pub struct Socket<'a>(pub &'a Channels, pub [u8; MESSAGE_BYTES]);

impl Socket<'_> {
    fn send(&self) -> Result<()> {
        ensure!(self.0.socket.send(&self.1)? == MESSAGE_BYTES, "a datagram was cut");
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        ensure!(self.0.socket.recv(&mut self.1)? == MESSAGE_BYTES, "a datagram was cut");
        Ok(())
    }
}

impl Side for Socket<'_> {
    fn trip(&mut self) -> Result<()> {
        self.send()?;
        self.receive()
    }

    fn echo(&mut self) -> Result<()> {
        self.receive()?;
        self.send()
    }
}

/// Pipes, one each way.
pub struct Pipe<'a>(pub &'a Channels, pub [u8; MESSAGE_BYTES]);

impl Pipe<'_> {
    fn send(&self) -> Result<()> {
        Ok((&self.0.to).write_all(&self.1)?)
    }

    fn receive(&mut self) -> Result<()> {
        Ok((&self.0.from).read_exact(&mut self.1)?)
    }
}

impl Side for Pipe<'_> {
    fn trip(&mut self) -> Result<()> {
        self.send()?;
        self.receive()
    }

    fn echo(&mut self) -> Result<()> {
        self.receive()?;
        self.send()
    }
}
