//! Sending over UDP.

use super::VECTOR;
use super::ffi::Vector;
use crate::{Datagram, PortError, SendOutcome, Sent, TxPort};
use arena::killpoint::{KillPoint, reach};
use arena::meta::Address;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The sending side.
#[derive(Debug)]
pub struct UdpTx {
    socket: OwnedFd,
    vector: Vector,
    /// Positions that may hold something to find.
    used: usize,
}

impl UdpTx {
    /// Takes over the inherited descriptors.
    pub fn attach(fds: Vec<OwnedFd>) -> Result<Self, PortError> {
        let [socket, vector] =
            <[OwnedFd; 2]>::try_from(fds).map_err(|fds| PortError::Descriptors { is: fds.len(), want: 2 })?;
        Ok(Self { vector: Vector::map(vector.as_fd())?, socket, used: VECTOR })
    }
}

impl TxPort for UdpTx {
    fn found_sent(&mut self, found: &mut Vec<Sent>) {
        for position in 0..VECTOR {
            let (head, seq, last) = self.vector.record(position);
            if self.vector.len(position) != 0 && last {
                found.push(Sent { head, seq });
            }
        }
    }

    fn max_datagram(&self, _: Address) -> usize {
        super::MAX_DATAGRAM
    }

    fn burst(&self) -> usize {
        VECTOR
    }

    fn send(&mut self, datagrams: &[Datagram<'_>], outcomes: &mut [SendOutcome]) -> Result<(), PortError> {
        let n = datagrams.len().min(VECTOR).min(outcomes.len());
        outcomes.fill(SendOutcome::Later);
        self.recorded();
        self.used = n;
        for (position, datagram) in datagrams[..n].iter().enumerate() {
            if !self.vector.prepare_send(position, datagram) {
                outcomes[position] = SendOutcome::Failed;
            }
        }
        reach(KillPoint::Posted);
        let mut from = 0;
        while from < n {
            if outcomes[from] == SendOutcome::Failed {
                from += 1;
                continue;
            }
            let run = outcomes[from..n].iter().take_while(|o| **o == SendOutcome::Later).count();
            match self.vector.send(self.socket.as_fd(), from, from + run) {
                Ok(sent) => {
                    outcomes[from..from + sent].fill(SendOutcome::Sent);
                    from += sent;
                    reach(KillPoint::Sent);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => return Ok(()),
                Err(source @ (Errno::BADF | Errno::NOTSOCK | Errno::FAULT)) => {
                    return Err(PortError::System { call: "sendmmsg", source });
                }
                // About this datagram alone: unreachable, too long for the route, an ICMP error of an earlier one.
                Err(_) => {
                    outcomes[from] = SendOutcome::Failed;
                    from += 1;
                }
            }
        }
        Ok(())
    }

    fn recorded(&mut self) {
        for position in 0..self.used {
            self.vector.clear(position);
        }
        self.used = 0;
    }

    fn writable(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
