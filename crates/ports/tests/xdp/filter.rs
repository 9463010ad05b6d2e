//! Known answers: what is dropped, what goes to the kernel, what to the socket.

use crate::frames::{self, ARP, IPV4, IPV6, OWN_MAC, SERVICE_VLAN, UDP, VLAN};
use crate::{compiled, load, xdp_socket};
use acl::{AclAction, AclRule, Compiled, PortRange, Protocol};
use ports::xdp::Action::{Drop, Pass, Redirect};
use ports::xdp::{Action, Counters, Filter, Program};
use std::os::fd::{AsFd, OwnedFd};

const PEER: [u8; 4] = [10, 0, 0, 1];
const LOCAL: [u8; 4] = [10, 0, 0, 2];
const PEER6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const LOCAL6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const PORT: u16 = 9000;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;

fn filter(acl: &Compiled) -> Filter<'_> {
    Filter { mac: OWN_MAC, addresses: vec![LOCAL.into(), LOCAL6.into()], ports: vec![PORT], acl }
}

/// The program without rules and with a socket on queue 0, which leaves the map when it is closed.
fn open() -> Option<(Program, OwnedFd)> {
    let acl = compiled(&[], AclAction::Allow);
    let mut program = load(&filter(&acl))?;
    let socket = xdp_socket();
    program.set_socket(0, socket.as_fd()).expect("a place for a socket");
    Some((program, socket))
}

fn request() -> Vec<u8> {
    frames::udp(5000, PORT, b"a request")
}

fn ipv4(words: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    frames::ipv4(PEER, LOCAL, words, fragment, UDP, payload)
}

fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    frames::ipv6(PEER6, LOCAL6, next_header, payload)
}

/// What is ours, and in which forms.
fn ours() -> Vec<(&'static str, Vec<u8>)> {
    let v4 = ipv4(5, DONT_FRAGMENT, &request());
    let v6 = ipv6(UDP, &request());
    let own = |tags: &[(u16, u16)], kind, payload: &[u8]| frames::ethernet(OWN_MAC, tags, kind, payload);
    vec![
        ("IPv4", own(&[], IPV4, &v4)),
        ("IPv6", own(&[], IPV6, &v6)),
        ("IPv4 options", own(&[], IPV4, &ipv4(6, 0, &request()))),
        ("the longest IPv4 header", own(&[], IPV4, &ipv4(15, 0, &request()))),
        ("a VLAN", own(&[(VLAN, 7)], IPV4, &v4)),
        ("a VLAN, IPv6", own(&[(VLAN, 7)], IPV6, &v6)),
        ("QinQ", own(&[(SERVICE_VLAN, 7), (VLAN, 8)], IPV4, &v4)),
        ("QinQ, IPv6", own(&[(SERVICE_VLAN, 7), (VLAN, 8)], IPV6, &v6)),
        ("a priority tag", own(&[(VLAN, 0xe000)], IPV4, &v4)),
    ]
}

