//! One running stage process, as its supervisor knows it.

use crate::death::{Ending, OurKill};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Most bytes kept of what a stage says on its socket.
const WORDS_MAX: usize = 2048;

/// A process that was started and not yet reaped.
#[derive(Debug)]
pub(crate) struct Process {
    /// Process id.
    pub pid: u32,
    /// Names it in the control word.
    pub ticket: u32,
    /// Why we killed it, if we did.
    pub killed: Option<OurKill>,
    /// When a process that has parked and not ended is killed.
    pub kill_at_ns: Option<u64>,
    pidfd: OwnedFd,
    socket: Option<OwnedFd>,
    words: Vec<u8>,
    reaped: bool,
}

impl Process {
    /// A process just started. `socket` is our end: it hangs up for the stage when we die.
    pub(crate) fn new((pid, pidfd): (u32, OwnedFd), ticket: u32, socket: OwnedFd) -> Self {
        Self {
            pid,
            ticket,
            killed: None,
            kill_at_ns: None,
            pidfd,
            socket: Some(socket),
            words: Vec::new(),
            reaped: false,
        }
    }

    /// Readable when it has ended.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Readable when it says something; none once it has closed its end.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Sends a signal; to a process that has just ended this does nothing.
    pub(crate) fn signal(&self, signal: Signal) {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => tracing::error!(pid = self.pid, ?signal, %error, "the signal cannot be sent"),
        }
    }

    /// SIGKILL for one of our own reasons; the first reason stays.
    pub(crate) fn kill(&mut self, why: OurKill) {
        if self.killed.is_none() {
            self.killed = Some(why);
            self.signal(Signal::KILL);
        }
    }

    /// How it ended; none if it has not. Never waits.
    pub(crate) fn reap(&mut self) -> Option<Ending> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let ending = match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
            Ok(None) => return None,
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Ending::Exited(code),
                (None, Some(signal)) => Ending::Signaled(signal),
                (None, None) => return None,
            },
            // Somebody else in this program waited for all children: it is gone, and how is not known any more.
            Err(_) => Ending::Unknown,
        };
        self.reaped = true;
        self.hear();
        Some(ending)
    }

    /// Reads what it says on its socket.
    pub(crate) fn hear(&mut self) {
        let Some(socket) = &self.socket else { return };
        let mut buffer = [0_u8; 512];
        loop {
            match recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => self.socket = None,
                Ok((n, _)) => {
                    let room = WORDS_MAX.saturating_sub(self.words.len());
                    self.words.extend_from_slice(&buffer[..n.min(room)]);
                    continue;
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.socket = None,
            }
            return;
        }
    }

    /// Whether it has said `ready`: model loaded, memory attached, waiting to become active.
    pub(crate) fn is_ready(&self) -> bool {
        self.words.split(|b| *b == b'\n').any(|line| line == b"ready")
    }

    /// The last thing it said, if it was an error.
    pub(crate) fn last_words(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.words);
        let line = text.lines().rev().find(|l| !l.trim().is_empty() && *l != "ready")?;
        Some(line.trim().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Only where the supervisor itself ends early: no stage may outlive it unwatched, and no zombie stay behind.
        if !self.reaped {
            self.signal(Signal::KILL);
            let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
    }
}
