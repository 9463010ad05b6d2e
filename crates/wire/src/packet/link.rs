//! Ethernet II and VLAN tags (IEEE 802.3 clause 3.2, IEEE 802.1Q-2022 clauses 9.4 to 9.6).

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tag {
    /// Tag protocol identifier: 0x8100 (802.1Q, customer) or 0x88a8 (802.1ad, service).
    pub tpid: u16,
    /// Tag control information: priority (3 bits), drop eligible (1 bit), VLAN id (12 bits).
    pub tci: u16,
}

impl Tag {
    /// The VLAN's id; 0 in a tag that states a priority alone.
    pub const fn vlan_id(self) -> u16 {
        self.tci & 0x0fff
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
    let mut link = Link { peer_mac, local_mac, tags: [None; MAX_TAGS] };
    let mut ether_type = u16::from_be_bytes(*take(&mut rest)?);
    for tag in &mut link.tags {
        if !is_tag(ether_type) {
            break;
        }
        let [t0, t1, e0, e1] = *take(&mut rest)?;
        *tag = Some(Tag { tpid: ether_type, tci: u16::from_be_bytes([t0, t1]) });
        ether_type = u16::from_be_bytes([e0, e1]);
    }
    if is_tag(ether_type) { Err(Refused::TooManyTags) } else { Ok((link, ether_type, rest)) }
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
        if !is_tag(tag.tpid) {
            return Err(Unwritable::UnknownTag { tpid: tag.tpid });
        }
        let (bytes, behind) = rest.split_at_mut(TAG_LEN);
        bytes[..2].copy_from_slice(&tag.tpid.to_be_bytes());
        bytes[2..].copy_from_slice(&tag.tci.to_be_bytes());
        rest = behind;
    }
    rest.copy_from_slice(&ether_type.to_be_bytes());
    Ok(())
}