/// What the kernel must get as if there were no program.
fn foreign() -> Vec<(&'static str, Vec<u8>)> {
    let v4 = ipv4(5, 0, &request());
    let v6 = ipv6(UDP, &request());
    let own = |kind, payload: &[u8]| frames::ethernet(OWN_MAC, &[], kind, payload);
    let elsewhere = frames::ipv4(PEER, [10, 0, 0, 3], 5, 0, UDP, &request());
    let mapped = |last: [u8; 4]| {
        let mut address = [0; 16];
        address[10..12].fill(0xff);
        address[12..].copy_from_slice(&last);
        address
    };
    let neighbour_solicitation = [[135, 0, 0, 0, 0, 0, 0, 0].as_slice(), &LOCAL6].concat();
    vec![
        ("another MAC", frames::ethernet([2, 0, 0, 0x11, 0x22, 0x34], &[], IPV4, &v4)),
        ("another MAC, first bytes", frames::ethernet([2, 0, 0, 0x12, 0x22, 0x33], &[], IPV4, &v4)),
        ("broadcast", frames::ethernet([0xff; 6], &[], IPV4, &v4)),
        ("ARP", frames::ethernet(OWN_MAC, &[], ARP, &[0, 1, 8, 0, 6, 4, 0, 1])),
        ("neighbour solicitation", own(IPV6, &ipv6(58, &neighbour_solicitation))),
        ("TCP", own(IPV4, &frames::ipv4(PEER, LOCAL, 5, 0, 6, &request()))),
        ("TCP over IPv6", own(IPV6, &ipv6(6, &request()))),
        ("ICMP", own(IPV4, &frames::ipv4(PEER, LOCAL, 5, 0, 1, &request()))),
        ("another port", own(IPV4, &ipv4(5, 0, &frames::udp(PORT, 9001, b"")))),
        ("another address", own(IPV4, &elsewhere)),
        ("another IPv6 address", own(IPV6, &frames::ipv6(PEER6, PEER6, UDP, &request()))),
        ("three tags", frames::ethernet(OWN_MAC, &[(VLAN, 1), (VLAN, 2), (VLAN, 3)], IPV4, &v4)),
        ("IPv6 that says IPv4", own(IPV4, &v6)),
        ("IPv4 that says IPv6", own(IPV6, &v4)),
        ("IPv4 header of four words", own(IPV4, &ipv4(4, 0, &request()))),
        ("an extension header", own(IPV6, &ipv6(0, &[&[UDP, 0, 0, 0, 0, 0, 0, 0], request().as_slice()].concat()))),
        ("a mapped source", own(IPV6, &frames::ipv6(mapped(PEER), LOCAL6, UDP, &request()))),
        ("a mapped destination", own(IPV6, &frames::ipv6(PEER6, mapped(LOCAL), UDP, &request()))),
        ("a later fragment", own(IPV4, &ipv4(5, 185, &request()))),
        ("a fragment in the middle", own(IPV4, &ipv4(5, MORE_FRAGMENTS | 1, &request()))),
        ("a first fragment of another port", own(IPV4, &ipv4(5, MORE_FRAGMENTS, &frames::udp(1, 9001, b"")))),
        ("a later IPv6 fragment", own(IPV6, &ipv6(44, &frames::ipv6_fragment(UDP, 1448, false, &request())))),
        ("a whole packet as IPv6 fragment", own(IPV6, &ipv6(44, &frames::ipv6_fragment(UDP, 0, false, &request())))),
        ("a first fragment of TCP", own(IPV6, &ipv6(44, &frames::ipv6_fragment(6, 0, true, &request())))),
    ]
}

fn run(program: &mut Program, frame: &[u8]) -> Action {
    program.test_run(frame, 1, None).expect("a trial run")
}

#[test]
fn what_is_ours_goes_to_the_socket() {
    let Some((mut program, _socket)) = open() else { return };
    let frames = ours();
    for (what, frame) in &frames {
        assert_eq!(run(&mut program, frame), Redirect, "{what}");
    }
    let count = frames.len() as u64;
    let expected = Counters { redirected: count, policy_hits: count, ..Counters::default() };
    assert_eq!(program.counters().expect("counters"), expected);
}

#[test]
fn what_is_not_ours_goes_to_the_kernel_uncounted() {
    let Some((mut program, _socket)) = open() else { return };
    for (what, frame) in foreign() {
        assert_eq!(run(&mut program, &frame), Pass, "{what}");
    }
    assert_eq!(program.counters().expect("counters"), Counters::default());
}

#[test]
fn frames_that_end_early_go_to_the_kernel() {
    let Some((mut program, _socket)) = open() else { return };
    for (what, frame) in ours() {
        // Where the UDP header ends; what follows is not looked at.
        let whole = frame.len() - frame.iter().rev().take_while(|b| **b == 0).count() - b"a request".len();
        for length in 14..whole {
            assert_eq!(run(&mut program, &frame[..length]), Pass, "{what}, {length} bytes");
        }
        assert_eq!(run(&mut program, &frame[..whole]), Redirect, "{what}, {whole} bytes");
    }
}

#[test]
fn first_fragments_for_us_are_dropped_and_counted() {
    let Some((mut program, _socket)) = open() else { return };
    let v4 = frames::ethernet(OWN_MAC, &[], IPV4, &ipv4(5, MORE_FRAGMENTS, &request()));
    let fragment = frames::ipv6_fragment(UDP, 0, true, &request());
    let v6 = frames::ethernet(OWN_MAC, &[(VLAN, 9)], IPV6, &ipv6(44, &fragment));
    assert_eq!(run(&mut program, &v4), Drop);
    assert_eq!(run(&mut program, &v6), Drop);
    assert_eq!(program.counters().expect("counters"), Counters { fragments: 2, ..Counters::default() });
}

