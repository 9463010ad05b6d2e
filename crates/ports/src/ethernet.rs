//! Whole frames in the arena's buffers, for drivers that see them: read on the way in, written on the way out.

use crate::{Route, Standing};
use arena::descriptor::DataRange;
use arena::meta::{Address, Link};
use std::net::SocketAddr;
use wire::packet::{self, Endpoint, Refused, Tag};

/// What a received frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The datagram; empty where there is none.
    pub data: DataRange,
    pub peer: Address,
    pub local: Address,
    pub link: Option<Link>,
    pub standing: Standing,
}

/// Reads the frame at `at` in `buffer`. `good`: how a datagram stands with this driver. `queue`: that the frame came by.
#[inline]
pub(crate) fn look(buffer: &[u8], at: DataRange, queue: u8, verify_checksum: bool, good: Standing) -> Seen {
    let nothing = |standing| {
        let data = DataRange { offset: at.offset, len: 0 };
        Seen { data, peer: Address::NONE, local: Address::NONE, link: None, standing }
    };
    let from = usize::from(at.offset);
    let Some(frame) = buffer.get(from..from + usize::from(at.len)) else { return nothing(Standing::Malformed) };
    match packet::parse(frame) {
        Ok(p) if verify_checksum && !packet::verify_udp_checksum(frame, &p) => nothing(Standing::Malformed),
        // Nobody can be answered there, and an answer to a group or to port 0 would go astray.
        Ok(p) if !p.can_be_answered() => nothing(Standing::Malformed),
        Ok(p) => Seen {
            // Both fit: the payload lies within the frame.
            data: DataRange { offset: at.offset + p.payload.start as u16, len: p.payload.len() as u16 },
            peer: address(&p.source),
            local: address(&p.destination),
            link: Some(stored(&p.link, queue)),
            standing: good,
        },
        Err(Refused::Fragment) => nothing(Standing::Fragment),
        Err(_) => nothing(Standing::Malformed),
    }
}

#[inline]
fn address(of: &Endpoint) -> Address {
    Address::from_bits(of.bits(), of.port(), of.is_ipv4())
}

/// Who takes a datagram where no kernel stands beside the driver.
#[cfg(feature = "dpdk")]
pub(crate) trait Recipient {
    /// Whether a datagram to this address is for us.
    fn takes(&self, to: &Endpoint) -> bool;
}

/// The same for a driver that has no kernel beside it: a datagram for somebody else stands as [`Standing::Elsewhere`], and what is
/// sound and no datagram as [`Standing::Other`], with the whole frame.
#[cfg(feature = "dpdk")]
#[inline]
pub(crate) fn look_alone(buffer: &[u8], at: DataRange, queue: u8, verify: bool, us: &impl Recipient) -> Seen {
    let nothing = |standing, len| {
        let data = DataRange { offset: at.offset, len };
        Seen { data, peer: Address::NONE, local: Address::NONE, link: None, standing }
    };
    let from = usize::from(at.offset);
    let Some(frame) = buffer.get(from..from + usize::from(at.len)) else { return nothing(Standing::Malformed, 0) };
    match packet::parse(frame) {
        Ok(p) if !us.takes(&p.destination) => nothing(Standing::Elsewhere, 0),
        Ok(p) if verify && !packet::verify_udp_checksum(frame, &p) => nothing(Standing::Malformed, 0),
        Ok(p) if !p.can_be_answered() => nothing(Standing::Malformed, 0),
        Ok(p) => Seen {
            // Both fit: the payload lies within the frame.
            data: DataRange { offset: at.offset + p.payload.start as u16, len: p.payload.len() as u16 },
            peer: address(&p.source),
            local: address(&p.destination),
            link: Some(stored(&p.link, queue)),
            standing: Standing::Unfiltered,
        },
        Err(Refused::Fragment) => nothing(Standing::Fragment, 0),
        Err(Refused::NotIp | Refused::NotUdp | Refused::ExtensionHeader) => nothing(Standing::Other, at.len),
        Err(_) => nothing(Standing::Malformed, 0),
    }
}

/// Whether a frame is a datagram for `listen` (unspecified, or port 0, for any), or one of which nobody can tell: those are
/// for rx-gateway to count.
pub(crate) fn is_for(frame: &[u8], listen: SocketAddr) -> bool {
    match packet::parse(frame) {
        Ok(p) => {
            let (to, ours) = (p.destination, listen.ip());
            // A socket on the unspecified IPv6 address takes both families.
            let any = ours.is_unspecified() && (ours.is_ipv6() || to.is_ipv4());
            (listen.port() == 0 || to.port() == listen.port()) && (any || to.is_at(&ours))
        }
        Err(Refused::NotIp | Refused::NotUdp) => false,
        Err(_) => true,
    }
}

/// The link as a frame's record keeps it; `queue`: that it came by.
#[inline]
pub fn stored(link: &packet::Link, queue: u8) -> Link {
    let tag = |tag: Option<Tag>| tag.map_or(0, Tag::bits);
    let [outer, inner] = link.tags;
    Link { peer_mac: link.peer_mac, local_mac: link.local_mac, tags: [tag(outer), tag(inner)], queue }
}

/// Writes the headers of the datagram at `payload` right before it; returns where the whole frame lies.
#[inline]
pub(crate) fn enclose(buffer: &mut [u8], payload: DataRange, route: &Route) -> Option<DataRange> {
    let tag = |t: u32| (t != 0).then_some(Tag::from_bits(t));
    let link =
        packet::Link { peer_mac: route.link.peer_mac, local_mac: route.link.local_mac, tags: route.link.tags.map(tag) };
    let path = packet::Path {
        link,
        from: route.from.get()?,
        to: route.to.get()?,
        hops: packet::DEFAULT_HOPS,
        // The don't-fragment bit is set: the field has no meaning then (RFC 6864 section 4.1).
        identification: 0,
    };
    let from = usize::from(payload.offset);
    let frame = packet::write_headers(buffer, from..from + usize::from(payload.len), &path).ok()?;
    Some(DataRange { offset: u16::try_from(frame.start).ok()?, len: u16::try_from(frame.len()).ok()? })
}
