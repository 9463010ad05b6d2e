//! Answers through the whole stage, with a port that the test feeds.

#[path = "../../../stage/tests/world/mod.rs"]
mod world;

use crate::RxGateway;
use crate::poll_mode::Environment;
use arena::counters::{LINK_DOWN, LINK_UP, RxCounter, Verdict};
use arena::descriptor::Role;
use arena::reclaim::{Marks, reclaim};
use arena::sync::Ordering;
use arena::topology::{RX, RingKind, TX};
use arena::{Arena, Held, Me, StageKind};
use config::{AclAction, AclRule, Driver, Pipeline};
use ports::{DeviceCounts, LinkState, PortError, Received, Refound, RxPort, Standing, StartTimes};
use stage::{Context, Stage};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use wire::packet::internet_checksum;
use world::World;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OURS: [u8; 4] = [192, 0, 2, 1];
const THEIRS: [u8; 4] = [192, 0, 2, 9];
/// Where the port puts a frame.
const AT: u16 = 256;

/// What the test and its port share.
#[derive(Default)]
struct Feed {
    frames: VecDeque<(Vec<u8>, Standing)>,
    /// The process dies when the port learns that this many packets are recorded.
    dies_after: Option<u32>,
    lists: Vec<(usize, AclAction)>,
    /// Packets that the device has dropped by a rule and not told of.
    denied: Vec<(u16, u64)>,
    counts: DeviceCounts,
    link: Option<LinkState>,
    /// The device is not started.
    is_starting: bool,
}

/// A port like that of a poll-mode driver.
struct FakePort {
    feed: Rc<RefCell<Feed>>,
    arena: Arena,
    buffers: Vec<Held>,
    position: u32,
    never: File,
}

impl RxPort for FakePort {
    fn refind(&mut self, _: &mut Vec<Refound>) {}

    fn capacity(&self) -> usize {
        4
    }

    fn wants(&self) -> usize {
        4 - self.buffers.len()
    }

    fn offer(&mut self, _: &Arena, free: &mut Vec<Held>) {
        let n = self.wants().min(free.len());
        self.buffers.extend(free.drain(free.len() - n..));
    }

    fn receive(&mut self, out: &mut Vec<Received>, max: usize) -> Result<usize, PortError> {
        let before = out.len();
        while out.len() - before < max && !self.buffers.is_empty() {
            let Some((frame, standing)) = self.feed.borrow_mut().frames.pop_front() else { break };
            let Some(mut held) = self.buffers.pop() else { break };
            let from = usize::from(AT);
            self.arena.packet_mut(&mut held)[from..from + frame.len()].copy_from_slice(&frame);
            let data = arena::descriptor::DataRange { offset: AT, len: frame.len() as u16 };
            let peer = arena::meta::Address::new((THEIRS, 5000).into());
            let local = arena::meta::Address::new((OURS, 9000).into());
            out.push(Received { held, data, peer, local, link: None, position: self.position, standing });
            self.position += 1;
        }
        Ok(out.len() - before)
    }

    fn recorded(&mut self, _: u32) {
        if let Some(left) = &mut self.feed.borrow_mut().dies_after {
            assert_ne!(*left, 0, "the end of the process");
            *left -= 1;
        }
    }

    fn withdraw(&mut self, free: &mut Vec<Held>) -> Result<(), PortError> {
        free.append(&mut self.buffers);
        Ok(())
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.never.as_fd()
    }

    fn dropped(&mut self) -> u64 {
        0
    }

    fn link_address(&self) -> Option<[u8; 6]> {
        Some(MAC)
    }

    fn set_access_list(&mut self, rules: &[AclRule], policy: AclAction) {
        self.feed.borrow_mut().lists.push((rules.len(), policy));
    }

    fn take_denied(&mut self, all: bool, add: &mut dyn FnMut(u16, u64)) {
        // A real one asks its device about some rules at once.
        let mut feed = self.feed.borrow_mut();
        let some = if all { feed.denied.len() } else { feed.denied.len().min(1) };
        feed.denied.drain(..some).for_each(|(rule, packets)| add(rule, packets));
    }

    fn link_state(&self) -> Option<LinkState> {
        self.feed.borrow().link
    }

    fn is_starting(&self) -> bool {
        self.feed.borrow().is_starting
    }

    fn device_counts(&mut self) -> Option<DeviceCounts> {
        Some(self.feed.borrow().counts)
    }

