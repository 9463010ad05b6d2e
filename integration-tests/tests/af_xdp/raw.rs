//! Packets that no ordinary socket sends: datagrams with a wrong checksum, and echo requests.

use crate::PORT;
use integration_tests::netns::{Net, Side};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A raw IPv4 socket of a namespace: the kernel writes the IP header, what follows is the caller's.
fn open(net: &Net, side: Side, protocol: Protocol) -> OwnedFd {
    let socket = || socket(AddressFamily::INET, SocketType::RAW, Some(protocol));
    net.inside(side, socket).unwrap().unwrap()
}

/// The checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | w.get(1).copied().map_or(0, u32::from));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn v4(address: IpAddr) -> Ipv4Addr {
    let IpAddr::V4(address) = address else { panic!("{address} is not IPv4") };
    address
}

/// A UDP datagram from one side to a port of the other; `is_right`: its checksum.
pub fn datagram(net: &Net, from: Side, to: (IpAddr, u16), payload: &[u8], is_right: bool) {
    let len = (payload.len() + 8) as u16;
    let mut header = [PORT.to_be_bytes(), to.1.to_be_bytes(), len.to_be_bytes(), [0, 0]].concat();
    header.extend_from_slice(payload);
    // RFC 768: source, destination, protocol and length count as well.
    let mut counted = [v4(net.v4(from)).octets(), v4(to.0).octets()].concat();
    counted.extend_from_slice(&[0, 17]);
    counted.extend_from_slice(&len.to_be_bytes());
    counted.extend_from_slice(&header);
    let sum = if is_right { checksum(&counted) } else { checksum(&counted) ^ 0x0101 };
    header[6..8].copy_from_slice(&sum.to_be_bytes());
    let socket = open(net, from, ipproto::UDP);
    sendto(&socket, &header, SendFlags::empty(), &SocketAddr::new(to.0, 0)).unwrap();
}

/// Whether an echo request (RFC 792) of the traffic's side is answered.
pub fn ping(net: &Net, to: IpAddr) -> bool {
    let socket = open(net, Side::Traffic, ipproto::ICMP);
    let mut request = [8, 0, 0, 0, 0xf1, 0x0e, 0, 1, b'h', b'e', b'l', b'l'];
    let sum = checksum(&request);
    request[2..4].copy_from_slice(&sum.to_be_bytes());
    sendto(&socket, &request, SendFlags::empty(), &SocketAddr::new(to, 0)).unwrap();
    let patience = Some(std::time::Duration::from_secs(10));
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, patience).unwrap();
    // Each packet comes with its IP header, and there may be others.
    let mut buffer = [0; 256];
    while let Ok((n, _)) = recv(&socket, &mut buffer[..], RecvFlags::empty()) {
        let message = &buffer[20..n.max(20)];
        if message.first() == Some(&0) && message[4..] == request[4..] {
            return true;
        }
    }
    false
}
