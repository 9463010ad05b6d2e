//! Who sends, and to whom, as numbers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::checksum::Sum;

/// An address with a port, as headers have them.
///
/// A [`SocketAddr`] has another layout for each family, and is written in pieces: what reads it soon afterwards as a whole waits
/// until the pieces are in the cache (docs/decisions/0012-dpdk.md has what that cost). This stays in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address, an IPv4 address in IPv4-mapped form (RFC 4291 section 2.5.5.2).
    bits: u128,
    port: u16,
    is_v4: bool,
}

/// What is above an IPv4 address in IPv4-mapped form.
const MAPPED: u128 = 0xffff << 32;

impl Endpoint {
    #[inline]
    pub(super) const fn v4(address: [u8; 4], port: u16) -> Self {
        Self { bits: MAPPED | u32::from_be_bytes(address) as u128, port, is_v4: true }
    }

    #[inline]
    pub(super) const fn v6(address: [u8; 16], port: u16) -> Self {
        Self { bits: u128::from_be_bytes(address), port, is_v4: false }
    }

    /// The same address with another port.
    #[inline]
    pub(super) const fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// The address as a number, an IPv4 address in IPv4-mapped form.
    #[inline]
    pub const fn bits(&self) -> u128 {
        self.bits
    }

    /// The port.
    #[inline]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether the address is one of IPv4.
    #[inline]
    pub const fn is_ipv4(&self) -> bool {
        self.is_v4
    }

    /// The address.
    pub const fn ip(&self) -> IpAddr {
        if self.is_v4 {
            IpAddr::V4(Ipv4Addr::from_bits(self.bits as u32))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(self.bits))
        }
    }

    /// Whether `address` is this one's.
    #[inline]
    pub const fn is_at(&self, address: &IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.is_v4 && self.bits as u32 == v4.to_bits(),
            IpAddr::V6(v6) => !self.is_v4 && self.bits == v6.to_bits(),
        }
    }

    /// Neither a group's address nor nobody's, nor an IPv4-mapped one.
    #[inline]
    pub(super) const fn is_unicast(&self) -> bool {
        if self.is_v4 {
            let v4 = self.bits as u32;
            v4 != 0 && v4 >> 28 != 0xe && v4 != u32::MAX
        } else {
            self.bits != 0 && self.bits >> 120 != 0xff && self.bits >> 32 != 0xffff
        }
    }

    /// 127.0.0.0/8 (RFC 1122 section 3.2.1.3), ::1 (RFC 4291 section 2.5.3).
    #[inline]
    pub(super) const fn is_loopback(&self) -> bool {
        if self.is_v4 { self.bits as u32 >> 24 == 127 } else { self.bits == 1 }
    }

    /// Adds the address to a checksum.
    #[inline]
    pub(super) fn add_to(&self, sum: Sum) -> Sum {
        let low = sum.add_u32(self.bits as u32);
        if self.is_v4 {
            return low;
        }
        low.add_u32((self.bits >> 32) as u32).add_u32((self.bits >> 64) as u32).add_u32((self.bits >> 96) as u32)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        match address.ip() {
            IpAddr::V4(v4) => Self::v4(v4.octets(), address.port()),
            IpAddr::V6(v6) => Self::v6(v6.octets(), address.port()),
        }
    }
}

/// An IPv6 address has neither scope nor flow label: a link-local one means nothing without its interface.
impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint.ip(), endpoint.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_unicast(address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
            IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6.to_ipv4_mapped().is_some()),
        }
    }

    /// What the standard library says of the same addresses.
    #[test]
    fn numbers_say_what_addresses_say() {
        let addresses = [
            "0.0.0.0",
            "127.0.0.1",
            "127.255.0.9",
            "192.0.2.1",
            "223.255.255.255",
            "224.0.0.1",
            "239.1.2.3",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "2001:db8::7",
            "ff02::1",
            "::ffff:192.0.2.1",
            "::192.0.2.1",
        ];
        let all = addresses.map(|text| text.parse::<IpAddr>().unwrap());
        for address in all {
            let socket = SocketAddr::new(address, 9000);
            let endpoint = Endpoint::from(socket);
            assert_eq!((SocketAddr::from(endpoint), endpoint.ip(), endpoint.port()), (socket, address, 9000));
            assert_eq!(endpoint.is_ipv4(), address.is_ipv4());
            assert_eq!(endpoint.is_unicast(), is_unicast(address), "{address}");
            assert_eq!(endpoint.is_loopback(), address.is_loopback(), "{address}");
            for other in all {
                assert_eq!(endpoint.is_at(&other), address == other, "{address} {other}");
            }
            let bytes = match address {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            assert_eq!(endpoint.add_to(Sum::default()).checksum(), Sum::default().add(&bytes).checksum());
        }
    }
}
