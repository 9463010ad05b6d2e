//! What a driver must do that receives.

use super::{Hand, Harness, PATIENCE, addresses, datagrams, receive, send_all};
use arena::layout::BUFFER_BYTES;
use rustix::event::{PollFd, PollFlags, poll};
use std::time::Instant;

/// Datagrams come in the order in which they were sent, each whole, in a buffer that was offered, 64-byte aligned, with
/// the addresses of both ends.
pub fn in_order_into_offered_buffers(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 16);
    let mut port = harness.rx(hand.me);
    assert!(port.wants() >= 16, "a new port wants a burst of buffers, not {}", port.wants());
    let wanted = port.wants();
    let offered = hand.offer(&mut *port);
    assert_eq!(offered.len(), 16 + harness.first_fill(), "it takes as many as it wants");
    assert_eq!(port.wants(), wanted - offered.len());
    let sent = datagrams(10);
    send_all(harness, &sent);
    let packets = receive(&mut *port, 10);
    let mut used = Vec::new();
    for (packet, sent) in packets.iter().zip(&sent) {
        assert_eq!(hand.bytes(packet), sent);
        assert!(!harness.aligns() || packet.data.offset % 64 == 0, "a tensor in the payload must be aligned");
        assert!(u64::from(packet.data.offset) + u64::from(packet.data.len) <= BUFFER_BYTES);
        assert_eq!((packet.peer, packet.local), addresses(harness));
        assert!(offered.contains(&packet.held.index()), "buffer {} was not offered", packet.held.index());
        assert!(!used.contains(&packet.held.index()), "buffer {} came twice", packet.held.index());
        used.push(packet.held.index());
    }
    hand.record(&mut *port, packets);
    hand.end(port);
}

/// Where nothing is, nothing comes, at once: with buffers and without.
pub fn nothing_there(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 4);
    let mut port = harness.rx(hand.me);
    let mut out = Vec::with_capacity(4);
    let start = Instant::now();
    assert_eq!(port.receive(&mut out, 4).expect("no buffers is no error"), 0);
    hand.offer(&mut *port);
    assert_eq!(port.receive(&mut out, 4).expect("no packets is no error"), 0);
    assert!(out.is_empty() && start.elapsed() < PATIENCE / 2, "receive waited");
    hand.end(port);
}

/// Four buffers receive four packets; the others wait until there are buffers again. A device has nowhere to let them wait:
/// it drops and counts them.
pub fn never_more_than_offered(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 4);
    let mut port = harness.rx(hand.me);
    let sent = datagrams(10);
    if harness.keeps_offered() {
        hand.offer(&mut *port);
    }
    send_all(harness, &sent);
    let (mut seen, mut lost) = (Vec::new(), 0);
    while seen.len() + lost < sent.len() {
        hand.offer(&mut *port);
        let expected = (sent.len() - seen.len()).min(4);
        let mut packets = receive(&mut *port, expected);
        packets.reserve(8);
        let more = port.receive(&mut packets, 8).expect("the driver receives");
        assert_eq!(more, 0, "only {expected} buffers were there");
        seen.extend(packets.iter().map(|p| hand.bytes(p).to_vec()));
        hand.record(&mut *port, packets);
        if harness.keeps_offered() {
            lost = sent.len() - seen.len();
        }
    }
    assert_eq!(seen, sent[..sent.len() - lost]);
    let start = Instant::now();
    while port.dropped() != lost as u64 {
        assert!(start.elapsed() < PATIENCE, "{lost} packets lost, {} counted", port.dropped());
    }
    hand.end(port);
}

