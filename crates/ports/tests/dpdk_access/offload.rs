//! Ports with an access list: what they take of it, and what becomes of packets.

use crate::net::{self, Net};
use crate::{eal, skip::skipped};
use acl::{AclAction, AclRule};
use arena::topology::RX;
use arena::{Arena, Held, Me};
use ports::conformance::arena_of;
use ports::dpdk::{Before, DpdkRx, Eal, Filter, FlowRules, Idle, RxOptions};
use ports::{PortError, Received, RxPort, Standing};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

const ME: Me = Me { id: RX, incarnation: 1 };
const PORT: u16 = 9000;
const BUFFERS: u32 = 256;

fn options(device: &str, addresses: Vec<IpAddr>, flow_rules: FlowRules) -> RxOptions {
    RxOptions {
        device: device.to_owned(),
        queues: 1,
        descriptors: 64,
        burst: 32,
        cache: 0,
        mtu: None,
        promiscuous: false,
        verify_checksums: false,
        offloads: true,
        flow_rules,
        idle: Idle::Sleep,
        idle_sleep_us: 200,
        filter: Filter { addresses, port: PORT },
        depth: BUFFERS,
        before: Before::default(),
    }
}

/// A port that has been offered all buffers of an arena.
struct Port {
    rx: DpdkRx,
    arena: Arena,
}

impl Port {
    fn open(eal: &Eal, options: &RxOptions, rules: &[AclRule]) -> Self {
        let (arena, _) = arena_of(BUFFERS);
        let rx = DpdkRx::open(eal, options, &arena, ME).unwrap_or_else(|e| panic!("{e}"));
        let mut port = Self { rx, arena };
        port.rx.set_access_list(rules, AclAction::Allow);
        port.offer((0..BUFFERS).filter_map(|index| port.arena.table().adopt(index, ME)).collect());
        port
    }

    fn offer(&mut self, mut free: Vec<Held>) {
        self.rx.offer(&self.arena, &mut free);
        for held in free {
            held.release();
        }
    }

    /// The next packet: who sent it and how it stands.
    fn receive(&mut self, within: Duration) -> Result<Option<(Option<IpAddr>, Standing)>, PortError> {
        let end = Instant::now() + within;
        let mut out = Vec::with_capacity(1);
        while self.rx.receive(&mut out, 1)? == 0 && Instant::now() < end {}
        let Some(Received { held, peer, standing, .. }) = out.pop() else { return Ok(None) };
        self.offer(vec![held]);
        Ok(Some((peer.get().map(|peer| peer.ip()), standing)))
    }

    /// The same, of datagrams alone, classified: packets that come while a list is built are not.
    fn datagram(&mut self, send: impl Fn()) -> Option<(IpAddr, Option<u16>)> {
        let end = Instant::now() + Duration::from_secs(20);
        let mut others = Vec::new();
        while Instant::now() < end {
            send();
            match self.receive(Duration::from_millis(100)).expect("a port") {
                Some((Some(peer), Standing::Matched(rule))) => return Some((peer, rule)),
                other => others.push(other),
            }
        }
        while let Some(notice) = self.rx.take_notice() {
            println!("{notice}");
        }
        println!("the last of {} were {:?}", others.len(), &others[others.len().saturating_sub(3)..]);
        None
    }

    fn close(mut self) {
        let mut free = Vec::new();
        self.rx.withdraw(&mut free).expect("the port gives them back");
        for held in free {
            held.release();
        }
    }
}

fn deny(source: &str) -> AclRule {
    AclRule { source: Some(source.parse().unwrap()), ..AclRule::all(AclAction::Deny) }
}

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

fn ip(words: &str) -> bool {
    Command::new("ip").args(words.split_whitespace()).status().is_ok_and(|status| status.success())
}

/// The one driver in software that has rules of its own: it has the kernel drop packets, by tc's classifier `flower`.
#[test]
#[ignore = "takes a kernel with CONFIG_NET_CLS_FLOWER, CONFIG_NET_ACT_GACT and CONFIG_NET_SCH_MULTIQ: `make test-vm` runs it in one"]
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
