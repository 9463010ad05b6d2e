//! Rules that a port takes over (rte_flow). What it takes of the kernel few are built with: CONFIG_NET_CLS_FLOWER,
//! CONFIG_NET_ACT_GACT and CONFIG_NET_SCH_MULTIQ. So this is no part of a plain `cargo test` (see the manifest): the test machine
//! runs it (`make test-vm`).
#![cfg(feature = "dpdk")]

#[path = "../af_xdp/net.rs"]
mod net;
#[path = "../dpdk_access/port.rs"]
mod port;
#[path = "../common/skip.rs"]
mod skip;

use acl::{AclAction, AclRule};
use net::Net;
use port::{PORT, Port, deny, eal, options};
use ports::RxPort;
use ports::dpdk::FlowRules;
use skip::skipped;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

fn ip(words: &str) -> bool {
    Command::new("ip").args(words.split_whitespace()).status().is_ok_and(|status| status.success())
}

/// The one driver in software that has rules of its own: it has the kernel drop packets, by tc's classifier `flower`.
#[test]
fn net_tap_drops_what_the_list_begins_by_denying() {
    let Some(eal) = eal() else { return };
    let net = match Net::new() {
        Ok(net) => net,
        Err(missing) => return skipped(&missing),
    };
    net.pipeline.enter();
    let ours = IpAddr::from([10, 79, 0, 1]);
    // The last one is never reached: a rule that allows comes before it.
    let rules = [
        deny("10.79.0.3"),
        AclRule { source: Some("10.79.0.4".parse().unwrap()), ..AclRule::all(AclAction::Allow) },
        deny("10.79.0.4"),
    ];
    let options = options("net_tap_access,iface=fwtap", vec![ours], FlowRules::Auto);
    let mut port = Port::open(eal, &options, &rules);
    let report = port.rx.flow_report();
    assert_eq!(report.taken, 1, "{report}");
    println!("{report}");
    let mac = port.rx.link_address().expect("its own").map(|byte| format!("{byte:02x}")).join(":");
    let from = [2, 3, 4].map(|last| IpAddr::from([10, 79, 0, last]));
    assert!(from.iter().all(|ip_| ip(&format!("addr add {ip_}/24 dev fwtap"))));
    assert!(ip("link set fwtap up") && ip(&format!("neigh replace {ours} lladdr {mac} dev fwtap")), "{mac}");
    let sockets = from.map(|ip| UdpSocket::bind(SocketAddr::new(ip, 0)).expect("a socket"));
    let send = |n: usize| _ = sockets[n].send_to(&[7; 20], SocketAddr::new(ours, PORT)).expect("the link takes it");
    let all = |port: &mut Port| -> Vec<(IpAddr, Option<u16>)> {
        let send_all = || (0..3).for_each(send);
        std::iter::from_fn(|| port.datagram(send_all)).take(6).collect()
    };
    let found = all(&mut port);
    assert!(found.contains(&(from[0], None)) && found.contains(&(from[2], Some(1))), "{found:?}");
    assert!(found.iter().all(|(peer, _)| *peer != from[1]), "it was denied: {found:?}");
    // Another list: the port forgets the old one.
    port.rx.set_access_list(&[deny("10.79.0.2")], AclAction::Allow);
    while port.receive(Duration::from_millis(50)).expect("a port").is_some() {}
    let found = all(&mut port);
    assert!(
        found.iter().any(|(peer, _)| *peer == from[1]) && found.iter().all(|(peer, _)| *peer != from[0]),
        "{found:?}"
    );
    port.close();
}
