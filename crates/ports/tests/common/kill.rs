//! SIGKILL at the named points of a driver's protocol, and a successor each time: nothing is lost, nothing comes twice, and
//! every buffer has one owner.
//!
//! The process that is killed is the test's own program, started for the test `child` alone. It arms the point by itself after
//! a few turns, stops there and is killed; everything about it is therefore exact.

use arena::arena::Regions;
use arena::descriptor::{DataRange, Fate, FateKind};
use arena::killpoint::{KillPoint, arm_from, reach};
use arena::layout::DATA_OFFSET;
use arena::meta::Address;
use arena::region::inherited;
use arena::sync::Ordering;
use arena::topology::RX;
use arena::{Arena, Held, Me};
use ports::conformance::{Harness, PATIENCE};
use ports::{Datagram, Reaped, Received, Route, RxPort, SendOutcome, TxPort};
use rustix::fs::MemfdFlags;
use rustix::process::getppid;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const VARIABLE: &str = "FLUMEWAY_TEST_CHILD";
/// Packets that may be on their way: fewer than any driver's queue holds.
const WAITING: u32 = 24;
/// Heads that are sent.
const HEADS: u32 = 160;
/// Datagrams of one call.
const BATCH: usize = 8;
/// What follows one byte for each packet in the record: turns that were taken.
const READY: u64 = 1 << 16;
const FINISHED: u64 = READY + 1;

/// A driver whose processes are killed.
pub trait Killable: Harness {
    fn regions(&self) -> &Regions;
    /// What the receiving and the sending side inherit.
    fn rx_descriptors(&self) -> Vec<BorrowedFd<'_>>;
    fn tx_descriptors(&self) -> Vec<BorrowedFd<'_>>;
    /// In the process that inherited them.
    fn attach_rx(fds: Vec<OwnedFd>, arena: &Arena, me: Me) -> Box<dyn RxPort>
    where
        Self: Sized;
    fn attach_tx(fds: Vec<OwnedFd>, arena: &Arena, me: Me) -> Box<dyn TxPort>
    where
        Self: Sized;
}

/// How often each packet was recorded; shared by all processes.
struct Record(OwnedFd);

impl Record {
    fn new() -> Self {
        let record = rustix::fs::memfd_create("record", MemfdFlags::CLOEXEC).expect("a memfd");
        rustix::fs::ftruncate(&record, FINISHED + 1).expect("room");
        Self(record)
    }

    fn get(&self, at: u64) -> u8 {
        let mut byte = [0];
        rustix::io::pread(&self.0, &mut byte, at).expect("the record");
        byte[0]
    }

    fn set(&self, at: u64, byte: u8) {
        rustix::io::pwrite(&self.0, &[byte], at).expect("the record");
    }

    fn count(&self, at: u64) {
        self.set(at, self.get(at).saturating_add(1));
    }
}

fn datagram(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(1 + number as usize % 16)
}

/// The number that a datagram carries, which must be whole.
fn number(bytes: &[u8]) -> u32 {
    let number = u32::from_le_bytes(*bytes.first_chunk().expect("a number"));
    assert_eq!(bytes, datagram(number));
    number
}

/// What the process that is killed was told.
struct Orders {
    arena: Arena,
    me: Me,
    record: Record,
    point: KillPoint,
    /// Turns before the point is armed.
    after: u32,
    addresses: (Address, Address),
    parent: Option<rustix::process::Pid>,
}

impl Orders {
    /// Arms the point once enough turns have been taken.
    fn turn(&mut self) {
        if self.after == 0 {
            let word = self.arena.control_word(RX).expect("a control word");
            word.kill_point_armed.store(self.point as u32, Ordering::Relaxed);
        }
        self.after = self.after.wrapping_sub(1);
        // The test was killed, and kills nobody any more.
        if getppid() != self.parent {
            std::process::exit(1);
        }
    }
}

