//! Ports with an access list: what they take of it, and what becomes of packets.

use crate::net::{self, Net};
use crate::port::{PORT, Port, deny, eal, options};
use crate::skip::skipped;
use acl::{AclAction, AclRule};
use ports::RxPort;
use ports::dpdk::FlowRules;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

#[test]
fn a_port_without_rules_of_its_own_says_so() {
    let Some(eal) = eal() else { return };
    let device = |n| format!("net_null_access{n}");
    let rules = [deny("10.0.0.0/8"), AclRule::all(AclAction::Allow), deny("11.0.0.0/8")];

    let mut port = Port::open(eal, &options(&device(0), Vec::new(), FlowRules::Auto), &rules);
    let report = port.rx.flow_report().clone();
    assert_eq!((report.rules, report.taken), (1, 0));
    let notice = port.rx.take_notice().expect("something to tell");
    assert!(notice.contains("0 of the 1 rules") && notice.contains("rule 1"), "{notice}");
    assert!(port.rx.take_notice().is_none(), "once");
    assert!(port.receive(Duration::from_secs(1)).expect("a port").is_some());
    // Nothing is asked of it where nothing is denied.
    port.rx.set_access_list(&rules[1..], AclAction::Deny);
    assert_eq!((port.rx.flow_report().rules, port.rx.take_notice()), (0, None));
    port.close();

    let mut port = Port::open(eal, &options(&device(1), Vec::new(), FlowRules::Off), &rules);
    assert_eq!((port.rx.flow_report().rules, port.rx.take_notice()), (0, None));
    port.close();

    let mut port = Port::open(eal, &options(&device(2), Vec::new(), FlowRules::Require), &rules);
    let error = port.receive(Duration::ZERO).expect_err("required").to_string();
    assert!(error.contains("does not take rule 1") && error.contains("flow_rules"), "{error}");
    port.close();
    let mut port = Port::open(eal, &options(&device(3), Vec::new(), FlowRules::Require), &rules[1..]);
    assert!(port.receive(Duration::from_secs(1)).expect("nothing to require").is_some());
    port.close();
}

#[test]
fn packets_of_a_link_are_classified_and_a_reload_counts_at_once() {
    let Some(eal) = eal() else { return };
    let net = match Net::new() {
        Ok(net) => net,
        Err(missing) => return skipped(&missing),
    };
    net.pipeline.enter();
    let ours = [IpAddr::from(net::V4[0]), IpAddr::from(net::V6[0])];
    let device = format!("net_af_packet_access,iface={}", net::INTERFACE);
    let rules = [deny("192.0.2.0/24"), deny("10.78.0.2"), deny("fd00:78::/64")];
    let mut port = Port::open(eal, &options(&device, ours.to_vec(), FlowRules::Auto), &rules);
    assert_eq!((port.rx.flow_report().rules, port.rx.flow_report().taken), (3, 0));
    let peers: [IpAddr; 2] = [net::V4[1].into(), net::V6[1].into()];
    let sockets = peers.map(|ip| net.traffic.inside(|| UdpSocket::bind(SocketAddr::new(ip, 0))).expect("a socket"));
    let send = |n: usize| _ = sockets[n].send_to(&[7; 20], SocketAddr::new(ours[n], PORT)).expect("the link takes it");
    let found = |port: &mut Port, n: usize| {
        // What came before may wait in the queue.
        let all = std::iter::from_fn(|| port.datagram(|| send(n))).take(300);
        all.filter(|(peer, _)| *peer == peers[n]).map(|(_, rule)| rule).next()
    };
    assert_eq!([found(&mut port, 0), found(&mut port, 1)], [Some(Some(1)), Some(Some(2))]);
    port.rx.set_access_list(&rules[2..], AclAction::Allow);
    // Also what waits in the queue is held against the new list.
    assert_eq!([found(&mut port, 0), found(&mut port, 1)], [Some(None), Some(Some(0))]);
    port.close();
}