#[test]
fn a_queue_without_a_socket_falls_to_the_kernel() {
    let Some((mut program, _socket)) = open() else { return };
    let (_, frame) = ours().remove(0);
    program.clear_socket(0).expect("clearing");
    program.clear_socket(0).expect("clearing once more");
    assert_eq!(run(&mut program, &frame), Pass);
    let socket = xdp_socket();
    program.set_socket(1, socket.as_fd()).expect("another queue");
    assert_eq!(run(&mut program, &frame), Pass, "a socket of another queue is none of this one");
    program.set_socket(0, socket.as_fd()).expect("this queue");
    assert_eq!(run(&mut program, &frame), Redirect);
    drop(socket);
    assert_eq!(run(&mut program, &frame), Pass, "a socket that is closed leaves the map");
    let counters = program.counters().expect("counters");
    assert_eq!((counters.redirected, counters.no_socket), (1, 3));
    let error = program.set_socket(256, xdp_socket().as_fd()).expect_err("beyond the map");
    assert_eq!(
        error.to_string(),
        "receive queue 256 cannot have a socket: 256 are the most; run: ethtool -L IFACE combined 256"
    );
}

#[test]
fn the_outer_tag_is_the_vlan() {
    let rule = AclRule { vlan: Some(7), ..AclRule::all(AclAction::Deny) };
    let acl = compiled(&[rule], AclAction::Allow);
    let Some(mut program) = load(&filter(&acl)) else { return };
    let payload = ipv4(5, 0, &request());
    let mut at = |tags: &[(u16, u16)]| run(&mut program, &frames::ethernet(OWN_MAC, tags, IPV4, &payload));
    assert_eq!(at(&[(VLAN, 7)]), Drop);
    assert_eq!(at(&[(VLAN, 0x6007)]), Drop, "with a priority");
    assert_eq!(at(&[(SERVICE_VLAN, 7), (VLAN, 8)]), Drop);
    assert_eq!(at(&[(SERVICE_VLAN, 8), (VLAN, 7)]), Pass);
    assert_eq!(at(&[]), Pass);
    let counters = program.counters().expect("counters");
    assert_eq!((counters.denied, counters.hits, counters.policy_hits), (3, vec![3], 2));
}

#[test]
fn rates_hold_by_the_clock_and_by_the_time_given() {
    let rule = AclRule { rate_pps: Some(1), burst: Some(2), ..AclRule::all(AclAction::Allow) };
    let acl = compiled(&[rule], AclAction::Deny);
    let Some(mut program) = load(&filter(&acl)) else { return };
    let (_, frame) = ours().remove(0);
    let mut at = |now| program.test_run(&frame, now, None).expect("a trial run");
    assert_eq!([1, 1, 1, 999_999_999, 1_000_000_001].map(&mut at), [Pass, Pass, Drop, Drop, Pass]);
    // The clock is later than any of these; a second cannot pass in between.
    assert_eq!([0, 0, 0].map(&mut at), [Pass, Pass, Drop]);
    let counters = program.counters().expect("counters");
    assert_eq!((counters.limited, counters.denied, counters.hits), (3, 0, vec![8]));
}

#[test]
fn a_policy_that_denies_drops_what_is_ours_alone() {
    let rule = AclRule {
        source: Some("10.0.0.0/31".parse().expect("a prefix")),
        ports: Some(PortRange { first: PORT, last: PORT }),
        protocol: Some(Protocol::UDP),
        ..AclRule::all(AclAction::Allow)
    };
    for rules in [vec![], vec![rule]] {
        let acl = compiled(&rules, AclAction::Deny);
        let Some(mut program) = load(&filter(&acl)) else { return };
        for (what, frame) in foreign() {
            assert_eq!(run(&mut program, &frame), Pass, "{what}");
        }
        for (what, frame) in ours() {
            let is_allowed = !rules.is_empty() && !what.contains("IPv6");
            assert_eq!(run(&mut program, &frame), if is_allowed { Pass } else { Drop }, "{what}");
        }
    }
}

#[test]
fn each_rule_of_a_full_list_can_be_the_one_that_decides() {
    let of = |n: usize| [11, (n >> 8) as u8, n as u8, 1];
    let deny = |n: usize| AclRule {
        source: format!("11.{}.{}.0/24", n >> 8, n as u8).parse().ok(),
        ..AclRule::all(AclAction::Deny)
    };
    let acl = compiled(&(0..acl::BITS).map(deny).collect::<Vec<_>>(), AclAction::Allow);
    let Some(mut program) = load(&filter(&acl)) else { return };
    let from = |source| frames::ethernet(OWN_MAC, &[], IPV4, &frames::ipv4(source, LOCAL, 5, 0, UDP, &request()));
    for n in 0..acl::BITS {
        assert_eq!(run(&mut program, &from(of(n))), Drop, "rule {n}");
    }
    assert_eq!(run(&mut program, &from(of(acl::BITS))), Pass);
    let counters = program.counters().expect("counters");
    assert_eq!((counters.hits, counters.policy_hits), (vec![1; acl::BITS], 1));
}
