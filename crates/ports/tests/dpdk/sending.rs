//! What the sending side makes of many frames, of long ones, and of its end.

use super::{AF_PACKET, AF_XDP, Dpdk, Kind};
use arena::descriptor::DataRange;
use arena::layout::DATA_OFFSET;
use arena::meta::Address;
use arena::topology::RX;
use arena::{Held, Me};
use ports::conformance::Harness;
use ports::dpdk::{DpdkTx, TxOptions};
use ports::{Datagram, Reaped, Route, SendOutcome, TxPort};
use std::time::{Duration, Instant};

/// All buffers are those of a dead rx-gateway.
const ME: Me = Me { id: RX, incarnation: 1 };
/// More than a port's pool has mbufs, and more than the kernel's ring has entries.
const FRAMES: u32 = 10_000;

/// A port of a harness, and one head at a time.
struct Sending {
    port: DpdkTx,
    harness: Dpdk,
}

impl Sending {
    fn new(kind: &'static Kind, descriptors: u16) -> Option<Self> {
        let harness = Dpdk::new(kind, false)?;
        let options = TxOptions { device: harness.device("tx"), descriptors, mtu: None };
        let opening = super::ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let port = DpdkTx::open(&harness.eal, &options, &harness.arena, ME).expect("a port");
        drop(opening);
        Some(Self { port, harness })
    }

    fn head(&self, index: u32) -> Held {
        let head = self.harness.arena.table().adopt(index, ME).expect("a free buffer");
        self.harness.arena.table().of(&head).reset();
        head
    }

    /// Sends what lies at `frame`.
    fn send(&mut self, head: &Held, frame: DataRange) -> SendOutcome {
        let arena = self.harness.arena.clone();
        let (from, len) = (usize::from(frame.offset), usize::from(frame.len));
        let datagram = Datagram {
            head,
            seq: arena.table().of(head).owner().seq,
            last: true,
            first: &arena.packet(head)[from..from + len],
            second: &[],
            to: Address::NONE,
            from: Address::NONE,
            offset: frame.offset,
            link: self.harness.link(),
        };
        let mut outcomes = [SendOutcome::Later];
        self.port.send(&[datagram], &mut outcomes).expect("the driver sends");
        outcomes[0]
    }

    /// Writes a datagram to the peer; returns where the frame lies.
    fn enclose(&self, head: &mut Held, payload: &[u8]) -> DataRange {
        let arena = self.harness.arena.clone();
        let from = DATA_OFFSET as usize;
        let buffer = arena.packet_mut(head);
        buffer[from..from + payload.len()].copy_from_slice(payload);
        let payload = DataRange { offset: DATA_OFFSET, len: payload.len() as u16 };
        let (to, source) = (Address::new(self.harness.peer()), Address::new(self.harness.local()));
        let route = Route { to, from: source, link: self.harness.link().expect("a link") };
        self.port.enclose(buffer, payload, &route).expect("headers")
    }

    fn reap(&mut self) -> Vec<Held> {
        let mut done = Vec::with_capacity(64);
        self.port.reap(&mut done);
        done.into_iter().map(|Reaped { held, .. }| held).collect()
    }
}

/// Every mbuf of the port's pool takes its turn, and every entry of its rings.
fn all_arrive(kind: &'static Kind) {
    let Some(mut sending) = Sending::new(kind, 1024) else { return };
    let mut head = sending.head(0);
    for n in 0..FRAMES {
        let frame = sending.enclose(&mut head, &n.to_le_bytes());
        let start = Instant::now();
        while sending.send(&head, frame) == SendOutcome::Later {
            assert!(start.elapsed() < Duration::from_secs(2), "frame {n} is not taken");
        }
        let posted = head.release();
        let back = loop {
            if let Some(back) = sending.reap().pop() {
                break back;
            }
            assert!(start.elapsed() < Duration::from_secs(2), "the head of frame {n} does not come back");
        };
        assert_eq!(back.index(), posted);
        head = back;
        let got = sending.harness.peer_recv(Duration::from_secs(2)).map(|(bytes, _)| bytes);
        assert_eq!(got.as_deref(), Some(&n.to_le_bytes()[..]), "frame {n}");
    }
    head.release();
}

#[test]
fn each_frame_of_many_arrives_on_af_xdp() {
    all_arrive(&AF_XDP);
}

#[test]
fn each_frame_of_many_arrives_on_af_packet() {
    all_arrive(&AF_PACKET);
}

/// One byte more than the port's MTU with its headers, and what an echo reply to a longer request would be.
fn long_ones_are_refused(kind: &'static Kind) {
    let Some(mut sending) = Sending::new(kind, 256) else { return };
    let head = sending.head(0);
    for len in [sending.port.max_frame() as u16 + 1, 3_600] {
        assert_eq!(sending.send(&head, DataRange { offset: 300, len }), SendOutcome::Failed, "{len} bytes");
    }
    assert!(!sending.port.is_pending(), "nothing is with the device");
    head.release();
}

#[test]
fn what_is_too_long_is_refused_on_af_xdp() {
    long_ones_are_refused(&AF_XDP);
}

#[test]
fn what_is_too_long_is_refused_on_af_packet() {
    long_ones_are_refused(&AF_PACKET);
}

/// A port that has been given up is another process's to open, while this one still lives.
fn given_up(kind: &'static Kind) {
    let Some(mut sending) = Sending::new(kind, 256) else { return };
    sending.port.withdraw().expect("the device goes");
    sending.port.withdraw().expect("it has gone");
    let mut head = sending.head(0);
    let frame = sending.enclose(&mut head, b"late");
    assert_eq!(sending.send(&head, frame), SendOutcome::Later, "there is nothing to send it");
    let options = TxOptions { device: sending.harness.device("tx"), descriptors: 256, mtu: None };
    let opening = super::ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let successor =
        DpdkTx::open(&sending.harness.eal, &options, &sending.harness.arena, ME).expect("the device is free");
    drop(opening);
    sending.port = successor;
    assert_eq!(sending.send(&head, frame), SendOutcome::Posted);
    assert_eq!(sending.harness.peer_recv(Duration::from_secs(2)).map(|(bytes, _)| bytes), Some(b"late".to_vec()));
    head.release();
}

#[test]
fn a_port_is_given_up_on_af_xdp() {
    given_up(&AF_XDP);
}

#[test]
fn a_port_is_given_up_on_af_packet() {
    given_up(&AF_PACKET);
}