/// `max` and the room in `out` bound a burst.
pub fn never_more_than_asked_for(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 16);
    let mut port = harness.rx(hand.me);
    hand.offer(&mut *port);
    let sent = datagrams(9);
    send_all(harness, &sent);
    let mut seen = Vec::new();
    let start = Instant::now();
    while seen.len() < sent.len() {
        assert!(start.elapsed() < PATIENCE, "{} of {} packets came", seen.len(), sent.len());
        let mut out = Vec::with_capacity(4);
        let room = out.capacity();
        assert_eq!(port.receive(&mut out, 0).expect("the driver receives"), 0);
        let n = port.receive(&mut out, 3).expect("the driver receives");
        assert!(n <= 3 && out.len() == n, "{n} packets where 3 were asked for");
        seen.extend(out.iter().map(|p| hand.bytes(p).to_vec()));
        hand.record(&mut *port, out.drain(..));
        let n = port.receive(&mut out, 100).expect("the driver receives");
        assert!(n <= room && out.capacity() == room, "{n} packets where {room} had room");
        seen.extend(out.iter().map(|p| hand.bytes(p).to_vec()));
        hand.record(&mut *port, out);
    }
    assert_eq!(seen, sent);
    hand.end(port);
}

/// A datagram without a byte is a packet of length 0 and holds nobody up.
pub fn empty_datagrams(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 8);
    let mut port = harness.rx(hand.me);
    for round in 0..3 {
        hand.offer(&mut *port);
        send_all(harness, &[vec![], vec![round; 5], vec![]]);
        let packets = receive(&mut *port, 3);
        assert_eq!(packets.iter().map(|p| p.data.len).collect::<Vec<_>>(), [0, 5, 0]);
        hand.record(&mut *port, packets);
    }
    assert_eq!(hand.offer(&mut *port).len(), 3, "their buffers are wanted again");
    hand.end(port);
}

/// Before parking, all buffers that were offered and not used come back, each once.
pub fn withdrawn_buffers_come_back(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 12);
    let mut port = harness.rx(hand.me);
    let mut all = hand.indices();
    let offered = hand.offer(&mut *port);
    all.extend(offered.into_iter().filter(|index| !all.contains(index)).collect::<Vec<_>>());
    send_all(harness, &datagrams(5));
    let packets = receive(&mut *port, 5);
    hand.record(&mut *port, packets);
    port.withdraw(&mut hand.free).expect("the port gives them back");
    if harness.keeps_offered() {
        return stay_with_the_device(harness, hand, port, &all);
    }
    let mut back = hand.indices();
    all.sort_unstable();
    back.sort_unstable();
    assert_eq!(back, all);
    if harness.forgets() {
        return the_device_is_free(harness, hand, port);
    }
    let mut out = Vec::with_capacity(4);
    harness.peer_send(b"later");
    assert_eq!(port.receive(&mut out, 4).expect("the driver receives"), 0, "a parked port has no buffers");
    hand.offer(&mut *port);
    let packets = receive(&mut *port, 1);
    assert_eq!(hand.bytes(&packets[0]), b"later");
    hand.record(&mut *port, packets);
    hand.end(port);
}

/// A parked stage has given its device up with all that was in it; the successor has it, and receives.
fn the_device_is_free(harness: &dyn Harness, hand: Hand<'_>, port: Box<dyn crate::RxPort>) {
    drop(port);
    drop(hand);
    let mut hand = Hand::new(harness, 2, 12);
    let mut port = harness.rx(hand.me);
    assert_eq!(hand.inherit(&mut *port), []);
    hand.offer(&mut *port);
    harness.peer_send(b"later");
    let packets = receive(&mut *port, 1);
    assert_eq!(hand.bytes(&packets[0]), b"later");
    hand.record(&mut *port, packets);
    hand.end(port);
}

