//! The client's two ways to a system: TCP to the server, UDP to Flumeway. Both block, and both check every answer.

use crate::framing::{PREFIX, read_frame, seal_length};
use crate::workload::Workload;
use anyhow::{Result, ensure};
use std::io::{BufReader, ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;
use wire::{Fragment, FragmentPlan, FrameKey, ReplyHeader, RequestHeader, Status};

/// A frame without answer for this long is lost.
const PATIENCE: Duration = Duration::from_secs(3);
/// Packets of a frame over UDP are as long as a packet buffer allows; loopback carries them whole.
const DATAGRAM: usize = wire::MAX_DATAGRAM;
const SESSION: u64 = 0xbe_7c_4b;

/// One way to a system.
pub trait Link {
    /// Sends the workload's frame under this number.
    fn send(&mut self, frame_id: u64) -> Result<()>;

    /// Waits for an answer and checks it; the frame's number, or `None` if none came in [`PATIENCE`].
    fn receive(&mut self) -> Result<Option<u64>>;
}

/// What is sent, and what must come back.
#[derive(Debug)]
struct Exchange<'w> {
    workload: &'w Workload,
    expected: &'w [u8],
}

impl Exchange<'_> {
    fn header(&self, frame_id: u64, fragment: Fragment) -> RequestHeader {
        let workload = self.workload;
        RequestHeader {
            key: FrameKey { stream_id: 1, session: SESSION, frame_id },
            fragment,
            encoding: workload.encoding,
            width: workload.width,
            height: workload.height,
            deadline_us: 0,
            capture_time: 0,
            flags: 0,
        }
    }

    /// Wrong answers are no answers: they end the measurement.
    fn check(&self, datagram: &[u8]) -> Result<u64> {
        let reply = ReplyHeader::parse(datagram)?;
        let header = reply.header;
        ensure!(header.status == Status::Ok, "frame {} was answered {:?}", header.key.frame_id, header.status);
        ensure!(reply.payload == self.expected, "frame {} was answered wrongly", header.key.frame_id);
        Ok(header.key.frame_id)
    }
}

fn timed_out(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// To the server.
#[derive(Debug)]
pub struct TcpLink<'w> {
    exchange: Exchange<'w>,
    writer: TcpStream,
    reader: BufReader<TcpStream>,
    message: Vec<u8>,
    answer: Vec<u8>,
}

impl<'w> TcpLink<'w> {
    /// Connects; `expected` are the bytes of the right result.
    pub fn new(to: SocketAddr, workload: &'w Workload, expected: &'w [u8]) -> Result<Self> {
        let writer = TcpStream::connect(to)?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(PATIENCE))?;
        let reader = BufReader::new(writer.try_clone()?);
        let message = vec![0; PREFIX + wire::header_len(false) + workload.bytes.len()];
        Ok(Self { exchange: Exchange { workload, expected }, writer, reader, message, answer: Vec::new() })
    }
}

impl Link for TcpLink<'_> {
    fn send(&mut self, frame_id: u64) -> Result<()> {
        let bytes = &self.exchange.workload.bytes;
        let header = self.exchange.header(frame_id, Fragment::whole(bytes.len() as u32));
        header.write(&mut self.message[PREFIX..], bytes, None)?;
        seal_length(&mut self.message);
        Ok(self.writer.write_all(&self.message)?)
    }

    fn receive(&mut self) -> Result<Option<u64>> {
        match read_frame(&mut self.reader, &mut self.answer) {
            Ok(more) => {
                ensure!(more, "the server has closed the connection");
                self.exchange.check(&self.answer).map(Some)
            }
            Err(e) if timed_out(&e) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

/// To Flumeway.
#[derive(Debug)]
pub struct UdpLink<'w> {
    exchange: Exchange<'w>,
    socket: UdpSocket,
    plan: FragmentPlan,
    datagram: Vec<u8>,
}

impl<'w> UdpLink<'w> {
    /// Connects; `expected` are the bytes of the right result.
    pub fn new(to: SocketAddr, workload: &'w Workload, expected: &'w [u8]) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let plan = FragmentPlan::new(workload.bytes.len(), DATAGRAM, wire::header_len(false))?;
        Ok(Self { exchange: Exchange { workload, expected }, socket, plan, datagram: vec![0; DATAGRAM] })
    }
}

impl Link for UdpLink<'_> {
    fn send(&mut self, frame_id: u64) -> Result<()> {
        for fragment in self.plan.fragments() {
            let part = fragment.offset as usize..(fragment.offset + fragment.len) as usize;
            let header = self.exchange.header(frame_id, fragment);
            let len = header.write(&mut self.datagram, &self.exchange.workload.bytes[part], None)?;
            self.socket.send(&self.datagram[..len])?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<u64>> {
        match self.socket.recv(&mut self.datagram) {
            Ok(len) => self.exchange.check(&self.datagram[..len]).map(Some),
            Err(e) if timed_out(&e) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}
