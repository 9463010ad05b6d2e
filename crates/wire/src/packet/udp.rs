//! A frame that carries UDP (RFC 768), read as a whole.

use std::ops::Range;

use super::checksum::Sum;
use super::endpoint::Endpoint;
use super::error::Refused;
use super::ip::{self, UDP};
use super::link::{self, Link, take};

/// Source port, destination port, length, checksum.
pub(super) const UDP_LEN: usize = 8;

/// A UDP packet and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpPacket {
    /// The link layer.
    pub link: Link,
    /// Who sent it.
    pub source: Endpoint,
    /// To whom it was sent.
    pub destination: Endpoint,
    /// Where the UDP payload lies within the frame. What may follow it (padding, UDP options of RFC 9868) is not in it.
    pub payload: Range<usize>,
    /// Time to live or hop limit, as it arrived.
    pub hops: u8,
}

impl UdpPacket {
    /// Whether an answer may go back: ports on both sides (port 0 asks for none, RFC 768), unicast addresses and MACs
    /// (RFC 1122 section 3.2.1.3). Otherwise one forged packet would make us send to a group, or in a group's name.
    ///
    /// Loopback addresses, and our own as the source, do not come from a link (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3): a rule that
    /// trusts this machine must not be met by a forged packet. The kernel drops them too.
    ///
    /// IPv4-mapped addresses do not belong into IPv6 headers; taken for IPv4 addresses further on, they would get around
    /// rules for those. The kernel drops them too.
    #[inline]
    pub fn can_be_answered(&self) -> bool {
        let Self { link, source, destination, .. } = self;
        let is_group = |mac: [u8; 6]| mac[0] & 1 != 0;
        source.port() != 0
            && destination.port() != 0
            && source.is_unicast()
            && !source.is_loopback()
            && source.bits() != destination.bits()
            && destination.is_unicast()
            && !is_group(link.peer_mac)
            && !is_group(link.local_mac)
    }
}

/// Reads the headers of a received frame (without its check sequence).
///
/// Checked: every length against the bytes that are there, the IPv4 header's checksum. Not checked: the UDP checksum
/// ([`verify_udp_checksum`]), and whether the packet is for us.
#[inline]
pub fn parse(frame: &[u8]) -> Result<UdpPacket, Refused> {
    let (link, ether_type, packet) = link::read(frame)?;
    let ip = ip::read(ether_type, packet)?;
    let mut rest = ip.payload;
    let &[s0, s1, d0, d1, l0, l1, _, _] = take(&mut rest).map_err(|_| Refused::BadLength)?;
    let len = usize::from(u16::from_be_bytes([l0, l1])).checked_sub(UDP_LEN).ok_or(Refused::BadLength)?;
    if len > rest.len() {
        return Err(Refused::BadLength);
    }
    let start = frame.len() - packet.len() + ip.header_len + UDP_LEN;
    Ok(UdpPacket {
        link,
        source: ip.source.with_port(u16::from_be_bytes([s0, s1])),
        destination: ip.destination.with_port(u16::from_be_bytes([d0, d1])),
        payload: start..start + len,
        hops: ip.hops,
    })
}

/// The sum of the pseudo header: addresses, protocol, UDP length (RFC 768; RFC 8200 section 8.1). Both addresses are of
/// one family.
#[inline]
pub(super) fn pseudo_header(source: &Endpoint, destination: &Endpoint, udp_len: u16) -> Sum {
    destination.add_to(source.add_to(Sum::default())).add_u16(u16::from(UDP)).add_u16(udp_len)
}

/// Whether the UDP checksum fits. Over IPv4, 0 says that the sender made none and counts as right (RFC 768); over IPv6 it is
/// wrong (RFC 8200 section 8.1). A packet that was not parsed from this frame is wrong.
///
/// A sender on the same machine (veth, loopback) leaves the checksum to hardware that is not there: its packets fail here
/// unless it has been told not to (`ethtool -K DEVICE tx off`).
pub fn verify_udp_checksum(frame: &[u8], packet: &UdpPacket) -> bool {
    let start = packet.payload.start.checked_sub(UDP_LEN);
    let Some(udp) = start.and_then(|start| frame.get(start..packet.payload.end)) else { return false };
    let (Some(&[_, _, _, _, _, _, c0, c1]), Ok(udp_len)) = (udp.first_chunk(), u16::try_from(udp.len())) else {
        return false;
    };
    if [c0, c1] == [0, 0] {
        return packet.source.is_ipv4();
    }
    pseudo_header(&packet.source, &packet.destination, udp_len).add(udp).checksum() == 0
}
