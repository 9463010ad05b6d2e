//! The AF_XDP driver against the suite, on a veth pair between two network namespaces, and killed at each point of its
//! protocol. Takes root; without, each test says so.

#[path = "../common/allocations.rs"]
mod allocations;
#[path = "../common/kill.rs"]
mod common;
mod hostile;
mod kill;
mod net;
#[path = "../common/skip.rs"]
mod skip;

use acl::{AclAction, Compiled};
use arena::arena::Regions;
use arena::meta::Link;
use arena::{Arena, Me};
use net::Net;
use ports::af_xdp::{self, AfXdpRx, AfXdpTx, Choice, RxOptions, TxOptions};
use ports::conformance::{self, Harness};
use ports::{RxPort, TxPort, udp};
use skip::skipped;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Entries of each ring, and buffers given to the queue.
const RING: u32 = 64;
const PORT: u16 = 9000;

/// Host, sockets and peer, each in its namespace.
struct AfXdp {
    arena: Arena,
    regions: Regions,
    socket: udp::Host,
    host: af_xdp::Host,
    peer: UdpSocket,
    local: SocketAddr,
    // Dropped last: what is above lives in it.
    _net: Net,
}

impl AfXdp {
    /// `None`, and a line that says why, where the machine lacks something.
    fn new(ipv6: bool) -> Option<Self> {
        let net = match Net::new() {
            Ok(net) => net,
            Err(missing) => {
                skipped(&missing);
                return None;
            }
        };
        let ip = |side: usize| if ipv6 { net::V6[side].into() } else { IpAddr::from(net::V4[side]) };
        let local = SocketAddr::new(ip(0), PORT);
        let (arena, regions) = conformance::arena_and_regions();
        let bytes = regions.packets.len;
        let opened = net.pipeline.inside(|| {
            let listen = SocketAddr::new(ip(0), PORT);
            let socket = udp::Host::open(listen, 200 << 10, 1).expect("a socket");
            let options = af_xdp::Options {
                interface: net::INTERFACE.to_owned(),
                queues: None,
                native: Choice::Auto,
                zero_copy: Choice::Auto,
                ring_size: RING,
                need_wakeup: true,
                busy_poll: None,
                listen,
            };
            let all = Compiled::new(&[], AclAction::Allow).expect("no rules");
            let host = af_xdp::Host::open(&options, &all, regions.packets.rw.as_fd(), bytes);
            host.map(|host| (socket, host))
        });
        let (socket, mut host) = match opened {
            Ok(opened) => opened,
            Err(missing) => {
                skipped(&missing.to_string());
                return None;
            }
        };
        host.serve(&[0]).expect("the program's map");
        let peer = net.traffic.inside(|| UdpSocket::bind(SocketAddr::new(ip(1), 0))).expect("a socket");
        Some(Self { arena, regions, socket, host, peer, local, _net: net })
    }

    fn attach_rx(fds: Vec<OwnedFd>, arena: &Arena, me: Me) -> Box<dyn RxPort> {
        let options = RxOptions {
            ring_size: RING,
            depth: RING,
            verify_checksums: false,
            busy_poll: false,
            burst: 32,
            queues: vec![0],
        };
        Box::new(AfXdpRx::attach(fds, &options, arena, me).expect("the host's descriptors"))
    }

    fn attach_tx(fds: Vec<OwnedFd>, arena: &Arena, me: Me) -> Box<dyn TxPort> {
        let options = TxOptions { ring_size: RING, mtu: 1500, zero_copy: false, need_wakeup: true, queues: vec![0] };
        Box::new(AfXdpTx::attach(fds, &options, arena, me).expect("the host's descriptors"))
    }

    /// As the stages inherit them.
    fn descriptors(&self, receiving: bool) -> Vec<BorrowedFd<'_>> {
        if receiving {
            let socket = self.socket.rx_descriptors(0).expect("a socket");
            socket.into_iter().chain(self.host.rx_descriptors(&[0])).collect()
        } else {
            self.host.tx_descriptors()
        }
    }

    fn inherit(&self, receiving: bool) -> Vec<OwnedFd> {
        self.descriptors(receiving).iter().map(|fd| fd.try_clone_to_owned().expect("a duplicate")).collect()
    }
}

impl Harness for AfXdp {
    fn arena(&self) -> &Arena {
        &self.arena
    }

    fn rx(&self, me: Me) -> Box<dyn RxPort> {
        Self::attach_rx(self.inherit(true), &self.arena, me)
    }

    fn tx(&self, me: Me) -> Box<dyn TxPort> {
        Self::attach_tx(self.inherit(false), &self.arena, me)
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
        let count = 4 * u64::from(RING);
        (0..count).for_each(|_| self.peer_send(&[7; 1000]));
        count
    }

    fn keeps_offered(&self) -> bool {
        true
    }

    fn link(&self) -> Option<Link> {
        Some(Link { peer_mac: net::MACS[1], local_mac: net::MACS[0], tags: [0; 2], queue: 0 })
    }

    fn aligns(&self) -> bool {
        // The device leaves the same room before each frame, and IPv6's header is the longer one.
        self.local.is_ipv4()
    }
}

mod v4 {
    use super::AfXdp;
    ports::conformance_suite!(match AfXdp::new(false) {
        Some(harness) => harness,
        None => return,
    });
}

mod v6 {
    use super::AfXdp;
    ports::conformance_suite!(match AfXdp::new(true) {
        Some(harness) => harness,
        None => return,
    });
}

#[test]
fn ports_allocate_nothing_on_their_way() {
    let Some(harness) = AfXdp::new(false) else { return };
    assert_eq!(allocations::of_receiving(&harness), 0, "receiving");
    let Some(harness) = AfXdp::new(false) else { return };
    assert_eq!(allocations::of_sending(&harness), 0, "sending");
}
