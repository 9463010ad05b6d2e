//! [`Compiled`]: the list as bit vectors, which is what BPF maps hold.

use std::net::IpAddr;

use config::{AclAction, AclRule, PortRange, Prefix, Protocol};

use crate::gcra::Gcra;
use crate::packet::Packet;
use crate::{AclError, BITS, Bits};

/// For each field of a packet, the set of rules that each of its values matches. A packet's rule is the first in the
/// intersection of five sets: the work does not grow with the number of rules but for the width of the sets (T. V. Lakshman
/// and D. Stiliadis, High-Speed Policy-based Packet Forwarding Using Efficient Multi-dimensional Range Matching, SIGCOMM
/// 1998).
///
/// It serves to fill maps. [`Compiled::first_match`] searches the rules for each set; for packets there is [`crate::List`].
#[derive(Clone, Debug)]
pub struct Compiled {
    rules: Vec<AclRule>,
    policy: AclAction,
    sources: Vec<SourcePrefix>,
}

/// A source prefix that some rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePrefix {
    /// Its lowest address.
    pub network: IpAddr,
    /// Leading bits that count.
    pub length: u8,
    /// The rules for addresses whose longest prefix of the list this is. So the rules of the prefixes that contain it are in
    /// it too, and those that name no source.
    pub rules: Bits,
}

/// What a rule does with a packet that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompiledRule {
    /// Allowed (within the rate) or denied.
    pub action: AclAction,
    /// The rate of each source.
    pub rate: Option<Gcra>,
}

impl Compiled {
    /// The list of `rules`, with `policy` for what none of them matches.
    pub fn new(rules: &[AclRule], policy: AclAction) -> Result<Self, AclError> {
        if rules.len() > BITS {
            return Err(AclError::TooManyRules(rules.len()));
        }
        let mut prefixes: Vec<Prefix> = Vec::new();
        for prefix in rules.iter().filter_map(|rule| rule.source) {
            if !prefixes.contains(&prefix) {
                prefixes.push(prefix);
            }
        }
        let contains = |outer: Prefix, inner: Prefix| {
            outer.length() <= inner.length() && outer.is_ipv4() == inner.is_ipv4() && outer.contains(inner.network())
        };
        let source = |prefix: Prefix| SourcePrefix {
            network: prefix.network(),
            length: prefix.length(),
            rules: Bits::of(rules, |rule| rule.source.is_none_or(|outer| contains(outer, prefix))),
        };
        Ok(Self { rules: rules.to_vec(), policy, sources: prefixes.into_iter().map(source).collect() })
    }

    /// What becomes of packets that no rule matches.
    pub fn policy(&self) -> AclAction {
        self.policy
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether the policy decides on everything.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What each rule does.
    pub fn rules(&self) -> impl Iterator<Item = CompiledRule> {
        self.rules.iter().map(|rule| CompiledRule { action: rule.action, rate: rule.rate().map(Gcra::new) })
    }

    /// The source prefixes, each once.
    pub fn sources(&self) -> &[SourcePrefix] {
        &self.sources
    }

    /// Rules for sources that lie in no prefix of the list: those that name no source.
    pub fn any_source(&self) -> Bits {
        Bits::of(&self.rules, |rule| rule.source.is_none())
    }

    /// Rules that match the source `address`: those of the longest prefix that contains it.
    pub fn source(&self, address: IpAddr) -> Bits {
        let address = address.to_canonical();
        let holds = |prefix: &&SourcePrefix| shared_bits(prefix.network, address) >= Some(prefix.length.into());
        let longest = self.sources.iter().filter(holds).max_by_key(|prefix| prefix.length);
        longest.map_or_else(|| self.any_source(), |prefix| prefix.rules)
    }

    /// Rules that match the destination `address`.
    pub fn destination(&self, address: IpAddr) -> Bits {
        Bits::of(&self.rules, |rule| rule.destination.is_none_or(|prefix| prefix.contains(address)))
    }

    /// Rules that match the destination port.
    pub fn port(&self, port: u16) -> Bits {
        Bits::of(&self.rules, |rule| rule.ports.is_none_or(|ports| ports.contains(port)))
    }

    /// Rules that match the source port.
    pub fn source_port(&self, port: u16) -> Bits {
        Bits::of(&self.rules, |rule| rule.source_ports.is_none_or(|ports| ports.contains(port)))
    }

    /// Rules that match the VLAN identifier; 0 is no VLAN.
    pub fn vlan(&self, vlan: u16) -> Bits {
        Bits::of(&self.rules, |rule| rule.vlan.is_none_or(|wanted| wanted == u32::from(vlan)))
    }

    /// Rules that match the IP protocol.
    pub fn protocol(&self, protocol: u8) -> Bits {
        Bits::of(&self.rules, |rule| rule.protocol.is_none_or(|wanted| wanted == Protocol(protocol)))
    }

    /// The source ports that some rule names, in order, in ranges that match the same rules. All others match those that name
    /// none.
    pub fn source_port_ranges(&self) -> Vec<(PortRange, Bits)> {
        let named: Vec<_> = self.rules.iter().filter_map(|rule| rule.source_ports).collect();
        // Where the set changes: at the begin of a range, and behind its end.
        let begins = |range: &PortRange| [u32::from(range.first), u32::from(range.last) + 1];
        let mut edges: Vec<u32> = named.iter().flat_map(begins).collect();
        edges.sort_unstable();
        edges.dedup();
        let is_named = |port: u16| named.iter().any(|range| range.contains(port));
        edges
            .windows(2)
            .map(|edge| PortRange { first: edge[0] as u16, last: (edge[1] - 1) as u16 })
            .filter(|range| is_named(range.first))
            .map(|range| (range, self.source_port(range.first)))
            .collect()
    }

    /// Rules for source ports that no rule names.
    pub fn any_source_port(&self) -> Bits {
        Bits::of(&self.rules, |rule| rule.source_ports.is_none())
    }

    /// VLAN identifiers that some rule names, each once, in order.
    pub fn named_vlans(&self) -> Vec<u16> {
        let mut named: Vec<u16> = self.rules.iter().filter_map(|rule| rule.vlan).map(|vlan| vlan as u16).collect();
        named.sort_unstable();
        named.dedup();
        named
    }

    /// Rules for VLAN identifiers that no rule names.
    pub fn any_vlan(&self) -> Bits {
        Bits::of(&self.rules, |rule| rule.vlan.is_none())
    }

    /// The first rule that matches, counted from 0.
    pub fn first_match(&self, packet: &Packet) -> Option<u16> {
        let sets = self.source(packet.source)
            & self.destination(packet.destination)
            & self.source_port(packet.source_port)
            & self.port(packet.port)
            & self.vlan(packet.vlan.unwrap_or(0))
            & self.protocol(packet.protocol);
        sets.first()
    }
}

/// Leading bits that two addresses share; `None` if they are of different families.
fn shared_bits(a: IpAddr, b: IpAddr) -> Option<u32> {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => Some((a.to_bits() ^ b.to_bits()).leading_zeros()),
        (IpAddr::V6(a), IpAddr::V6(b)) => Some((a.to_bits() ^ b.to_bits()).leading_zeros()),
        _ => None,
    }
}
