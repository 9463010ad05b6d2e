//! The poll-mode drivers against the suite, on veth pairs between two network namespaces. Takes root and a few hugepages;
//! without, each test says so.
#![cfg(feature = "dpdk")]

#[path = "../common/allocations.rs"]
mod allocations;
mod datagrams;
mod idle;
#[path = "../af_xdp/net.rs"]
mod net;
mod queues;
mod sending;
mod settings;
#[path = "../common/skip.rs"]
mod skip;
mod wrong_input;

use arena::meta::Link;
use arena::{Arena, Me};
use datagrams::Datagrams;
use net::Net;
use ports::conformance::{self, Harness};
use ports::dpdk::{
    Before, DpdkRx, DpdkTx, Eal, EalOptions, Filter, FlowRules, Idle, RxOptions, TxOptions, remove_forgotten,
};
use ports::{RxPort, TxPort};
use skip::skipped;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

const PORT: u16 = 9000;

/// Ports are opened and programs started: a program that started in between would inherit the port's sockets, and keep them open.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The environment of this process. The thread that brought it up waits for ever: it is the library's main one.
pub fn eal() -> Result<Eal, String> {
    static EAL: OnceLock<Result<Eal, String>> = OnceLock::new();
    let init = || {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let options =
                EalOptions { prefix: format!("flumeway-test-{}", std::process::id()), ..EalOptions::default() };
            let _ = tell.send(Eal::init(&options).map_err(|e| e.to_string()));
            loop {
                std::thread::park();
            }
        });
        told.recv().expect("an answer of the library's thread")
    };
    EAL.get_or_init(init).clone()
}

/// How a virtual device behaves.
struct Kind {
    driver: &'static str,
    buffers: u32,
    first_fill: usize,
    /// More than wait in its queue.
    overflow: u64,
    exempt: &'static [(&'static str, &'static str)],
}

const AF_PACKET: Kind = Kind {
    driver: "net_af_packet",
    buffers: 1024,
    first_fill: 0,
    overflow: 0,
    exempt: &[("drops_are_counted", "this release of the driver does not tell what its socket dropped")],
};

const AF_XDP: Kind = Kind {
    driver: "net_af_xdp",
    buffers: 4096,
    first_fill: 2048,
    overflow: 6000,
    exempt: &[("never_more_than_offered", "the driver takes 2048 buffers before it receives")],
};

/// A port, and a peer in another namespace.
struct Dpdk {
    kind: &'static Kind,
    eal: Eal,
    number: u32,
    arena: Arena,
    peer: UdpSocket,
    local: SocketAddr,
    // Dropped last: what is above lives in it.
    net: Net,
}

impl Dpdk {
    /// `None`, and a line that says why, where the machine lacks something. The calling thread enters the port's namespace.
    fn new(kind: &'static Kind, ipv6: bool) -> Option<Self> {
        static NUMBER: Mutex<u32> = Mutex::new(0);
        let eal = eal().map_err(|missing| skipped(&missing)).ok()?;
        let spawning = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let net = Net::new().map_err(|missing| skipped(&missing)).ok()?;
        drop(spawning);
        net.pipeline.enter();
        let ip = |side: usize| if ipv6 { net::V6[side].into() } else { IpAddr::from(net::V4[side]) };
        let peer = net.traffic.inside(|| UdpSocket::bind(SocketAddr::new(ip(1), 0))).expect("a socket");
        let (arena, _) = conformance::arena_of(kind.buffers);
        let mut number = NUMBER.lock().expect("a number");
        *number += 1;
        Some(Self { kind, eal, number: *number, arena, peer, local: SocketAddr::new(ip(0), PORT), net })
    }

    /// The device of one side, as the configuration would name it.
    fn device(&self, side: &str) -> String {
        format!("{}_{side}{},iface={}", self.kind.driver, self.number, net::INTERFACE)
    }

    fn options(&self) -> RxOptions {
        RxOptions {
            device: self.device("rx"),
            queues: 1,
            descriptors: 64,
            burst: 32,
            cache: 0,
            mtu: None,
            promiscuous: false,
            verify_checksums: false,
            offloads: true,
            flow_rules: FlowRules::Auto,
            idle: Idle::Auto,
            idle_sleep_us: 200,
            filter: Filter { addresses: vec![self.local.ip()], port: PORT },
            depth: self.kind.buffers,
            before: Before::default(),
        }
    }
}

