//! The suite that every driver passes.
//!
//! A driver's test implements [`Harness`] and calls [`conformance_suite!`](crate::conformance_suite) with an expression
//! that makes a new one; each check becomes a test of its own, on a harness of its own:
//!
//! ```text
//! ports::conformance_suite!(UdpHarness::new("127.0.0.2"));
//! ```
//!
//! Sockets and drivers of links pass the same checks: the harness says what the driver does differently. A check that has no
//! meaning for a driver prints so, with its name and the reason.
//!
//! | file | what a driver must do |
//! |---|---|
//! | `receive` | receive into the buffers that it was offered, in order, and tell who sent what where |
//! | `refind` | lose nothing that it received when its process is killed |
//! | `send` | send what it is given, from where it is told, and know after a kill what has gone out |

mod letter;
pub mod receive;
pub mod refind;
pub mod send;

use crate::{Received, Refound, RxPort, TxPort};
use arena::arena::Regions;
use arena::meta::{Address, Link};
use arena::region::HugePages;
use arena::topology::RX;
use arena::{Arena, Geometry, Held, Me};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long the suite waits for a packet that must come.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A driver between an arena and a peer. Each check runs on one that nobody has used.
pub trait Harness {
    /// An arena as rx-gateway maps it; [`arena`] makes one.
    fn arena(&self) -> &Arena;
    /// A new incarnation of the receiving side on what the host holds. Its predecessor is dead.
    fn rx(&self, me: Me) -> Box<dyn RxPort>;
    /// A new incarnation of the sending side. Its predecessor is dead.
    fn tx(&self, me: Me) -> Box<dyn TxPort>;
    /// The peer sends a datagram to [`Harness::local`]; it waits for the driver when this returns.
    fn peer_send(&self, datagram: &[u8]);
    /// What the peer receives within `timeout`, and from where.
    fn peer_recv(&self, timeout: Duration) -> Option<(Vec<u8>, SocketAddr)>;
    /// The peer's address.
    fn peer(&self) -> SocketAddr;
    /// The address of ours that the peer sends to. Where the driver can have several, not the one that it would choose
    /// itself for a datagram to the peer.
    fn local(&self) -> SocketAddr;
    /// A destination that the driver refuses.
    fn unsendable(&self) -> SocketAddr;
    /// The peer sends more datagrams than can wait for a driver that does not receive; returns how many.
    fn overflow(&self) -> u64;

    /// Whether a device keeps the buffers that it was offered: none comes back before a packet lies in it, and without one
    /// a packet is lost.
    fn keeps_offered(&self) -> bool {
        false
    }
    /// Whether what waits in a device, and what was taken and not recorded, is lost with the stage: its successor gets the buffers
    /// back and nothing else.
    fn forgets(&self) -> bool {
        false
    }
    /// Buffers that a device takes all at once before it receives anything.
    fn first_fill(&self) -> usize {
        0
    }
    /// The link between the two, for a driver that writes all headers itself.
    fn link(&self) -> Option<Link> {
        None
    }
    /// Whether the parts of a reply go out together with its last one.
    fn holds_parts_back(&self) -> bool {
        false
    }
    /// Whether every datagram is received 64-byte aligned.
    fn aligns(&self) -> bool {
        true
    }
    /// Why a check of this name has no meaning for the driver.
    fn exempt(&self, _check: &str) -> Option<&'static str> {
        None
    }
}

/// The checks of the suite as tests; `$harness` makes a new [`Harness`] for each.
#[macro_export]
macro_rules! conformance_suite {
    ($harness:expr) => {
        $crate::conformance_suite!(@tests $harness;
            receive::in_order_into_offered_buffers
            receive::nothing_there
            receive::never_more_than_offered
            receive::never_more_than_asked_for
            receive::empty_datagrams
            receive::withdrawn_buffers_come_back
            receive::buffers_are_used_again
            receive::becomes_readable
            receive::drops_are_counted
            refind::unrecorded_packets
            refind::nothing_when_all_is_recorded
            refind::nothing_when_nothing_came
            refind::again_after_a_second_death
            refind::unrecorded_packets_are_not_overwritten
            refind::packets_that_came_meanwhile
            refind::every_buffer_comes_back
            send::two_parts_make_one_datagram
            send::order_is_kept
            send::from_the_address_that_was_asked
            send::unsendable_fails_alone
            send::beyond_the_burst_is_later
            send::sent_is_found_after_death
            send::recorded_is_not_found
            send::nothing_sent_nothing_found
        );
    };
    (@tests $harness:expr; $($file:ident::$name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let harness = $harness;
                match $crate::conformance::exempt(&harness, stringify!($name)) {
                    Some(why) => println!("{}: not for this driver: {why}", stringify!($name)),
                    None => $crate::conformance::$file::$name(&harness),
                }
            }
        )*
    };
}

/// Why a check has no meaning for the driver: it says so itself, or it cannot find again what the check would have found.
pub fn exempt(harness: &dyn Harness, check: &str) -> Option<&'static str> {
    let finds = [
        "unrecorded_packets",
        "again_after_a_second_death",
        "unrecorded_packets_are_not_overwritten",
        "packets_that_came_meanwhile",
    ];
    let forgotten = harness.forgets() && finds.contains(&check);
    harness.exempt(check).or_else(|| forgotten.then_some("what a device has is lost with its stage"))
}

/// A small arena, mapped with rx-gateway's rights. All its buffers are free, held by incarnation 0 of rx-gateway.
///
/// # Panics
/// If there is no memory for it.
pub fn arena() -> Arena {
    arena_and_regions().0
}

/// The same, and its regions, for drivers that need them.
///
/// # Panics
/// If there is no memory for it.
pub fn arena_and_regions() -> (Arena, Regions) {
    arena_of(1024)
}

