//! The replay driver against the suite, and what only a file can do wrong.

#[path = "common/kill.rs"]
mod common;
#[path = "replay/files.rs"]
mod files;
#[path = "replay/host.rs"]
mod host;
#[path = "replay/kill.rs"]
mod kill;

use arena::Me;
use arena::arena::Regions;
use arena::meta::Link;
use arena::{Arena, Held};
use files::{Folder, LINK, Traffic};
use ports::conformance::{self, Harness};
use ports::replay::{Host, Options, ReplayRx, ReplayTx, RxOptions, Speed};
use ports::{RxPort, TxPort};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A process inherits duplicates of what the host holds.
fn inherit(descriptors: [BorrowedFd<'_>; 3]) -> Vec<OwnedFd> {
    descriptors.map(|fd| fd.try_clone_to_owned().expect("a duplicate")).into()
}

/// A pair of files that somebody else appends to and reads.
struct Replay {
    arena: Arena,
    regions: Regions,
    host: Host,
    traffic: RefCell<Traffic>,
    _folder: Folder,
}

impl Replay {
    fn new(local: &str, peer: &str) -> Self {
        let folder = Folder::new();
        let traffic = Traffic::new(&folder, local.parse().expect("an address"), peer.parse().expect("an address"));
        let options = Options { input: &folder.path("in.pcap"), output: &folder.path("out.pcap") };
        let host = Host::open(&options).expect("two files");
        let (arena, regions) = conformance::arena_and_regions();
        Self { arena, regions, host, traffic: RefCell::new(traffic), _folder: folder }
    }

    fn options(&self) -> RxOptions {
        RxOptions { speed: Speed::Max, follow: true, listen: self.traffic.borrow().local, burst: 64 }
    }
}

impl Harness for Replay {
    fn arena(&self) -> &Arena {
        &self.arena
    }

    fn rx(&self, me: Me) -> Box<dyn RxPort> {
        let fds = inherit(self.host.rx_descriptors());
        Box::new(ReplayRx::attach(fds, &self.options(), &self.arena, me).expect("the host's descriptors"))
    }

    fn tx(&self, _: Me) -> Box<dyn TxPort> {
        Box::new(ReplayTx::attach(inherit(self.host.tx_descriptors())).expect("the host's descriptors"))
    }

    fn peer_send(&self, datagram: &[u8]) {
        self.traffic.borrow_mut().send(datagram);
    }

    fn peer_recv(&self, timeout: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        let start = Instant::now();
        loop {
            let found = self.traffic.borrow_mut().receive(self.host.progress().written_bytes);
            if found.is_some() || start.elapsed() >= timeout {
                return found;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn peer(&self) -> SocketAddr {
        self.traffic.borrow().peer
    }

    fn local(&self) -> SocketAddr {
        self.traffic.borrow().local
    }

    fn unsendable(&self) -> SocketAddr {
        // No frame goes from one family to the other.
        let other = if self.peer().is_ipv4() { "[fd00::9]:9" } else { "10.0.0.9:9" };
        other.parse().expect("an address")
    }

    fn overflow(&self) -> u64 {
        0
    }

    fn link(&self) -> Option<Link> {
        Some(LINK)
    }

    fn holds_parts_back(&self) -> bool {
        true
    }

    fn exempt(&self, check: &str) -> Option<&'static str> {
        (check == "drops_are_counted").then_some("a file waits until it is read")
    }
}

mod v4 {
    use super::Replay;
    ports::conformance_suite!(Replay::new("10.0.0.1:9000", "10.0.0.2:4000"));
}

mod v6 {
    use super::Replay;
    ports::conformance_suite!(Replay::new("[fd00::1]:9000", "[fd00::2]:4000"));
}

/// Buffers of incarnation 0, taken over.
fn free_buffers(arena: &Arena, me: Me, count: u32) -> Vec<Held> {
    (0..count).filter_map(|index| arena.table().adopt(index, me)).collect()
}
