//! Rules of the port itself (rte_flow): it drops what the access list begins by denying.
//!
//! Of a list only its first rules up to the first that allows something can be left to a port: a packet that such a rule matches is
//! denied, whatever else it matches. What a port drops is at most what rx-gateway would have denied by that rule: datagrams of
//! UDP, to our own addresses and port. What a port does not take, and frames that it reads in another way (a second VLAN tag),
//! are rx-gateway's as ever. So a list means the same with and without.

use super::super::DpdkError;
use super::super::ffi::{Port, reason};
use super::super::rx::Filter;
use super::ffi::{self, Flow, FlowRule, Match};
use super::{octets, to_match};
use acl::{AclAction, AclRule, Protocol};
use std::fmt;
use std::net::IpAddr;

/// Rules that are asked for their packets at once: a device may take microseconds for each.
const ASKED_AT_ONCE: usize = 16;

/// Whether a port is to drop packets by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowRules {
    /// By those rules that it takes.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// By all that can be left to it; it does not start otherwise.
    Require,
}

/// What a port has taken of an access list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowReport {
    /// Rules at the begin of the list that could be left to the port.
    pub rules: usize,
    /// Of them, those that it has taken whole.
    pub taken: usize,
    /// Whether it tells for each of them how many packets it drops.
    pub counted: bool,
    /// The first that it has not taken, from 0, and its words.
    pub refused: Option<(u16, String)>,
    /// Rules of an earlier list that it does not give up.
    pub kept: usize,
}

impl fmt::Display for FlowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the port drops by {} of the {} rules that begin the access list", self.taken, self.rules)?;
        if let Some((rule, words)) = &self.refused {
            write!(f, "; rx-gateway applies rule {} and what else is left: {words}", rule + 1)?;
        }
        if self.kept > 0 {
            let kept = self.kept;
            write!(
                f,
                "; it keeps {kept} of an earlier list and drops by them: flumeway ctl restart rx-gateway ends that"
            )?;
        }
        if self.taken > 0 && !self.counted {
            write!(f, "; it does not tell how many packets: `ctl acl show` counts those that reach rx-gateway")?;
        }
        Ok(())
    }
}

/// What is asked of a port for one rule and one of our addresses.
#[derive(Clone, Copy, Debug)]
struct Demand {
    ipv6: bool,
    wanted: Match,
}

/// A rule that a port has taken.
#[derive(Debug)]
struct Taken {
    flow: Flow,
    demand: Demand,
    level: u32,
    /// Packets told of so far; none: it does not count.
    hits: Option<u64>,
}

/// The rules of a port.
#[derive(Debug, Default)]
pub(super) struct Flows {
    taken: Vec<Taken>,
    /// Rules of earlier lists that the port did not give up. It is asked again with each list.
    kept: Vec<Flow>,
    report: FlowReport,
    /// The one to ask next.
    next: usize,
}

impl Flows {
    /// Has the port drop by `rules` what it can, in place of all that it had. `us`: whose datagrams the list is about.
    pub fn replace(&mut self, port: Port, rules: &[AclRule], us: &Filter) {
        self.clear(port);
        let demands = demands(rules, us);
        let mut refused: Vec<Demand> = Vec::new();
        let mut report = FlowReport { counted: true, kept: self.kept.len(), ..FlowReport::default() };
        for of_rule in demands.chunk_by(|a, b| a.wanted.number == b.wanted.number) {
            report.rules += 1;
            let before = refused.len();
            for demand in of_rule {
                if let Err(words) = self.ask(port, demand, &refused) {
                    report.refused.get_or_insert((demand.wanted.number as u16, words));
                    refused.push(*demand);
                }
            }
            report.taken += usize::from(refused.len() == before);
        }
        report.counted = self.taken.iter().all(|taken| taken.hits.is_some());
        self.report = report;
    }

