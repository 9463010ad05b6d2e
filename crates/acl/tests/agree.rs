//! The matcher and the bit vectors against the plainest reading of the rules.

mod random;

use acl::{AclAction, AclError, AclRule, BITS, Compiled, Decision, List, Packet, Verdict};
use proptest::prelude::*;
use std::net::IpAddr;

/// What the configuration's documentation says, rule by rule.
fn matches(rule: &AclRule, packet: &Packet) -> bool {
    rule.source.is_none_or(|prefix| prefix.contains(packet.source))
        && rule.destination.is_none_or(|prefix| prefix.contains(packet.destination))
        && rule.ports.is_none_or(|ports| ports.contains(packet.port))
        && rule.source_ports.is_none_or(|ports| ports.contains(packet.source_port))
        && rule.vlan.is_none_or(|vlan| vlan == u32::from(packet.vlan.unwrap_or(0)))
        && rule.protocol.is_none_or(|protocol| protocol.0 == packet.protocol)
}

proptest! {
    #[test]
    fn list_bit_vectors_and_rules_agree(
        rules in random::rules(), policy in random::policy(), packets in prop::collection::vec(random::packet(), 1..60), protocol: u8,
    ) {
        let mut list = List::new(&rules, policy).unwrap();
        let compiled = Compiled::new(&rules, policy).unwrap();
        let mut hits = vec![0; rules.len()];
        for (packet, now_ns) in packets {
            for packet in [packet, Packet { protocol, ..packet }] {
                let expected = rules.iter().position(|rule| matches(rule, &packet));
                prop_assert_eq!(compiled.first_match(&packet).map(usize::from), expected);
                let decision = list.decide(&packet, now_ns);
                prop_assert_eq!(decision.rule.map(usize::from), expected);
                let action = expected.map_or(policy, |rule| rules[rule].action);
                prop_assert_eq!(decision.verdict == Verdict::Denied, action == AclAction::Deny);
                if let Some(rule) = expected {
                    hits[rule] += 1;
                }
            }
        }
        prop_assert_eq!(list.hits(), hits);
    }

    #[test]
    fn ranges_of_source_ports_cover_what_is_named(rules in random::rules()) {
        let compiled = Compiled::new(&rules, AclAction::Deny).unwrap();
        let ranges = compiled.source_port_ranges();
        prop_assert!(ranges.windows(2).all(|pair| pair[0].0.last < pair[1].0.first), "in order, each port once");
        for port in (0..=u16::MAX).step_by(97).chain([1, 4998, 4999, 5000, 5001, 5002, 65534, 65535]) {
            let is_named = rules.iter().any(|rule| rule.source_ports.is_some_and(|ports| ports.contains(port)));
            let found = ranges.iter().find(|(range, _)| range.contains(port)).map(|(_, rules)| *rules);
            prop_assert_eq!(found.is_some(), is_named);
            prop_assert_eq!(found.unwrap_or(compiled.any_source_port()), compiled.source_port(port));
        }
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn packet(source: &str) -> Packet {
    Packet {
        source: address(source),
        destination: address(if source.contains('.') { "192.0.2.1" } else { "fd00::1" }),
        source_port: 5000,
        port: 9000,
        vlan: None,
        protocol: 17,
    }
}

#[test]
fn the_first_match_decides_and_the_policy_decides_on_the_rest() {
    let from = |action, prefix: &str| AclRule { source: Some(prefix.parse().unwrap()), ..AclRule::all(action) };
    let rules = [from(AclAction::Deny, "10.1.2.0/24"), from(AclAction::Allow, "10.0.0.0/8")];
    let mut list = List::new(&rules, AclAction::Deny).unwrap();
    let mut at = |source: &str| list.decide(&packet(source), 0);
    assert_eq!(at("10.1.2.3"), Decision { verdict: Verdict::Denied, rule: Some(0) });
    assert_eq!(at("10.1.3.3"), Decision { verdict: Verdict::Allowed, rule: Some(1) });
    assert_eq!(at("::ffff:10.1.3.3"), Decision { verdict: Verdict::Allowed, rule: Some(1) }, "mapped");
    assert_eq!(at("11.0.0.1"), Decision { verdict: Verdict::Denied, rule: None });
    assert_eq!(at("fd00::2"), Decision { verdict: Verdict::Denied, rule: None });
    assert_eq!((list.hits(), list.policy_hits()), (&[1, 2][..], 2));
}

#[test]
fn a_rate_is_of_a_source_and_shared_by_its_two_forms() {
    let rule = AclRule { rate_pps: Some(10), burst: Some(2), ..AclRule::all(AclAction::Allow) };
    let mut list = List::new(&[rule], AclAction::Allow).unwrap();
    let mut at = |source: &str, now| list.decide(&packet(source), now).verdict;
    assert_eq!(at("10.0.0.1", 0), Verdict::Allowed);
    assert_eq!(at("::ffff:10.0.0.1", 0), Verdict::Allowed);
    assert_eq!(at("10.0.0.1", 0), Verdict::Limited);
    assert_eq!(at("10.0.0.2", 0), Verdict::Allowed);
    assert_eq!(at("10.0.0.1", 100_000_000), Verdict::Allowed);
    assert_eq!(list.hits(), [5], "what is limited was matched too");
}

#[test]
fn too_many_rules_are_refused() {
    let rules = vec![AclRule::all(AclAction::Deny); BITS + 1];
    assert_eq!(List::new(&rules, AclAction::Allow).err(), Some(AclError::TooManyRules(513)));
    assert_eq!(Compiled::new(&rules, AclAction::Allow).err(), Some(AclError::TooManyRules(513)));
    assert!(List::new(&rules[1..], AclAction::Allow).is_ok());
}

#[test]
fn decisions_do_not_allocate() {
    let limited = AclRule { rate_pps: Some(1000), ..AclRule::all(AclAction::Allow) };
    let mut list = List::new(&[limited], AclAction::Deny).unwrap();
    let taken = allocation_counter::measure(|| {
        for n in 0..10_000_u32 {
            let packet = Packet { source: IpAddr::V4(n.into()), ..packet("10.0.0.1") };
            list.decide(&packet, u64::from(n));
        }
    });
    assert_eq!(taken.count_total, 0);
}
