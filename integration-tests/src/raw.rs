//! Packets that no ordinary socket sends: datagrams with a wrong checksum, and echo requests.

use crate::netns::{Net, Side};
use rustix::fd::OwnedFd;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// Source port of the datagrams.
const PORT: u16 = 9000;

/// A raw socket of a namespace: the kernel writes the IP header, what follows is the caller's.
fn open(net: &Net, side: Side, family: AddressFamily, protocol: Protocol) -> OwnedFd {
    let socket = || socket(family, SocketType::RAW, Some(protocol));
    net.inside(side, socket).and_then(|made| Ok(made?)).expect("a raw socket")
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
    let socket = open(net, from, AddressFamily::INET, ipproto::UDP);
    sendto(&socket, &header, SendFlags::empty(), &SocketAddr::new(to.0, 0)).expect("send a datagram");
}

/// Whether an echo request (RFC 792, RFC 4443) of the traffic's side with these data is answered within `patience`.
pub fn ping(net: &Net, to: IpAddr, data: &[u8], patience: Duration) -> bool {
    let (family, protocol, kinds) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, [8, 0]),
        // The kernel computes this checksum, which covers addresses that only it knows.
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, [128, 129]),
    };
    let socket = open(net, Side::Traffic, family, protocol);
    let mut request = [kinds[0], 0, 0, 0, 0xf1, 0x0e, 0, 1].to_vec();
    request.extend_from_slice(data);
    if to.is_ipv4() {
        let sum = checksum(&request);
        request[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    sendto(&socket, &request, SendFlags::empty(), &SocketAddr::new(to, 0)).expect("send an echo request");
    let until = Instant::now() + patience;
    let mut buffer = [0; 2048];
    loop {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        set_socket_timeout(&socket, Timeout::Recv, Some(left)).expect("a time limit");
        let Ok((n, _)) = recv(&socket, &mut buffer[..], RecvFlags::empty()) else { return false };
        // An IPv4 packet comes with its header, and there may be others.
        let message = &buffer[if to.is_ipv4() { 20.min(n) } else { 0 }..n];
        if message.first() == Some(&kinds[1]) && message[4..] == request[4..] {
            return true;
        }
    }
}

/// Echo requests (RFC 792) of the traffic's side, more than a few at once, until the other end of `working` is dropped; how many.
pub fn flood(net: &Net, to: IpAddr, working: &Receiver<()>) -> u64 {
    // Fewer than wait in a port's queue beside what else comes.
    const AT_ONCE: u16 = 100;
    let socket = open(net, Side::Traffic, AddressFamily::INET, ipproto::ICMP);
    let mut sent = 0;
    while working.try_recv() == Err(TryRecvError::Empty) {
        for n in 0..AT_ONCE {
            let mut request = [8, 0, 0, 0, 0xf1, 0x0d, 0, 0];
            request[6..8].copy_from_slice(&n.to_be_bytes());
            let sum = checksum(&request);
            request[2..4].copy_from_slice(&sum.to_be_bytes());
            sendto(&socket, &request, SendFlags::empty(), &SocketAddr::new(to, 0)).expect("send an echo request");
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    sent
}
