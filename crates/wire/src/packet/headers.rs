//! All headers of a packet that we send, written from scratch: nothing of what stood in the buffer is read, so that writing
//! them again gives the same frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use super::checksum::Sum;
use super::error::Unwritable;
use super::ip::{IPV4_LEN, IPV6_LEN, UDP};
use super::link::{self, ETHERNET_LEN, Link, MAX_TAGS, TAG_LEN};
use super::udp::{UDP_LEN, UdpPacket, pseudo_header};

/// Time to live and hop limit of what we send (RFC 1700, "IP time to live parameter").
pub const DEFAULT_HOPS: u8 = 64;
/// Longest headers in bytes: IPv6 behind two tags.
pub const MAX_HEADER_LEN: usize = header_len(true, MAX_TAGS);
/// Version 4, five words of header, no differentiated service.
const VERSION_AND_LEN: u16 = 0x4500;
/// "Don't fragment", offset 0.
const DONT_FRAGMENT: u16 = 0x4000;

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
    pub fn answering(request: &UdpPacket) -> Self {
        let UdpPacket { link, source, destination, .. } = request;
        Self { link: *link, from: (*destination).into(), to: (*source).into(), hops: DEFAULT_HOPS, identification: 0 }
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
///
/// Sums are taken from the fields and not from the bytes just written: a wide load behind narrow stores waits for them.
#[inline]
fn ipv4_header(path: &Path, from: Ipv4Addr, to: Ipv4Addr, udp_len: u16) -> [u8; IPV4_LEN] {
    let total_len = udp_len + IPV4_LEN as u16;
    let [s0, s1, s2, s3] = from.octets();
    let [d0, d1, d2, d3] = to.octets();
    let sum = Sum::default().add(&from.octets()).add(&to.octets());
    let sum = sum.add_u16(VERSION_AND_LEN).add_u16(total_len).add_u16(path.identification);
    let checksum = sum.add_u16(DONT_FRAGMENT).add_u16(u16::from_be_bytes([path.hops, UDP])).checksum();
    let [v0, v1] = VERSION_AND_LEN.to_be_bytes();
    let [t0, t1] = total_len.to_be_bytes();
    let [i0, i1] = path.identification.to_be_bytes();
    let [f0, f1] = DONT_FRAGMENT.to_be_bytes();
    let [c0, c1] = checksum.to_be_bytes();
    [v0, v1, t0, t1, i0, i1, f0, f1, path.hops, UDP, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3]
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
#[inline]
fn write_udp(udp: &mut [u8], path: &Path) {
    let udp_len = udp.len() as u16;
    let (from, to) = (path.from.port(), path.to.port());
    let (header, payload) = udp.split_at_mut(UDP_LEN);
    let sum = pseudo_header(&path.from.into(), &path.to.into(), udp_len);
    let checksum = match sum.add_u16(from).add_u16(to).add_u16(udp_len).add(payload).checksum() {
        // 0 would say that there is none; in one's complement both are zero (RFC 768).
        0 => u16::MAX,
        checksum => checksum,
    };
    let [s0, s1] = from.to_be_bytes();
    let [d0, d1] = to.to_be_bytes();
    let [l0, l1] = udp_len.to_be_bytes();
    let [c0, c1] = checksum.to_be_bytes();
    header.copy_from_slice(&[s0, s1, d0, d1, l0, l1, c0, c1]);
}