/// The process that is killed; in the test itself it does nothing.
pub fn child<D: Killable>() {
    let Ok(text) = std::env::var(VARIABLE) else { return };
    let words: Vec<&str> = text.split(' ').collect();
    let [side, incarnation, point, after, peer, local, fds @ ..] = words.as_slice() else { panic!("{text}") };
    let take = |word: &&str| inherited(word.parse().expect("a number")).expect("an inherited descriptor");
    let mut fds: Vec<OwnedFd> = fds.iter().map(take).collect();
    let driver = fds.split_off(3);
    let [control, packets, record] = <[OwnedFd; 3]>::try_from(fds).expect("three");
    let arena = Arena::attach(control.as_fd(), Some((packets.as_fd(), true)), None, None).expect("the arena");
    let (word, page) = (arena.control_word(RX).expect("a word"), arena.page(RX).expect("a page"));
    arm_from(&word.kill_point_armed, &page.kill_point_hit);
    let me = Me { id: RX, incarnation: incarnation.parse().expect("a number") };
    let address = |word: &str| Address::new(word.parse().expect("an address"));
    let orders = Orders {
        arena: arena.clone(),
        me,
        record: Record(record),
        point: KillPoint::by_name(point).unwrap_or(KillPoint::None),
        after: after.parse().expect("a number"),
        addresses: (address(peer), address(local)),
        parent: getppid(),
    };
    match *side {
        "rx" => receiver(orders, D::attach_rx(driver, &arena, me)),
        link => sender(orders, D::attach_tx(driver, &arena, me), parse_link(link)),
    }
}

/// Takes over as rx-gateway does: what the driver finds, what it never gave to a device, then everything by the words.
fn receiver(mut orders: Orders, mut port: Box<dyn RxPort>) {
    let (mut found, mut free) = (Vec::new(), Vec::with_capacity(1024));
    port.refind(&mut found);
    port.take_unposted(&mut free);
    let (arena, table) = (orders.arena.clone(), orders.arena.table());
    let adopted: Vec<Held> = (0..table.buffers()).filter_map(|index| table.adopt(index, orders.me)).collect();
    for f in found {
        let held = adopted.iter().find(|held| held.index() == f.index && table.of(held).owner().seq == f.seq);
        let (from, len) = (usize::from(f.data.offset), usize::from(f.data.len));
        let bytes = &arena.packet(held.expect("a packet in a buffer of ours"))[from..from + len];
        assert_eq!((f.peer, f.local), orders.addresses);
        orders.record.count(number(bytes).into());
        port.recorded(f.position);
    }
    free.extend(adopted);
    let mut received: Vec<Received> = Vec::with_capacity(32);
    loop {
        orders.turn();
        port.offer(&arena, &mut free);
        orders.record.set(READY, 1);
        port.receive(&mut received, 4).expect("the driver receives");
        for packet in received.drain(..) {
            let (from, len) = (usize::from(packet.data.offset), usize::from(packet.data.len));
            orders.record.count(number(&arena.packet(&packet.held)[from..from + len]).into());
            port.recorded(packet.position);
            free.push(packet.held);
        }
    }
}

