//! Frames that are wrong, each in one way; frames cut at every length; any bytes.

use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};
use wire::packet::{Refused, Tag, internet_checksum, parse, verify_udp_checksum};

use super::samples::{self, Description};

const IP_AT: usize = 14;

fn v4() -> Vec<u8> {
    Description::v4(b"a payload").frame()
}

fn v6() -> Vec<u8> {
    Description::v6(b"a payload").frame()
}

/// Makes the IPv4 header's checksum right again.
fn reseal(frame: &mut [u8]) {
    let end = IP_AT + usize::from(frame[IP_AT] & 0x0f) * 4;
    frame[IP_AT + 10..IP_AT + 12].fill(0);
    let checksum = internet_checksum(&frame[IP_AT..end]);
    frame[IP_AT + 10..IP_AT + 12].copy_from_slice(&checksum.to_be_bytes());
}

/// An IPv4 frame with bytes of its IP or UDP header replaced, counted from the IP header's first.
fn v4_with(changes: &[(usize, u8)]) -> Vec<u8> {
    let mut frame = v4();
    for (at, value) in changes {
        frame[IP_AT + at] = *value;
    }
    reseal(&mut frame);
    frame
}

fn v6_with(changes: &[(usize, u8)]) -> Vec<u8> {
    let mut frame = v6();
    for (at, value) in changes {
        frame[IP_AT + at] = *value;
    }
    frame
}

fn assert_refused(cases: &[(&str, Vec<u8>, Refused)]) {
    for (what, frame, refused) in cases {
        assert_eq!(parse(frame), Err(*refused), "{what}");
    }
}

#[test]
fn the_link_layer() {
    let mut arp = v4();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let mut length = v4();
    length[12..14].copy_from_slice(&[0x00, 0x40]);
    let tag = Some(Tag::new(0x8100, 1));
    let mut description = Description::v4(b"");
    description.link.tags = [tag; 2];
    let mut three = description.frame();
    three.splice(12..12, [0x88, 0xa8, 0, 1]);
    assert_refused(&[
        ("ARP", arp, Refused::NotIp),
        ("IEEE 802.3 length", length, Refused::NotIp),
        ("three tags", three, Refused::TooManyTags),
        ("nothing", Vec::new(), Refused::Truncated),
    ]);
}

#[test]
fn ipv4_headers() {
    let mut damaged = v4();
    damaged[IP_AT + 8] ^= 1;
    assert_refused(&[
        ("version 6 behind the EtherType of IPv4", v4_with(&[(0, 0x65)]), Refused::NotIp),
        // With a UDP length where one would be looked for.
        ("header of 16 bytes", v4_with(&[(0, 0x44), (20, 0), (21, 8)]), Refused::BadLength),
        (
            "header beyond the frame",
            {
                let mut f = v4();
                f[IP_AT] = 0x4f;
                f
            },
            Refused::Truncated,
        ),
        ("a damaged header", damaged, Refused::BadIpChecksum),
        ("total length 19", v4_with(&[(3, 19)]), Refused::BadLength),
        ("total length beyond the frame", v4_with(&[(3, 38)]), Refused::Truncated),
        ("TCP", v4_with(&[(9, 6)]), Refused::NotUdp),
        ("ICMP", v4_with(&[(9, 1)]), Refused::NotUdp),
        ("first fragment", v4_with(&[(6, 0x20)]), Refused::Fragment),
        ("last fragment", v4_with(&[(7, 185)]), Refused::Fragment),
        ("fragment at a high offset", v4_with(&[(6, 0x1f)]), Refused::Fragment),
    ]);
    // Don't-fragment and the reserved bit make no fragment.
    for flags in [0x00, 0x40, 0x80, 0xc0] {
        assert!(parse(&v4_with(&[(6, flags)])).is_ok(), "{flags:#x}");
    }
}

#[test]
fn ipv6_headers() {
    assert_refused(&[
        ("version 4 behind the EtherType of IPv6", v6_with(&[(0, 0x40)]), Refused::NotIp),
        ("length beyond the frame", v6_with(&[(5, 18)]), Refused::Truncated),
        ("a length of 0, as in a jumbogram", v6_with(&[(5, 0)]), Refused::BadLength),
        ("fragment header", v6_with(&[(6, 44)]), Refused::Fragment),
        ("TCP", v6_with(&[(6, 6)]), Refused::NotUdp),
        ("ICMPv6: neighbour solicitations", v6_with(&[(6, 58)]), Refused::NotUdp),
        ("no next header", v6_with(&[(6, 59)]), Refused::NotUdp),
    ]);
    for next_header in [0, 43, 51, 60, 135, 139, 140] {
        assert_eq!(parse(&v6_with(&[(6, next_header)])), Err(Refused::ExtensionHeader), "{next_header}");
    }
}

