//! etherparse builds, we parse; we write, etherparse parses. It shares no code and no author with this crate.

use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6Header, SingleVlanHeader, UdpHeader};
use proptest::prelude::*;
use wire::packet::{Path, UdpPacket, header_len, parse, verify_udp_checksum, write_headers};

use super::samples;

/// Checks a frame of ours field by field, checksums included.
fn assert_reads(frame: &[u8], path: &Path, payload: &[u8]) {
    let (ethernet, mut rest) = Ethernet2Header::from_slice(frame).unwrap();
    assert_eq!((ethernet.destination, ethernet.source), (path.link.peer_mac, path.link.local_mac));
    let mut ether_type = ethernet.ether_type;
    for tag in path.link.tags.iter().flatten() {
        let (vlan, behind) = SingleVlanHeader::from_slice(rest).unwrap();
        let dei = u16::from(vlan.drop_eligible_indicator);
        let tci = u16::from(vlan.pcp.value()) << 13 | dei << 12 | vlan.vlan_id.value();
        assert_eq!((ether_type.0, tci), (tag.tpid(), tag.tci()));
        (ether_type, rest) = (vlan.ether_type, behind);
    }
    let (from, to) = (path.from.ip(), path.to.ip());
    let (udp, body, checksum) = if path.to.is_ipv4() {
        assert_eq!(ether_type, EtherType::IPV4);
        let (ip, behind) = Ipv4Header::from_slice(rest).unwrap();
        assert_eq!((ip.header_checksum, ip.ihl()), (ip.calc_header_checksum(), 5));
        assert_eq!((ip.time_to_live, ip.identification, ip.protocol), (path.hops, path.identification, IpNumber::UDP));
        assert!(ip.dont_fragment && !ip.is_fragmenting_payload());
        assert_eq!((from, to), (ip.source.into(), ip.destination.into()));
        assert_eq!(usize::from(ip.total_len), rest.len());
        let (udp, body) = UdpHeader::from_slice(behind).unwrap();
        let checksum = udp.calc_checksum_ipv4(&ip, body).unwrap();
        (udp, body, checksum)
    } else {
        assert_eq!(ether_type, EtherType::IPV6);
        let (ip, behind) = Ipv6Header::from_slice(rest).unwrap();
        assert_eq!((ip.hop_limit, ip.next_header, ip.flow_label.value()), (path.hops, IpNumber::UDP, 0));
        assert_eq!((from, to), (ip.source_addr().into(), ip.destination_addr().into()));
        assert_eq!(usize::from(ip.payload_length), behind.len());
        let (udp, body) = UdpHeader::from_slice(behind).unwrap();
        let checksum = udp.calc_checksum_ipv6(&ip, body).unwrap();
        (udp, body, checksum)
    };
    assert_eq!((udp.source_port, udp.destination_port), (path.from.port(), path.to.port()));
    assert_eq!((usize::from(udp.length), udp.checksum), (8 + payload.len(), checksum));
    assert_eq!(body, payload);
}

proptest! {
    #[test]
    fn what_etherparse_builds_is_read(description in samples::description()) {
        let frame = description.frame();
        let packet = parse(&frame).unwrap();
        let end = frame.len() - description.padding.len();
        let expected = UdpPacket {
            link: description.link,
            source: description.source.into(),
            destination: description.destination.into(),
            payload: end - description.payload.len()..end,
            hops: description.hops,
        };
        prop_assert_eq!(&packet, &expected);
        prop_assert_eq!(&frame[packet.payload.clone()], &description.payload[..]);
        prop_assert!(verify_udp_checksum(&frame, &packet));
    }

    #[test]
    fn what_is_written_is_read_by_both(path in samples::path(), payload in proptest::collection::vec(any::<u8>(), 0..1_600), spare in 0..64_usize) {
        let at = header_len(path.to.is_ipv6(), path.link.tag_count()) + spare;
        let mut buffer = vec![0xa5; at];
        buffer.extend_from_slice(&payload);
        let frame = write_headers(&mut buffer, at..at + payload.len(), &path).unwrap();
        prop_assert_eq!((frame.start, frame.end), (spare, buffer.len()));
        let first = buffer[frame.clone()].to_vec();
        assert_reads(&first, &path, &payload);
        let packet = parse(&first).unwrap();
        prop_assert_eq!((packet.link.peer_mac, packet.link.local_mac), (path.link.local_mac, path.link.peer_mac));
        prop_assert_eq!((packet.link.tags, packet.source, packet.destination), (path.link.tags, path.from.into(), path.to.into()));
        prop_assert_eq!((packet.hops, &first[packet.payload.clone()]), (path.hops, &payload[..]));
        prop_assert!(verify_udp_checksum(&first, &packet));
        // Written again over itself: the same frame. A successor does just that.
        prop_assert_eq!(write_headers(&mut buffer, at..at + payload.len(), &path).unwrap(), frame.clone());
        prop_assert_eq!(&buffer[frame], &first[..]);
    }
}
