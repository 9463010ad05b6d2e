//! Entries of the rings that no kernel writes: stepped over and counted, and no buffer comes into two hands.

use super::{AfXdp, RING};
use arena::descriptor::DataRange;
use arena::device_ring::DeviceRing;
use arena::layout::{BUFFER_BYTES, DATA_OFFSET};
use arena::meta::Address;
use arena::topology::RX;
use arena::{Held, Me};
use ports::af_xdp::rings_for_tests;
use ports::conformance::{Harness, PATIENCE};
use ports::{Datagram, Received, Route, RxPort, SendOutcome, Standing, TxPort};
use std::collections::BTreeSet;
use std::time::Instant;

const ME: Me = Me { id: RX, incarnation: 1 };
/// Buffers in hand at the beginning: more than the device and the socket take.
const HANDS: usize = 160;
/// Where a frame begins in its buffer is the kernel's to say; nothing shorter than this is a datagram.
const CUT: u32 = 20;

fn adopted(driver: &AfXdp) -> Vec<Held> {
    let table = driver.arena().table();
    (0..table.buffers()).filter_map(|index| table.adopt(index, ME)).take(HANDS).collect()
}

/// Address of the first byte of a buffer.
fn chunk(index: u32) -> u64 {
    u64::from(index) * BUFFER_BYTES
}

/// Sends datagrams that tell their numbers, and waits until the kernel has put them into the ring; where the first is.
fn arrive(driver: &AfXdp, ring: &DeviceRing, numbers: std::ops::Range<u8>) -> u32 {
    let (first, count) = (ring.producer(), numbers.len() as u32);
    numbers.for_each(|n| driver.peer_send(&[n; 40]));
    wait(ring, first.wrapping_add(count));
    first
}

fn wait(ring: &DeviceRing, producer: u32) {
    let start = Instant::now();
    while ring.producer() != producer {
        assert!(start.elapsed() < PATIENCE, "{} entries are missing", producer.wrapping_sub(ring.producer()));
    }
}

fn receive(port: &mut dyn RxPort) -> Vec<Received> {
    let mut out = Vec::with_capacity(RING as usize);
    port.receive(&mut out, RING as usize).expect("the driver receives");
    out
}

/// The number that a packet tells; `None` if it is no datagram.
fn number(driver: &AfXdp, packet: &Received) -> Option<u8> {
    let (from, len) = (usize::from(packet.data.offset), usize::from(packet.data.len));
    let bytes = &driver.arena().packet(&packet.held)[from..from + len];
    (packet.standing == Standing::Filtered).then(|| {
        assert!(len == 40 && bytes.iter().all(|b| *b == bytes[0]), "{bytes:?}");
        bytes[0]
    })
}

/// Every buffer is in one hand, and it is ours by its word.
fn assert_ours<'a>(driver: &AfXdp, held: impl Iterator<Item = &'a Held>) {
    let mut seen = BTreeSet::new();
    for held in held {
        assert!(seen.insert(held.index()), "buffer {} is in two hands", held.index());
        let word = driver.arena().table().of(held).owner();
        assert!(word.is(ME), "buffer {} is {word:?}'s", held.index());
    }
}

fn rx_ring(driver: &AfXdp) -> DeviceRing {
    rings_for_tests::rx(driver.host.rx_descriptors(&[0])[0], RING).expect("the ring")
}

fn give_up(held: impl IntoIterator<Item = Held>) {
    for held in held {
        held.release();
    }
}