impl Drop for Dpdk {
    fn drop(&mut self) {
        for side in ["rx", "tx"] {
            remove_forgotten(&self.eal, &self.device(side));
        }
    }
}

impl Harness for Dpdk {
    fn arena(&self) -> &Arena {
        &self.arena
    }

    fn rx(&self, me: Me) -> Box<dyn RxPort> {
        remove_forgotten(&self.eal, &self.device("rx"));
        let _opening = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let port = DpdkRx::open(&self.eal, &self.options(), &self.arena, me).expect("a port");
        Box::new(Datagrams::of(port, &self.arena))
    }

    fn tx(&self, me: Me) -> Box<dyn TxPort> {
        let device = self.device("tx");
        remove_forgotten(&self.eal, &device);
        let options = TxOptions { device, descriptors: 256, mtu: None };
        let _opening = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        Box::new(DpdkTx::open(&self.eal, &options, &self.arena, me).expect("a port"))
    }

    fn peer_send(&self, datagram: &[u8]) {
        assert_eq!(self.peer.send_to(datagram, self.local).expect("the link takes it"), datagram.len());
    }

    fn peer_recv(&self, timeout: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        self.peer.set_read_timeout(Some(timeout)).expect("a timeout");
        let mut bytes = [0; 4096];
        let (len, from) = self.peer.recv_from(&mut bytes).ok()?;
        Some((bytes[..len].to_vec(), from))
    }

    fn peer(&self) -> SocketAddr {
        self.peer.local_addr().expect("a bound socket")
    }

    fn local(&self) -> SocketAddr {
        self.local
    }

    fn unsendable(&self) -> SocketAddr {
        // No frame goes from one family to the other.
        let ip = if self.local.is_ipv4() { net::V6[1].into() } else { IpAddr::from(net::V4[1]) };
        SocketAddr::new(ip, 9)
    }

    fn overflow(&self) -> u64 {
        (0..self.kind.overflow).for_each(|_| self.peer_send(&[7; 1000]));
        self.kind.overflow
    }

    fn forgets(&self) -> bool {
        true
    }

    fn first_fill(&self) -> usize {
        self.kind.first_fill
    }

    fn link(&self) -> Option<Link> {
        Some(Link { peer_mac: net::MACS[1], local_mac: net::MACS[0], tags: [0; 2], queue: 0 })
    }

    fn aligns(&self) -> bool {
        // The room before each frame is the same, and IPv6's header is the longer one.
        self.local.is_ipv4()
    }

    fn exempt(&self, check: &str) -> Option<&'static str> {
        self.kind.exempt.iter().find(|(name, _)| *name == check).map(|(_, why)| *why)
    }
}

mod af_packet_v4 {
    ports::conformance_suite!(match super::Dpdk::new(&super::AF_PACKET, false) {
        Some(harness) => harness,
        None => return,
    });
}

mod af_packet_v6 {
    ports::conformance_suite!(match super::Dpdk::new(&super::AF_PACKET, true) {
        Some(harness) => harness,
        None => return,
    });
}

mod af_xdp_v4 {
    ports::conformance_suite!(match super::Dpdk::new(&super::AF_XDP, false) {
        Some(harness) => harness,
        None => return,
    });
}

mod af_xdp_v6 {
    ports::conformance_suite!(match super::Dpdk::new(&super::AF_XDP, true) {
        Some(harness) => harness,
        None => return,
    });
}

#[test]
fn ports_allocate_nothing_on_their_way() {
    for kind in [&AF_PACKET, &AF_XDP] {
        let Some(harness) = Dpdk::new(kind, false) else { return };
        assert_eq!(allocations::of_receiving(&harness), 0, "receiving by {}", kind.driver);
        let Some(harness) = Dpdk::new(kind, false) else { return };
        assert_eq!(allocations::of_sending(&harness), 0, "sending by {}", kind.driver);
    }
}
