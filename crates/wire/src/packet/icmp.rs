//! ICMP (RFC 792) and `ICMPv6` (RFC 4443, RFC 4861): echo requests and neighbour solicitations read, their answers written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::{Sum, internet_checksum};
use super::headers::DEFAULT_HOPS;
use super::ip::{FRAGMENT_BITS, IPV4_LEN, IPV6_LEN};
use super::link::take;
use super::neighbour::{Station, group_of, is_station};

/// Protocol numbers (IANA).
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Type, code, checksum, identifier, sequence number.
const ECHO_LEN: usize = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Neighbour discovery stays on the link: what a router has passed on has less (RFC 4861 section 7.1.1).
const ON_LINK: u8 = 255;
/// Type, code, checksum, four reserved bytes, the target.
const SOLICITATION_LEN: usize = 24;
/// Options of neighbour discovery (RFC 4861 section 4.6.1), their length in units of eight bytes.
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// The advertisement with its one option.
const ADVERTISEMENT_BODY: usize = SOLICITATION_LEN + 8;
/// The IPv6 packet that carries it.
pub(super) const ADVERTISEMENT_LEN: usize = IPV6_LEN + ADVERTISEMENT_BODY;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Somebody asks whether we are there. Its data stay where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Echo {
    from: IpAddr,
    to: IpAddr,
    /// Type of service or traffic class: the answer has the same (RFC 1122 section 3.2.2.6 for the former).
    class: u8,
    /// Bytes of the ICMP message.
    len: u16,
}

/// Somebody asks for the hardware address of one of our IPv6 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Solicitation {
    /// Unspecified while it makes sure that nobody has its address (RFC 4862 section 5.4).
    from: Ipv6Addr,
    to: Ipv6Addr,
    target: Ipv6Addr,
    /// The hardware address that the asker states.
    mac: Option<[u8; 6]>,
}

/// What an `ICMPv6` message asks.
pub(super) enum Asked {
    Echo(Echo),
    Solicitation(Solicitation),
}

/// Sum of the pseudo header (RFC 4443 section 2.3).
fn pseudo_header(from: Ipv6Addr, to: Ipv6Addr, len: u16) -> Sum {
    Sum::default().add(&from.octets()).add(&to.octets()).add_u16(len).add_u16(ICMPV6.into())
}

impl Echo {
    /// Reads an IPv4 packet; padding may follow.
    pub(super) fn read_v4(packet: &[u8], us: &Station<'_>) -> Option<Self> {
        let header: &[u8; IPV4_LEN] = packet.first_chunk()?;
        let &[first, class, t0, t1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = header;
        // No options; neither a fragment nor the first of some.
        let plain = first == 0x45 && u16::from_be_bytes([f0, f1]) & FRAGMENT_BITS == 0 && protocol == ICMP;
        if !plain || internet_checksum(header) != 0 {
            return None;
        }
        let message = packet.get(IPV4_LEN..usize::from(u16::from_be_bytes([t0, t1])))?;
        let (from, to) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(d0, d1, d2, d3));
        let asks = message.len() >= ECHO_LEN && message.starts_with(&[ECHO_REQUEST, 0]);
        if !asks || !us.is_other(from) || !us.is_ours(to) || internet_checksum(message) != 0 {
            return None;
        }
        Some(Self { from: from.into(), to: to.into(), class, len: u16::try_from(message.len()).ok()? })
    }

    pub(super) const fn is_v4(&self) -> bool {
        self.from.is_ipv4()
    }

    /// Bytes of the IP packet.
    pub(super) const fn packet_len(&self) -> usize {
        self.len as usize + if self.is_v4() { IPV4_LEN } else { IPV6_LEN }
    }

    /// Writes the headers of the reply over those of the request.
    pub(super) fn answer(&self, packet: &mut [u8]) -> Option<()> {
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => self.answer_v4(packet, from, to),
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let (header, message) = packet.split_at_mut_checked(IPV6_LEN)?;
                header.copy_from_slice(&ipv6_header(self.class, self.len, DEFAULT_HOPS, to, from));
                seal(message, [ECHO_REPLY_V6, 0], pseudo_header(to, from, self.len))
            }
            _ => None,
        }
    }

    fn answer_v4(&self, packet: &mut [u8], from: Ipv4Addr, to: Ipv4Addr) -> Option<()> {
        let total = u16::try_from(packet.len()).ok()?.to_be_bytes();
        let (header, message) = packet.split_first_chunk_mut::<IPV4_LEN>()?;
        // Atomic: never fragmented, so the identification means nothing (RFC 6864 section 4.1).
        header[..12].copy_from_slice(&[0x45, self.class, total[0], total[1], 0, 0, 0x40, 0, DEFAULT_HOPS, ICMP, 0, 0]);
        header[12..16].copy_from_slice(&to.octets());
        header[16..].copy_from_slice(&from.octets());
        let checksum = internet_checksum(header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        seal(message, [ECHO_REPLY, 0], Sum::default())
    }
}

