//! SIGKILL under load: a receiving process is killed again and again while a sender floods it, and a successor goes on
//! with the descriptors that outlived it. Every datagram is recorded once, none is lost.
//!
//! The receiver is this program itself, started for the test [`receiver`] alone. What it has recorded stands in a memfd,
//! one byte per datagram. The record of a datagram and `recorded(position)` are two steps here, so a kill between them
//! makes one datagram known twice: at most one per death, and the record tells. In rx-gateway the owner words and the
//! journal close that window.

use arena::meta::Address;
use arena::region::{HugePages, inherited};
use arena::topology::RX;
use arena::{Arena, Geometry, Held, Me};
use ports::RxPort;
use ports::udp::{Host, UdpRx};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::getppid;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::{Duration, Instant};

const VARIABLE: &str = "FLUMEWAY_TEST_RECEIVER";
const KILLS: u32 = 40;
/// Bytes of the record: more datagrams than are ever sent.
const MOST: u32 = 1 << 20;
/// Datagrams that may wait in the socket: they fit every system's default buffer.
const WAITING: u32 = 150;
const PATIENCE: Duration = Duration::from_secs(30);

// What stands in the record for a datagram.
const RECORDED: u8 = 1;
const DOUBLE: u8 = 2;
const DAMAGED: u8 = 3;
// What follows the record, per incarnation.
const ATTACHED: u64 = 0;
const REFOUND: u64 = 1;
const KNOWN: u64 = 2;
const PER_INCARNATION: u64 = 4;

/// The shared record.
struct Record(OwnedFd);

impl Record {
    fn get(&self, at: u64) -> u8 {
        let mut byte = [0];
        rustix::io::pread(&self.0, &mut byte, at).expect("the record");
        byte[0]
    }

    fn set(&self, at: u64, byte: u8) {
        rustix::io::pwrite(&self.0, &[byte], at).expect("the record");
    }

    fn note(incarnation: u32, what: u64) -> u64 {
        u64::from(MOST) + u64::from(incarnation) * PER_INCARNATION + what
    }

    fn count(&self, incarnation: u32, what: u64) {
        let at = Self::note(incarnation, what);
        self.set(at, self.get(at) + 1);
    }
}

/// The number that a datagram carries, if it is whole.
fn number(bytes: &[u8]) -> Option<u32> {
    let number = u32::from_le_bytes(*bytes.first_chunk()?);
    (bytes == datagram(number)).then_some(number).filter(|n| *n < MOST)
}

fn datagram(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(1 + number as usize % 16)
}

/// The process that is killed. As a test of its own it does nothing.
#[test]
fn receiver() {
    let Ok(text) = std::env::var(VARIABLE) else { return };
    let numbers: Vec<u32> = text.split(',').map(|n| n.parse().expect("a number")).collect();
    let take = |n: usize| inherited(numbers[n] as i32).expect("an inherited descriptor");
    let (control, packets, record) = (take(0), take(1), Record(take(4)));
    let me = Me { id: RX, incarnation: numbers[5] };
    let arena = Arena::attach(control.as_fd(), Some((packets.as_fd(), true)), None, None).expect("the arena");
    let mut port = UdpRx::attach(vec![take(2), take(3)], 32).expect("the host's descriptors");
    let parent = getppid();
    record.count(me.incarnation, ATTACHED);
    let mut free = take_over(&arena, me, &mut port, &record);
    let mut received = Vec::with_capacity(32);
    loop {
        port.offer(&arena, &mut free);
        if port.receive(&mut received, 32).expect("the driver receives") == 0 {
            let timeout = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            let _ = poll(&mut [PollFd::from_borrowed_fd(port.readable(), PollFlags::IN)], Some(&timeout));
            if getppid() != parent {
                std::process::exit(1); // the test was killed, and kills nobody any more
            }
        }
        for packet in received.drain(..) {
            let (from, len) = (packet.data.offset as usize, packet.data.len as usize);
            match number(&arena.packet(&packet.held)[from..from + len]) {
                Some(n) => record.set(n.into(), record.get(n.into()) + RECORDED),
                None => record.set(0, DAMAGED),
            }
            port.recorded(packet.position);
            free.push(packet.held);
        }
    }
}

/// Adopts all buffers of older incarnations, and records what lies in those that the driver finds again.
fn take_over(arena: &Arena, me: Me, port: &mut UdpRx, record: &Record) -> Vec<Held> {
    let mut found = Vec::new();
    port.refind(&mut found);
    let table = arena.table();
    let free: Vec<Held> = (0..table.buffers()).filter_map(|index| table.adopt(index, me)).collect();
    for f in &found {
        let (from, len) = (f.data.offset as usize, f.data.len as usize);
        let held = free.iter().find(|held| held.index() == f.index && table.of(held).owner().seq == f.seq);
        let bytes = held.map(|held| &arena.packet(held)[from..from + len]);
        let local = f.local.get().map(|a| a.ip().is_loopback());
        match bytes.and_then(number).filter(|_| f.peer != Address::NONE && local == Some(true)) {
            None => record.set(0, DAMAGED),
            Some(n) if record.get(n.into()) == 0 => {
                record.set(n.into(), RECORDED);
                record.count(me.incarnation, REFOUND);
            }
            Some(_) => record.count(me.incarnation, KNOWN),
        }
        port.recorded(f.position);
    }
    free
}

