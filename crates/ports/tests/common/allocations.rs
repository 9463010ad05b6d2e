//! Ports allocate nothing while packets come and go: what a harness of the suite opens, with the allocations of each call counted.

use allocation_counter::measure;
use arena::descriptor::DataRange;
use arena::layout::DATA_OFFSET;
use arena::meta::Address;
use arena::topology::RX;
use arena::{Held, Me};
use ports::conformance::{Harness, PATIENCE};
use ports::{Datagram, Route, SendOutcome};
use std::time::Instant;

/// Packets after which every table has met what it will meet.
const WARM_UP: u64 = 100;
/// Packets whose allocations count.
const COUNTED: u64 = 300;
/// All buffers are those of a dead rx-gateway.
const ME: Me = Me { id: RX, incarnation: 1 };
/// Buffers beside those that a device takes at once.
const SPARE: u32 = 64;

/// Allocations of the receiving side's calls.
pub fn of_receiving(harness: &impl Harness) -> u64 {
    let arena = harness.arena();
    let mut port = harness.rx(ME);
    let own = 0..harness.first_fill() as u32 + SPARE;
    let mut free: Vec<Held> = own.filter_map(|index| arena.table().adopt(index, ME)).collect();
    free.reserve(harness.arena().geometry().buffers as usize);
    let mut out = Vec::with_capacity(32);
    let mut allocations = 0;
    for n in 0..WARM_UP + COUNTED {
        let (start, text) = (Instant::now(), n.to_le_bytes());
        let mut is_sent = false;
        loop {
            let mut got = Ok(0);
            let heap = measure(|| {
                port.offer(arena, &mut free);
                got = port.receive(&mut out, 32);
                for packet in &out {
                    port.recorded(packet.position);
                }
            });
            got.expect("the driver receives");
            if n >= WARM_UP {
                allocations += heap.count_total;
            }
            let of = |data: DataRange| usize::from(data.offset)..usize::from(data.offset) + usize::from(data.len);
            let came = out.iter().any(|packet| arena.packet(&packet.held)[of(packet.data)] == text);
            free.extend(out.drain(..).map(|packet| packet.held));
            if came {
                break;
            }
            if !is_sent {
                harness.peer_send(&text);
                is_sent = true;
            }
            assert!(start.elapsed() < PATIENCE, "packet {n} does not come");
        }
    }
    port.withdraw(&mut free).expect("the port gives them back");
    for held in free {
        held.release();
    }
    allocations
}

/// Allocations of the sending side's calls.
pub fn of_sending(harness: &impl Harness) -> u64 {
    let arena = harness.arena();
    let mut port = harness.tx(ME);
    let mut head = arena.table().adopt(0, ME).expect("a free buffer");
    let route = Route {
        to: Address::new(harness.peer()),
        from: Address::new(harness.local()),
        link: harness.link().expect("a driver that sees whole frames"),
    };
    let (mut allocations, mut done) = (0, Vec::with_capacity(32));
    for n in 0..WARM_UP + COUNTED {
        let (start, text) = (Instant::now(), n.to_le_bytes());
        arena.table().of(&head).reset();
        let at = usize::from(DATA_OFFSET);
        arena.packet_mut(&mut head)[at..at + text.len()].copy_from_slice(&text);
        let payload = DataRange { offset: DATA_OFFSET, len: text.len() as u16 };
        let mut outcomes = [SendOutcome::Later];
        let heap = measure(|| {
            let frame = port.enclose(arena.packet_mut(&mut head), payload, &route).expect("headers");
            let from = usize::from(frame.offset);
            let datagram = Datagram {
                head: &head,
                seq: arena.table().of(&head).owner().seq,
                last: true,
                first: &arena.packet(&head)[from..from + usize::from(frame.len)],
                second: &[],
                to: Address::NONE,
                from: Address::NONE,
                offset: frame.offset,
                link: Some(route.link),
            };
            port.send(&[datagram], &mut outcomes).expect("the driver sends");
            port.recorded();
        });
        assert_eq!(outcomes, [SendOutcome::Posted], "frame {n}");
        head.release();
        let mut more = heap.count_total;
        while done.is_empty() {
            assert!(start.elapsed() < PATIENCE, "the head of frame {n} does not come back");
            more += measure(|| port.reap(&mut done)).count_total;
        }
        head = done.remove(0).held;
        if n >= WARM_UP {
            allocations += more;
        }
        let got = harness.peer_recv(PATIENCE).map(|(bytes, _)| bytes);
        assert_eq!(got.as_deref(), Some(&text[..]), "frame {n}");
    }
    head.release();
    allocations
}
