//! Ethernet II and VLAN tags (IEEE 802.3 clause 3.2, IEEE 802.1Q-2022 clauses 9.4 to 9.6).

use std::fmt;

use super::error::{Refused, Unwritable};

/// Most VLAN tags of a frame: a service tag and a customer tag.
pub const MAX_TAGS: usize = 2;
/// Shortest Ethernet frame in bytes, without the check sequence. Shorter ones are padded by the driver or the NIC.
pub const MIN_FRAME_LEN: usize = 60;
/// Destination, source, EtherType.
pub(super) const ETHERNET_LEN: usize = 14;
pub(super) const TAG_LEN: usize = 4;
/// EtherTypes, as IEEE registered them.
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
const CUSTOMER_TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;

/// A VLAN tag.
///
/// One number, for the reason that [`Endpoint`](super::Endpoint) gives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tag(u32);

impl Tag {
    /// From its two halves.
    #[inline]
    pub const fn new(tpid: u16, tci: u16) -> Self {
        Self::from_bits((tpid as u32) << 16 | tci as u32)
    }

    /// From `tpid:16 | tci:16`.
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// `tpid:16 | tci:16`.
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Tag protocol identifier: 0x8100 (802.1Q, customer) or 0x88a8 (802.1ad, service).
    #[inline]
    pub const fn tpid(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Tag control information: priority (3 bits), drop eligible (1 bit), VLAN id (12 bits).
    #[inline]
    pub const fn tci(self) -> u16 {
        self.0 as u16
    }

    /// The VLAN's id; 0 in a tag that states a priority alone.
    pub const fn vlan_id(self) -> u16 {
        self.tci() & 0x0fff
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({:#06x}, {:#06x})", self.tpid(), self.tci())
    }
}

/// The link layer of a received frame, as seen from us. An answer takes the same link, the other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Link {
    /// The frame's source: who sent it on this link.
    pub peer_mac: [u8; 6],
    /// The frame's destination: ours, or a group's.
    pub local_mac: [u8; 6],
    /// VLAN tags, the outer one first. A NIC that strips tags has taken the outer one out of the frame.
    pub tags: [Option<Tag>; MAX_TAGS],
}

impl Link {
    /// How many tags there are.
    #[inline]
    pub fn tag_count(&self) -> usize {
        self.tags.iter().flatten().count()
    }

    /// The outer tag's VLAN id, if it names one.
    pub fn vlan_id(&self) -> Option<u16> {
        self.tags.iter().flatten().next().map(|tag| tag.vlan_id()).filter(|id| *id != 0)
    }
}

const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, CUSTOMER_TAG | SERVICE_TAG)
}

/// Takes the next `N` bytes off `rest`.
#[inline]
pub(super) fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], Refused> {
    let (taken, behind) = rest.split_first_chunk().ok_or(Refused::Truncated)?;
    *rest = behind;
    Ok(taken)
}

/// The link layer, the EtherType of what it carries, and the bytes behind it.
#[inline]
pub(super) fn read(frame: &[u8]) -> Result<(Link, u16, &[u8]), Refused> {
    let mut rest = frame;
    let local_mac = *take(&mut rest)?;
    let peer_mac = *take(&mut rest)?;
    let mut ether_type = u16::from_be_bytes(*take(&mut rest)?);
    // One by one, not in a loop over an array: that would be written in pieces and read as a whole (see `endpoint`).
    let outer = read_tag(&mut ether_type, &mut rest)?;
    let inner = read_tag(&mut ether_type, &mut rest)?;
    let link = Link { peer_mac, local_mac, tags: [outer, inner] };
    if is_tag(ether_type) { Err(Refused::TooManyTags) } else { Ok((link, ether_type, rest)) }
}

/// The tag that `ether_type` announces, if it announces one; it is the one behind the tag then.
#[inline]
fn read_tag(ether_type: &mut u16, rest: &mut &[u8]) -> Result<Option<Tag>, Refused> {
    if !is_tag(*ether_type) {
        return Ok(None);
    }
    let [t0, t1, e0, e1] = *take(rest)?;
    let tag = Tag::new(*ether_type, u16::from_be_bytes([t0, t1]));
    *ether_type = u16::from_be_bytes([e0, e1]);
    Ok(Some(tag))
}

/// Where a frame states who sends it.
pub fn source_mac_mut(frame: &mut [u8]) -> Option<&mut [u8; 6]> {
    frame.get_mut(6..ETHERNET_LEN)?.first_chunk_mut()
}

/// The other way: to the peer, with the same tags.
///
/// `header` has exactly the length that the link's tags ask for: the caller cut it so.
#[inline]
pub(super) fn write(header: &mut [u8], link: &Link, ether_type: u16) -> Result<(), Unwritable> {
    let (macs, mut rest) = header.split_at_mut(ETHERNET_LEN - 2);
    macs[..6].copy_from_slice(&link.peer_mac);
    macs[6..].copy_from_slice(&link.local_mac);
    for tag in link.tags.iter().flatten() {
        if !is_tag(tag.tpid()) {
            return Err(Unwritable::UnknownTag { tpid: tag.tpid() });
        }
        let (bytes, behind) = rest.split_at_mut(TAG_LEN);
        bytes[..2].copy_from_slice(&tag.tpid().to_be_bytes());
        bytes[2..].copy_from_slice(&tag.tci().to_be_bytes());
        rest = behind;
    }
    rest.copy_from_slice(&ether_type.to_be_bytes());
    Ok(())
}
