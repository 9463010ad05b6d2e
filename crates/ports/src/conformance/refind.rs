//! What a driver must do whose process is killed between receiving packets and recording them.

use super::{Hand, Harness, addresses, datagrams, receive, send_all};
use crate::Refound;
use arena::meta::Address;

/// What a packet was before its receiver died.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    index: u32,
    seq: u32,
    position: u32,
    bytes: Vec<u8>,
}

/// Receives `sent`, records those that `recorded` names, and dies; returns what was not recorded.
fn receive_and_die(harness: &dyn Harness, sent: &[Vec<u8>], recorded: &[usize]) -> Vec<Known> {
    let mut hand = Hand::new(harness, 1, 32);
    let mut port = harness.rx(hand.me);
    assert_eq!(hand.inherit(&mut *port), [], "the first incarnation finds nothing");
    hand.offer(&mut *port);
    send_all(harness, sent);
    let packets = receive(&mut *port, sent.len());
    let (mut known, mut left) = (Vec::new(), Vec::new());
    for (n, packet) in packets.into_iter().enumerate() {
        assert_eq!(hand.bytes(&packet), sent[n]);
        if recorded.contains(&n) {
            hand.record(&mut *port, [packet]);
        } else {
            let seq = harness.arena().table().of(&packet.held).owner().seq;
            let (index, position) = (packet.held.index(), packet.position);
            known.push(Known { index, seq, position, bytes: hand.bytes(&packet).to_vec() });
            left.push(packet);
        }
    }
    hand.die(port, left);
    known
}

/// What incarnation `incarnation` finds.
fn refound(harness: &dyn Harness, incarnation: u32) -> Vec<Refound> {
    let mut hand = Hand::new(harness, incarnation, 0);
    let mut port = harness.rx(hand.me);
    let found = hand.inherit(&mut *port);
    hand.end(port);
    found
}

/// As a successor does: takes each buffer over, and reads the packet in it.
fn take_over(hand: &mut Hand<'_>, found: &[Refound], (peer, local): (Address, Address)) -> Vec<Known> {
    let mut known = Vec::new();
    for f in found {
        assert_eq!((f.peer, f.local), (peer, local));
        let word = hand.arena.table().get(f.index).expect("the index of a buffer").owner();
        assert!(word.is_older(hand.me), "buffer {} is {word:?}'s", f.index);
        assert_eq!(word.seq, f.seq, "a record of buffer {} from another time", f.index);
        let (from, len) = (f.data.offset as usize, f.data.len as usize);
        let arena = hand.arena;
        let bytes = arena.packet(hand.adopt_kept(f.index))[from..from + len].to_vec();
        known.push(Known { index: f.index, seq: f.seq, position: f.position, bytes });
    }
    known.sort_by_key(|k| k.position);
    known
}

/// What was received and not recorded is found: which buffer, the number in its word, contents, and addresses. What was
/// recorded is not.
pub fn unrecorded_packets(harness: &dyn Harness) {
    let mut expected = receive_and_die(harness, &datagrams(7), &[0, 3, 4]);
    expected.sort_by_key(|k| k.position);
    assert_eq!(expected.len(), 4);
    for known in &expected {
        let word = harness.arena().table().get(known.index).expect("the index of a buffer").owner();
        assert_eq!(word.seq, known.seq, "receiving does not change the owner word");
    }
    let mut hand = Hand::new(harness, 2, 0);
    let mut port = harness.rx(hand.me);
    let found = hand.inherit(&mut *port);
    assert_eq!(take_over(&mut hand, &found, addresses(harness)), expected);
    for f in &found {
        port.recorded(f.position);
    }
    hand.end(port);
    assert_eq!(refound(harness, 3), [], "recorded now");
}

/// A predecessor that had recorded everything leaves nothing to find.
pub fn nothing_when_all_is_recorded(harness: &dyn Harness) {
    assert_eq!(receive_and_die(harness, &datagrams(3), &[0, 1, 2]), []);
    assert_eq!(refound(harness, 2), []);
}

/// Buffers that were offered and never used are not packets.
pub fn nothing_when_nothing_came(harness: &dyn Harness) {
    assert_eq!(receive_and_die(harness, &[], &[]), []);
    assert_eq!(refound(harness, 2), []);
}

/// The successor is killed too, after it took over the buffers and recorded one of three packets: the third incarnation
/// finds the other two, with the numbers of the first, and none of them has been overwritten.
pub fn again_after_a_second_death(harness: &dyn Harness) {
    receive_and_die(harness, &datagrams(3), &[]);
    let mut hand = Hand::new(harness, 2, 0);
    let mut port = harness.rx(hand.me);
    let found = hand.inherit(&mut *port);
    let expected = take_over(&mut hand, &found, addresses(harness)).split_off(1);
    let first = found.iter().min_by_key(|f| f.position).expect("three were found");
    port.recorded(first.position);
    hand.adopt_free(16);
    send_all(harness, &datagrams(2));
    hand.offer(&mut *port);
    let mut out = Vec::with_capacity(8);
    let _ = port.receive(&mut out, 8).expect("the driver receives");
    let new: Vec<u32> = out.iter().map(|p| p.held.index()).collect();
    hand.die(port, out);
    let mut hand = Hand::new(harness, 3, 0);
    let mut port = harness.rx(hand.me);
    let mut found = hand.inherit(&mut *port);
    found.retain(|f| !new.contains(&f.index));
    assert_eq!(take_over(&mut hand, &found, addresses(harness)), expected);
    hand.end(port);
}