    fn start_times(&self) -> Option<StartTimes> {
        Some(StartTimes { eal_init_us: 379_000, port_start_us: 1200, copies: 0 })
    }
}

fn pipeline() -> Pipeline {
    let mut pipeline = world::pipeline();
    pipeline.ingress.driver = Driver::Dpdk;
    pipeline.dpdk.addresses = vec![IpAddr::from(OURS)];
    pipeline
}

struct Rig {
    world: World,
    /// Never dropped: a killed process drops nothing.
    stage: ManuallyDrop<RxGateway>,
    cx: Context,
    feed: Rc<RefCell<Feed>>,
    pipeline: Pipeline,
}

impl Rig {
    fn new() -> Self {
        Self::with(pipeline())
    }

    fn with(pipeline: Pipeline) -> Self {
        let (world, feed) = (World::new(StageKind::RxGateway), Rc::default());
        let (stage, cx) = Self::begin(&world, &feed, &pipeline, 1);
        Self { world, stage, cx, feed, pipeline }
    }

    fn begin(
        world: &World,
        feed: &Rc<RefCell<Feed>>,
        pipeline: &Pipeline,
        incarnation: u32,
    ) -> (ManuallyDrop<RxGateway>, Context) {
        let attached = world.attached(Vec::new());
        let mut stage = RxGateway::on(pipeline, Environment::none());
        let cx = world.context(incarnation, attached);
        let never = File::open("/dev/null").expect("a file");
        let (feed, arena) = (Rc::clone(feed), cx.arena.clone());
        let port = FakePort { feed, arena, buffers: Vec::with_capacity(4), position: 0, never };
        stage.begin(&cx, Box::new(port)).expect("active");
        (ManuallyDrop::new(stage), cx)
    }

    /// The process is gone: the supervisor sweeps, and a successor takes over.
    fn restart(self) -> Self {
        let Self { world, cx, feed, pipeline, .. } = self;
        feed.borrow_mut().dies_after = None;
        let (arena, dead) = (&world.arena, cx.me);
        let ring = |from, to| arena.rings_where(|s| s.kind == RingKind::Recovery && s.from == from && s.to == to)[0];
        let mut marks = Marks::new(arena.table().len());
        reclaim(arena.table(), dead, &arena.rings_of(RX), &ring(RX, RX), true, &mut marks).expect("a sweep");
        let (stage, cx) = Self::begin(&world, &feed, &pipeline, dead.incarnation + 1);
        Self { world, stage, cx, feed, pipeline }
    }

    fn ask(&self, frame: Vec<u8>, standing: Standing) {
        self.feed.borrow_mut().frames.push_back((frame, standing));
    }

    fn poll(&mut self) {
        use stage::Stage;
        while !self.feed.borrow().frames.is_empty() {
            self.stage.poll(&mut self.cx).expect("no stop, no poison");
        }
        self.stage.poll(&mut self.cx).expect("no stop, no poison");
    }

    /// A frame's verdicts, by what they are called.
    fn count(&self, verdict: Verdict) -> u64 {
        self.world.arena.gateway(RX).unwrap().packets[verdict as usize].load(Ordering::Relaxed)
    }

    fn sent(&self) -> Option<u32> {
        self.world.take_from(RingKind::Status, TX)
    }

    /// tx has sent a head, and it is home.
    fn bring_home(&mut self, head: u32) {
        let d = self.world.descriptor(head);
        d.settle();
        let held = self.world.arena.table().take(head, Me { id: TX, incarnation: 1 }).unwrap();
        self.world.push(held, TX);
        self.poll();
        assert_eq!(d.role(), Role::Free);
    }

    /// The ledger of frames knows nothing of all this, and nothing is lost.
    fn no_frames(&self, answers: u32) {
        let (audit, ledger) = (self.world.arena.audit(), self.world.arena.ledger(1));
        assert!(audit.sound() && ledger.balanced(), "{audit:?} {ledger:?}");
        assert_eq!((ledger.received, ledger.in_flight, ledger.finished()), (0, 0, 0));
        assert_eq!((audit.heads, audit.answers, audit.free + audit.heads), (answers, answers, 64));
    }
}

/// Who has our address?
fn arp() -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &PEER, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &PEER, &THEIRS, &[0; 6], &OURS].concat();
    frame.resize(60, 0);
    frame
}