/// A receiver that runs; killed at the latest when the test ends, however it ends.
struct Running(Child);

impl Running {
    fn kill(&mut self) {
        self.0.kill().expect("SIGKILL");
        self.0.wait().expect("the child's end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What outlives the receivers.
struct Rig {
    host: Host,
    record: Record,
    /// As the receivers inherit them: not closed on exec.
    descriptors: Vec<OwnedFd>,
}

impl Rig {
    fn new() -> Self {
        let geometry = Geometry {
            buffers: 256,
            slots: 2,
            slot_input_bytes: 64,
            slot_output_bytes: 64,
            preprocess: 1,
            infer: 1,
            ring_capacity: 64,
            max_streams: 4,
            gateways: 1,
        };
        let (_, regions) = Arena::create(geometry, HugePages::Off).expect("a small arena");
        let host = Host::open("127.0.0.1:0".parse().expect("an address"), 200 << 10, 1).expect("a socket");
        let record = rustix::fs::memfd_create("record", MemfdFlags::CLOEXEC).expect("a memfd");
        let len = Record::note(KILLS + 2, 0);
        rustix::fs::ftruncate(&record, len).expect("room");
        let [socket, vector] = host.rx_descriptors(0).expect("a socket");
        let all = [regions.control.rw.as_fd(), regions.packets.rw.as_fd(), socket, vector, record.as_fd()];
        let descriptors = all.map(|fd| rustix::io::dup(fd).expect("a duplicate")).into();
        Self { host, record: Record(record), descriptors }
    }

    /// Starts a receiver and waits until it has attached.
    fn start(&self, incarnation: u32) -> Running {
        let mut words: Vec<String> = self.descriptors.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        words.push(incarnation.to_string());
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "receiver", "--nocapture", "--test-threads=1"])
            .env(VARIABLE, words.join(","))
            .stdout(Stdio::null())
            .spawn()
            .expect("a receiver");
        let mut child = Running(child);
        let start = Instant::now();
        while self.record.get(Record::note(incarnation, ATTACHED)) == 0 {
            assert!(start.elapsed() < PATIENCE, "the receiver does not attach");
            assert!(child.0.try_wait().expect("the child's state").is_none(), "the receiver ended by itself");
            std::thread::sleep(Duration::from_micros(50));
        }
        child
    }

    /// Sends until told to stop, never with more than the socket holds; returns how many.
    fn flood(&self, stop: &Receiver<()>) -> u32 {
        let peer = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let (mut sent, mut recorded) = (0, 0);
        while stop.try_recv() == Err(TryRecvError::Empty) && sent < MOST {
            while recorded < sent && self.record.get(recorded.into()) != 0 {
                recorded += 1;
            }
            if sent - recorded >= WAITING {
                let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(Duration::from_micros(100)) else { break };
                continue;
            }
            for _ in 0..10 {
                peer.send_to(&datagram(sent), self.host.local_addr()).expect("loopback takes it");
                sent += 1;
            }
        }
        sent
    }

    fn wait_for(&self, sent: u32) {
        let start = Instant::now();
        let mut recorded = 0;
        while recorded < sent {
            if self.record.get(recorded.into()) != 0 {
                recorded += 1;
            } else {
                assert!(start.elapsed() < PATIENCE, "datagram {recorded} of {sent} is lost");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[test]
fn no_datagram_is_lost_or_doubled_by_sigkill() {
    let rig = Rig::new();
    let (stop, stopped) = channel();
    let of = &rig;
    // The sender's channel moves in: a failure here closes it, and the sender ends.
    let sent = std::thread::scope(move |scope| {
        let sender = scope.spawn(move || of.flood(&stopped));
        let mut random: u64 = 1;
        for incarnation in 1..=KILLS {
            let mut child = of.start(incarnation);
            // Knuth's MMIX generator: delays from nothing (killed while it takes over) to some milliseconds.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_micros((random >> 33) % 6_000));
            child.kill();
        }
        stop.send(()).expect("the sender waits for it");
        sender.join().expect("the sender")
    });
    let mut last = rig.start(KILLS + 1);
    rig.wait_for(sent);
    last.kill();
    let note = |what| (1..=KILLS + 1).map(move |i| Record::note(i, what)).map(|at| u32::from(rig.record.get(at)));
    let (refound, known): (u32, u32) = (note(REFOUND).sum(), note(KNOWN).sum());
    println!("{sent} sent, {KILLS} kills: {refound} found again, {known} recorded and found again");
    for n in 0..sent {
        let state = rig.record.get(n.into());
        assert_ne!(state, DOUBLE, "datagram {n} was received twice");
        assert_eq!(state, RECORDED, "datagram {n}");
    }
    assert!(note(KNOWN).all(|n| n <= 1), "one death, and more than one datagram recorded and not cleared");
    assert!(refound >= KILLS / 8, "the kills hit the window between receiving and recording only {refound} times");
}
