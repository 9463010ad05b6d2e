//! Frames from the clients' side that nobody answers.

use integration_tests::netns::Taps;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A thread that broadcasts datagrams until it is dropped: every card gets them, whoever drives it.
#[derive(Debug)]
pub struct Flood {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// One datagram each `gap`.
    pub fn start(taps: &Taps, gap: Duration) -> Self {
        let socket = taps.inside(|| UdpSocket::bind((taps.v4(2), 0))).flatten().expect("a socket on the bridge");
        socket.set_broadcast(true).expect("leave to broadcast");
        let to = SocketAddr::new(taps.v4(255), 9);
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                let _ = socket.send_to(&[0x5a; 100], to);
                std::thread::sleep(gap);
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
