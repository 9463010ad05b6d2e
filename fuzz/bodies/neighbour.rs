//! Any bytes as a question of a neighbour: as they are, and with checksums that are right. What is answered is answered once,
//! to one station or to all nodes, with checksums that fit, within the buffer, and is no question itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::packet::{Question, Station, Topic, internet_checksum};

const US: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
/// Addresses of the corpus, and some that must never be answered for.
const ADDRESSES: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 9)),
    IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
];
/// Bytes around the question.
const ROOM: usize = 40;

/// Where the packet behind the link's header begins, and its `EtherType`.
fn packet_at(frame: &[u8]) -> Option<(usize, u16)> {
    let mut at = 12;
    while let [0x81, 0x00] | [0x88, 0xa8] = frame.get(at..at + 2)? {
        at += 4;
    }
    Some((at + 2, u16::from_be_bytes([frame[at], frame[at + 1]])))
}

/// The message of an IPv4 or IPv6 packet, and the sum's other bytes: those of the pseudo header.
fn message(frame: &[u8]) -> Option<(std::ops::Range<usize>, Vec<u8>)> {
    let (at, ether_type) = packet_at(frame)?;
    let packet = frame.get(at..)?;
    let field = |at: usize| Some(usize::from(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?])));
    let (from, to, pseudo) = match ether_type {
        0x0800 => (20, field(2)?, Vec::new()),
        0x86dd => {
            let len = field(4)?;
            let mut pseudo = packet.get(8..40)?.to_vec();
            pseudo.extend_from_slice(&(len as u32).to_be_bytes());
            pseudo.extend_from_slice(&[0, 0, 0, 58]);
            (40, 40 + len, pseudo)
        }
        _ => return None,
    };
    (from + 4 <= to && to <= packet.len()).then_some((at + from..at + to, pseudo))
}

fn sum(frame: &[u8], message: &std::ops::Range<usize>, pseudo: &[u8]) -> u16 {
    let mut bytes = pseudo.to_vec();
    bytes.extend_from_slice(&frame[message.clone()]);
    internet_checksum(&bytes)
}

/// Makes the checksums right, as far as there are any.
fn reseal(frame: &mut [u8]) {
    if let Some((at, 0x0800)) = packet_at(frame)
        && let Some(header) = frame.get_mut(at..at + 20)
    {
        header[10..12].fill(0);
        let checksum = internet_checksum(header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    let Some((message, pseudo)) = message(frame) else { return };
    frame[message.start + 2..message.start + 4].fill(0);
    let checksum = sum(frame, &message, &pseudo);
    frame[message.start + 2..message.start + 4].copy_from_slice(&checksum.to_be_bytes());
}

fn ask(frame: &[u8]) {
    let us = Station { mac: US, addresses: &ADDRESSES };
    let Some(question) = Question::read(frame, &us) else { return };
    let mut buffer = vec![0xa5; ROOM];
    buffer.extend_from_slice(frame);
    buffer.extend_from_slice(&[0xa5; ROOM]);
    let at = ROOM..ROOM + frame.len();
    let whole = question.answer(&mut buffer, at.clone(), &us).expect("there is room");
    assert_eq!(whole.start, at.start);
    assert!(buffer[..ROOM].iter().chain(&buffer[whole.end.max(at.end)..]).all(|byte| *byte == 0xa5));
    // A ping's answer is as long as the ping; nothing makes us send much more than was asked.
    assert!(whole.len() <= at.len() + 8);
    let answer = &buffer[whole.clone()];
    assert_eq!((&answer[6..12], answer[0] & 1 == 0 || answer[..6] == ALL_NODES), (&US[..], true));
    let (packet, ether_type) = packet_at(answer).expect("an answer");
    assert_eq!(answer[12..packet], frame[12..packet], "the same tags and the same protocol");
    assert_eq!(
        question.topic() == Topic::Echo,
        ether_type != 0x0806 && answer[packet..].len() >= 28 && {
            let message = message(answer).expect("a message").0;
            matches!(answer[message.start], 0 | 129)
        }
    );
    if ether_type == 0x0800 {
        assert_eq!(internet_checksum(&answer[packet..packet + 20]), 0);
    }
    if ether_type != 0x0806 {
        let (message, pseudo) = message(answer).expect("a message");
        assert_eq!((sum(answer, &message, &pseudo), message.end), (0, answer.len()));
    }
    // Whoever gets it does not answer in turn.
    let they = Station { mac: answer[..6].try_into().expect("six bytes"), addresses: &ADDRESSES };
    assert_eq!(Question::read(answer, &they), None);
    // Too little room: nothing is written.
    let mut short = frame[..whole.len().min(frame.len()) - 1].to_vec();
    let before = short.clone();
    assert_eq!((question.answer(&mut short, 0..before.len(), &us), short), (None, before));
}

/// One input.
pub fn run(data: &[u8]) {
    ask(data);
    let mut sealed = data.to_vec();
    reseal(&mut sealed);
    ask(&sealed);
}
