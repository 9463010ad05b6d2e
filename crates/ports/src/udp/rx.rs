//! Receiving over UDP.

use super::ffi::Vector;
use super::{MAX_DATAGRAM, VECTOR};
use crate::{PortError, Received, Refound, RxPort, Standing};
use arena::killpoint::{KillPoint, reach};
use arena::layout::DATA_OFFSET;
use arena::{Arena, Held};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The receiving side.
#[derive(Debug)]
pub struct UdpRx {
    socket: OwnedFd,
    vector: Vector,
    /// The buffer at each position.
    buffers: Vec<Option<Held>>,
    /// Positions `0..depth` are used.
    depth: usize,
    /// How many of them have no buffer.
    vacant: usize,
    /// Which positions' packets have been handed out (or found again) and are not recorded yet.
    unrecorded: [bool; VECTOR],
    /// How many these are.
    unrecorded_count: usize,
    port: u16,
    dropped: u64,
    dropped_last: u32,
}

impl UdpRx {
    /// Takes over the inherited descriptors; receives bursts of `burst` packets at most.
    pub fn attach(fds: Vec<OwnedFd>, burst: usize) -> Result<Self, PortError> {
        let [socket, vector] =
            <[OwnedFd; 2]>::try_from(fds).map_err(|fds| PortError::Descriptors { is: fds.len(), want: 2 })?;
        let name = rustix::net::getsockname(&socket).map_err(PortError::system("getsockname"))?;
        let port = SocketAddr::try_from(name).map_or(0, |a| a.port());
        Ok(Self {
            vector: Vector::map(vector.as_fd())?,
            socket,
            buffers: (0..VECTOR).map(|_| None).collect(),
            depth: burst.clamp(1, VECTOR),
            vacant: burst.clamp(1, VECTOR),
            unrecorded: [false; VECTOR],
            unrecorded_count: 0,
            port,
            dropped: 0,
            dropped_last: 0,
        })
    }

    fn hand_out(&mut self, position: usize) {
        self.unrecorded_count += usize::from(!self.unrecorded[position]);
        self.unrecorded[position] = true;
    }

    fn note_dropped(&mut self, now: Option<u32>) {
        if let Some(now) = now {
            self.dropped += u64::from(now.wrapping_sub(self.dropped_last));
            self.dropped_last = now;
        }
    }
}

impl RxPort for UdpRx {
    fn refind(&mut self, found: &mut Vec<Refound>) {
        for position in 0..VECTOR {
            if self.vector.len(position) == 0 {
                continue;
            }
            self.hand_out(position);
            let (index, seq, _) = self.vector.record(position);
            let (local, _) = self.vector.ancillary(position, self.port);
            found.push(Refound {
                index,
                seq,
                data: self.vector.data(position),
                peer: self.vector.peer(position),
                local,
                link: None,
                position: position as u32,
                standing: Standing::Unfiltered,
            });
        }
    }

    fn capacity(&self) -> usize {
        self.depth
    }

    fn wants(&self) -> usize {
        if self.unrecorded_count > 0 {
            return 0; // A refill would overwrite positions that a successor may have to find.
        }
        self.vacant
    }

    fn offer(&mut self, arena: &Arena, free: &mut Vec<Held>) {
        if self.wants() == 0 {
            return;
        }
        for position in 0..self.depth {
            if self.buffers[position].is_some() {
                continue;
            }
            let Some(mut held) = free.pop() else { break };
            let seq = arena.table().of(&held).owner().seq;
            let index = held.index();
            let at = DATA_OFFSET as usize;
            let area = &mut arena.packet_mut(&mut held)[at..at + MAX_DATAGRAM];
            self.vector.prepare_receive(position, (index, seq), area);
            self.buffers[position] = Some(held);
            self.vacant -= 1;
        }
    }

    fn receive(&mut self, out: &mut Vec<Received>, max: usize) -> Result<usize, PortError> {
        if self.unrecorded_count > 0 {
            return Ok(0);
        }
        let first = self.buffers[..self.depth].iter().position(Option::is_some).unwrap_or(self.depth);
        let run = self.buffers[first..self.depth].iter().take_while(|b| b.is_some()).count();
        let to = first + run.min(max).min(out.capacity() - out.len());
        if to == first {
            return Ok(0);
        }
        let n = match self.vector.receive(self.socket.as_fd(), first, to) {
            Ok(n) => n,
            // An ICMP error of an earlier reply is reported here; it is nobody's frame.
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH) => 0,
            Err(source) => return Err(PortError::System { call: "recvmmsg", source }),
        };
        if n > 0 {
            reach(KillPoint::Received);
        }
        for position in first..first + n {
            let Some(held) = self.buffers[position].take() else { continue };
            self.vacant += 1;
            self.hand_out(position);
            let (local, dropped) = self.vector.ancillary(position, self.port);
            self.note_dropped(dropped);
            let data = self.vector.data(position);
            let peer = self.vector.peer(position);
            let standing = Standing::Unfiltered;
            out.push(Received { held, data, peer, local, link: None, position: position as u32, standing });
        }
        Ok(n)
    }

    fn recorded(&mut self, position: u32) {
        let position = position as usize;
        if position < VECTOR {
            self.vector.clear(position);
            self.unrecorded_count -= usize::from(self.unrecorded[position]);
            self.unrecorded[position] = false;
        }
    }

    fn withdraw(&mut self, free: &mut Vec<Held>) -> Result<(), PortError> {
        free.extend(self.buffers.iter_mut().filter_map(Option::take));
        self.vacant = self.depth;
        Ok(())
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn dropped(&mut self) -> u64 {
        self.dropped
    }
}
