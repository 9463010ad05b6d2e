//! The UDP driver against the suite, over IPv4 and IPv6, and what only a socket can do wrong.

use arena::meta::Address;
use arena::topology::RX;
use arena::{Arena, Held, Me};
use ports::conformance::{self, Harness, PATIENCE};
use ports::udp::{Host, MAX_DATAGRAM, UdpRx, UdpTx};
use ports::{Datagram, PortError, Received, RxPort, SendOutcome, TxPort};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

const ME: Me = Me { id: RX, incarnation: 1 };
/// Bytes of receive buffer of the tests' sockets: what an unprivileged process gets everywhere.
const RECEIVE_BUFFER_BYTES: usize = 200 << 10;

/// A host socket and a peer on loopback.
struct Udp {
    arena: Arena,
    host: Host,
    peer: UdpSocket,
    local: SocketAddr,
}

impl Udp {
    /// Listens on `listen`, any port; the peer has address `peer` and sends to `local`.
    fn new(listen: &str, local: &str, peer: &str) -> Self {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let host = Host::open(SocketAddr::new(ip(listen), 0), RECEIVE_BUFFER_BYTES, 1).expect("a socket");
        let local = SocketAddr::new(ip(local), host.local_addr().port());
        let peer = UdpSocket::bind(SocketAddr::new(ip(peer), 0)).expect("a socket");
        rustix::net::sockopt::set_socket_recv_buffer_size(&peer, RECEIVE_BUFFER_BYTES).expect("a receive buffer");
        Self { arena: conformance::arena(), host, peer, local }
    }

    /// On the wildcard address, so that the kernel would answer from another address (127.0.0.1) than was asked.
    fn v4() -> Self {
        Self::new("0.0.0.0", "127.0.0.2", "127.0.0.1")
    }

    fn v6() -> Self {
        Self::new("::1", "::1", "::1")
    }
}

/// A process inherits duplicates of what the host holds.
fn inherit(descriptors: [BorrowedFd<'_>; 2]) -> Vec<OwnedFd> {
    descriptors.map(|fd| fd.try_clone_to_owned().expect("a duplicate")).into()
}

impl Harness for Udp {
    fn arena(&self) -> &Arena {
        &self.arena
    }

    fn rx(&self, _: Me) -> Box<dyn RxPort> {
        Box::new(
            UdpRx::attach(inherit(self.host.rx_descriptors(0).expect("a socket")), 64).expect("the host's descriptors"),
        )
    }

    fn tx(&self, _: Me) -> Box<dyn TxPort> {
        Box::new(UdpTx::attach(inherit(self.host.tx_descriptors())).expect("the host's descriptors"))
    }

    fn peer_send(&self, datagram: &[u8]) {
        assert_eq!(self.peer.send_to(datagram, self.local).expect("loopback takes it"), datagram.len());
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
        // Port 0 is nobody's.
        SocketAddr::new(self.peer().ip(), 0)
    }

    fn overflow(&self) -> u64 {
        // The kernel charges at least the payload of each.
        let count = (2 * self.host.receive_buffer_bytes()).div_ceil(1000) as u64 + 100;
        (0..count).for_each(|_| self.peer_send(&[7; 1000]));
        count
    }
}

mod v4 {
    use super::Udp;
    ports::conformance_suite!(Udp::v4());
}

mod v6 {
    use super::Udp;
    ports::conformance_suite!(Udp::v6());
}

/// An IPv4 peer of a socket on `::` is known by its IPv4 address, and is answered from the address that it asked.
mod dual_stack {
    use super::Udp;
    ports::conformance_suite!(Udp::new("::", "127.0.0.2", "127.0.0.1"));
}

fn free_buffers(arena: &Arena, count: u32) -> Vec<Held> {
    (0..count).filter_map(|index| arena.table().take(index, ME)).collect()
}

fn give_up(port: &mut dyn RxPort, mut free: Vec<Held>, packets: Vec<Received>) {
    port.withdraw(&mut free).expect("the port gives them back");
    free.extend(packets.into_iter().map(|p| p.held));
    for held in free {
        held.release();
    }
}

#[test]
fn a_datagram_that_is_too_long_is_cut_and_harms_nobody() {
    let udp = Udp::v4();
    let mut port = udp.rx(ME);
    let mut free = free_buffers(&udp.arena, 3);
    port.offer(&udp.arena, &mut free);
    udp.peer_send(&[1; 9000]);
    udp.peer_send(&[2; MAX_DATAGRAM]);
    let mut packets = Vec::with_capacity(4);
    assert_eq!(port.receive(&mut packets, 4).expect("the driver receives"), 2);
    for (packet, byte) in packets.iter().zip([1, 2]) {
        assert_eq!(packet.data.len as usize, MAX_DATAGRAM);
        let from = packet.data.offset as usize;
        let whole = udp.arena.packet(&packet.held);
        assert!(whole[from..from + MAX_DATAGRAM].iter().all(|b| *b == byte));
        assert!(whole[..from].iter().chain(&whole[from + MAX_DATAGRAM..]).all(|b| *b == 0), "wrote beside its area");
    }
    give_up(&mut *port, free, packets);
}

#[test]
fn the_other_address_family_fails_and_nothing_else() {
    let udp = Udp::v4();
    let mut port = udp.tx(ME);
    let head = udp.arena.table().adopt(0, ME).expect("a buffer of incarnation 0");
    let to_peer = Datagram {
        head: &head,
        seq: 1,
        last: true,
        first: b"v4",
        second: b"",
        to: Address::new(udp.peer()),
        from: Address::new("[::1]:9".parse().expect("an address")),
        offset: 0,
        link: None,
    };
    let to_v6 = Datagram { to: Address::new("[::1]:9".parse().expect("an address")), ..to_peer };
    let huge = vec![0; 100_000];
    let too_long = Datagram { second: &huge, ..to_peer };
    let mut outcomes = [SendOutcome::Later; 4];
    port.send(&[to_v6, to_peer, too_long, to_peer], &mut outcomes).expect("the driver sends");
    assert_eq!(outcomes, [SendOutcome::Failed, SendOutcome::Sent, SendOutcome::Failed, SendOutcome::Sent]);
    for _ in 0..2 {
        let (bytes, from) = udp.peer_recv(PATIENCE).expect("a datagram");
        assert_eq!((bytes.as_slice(), from.ip()), (&b"v4"[..], udp.peer().ip()), "the kernel chose the source");
    }
    head.release();
}

#[test]
fn a_port_in_use_says_what_to_do() {
    let first = Host::open("127.0.0.1:0".parse().expect("an address"), 1 << 16, 1).expect("a socket");
    let error = Host::open(first.local_addr(), 1 << 16, 1).expect_err("the port is taken");
    assert!(matches!(error, PortError::InUse(at) if at == first.local_addr()), "{error:?}");
    let text = error.to_string();
    let at = first.local_addr().to_string();
    assert!([at.as_str(), "in use", "stop it", "[ingress] listen"].iter().all(|part| text.contains(part)), "{text}");
}

/// Several sockets on one port: each sender comes to one of them, all senders come to all, and nobody else may join.
#[test]
fn several_sockets_share_the_senders_and_nobody_joins() {
    const SOCKETS: usize = 3;
    let host = Host::open("127.0.0.1:0".parse().expect("an address"), 1 << 16, SOCKETS).expect("sockets");
    for sockets in [1, SOCKETS] {
        let error = Host::open(host.local_addr(), 1 << 16, sockets).expect_err("the port is taken");
        assert!(matches!(error, PortError::InUse(at) if at == host.local_addr()), "{error:?}");
    }
    assert!(host.rx_descriptors(SOCKETS).is_none() && host.rx_fds(SOCKETS).is_empty());
    assert_eq!(host.tx_fds()[0], host.rx_fds(0)[0], "tx sends on the first");
    let sockets: Vec<UdpSocket> = (0..SOCKETS)
        .map(|n| {
            let [socket, vector] = host.rx_descriptors(n).expect("a socket");
            assert!((0..n).all(|m| host.rx_fds(m)[1] != vector.as_raw_fd()), "a vector of its own");
            let socket = UdpSocket::from(socket.try_clone_to_owned().expect("a duplicate"));
            assert_eq!(socket.local_addr().expect("an address"), host.local_addr());
            socket
        })
        .collect();
    let senders: Vec<UdpSocket> = (0..48).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a sender")).collect();
    for n in 0..4 {
        for sender in &senders {
            sender.send_to(&[n], host.local_addr()).expect("sent");
        }
    }
    let mut came: HashMap<SocketAddr, HashSet<usize>> = HashMap::new();
    let (mut packets, mut per_socket) = (0, [0; SOCKETS]);
    for (n, socket) in sockets.iter().enumerate() {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 8]) {
            came.entry(from).or_default().insert(n);
            packets += 1;
            per_socket[n] += 1;
        }
    }
    assert_eq!((packets, came.len()), (4 * senders.len(), senders.len()));
    assert!(came.values().all(|sockets| sockets.len() == 1), "a sender keeps its socket: {came:?}");
    assert!(per_socket.iter().all(|n| *n > 0), "{per_socket:?}");
}

