//! All headers of a packet that we send, written from scratch: nothing of what stood in the buffer is read, so that writing
//! them again gives the same frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use super::checksum::internet_checksum;
use super::error::Unwritable;
use super::ip::{IPV4_LEN, IPV6_LEN, UDP};
use super::link::{self, ETHERNET_LEN, Link, MAX_TAGS, TAG_LEN};
use super::udp::{UDP_LEN, UdpPacket, pseudo_header};

/// Time to live and hop limit of what we send (RFC 1700, "IP time to live parameter").
pub const DEFAULT_HOPS: u8 = 64;
/// Longest headers in bytes: IPv6 behind two tags.
pub const MAX_HEADER_LEN: usize = header_len(true, MAX_TAGS);
/// "Don't fragment", offset 0.
const DONT_FRAGMENT: [u8; 2] = [0x40, 0];

/// The way of a packet that we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// The link: the frame goes from its local to its peer MAC.
    pub link: Link,
    /// Our address and port.
    pub from: SocketAddr,
    /// Where the packet goes. Scope and flow label of an IPv6 address are not sent: the label is 0.
    pub to: SocketAddr,
    /// Time to live or hop limit; usually [`DEFAULT_HOPS`].
    pub hops: u8,
    /// IPv4 identification. Packets are never fragmented, so it may be 0 (RFC 6864 section 4.1). IPv6 has none.
    pub identification: u16,
}

impl Path {
    /// The way back from `request`: the addresses that it was sent to and from, over the same link.
    pub const fn answering(request: &UdpPacket) -> Self {
        let UdpPacket { link, source, destination, .. } = request;
        Self { link: *link, from: *destination, to: *source, hops: DEFAULT_HOPS, identification: 0 }
    }
}

/// Length in bytes of all headers before the UDP payload, with `tags` VLAN tags.
pub const fn header_len(ipv6: bool, tags: usize) -> usize {
    ETHERNET_LEN + tags * TAG_LEN + ip_len(ipv6) + UDP_LEN
}

const fn ip_len(ipv6: bool) -> usize {
    if ipv6 { IPV6_LEN } else { IPV4_LEN }
}

/// Writes all headers into the bytes right before `payload`, checksums included, and returns where the whole frame lies.
///
/// The payload must be complete: its checksum is taken here. A frame of less than [`super::MIN_FRAME_LEN`] bytes is not
/// padded: drivers and NICs do that. On an error nothing before the payload means anything.
#[inline]
pub fn write_headers(buffer: &mut [u8], payload: Range<usize>, path: &Path) -> Result<Range<usize>, Unwritable> {
    let (from, to) = (path.from.ip(), path.to.ip());
    let (tags, ipv6) = (path.link.tag_count(), to.is_ipv6());
    let (needed, len, buffer_len) = (header_len(ipv6, tags), payload.len(), buffer.len());
    // The length fields count UDP's header; IPv4's counts its own too.
    let max = usize::from(u16::MAX) - UDP_LEN - if ipv6 { 0 } else { IPV4_LEN };
    if len > max {
        return Err(Unwritable::PayloadTooLong { len, max });
    }
    let start = payload.start.checked_sub(needed).ok_or(Unwritable::NoHeadroom { headroom: payload.start, needed })?;
    let frame = buffer.get_mut(start..payload.end).filter(|frame| frame.len() == needed + len);
    let (link_header, packet) =
        frame.ok_or(Unwritable::PayloadOutside { buffer_len })?.split_at_mut(ETHERNET_LEN + tags * TAG_LEN);
    link::write(link_header, &path.link, if ipv6 { link::IPV6 } else { link::IPV4 })?;
    let (ip_header, udp) = packet.split_at_mut(ip_len(ipv6));
    let udp_len = udp.len() as u16;
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ip_header.copy_from_slice(&ipv4_header(path, from, to, udp_len)),
        (IpAddr::V6(from), IpAddr::V6(to)) => ip_header.copy_from_slice(&ipv6_header(path, from, to, udp_len)),
        _ => return Err(Unwritable::MixedFamilies),
    }
    write_udp(udp, path);
    Ok(start..payload.end)
}

/// RFC 791 section 3.1; without options.
fn ipv4_header(path: &Path, from: Ipv4Addr, to: Ipv4Addr, udp_len: u16) -> [u8; IPV4_LEN] {
    let mut header = [0; IPV4_LEN];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&(udp_len + IPV4_LEN as u16).to_be_bytes());
    header[4..6].copy_from_slice(&path.identification.to_be_bytes());
    header[6..8].copy_from_slice(&DONT_FRAGMENT);
    header[8..10].copy_from_slice(&[path.hops, UDP]);
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let checksum = internet_checksum(&header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// RFC 8200 section 3.
fn ipv6_header(path: &Path, from: Ipv6Addr, to: Ipv6Addr, udp_len: u16) -> [u8; IPV6_LEN] {
    let mut header = [0; IPV6_LEN];
    header[0] = 0x60;
    header[4..6].copy_from_slice(&udp_len.to_be_bytes());
    header[6..8].copy_from_slice(&[UDP, path.hops]);
    header[8..24].copy_from_slice(&from.octets());
    header[24..40].copy_from_slice(&to.octets());
    header
}

/// `udp` is header and payload.
fn write_udp(udp: &mut [u8], path: &Path) {
    let udp_len = udp.len() as u16;
    udp[..2].copy_from_slice(&path.from.port().to_be_bytes());
    udp[2..4].copy_from_slice(&path.to.port().to_be_bytes());
    udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
    udp[6..8].fill(0);
    let checksum = match pseudo_header(path.from.ip(), path.to.ip(), udp_len).add(udp).checksum() {
        // 0 would say that there is none; in one's complement both are zero (RFC 768).
        0 => u16::MAX,
        checksum => checksum,
    };
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
}
