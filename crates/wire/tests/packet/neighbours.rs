//! What neighbours ask and what they are told: known answers with checksums added up outside this crate, another implementation's
//! reading of the answers, and all that gets none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{Icmpv4Type, Icmpv6Type, NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};
use proptest::prelude::*;
use wire::packet::{Question, Station, Topic, internet_checksum};

use super::golden::bytes;

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 9);
const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(V4), IpAddr::V6(V6)];
const US: Station<'static> = Station { mac: OURS, addresses: &ADDRESSES };

/// Who has 198.51.100.9? From 192.0.2.7, padded.
const ARP: &str = "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 c0000207 000000000000 c6336409 \
     000000000000000000000000000000000000";
const ARP_ANSWER: &str =
    "020000000001 020000000002 0806 0001 0800 06 04 0002 020000000002 c6336409 020000000001 c0000207";
/// A probe behind two tags.
const PROBE: &str = "ffffffffffff 020000000001 88a800c8 81000064 0806 0001 0800 06 04 0001 \
     020000000001 00000000 000000000000 c6336409";
const PROBE_ANSWER: &str = "020000000001 020000000002 88a800c8 81000064 0806 0001 0800 06 04 0002 \
     020000000002 c6336409 020000000001 00000000";
/// Type of service 28, hops 61, "ping me".
const ECHO_V4: &str = "020000000002 020000000001 0800 4528 0023 1234 4000 3d01 3f3a c0000207 c6336409 \
     0800 8186 1234 0007 70696e67206d65";
const ECHO_V4_ANSWER: &str = "020000000001 020000000002 0800 4528 0023 0000 4000 4001 4e6e c6336409 c0000207 \
     0000 8986 1234 0007 70696e67206d65";
/// Behind a tag; traffic class 28, flow label abcde, hops 3.
const ECHO_V6: &str = "020000000002 020000000001 81000064 86dd 628abcde 000f 3a 03 \
     20010db8000000000000000000000007 20010db8000100000000000000000009 8000 adb9 1234 0007 70696e67206d65";
const ECHO_V6_ANSWER: &str = "020000000001 020000000002 81000064 86dd 62800000 000f 3a 40 \
     20010db8000100000000000000000009 20010db8000000000000000000000007 8100 acb9 1234 0007 70696e67206d65";
const SOLICITATION: &str = "3333ff000009 020000000001 86dd 60000000 0020 3a ff \
     20010db8000000000000000000000007 ff0200000000000000000001ff000009 8700 1c12 00000000 \
     20010db8000100000000000000000009 0101 020000000001";
const ADVERTISEMENT: &str = "020000000001 020000000002 86dd 60000000 0020 3a ff \
     20010db8000100000000000000000009 20010db8000000000000000000000007 8800 8a5b 60000000 \
     20010db8000100000000000000000009 0201 020000000002";
/// Is the address taken? Shorter than its answer by an option.
const DETECTION: &str = "3333ff000009 020000000001 86dd 60000000 0018 3a ff \
     00000000000000000000000000000000 ff0200000000000000000001ff000009 8700 4cdc 00000000 \
     20010db8000100000000000000000009";
const DEFENCE: &str = "333300000001 020000000002 86dd 60000000 0020 3a ff \
     20010db8000100000000000000000009 ff020000000000000000000000000001 8800 f917 20000000 \
     20010db8000100000000000000000009 0201 020000000002";

/// The answer to a frame, and what it was about.
fn answer(frame: &[u8]) -> Option<(Topic, Vec<u8>)> {
    let question = Question::read(frame, &US)?;
    let mut buffer = [&[0xa5; 7], frame, &[0xa5; 8]].concat();
    let whole = question.answer(&mut buffer, 7..7 + frame.len(), &US).expect("there is room");
    Some((question.topic(), buffer[whole].to_vec()))
}

#[test]
fn known_answers() {
    for (asked, told, topic) in [
        (ARP, ARP_ANSWER, Topic::Resolution),
        (PROBE, PROBE_ANSWER, Topic::Resolution),
        (SOLICITATION, ADVERTISEMENT, Topic::Resolution),
        (DETECTION, DEFENCE, Topic::Resolution),
        (ECHO_V4, ECHO_V4_ANSWER, Topic::Echo),
        (ECHO_V6, ECHO_V6_ANSWER, Topic::Echo),
    ] {
        assert_eq!(answer(&bytes(asked)), Some((topic, bytes(told))), "{asked}");
        // Padding is no part of a question.
        let padded = [bytes(asked), vec![0; 30]].concat();
        assert_eq!(answer(&padded), Some((topic, bytes(told))), "{asked}, padded");
    }
}

