//! One client of the control socket: bounded buffers, never waited for.

use crate::report::error;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde_json::Value;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Longest request, bytes.
const REQUEST_MAX: usize = 64 << 10;
/// Most bytes of answers that a client may leave unread.
const ANSWERS_MAX: usize = 8 << 20;

/// A connected client.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its number; never used again.
    pub id: u64,
    socket: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    /// A request was handed out and not answered yet.
    busy: bool,
    /// It will send nothing more.
    ended: bool,
    /// Nobody is there any more, or it broke the rules.
    broken: bool,
}

impl Client {
    /// A client that has just connected.
    pub(crate) fn new(id: u64, socket: OwnedFd) -> Self {
        Self { id, socket, input: Vec::new(), output: Vec::new(), busy: false, ended: false, broken: false }
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What to poll for. A client that has an answer coming is not read from: that bounds what it can make us keep.
    pub(crate) fn interest(&self) -> PollFlags {
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::IN, !self.ended && !self.busy);
        interest.set(PollFlags::OUT, !self.output.is_empty());
        interest
    }

    /// Reads and writes what can be without waiting.
    pub(crate) fn on_ready(&mut self, events: PollFlags) {
        if events.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            // Both directions are closed: there is nobody to answer.
            self.broken = true;
            return;
        }
        if events.contains(PollFlags::IN) {
            self.read();
        }
        self.flush();
    }

    fn read(&mut self) {
        let mut chunk = [0_u8; 4096];
        while self.input.len() <= REQUEST_MAX {
            match recv(&self.socket, &mut chunk[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    self.ended = true;
                    return;
                }
                Ok((n, _)) => self.input.extend_from_slice(&chunk[..n]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }

    /// The next whole line, once the one before it is answered.
    pub(crate) fn next_request(&mut self) -> Option<String> {
        if self.busy || self.broken {
            return None;
        }
        let Some(end) = self.input.iter().position(|b| *b == b'\n') else {
            if self.input.len() > REQUEST_MAX {
                self.input.clear();
                self.ended = true;
                self.answer(&error(
                    format!("a request has at most {REQUEST_MAX} bytes and ends with a newline"),
                    false,
                ));
            }
            return None;
        };
        let line: Vec<u8> = self.input.drain(..=end).collect();
        self.busy = true;
        Some(String::from_utf8_lossy(&line).trim().to_owned())
    }

    /// Queues an answer and sends what the socket takes.
    pub(crate) fn answer(&mut self, answer: &Value) {
        self.busy = false;
        self.output.extend_from_slice(answer.to_string().as_bytes());
        self.output.push(b'\n');
        self.broken |= self.output.len() > ANSWERS_MAX;
        self.flush();
    }

    fn flush(&mut self) {
        let mut sent = 0;
        while sent < self.output.len() && !self.broken {
            match send(&self.socket, &self.output[sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => self.broken = true,
            }
        }
        self.output.drain(..sent);
    }

    /// Whether it can be let go.
    pub(crate) fn is_over(&self) -> bool {
        let whole_request = self.input.contains(&b'\n');
        self.broken || self.ended && !self.busy && self.output.is_empty() && !whole_request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use serde_json::json;

    fn pair() -> (Client, OwnedFd) {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        (Client::new(1, ours), theirs)
    }

    #[test]
    fn one_request_at_a_time_however_they_arrive() {
        let (mut client, peer) = pair();
        rustix::io::write(&peer, b"one\ntw").unwrap();
        client.on_ready(PollFlags::IN);
        assert_eq!(client.next_request().as_deref(), Some("one"));
        assert!(!client.interest().contains(PollFlags::IN), "its answer is due");
        assert_eq!(client.next_request(), None);
        client.answer(&json!({"ok": true}));
        assert_eq!(client.next_request(), None, "half a line");
        rustix::io::write(&peer, b"o\n").unwrap();
        client.on_ready(PollFlags::IN);
        assert_eq!(client.next_request().as_deref(), Some("two"));
        let mut answer = [0; 64];
        let n = rustix::io::read(&peer, &mut answer[..]).unwrap();
        assert_eq!(&answer[..n], b"{\"ok\":true}\n");
    }

    #[test]
    fn a_client_that_shut_its_half_still_gets_its_answer() {
        let (mut client, peer) = pair();
        rustix::io::write(&peer, b"status\n").unwrap();
        rustix::net::shutdown(&peer, rustix::net::Shutdown::Write).unwrap();
        client.on_ready(PollFlags::IN);
        assert!(!client.is_over());
        assert!(client.next_request().is_some());
        assert!(!client.is_over());
        client.answer(&json!(1));
        assert!(client.is_over());
        assert!(rustix::io::read(&peer, &mut [0_u8; 8][..]).unwrap() > 0);
    }

    #[test]
    fn a_request_without_end_is_refused() {
        let (mut client, peer) = pair();
        let junk = vec![b'x'; 16 << 10];
        for _ in 0..8 {
            let _ = rustix::io::write(&peer, &junk);
            client.on_ready(PollFlags::IN);
        }
        assert_eq!(client.next_request(), None);
        let mut answer = [0; 256];
        let n = rustix::io::read(&peer, &mut answer[..]).unwrap();
        assert!(String::from_utf8_lossy(&answer[..n]).contains("at most 65536 bytes"));
        assert!(client.is_over());
    }

    #[test]
    fn an_unread_answer_waits_and_a_gone_client_is_over() {
        let (mut client, peer) = pair();
        client.answer(&json!("x".repeat(1 << 20)));
        assert!(client.interest().contains(PollFlags::OUT));
        drop(peer);
        client.on_ready(PollFlags::HUP);
        assert!(client.is_over());
    }
}
