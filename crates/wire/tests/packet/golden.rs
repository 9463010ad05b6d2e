//! Known answers: frames put together field by field, with checksums added up word by word outside this crate.

use std::net::SocketAddr;

use wire::packet::{Link, Path, Tag, UdpPacket, header_len, parse, verify_udp_checksum, write_headers};

use super::samples::{PEER, US};

/// IPv4 behind one tag (priority 3, VLAN 100), hops 61: 192.0.2.7:40000 to 198.51.100.9:9000, "hello".
const V4_TAGGED: &str = "020000000001020000000002 81006064 0800 \
     4500 0021 1234 4000 3d11 3f54 c0000207 c6336409 9c40 2328 000d 1055 68656c6c6f";
/// IPv6 behind a service tag (VLAN 200) and a customer tag (VLAN 100), hops 255: "hello!".
const V6_TWO_TAGS: &str = "020000000001020000000002 88a800c8 81000064 86dd \
     60000000 000e 11 ff 20010db8000000000000000000000007 20010db8000100000000000000000009 \
     9c40 2328 000e a0f3 68656c6c6f21";
/// IPv4 with the router alert option, no UDP checksum, padded to 60 bytes: "abc".
const V4_OPTIONS: &str = "020000000001020000000002 0800 \
     4600 0023 0000 4000 4011 b981 c0000207 c6336409 94040000 9c40 2328 000b 0000 616263 00000000000000";
/// The answer to `V4_TAGGED`: "yes".
const V4_ANSWER: &str = "020000000002020000000001 81006064 0800 \
     4500 001f 0000 4000 4011 4e8a c6336409 c0000207 2328 9c40 000b 67c5 796573";
/// An answer whose sum is all ones, so that its checksum computes to 0 and is sent as ffff.
const V6_ZERO_SUM: &str = "020000000002020000000001 86dd \
     60000000 000a 11 40 20010db8000100000000000000000009 20010db8000000000000000000000007 \
     2328 9c40 000a ffff e4ee";

pub fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn link(tags: [Option<Tag>; 2]) -> Link {
    Link { peer_mac: PEER, local_mac: US, tags }
}

const SERVICE: Tag = Tag::new(0x88a8, 200);
const CUSTOMER: Tag = Tag::new(0x8100, 100);
const PRIORITY: Tag = Tag::new(0x8100, 0x6064);

fn checked(hex: &str) -> (UdpPacket, Vec<u8>) {
    let frame = bytes(hex);
    let packet = parse(&frame).expect(hex);
    assert!(verify_udp_checksum(&frame, &packet), "{hex}");
    let payload = frame[packet.payload.clone()].to_vec();
    (packet, payload)
}

#[test]
fn ipv4_behind_one_tag() {
    let (packet, payload) = checked(V4_TAGGED);
    let expected = UdpPacket {
        link: link([Some(PRIORITY), None]),
        source: address("192.0.2.7:40000").into(),
        destination: address("198.51.100.9:9000").into(),
        payload: 46..51,
        hops: 61,
    };
    assert_eq!((packet, &payload[..]), (expected, &b"hello"[..]));
}

#[test]
fn ipv6_behind_two_tags() {
    let (packet, payload) = checked(V6_TWO_TAGS);
    let expected = UdpPacket {
        link: link([Some(SERVICE), Some(CUSTOMER)]),
        source: address("[2001:db8::7]:40000").into(),
        destination: address("[2001:db8:1::9]:9000").into(),
        payload: 70..76,
        hops: 255,
    };
    assert_eq!((packet, &payload[..]), (expected, &b"hello!"[..]));
}

#[test]
fn ipv4_with_options_and_padding() {
    let (packet, payload) = checked(V4_OPTIONS);
    assert_eq!((packet.payload.clone(), &payload[..]), (46..49, &b"abc"[..]));
    assert_eq!(packet.link, link([None; 2]));
}

#[test]
fn vlan_ids() {
    let ids = |tags| (link(tags).tag_count(), link(tags).vlan_id());
    assert_eq!(ids([None; 2]), (0, None));
    assert_eq!(ids([Some(PRIORITY), None]), (1, Some(100)));
    assert_eq!(ids([Some(SERVICE), Some(CUSTOMER)]), (2, Some(200)));
    // A tag that states a priority alone names no VLAN.
    assert_eq!(ids([Some(Tag::new(0x8100, 0xe000)), None]), (1, None));
}

/// Writes headers before `payload` in a buffer of other bytes and returns the frame.
fn written(path: &Path, payload: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0xa5; 96];
    buffer.extend_from_slice(payload);
    buffer.extend_from_slice(&[0xa5; 8]);
    let frame = write_headers(&mut buffer, 96..96 + payload.len(), path).unwrap();
    assert_eq!(frame.len(), header_len(path.to.is_ipv6(), path.link.tag_count()) + payload.len());
    assert!(buffer[..frame.start].iter().chain(&buffer[frame.end..]).all(|b| *b == 0xa5), "written outside the frame");
    buffer[frame].to_vec()
}

#[test]
fn an_answer_byte_by_byte() {
    let (request, _) = checked(V4_TAGGED);
    assert_eq!(written(&Path::answering(&request), b"yes"), bytes(V4_ANSWER));
}

#[test]
fn a_checksum_of_zero_is_sent_as_all_ones() {
    let (request, _) = checked(V6_TWO_TAGS);
    let path = Path { link: link([None; 2]), ..Path::answering(&request) };
    assert_eq!(written(&path, &[0xe4, 0xee]), bytes(V6_ZERO_SUM));
    checked(V6_ZERO_SUM);
}

#[test]
fn lengths_of_headers() {
    assert_eq!([0, 1, 2].map(|tags| header_len(false, tags)), [42, 46, 50]);
    assert_eq!([0, 1, 2].map(|tags| header_len(true, tags)), [62, 66, 70]);
}
