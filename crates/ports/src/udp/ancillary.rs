//! Ancillary data of a message, by hand (cmsg(3)): `{ len: usize, level: i32, type: i32, data }`, each padded to 8 bytes.
//!
//! The memory is shared: what stands in it may have been left by a process that died. Every length is checked.

use arena::meta::Address;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of ancillary data per message: packet info (40 with IPv6) and the overflow count (24), with room.
pub(super) const CONTROL: usize = 128;

/// One message's ancillary data, aligned as the kernel wants it.
pub(super) type Control = [u64; CONTROL / 8];

const HEADER: usize = 16;

/// Our address that the message was sent to, `port` filled in, and the kernel's drop count if it told one.
///
/// `len` is what the kernel says it wrote, bytes. An IPv4 address on an IPv6 socket is given as the IPv4 address it is.
pub(super) fn parse(control: &Control, len: usize, port: u16) -> (Address, Option<u32>) {
    let bytes = bytes_of(control);
    let mut rest = &bytes[..len.min(CONTROL)];
    let (mut local, mut dropped) = (Address::NONE, None);
    while let Some((size, level, kind)) = header(rest) {
        if size < HEADER || size > rest.len() {
            break;
        }
        let data = &rest[HEADER..size];
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => dropped = data.first_chunk().map(|b| u32::from_ne_bytes(*b)),
            // struct in_pktinfo { ifindex, spec_dst, addr }: addr is where the packet was sent to.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                if let Some(octets) = data.get(8..12).and_then(<[u8]>::first_chunk::<4>) {
                    local = Address::new(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(*octets)), port));
                }
            }
            // struct in6_pktinfo { addr, ifindex }.
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let Some(octets) = data.first_chunk::<16>() {
                    local = Address::new(SocketAddr::new(Ipv6Addr::from(*octets).to_canonical(), port));
                }
            }
            _ => {}
        }
        rest = rest.get(size.next_multiple_of(8)..).unwrap_or_default();
    }
    (local, dropped)
}

fn header(bytes: &[u8]) -> Option<(usize, i32, i32)> {
    let size = usize::from_ne_bytes(*bytes.first_chunk()?);
    let level = i32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*bytes.get(12..)?.first_chunk()?);
    Some((size, level, kind))
}

fn bytes_of(words: &Control) -> [u8; CONTROL] {
    let mut bytes = [0; CONTROL];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// Writes the packet info that makes the kernel send from `source`; returns its length, bytes, 0 for none.
///
/// No source, the wildcard address, or one of the other family leaves the choice to the kernel.
pub(super) fn store_source(control: &mut Control, source: Address, to_ipv4: bool) -> usize {
    let mut data = [0; 20];
    let (level, kind, len) = match source.get().map(|a| a.ip()) {
        Some(IpAddr::V4(ip)) if to_ipv4 && !ip.is_unspecified() => {
            data[4..8].copy_from_slice(&ip.octets()); // ipi_spec_dst
            (libc::IPPROTO_IP, libc::IP_PKTINFO, 12)
        }
        Some(IpAddr::V6(ip)) if !to_ipv4 && !ip.is_unspecified() => {
            data[..16].copy_from_slice(&ip.octets());
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20)
        }
        _ => return 0,
    };
    let mut bytes = [0; CONTROL];
    bytes[..8].copy_from_slice(&(HEADER + len).to_ne_bytes());
    bytes[8..12].copy_from_slice(&i32::to_ne_bytes(level));
    bytes[12..16].copy_from_slice(&i32::to_ne_bytes(kind));
    bytes[HEADER..HEADER + len].copy_from_slice(&data[..len]);
    for (word, chunk) in control.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(chunk.try_into().unwrap_or_default());
    }
    (HEADER + len).next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PORT: u16 = 7000;

    /// `{ len, level, type, data }` one after the other, as the kernel lays them out; returns their length too.
    fn control(messages: &[(i32, i32, &[u8])]) -> (Control, usize) {
        let mut bytes = Vec::new();
        for (level, kind, data) in messages {
            bytes.extend((HEADER + data.len()).to_ne_bytes());
            bytes.extend(level.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        let len = bytes.len();
        bytes.resize(CONTROL, 0xee);
        let words = bytes.chunks_exact(8).map(|c| u64::from_ne_bytes(c.try_into().expect("eight bytes")));
        (words.collect::<Vec<_>>().try_into().expect("the size of a control"), len)
    }

    fn address(text: &str) -> Address {
        Address::new(text.parse().expect("an address"))
    }

    #[test]
    fn ipv4_destination_and_drop_count() {
        let info = [1, 0, 0, 0, 10, 0, 0, 9, 192, 0, 2, 7];
        let drops = 77_u32.to_ne_bytes();
        let (control, len) =
            control(&[(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &drops), (libc::IPPROTO_IP, libc::IP_PKTINFO, &info)]);
        assert_eq!(parse(&control, len, PORT), (address("192.0.2.7:7000"), Some(77)));
        assert_eq!(parse(&control, 24, PORT), (Address::NONE, Some(77)), "beyond the kernel's length nothing is read");
    }

    #[test]
    fn ipv6_destination_and_a_mapped_one() {
        let mut info = [0; 20];
        info[..16].copy_from_slice(&"2001:db8::5".parse::<Ipv6Addr>().expect("an address").octets());
        let (words, len) = control(&[(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)]);
        assert_eq!(parse(&words, len, PORT), (address("[2001:db8::5]:7000"), None));
        info[..16].copy_from_slice(&Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().octets());
        let (words, len) = control(&[(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)]);
        assert_eq!(parse(&words, len, PORT), (address("192.0.2.7:7000"), None));
    }

    #[test]
    fn lengths_left_by_a_dead_process_are_not_believed() {
        for size in [0, HEADER - 1, CONTROL + 1, usize::MAX, usize::MAX - 7] {
            let (mut words, len) = control(&[(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &[1, 0, 0, 0])]);
            words[0] = size as u64;
            assert_eq!(parse(&words, len, PORT), (Address::NONE, None), "size {size}");
        }
    }

    #[test]
    fn source_of_a_reply() {
        let mut words = [u64::MAX; CONTROL / 8];
        assert_eq!(store_source(&mut words, address("127.0.0.2:9"), true), 32);
        let bytes = bytes_of(&words);
        assert_eq!(header(&bytes), Some((28, libc::IPPROTO_IP, libc::IP_PKTINFO)));
        assert_eq!(bytes[HEADER..HEADER + 12], [0, 0, 0, 0, 127, 0, 0, 2, 0, 0, 0, 0]);
        assert_eq!(store_source(&mut words, address("[::1]:9"), false), 40);
        assert_eq!(parse(&words, 40, 9), (address("[::1]:9"), None), "in6_pktinfo is the same in both directions");
        for (source, to_ipv4) in [("0.0.0.0:9", true), ("[::]:9", false), ("127.0.0.2:9", false), ("[::1]:9", true)] {
            assert_eq!(store_source(&mut words, address(source), to_ipv4), 0, "{source}");
        }
        assert_eq!(store_source(&mut words, Address::NONE, true), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(words: Control, len: usize, first in 0_u64..200) {
            parse(&words, len, PORT);
            let mut words = words;
            words[0] = first;
            parse(&words, CONTROL, PORT);
        }
    }
}
