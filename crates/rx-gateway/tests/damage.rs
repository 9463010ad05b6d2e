//! Records that were damaged while their frames were away, or while no rx-gateway lived: the frames are counted and taken
//! apart, nothing is lost, and no stream's history is written from what cannot be believed.

#[path = "../../stage/tests/world/mod.rs"]
mod world;

use arena::counters::{RxCounter, Verdict};
use arena::descriptor::{Fate, FateKind, Role};
use arena::meta::Address;
use arena::sync::Ordering;
use arena::topology::{RX, RingKind, TX};
use arena::{Me, OwnerId, StageKind};
use ports::udp::Host;
use rx_gateway::RxGateway;
use stage::{Context, Stage};
use std::mem::ManuallyDrop;
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use wire::{Encoding, Fragment, FragmentPlan, FrameKey, RequestHeader};
use world::{DAMAGED, World, meta, pipeline, place};

const ANSWERED: Fate = Fate { kind: FateKind::Answered, reason: 0 };
/// Bytes of the tests' frames: two datagrams of at most 512 bytes.
const FRAME: [u8; 512] = [7; 512];

struct Rig {
    world: World,
    /// Never dropped: what it holds would be a leak, and a killed process drops nothing.
    stage: ManuallyDrop<RxGateway>,
    cx: Context,
    preprocess: OwnerId,
    client: UdpSocket,
    host: Host,
}

fn begin(world: &World, host: &Host, incarnation: u32) -> (ManuallyDrop<RxGateway>, Context) {
    let port = host.rx_descriptors(0).expect("a socket").map(|fd| fd.try_clone_to_owned().expect("a duplicate"));
    let attached = world.attached(port.into());
    let mut stage = RxGateway::prepare(&pipeline(), &attached).expect("a stage");
    let mut cx = world.context(incarnation, attached);
    stage.activate(&mut cx).expect("active");
    (ManuallyDrop::new(stage), cx)
}

impl Rig {
    fn new() -> Self {
        let world = World::new(StageKind::RxGateway);
        let host = Host::open("127.0.0.1:0".parse().unwrap(), 200 << 10, 1).expect("a socket");
        let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        client.connect(host.local_addr()).expect("loopback");
        let (stage, cx) = begin(&world, &host, 1);
        let preprocess = world.arena.geometry().preprocess_id(0);
        Self { world, stage, cx, preprocess, client, host }
    }

    /// A successor takes over from a predecessor that was killed.
    fn restart(self, spoil: impl Fn(&World)) -> Self {
        let Self { world, cx, preprocess, client, host, .. } = self;
        spoil(&world);
        let (stage, cx) = begin(&world, &host, cx.me.incarnation + 1);
        Self { world, stage, cx, preprocess, client, host }
    }

    /// Sends one fragment of a frame, or a frame of one packet, and lets the stage receive it; its verdict.
    fn send(&mut self, frame_id: u64, fragment: Option<u16>) -> &'static str {
        let plan = FragmentPlan::new(FRAME.len(), 512, wire::header_len(false)).expect("a plan");
        let fragment = fragment.map_or(Fragment::whole(64), |n| plan.fragment(n).expect("a fragment"));
        let header = RequestHeader {
            key: FrameKey { stream_id: 7, session: 8, frame_id },
            fragment,
            encoding: Encoding::TensorF32,
            width: 0,
            height: 0,
            deadline_us: 0,
            capture_time: 99,
            flags: 0,
        };
        let mut bytes = [0; 1024];
        let from = fragment.offset as usize;
        let len = header.write(&mut bytes, &FRAME[from..from + fragment.len as usize], None).expect("a datagram");
        self.client.send(&bytes[..len]).expect("sent");
        let before = verdicts(&self.world);
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            self.stage.poll(&mut self.cx).expect("no stop, no poison");
            let now = verdicts(&self.world);
            if let Some(at) = (0..now.len()).find(|n| now[*n] != before[*n]) {
                return Verdict::ALL[at].1;
            }
            assert!(Instant::now() < until, "the datagram did not arrive");
        }
    }

    /// The head that was sent on to preprocess, the test's now.
    fn head(&self) -> u32 {
        self.world.take_from(RingKind::Forward, self.preprocess).expect("a head on its way")
    }

    /// Brings a head home, answered, and lets the stage take it apart.
    fn bring_home(&mut self, head: u32) {
        let d = self.world.descriptor(head);
        d.set_fate(ANSWERED);
        d.settle();
        let held = self.world.arena.table().take(head, Me { id: TX, incarnation: 1 }).unwrap();
        self.world.push(held, TX);
        self.stage.poll(&mut self.cx).expect("no stop, no poison");
        assert_eq!(d.role(), Role::Free);
    }

    fn finished(&self, fate: Fate) -> u64 {
        self.world.arena.gateway(RX).unwrap().cells[fate.cell()].load(Ordering::Relaxed)
    }

    fn nothing_is_lost(&self, heads: u64) {
        let (audit, ledger) = (self.world.arena.audit(), self.world.arena.ledger(1));
        assert!(audit.sound() && ledger.balanced(), "{audit:?} {ledger:?}");
        assert_eq!((u64::from(audit.heads), ledger.in_flight), (heads, heads));
    }
}

fn verdicts(world: &World) -> Vec<u64> {
    let packets = &world.arena.gateway(RX).unwrap().packets;
    Verdict::ALL.iter().map(|(cell, _)| packets[*cell].load(Ordering::Relaxed)).collect()
}

