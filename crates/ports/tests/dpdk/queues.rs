//! A port of several queues: packets of many senders come by each of them.

use super::{AF_PACKET, Dpdk, PORT};
use arena::Me;
use arena::topology::RX;
use ports::RxPort;
use ports::dpdk::{DpdkRx, RxOptions};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Senders: the chance that all of them hash to one queue is next to none.
const SENDERS: usize = 64;

#[test]
fn packets_come_by_both_queues() {
    let Some(harness) = Dpdk::new(&AF_PACKET, false) else { return };
    let me = Me { id: RX, incarnation: 1 };
    let device = format!("{},qpairs=2", harness.device("rx"));
    let options = RxOptions { device, queues: 2, ..harness.options() };
    let mut port = DpdkRx::open(&harness.eal, &options, &harness.arena, me).expect("a port");
    let table = harness.arena.table();
    let mut free: Vec<_> = (0..512).filter_map(|index| table.adopt(index, me)).collect();
    port.offer(&harness.arena, &mut free);
    let any = SocketAddr::new(super::net::V4[1].into(), 0);
    let bind = || (0..SENDERS).map(|_| UdpSocket::bind(any).expect("a socket")).collect::<Vec<_>>();
    let senders = harness.net.traffic.inside(bind);
    for sender in &senders {
        sender.send_to(b"spread", SocketAddr::new(harness.local.ip(), PORT)).expect("the link takes it");
    }
    let (mut out, mut by_queue, start) = (Vec::with_capacity(32), BTreeMap::<u8, usize>::new(), Instant::now());
    while by_queue.values().sum::<usize>() < SENDERS {
        assert!(start.elapsed() < Duration::from_mins(1), "packets by queue: {by_queue:?}");
        port.receive(&mut out, 32).expect("the driver receives");
        for packet in out.drain(..) {
            if let Some(link) = packet.link.filter(|_| packet.peer.get().is_some()) {
                *by_queue.entry(link.queue).or_default() += 1;
            }
            free.push(packet.held);
        }
        port.offer(&harness.arena, &mut free);
    }
    assert_eq!(by_queue.keys().copied().collect::<Vec<_>>(), [0, 1], "packets by queue: {by_queue:?}");
    port.withdraw(&mut free).expect("the port gives them back");
    for held in free {
        held.release();
    }
}