/// The same, of `buffers` buffers.
///
/// # Panics
/// If there is no memory for it.
pub fn arena_of(buffers: u32) -> (Arena, Regions) {
    let geometry = Geometry {
        buffers,
        slots: 2,
        slot_input_bytes: 64,
        slot_output_bytes: 64,
        preprocess: 1,
        infer: 1,
        ring_capacity: 64,
        max_streams: 4,
        gateways: 1,
    };
    let (_, regions) = Arena::create(geometry, HugePages::Off).expect("a small arena");
    let packets = Some((regions.packets.rw.as_fd(), true));
    let arena = Arena::attach(regions.control.rw.as_fd(), packets, None, None);
    (arena.expect("the arena that was just created"), regions)
}

/// Buffers in hand of one incarnation. Given up, as by a process that ends, when dropped.
struct Hand<'a> {
    arena: &'a Arena,
    me: Me,
    /// To be offered.
    free: Vec<Held>,
    /// Not to be offered: something lies in them.
    kept: Vec<Held>,
    /// What goes with the first offer besides.
    first_fill: usize,
}

impl<'a> Hand<'a> {
    /// As incarnation `incarnation`, with `count` of the buffers that an older one held.
    fn new(harness: &'a dyn Harness, incarnation: u32, count: usize) -> Self {
        let (arena, first_fill) = (harness.arena(), harness.first_fill());
        let mut hand = Self { arena, me: Me { id: RX, incarnation }, free: Vec::new(), kept: Vec::new(), first_fill };
        hand.adopt_free(count);
        hand
    }

    /// Takes over `count` of the buffers that an older incarnation held.
    fn adopt_free(&mut self, count: usize) {
        let table = self.arena.table();
        let buffers = table.iter().take(table.buffers() as usize);
        let old: Vec<u32> = buffers.filter(|(_, d)| d.owner().is_older(self.me)).map(|(i, _)| i).take(count).collect();
        assert_eq!(old.len(), count, "the arena has too few buffers for this check");
        self.free.extend(old.into_iter().filter_map(|index| table.adopt(index, self.me)));
    }

    /// The successor's first steps: what its predecessor may not have recorded, and what it meant for a device.
    fn inherit(&mut self, port: &mut dyn RxPort) -> Vec<Refound> {
        let mut found = Vec::new();
        port.refind(&mut found);
        port.take_unposted(&mut self.free);
        found
    }

    /// Takes over one buffer in which something lies.
    fn adopt_kept(&mut self, index: u32) -> &Held {
        self.kept.push(self.arena.table().adopt(index, self.me).expect("a buffer of an older incarnation"));
        &self.kept[self.kept.len() - 1]
    }

    /// Offers all that is free, and says which buffers went.
    fn offer(&mut self, port: &mut dyn RxPort) -> Vec<u32> {
        let first_fill = std::mem::take(&mut self.first_fill);
        if self.free.len() < first_fill {
            self.adopt_free(first_fill);
        }
        let mut before = self.indices();
        port.offer(self.arena, &mut self.free);
        let kept = self.indices();
        before.retain(|i| !kept.contains(i));
        before
    }

    fn indices(&self) -> Vec<u32> {
        self.free.iter().map(Held::index).collect()
    }

    /// The bytes of a received packet.
    fn bytes<'p>(&self, packet: &'p Received) -> &'p [u8] {
        let (from, len) = (packet.data.offset as usize, packet.data.len as usize);
        &self.arena.packet(&packet.held)[from..from + len]
    }

    /// The packets are done with: recorded, their buffers free.
    fn record(&mut self, port: &mut dyn RxPort, packets: impl IntoIterator<Item = Received>) {
        for packet in packets {
            port.recorded(packet.position);
            self.free.push(packet.held);
        }
    }

    /// Ends as under SIGKILL: nothing is recorded, nothing is given back, nothing is tidied up.
    fn die(mut self, port: Box<dyn RxPort>, unrecorded: Vec<Received>) {
        self.kept.extend(unrecorded.into_iter().map(|packet| packet.held));
        std::mem::forget(port);
    }

    /// Ends in order.
    fn end(mut self, mut port: Box<dyn RxPort>) {
        port.withdraw(&mut self.free).expect("the port gives them back");
    }
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        for held in self.free.drain(..).chain(self.kept.drain(..)) {
            held.release();
        }
    }
}

/// Receives `count` packets that wait for the driver.
fn receive(port: &mut dyn RxPort, count: usize) -> Vec<Received> {
    let mut packets = Vec::with_capacity(count);
    let start = Instant::now();
    while packets.len() < count {
        let (left, before) = (count - packets.len(), packets.len());
        let n = port.receive(&mut packets, left).expect("the driver receives");
        assert_eq!(packets.len(), before + n, "receive says how many packets it appended");
        assert!(start.elapsed() < PATIENCE, "{} of {count} packets came", packets.len());
    }
    packets
}

/// `count` datagrams of different lengths and contents.
fn datagrams(count: usize) -> Vec<Vec<u8>> {
    let lengths = [1, 64, 63, 65, 1400, 128, 700];
    let one = |n: usize| (0..lengths[n % lengths.len()]).map(|i| (n * 31 + i * 7) as u8).collect();
    (0..count).map(one).collect()
}

fn send_all(harness: &dyn Harness, datagrams: &[Vec<u8>]) {
    for datagram in datagrams {
        harness.peer_send(datagram);
    }
}

/// Addresses as the driver must report them.
fn addresses(harness: &dyn Harness) -> (Address, Address) {
    (Address::new(harness.peer()), Address::new(harness.local()))
}