#[test]
fn every_bit_of_a_record_that_comes_home_counts() {
    let mut rig = Rig::new();
    assert_eq!(rig.send(0, None), "fragment");
    let head = rig.head();
    rig.bring_home(head);
    let row = &rig.world.arena.streams(RX)[0];
    assert_eq!((row.finished.load(Ordering::Relaxed), row.has_finished(0)), (1, true), "a sound frame is remembered");
    assert_eq!(rig.send(0, None), "duplicate");
    let mut frame_id = 1;
    for bit in 0..64 {
        for word in 0..23 {
            assert_eq!(rig.send(frame_id, None), "fragment");
            let head = rig.head();
            let at = rig.world.immutable(head)[word];
            rig.world.flip(at, bit);
            rig.bring_home(head);
            assert_eq!(row.finished.load(Ordering::Relaxed), 1, "bit {bit} of word {word} went into the history");
            frame_id += 1;
        }
    }
    assert_eq!(rig.finished(ANSWERED), frame_id, "counted all the same");
    rig.nothing_is_lost(0);
    // Its name is free again: a second try is a new frame.
    assert_eq!(rig.send(1, None), "fragment");
    let head = rig.head();
    rig.bring_home(head);
    assert!(row.has_finished(1));
}

#[test]
fn a_head_in_hand_at_a_death_is_dropped_if_damaged() {
    let mut rig = Rig::new();
    assert_eq!(rig.send(5, None), "fragment");
    let head = rig.head();
    // As if it had not been routed yet.
    rig.world.arena.table().take(head, Me { id: RX, incarnation: 1 }).unwrap().release();
    let rig = rig.restart(|w| w.flip(w.immutable(head)[4], 17));
    assert_eq!(rig.world.take_from(RingKind::Status, TX), Some(head));
    assert_eq!(rig.world.descriptor(head).fate(), Some(DAMAGED));
    assert_eq!(rig.cx.page.counter(RxCounter::Damaged as usize), 1);
    rig.nothing_is_lost(1);
}

#[test]
fn a_head_on_its_way_at_a_death_comes_home_damaged() {
    let mut rig = Rig::new();
    assert_eq!(rig.send(5, None), "fragment");
    let head = rig.head();
    let mut rig = rig.restart(|w| w.flip(w.immutable(head)[0], 40));
    rig.bring_home(head);
    assert_eq!(rig.finished(ANSWERED), 1);
    rig.nothing_is_lost(0);
}

#[test]
fn a_damaged_fragment_is_sent_again() {
    let mut rig = Rig::new();
    assert_eq!(rig.send(5, Some(0)), "fragment");
    let held = |w: &World| {
        let all = w.arena.table().iter().filter(|(_, d)| d.role() == Role::Assembling).map(|(n, _)| n);
        all.collect::<Vec<_>>()
    };
    let before = held(&rig.world);
    assert_eq!(before.len(), 1);
    let mut rig = rig.restart(|w| w.flip(w.immutable(before[0])[2], 1));
    assert_eq!(rig.cx.page.counter(RxCounter::Damaged as usize), 1);
    assert!(held(&rig.world).is_empty());
    rig.nothing_is_lost(0);
    for n in 0..2 {
        assert_eq!(rig.send(5, Some(n)), "fragment");
    }
    let head = rig.head();
    rig.bring_home(head);
    rig.nothing_is_lost(0);
}

/// A frame of one packet that was recorded and not admitted yet: the ledger learns of it, as a drop.
#[test]
fn a_damaged_packet_that_was_a_whole_frame_is_counted() {
    let rig = Rig::new();
    let rig = rig.restart(|w| {
        let held = w.arena.table().take(3, Me { id: RX, incarnation: 1 }).unwrap();
        w.descriptor(3).reset();
        w.arena.write_record(&held, &meta(Address::NONE), place(0, 1, 64));
        w.descriptor(3).set_role(Role::Assembling);
        held.release();
        w.flip(w.immutable(3)[3], 63);
    });
    assert_eq!(rig.world.take_from(RingKind::Status, TX), Some(3));
    assert_eq!(rig.world.descriptor(3).fate(), Some(DAMAGED));
    assert_eq!(rig.world.arena.gateway(RX).unwrap().received.load(Ordering::Relaxed), 1);
    rig.nothing_is_lost(1);
}

/// Half-assembled, and then one of its records is damaged: it agrees with nothing, and the frame is given up.
#[test]
fn fragments_are_not_joined_to_a_damaged_one() {
    let mut rig = Rig::new();
    assert_eq!(rig.send(5, Some(0)), "fragment");
    let first = rig.world.arena.table().iter().find(|(_, d)| d.role() == Role::Assembling).unwrap().0;
    let at = rig.world.immutable(first)[8];
    rig.world.flip(at, 5);
    assert_eq!(rig.send(5, Some(1)), "contradicts_fragment");
}

/// The budget counts from the first packet that came, also where that is not the head.
#[test]
fn the_first_arrival_is_the_frames() {
    let mut rig = Rig::new();
    rig.cx.now_ns = 1_000_000_000;
    assert_eq!(rig.send(5, Some(1)), "fragment");
    rig.cx.now_ns = 1_002_000_000;
    assert_eq!(rig.send(5, Some(0)), "fragment");
    let head = rig.head();
    let meta = rig.world.arena.frame_meta(head).expect("a sound record");
    assert_eq!(meta.arrival_ns, 1_000_000_000);
    rig.bring_home(head);
}