#[test]
fn forged_entries_of_rx() {
    let Some(driver) = AfXdp::new(false) else { return };
    let (mut free, ring) = (adopted(&driver), rx_ring(&driver));
    let kept = free.pop().expect("many");
    let mut port = driver.rx(ME);
    port.offer(driver.arena(), &mut free);
    let first = arrive(&driver, &ring, 0..12);
    let at = |n: u32| first.wrapping_add(n);
    let (address, len) = (|n| ring.address(at(n)), ring.length(first));
    let beyond = chunk(driver.arena().table().buffers());
    let nothing = [
        (u64::MAX, len),
        (beyond + 300, len),
        (address(3), BUFFER_BYTES as u32),
        (address(4), u32::MAX),
        // Of others: in our hand, and of an entry that is read before it.
        (chunk(kept.index()) + 300, len),
        (address(0), len),
    ];
    // These name a buffer of the queue, and no datagram in it.
    let cut = [(address(7), 0), (address(8), CUT), (address(9) / BUFFER_BYTES * BUFFER_BYTES, len)];
    for (n, (address, len)) in (1..).zip(nothing.iter().chain(&cut)) {
        ring.set(at(n), *address, *len);
    }
    let packets = receive(&mut *port);
    let numbers: Vec<_> = packets.iter().map(|p| number(&driver, p)).collect();
    assert_eq!(numbers, [Some(0), None, None, None, Some(10), Some(11)]);
    assert!(packets[1..4].iter().all(|p| p.standing == Standing::Malformed));
    assert_eq!((port.take_faults(), port.take_faults()), (nothing.len() as u64, 0));
    assert_ours(&driver, packets.iter().map(|p| &p.held).chain([&kept]).chain(&free));

    for packet in packets {
        port.recorded(packet.position);
        free.push(packet.held);
    }
    assert_eq!(ring.consumer(), ring.producer(), "everything is behind us");
    port.offer(driver.arena(), &mut free);
    arrive(&driver, &ring, 100..140);
    let packets = receive(&mut *port);
    let numbers: Vec<_> = packets.iter().filter_map(|p| number(&driver, p)).collect();
    assert_eq!(numbers, (100..140).collect::<Vec<_>>(), "later packets are received");
    assert_eq!(port.take_faults(), 0);
    port.withdraw(&mut free).expect("the port gives them back");
    give_up(packets.into_iter().map(|p| p.held).chain(free).chain([kept]));
}

/// Numbers without a pattern (xorshift64*), the same in each run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// An address: anywhere, near the arena, or in it.
    fn address(&mut self, buffers: u32) -> u64 {
        let span = match self.next() % 3 {
            0 => u64::MAX,
            1 => 2 * chunk(buffers),
            _ => chunk(buffers),
        };
        self.next() % span
    }
}

#[test]
fn noise_in_rx() {
    let Some(driver) = AfXdp::new(false) else { return };
    let (mut free, ring, mut noise) = (adopted(&driver), rx_ring(&driver), Noise(0x9e37_79b9_7f4a_7c15));
    let mut port = driver.rx(ME);
    let buffers = driver.arena().table().buffers();
    let mut faults = 0;
    // A buffer whose entry is written over stays with the device: not more rounds than there are buffers for.
    for round in 0..12 {
        port.offer(driver.arena(), &mut free);
        let first = arrive(&driver, &ring, 0..8);
        for _ in 0..3 {
            let at = first.wrapping_add((noise.next() % 8) as u32);
            ring.set(at, noise.address(buffers), (noise.next() >> (noise.next() % 64)) as u32);
        }
        let packets = receive(&mut *port);
        let stepped_over = port.take_faults();
        assert_eq!(packets.len() as u64 + stepped_over, 8, "round {round}");
        assert_ours(&driver, packets.iter().map(|p| &p.held).chain(&free));
        for packet in packets {
            let end = u64::from(packet.data.offset) + u64::from(packet.data.len);
            assert!(end <= BUFFER_BYTES, "{:?}", packet.data);
            port.recorded(packet.position);
            free.push(packet.held);
        }
        assert_eq!(ring.consumer(), ring.producer());
        faults += stepped_over;
    }
    assert!(faults > 12, "only {faults} entries named nothing: the noise is no noise");
    port.withdraw(&mut free).expect("the port gives them back");
    give_up(free);
}

#[test]
fn forged_entries_before_a_successor() {
    let Some(driver) = AfXdp::new(false) else { return };
    let (mut free, ring, table) = (adopted(&driver), rx_ring(&driver), driver.arena().table());
    let mut port = driver.rx(ME);
    port.offer(driver.arena(), &mut free);
    let kept = free[0].index();
    let first = arrive(&driver, &ring, 0..8);
    let forged = [u64::MAX, chunk(table.buffers()), chunk(kept) + 300, chunk(kept) + 300];
    (0..).zip(forged).for_each(|(n, address)| ring.set(first.wrapping_add(n), address, 82));
    // As under SIGKILL.
    std::mem::forget(port);
    give_up(free);

    let me = Me { incarnation: 2, ..ME };
    let mut port = driver.rx(me);
    let (mut found, mut free) = (Vec::new(), Vec::new());
    port.refind(&mut found);
    // The predecessor may have received into it, for all that its word tells; who adopts gets it once.
    assert!(found.iter().all(|f| f.index == kept && f.standing == Standing::Malformed), "{found:?}");
    let taken: Vec<Held> = found.iter().filter_map(|f| table.adopt(f.index, me)).collect();
    assert_eq!(taken.len(), 1);
    for refound in &found {
        port.recorded(refound.position);
    }
    port.take_unposted(&mut free);
    let packets = receive(&mut *port);
    let numbers: Vec<_> = packets.iter().filter_map(|p| number(&driver, p)).collect();
    assert_eq!(numbers, [4, 5, 6, 7]);
    for packet in &packets {
        port.recorded(packet.position);
    }
    assert_eq!(ring.consumer(), ring.producer());
    give_up(packets.into_iter().map(|p| p.held).chain(taken).chain(free));
}

