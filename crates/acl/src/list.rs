//! [`List`]: the matcher in software.

use std::net::IpAddr;

use config::{AclAction, AclRule, PortRange, Prefix};

use crate::gcra::Gcra;
use crate::packet::{Decision, Packet, Verdict};
use crate::sources::Sources;
use crate::{AclError, BITS};

/// An access list that decides on packets, one rule after the other. It allocates when it is made and never again.
///
/// Each instance keeps rates of its own: where several gateways serve one address, each grants a source the whole rate.
pub struct List {
    rules: Vec<Rule>,
    policy: Verdict,
    sources: Sources,
    hits: Vec<u64>,
    policy_hits: u64,
}

/// A rule, brought to the form in which it is compared.
struct Rule {
    source: Net,
    destination: Net,
    ports: PortRange,
    source_ports: PortRange,
    vlan: Option<u16>,
    protocol: Option<u8>,
    action: Action,
}

enum Action {
    Allow,
    Limit(Gcra),
    Deny,
}

/// Addresses of one family that share the bits of `mask`; of any family if that is `None`.
struct Net {
    is_ipv4: Option<bool>,
    network: u128,
    mask: u128,
}

/// An address as a number, and its family.
#[derive(Clone, Copy)]
struct Number {
    is_ipv4: bool,
    bits: u128,
}

const ALL_PORTS: PortRange = PortRange { first: 0, last: u16::MAX };

impl List {
    /// The list of `rules`, with `policy` for what none of them matches.
    pub fn new(rules: &[AclRule], policy: AclAction) -> Result<Self, AclError> {
        if rules.len() > BITS {
            return Err(AclError::TooManyRules(rules.len()));
        }
        Ok(Self {
            rules: rules.iter().map(Rule::new).collect(),
            policy: verdict(policy),
            sources: Sources::new(rules.iter().any(|rule| rule.rate().is_some())),
            hits: vec![0; rules.len()],
            policy_hits: 0,
        })
    }

    /// What becomes of `packet` at `now_ns`, counted.
    pub fn decide(&mut self, packet: &Packet, now_ns: u64) -> Decision {
        let source = Number::new(packet.source);
        let destination = Number::new(packet.destination);
        let matches = |rule: &Rule| rule.matches(source, destination, packet);
        let found = self.rules.iter().position(matches);
        self.settle(found, source, now_ns)
    }

    /// As [`List::decide`], for a packet of which somebody else has found out which rule matches first, if any does. A rule
    /// that this list does not have decides nothing: the packet is held against the rules here.
    pub fn judge(&mut self, packet: &Packet, rule: Option<u16>, now_ns: u64) -> Decision {
        match rule.map(usize::from) {
            Some(found) if found >= self.rules.len() => self.decide(packet, now_ns),
            found => self.settle(found, Number::new(packet.source), now_ns),
        }
    }

    fn settle(&mut self, found: Option<usize>, source: Number, now_ns: u64) -> Decision {
        let Some(found) = found else {
            self.policy_hits += 1;
            return Decision { verdict: self.policy, rule: None };
        };
        self.hits[found] += 1;
        let rule = found as u16;
        let verdict = match self.rules[found].action {
            Action::Allow => Verdict::Allowed,
            Action::Deny => Verdict::Denied,
            Action::Limit(gcra) if self.sources.admit(gcra, rule, source.mapped(), now_ns) => Verdict::Allowed,
            Action::Limit(_) => Verdict::Limited,
        };
        Decision { verdict, rule: Some(rule) }
    }

    /// Packets that each rule matched, whatever became of them.
    pub fn hits(&self) -> &[u64] {
        &self.hits
    }

    /// Packets that no rule matched.
    pub fn policy_hits(&self) -> u64 {
        self.policy_hits
    }

    /// Whether it lets everything in without a look.
    pub fn is_trivial(&self) -> bool {
        self.rules.is_empty() && self.policy == Verdict::Allowed
    }
}

fn verdict(action: AclAction) -> Verdict {
    match action {
        AclAction::Allow => Verdict::Allowed,
        AclAction::Deny => Verdict::Denied,
    }
}

impl Rule {
    fn new(rule: &AclRule) -> Self {
        Self {
            source: Net::new(rule.source),
            destination: Net::new(rule.destination),
            ports: rule.ports.unwrap_or(ALL_PORTS),
            source_ports: rule.source_ports.unwrap_or(ALL_PORTS),
            vlan: rule.vlan.map(|vlan| vlan as u16),
            protocol: rule.protocol.map(|protocol| protocol.0),
            action: match (rule.action, rule.rate()) {
                (AclAction::Deny, _) => Action::Deny,
                (AclAction::Allow, None) => Action::Allow,
                (AclAction::Allow, Some(rate)) => Action::Limit(Gcra::new(rate)),
            },
        }
    }

    fn matches(&self, source: Number, destination: Number, packet: &Packet) -> bool {
        self.source.contains(source)
            && self.destination.contains(destination)
            && self.ports.contains(packet.port)
            && self.source_ports.contains(packet.source_port)
            && self.vlan.is_none_or(|vlan| vlan == packet.vlan.unwrap_or(0))
            && self.protocol.is_none_or(|protocol| protocol == packet.protocol)
    }
}

impl Number {
    fn new(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self { is_ipv4: true, bits: u128::from(v4.to_bits()) },
            IpAddr::V6(v6) => Self { is_ipv4: false, bits: v6.to_bits() },
        }
    }

    /// The 16 bytes of the address; an IPv4 one is mapped.
    fn mapped(self) -> u128 {
        if self.is_ipv4 { self.bits | 0xffff << 32 } else { self.bits }
    }
}

impl Net {
    fn new(prefix: Option<Prefix>) -> Self {
        let Some(prefix) = prefix else {
            return Self { is_ipv4: None, network: 0, mask: 0 };
        };
        let Number { is_ipv4, bits } = Number::new(prefix.network());
        let width: u32 = if is_ipv4 { 32 } else { 128 };
        let mask = u128::MAX.checked_shl(width.saturating_sub(prefix.length().into())).unwrap_or(0);
        Self { is_ipv4: Some(is_ipv4), network: bits & mask, mask }
    }

    fn contains(&self, address: Number) -> bool {
        self.is_ipv4.is_none_or(|is_ipv4| is_ipv4 == address.is_ipv4) && address.bits & self.mask == self.network
    }
}