/// Stores `with` at `at`, counted from the end of the Ethernet header of a frame without tags, and makes the checksums right.
fn changed(frame: &str, at: isize, with: &[u8]) -> Vec<u8> {
    let mut frame = bytes(frame);
    let at = (14 + at) as usize;
    frame[at..at + with.len()].copy_from_slice(with);
    let (message, pseudo) = match frame[12..14] {
        [0x08, 0x00] => {
            frame[24..26].fill(0);
            let checksum = internet_checksum(&frame[14..34]);
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
            (34, Vec::new())
        }
        [0x86, 0xdd] => (54, [&frame[22..54], &[0, 0, frame[18], frame[19], 0, 0, 0, 58]].concat()),
        _ => return frame,
    };
    frame[message + 2..message + 4].fill(0);
    let checksum = internet_checksum(&[pseudo, frame[message..].to_vec()].concat());
    frame[message + 2..message + 4].copy_from_slice(&checksum.to_be_bytes());
    frame
}

fn refused(what: &str, frame: &[u8]) {
    assert_eq!(answer(frame), None, "{what}");
}

#[test]
fn changes_that_matter_not_are_answered() {
    for (what, frame) in [
        ("an echo request of another time to live", changed(ECHO_V4, 8, &[1])),
        ("a request to us alone", changed(ARP, -14, &OURS)),
        ("a solicitation to us alone", changed(SOLICITATION, -14, &OURS)),
        ("a solicitation to our address", changed(SOLICITATION, 24, &V6.octets())),
        ("an unknown option", changed(SOLICITATION, 64, &[99, 1])),
    ] {
        assert!(answer(&frame).is_some(), "{what}");
    }
}

#[test]
fn hardware_addresses_that_askers_state_are_believed() {
    let stated = [2, 0, 0, 0, 0, 9];
    let (_, told) = answer(&changed(ARP, 8, &stated)).unwrap();
    assert_eq!((&told[..6], &told[32..38]), (&stated[..], &stated[..]));
    let (_, told) = answer(&changed(SOLICITATION, 66, &stated)).unwrap();
    assert_eq!(told[..6], stated);
    let (_, told) = answer(&changed(SOLICITATION, 64, &[99, 1])).unwrap();
    assert_eq!(told[..6], PEER, "none is stated");
}

#[test]
fn requests_that_are_not_for_us() {
    for (what, at, with) in [
        ("another target", 24, &[198, 51, 100, 8][..]),
        ("a reply", 7, &[2]),
        ("another kind of address", 1, &[6]),
        ("another protocol", 2, &[0x86, 0xdd]),
        ("longer hardware addresses", 4, &[8]),
        ("longer protocol addresses", 5, &[16]),
        ("a group that asks", 8, &[3]),
        ("nobody asks", 8, &[0; 6]),
        ("our own hardware address asks", 8, &OURS),
        ("our own address asks", 14, &V4.octets()),
        ("a group's address asks", 14, &[224, 0, 0, 1]),
        ("everybody's address asks", 14, &[255; 4]),
        ("loopback asks", 14, &[127, 0, 0, 1]),
        ("another group's frame", -14, &[1, 0, 0x5e, 0, 0, 1]),
        ("another station's frame", -14, &[2, 0, 0, 0, 0, 3]),
        ("a frame of a group", -8, &[0xff; 6]),
        ("a frame of ours", -8, &OURS),
    ] {
        refused(what, &changed(ARP, at, with));
    }
}

#[test]
fn echo_requests_that_are_not_answered() {
    for (what, at, with) in [
        ("options", 0, &[0x46][..]),
        ("a header of four words", 0, &[0x44]),
        ("version 6", 0, &[0x65]),
        ("more fragments", 6, &[0x20]),
        ("a later fragment", 7, &[1]),
        ("another protocol", 9, &[17]),
        ("a length beyond the frame", 3, &[0x24]),
        ("a length without a message", 3, &[0x14]),
        ("too short a message", 3, &[0x1b]),
        ("a reply", 20, &[0]),
        ("a code", 21, &[1]),
        ("to another", 16, &[198, 51, 100, 8]),
        ("from us", 12, &V4.octets()),
        ("from a group", 12, &[239, 1, 1, 1]),
        ("from everybody", 12, &[255; 4]),
        ("from nobody", 12, &[0; 4]),
        ("from loopback", 12, &[127, 0, 0, 1]),
        ("to everybody's station", -14, &[0xff; 6]),
        ("to another station", -14, &[2, 0, 0, 0, 0, 3]),
    ] {
        refused(what, &changed(ECHO_V4, at, with));
    }
    let mut damaged = bytes(ECHO_V4);
    damaged[47] ^= 1;
    refused("a wrong checksum", &damaged);
    damaged[47] ^= 1;
    damaged[22] ^= 1;
    refused("a wrong checksum of the header", &damaged);
}