    fn ask(&mut self, port: Port, demand: &Demand, refused: &[Demand]) -> Result<(), String> {
        let earlier = |other: &&Demand| other.wanted.number != demand.wanted.number && other.overlaps(demand);
        // Its packets would be counted under the wrong rule.
        if let Some(other) = refused.iter().find(earlier) {
            return Err(format!("rule {} comes before it and is not the port's", other.wanted.number + 1));
        }
        let below = self.taken.iter().filter(|taken| earlier(&&taken.demand)).map(|taken| taken.level + 1);
        let level = below.max().unwrap_or(0);
        let rule = |count| FlowRule { wanted: demand.wanted, ipv6: demand.ipv6, count, priority: level };
        let counted = Flow::create(port, &rule(true)).map(|flow| (flow, Some(0)));
        let created = counted.or_else(|_| Flow::create(port, &rule(false)).map(|flow| (flow, None)));
        let (flow, hits) = created.map_err(|(errno, words)| {
            let reason = reason(errno);
            if words.is_empty() || words == reason { reason } else { format!("{reason} ({words})") }
        })?;
        self.taken.push(Taken { flow, demand: *demand, level, hits });
        Ok(())
    }

    /// Takes the rules away.
    pub fn clear(&mut self, port: Port) {
        let taken = self.taken.drain(..).rev().map(|taken| taken.flow);
        let all: Vec<Flow> = taken.chain(std::mem::take(&mut self.kept)).collect();
        self.kept.extend(all.into_iter().filter_map(|flow| flow.destroy().err()));
        // A port that keeps a rule may still lose all.
        if !self.kept.is_empty() {
            ffi::flush(port, &mut self.kept);
        }
        (self.report, self.next) = (FlowReport::default(), 0);
    }

    /// What the port has taken.
    pub fn report(&self) -> &FlowReport {
        &self.report
    }

    /// Tells `add` how many more packets the port has dropped by a rule; asks for a few rules at once, or for `all`.
    pub fn count(&mut self, all: bool, add: &mut dyn FnMut(u16, u64)) {
        let count = self.taken.len();
        for _ in 0..if all { count } else { count.min(ASKED_AT_ONCE) } {
            self.next = if self.next + 1 < count { self.next + 1 } else { 0 };
            let Taken { flow, demand, hits: Some(before), .. } = &mut self.taken[self.next] else { continue };
            let Some(now) = flow.hits().filter(|now| now > before) else { continue };
            add(demand.wanted.number as u16, now - *before);
            *before = now;
        }
    }
}

impl FlowReport {
    /// Whether there is nothing to tell.
    pub(super) fn is_whole(&self) -> bool {
        self.refused.is_none() && self.counted && self.kept == 0
    }