/// Stores type and code of a message, and its checksum; `sum`: of what else it covers.
fn seal(message: &mut [u8], kind: [u8; 2], sum: Sum) -> Option<()> {
    let head: &mut [u8; 4] = message.first_chunk_mut()?;
    *head = [kind[0], kind[1], 0, 0];
    let [c0, c1] = sum.add(message).checksum().to_be_bytes();
    *message.first_chunk_mut()? = [kind[0], kind[1], c0, c1];
    Some(())
}

/// RFC 8200 section 3; flow label 0.
fn ipv6_header(class: u8, len: u16, hops: u8, from: Ipv6Addr, to: Ipv6Addr) -> [u8; IPV6_LEN] {
    let mut header = [0; IPV6_LEN];
    header[..2].copy_from_slice(&[0x60 | class >> 4, class << 4]);
    header[4..6].copy_from_slice(&len.to_be_bytes());
    header[6..8].copy_from_slice(&[ICMPV6, hops]);
    header[8..24].copy_from_slice(&from.octets());
    header[24..40].copy_from_slice(&to.octets());
    header
}

/// Reads an IPv6 packet; padding may follow. Extension headers, fragments among them, are refused.
pub(super) fn read_v6(packet: &[u8], us: &Station<'_>) -> Option<Asked> {
    let mut rest = packet;
    let &[v0, v1, _, _, l0, l1, next_header, hops] = take(&mut rest).ok()?;
    let from = Ipv6Addr::from_octets(*take(&mut rest).ok()?);
    let to = Ipv6Addr::from_octets(*take(&mut rest).ok()?);
    let len = u16::from_be_bytes([l0, l1]);
    let message = rest.get(..usize::from(len))?;
    if v0 >> 4 != 6 || next_header != ICMPV6 {
        return None;
    }
    match message {
        [ECHO_REQUEST_V6, 0, ..] if us.is_other(from) && us.is_ours(to) && message.len() >= ECHO_LEN => {
            let echo = Echo { from: from.into(), to: to.into(), class: v0 << 4 | v1 >> 4, len };
            (pseudo_header(from, to, len).add(message).checksum() == 0).then_some(Asked::Echo(echo))
        }
        [SOLICITATION, 0, ..] if hops == ON_LINK => {
            let asked = Solicitation::read(from, to, message, us)?;
            (pseudo_header(from, to, len).add(message).checksum() == 0).then_some(Asked::Solicitation(asked))
        }
        _ => None,
    }
}

impl Solicitation {
    /// The checks of RFC 4861 section 7.1.1, but for the checksum.
    fn read(from: Ipv6Addr, to: Ipv6Addr, message: &[u8], us: &Station<'_>) -> Option<Self> {
        let (fixed, mut options) = message.split_at_checked(SOLICITATION_LEN)?;
        let target = Ipv6Addr::from_octets(*fixed.last_chunk()?);
        let (mut stated, mut mac) = (false, None);
        while let [kind, units, ..] = *options {
            // A length of 0 is refused; so is what reaches beyond the message.
            let (option, behind) = options.split_at_checked(usize::from(units) * 8).filter(|(o, _)| !o.is_empty())?;
            stated |= kind == SOURCE_LINK_ADDRESS;
            if kind == SOURCE_LINK_ADDRESS && units == 1 {
                mac = option.last_chunk::<6>().copied().filter(|mac| is_station(*mac));
            }
            options = behind;
        }
        let it = Self { from, to, target, mac };
        let asker = if from.is_unspecified() { to == it.group() && !stated } else { us.is_other(from) };
        let addressed = to == it.group() || us.is_ours(to);
        (options.is_empty() && asker && addressed && us.is_ours(target)).then_some(it)
    }

    /// The solicited-node multicast address of the target (RFC 4291 section 2.7.1).
    pub(super) const fn group(&self) -> Ipv6Addr {
        let [.., a, b, c] = self.target.octets();
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a as u16, (b as u16) << 8 | c as u16)
    }

    /// Writes the advertisement and says to which hardware address it goes. `peer`: the frame's source.
    pub(super) fn answer(&self, packet: &mut [u8], mac: [u8; 6], peer: [u8; 6]) -> Option<[u8; 6]> {
        let solicited = !self.from.is_unspecified();
        let (to, peer, flags) = if solicited {
            (self.from, self.mac.unwrap_or(peer), SOLICITED | OVERRIDE)
        } else {
            (ALL_NODES, group_of(ALL_NODES), OVERRIDE)
        };
        let (header, message) = packet.split_at_mut_checked(IPV6_LEN)?;
        let len = u16::try_from(message.len()).ok()?;
        header.copy_from_slice(&ipv6_header(0, len, ON_LINK, self.target, to));
        let body: &mut [u8; ADVERTISEMENT_BODY] = message.try_into().ok()?;
        body[4..8].copy_from_slice(&[flags, 0, 0, 0]);
        body[8..24].copy_from_slice(&self.target.octets());
        body[24..26].copy_from_slice(&[TARGET_LINK_ADDRESS, 1]);
        body[26..].copy_from_slice(&mac);
        seal(body, [ADVERTISEMENT, 0], pseudo_header(self.target, to, len))?;
        Some(peer)
    }
}