/// Further offers and calls of `receive` leave what is not recorded where it is.
pub fn unrecorded_packets_are_not_overwritten(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 8);
    let mut port = harness.rx(hand.me);
    hand.offer(&mut *port);
    let sent = datagrams(6);
    send_all(harness, &sent);
    let mut packets = receive(&mut *port, 4);
    hand.adopt_free(64);
    for round in 0..8 {
        if round == 3 {
            // Recording some must not set the others free.
            let first = packets.remove(0);
            hand.record(&mut *port, [first]);
        }
        if round == 5 {
            port.recorded(u32::MAX);
        }
        hand.offer(&mut *port);
        let mut more = Vec::with_capacity(64);
        let _ = port.receive(&mut more, 64).expect("the driver receives");
        packets.append(&mut more);
    }
    let expected: Vec<_> = packets.iter().map(|p| hand.bytes(p).to_vec()).collect();
    assert_eq!(expected, sent[1..=expected.len()], "in the order in which they were sent");
    hand.die(port, packets);
    let mut hand = Hand::new(harness, 2, 0);
    let mut port = harness.rx(hand.me);
    let found = hand.inherit(&mut *port);
    let mut bytes: Vec<_> =
        take_over(&mut hand, &found, addresses(harness)).into_iter().map(|known| known.bytes).collect();
    let mut expected = expected;
    bytes.sort();
    expected.sort();
    assert_eq!(bytes, expected);
    for f in &found {
        port.recorded(f.position);
    }
    let left = sent.len() - 1 - expected.len();
    hand.adopt_free(8);
    hand.offer(&mut *port);
    let packets = receive(&mut *port, left);
    let bytes: Vec<_> = packets.iter().map(|p| hand.bytes(p).to_vec()).collect();
    assert_eq!(bytes, sent[sent.len() - left..], "and the rest is received");
    hand.record(&mut *port, packets);
    hand.end(port);
}

/// What is sent while no receiver lives waits for the successor.
pub fn packets_that_came_meanwhile(harness: &dyn Harness) {
    let expected = receive_and_die(harness, &datagrams(3), &[1]);
    let meanwhile = datagrams(20);
    send_all(harness, &meanwhile);
    let mut hand = Hand::new(harness, 2, 0);
    let mut port = harness.rx(hand.me);
    let found = hand.inherit(&mut *port);
    assert_eq!(take_over(&mut hand, &found, addresses(harness)), expected);
    for f in &found {
        port.recorded(f.position);
    }
    hand.adopt_free(32);
    let mut seen = Vec::new();
    while seen.len() < meanwhile.len() {
        hand.offer(&mut *port);
        let packets = receive(&mut *port, 1);
        seen.extend(packets.iter().map(|p| hand.bytes(p).to_vec()));
        hand.record(&mut *port, packets);
    }
    assert_eq!(seen, meanwhile);
    hand.end(port);
}

/// However its receiver died, every buffer is either the successor's to take, or with a device that keeps it; none is both, and
/// the successor receives into them.
pub fn every_buffer_comes_back(harness: &dyn Harness) {
    receive_and_die(harness, &datagrams(7), &[0, 3, 4]);
    let mut hand = Hand::new(harness, 2, 0);
    let mut port = harness.rx(hand.me);
    let found = hand.inherit(&mut *port);
    let mut taken = hand.indices();
    let back = taken.len();
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), back, "a buffer came back twice");
    let table = harness.arena().table();
    for (index, d) in table.iter().take(table.buffers() as usize) {
        let word = d.owner();
        let mine = taken.binary_search(&index).is_ok();
        let with_device = word.id.is_device_rx() && harness.keeps_offered();
        assert!(word.is_older(hand.me) != mine || with_device, "buffer {index} is {word:?}'s, in hand: {mine}");
        assert!(!mine || word.is(hand.me), "buffer {index} in hand is {word:?}'s");
    }
    for f in &found {
        port.recorded(f.position);
    }
    hand.adopt_free(32);
    hand.offer(&mut *port);
    let meanwhile = datagrams(5);
    send_all(harness, &meanwhile);
    let packets = receive(&mut *port, 5);
    assert_eq!(packets.iter().map(|p| hand.bytes(p).to_vec()).collect::<Vec<_>>(), meanwhile);
    hand.record(&mut *port, packets);
    hand.end(port);
}
