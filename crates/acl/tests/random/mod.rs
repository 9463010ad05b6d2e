//! Random lists and packets, from so few values that rules match. Also used by the tests of `ports`.

use acl::{AclAction, AclRule, Packet, PortRange, Prefix, Protocol};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses that packets go to.
pub const LOCAL: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9)),
    IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 9)),
    IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 1, 0, 0, 0, 9)),
];

/// The ports that packets go to.
pub const PORTS: [u16; 3] = [9000, 9001, 65535];

const VLANS: [u16; 4] = [0, 5, 6, 4094];

/// Addresses that differ in few bits here and there.
fn ipv4(bits: u8) -> Ipv4Addr {
    let bit = |n: u8| u32::from(bits >> n & 1);
    Ipv4Addr::from(0x0a00_0000 | bit(0) | bit(1) << 1 | bit(2) << 8 | bit(3) << 16 | bit(4) << 30 | bit(5) << 31)
}

fn ipv6(bits: u8) -> Ipv6Addr {
    let bit = |n: u8| u128::from(bits >> n & 1);
    let high = 0xfd00 << 112 | 1 << 32;
    Ipv6Addr::from(high | bit(0) | bit(1) << 1 | bit(2) << 63 | bit(3) << 64 | bit(4) << 100 | bit(5) << 125)
}

pub fn source() -> impl Strategy<Value = IpAddr> {
    (any::<bool>(), 0u8..64).prop_map(|(v4, bits)| if v4 { ipv4(bits).into() } else { ipv6(bits).into() })
}

fn prefix(addresses: impl Strategy<Value = IpAddr>) -> impl Strategy<Value = Prefix> {
    let length = prop_oneof![Just(128), Just(128), 0u8..=128, Just(0), Just(24), Just(31), Just(64)];
    (addresses, length).prop_map(|(address, length)| {
        let text = match address {
            IpAddr::V4(v4) => {
                let length = u32::from(length).min(32);
                format!("{}/{length}", Ipv4Addr::from(v4.to_bits() & u32::MAX.checked_shl(32 - length).unwrap_or(0)))
            }
            IpAddr::V6(v6) => {
                let length = u32::from(length);
                format!("{}/{length}", Ipv6Addr::from(v6.to_bits() & u128::MAX.checked_shl(128 - length).unwrap_or(0)))
            }
        };
        text.parse().expect("a prefix")
    })
}

fn range(port: impl Strategy<Value = u16>) -> impl Strategy<Value = PortRange> {
    (port, prop_oneof![Just(0u16), Just(1), 0u16..2000]).prop_map(|(port, below)| {
        let first = port.saturating_sub(below);
        PortRange { first, last: port }
    })
}

/// `Some` once in `one_in`.
fn rarely<T: Clone + std::fmt::Debug>(one_in: u32, some: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop_oneof![1 => some.prop_map(Some), one_in - 1 => Just(None)]
}

pub fn rule() -> impl Strategy<Value = AclRule> {
    let source_prefix = prop_oneof![1 => Just(None), 9 => prefix(source()).prop_map(Some)];
    let destination = prefix(prop::sample::select(&LOCAL[..]));
    (
        (any::<bool>(), source_prefix, rarely(4, destination)),
        rarely(3, range(prop::sample::select(&PORTS[..]))),
        rarely(5, range(source_port())),
        rarely(4, prop::sample::select(&VLANS[..])),
        rarely(4, prop_oneof![3 => Just(Protocol::UDP), 1 => Just(Protocol::TCP)]),
        rarely(3, (1u32..2000, prop::option::of(1u32..4))),
    )
        .prop_map(|((allow, source, destination), ports, source_ports, vlan, protocol, rate)| {
            let rate = rate.filter(|_| allow);
            AclRule {
                source,
                destination,
                ports,
                source_ports,
                vlan: vlan.map(u32::from),
                protocol,
                rate_pps: rate.map(|(pps, _)| pps),
                burst: rate.and_then(|(_, burst)| burst),
                ..AclRule::all(if allow { AclAction::Allow } else { AclAction::Deny })
            }
        })
}

/// Mostly short lists; some of more than one word of bits, and full ones.
pub fn rules() -> impl Strategy<Value = Vec<AclRule>> {
    let length = prop_oneof![6 => 0usize..12, 2 => 60usize..70, 1 => 505usize..=512];
    length.prop_flat_map(|length| prop::collection::vec(rule(), length))
}

pub fn policy() -> impl Strategy<Value = AclAction> {
    prop::sample::select(AclAction::ALL)
}

fn source_port() -> impl Strategy<Value = u16> {
    prop::sample::select(&[0u16, 1, 4999, 5000, 5001, 65535][..])
}

/// A packet for one of [`LOCAL`] and [`PORTS`], of one family, and how many nanoseconds after the one before it comes.
pub fn packet() -> impl Strategy<Value = (Packet, u64)> {
    let vlan = prop::option::of(prop::sample::select(&VLANS[..]));
    let gap_ns = prop_oneof![0u64..3, 0u64..1_000_000, 0u64..2_000_000_000];
    (source(), any::<bool>(), source_port(), prop::sample::select(&PORTS[..]), vlan, gap_ns).prop_map(
        |(source, second, source_port, port, vlan, gap_ns)| {
            let destination = LOCAL[if source.is_ipv4() { 0 } else { 1 + usize::from(second) }];
            (Packet { source, destination, source_port, port, vlan, protocol: Protocol::UDP.0 }, gap_ns)
        },
    )
}