fn ping() -> Vec<u8> {
    let mut ip = [&[0x45, 0, 0, 28, 0, 0, 0, 0, 9, 1, 0, 0][..], &THEIRS, &OURS].concat();
    let checksum = internet_checksum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    [&MAC[..], &PEER, &[8, 0], &ip, &[8, 0, 0xf7, 0xfd, 0, 1, 0, 1]].concat()
}

#[test]
fn an_answer_goes_to_tx_and_comes_home() {
    let mut rig = Rig::new();
    for frame in [arp(), ping()] {
        rig.ask(frame, Standing::Other);
        rig.poll();
        let head = rig.sent().expect("an answer");
        assert!(rig.world.descriptor(head).is_answer());
        let (meta, place) = rig.world.arena.record(head).expect("a sound record");
        let bytes = rig.world.arena.packet_copy(head).expect("a buffer");
        let frame = &bytes[usize::from(place.data.offset)..][..usize::from(place.data.len)];
        assert_eq!((&frame[..6], &frame[6..12], place.data.offset), (&PEER[..], &MAC[..], AT));
        assert_eq!(meta.link.map(|l| l.peer_mac), Some(PEER));
        rig.no_frames(1);
        rig.bring_home(head);
        rig.no_frames(0);
    }
    assert_eq!((rig.count(Verdict::Link), rig.count(Verdict::Elsewhere)), (2, 0));
}

#[test]
fn what_is_not_for_us_is_counted_and_dropped() {
    let mut rig = Rig::new();
    let mut other = arp();
    other[41] = 77;
    rig.ask(other, Standing::Other);
    rig.ask(vec![1; 60], Standing::Other);
    rig.ask(Vec::new(), Standing::Other);
    rig.ask(vec![0; 60], Standing::Elsewhere);
    rig.poll();
    assert_eq!((rig.count(Verdict::Elsewhere), rig.sent()), (4, None));
    rig.no_frames(0);
    let mut unnamed = pipeline();
    unnamed.dpdk.addresses = Vec::new();
    let mut rig = Rig::with(unnamed);
    rig.ask(arp(), Standing::Other);
    rig.poll();
    assert_eq!((rig.count(Verdict::Elsewhere), rig.sent()), (1, None), "nobody knows our addresses");
}

#[test]
fn a_flood_takes_no_more_than_its_share() {
    let mut rig = Rig::new();
    for _ in 0..20 {
        rig.ask(ping(), Standing::Other);
    }
    rig.poll();
    assert_eq!((rig.count(Verdict::Link), rig.count(Verdict::LinkLimited)), (4, 16), "pings have half of an eighth");
    for _ in 0..20 {
        rig.ask(arp(), Standing::Other);
    }
    rig.poll();
    assert_eq!((rig.count(Verdict::Link), rig.count(Verdict::LinkLimited)), (8, 32));
    rig.no_frames(8);
    // A successor knows how many are on their way.
    rig = rig.restart();
    rig.ask(arp(), Standing::Other);
    rig.poll();
    assert_eq!((rig.count(Verdict::Link), rig.count(Verdict::LinkLimited)), (8, 33));
    let heads: Vec<_> = std::iter::from_fn(|| rig.sent()).collect();
    assert_eq!(heads.len(), 8);
    for head in heads {
        rig.bring_home(head);
    }
    rig.no_frames(0);
    rig.ask(arp(), Standing::Other);
    rig.poll();
    assert_eq!(rig.count(Verdict::Link), 9);
}

#[test]
fn there_are_so_many_in_a_second() {
    let mut rig = Rig::new();
    rig.cx.now_ns = 1_000_000_000;
    let mut all = |n: usize, frame: &dyn Fn() -> Vec<u8>| {
        for _ in 0..n {
            rig.ask(frame(), Standing::Other);
            rig.poll();
            while let Some(head) = rig.sent() {
                rig.bring_home(head);
            }
        }
        rig.cx.now_ns += 1_000_000_000;
        rig.count(Verdict::Link)
    };
    assert_eq!(all(200, &ping), 32, "a burst of pings");
    assert_eq!(all(200, &arp), 32 + 128, "and the others as if there had been none");
    assert_eq!(all(200, &ping), 64 + 128, "a second later");
}

