//! Frames, byte by byte.

use acl::Packet;
use std::net::IpAddr;

/// The interface's address.
pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0x11, 0x22, 0x33];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0xaa, 0xbb, 0xcc];

pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;
pub const ARP: u16 = 0x0806;
pub const VLAN: u16 = 0x8100;
pub const SERVICE_VLAN: u16 = 0x88a8;

pub const UDP: u8 = 17;

/// An Ethernet frame with tags (type and control), padded to the least that the wire carries.
pub fn ethernet(destination: [u8; 6], tags: &[(u16, u16)], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [destination, PEER_MAC].concat();
    for (tpid, control) in tags {
        frame.extend_from_slice(&tpid.to_be_bytes());
        frame.extend_from_slice(&control.to_be_bytes());
    }
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(payload);
    let least = frame.len().max(60);
    frame.resize(least, 0);
    frame
}

pub fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let mut bytes = [source, destination, length, 0].map(u16::to_be_bytes).concat();
    bytes.extend_from_slice(payload);
    bytes
}

/// An IPv4 packet whose header has `words` words; `fragment` are flags and offset.
pub fn ipv4(source: [u8; 4], destination: [u8; 4], words: u8, fragment: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header = usize::from(words) * 4;
    let mut bytes = vec![0; header.max(20)];
    bytes[0] = 0x40 | words;
    let total = bytes.len() + payload.len();
    bytes[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
    bytes[8] = 64;
    bytes[9] = protocol;
    bytes[12..16].copy_from_slice(&source);
    bytes[16..20].copy_from_slice(&destination);
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    bytes[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

pub fn ipv6(source: [u8; 16], destination: [u8; 16], next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[next_header, 64]);
    bytes.extend_from_slice(&source);
    bytes.extend_from_slice(&destination);
    bytes.extend_from_slice(payload);
    bytes
}

/// A fragment header in front of `payload`; `offset` is in bytes.
pub fn ipv6_fragment(next_header: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![next_header, 0];
    bytes.extend_from_slice(&(offset & !7 | u16::from(more)).to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 1]);
    bytes.extend_from_slice(payload);
    bytes
}

/// A frame for this packet.
pub fn of(packet: &Packet) -> Vec<u8> {
    let udp = udp(packet.source_port, packet.port, b"payload");
    let tag = packet.vlan.map(|vlan| (VLAN, vlan | 0xe000));
    let (kind, ip) = match (packet.source, packet.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (IPV4, ipv4(from.octets(), to.octets(), 5, 0x4000, UDP, &udp)),
        (IpAddr::V6(from), IpAddr::V6(to)) => (IPV6, ipv6(from.octets(), to.octets(), UDP, &udp)),
        other => panic!("one family: {other:?}"),
    };
    ethernet(OWN_MAC, tag.as_slice(), kind, &ip)
}