/// Sends one datagram for each of the first buffers, and is finished when all of them are settled.
fn sender(mut orders: Orders, mut port: Box<dyn TxPort>, link: arena::meta::Link) {
    let (arena, table, me) = (orders.arena.clone(), orders.arena.table(), orders.me);
    let (mut found, mut open) = (Vec::new(), Vec::new());
    port.found_sent(&mut found);
    port.take_unposted(&mut open);
    let fate = Fate { kind: FateKind::Answered, reason: 0 };
    let mut done: Vec<Held> = Vec::new();
    for held in (0..HEADS).filter_map(|index| table.adopt(index, me)) {
        let d = table.of(&held);
        if found.iter().any(|s| (s.head, s.seq) == (held.index(), d.owner().seq)) {
            d.set_fate(fate);
            d.settle();
        }
        if d.is_settled() { done.push(held) } else { open.push(held) }
    }
    port.recorded();
    let mut back: Vec<Reaped> = Vec::with_capacity(BATCH);
    loop {
        orders.turn();
        let batch = open.len().saturating_sub(BATCH);
        let mut heads = open.split_off(batch);
        let frames: Vec<DataRange> =
            heads.iter_mut().map(|head| enclose(&*port, &arena, head, link, orders.addresses)).collect();
        let to_datagram = |(head, frame): (_, &DataRange)| -> Datagram<'_> {
            let (from, len) = (usize::from(frame.offset), usize::from(frame.len));
            let (to, local) = orders.addresses;
            let (first, seq) = (&arena.packet(head)[from..from + len], table.of(head).owner().seq);
            let offset = frame.offset;
            Datagram { head, seq, last: true, first, second: &[], to, from: local, offset, link: Some(link) }
        };
        let datagrams: Vec<_> = heads.iter().zip(&frames).map(to_datagram).collect();
        let mut outcomes = [SendOutcome::Later; BATCH];
        port.send(&datagrams, &mut outcomes[..datagrams.len()]).expect("the driver sends");
        drop(datagrams);
        // The driver has answered, and nothing of that stands in the words yet.
        reach(KillPoint::InHand);
        for (held, outcome) in heads.into_iter().zip(outcomes) {
            match outcome {
                SendOutcome::Later => open.push(held),
                SendOutcome::Posted => _ = held.release(),
                SendOutcome::Sent => {
                    table.of(&held).set_fate(fate);
                    table.of(&held).settle();
                    done.push(held);
                }
                SendOutcome::Failed => panic!("a datagram was refused"),
            }
        }
        port.recorded();
        port.reap(&mut back);
        for Reaped { held, last } in back.drain(..) {
            assert!(last && table.of(&held).is_settled());
            done.push(held);
        }
        if done.len() == HEADS as usize {
            orders.record.set(FINISHED, 1);
        }
    }
}

fn enclose(
    port: &dyn TxPort,
    arena: &Arena,
    head: &mut Held,
    link: arena::meta::Link,
    (to, from): (Address, Address),
) -> DataRange {
    let bytes = datagram(head.index());
    let (at, buffer) = (DATA_OFFSET as usize, arena.packet_mut(head));
    buffer[at..at + bytes.len()].copy_from_slice(&bytes);
    let payload = DataRange { offset: DATA_OFFSET, len: bytes.len() as u16 };
    port.enclose(buffer, payload, &Route { to, from, link }).expect("headers")
}

fn print_link(link: arena::meta::Link) -> String {
    let all: Vec<String> = link.peer_mac.iter().chain(&link.local_mac).map(u8::to_string).collect();
    format!("{},{},{}", all.join(","), link.tags[0], link.queue)
}

fn parse_link(text: &str) -> arena::meta::Link {
    let n: Vec<u32> = text.split(',').map(|n| n.parse().expect("a number")).collect();
    let mac = |from: usize| std::array::from_fn(|i| n[from + i] as u8);
    arena::meta::Link { peer_mac: mac(0), local_mac: mac(6), tags: [n[12], 0], queue: n[13] as u8 }
}