#[test]
fn solicitations_that_are_not_answered() {
    for (what, at, with) in [
        ("from beyond a router", 7, &[254][..]),
        ("an extension header", 6, &[0]),
        ("a fragment", 6, &[44]),
        ("a code", 41, &[1]),
        ("an advertisement", 40, &[136]),
        ("another target", 63, &[8]),
        ("a target that is a group", 48, &[0xff, 2]),
        ("from a group", 8, &[0xff, 2]),
        ("from us", 8, &V6.octets()),
        ("from loopback", 8, &Ipv6Addr::LOCALHOST.octets()),
        ("from a mapped address", 8, &V4.to_ipv6_mapped().octets()),
        ("to another group", 39, &[8]),
        ("an option of no length", 65, &[0]),
        ("an option beyond the message", 65, &[2]),
        ("a length beyond the frame", 5, &[0x21]),
        ("too short", 5, &[0x17]),
        ("from nobody, with a hardware address", 8, &[0; 16]),
        ("to another group's station", -9, &[8]),
    ] {
        refused(what, &changed(SOLICITATION, at, with));
    }
    refused("from nobody, to one", &changed(DETECTION, 24, &V6.octets()));
    let mut damaged = bytes(SOLICITATION);
    damaged[85] ^= 1;
    refused("a wrong checksum", &damaged);
}

#[test]
fn only_our_own_addresses_and_never_a_group() {
    let group: IpAddr = Ipv4Addr::new(224, 0, 0, 1).into();
    let frame = changed(ECHO_V4, 16, &[224, 0, 0, 1]);
    assert_eq!(Question::read(&frame, &Station { mac: OURS, addresses: &[group] }), None);
    for frame in [ARP, ECHO_V4, ECHO_V6, SOLICITATION] {
        assert_eq!(Question::read(&bytes(frame), &Station { mac: OURS, addresses: &[] }), None);
    }
}

#[test]
fn an_answer_needs_room() {
    for (frame, needs) in [(DETECTION, 86), (SOLICITATION, 86), (ARP, 42), (ECHO_V4, 49)] {
        let frame = bytes(frame);
        let question = Question::read(&frame, &US).expect("a question");
        let mut buffer = frame.clone();
        buffer.resize(needs - 1, 0);
        let before = buffer.clone();
        assert_eq!((question.answer(&mut buffer, 0..frame.len(), &US), &buffer), (None, &before));
        assert_eq!(question.answer(&mut buffer, usize::MAX..usize::MAX, &US), None);
        buffer.resize(needs, 0);
        assert_eq!(question.answer(&mut buffer, 0..frame.len().min(needs), &US), Some(0..needs));
    }
}

proptest! {
    /// Another implementation asks, and reads the answer.
    #[test]
    fn pings_come_back_as_they_were(
        v6: bool, id: u16, seq: u16, hops: u8, data in proptest::collection::vec(any::<u8>(), 0..1400),
    ) {
        let link = PacketBuilder::ethernet2(PEER, OURS);
        let mut frame = Vec::new();
        if v6 {
            let from = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7).octets();
            link.ipv6(from, V6.octets(), hops).icmpv6_echo_request(id, seq).write(&mut frame, &data).unwrap();
        } else {
            link.ipv4([192, 0, 2, 7], V4.octets(), hops).icmpv4_echo_request(id, seq).write(&mut frame, &data).unwrap();
        }
        let (topic, told) = answer(&frame).unwrap();
        prop_assert_eq!(topic, Topic::Echo);
        let read = PacketHeaders::from_ethernet_slice(&told).unwrap();
        let right = match (read.net.unwrap(), read.transport.unwrap()) {
            (NetHeaders::Ipv4(ip, _), TransportHeader::Icmpv4(icmp)) => {
                prop_assert_eq!((ip.source, ip.destination, ip.time_to_live), (V4.octets(), [192, 0, 2, 7], 64));
                prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                let Icmpv4Type::EchoReply(echo) = icmp.icmp_type else { panic!("{icmp:?}") };
                prop_assert_eq!((echo.id, echo.seq), (id, seq));
                icmp.icmp_type.calc_checksum(&data) == icmp.checksum
            }
            (NetHeaders::Ipv6(ip, _), TransportHeader::Icmpv6(icmp)) => {
                prop_assert_eq!((ip.source, ip.hop_limit), (V6.octets(), 64));
                let Icmpv6Type::EchoReply(echo) = icmp.icmp_type else { panic!("{icmp:?}") };
                prop_assert_eq!((echo.id, echo.seq), (id, seq));
                icmp.icmp_type.calc_checksum(ip.source, ip.destination, &data) == Ok(icmp.checksum)
            }
            other => panic!("{other:?}"),
        };
        prop_assert!(right);
        prop_assert_eq!(read.payload.slice(), &data[..]);
    }

    /// One changed byte of a question leaves one that is answered rightly, or none.
    #[test]
    fn hardly_changed_questions(which in 0_usize..6, at: prop::sample::Index, with: u8) {
        let mut frame = bytes([ARP, PROBE, ECHO_V4, ECHO_V6, SOLICITATION, DETECTION][which]);
        let at = at.index(frame.len());
        frame[at] = with;
        if let Some((_, told)) = answer(&frame) {
            prop_assert_eq!(&told[6..12], &OURS[..]);
            prop_assert!(told[0] & 1 == 0 || told[..6] == [0x33, 0x33, 0, 0, 0, 1]);
            prop_assert!(PacketHeaders::from_ethernet_slice(&told).is_ok());
        }
    }
}
