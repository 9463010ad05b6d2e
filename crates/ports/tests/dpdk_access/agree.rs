//! The library's classifier and the matcher in software decide alike, on random lists and packets.

use crate::port::eal;
use crate::random;
use acl::{AclAction, AclRule, List, Packet, PortRange, Protocol, Verdict};
use ports::Standing;
use ports::dpdk::Classifier;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv6Addr};

/// How packets stand after the classifier has seen them.
fn standings(classifier: &mut Classifier, packets: &[Packet]) -> Vec<Standing> {
    let mut all = vec![Standing::Unfiltered; packets.len()];
    for (packets, all) in packets.chunks(64).zip(all.chunks_mut(64)) {
        classifier.classify(packets.iter().copied().map(Some));
        for (n, standing) in classifier.answers() {
            assert_eq!(all[n], Standing::Unfiltered, "one answer for each");
            all[n] = standing;
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_classifier_and_the_list_agree(
        rules in random::rules(), policy in random::policy(), packets in prop::collection::vec(random::packet(), 1..120), tcp: bool,
    ) {
        let Some(eal) = eal() else { return Ok(()) };
        let mut classifier = Classifier::new(eal);
        classifier.set(&rules, policy);
        prop_assert!(classifier.wait(), "{:?}", classifier.take_error());
        let mut alone = List::new(&rules, policy).unwrap();
        let mut told = List::new(&rules, policy).unwrap();
        let protocol = if tcp { Protocol::TCP } else { Protocol::UDP }.0;
        let (packets, gaps): (Vec<_>, Vec<_>) = packets.into_iter().map(|(p, gap)| (Packet { protocol, ..p }, gap)).unzip();
        let mut now_ns = 1_000;
        for ((packet, standing), gap_ns) in packets.iter().zip(standings(&mut classifier, &packets)).zip(gaps) {
            now_ns += gap_ns;
            let decision = alone.decide(packet, now_ns);
            match standing {
                Standing::Matched(rule) => prop_assert_eq!(rule, decision.rule, "{:?}", packet),
                Standing::Filtered => prop_assert!(rules.is_empty() && policy == AclAction::Allow),
                other => prop_assert!(false, "{:?}", other),
            }
            if let Standing::Matched(rule) = standing {
                prop_assert_eq!(told.judge(packet, rule, now_ns), decision, "{:?}", packet);
            }
        }
        if !(rules.is_empty() && policy == AclAction::Allow) {
            prop_assert_eq!((alone.hits(), alone.policy_hits()), (told.hits(), told.policy_hits()));
        }
    }
}

fn packet(source: &str, destination: &str) -> Packet {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    Packet {
        source: address(source),
        destination: address(destination),
        source_port: 5,
        port: 9000,
        vlan: None,
        protocol: 17,
    }
}

fn from(action: AclAction, prefix: &str) -> AclRule {
    AclRule { source: Some(prefix.parse().unwrap()), ..AclRule::all(action) }
}

#[test]
fn a_list_is_in_force_as_soon_as_it_is_built_and_no_older_one_is() {
    let Some(eal) = eal() else { return };
    let mut classifier = Classifier::new(eal);
    let packets = [packet("10.0.0.1", "10.9.9.9"), packet("fd00::1", "fd09::9")];
    assert_eq!(standings(&mut classifier, &packets), [Standing::Filtered; 2], "no list yet");
    classifier.set(&[from(AclAction::Deny, "10.0.0.0/8")], AclAction::Allow);
    assert!(classifier.wait());
    assert_eq!(standings(&mut classifier, &packets), [Standing::Matched(Some(0)), Standing::Matched(None)]);
    classifier.set(&[from(AclAction::Deny, "11.0.0.0/8"), from(AclAction::Deny, "fd00::/8")], AclAction::Allow);
    assert_eq!(standings(&mut classifier, &packets), [Standing::Unfiltered; 2], "it is not looked for what is done");
    assert!(classifier.wait());
    assert_eq!(standings(&mut classifier, &packets), [Standing::Matched(None), Standing::Matched(Some(1))]);
    // Two at once: the last one counts.
    classifier.set(&[from(AclAction::Allow, "10.0.0.0/8")], AclAction::Deny);
    classifier.set(&[], AclAction::Deny);
    assert!(classifier.wait());
    assert_eq!(standings(&mut classifier, &packets), [Standing::Matched(None); 2], "the policy alone");
    classifier.set(&[], AclAction::Allow);
    assert_eq!(standings(&mut classifier, &packets), [Standing::Filtered; 2]);
    assert!(classifier.take_error().is_none());
}

#[test]
fn a_list_that_cannot_be_built_leaves_packets_to_the_matcher_in_software() {
    let Some(eal) = eal() else { return };
    let mut classifier = Classifier::with_limit(eal, 64);
    classifier.set(&[from(AclAction::Deny, "10.0.0.0/8")], AclAction::Allow);
    assert!(!classifier.wait());
    let error = classifier.take_error().unwrap().to_string();
    assert!(error.contains("the access list cannot be built") && error.contains("eal_memory_mib"), "{error}");
    assert!(classifier.take_error().is_none(), "once");
    assert_eq!(standings(&mut classifier, &[packet("10.0.0.1", "10.9.9.9")]), [Standing::Unfiltered]);
    classifier.set(&[], AclAction::Allow);
    assert_eq!(standings(&mut classifier, &[packet("10.0.0.1", "10.9.9.9")]), [Standing::Filtered], "the next one can");
}

#[test]
fn mapped_addresses_are_ipv4_and_half_mapped_ones_are_not_classified() {
    let Some(eal) = eal() else { return };
    let mut classifier = Classifier::new(eal);
    classifier.set(&[from(AclAction::Deny, "10.0.0.0/8")], AclAction::Allow);
    assert!(classifier.wait());
    let packets = [packet("::ffff:10.0.0.1", "::ffff:10.9.9.9"), packet("::ffff:10.0.0.1", "fd09::9")];
    assert_eq!(standings(&mut classifier, &packets), [Standing::Matched(Some(0)), Standing::Unfiltered]);
}

/// As many rules as there can be, of every kind at once, for both families.
#[test]
fn a_full_list_is_built_and_found_from_end_to_end() {
    let Some(eal) = eal() else { return };
    let rule = |n: u16| AclRule {
        source: Some(match n % 2 {
            0 => format!("10.{}.{}.0/24", n / 256, n % 256).parse().unwrap(),
            _ => format!("fd00:0:0:{n:x}::/64").parse().unwrap(),
        }),
        ports: Some(PortRange { first: n, last: 60_000 + n }),
        source_ports: n.is_multiple_of(3).then_some(PortRange { first: 0, last: n }),
        vlan: n.is_multiple_of(5).then_some(u32::from(n)),
        ..AclRule::all(AclAction::Deny)
    };
    let rules: Vec<_> = (0..512).map(rule).collect();
    let mut classifier = Classifier::new(eal);
    let start = std::time::Instant::now();
    classifier.set(&rules, AclAction::Allow);
    assert!(classifier.wait(), "{:?}", classifier.take_error());
    println!("512 rules: built in {:?}", start.elapsed());
    let mut list = List::new(&rules, AclAction::Allow).unwrap();
    for n in [0_u16, 1, 2, 255, 256, 257, 510, 511] {
        let source = match n % 2 {
            0 => IpAddr::from([10, (n / 256) as u8, (n % 256) as u8, 7]),
            _ => Ipv6Addr::from([0xfd00, 0, 0, n, 0, 0, 0, 7]).into(),
        };
        let destination = if n % 2 == 0 { "10.9.9.9" } else { "fd09::9" }.parse().unwrap();
        let vlan = n.is_multiple_of(5).then_some(n);
        let hit = Packet { source, destination, source_port: 0, port: 9000, vlan, protocol: 17 };
        let beside = Packet { port: 60_001 + n, ..hit };
        assert_eq!(standings(&mut classifier, &[hit, beside]), [Standing::Matched(Some(n)), Standing::Matched(None)]);
        assert_eq!(list.decide(&hit, 0).verdict, Verdict::Denied);
    }
}
