//! Headers of answers: what cannot be written, and who gets none.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;
use wire::packet::{
    DEFAULT_HOPS, MAX_HEADER_LEN, Path, Tag, Unwritable, header_len, parse, verify_udp_checksum, write_headers,
};

use super::samples::{self, Description};

fn path(request: &Description) -> Path {
    Path::answering(&parse(&request.frame()).unwrap())
}

#[test]
fn the_way_back() {
    let request = Description::v4(b"");
    let path = path(&request);
    assert_eq!((path.from, path.to), (request.destination, request.source));
    assert_eq!((path.link, path.hops, path.identification), (request.link, DEFAULT_HOPS, 0));
}

#[test]
fn families_must_agree() {
    let v4 = path(&Description::v4(b""));
    let v6 = path(&Description::v6(b""));
    for mixed in [Path { from: v6.from, ..v4 }, Path { to: v6.to, ..v4 }] {
        assert_eq!(write_headers(&mut [0; 128], 80..90, &mixed), Err(Unwritable::MixedFamilies));
    }
}

#[test]
fn headers_need_their_room() {
    for request in [Description::v4(b""), Description::v6(b"")] {
        let path = path(&request);
        let needed = header_len(path.to.is_ipv6(), 0);
        let mut buffer = [0; 128];
        assert_eq!(write_headers(&mut buffer, needed..needed + 5, &path), Ok(0..needed + 5));
        for headroom in 0..needed {
            let refused = Err(Unwritable::NoHeadroom { headroom, needed });
            assert_eq!(write_headers(&mut buffer, headroom..headroom + 5, &path), refused);
        }
    }
}

#[test]
fn the_payload_lies_in_the_buffer() {
    let path = path(&Description::v4(b""));
    for (start, end) in [(100, 129), (129, 130), (90, 80), (120, usize::MAX - 100), (usize::MAX - 4, usize::MAX)] {
        assert!(write_headers(&mut [0; 128], start..end, &path).is_err(), "{start}..{end}");
    }
    assert_eq!(write_headers(&mut [0; 128], 100..129, &path), Err(Unwritable::PayloadOutside { buffer_len: 128 }));
    assert_eq!(write_headers(&mut [0; 128], 128..128, &path), Ok(86..128), "an empty payload at the end");
}

#[test]
fn the_longest_payloads() {
    for (request, max) in [(Description::v4(b""), 65_507), (Description::v6(b""), 65_527)] {
        let path = path(&request);
        let mut buffer = vec![7; MAX_HEADER_LEN + max + 1];
        let payload = MAX_HEADER_LEN..buffer.len();
        let refused = Err(Unwritable::PayloadTooLong { len: max + 1, max });
        assert_eq!(write_headers(&mut buffer, payload.clone(), &path), refused);
        let frame = write_headers(&mut buffer, payload.start..payload.end - 1, &path).unwrap();
        let packet = parse(&buffer[frame.clone()]).unwrap();
        assert_eq!(packet.payload.len(), max);
        assert!(verify_udp_checksum(&buffer[frame], &packet));
    }
}

#[test]
fn only_vlan_tags_are_written() {
    let mut path = path(&Description::v4(b""));
    path.link.tags = [Some(Tag::new(0x8100, 1)), Some(Tag::new(0x0800, 1))];
    assert_eq!(write_headers(&mut [0; 128], 100..110, &path), Err(Unwritable::UnknownTag { tpid: 0x0800 }));
    // A gap is none: the inner tag alone is the only one.
    path.link.tags = [None, Some(Tag::new(0x88a8, 9))];
    let mut buffer = [0; 128];
    let frame = write_headers(&mut buffer, 100..110, &path).unwrap();
    assert_eq!(parse(&buffer[frame]).unwrap().link.tags, [path.link.tags[1], None]);
}

#[test]
fn who_gets_an_answer() {
    let answered = |request: &Description| parse(&request.frame()).unwrap().can_be_answered();
    assert!(answered(&Description::v4(b"")) && answered(&Description::v6(b"")));
    let v4 = |source: Ipv4Addr, port| Description { source: (source, port).into(), ..Description::v4(b"") };
    let v6 = |source: Ipv6Addr, port| Description { source: (source, port).into(), ..Description::v6(b"") };
    assert!(!answered(&v4(Ipv4Addr::new(192, 0, 2, 7), 0)), "no source port");
    assert!(!answered(&v4(Ipv4Addr::UNSPECIFIED, 9)));
    assert!(!answered(&v4(Ipv4Addr::BROADCAST, 9)));
    assert!(!answered(&v4(Ipv4Addr::new(224, 0, 0, 1), 9)));
    assert!(!answered(&v6(Ipv6Addr::UNSPECIFIED, 9)));
    assert!(!answered(&v6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 9)));
    assert!(!answered(&v6(Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped(), 9)));
    let to_group = SocketAddr::from(([239, 1, 2, 3], 9_000));
    assert!(!answered(&Description { destination: to_group, ..Description::v4(b"") }));
    let (mut from_group, mut broadcast) = (Description::v4(b""), Description::v4(b""));
    from_group.link.peer_mac[0] |= 1;
    broadcast.link.local_mac = [0xff; 6];
    assert!(!answered(&from_group) && !answered(&broadcast));
}

#[test]
fn neither_reading_nor_answering_allocates() {
    let frames = [Description::v4(b"a payload").frame(), Description::v6(b"a payload").frame()];
    let mut buffer = [0; 256];
    let counted = allocation_counter::measure(|| {
        for frame in &frames {
            let packet = parse(frame).unwrap();
            assert!(verify_udp_checksum(frame, &packet) && parse(&frame[..30]).is_err());
            assert!(write_headers(&mut buffer, 128..200, &Path::answering(&packet)).is_ok());
        }
    });
    assert_eq!(counted.count_total, 0);
}

proptest! {
    /// Path and place may be anything: never a panic, and nothing but the headers is written.
    #[test]
    fn any_path_and_place(path in samples::path(), tpid: u16, from_v6: bool, start in 0..200_usize, end in 0..200_usize) {
        let mut path = path;
        if let Some(tag) = path.link.tags[0].as_mut().filter(|_| tpid % 2 == 0) {
            *tag = Tag::new(tpid, tag.tci());
        }
        if from_v6 {
            path.from.set_ip(Ipv6Addr::LOCALHOST.into());
        }
        let mut buffer = [0x5a; 150];
        if let Ok(frame) = write_headers(&mut buffer, start..end, &path) {
            prop_assert_eq!(frame.end, end);
            prop_assert_eq!(start - frame.start, header_len(path.to.is_ipv6(), path.link.tag_count()));
            prop_assert!(buffer[..frame.start].iter().chain(&buffer[start..]).all(|b| *b == 0x5a));
            prop_assert!(parse(&buffer[frame]).is_ok());
        }
    }
}
