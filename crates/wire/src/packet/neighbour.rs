//! What neighbours on the link ask of a station that no kernel stands beside: its hardware address, and whether it is there.
//!
//! | asked | answered | source |
//! |---|---|---|
//! | ARP request, a probe too | ARP reply | RFC 826, RFC 5227 section 2.1 |
//! | neighbour solicitation | neighbour advertisement with our link-layer address | RFC 4861 sections 4.3, 4.4, 7.1.1 and 7.2.4 |
//! | ICMP echo request | echo reply | RFC 792, RFC 1122 section 3.2.2.6 |
//! | `ICMPv6` echo request | echo reply | RFC 4443 sections 4.1 and 4.2 |
//!
//! Reading and answering are two steps, so that a caller can count and limit in between. An answer overwrites its question: it
//! takes the same bytes, the same VLAN tags. Only the addresses of [`Station`] are answered for, and only unicast askers
//! are: a forged question must not make us send to a group.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use super::arp::{self, Request};
use super::endpoint::Endpoint;
use super::icmp::{self, Echo, Solicitation};
use super::link::{self, ETHERNET_LEN, Link, TAG_LEN};

/// Who we are on the link.
#[derive(Debug, Clone, Copy)]
pub struct Station<'a> {
    /// Our hardware address.
    pub mac: [u8; 6],
    /// The addresses that we answer for.
    pub addresses: &'a [IpAddr],
}

/// What a neighbour wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Who has one of our addresses: without an answer nobody can send to us.
    Resolution,
    /// Whether we are there.
    Echo,
}

/// A question that deserves an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    link: Link,
    asked: Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Arp(Request),
    Solicitation(Solicitation),
    Echo(Echo),
}

impl Station<'_> {
    /// Whether we answer for this address.
    fn has(&self, address: impl Into<IpAddr>) -> bool {
        self.addresses.contains(&address.into())
    }

    /// Somebody else's unicast address, from another host.
    pub(super) fn is_other(&self, address: impl Into<IpAddr>) -> bool {
        let address = address.into();
        let endpoint = Endpoint::from(SocketAddr::new(address, 0));
        endpoint.is_unicast() && !endpoint.is_loopback() && !self.has(address)
    }

    /// One of ours, and no group's whatever the configuration says.
    pub(super) fn is_ours(&self, address: impl Into<IpAddr>) -> bool {
        let address = address.into();
        Endpoint::from(SocketAddr::new(address, 0)).is_unicast() && self.has(address)
    }
}

/// A hardware address of one station (IEEE 802 clause 8): no group's, and not nobody's.
pub(super) fn is_station(mac: [u8; 6]) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}

/// The group that a multicast IPv6 address is sent to (RFC 2464 section 7).
pub(super) const fn group_of(address: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = address.octets();
    [0x33, 0x33, a, b, c, d]
}

impl Question {
    /// Reads a whole Ethernet frame (without its check sequence). `None`: it asks nothing, or not of us, or it is not as its
    /// RFC says (lengths, checksums, hop limits), or it has IP options, extension headers or fragments.
    pub fn read(frame: &[u8], us: &Station<'_>) -> Option<Self> {
        let (link, ether_type, packet) = link::read(frame).ok()?;
        if !is_station(link.peer_mac) || link.peer_mac == us.mac {
            return None;
        }
        let to_us = link.local_mac == us.mac;
        let asked = match ether_type {
            arp::ARP if to_us || link.local_mac == [0xff; 6] => Asked::Arp(Request::read(packet, us)?),
            link::IPV4 if to_us => Asked::Echo(Echo::read_v4(packet, us)?),
            link::IPV6 => match icmp::read_v6(packet, us)? {
                icmp::Asked::Echo(echo) if to_us => Asked::Echo(echo),
                icmp::Asked::Solicitation(s) if to_us || link.local_mac == group_of(s.group()) => {
                    Asked::Solicitation(s)
                }
                _ => return None,
            },
            _ => return None,
        };
        Some(Self { link, asked })
    }

    /// What it is about.
    pub const fn topic(&self) -> Topic {
        match self.asked {
            Asked::Arp(_) | Asked::Solicitation(_) => Topic::Resolution,
            Asked::Echo(_) => Topic::Echo,
        }
    }

    /// The link that the question came by.
    pub const fn link(&self) -> &Link {
        &self.link
    }

    /// Writes the answer over the question, which lies at `frame` in `buffer`; returns where it lies. It comes from `us`: the
    /// Ethernet source may be replaced by that of another port. A frame of less than [`super::MIN_FRAME_LEN`] bytes is not padded:
    /// drivers and NICs do that. `None`: the buffer has no room for it; its bytes are as they were.
    pub fn answer(&self, buffer: &mut [u8], frame: Range<usize>, us: &Station<'_>) -> Option<Range<usize>> {
        let link_len = ETHERNET_LEN + TAG_LEN * self.link.tag_count();
        let (ether_type, len) = match &self.asked {
            Asked::Arp(_) => (arp::ARP, arp::LEN),
            Asked::Solicitation(_) => (link::IPV6, icmp::ADVERTISEMENT_LEN),
            Asked::Echo(echo) => (if echo.is_v4() { link::IPV4 } else { link::IPV6 }, echo.packet_len()),
        };
        let whole = frame.start..frame.start.checked_add(link_len)?.checked_add(len)?;
        let (head, packet) = buffer.get_mut(whole.clone())?.split_at_mut_checked(link_len)?;
        let peer_mac = match &self.asked {
            Asked::Arp(request) => request.answer(packet, us.mac)?,
            Asked::Solicitation(solicitation) => solicitation.answer(packet, us.mac, self.link.peer_mac)?,
            Asked::Echo(echo) => {
                echo.answer(packet)?;
                self.link.peer_mac
            }
        };
        link::write(head, &Link { peer_mac, local_mac: us.mac, tags: self.link.tags }, ether_type).ok()?;
        Some(whole)
    }
}