#[test]
fn an_address_of_another_machine_says_what_to_do() {
    let listen: SocketAddr = "192.0.2.1:0".parse().expect("an address");
    let error = Host::open(listen, 1 << 16, 1).expect_err("TEST-NET-1 is nobody's");
    assert!(matches!(error, PortError::NotLocal(at) if at == listen), "{error:?}");
    let text = error.to_string();
    assert!(["192.0.2.1", "ip address", "0.0.0.0", "[ingress] listen"].iter().all(|p| text.contains(p)), "{text}");
}

#[test]
fn the_receive_buffer_that_was_granted_is_told() {
    let open = |bytes| Host::open("127.0.0.1:0".parse().expect("an address"), bytes, 1).expect("a socket");
    assert_eq!(open(100_000).receive_buffer_bytes(), 100_000, "below every limit it is what was asked for");
    let limit = std::fs::read_to_string("/proc/sys/net/core/rmem_max").expect("the kernel's limit");
    let limit: usize = limit.trim().parse().expect("a number");
    let asked = limit + 100_000;
    let granted = open(asked).receive_buffer_bytes();
    assert!(granted == asked || granted == limit, "{granted} is neither what was asked nor the limit {limit}");
}

#[test]
fn descriptors_of_another_release_are_refused() {
    let udp = Udp::v4();
    let [socket, vector] = udp.host.rx_descriptors(0).expect("a socket");
    let one = vec![socket.try_clone_to_owned().expect("a duplicate")];
    assert!(matches!(UdpRx::attach(one, 8), Err(PortError::Descriptors { is: 1, want: 2 })));
    let swapped = inherit([vector, socket]);
    let error = UdpRx::attach(swapped, 8).expect_err("a vector is no socket");
    assert!(matches!(error, PortError::System { call: "getsockname", .. }), "{error:?}");
    let twice = inherit([socket, socket]);
    assert!(matches!(UdpTx::attach(twice), Err(PortError::Region(_))));
}