    /// An error if the port must take everything.
    pub(super) fn check(&self, mode: FlowRules, device: &str) -> Result<(), DpdkError> {
        match &self.refused {
            Some((rule, reason)) if mode == FlowRules::Require => Err(DpdkError::FlowRule {
                device: device.to_owned(),
                rule: usize::from(*rule) + 1,
                reason: reason.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// What to ask of a port, in the rules' order: those before the first rule that allows something.
fn demands(rules: &[AclRule], us: &Filter) -> Vec<Demand> {
    let leading = rules.iter().take_while(|rule| rule.action == AclAction::Deny);
    let of_udp = |rule: &AclRule| rule.protocol.is_none_or(|protocol| protocol == Protocol::UDP);
    let mut demands = Vec::new();
    for (n, rule) in leading.enumerate().filter(|(_, rule)| of_udp(rule)) {
        for ipv6 in [false, true] {
            let Some(wanted) = to_match(n as u32, rule, ipv6).and_then(|wanted| to_our_port(wanted, us.port)) else {
                continue;
            };
            if us.addresses.is_empty() {
                demands.push(Demand { ipv6, wanted });
            }
            let ours = |own: &&IpAddr| own.is_ipv6() == ipv6 && rule.destination.is_none_or(|to| to.contains(**own));
            for own in us.addresses.iter().filter(ours) {
                let destination_bits = if ipv6 { 128 } else { 32 };
                demands.push(Demand { ipv6, wanted: Match { destination: octets(*own), destination_bits, ..wanted } });
            }
        }
    }
    demands
}

/// Narrowed to our port; none if the rule is about other ports. 0: any.
fn to_our_port(wanted: Match, port: u16) -> Option<Match> {
    match port {
        0 => Some(wanted),
        _ => (wanted.port_first..=wanted.port_last).contains(&port).then_some(Match {
            port_first: port,
            port_last: port,
            ..wanted
        }),
    }
}

impl Demand {
    /// Whether a packet can be in both.
    fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = (&self.wanted, &other.wanted);
        let prefixes = |a: &[u8; 16], a_bits: u8, b: &[u8; 16], b_bits: u8| {
            let differing = u128::from_be_bytes(*a) ^ u128::from_be_bytes(*b);
            differing.leading_zeros() >= u32::from(a_bits.min(b_bits))
        };
        let ranges = |a: (u16, u16), b: (u16, u16)| a.0 <= b.1 && b.0 <= a.1;
        self.ipv6 == other.ipv6
            && prefixes(&a.source, a.source_bits, &b.source, b.source_bits)
            && prefixes(&a.destination, a.destination_bits, &b.destination, b.destination_bits)
            && ranges((a.port_first, a.port_last), (b.port_first, b.port_last))
            && ranges((a.source_port_first, a.source_port_last), (b.source_port_first, b.source_port_last))
            && (a.vlan_mask == 0 || b.vlan_mask == 0 || a.vlan == b.vlan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dpdk_sys as sys;

    fn deny(source: &str) -> AclRule {
        AclRule { source: Some(source.parse().unwrap()), ..AclRule::all(AclAction::Deny) }
    }

    fn us(addresses: &[&str], port: u16) -> Filter {
        Filter { addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(), port }
    }

    /// Number, family, source, destination, first and last port of each demand.
    fn seen(demands: &[Demand]) -> Vec<(u32, bool, u8, u8, u16, u16)> {
        let of = |d: &Demand| {
            let w = &d.wanted;
            (w.number, d.ipv6, w.source_bits, w.destination_bits, w.port_first, w.port_last)
        };
        demands.iter().map(of).collect()
    }

    #[test]
    fn what_comes_before_the_first_that_allows_is_asked_for() {
        let limited = AclRule { rate_pps: Some(5), ..AclRule::all(AclAction::Allow) };
        let rules = [deny("10.0.0.0/8"), deny("fd00::/16"), limited, deny("11.0.0.0/8")];
        let found = seen(&demands(&rules, &us(&[], 0)));
        assert_eq!(found, [(0, false, 8, 0, 0, 65535), (1, true, 16, 0, 0, 65535)]);
        assert!(demands(&rules[2..], &us(&[], 0)).is_empty());
        let others = AclRule { protocol: Some(Protocol::TCP), ..deny("10.0.0.0/8") };
        assert_eq!(seen(&demands(&[others, deny("12.0.0.0/8")], &us(&[], 0))), [(1, false, 8, 0, 0, 65535)]);
    }

    #[test]
    fn only_datagrams_to_us_are_dropped() {
        let us = us(&["192.0.2.1", "192.0.2.2", "2001:db8::1"], 9000);
        let all = demands(&[AclRule::all(AclAction::Deny)], &us);
        let found = seen(&all);
        let one = |ipv6, bits| (0, ipv6, 0, bits, 9000, 9000);
        assert_eq!(found, [one(false, 32), one(false, 32), one(true, 128)]);
        assert_eq!((&all[1].wanted.destination[..4], all[2].wanted.destination[15]), (&[192, 0, 2, 2][..], 1));
        let to = AclRule { destination: Some("192.0.2.2".parse().unwrap()), ..AclRule::all(AclAction::Deny) };
        assert_eq!(demands(&[to], &us).len(), 1);
        let elsewhere = AclRule { ports: Some(acl::PortRange { first: 1, last: 8999 }), ..deny("10.0.0.0/8") };
        assert!(demands(&[elsewhere], &us).is_empty());
    }

    #[test]
    fn rules_that_share_packets_are_told() {
        let one = |rule: AclRule| demands(&[rule], &us(&[], 0)).remove(0);
        let net = || one(deny("10.1.0.0/16"));
        assert!(net().overlaps(&one(deny("10.0.0.0/8"))) && one(deny("0.0.0.0/0")).overlaps(&net()));
        assert!(!net().overlaps(&one(deny("10.2.0.0/16"))) && !net().overlaps(&one(deny("fd00::/16"))));
        let vlan = |vlan| one(AclRule { vlan: Some(vlan), ..deny("10.1.0.0/16") });
        assert!(net().overlaps(&vlan(5)) && vlan(5).overlaps(&vlan(5)) && !vlan(5).overlaps(&vlan(6)));
        let from =
            |first, last| one(AclRule { source_ports: Some(acl::PortRange { first, last }), ..deny("10.1.0.0/16") });
        assert!(from(1, 5).overlaps(&from(5, 9)) && !from(1, 5).overlaps(&from(6, 9)) && from(1, 5).overlaps(&net()));
    }

    fn headers(rule: AclRule, port: u16) -> Vec<sys::fw_flow_item> {
        let Demand { ipv6, wanted } = demands(&[rule], &us(&[], port)).remove(0);
        ffi::describe(&FlowRule { wanted, ipv6, count: false, priority: 0 })
    }

    fn kinds(items: &[sys::fw_flow_item]) -> Vec<(u32, bool)> {
        items.iter().map(|item| (item.kind as u32, item.has_spec)).collect()
    }

    /// Offsets are those of the headers (RFC 791 section 3.1, RFC 8200 section 3, RFC 768).
    #[test]
    fn headers_are_those_of_the_packets() {
        let items = headers(deny("10.1.128.0/17"), 9000);
        assert_eq!(kinds(&items), [(sys::FW_FLOW_ETH, false), (sys::FW_FLOW_IPV4, true), (sys::FW_FLOW_UDP, true)]);
        assert_eq!((&items[1].spec[12..16], &items[1].mask[12..16]), (&[10, 1, 128, 0][..], &[255, 255, 128, 0][..]));
        assert!(items[1].mask[..12].iter().chain(&items[1].mask[16..]).all(|byte| *byte == 0));
        assert_eq!((&items[2].spec[..4], &items[2].mask[..4]), (&[0, 0, 0x23, 0x28][..], &[0, 0, 255, 255][..]));
        assert!(!items[2].has_last, "one port is no range");

        let items = headers(AclRule { vlan: Some(5), ..deny("fd00::/13") }, 0);
        let ipv6 = [(sys::FW_FLOW_VLAN, true), (sys::FW_FLOW_IPV6, true), (sys::FW_FLOW_UDP, false)];
        assert_eq!(kinds(&items)[1..], ipv6);
        assert_eq!((&items[1].spec[..2], &items[1].mask[..2]), (&[0, 5][..], &[0x0f, 0xff][..]));
        assert_eq!((&items[2].spec[8..11], &items[2].mask[8..11]), (&[0xfd, 0, 0][..], &[0xff, 0xf8, 0][..]));

        let range = acl::PortRange { first: 258, last: 1029 };
        let items = headers(AclRule { source_ports: Some(range), vlan: Some(0), ..deny("10.1.2.3") }, 0);
        assert!(items[0].has_spec && items[0].mask[..14].iter().all(|byte| *byte == 0), "a frame without a tag");
        assert_eq!((items[0].mask[14], items[0].spec[14]), (1, 0));
        assert_eq!(items[1].mask[12..16], [255; 4]);
        assert!(items[2].has_last);
        assert_eq!((&items[2].spec[..4], &items[2].last[..4]), (&[1, 2, 0, 0][..], &[4, 5, 0, 0][..]));
    }

    #[test]
    fn a_report_says_what_is_not_the_ports() {
        let mut report =
            FlowReport { rules: 3, taken: 1, refused: Some((1, "no ranges".to_owned())), ..FlowReport::default() };
        let text = report.to_string();
        assert!(text.contains("1 of the 3 rules") && text.contains("rule 2") && text.contains("no ranges"), "{text}");
        assert!(text.contains("does not tell how many"));
        assert!(report.check(FlowRules::Auto, "net_tap0").is_ok());
        let error = report.check(FlowRules::Require, "net_tap0").unwrap_err().to_string();
        assert!(error.contains("net_tap0 does not take rule 2") && error.contains("no ranges"), "{error}");
        report.refused = None;
        assert!(report.check(FlowRules::Require, "net_tap0").is_ok());
        (report.counted, report.kept) = (true, 2);
        assert!(!report.is_whole() && report.to_string().contains("keeps 2 of an earlier list"), "{report}");
    }
}