#[test]
fn a_death_at_any_packet_loses_no_buffer() {
    for after in 0..12 {
        let mut rig = Rig::new();
        rig.feed.borrow_mut().dies_after = Some(after);
        for n in 0..12 {
            rig.ask(if n % 3 == 0 { vec![0; 60] } else { arp() }, Standing::Other);
        }
        let died = catch_unwind(AssertUnwindSafe(|| rig.poll()));
        assert!(died.is_err());
        let counted = rig.count(Verdict::Link) + rig.count(Verdict::Elsewhere) + rig.count(Verdict::LinkLimited);
        assert_eq!(counted, u64::from(after) + 1, "the journal counts each packet once");
        let mut rig = rig.restart();
        rig.poll();
        let heads: Vec<_> = std::iter::from_fn(|| rig.sent()).collect();
        assert_eq!(heads.len() as u64, rig.count(Verdict::Link), "counted as answered, and sent");
        rig.no_frames(heads.len() as u32);
        for head in heads {
            rig.bring_home(head);
        }
        rig.no_frames(0);
    }
}

/// The list's action follows from the rule that the driver found; a fresh list is told to the driver.
#[test]
fn classified_datagrams_and_the_drivers_list() {
    let mut listed = pipeline();
    let deny = AclRule { ports: Some(config::PortRange { first: 1, last: 2 }), ..AclRule::all(AclAction::Deny) };
    listed.ingress.acl = vec![deny];
    listed.ingress.acl_policy = AclAction::Allow;
    let mut rig = Rig::with(listed.clone());
    assert_eq!(rig.feed.borrow().lists, [(1, AclAction::Allow)]);
    // Its ports say otherwise: the driver is believed.
    rig.ask(vec![0; 60], Standing::Matched(Some(0)));
    rig.ask(vec![0; 60], Standing::Matched(None));
    rig.poll();
    assert_eq!((rig.count(Verdict::Denied), rig.count(Verdict::Malformed)), (1, 1));
    let hits = |rig: &Rig| rig.world.arena.gateway(RX).unwrap().acl_hits[0].load(Ordering::Relaxed);
    assert_eq!(hits(&rig), 1);
    // What the device dropped before the list goes counts too, by the rule that it was then.
    rig.feed.borrow_mut().denied = vec![(0, 30), (0, 4)];
    listed.ingress.acl.insert(0, AclRule::all(AclAction::Allow));
    stage::Stage::reload(&mut *rig.stage, &listed);
    let moved = rig.world.arena.gateway(RX).unwrap().acl_hits[1].load(Ordering::Relaxed);
    assert_eq!((hits(&rig), moved), (0, 35));
    listed.ingress.acl = Vec::new();
    stage::Stage::reload(&mut *rig.stage, &listed);
    assert_eq!(rig.feed.borrow().lists, [(1, AclAction::Allow), (2, AclAction::Allow), (0, AclAction::Allow)]);
}

#[test]
fn the_devices_counts_go_on_over_deaths() {
    let mut rig = Rig::new();
    let counter = |rig: &Rig, c: RxCounter| rig.cx.page.counter(c as usize);
    rig.feed.borrow_mut().counts = DeviceCounts { missed: 5, errors: 6, no_mbuf: 7, lost: 8 };
    rig.poll();
    rig = rig.restart();
    rig.feed.borrow_mut().counts = DeviceCounts { missed: 1, errors: 0, no_mbuf: 0, lost: 2 };
    rig.poll();
    let all = [RxCounter::DeviceMissed, RxCounter::DeviceErrors, RxCounter::DeviceNoMbuf, RxCounter::LostInDevice];
    assert_eq!(all.map(|c| counter(&rig, c)), [6, 6, 7, 10]);
    assert_eq!(counter(&rig, RxCounter::KernelDropped), 12, "of both ports");
    assert_eq!([RxCounter::EalInitUs, RxCounter::PortStartUs].map(|c| counter(&rig, c)), [379_000, 1200]);
}

#[test]
fn a_link_and_a_device_that_is_not_started_are_seen() {
    let mut rig = Rig::new();
    let shown = |rig: &Rig| [RxCounter::LinkUp, RxCounter::LinkMbps].map(|c| rig.cx.page.counter(c as usize));
    rig.poll();
    assert_eq!((shown(&rig), rig.stage.needs_rights()), ([0, 0], false));
    for (is_up, cells) in [(true, [LINK_UP, 25_000]), (false, [LINK_DOWN, 25_000])] {
        rig = rig.restart();
        rig.feed.borrow_mut().link = Some(LinkState { is_up, speed_mbps: 25_000 });
        rig.feed.borrow_mut().is_starting = is_up;
        rig.poll();
        assert_eq!((shown(&rig), rig.stage.needs_rights()), (cells, is_up));
    }
}
