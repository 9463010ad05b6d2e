//! ARP for IPv4 over Ethernet (RFC 826): requests read, replies written.

use std::net::Ipv4Addr;

use super::link::take;
use super::neighbour::{Station, is_station};

/// `EtherType`, as IEEE registered it.
pub(super) const ARP: u16 = 0x0806;
/// Length in bytes of a packet for IPv4 over Ethernet.
pub(super) const LEN: usize = 28;
/// Ethernet (1), IPv4 (0x0800), lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];

/// Who asks for one of our addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    mac: [u8; 6],
    /// Unspecified in a probe (RFC 5227 section 1.1).
    from: Ipv4Addr,
    target: Ipv4Addr,
}

impl Request {
    /// Reads a packet; padding may follow. Somebody who claims one of our addresses himself gets no answer.
    pub(super) fn read(packet: &[u8], us: &Station<'_>) -> Option<Self> {
        let mut rest = packet;
        let kind: &[u8; 6] = take(&mut rest).ok()?;
        let operation: &[u8; 2] = take(&mut rest).ok()?;
        let mac: [u8; 6] = *take(&mut rest).ok()?;
        let from = Ipv4Addr::from_octets(*take(&mut rest).ok()?);
        let _: &[u8; 6] = take(&mut rest).ok()?;
        let target = Ipv4Addr::from_octets(*take(&mut rest).ok()?);
        let known = *kind == ETHERNET_IPV4 && *operation == REQUEST && is_station(mac) && mac != us.mac;
        let asker = from.is_unspecified() || us.is_other(from);
        (known && asker && us.is_ours(target)).then_some(Self { mac, from, target })
    }

    /// Writes the reply and says to whom it goes: to the hardware address that the request states.
    pub(super) fn answer(&self, packet: &mut [u8], mac: [u8; 6]) -> Option<[u8; 6]> {
        let reply: &mut [u8; LEN] = packet.try_into().ok()?;
        reply[..6].copy_from_slice(&ETHERNET_IPV4);
        reply[6..8].copy_from_slice(&REPLY);
        reply[8..14].copy_from_slice(&mac);
        reply[14..18].copy_from_slice(&self.target.octets());
        reply[18..24].copy_from_slice(&self.mac);
        reply[24..28].copy_from_slice(&self.from.octets());
        Some(self.mac)
    }
}