/// A child that runs; killed at the latest when the test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start<D: Killable>(
        driver: &D,
        test: &str,
        side: &str,
        record: &Record,
        (n, point, after): (u32, KillPoint, u32),
    ) -> Self {
        let arena = driver.arena();
        let (word, page) = (arena.control_word(RX).expect("a word"), arena.page(RX).expect("a page"));
        word.kill_point_armed.store(0, Ordering::Relaxed);
        page.kill_point_hit.store(0, Ordering::Relaxed);
        record.set(READY, 0);
        let regions = driver.regions();
        let mut fds = vec![regions.control.rw.as_fd(), regions.packets.rw.as_fd(), record.0.as_fd()];
        fds.extend(if side == "rx" { driver.rx_descriptors() } else { driver.tx_descriptors() });
        // Duplicates that are not closed on exec, for as long as it takes to start the child.
        let inherited: Vec<OwnedFd> = fds.iter().map(|fd| rustix::io::dup(fd).expect("a duplicate")).collect();
        let numbers: Vec<String> = inherited.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let (peer, local) = (driver.peer(), driver.local());
        let words = format!("{side} {n} {} {after} {peer} {local} {}", point.name(), numbers.join(" "));
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(VARIABLE, words)
            .stdout(Stdio::null())
            .spawn()
            .expect("a child");
        Self(child)
    }

    /// Waits until `ready`; meanwhile `work` is done.
    fn wait(&mut self, what: &str, ready: impl Fn() -> bool, mut work: impl FnMut()) {
        let start = Instant::now();
        while !ready() {
            assert!(start.elapsed() < PATIENCE, "{what}");
            assert!(self.0.try_wait().expect("the child's state").is_none(), "the child ended by itself");
            work();
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// Whether the child stands at its point.
fn hit(arena: &Arena) -> bool {
    arena.page(RX).expect("a page").kill_point_hit.load(Ordering::Acquire) != 0
}

/// Kills the receiving side `rounds` times at each of `points` while packets come. `test`: the test that calls [`child`].
pub fn receiving<D: Killable>(driver: &D, test: &str, points: &[KillPoint], rounds: u32) {
    let (record, mut sent, mut incarnation) = (Record::new(), 0_u32, 0);
    let mut recorded = 0;
    let mut feed = |sent: &mut u32| {
        while recorded < *sent && record.get(recorded.into()) != 0 {
            recorded += 1;
        }
        if *sent - recorded < WAITING {
            driver.peer_send(&datagram(*sent));
            *sent += 1;
        }
    };
    for (round, point) in (0..rounds).flat_map(|round| points.iter().map(move |p| (round, *p))) {
        incarnation += 1;
        // The first must give a device its buffers before anything can come.
        let after = if incarnation == 1 { 50 } else { round * 7 };
        let mut child = Running::start(driver, test, "rx", &record, (incarnation, point, after));
        if incarnation == 1 {
            child.wait("the first does not begin", || record.get(READY) != 0, || {});
        }
        child.wait(point.name(), || hit(driver.arena()), || feed(&mut sent));
    }
    let mut last = Running::start(driver, test, "rx", &record, (incarnation + 1, KillPoint::None, 0));
    last.wait("a packet is lost", || (0..sent).all(|n| record.get(n.into()) != 0), || {});
    drop(last);
    println!("{sent} packets, {incarnation} kills");
    assert!((0..sent).all(|n| record.get(n.into()) == 1), "a packet came twice");
    let table = driver.arena().table();
    let buffers = || table.iter().take(table.buffers() as usize);
    let devices = buffers().filter(|(_, d)| d.owner().id.is_device_rx()).count();
    let ours = buffers().filter(|(_, d)| d.owner().id == RX).count();
    assert_eq!(ours + devices, table.buffers() as usize, "a buffer is somebody else's");
    assert_eq!(devices > 0, driver.keeps_offered());
}

/// Kills the sending side `rounds` times at each of `points`; all is sent, each datagram once.
pub fn sending<D: Killable>(driver: &D, test: &str, points: &[KillPoint], rounds: u32) {
    let (record, mut incarnation) = (Record::new(), 0);
    let side = print_link(driver.link().expect("a driver of links"));
    let mut kills = 0;
    for (round, point) in (0..rounds).flat_map(|round| points.iter().map(move |p| (round, *p))) {
        incarnation += 1;
        let mut child = Running::start(driver, test, &side, &record, (incarnation, point, round % 2));
        child.wait(point.name(), || hit(driver.arena()) || record.get(FINISHED) != 0, || {});
        kills += u32::from(hit(driver.arena()));
    }
    let mut last = Running::start(driver, test, &side, &record, (incarnation + 1, KillPoint::None, 0));
    last.wait("a head is lost", || record.get(FINISHED) != 0, || {});
    drop(last);
    let mut seen = Vec::new();
    while let Some((bytes, from)) =
        driver.peer_recv(if seen.len() < HEADS as usize { PATIENCE } else { Duration::from_millis(50) })
    {
        assert_eq!(from, driver.local());
        seen.push(number(&bytes));
    }
    println!("{} datagrams, {kills} kills", seen.len());
    seen.sort_unstable();
    assert_eq!(seen, (0..HEADS).collect::<Vec<_>>(), "each datagram once");
    assert_eq!(kills, incarnation, "the heads were gone before all points were reached");
    let table = driver.arena().table();
    for (index, d) in table.iter().take(HEADS as usize) {
        assert!(d.is_settled() && d.owner().id == RX, "{index}: {:?}", d.owner());
    }
}