/// Sends a datagram that tells `n`; the buffer that it lies in.
fn post(driver: &AfXdp, port: &mut dyn TxPort, mut head: Held, n: u8) -> u32 {
    let arena = driver.arena();
    arena.table().of(&head).reset();
    let (to, from) = (Address::new(driver.peer()), Address::new(driver.local()));
    let link = driver.link().expect("a driver of links");
    let payload = DataRange { offset: DATA_OFFSET, len: 40 };
    let buffer = arena.packet_mut(&mut head);
    buffer[usize::from(DATA_OFFSET)..][..40].fill(n);
    let frame = port.enclose(buffer, payload, &Route { to, from, link }).expect("a frame");
    let at = usize::from(frame.offset)..usize::from(frame.offset) + usize::from(frame.len);
    let datagram = Datagram {
        head: &head,
        seq: arena.table().of(&head).owner().seq,
        last: true,
        first: &arena.packet(&head)[at],
        second: &[],
        to,
        from,
        offset: frame.offset,
        link: Some(link),
    };
    let mut outcomes = [SendOutcome::Failed];
    port.send(&[datagram], &mut outcomes).expect("the driver sends");
    assert_eq!(outcomes, [SendOutcome::Posted]);
    head.release()
}

#[test]
fn forged_entries_of_completion() {
    let Some(driver) = AfXdp::new(false) else { return };
    let (mut free, table) = (adopted(&driver), driver.arena().table());
    let kept = free.pop().expect("many");
    let mut port = driver.tx(ME);
    let ring = rings_for_tests::completion(driver.host.tx_descriptors()[0], RING).expect("the ring");
    let first = ring.producer();
    let mut posted: Vec<u32> = (0..8).map(|n| post(&driver, &mut *port, free.pop().expect("many"), n)).collect();
    wait(&ring, first.wrapping_add(8));
    // Beyond all numbers, beyond the arena, in our hand, and of the entry before it.
    let forged = [u64::MAX, chunk(table.buffers()), chunk(kept.index()) + 300, ring.address(first)];
    (1..).zip(forged).for_each(|(n, address)| ring.set(first.wrapping_add(n), address, 0));
    let mut back = Vec::with_capacity(RING as usize);
    port.reap(&mut back);
    posted.drain(1..5);
    assert_eq!(back.iter().map(|r| r.held.index()).collect::<Vec<_>>(), posted);
    assert!(back.iter().all(|r| r.last && table.of(&r.held).is_settled()));
    assert!(!table.of(&kept).is_settled(), "what was not with the device was not sent by it");
    assert!(port.take_faults() >= 1);
    assert_eq!(ring.consumer(), ring.producer());
    assert_ours(&driver, back.iter().map(|r| &r.held).chain([&kept]).chain(&free));

    free.extend(back.drain(..).map(|r| r.held));
    for n in 8..60 {
        let index = post(&driver, &mut *port, free.pop().expect("many"), n);
        let start = Instant::now();
        while back.is_empty() {
            assert!(start.elapsed() < PATIENCE, "the head of {n} does not come back");
            port.reap(&mut back);
        }
        let [reaped] = <[_; 1]>::try_from(std::mem::take(&mut back)).expect("one head");
        assert_eq!(reaped.held.index(), index);
        free.push(reaped.held);
        back.reserve(8);
    }
    assert_eq!(port.take_faults(), 0);
    let arrived = (0..60).map(|_| driver.peer_recv(PATIENCE).expect("every datagram").0);
    assert!(arrived.eq((0..60).map(|n| vec![n; 40])), "in order, each once");
    give_up(free.into_iter().chain([kept]));
}