/// What a device has stays there while its stage is parked, each buffer with one owner; the successor receives into it.
fn stay_with_the_device(harness: &dyn Harness, hand: Hand<'_>, port: Box<dyn crate::RxPort>, all: &[u32]) {
    let table = harness.arena().table();
    let owner = |index: u32| table.get(index).expect("the index of a buffer").owner();
    let (in_hand, outside): (Vec<u32>, Vec<u32>) = all.iter().partition(|index| hand.indices().contains(*index));
    assert!(in_hand.iter().all(|index| owner(*index).is(hand.me)), "{in_hand:?}");
    assert_eq!(outside.len(), 7, "all that no packet came into");
    assert!(outside.iter().all(|index| owner(*index).id.is_device_rx()), "{outside:?}");
    drop(port);
    drop(hand);
    harness.peer_send(b"later");
    let mut hand = Hand::new(harness, 2, 0);
    let mut port = harness.rx(hand.me);
    assert_eq!(hand.inherit(&mut *port), []);
    let packets = receive(&mut *port, 1);
    assert_eq!(hand.bytes(&packets[0]), b"later");
    assert!(outside.contains(&packets[0].held.index()));
    hand.record(&mut *port, packets);
    hand.end(port);
}

/// Round after round with the same few buffers.
pub fn buffers_are_used_again(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 5);
    let mut port = harness.rx(hand.me);
    for round in 0..50 {
        hand.offer(&mut *port);
        let sent: Vec<_> = datagrams(round + 5).split_off(round + 5 - (round % 5 + 1));
        send_all(harness, &sent);
        let packets = receive(&mut *port, sent.len());
        let seen: Vec<_> = packets.iter().map(|p| hand.bytes(p).to_vec()).collect();
        assert_eq!(seen, sent, "round {round}");
        hand.record(&mut *port, packets);
    }
    hand.end(port);
}

/// The descriptor that a sleeping stage waits on wakes it.
pub fn becomes_readable(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 4);
    let mut port = harness.rx(hand.me);
    hand.offer(&mut *port);
    let readable = |port: &dyn crate::RxPort, seconds| {
        let timeout = rustix::event::Timespec { tv_sec: seconds, tv_nsec: 0 };
        poll(&mut [PollFd::from_borrowed_fd(port.readable(), PollFlags::IN)], Some(&timeout)).expect("poll") == 1
    };
    assert!(!readable(&*port, 0), "readable before anything was sent");
    harness.peer_send(b"wake");
    assert!(readable(&*port, PATIENCE.as_secs() as i64), "not readable with a packet waiting");
    let packets = receive(&mut *port, 1);
    hand.record(&mut *port, packets);
    assert!(!readable(&*port, 0), "readable after the last packet");
    hand.end(port);
}

/// What the peer sent is either received or counted as dropped, also by a successor of the process that lost it.
pub fn drops_are_counted(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 64);
    let mut port = harness.rx(hand.me);
    assert_eq!(port.dropped(), 0);
    if harness.forgets() {
        hand.offer(&mut *port); // It is not at work before.
    }
    let sent = harness.overflow();
    let mut received = drain(&mut hand, &mut *port);
    // Sockets tell the number of drops with the next packet that they let in.
    send_all(harness, &datagrams(3));
    received += drain(&mut hand, &mut *port);
    assert!(received < sent, "{sent} datagrams did not overflow the queue");
    assert_eq!(received + port.dropped(), sent + 3);
    let dropped = port.dropped();
    hand.end(port);
    if harness.forgets() {
        return; // The stage's page keeps the sum.
    }
    let mut hand = Hand::new(harness, 2, 64);
    let mut port = harness.rx(hand.me);
    assert_eq!(hand.inherit(&mut *port), []);
    harness.peer_send(b"to the successor");
    assert_eq!(drain(&mut hand, &mut *port), 1);
    assert_eq!(port.dropped(), dropped, "the count is the queue's, not the process's");
    hand.end(port);
}

/// Receives until nothing comes any more; returns how many packets came.
fn drain(hand: &mut Hand<'_>, port: &mut dyn crate::RxPort) -> u64 {
    let (mut received, mut last) = (0, Instant::now());
    while last.elapsed().as_millis() < 100 {
        hand.offer(port);
        let mut out = Vec::with_capacity(64);
        let n = port.receive(&mut out, 64).expect("the driver receives");
        hand.record(port, out);
        if n > 0 {
            received += n as u64;
            last = Instant::now();
        }
    }
    received
}
