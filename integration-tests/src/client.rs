//! A client that knows what it sent: one socket, frames by number, every reply kept.

use crate::netns::{Net, Side};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use wire::{CompleteReply, Encoding, FragmentPlan, FrameKey, MacKey, ReplyAssembler, RequestHeader, Status};

/// A sender of one stream.
#[derive(Debug)]
pub struct Client {
    socket: UdpSocket,
    to: SocketAddr,
    /// Stream id.
    pub stream: u32,
    /// Session.
    pub session: u64,
    /// Sign frames with this key.
    pub key: Option<MacKey>,
    /// Deadline of each frame, microseconds.
    pub deadline_us: u32,
    /// Largest datagram.
    pub datagram: usize,
    /// Replies by frame id, in the order they came.
    pub replies: HashMap<u64, Vec<Answer>>,
    assembler: ReplyAssembler,
}

/// One complete reply.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What became of the frame.
    pub status: Status,
    /// How often it was begun.
    pub attempts: u8,
    /// Bytes of the result.
    pub bytes: Vec<u8>,
    /// The whole reply.
    pub reply: CompleteReply,
}

/// A picture or tensor to send.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// How the bytes are to be read.
    pub encoding: Encoding,
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// The frame.
    pub bytes: &'a [u8],
}

/// A tensor's bytes.
pub fn tensor(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The f32 values of a result.
pub fn values(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
}

impl Client {
    /// A client on an ephemeral loopback port.
    pub fn new(to: SocketAddr, stream: u32) -> Self {
        Self::with_socket(UdpSocket::bind("127.0.0.1:0").expect("a loopback socket"), to, stream)
    }

    /// A client on an ephemeral port in a namespace, at the address that a route to `to` has.
    pub fn inside(net: &Net, side: Side, to: SocketAddr, stream: u32) -> Self {
        let bind = || {
            // Connecting a datagram socket sends nothing; it tells which local address the route has.
            let any: IpAddr = if to.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
            let probe = UdpSocket::bind((any, 0))?;
            probe.connect(to)?;
            UdpSocket::bind((probe.local_addr()?.ip(), 0))
        };
        let socket = net.inside(side, bind).flatten().expect("a socket in the namespace");
        Self::with_socket(socket, to, stream)
    }

    /// A client on a socket of the caller's.
    pub fn with_socket(socket: UdpSocket, to: SocketAddr, stream: u32) -> Self {
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 20).expect("a receive buffer");
        socket.set_nonblocking(true).expect("a non-blocking socket");
        Self {
            socket,
            to,
            stream,
            session: 0x5e55_0000 + u64::from(stream),
            key: None,
            deadline_us: 0,
            datagram: 1472,
            replies: HashMap::new(),
            assembler: ReplyAssembler::new(64, 16 << 20),
        }
    }

    /// Where its replies arrive.
    pub fn addr(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket")
    }

    /// The datagrams of a frame.
    pub fn datagrams(&self, frame_id: u64, frame: &Frame<'_>) -> Vec<Vec<u8>> {
        let header_len = wire::header_len(self.key.is_some());
        let plan = FragmentPlan::new(frame.bytes.len(), self.datagram, header_len).expect("a plan");
        plan.fragments()
            .map(|fragment| {
                let header = RequestHeader {
                    key: FrameKey { stream_id: self.stream, session: self.session, frame_id },
                    fragment,
                    encoding: frame.encoding,
                    width: frame.width,
                    height: frame.height,
                    deadline_us: self.deadline_us,
                    capture_time: frame_id ^ 0xabcd,
                    flags: 0,
                };
                let mut out = vec![0; header_len + fragment.len as usize];
                let part = &frame.bytes[fragment.offset as usize..(fragment.offset + fragment.len) as usize];
                let n = header.write(&mut out, part, self.key.as_ref()).expect("a datagram");
                out.truncate(n);
                out
            })
            .collect()
    }

    /// Sends a frame, all datagrams in order.
    pub fn send(&mut self, frame_id: u64, frame: &Frame<'_>) {
        for datagram in self.datagrams(frame_id, frame) {
            self.send_raw(&datagram);
        }
    }

    /// Sends a tensor.
    pub fn send_tensor(&mut self, frame_id: u64, values: &[f32]) {
        self.send(frame_id, &Frame { encoding: Encoding::TensorF32, width: 0, height: 0, bytes: &tensor(values) });
    }

    /// Sends any bytes.
    pub fn send_raw(&mut self, datagram: &[u8]) {
        while let Err(e) = self.socket.send_to(datagram, self.to) {
            assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock, "send: {e}");
            self.receive();
        }
    }

    /// Takes what has come; returns how many complete replies.
    pub fn receive(&mut self) -> usize {
        let mut buffer = vec![0; 65_536];
        let mut n = 0;
        while let Ok(len) = self.socket.recv(&mut buffer) {
            let reply = wire::ReplyHeader::parse(&buffer[..len]).expect("a valid reply");
            reply.authenticate(self.key.as_ref()).expect("an authentic reply");
            assert_eq!(reply.header.key.stream_id, self.stream);
            assert_eq!(reply.header.key.session, self.session);
            assert_eq!(reply.header.capture_time, reply.header.key.frame_id ^ 0xabcd, "capture time echoed");
            if let Ok(Some(complete)) = self.assembler.push(&reply) {
                let header = &complete.header;
                let answer = Answer {
                    status: header.status,
                    attempts: header.attempts,
                    bytes: complete.bytes.clone(),
                    reply: complete.clone(),
                };
                self.replies.entry(header.key.frame_id).or_default().push(answer);
                n += 1;
            }
        }
        n
    }

    /// Receives until `count` different frames have replies.
    pub fn receive_until(&mut self, count: usize) {
        let until = Instant::now() + crate::pipeline::PATIENCE;
        while self.replies.len() < count {
            if self.receive() == 0 {
                assert!(Instant::now() < until, "{} of {count} frames have replies", self.replies.len());
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    /// The one reply of a frame; the first where a death brought a second.
    pub fn answer(&self, frame_id: u64) -> &Answer {
        &self.replies.get(&frame_id).unwrap_or_else(|| panic!("frame {frame_id} has no reply"))[0]
    }
}