#[test]
fn udp_lengths() {
    let payload_len = b"a payload".len();
    for (at, frame) in [(20, v4()), (40, v6())] {
        for udp_len in 0..64_u8 {
            let mut frame = frame.clone();
            frame[IP_AT + at + 5] = udp_len;
            let expected = match usize::from(udp_len) {
                8.. if usize::from(udp_len) <= 8 + payload_len => Ok(usize::from(udp_len) - 8),
                _ => Err(Refused::BadLength),
            };
            assert_eq!(parse(&frame).map(|packet| packet.payload.len()), expected, "UDP length {udp_len}");
        }
    }
    assert_eq!(parse(&v4_with(&[(3, 27)])), Err(Refused::BadLength), "IP ends within the UDP header");
}

#[test]
fn udp_checksums() {
    for (frame, zero_is_right) in [(v4(), true), (v6(), false)] {
        let packet = parse(&frame).unwrap();
        assert!(verify_udp_checksum(&frame, &packet));
        for bit in (packet.payload.start - 8) * 8..packet.payload.end * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify_udp_checksum(&damaged, &packet), "bit {bit}");
        }
        let mut none = frame.clone();
        none[packet.payload.start - 2..packet.payload.start].fill(0);
        assert_eq!(verify_udp_checksum(&none, &packet), zero_is_right);
        // The addresses count.
        let mut other = packet.clone();
        let ip: IpAddr = if zero_is_right { [192, 0, 2, 8].into() } else { [1_u16; 8].into() };
        other.source = SocketAddr::new(ip, other.source.port()).into();
        assert!(!verify_udp_checksum(&frame, &other));
    }
}

#[test]
fn a_packet_of_another_frame_has_a_wrong_checksum() {
    let frame = v4();
    let packet = parse(&frame).unwrap();
    for (start, end) in [(0, 0), (7, 9), (8, 4), (60, 50), (42, usize::MAX), (usize::MAX, usize::MAX), (usize::MAX, 0)]
    {
        let packet = wire::packet::UdpPacket { payload: start..end, ..packet.clone() };
        assert!(!verify_udp_checksum(&frame, &packet), "{:?}", packet.payload);
    }
    assert!(!verify_udp_checksum(&frame[..20], &packet));
}

#[test]
fn cut_at_every_length() {
    let mut tagged = Description::v6(b"a payload");
    tagged.link.tags = [Some(Tag::new(0x88a8, 7)), Some(Tag::new(0x8100, 8))];
    let mut options = Description::v4(b"a payload");
    options.options = vec![1; 12];
    for frame in [v4(), v6(), tagged.frame(), options.frame()] {
        for len in 0..frame.len() {
            assert_eq!(parse(&frame[..len]), Err(Refused::Truncated), "{len} of {} bytes", frame.len());
        }
        assert!(parse(&frame).is_ok());
    }
}

#[test]
fn a_refusal_is_one_byte_and_tells_the_remedy() {
    assert_eq!(size_of::<Result<(), Refused>>(), 1);
    assert!(Refused::Fragment.to_string().contains("MTU"));
}

proptest! {
    #[test]
    fn any_bytes(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(packet) = parse(&frame) {
            prop_assert!(packet.payload.start <= packet.payload.end && packet.payload.end <= frame.len());
        }
    }

    /// One byte of the headers is another one, with the header's checksum right: what is read lies within the frame.
    #[test]
    fn any_byte_of_the_headers(
        description in samples::description(), at in 0..130_usize, value: u8, cut in 0..3_usize,
    ) {
        let mut frame = description.frame();
        let at = at % frame.len();
        frame[at] = value;
        frame.truncate(frame.len() - cut);
        let untagged = description.link.tag_count() == 0;
        if untagged && description.source.is_ipv4() && frame.len() > IP_AT + 60 {
            reseal(&mut frame);
        }
        if let Ok(packet) = parse(&frame) {
            prop_assert!(packet.payload.start >= 42 && packet.payload.end <= frame.len());
            let _ = verify_udp_checksum(&frame, &packet);
        }
    }
}
