//! The headers of IPv4 (RFC 791 section 3.1) and IPv6 (RFC 8200 section 3), read.

use super::checksum::internet_checksum;
use super::endpoint::Endpoint;
use super::error::Refused;
use super::link::{self, take};

/// Protocol number of UDP (IANA, Assigned Internet Protocol Numbers).
pub(super) const UDP: u8 = 17;
/// Length of an IPv4 header without options, and of the fixed IPv6 header.
pub(super) const IPV4_LEN: usize = 20;
pub(super) const IPV6_LEN: usize = 40;
/// "More fragments" and the 13 bits of the offset.
pub(super) const FRAGMENT_BITS: u16 = 0x3fff;

/// What UDP needs of the header below it.
pub(super) struct Ip<'a> {
    /// Without ports, these are behind the header.
    pub(super) source: Endpoint,
    pub(super) destination: Endpoint,
    pub(super) hops: u8,
    /// Length of the header, options included.
    pub(super) header_len: usize,
    /// What the header carries; padding behind it is cut off.
    pub(super) payload: &'a [u8],
}

/// Reads the header that `ether_type` announces.
#[inline]
pub(super) fn read(ether_type: u16, packet: &[u8]) -> Result<Ip<'_>, Refused> {
    match ether_type {
        link::IPV4 => read_v4(packet),
        link::IPV6 => read_v6(packet),
        _ => Err(Refused::NotIp),
    }
}

/// The checksum comes first: fields of a damaged header tell nothing.
#[inline]
fn read_v4(packet: &[u8]) -> Result<Ip<'_>, Refused> {
    let fixed: &[u8; IPV4_LEN] = packet.first_chunk().ok_or(Refused::Truncated)?;
    let &[first, _, t0, t1, _, _, f0, f1, hops, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = fixed;
    if first >> 4 != 4 {
        return Err(Refused::NotIp);
    }
    let header_len = usize::from(first & 0x0f) * 4;
    if header_len < IPV4_LEN {
        return Err(Refused::BadLength);
    }
    let header = packet.get(..header_len).ok_or(Refused::Truncated)?;
    if internet_checksum(header) != 0 {
        return Err(Refused::BadIpChecksum);
    }
    let total_len = usize::from(u16::from_be_bytes([t0, t1]));
    if total_len < header_len {
        return Err(Refused::BadLength);
    }
    let payload = packet.get(header_len..total_len).ok_or(Refused::Truncated)?;
    if protocol != UDP {
        return Err(Refused::NotUdp);
    }
    if u16::from_be_bytes([f0, f1]) & FRAGMENT_BITS != 0 {
        return Err(Refused::Fragment);
    }
    let (source, destination) = (Endpoint::v4([s0, s1, s2, s3], 0), Endpoint::v4([d0, d1, d2, d3], 0));
    Ok(Ip { source, destination, hops, header_len, payload })
}

fn read_v6(packet: &[u8]) -> Result<Ip<'_>, Refused> {
    let mut rest = packet;
    let &[first, _, _, _, l0, l1, next_header, hops] = take(&mut rest)?;
    if first >> 4 != 6 {
        return Err(Refused::NotIp);
    }
    let source = Endpoint::v6(*take(&mut rest)?, 0);
    let destination = Endpoint::v6(*take(&mut rest)?, 0);
    match next_header {
        UDP => {}
        44 => return Err(Refused::Fragment),
        // IANA, IPv6 Extension Header Types; behind each of them UDP may follow.
        0 | 43 | 51 | 60 | 135 | 139 | 140 => return Err(Refused::ExtensionHeader),
        _ => return Err(Refused::NotUdp),
    }
    let payload = rest.get(..usize::from(u16::from_be_bytes([l0, l1]))).ok_or(Refused::Truncated)?;
    Ok(Ip { source, destination, hops, header_len: IPV6_LEN, payload })
}
