//! The access list at a poll-mode driver. rx-gateway decides by it; here its first matching rule is found for a burst at once, and
//! a port that can drops what the list begins by denying.

mod classifier;
mod ffi;
mod flow;

pub use classifier::Classifier;
pub use flow::{FlowReport, FlowRules};

use super::ffi::Port;
use super::rx::Filter;
use super::{DpdkError, Eal};
use crate::{Received, Standing};
use acl::{AclAction, AclRule, Packet, PortRange, Prefix, Protocol};
use ffi::{KEYS, Match};
use flow::Flows;
use std::net::IpAddr;

/// The list at one port.
#[derive(Debug)]
pub(super) struct AccessList {
    eal: Eal,
    classifier: Classifier,
    rules: Vec<AclRule>,
    mode: FlowRules,
    flows: Flows,
    /// For the operator.
    notice: Option<String>,
}

impl AccessList {
    pub fn new(eal: &Eal, mode: FlowRules) -> Self {
        let (rules, flows) = (Vec::new(), Flows::default());
        Self { eal: eal.clone(), classifier: Classifier::new(eal), rules, mode, flows, notice: None }
    }

    /// Another list. `started`: the port, if it takes rules already; it loses those of the old list first.
    pub fn set(&mut self, rules: &[AclRule], policy: AclAction, started: Option<Port>, us: &Filter, device: &str) {
        self.classifier.set(rules, policy);
        self.rules = rules.to_vec();
        if let Some(port) = started
            && let Err(error) = self.start(port, us, device)
        {
            // It cannot be refused any more, and rx-gateway holds packets against all of it.
            self.notice = Some(error.to_string());
        }
        if started.is_some()
            && self.flows.report().refused.is_some()
            && let Some(notice) = &mut self.notice
        {
            // Some drivers ask for rights that the stage has given up (mlx5: CAP_NET_RAW).
            notice.push_str("; what takes the rights of a start is asked for again by flumeway ctl restart rx-gateway");
        }
    }

    /// Gives the started port what it can take of the list.
    ///
    /// # Errors
    /// [`DpdkError::FlowRule`] if it must take more.
    pub fn start(&mut self, port: Port, us: &Filter, device: &str) -> Result<(), DpdkError> {
        if self.mode == FlowRules::Off {
            return Ok(());
        }
        let control = self.eal.control();
        self.flows.replace(port, &self.rules, us);
        drop(control);
        let report = self.flows.report();
        if (report.rules > 0 || report.kept > 0) && !report.is_whole() {
            self.notice = Some(format!("dpdk: {device}: {report}"));
        }
        report.check(self.mode, device)
    }

    /// Takes the rules of the port away.
    pub fn stop(&mut self, port: Port) {
        let _control = self.eal.control();
        self.flows.clear(port);
    }

    /// What the port has taken.
    pub fn report(&self) -> &FlowReport {
        self.flows.report()
    }

    pub fn count(&mut self, all: bool, add: &mut dyn FnMut(u16, u64)) {
        self.flows.count(all, add);
    }

    pub fn take_notice(&mut self) -> Option<String> {
        self.classifier.take_error().map(|error| error.to_string()).or_else(|| self.notice.take())
    }

    /// Says of each datagram which rule matches first.
    #[inline]
    pub fn classify(&mut self, received: &mut [Received]) {
        self.classifier.poll();
        if self.classifier.is_trivial() {
            for packet in received.iter_mut().filter(|packet| packet.standing == Standing::Unfiltered) {
                packet.standing = Standing::Filtered;
            }
            return;
        }
        for burst in received.chunks_mut(KEYS) {
            self.classifier.classify(burst.iter().map(question));
            for (n, standing) in self.classifier.answers() {
                burst[n].standing = standing;
            }
        }
    }
}

/// What the list knows of a packet.
#[inline]
fn question(packet: &Received) -> Option<Packet> {
    let (peer, local) = (packet.peer.get()?, packet.local.get()?);
    let outer = packet.link.map_or(0, |link| link.tags[0]);
    (packet.standing == Standing::Unfiltered).then(|| Packet {
        source: peer.ip(),
        destination: local.ip(),
        source_port: peer.port(),
        port: local.port(),
        vlan: (outer != 0).then_some(outer as u16 & 0x0fff),
        protocol: Protocol::UDP.0,
    })
}

const ANY_PORT: PortRange = PortRange { first: 0, last: u16::MAX };

/// The rules that packets of one family can match, in the library's form.
fn matches(rules: &[AclRule], ipv6: bool) -> Vec<Match> {
    rules.iter().enumerate().filter_map(|(n, rule)| to_match(n as u32, rule, ipv6)).collect()
}

/// Rule `number`, if packets of the family can match it.
fn to_match(number: u32, rule: &AclRule, ipv6: bool) -> Option<Match> {
    let fits = |prefix: &Option<Prefix>| prefix.is_none_or(|prefix| prefix.is_ipv4() != ipv6);
    if !fits(&rule.source) || !fits(&rule.destination) {
        return None;
    }
    let ports = rule.ports.unwrap_or(ANY_PORT);
    let source_ports = rule.source_ports.unwrap_or(ANY_PORT);
    let (source, source_bits) = leading_bits(rule.source);
    let (destination, destination_bits) = leading_bits(rule.destination);
    Some(Match {
        number,
        source,
        destination,
        source_bits,
        destination_bits,
        protocol: rule.protocol.map_or(0, |protocol| protocol.0),
        protocol_mask: if rule.protocol.is_some() { u8::MAX } else { 0 },
        vlan: rule.vlan.map_or(0, |vlan| vlan as u16),
        vlan_mask: if rule.vlan.is_some() { u16::MAX } else { 0 },
        source_port_first: source_ports.first,
        source_port_last: source_ports.last,
        port_first: ports.first,
        port_last: ports.last,
    })
}

fn leading_bits(prefix: Option<Prefix>) -> ([u8; 16], u8) {
    prefix.map_or(([0; 16], 0), |prefix| (octets(prefix.network()), prefix.length()))
}

/// An address as the library's form has it: IPv4 in the first four bytes.
fn octets(address: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(v4) => bytes[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => bytes = v6.octets(),
    }
    bytes
}
