//! Where on the link an address is reached: the kernel's route, and its neighbour table (rtnetlink(7), RFC 826, RFC 4861).
//!
//! ARP and neighbour solicitation stay the kernel's business; it is only asked for what it knows, and to find out what it
//! does not know yet.

use super::error::XdpError;
use super::netlink::{self, attribute, u32_at};
use rustix::io::Errno;
use std::net::IpAddr;

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const NLM_F_ACK: u16 = 4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
/// Bytes before the attributes: `struct rtmsg`, `struct ndmsg`.
const ROUTE: usize = 12;
const NEIGHBOUR: usize = 12;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `NUD_INCOMPLETE`, `NUD_FAILED`: states without a usable hardware address.
const UNUSABLE: u16 = 0x01 | 0x20;
/// `NUD_REACHABLE`, `NUD_NOARP`, `NUD_PERMANENT`: states in which nothing need be asked.
const CERTAIN: u16 = 0x02 | 0x40 | 0x80;
/// `NTF_USE`: the kernel behaves as if a packet were to be sent there.
const USE: u8 = 1;

/// The way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Our own address that packets there come from.
    pub source: IpAddr,
    /// The hardware address of the host, or of the router before it; `None`: not known yet, the kernel is asking.
    pub mac: Option<[u8; 6]>,
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

fn push_attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The way to `to` by interface `ifindex`; `None` if there is no route, or it leads by another interface.
///
/// # Errors
/// [`XdpError`] if the kernel does not tell.
pub fn next_hop(ifindex: u32, to: IpAddr) -> Result<Option<NextHop>, XdpError> {
    let Some((source, hop)) = route(ifindex, to)? else { return Ok(None) };
    let (mac, certain) = neighbour(ifindex, hop)?;
    if !certain {
        // Our packets do not pass the kernel, so that it would not notice by itself that a neighbour has changed.
        resolve(ifindex, hop)?;
    }
    Ok(Some(NextHop { source, mac }))
}

/// Our address and the next host on the way.
fn route(ifindex: u32, to: IpAddr) -> Result<Option<(IpAddr, IpAddr)>, XdpError> {
    const DESTINATION: u16 = 1;
    const INTERFACE: u16 = 4;
    const GATEWAY: u16 = 5;
    const SOURCE: u16 = 7;
    let mut body = vec![0; ROUTE];
    body[0] = family(to);
    body[1] = if to.is_ipv4() { 32 } else { 128 };
    push_attribute(&mut body, DESTINATION, &octets(to));
    let mut found = None;
    let asked = netlink::ask(RTM_GETROUTE, 0, &body, |kind, message| {
        let Some(list) = message.get(ROUTE..).filter(|_| kind == RTM_NEWROUTE) else { return };
        let by = attribute(list, INTERFACE).map(|bytes| u32_at(bytes, 0));
        let source = attribute(list, SOURCE).and_then(address).filter(|_| by == Some(ifindex));
        let hop = attribute(list, GATEWAY).and_then(address).unwrap_or(to);
        found = source.map(|source| (source, hop));
    });
    match asked {
        Err(XdpError::System { source: Errno::NETUNREACH | Errno::HOSTUNREACH, .. }) => Ok(None),
        other => other.map(|()| found),
    }
}

/// The beginning of a question about, or an order for, a neighbour.
fn ndmsg(ifindex: u32, hop: IpAddr, flags: u8) -> Vec<u8> {
    const DESTINATION: u16 = 1;
    let mut body = vec![0; NEIGHBOUR];
    body[0] = family(hop);
    body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    body[10] = flags;
    push_attribute(&mut body, DESTINATION, &octets(hop));
    body
}

/// The hardware address that the kernel has of `hop`, and whether it is certain of it.
fn neighbour(ifindex: u32, hop: IpAddr) -> Result<(Option<[u8; 6]>, bool), XdpError> {
    const HARDWARE: u16 = 2;
    let mut found = (None, false);
    let asked = netlink::ask(RTM_GETNEIGH, 0, &ndmsg(ifindex, hop, 0), |kind, message| {
        let Some(list) = message.get(NEIGHBOUR..).filter(|_| kind == RTM_NEWNEIGH) else { return };
        let state = u16::from_ne_bytes([message[8], message[9]]);
        let mac = attribute(list, HARDWARE).and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
        found = (mac.filter(|_| state & UNUSABLE == 0 && state != 0), state & CERTAIN != 0);
    });
    match asked {
        Err(XdpError::System { source: Errno::NOENT, .. }) => Ok((None, false)),
        other => other.map(|()| found),
    }
}

/// Has the kernel find `hop` out.
fn resolve(ifindex: u32, hop: IpAddr) -> Result<(), XdpError> {
    let flags = NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK;
    netlink::ask(RTM_NEWNEIGH, flags, &ndmsg(ifindex, hop, USE), |_, _| {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_by_another_interface_is_none() {
        let lo = super::super::netlink::link(&super::super::netlink::Which::Name("lo")).unwrap().unwrap().index;
        assert_eq!(next_hop(lo + 0x1000, "127.0.0.1".parse().unwrap()).unwrap(), None);
        let source = route(lo, "127.0.0.1".parse().unwrap()).unwrap().map(|(source, _)| source);
        assert_eq!(source, Some("127.0.0.1".parse().unwrap()));
    }
}
