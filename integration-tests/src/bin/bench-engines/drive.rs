//! A client that takes no more of the processor than it must: datagrams are made before the clock starts, and answers are waited for by looking.

use anyhow::{Result, bail};
use integration_tests::client::{Client, Frame};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// A frame without an answer for so long is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client on loopback.
pub struct Driver {
    socket: UdpSocket,
    /// Makes datagrams; its own socket is not used.
    maker: Client,
    to: SocketAddr,
    next_id: u64,
}

impl Driver {
    /// A client of the pipeline that listens at `to`.
    pub fn new(to: SocketAddr, stream: u32) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, maker: Client::new(to, stream), to, next_id: 0 })
    }

    /// The datagrams of one frame more.
    fn frame(&mut self, frame: &Frame<'_>) -> Vec<Vec<u8>> {
        self.next_id += 1;
        self.maker.datagrams(self.next_id, frame)
    }

    fn send(&self, datagrams: &[Vec<u8>]) -> Result<()> {
        for datagram in datagrams {
            self.socket.send_to(datagram, self.to)?;
        }
        Ok(())
    }

    /// Waits for one answer.
    fn receive(&self) -> Result<()> {
        let (mut buffer, started) = ([0; 4096], Instant::now());
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(len) => {
                    let reply = wire::ReplyHeader::parse(&buffer[..len])?;
                    if reply.header.status != wire::Status::Ok {
                        bail!("a frame was answered with {:?}", reply.header.status);
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if started.elapsed() > PATIENCE {
                bail!("a frame was not answered within {} s", PATIENCE.as_secs());
            }
            std::hint::spin_loop();
        }
    }

    /// Microseconds from the first datagram of a frame until its answer is there, one frame at a time.
    pub fn round_trips_us(&mut self, frame: &Frame<'_>, count: usize) -> Result<Vec<f64>> {
        let one = |driver: &mut Self| {
            let datagrams = driver.frame(frame);
            let started = Instant::now();
            driver.send(&datagrams)?;
            driver.receive()?;
            Ok(started.elapsed().as_secs_f64() * 1e6)
        };
        (0..count).map(|_| one(self)).collect()
    }

    /// Answers per second over `time` with `window` frames on their way.
    pub fn rate(&mut self, frame: &Frame<'_>, window: usize, time: Duration) -> Result<f64> {
        for _ in 0..window {
            let datagrams = self.frame(frame);
            self.send(&datagrams)?;
        }
        // The first window fills the pipeline.
        let mut ready = self.frame(frame);
        for _ in 0..window {
            self.receive_asleep()?;
            self.send(&ready)?;
            ready = self.frame(frame);
        }
        let (started, mut answers) = (Instant::now(), 0_u32);
        while started.elapsed() < time {
            self.receive_asleep()?;
            self.send(&ready)?;
            ready = self.frame(frame);
            answers += 1;
        }
        let rate = f64::from(answers) / started.elapsed().as_secs_f64();
        for _ in 0..window {
            self.receive_asleep()?;
        }
        Ok(rate)
    }

    /// As [`Self::receive`], leaving the core to others meanwhile.
    fn receive_asleep(&self) -> Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec};
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 }))?;
        self.receive()
    }
}
