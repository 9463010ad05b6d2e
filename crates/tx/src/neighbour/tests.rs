//! Answers and replies through the whole stage, with a port that the test looks into and no kernel's socket.

#[path = "../../../stage/tests/world/mod.rs"]
mod world;

use crate::Tx;
use ::stage::{Context, Stage};
use arena::counters::{LINK_UP, TxCounter};
use arena::descriptor::{DataRange, Fate, FateKind, Table};
use arena::device::Posted;
use arena::frame::make_answer;
use arena::meta::{Address, FrameMeta, Link};
use arena::reclaim::{Marks, reclaim};
use arena::record::Place;
use arena::topology::{RX, RingKind, TX};
use arena::{Held, Me, OwnerId, StageKind};
use ports::{Datagram, LinkState, PortError, Reaped, Route, SendOutcome, Sent, TxPort};
use std::cell::RefCell;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use world::{World, meta, pipeline, place};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];
const DEVICE: OwnerId = OwnerId::device_tx(0);
const ANSWERED: Fate = Fate { kind: FateKind::Answered, reason: 0 };
const LINK: Link = Link { peer_mac: [2, 0, 0, 0, 0, 1], local_mac: [2, 0, 0, 0, 0, 2], tags: [0; 2], queue: 0 };
const AT: DataRange = DataRange { offset: 300, len: 42 };

/// What the test and the port share.
#[derive(Default)]
struct Seen {
    /// Ethernet destination and source of what was sent.
    sent: Vec<[[u8; 6]; 2]>,
    outcome: Option<SendOutcome>,
    posted: Vec<u32>,
    /// Heads that a dead predecessor had posted when the device was reset.
    unconfirmed: Vec<u32>,
    /// The device sends nothing.
    is_stuck: bool,
    /// How often the port was given up.
    withdrawn: u32,
    errors: u64,
}

/// A port like that of a poll-mode driver.
struct FakePort {
    seen: Rc<RefCell<Seen>>,
    table: Table<'static>,
    me: Me,
    never: File,
}

impl TxPort for FakePort {
    fn found_sent(&mut self, _: &mut Vec<Sent>) {}

    fn take_unconfirmed(&mut self, heads: &mut Vec<Held>) {
        let all = std::mem::take(&mut self.seen.borrow_mut().unconfirmed);
        heads.extend(
            all.into_iter().filter_map(|head| self.table.complete(head, DEVICE, self.me)).map(|(head, _)| head),
        );
    }

    fn posts(&self) -> bool {
        true
    }

    fn max_datagram(&self, _: Address) -> usize {
        1472
    }

    fn enclose(&self, buffer: &mut [u8], payload: DataRange, route: &Route) -> Option<DataRange> {
        let at = DataRange { offset: payload.offset - 42, len: payload.len + 42 };
        let frame = &mut buffer[usize::from(at.offset)..];
        frame[..6].copy_from_slice(&route.link.peer_mac);
        frame[6..12].copy_from_slice(&route.link.local_mac);
        Some(at)
    }

    fn reap(&mut self, done: &mut Vec<Reaped>) {
        if self.seen.borrow().is_stuck {
            return;
        }
        for head in std::mem::take(&mut self.seen.borrow_mut().posted) {
            let (held, last) = self.table.complete(head, DEVICE, self.me).expect("what was posted");
            done.push(Reaped { held, last });
        }
    }

    fn is_pending(&self) -> bool {
        !self.seen.borrow().posted.is_empty()
    }

    fn burst(&self) -> usize {
        32
    }

    fn send(&mut self, datagrams: &[Datagram<'_>], outcomes: &mut [SendOutcome]) -> Result<(), PortError> {
        let mut seen = self.seen.borrow_mut();
        for (datagram, outcome) in datagrams.iter().zip(outcomes) {
            *outcome = seen.outcome.unwrap_or(SendOutcome::Posted);
            if *outcome == SendOutcome::Posted {
                self.table.post(datagram.head, DEVICE, self.me, Posted { position: 0, last: datagram.last });
                seen.posted.push(datagram.head.index());
            }
            if matches!(outcome, SendOutcome::Posted | SendOutcome::Sent) {
                let mac = |at: usize| datagram.first[at..at + 6].try_into().expect("six bytes");
                seen.sent.push([mac(0), mac(6)]);
            }
        }
        Ok(())
    }

    fn recorded(&mut self) {}

    fn withdraw(&mut self) -> Result<(), PortError> {
        let mut seen = self.seen.borrow_mut();
        assert!(seen.posted.is_empty(), "nothing is with the device");
        seen.withdrawn += 1;
        Ok(())
    }

    fn writable(&self) -> BorrowedFd<'_> {
        self.never.as_fd()
    }

    fn device_errors(&mut self) -> Option<u64> {
        Some(self.seen.borrow().errors)
    }

    fn link_state(&self) -> Option<LinkState> {
        Some(LinkState { is_up: true, speed_mbps: 40_000 })
    }

    fn link_address(&self) -> Option<[u8; 6]> {
        Some(MAC)
    }
}

struct Rig {
    world: World,
    stage: std::mem::ManuallyDrop<Tx>,
    cx: Context,
    seen: Rc<RefCell<Seen>>,
}

impl Rig {
    fn new(device: bool) -> Self {
        let (world, seen) = (World::new(StageKind::Tx), Rc::default());
        let (stage, cx) = Self::begin(&world, &seen, device, 1);
        Self { world, stage, cx, seen }
    }

    fn begin(
        world: &World,
        seen: &Rc<RefCell<Seen>>,
        device: bool,
        incarnation: u32,
    ) -> (std::mem::ManuallyDrop<Tx>, Context) {
        let attached = world.attached(Vec::new());
        let mut stage = Tx::prepare(&pipeline(), &attached).expect("a stage");
        let cx = world.context(incarnation, attached);
        let never = File::open("/dev/null").expect("a file");
        let port = FakePort { seen: Rc::clone(seen), table: cx.table, me: cx.me, never };
        let device = device.then(|| -> Box<dyn TxPort> { Box::new(port) });
        stage.begin_with(&cx, None, device).expect("active");
        (std::mem::ManuallyDrop::new(stage), cx)
    }

    /// The process is gone: the supervisor sweeps, and a successor takes over.
    fn restart(self) -> Self {
        let Self { world, cx, seen, .. } = self;
        let (arena, dead) = (&world.arena, cx.me);
        let recovery = arena.rings_where(|s| s.kind == RingKind::Recovery && s.from == TX)[0];
        let mut marks = Marks::new(arena.table().len());
        reclaim(arena.table(), dead, &arena.rings_of(TX), &recovery, false, &mut marks).expect("a sweep");
        let (stage, cx) = Self::begin(&world, &seen, true, dead.incarnation + 1);
        Self { world, stage, cx, seen }
    }

    /// rx-gateway has answered a neighbour.
    fn answer(&self, index: u32) {
        self.answer_of(index, AT);
    }

    /// The same with a frame that lies elsewhere.
    fn answer_of(&self, index: u32, at: DataRange) {
        let (world, me) = (&self.world, Me { id: RX, incarnation: 1 });
        let mut held = world.arena.table().take(index, me).expect("a buffer");
        let frame = &mut self.cx.arena.packet_mut(&mut held)[usize::from(at.offset)..];
        frame[..6].copy_from_slice(&LINK.peer_mac);
        frame[6..12].copy_from_slice(&LINK.local_mac);
        world.descriptor(index).reset();
        let meta = FrameMeta { link: Some(LINK), ..FrameMeta::default() };
        world.arena.write_record(&held, &meta, Place { data: at, fragment: 0, count: 1 });
        make_answer(world.arena.table(), &held);
        let ring = world.arena.rings_where(|s| s.kind == RingKind::Status && s.from == RX)[0];
        ring.producer(world.arena.table(), me).push(held).expect("room");
    }

    /// A frame whose result is a status: its reply is one packet, back by `link`.
    fn dropped(&self, index: u32, link: Option<Link>) {
        let infer = self.world.arena.geometry().infer_id(0);
        let peer = Address::new("192.0.2.9:5000".parse().unwrap());
        let local = Address::new("192.0.2.1:9000".parse().unwrap());
        let held = self.world.arena.table().take(index, Me { id: infer, incarnation: 1 }).expect("a buffer");
        held.release();
        self.world.feed(index, &FrameMeta { peer, local, link, ..meta(peer) }, place(0, 1, 64), infer);
        let late = Fate { kind: FateKind::Dropped, reason: wire::DropReason::Deadline.code() };
        self.world.descriptor(index).set_fate(late);
    }

    fn poll(&mut self) {
        self.stage.poll(&mut self.cx).expect("no stop, no poison");
    }

    fn count(&self, counter: TxCounter) -> u64 {
        self.cx.page.counter(counter as usize)
    }

    fn came_home(&self) -> Vec<u32> {
        let home: Vec<_> = std::iter::from_fn(|| self.world.take_from(RingKind::Home, RX)).collect();
        assert!(home.iter().all(|head| self.world.descriptor(*head).is_settled()));
        home
    }

    fn sent(&self) -> Vec<[[u8; 6]; 2]> {
        std::mem::take(&mut self.seen.borrow_mut().sent)
    }
}

/// To the neighbour, from the port that sends.
const FRAME: [[u8; 6]; 2] = [LINK.peer_mac, MAC];

#[test]
fn an_answer_goes_out_in_the_ports_name_and_home() {
    let mut rig = Rig::new(true);
    rig.answer(5);
    rig.poll();
    rig.poll();
    assert_eq!((rig.sent(), rig.came_home()), (vec![FRAME], vec![5]));
    assert!(rig.world.descriptor(5).is_answer(), "no fate is laid on it");
    assert_eq!((rig.count(TxCounter::LinkAnswers), rig.count(TxCounter::LinkRefused)), (1, 0));
    assert_eq!(
        (rig.count(TxCounter::Frames), rig.count(TxCounter::Datagrams), rig.count(TxCounter::FoundSent)),
        (0, 0, 0)
    );
    let ledger = rig.world.arena.ledger(1);
    assert!(ledger.balanced() && ledger.received == 0, "{ledger:?}");
}

#[test]
fn what_a_port_does_with_answers() {
    let mut rig = Rig::new(true);
    for (n, (outcome, sent, home, refused)) in
        [(SendOutcome::Failed, 0, 1, 1), (SendOutcome::Sent, 1, 1, 1), (SendOutcome::Later, 0, 0, 1)]
            .into_iter()
            .enumerate()
    {
        rig.seen.borrow_mut().outcome = Some(outcome);
        rig.answer(5 + n as u32);
        rig.poll();
        assert_eq!((rig.sent().len(), rig.came_home().len()), (sent, home), "{outcome:?}");
        assert_eq!(rig.count(TxCounter::LinkRefused), refused, "{outcome:?}");
    }
    assert!(!rig.stage.has_input(&rig.cx) && rig.stage.timer_ns(&rig.cx).is_some(), "it waits for room");
    assert_eq!(rig.stage.holds().0, 1);
    rig.seen.borrow_mut().outcome = None;
    rig.poll();
    assert_eq!((rig.sent().len(), rig.came_home()), (1, vec![7]));
    assert!(rig.stage.drain(&mut rig.cx).expect("drained"));
}

#[test]
fn a_device_is_given_up_when_it_has_sent_everything() {
    let mut rig = Rig::new(true);
    rig.seen.borrow_mut().is_stuck = true;
    rig.answer(5);
    rig.poll();
    assert!(!rig.stage.drain(&mut rig.cx).expect("it goes on"), "the device has a head");
    assert_eq!(rig.seen.borrow().withdrawn, 0);
    rig.seen.borrow_mut().is_stuck = false;
    assert!(rig.stage.drain(&mut rig.cx).expect("drained"));
    assert_eq!((rig.seen.borrow().withdrawn, rig.came_home()), (1, vec![5]));
}

#[test]
fn what_a_device_tells_of_itself_is_shown() {
    let mut rig = Rig::new(true);
    rig.seen.borrow_mut().errors = 4;
    rig.poll();
    rig = rig.restart();
    rig.seen.borrow_mut().errors = 1;
    rig.poll();
    let cells = [TxCounter::DeviceErrors, TxCounter::LinkUp, TxCounter::LinkMbps];
    assert_eq!(cells.map(|cell| rig.count(cell)), [5, LINK_UP, 40_000], "errors of both ports");
}

#[test]
fn answers_that_are_too_long_for_the_port_are_not_sent() {
    let mut rig = Rig::new(true);
    // What the port sends, with two tags around it.
    for (len, sent) in [(1522, 1), (1523, 0), (3000, 0)] {
        rig.answer_of(5, DataRange { len, ..AT });
        rig.poll();
        assert_eq!((rig.sent().len(), rig.came_home()), (sent, vec![5]), "{len} bytes");
    }
    assert_eq!(rig.count(TxCounter::LinkRefused), 2);
}

#[test]
fn without_a_port_of_links_there_is_no_answer() {
    let mut rig = Rig::new(false);
    rig.answer(5);
    rig.poll();
    assert_eq!((rig.came_home(), rig.count(TxCounter::LinkRefused)), (vec![5], 1));
}

#[test]
fn every_bit_of_an_answers_record_counts() {
    let mut rig = Rig::new(true);
    for at in rig.world.immutable(5) {
        for bit in 0..64 {
            rig.answer(5);
            rig.world.flip(at, bit);
            rig.poll();
            assert_eq!((rig.sent().len(), rig.came_home()), (0, vec![5]), "bit {bit} at {at:#x}");
        }
    }
    assert_eq!(rig.count(TxCounter::Damaged), 23 * 64);
}

/// Popped, waiting, or with the device: whoever dies, each is sent at most once and comes home once.
#[test]
fn a_death_with_answers_in_hand() {
    for outcome in [Some(SendOutcome::Later), None] {
        let mut rig = Rig::new(true);
        rig.seen.borrow_mut().outcome = outcome;
        rig.answer(5);
        rig.answer(6);
        // A turn takes them, and what the port takes it gives back at the turn's end: a death before that.
        let live = rig.stage.live_for_tests();
        for index in [5, 6] {
            let head = rig.world.arena.table().take(index, rig.cx.me).expect("a head");
            live.begin_answer(&rig.cx, head).expect("no stop");
        }
        live.send_answers(&rig.cx).expect("sent");
        let sent = rig.sent().len();
        assert_eq!(sent, if outcome.is_none() { 2 } else { 0 });
        // The rings forget what the words were taken from.
        let ring = rig.world.arena.rings_where(|s| s.kind == RingKind::Status && s.from == RX)[0];
        ring.format(0);
        if outcome.is_none() {
            let mut seen = rig.seen.borrow_mut();
            seen.unconfirmed = std::mem::take(&mut seen.posted);
        }
        let mut rig = rig.restart();
        rig.seen.borrow_mut().outcome = None;
        for _ in 0..3 {
            rig.poll();
        }
        let mut home = rig.came_home();
        home.sort_unstable();
        assert_eq!((home, rig.sent().len()), (vec![5, 6], 0), "{outcome:?}");
        assert_eq!(rig.count(TxCounter::LinkRefused), if outcome.is_none() { 0 } else { 2 });
        assert_eq!(
            (rig.count(TxCounter::SentUnconfirmed), rig.count(TxCounter::Frames)),
            (0, 0),
            "they are no replies"
        );
    }
}

#[test]
fn a_reply_that_nobody_saw_go_counts_as_answered() {
    let rig = Rig::new(true);
    rig.dropped(9, Some(LINK));
    rig.world.descriptor(9).reset();
    let table = rig.world.arena.table();
    let held = table.take(9, rig.cx.me).expect("a head");
    table.post(&held, DEVICE, rig.cx.me, Posted { position: 0, last: true });
    held.release();
    rig.world.arena.rings_where(|s| s.from == rig.world.arena.geometry().infer_id(0) && s.to == TX)[0].format(0);
    rig.seen.borrow_mut().unconfirmed = vec![9];
    let mut rig = rig.restart();
    rig.poll();
    assert_eq!((rig.came_home(), rig.world.descriptor(9).fate()), (vec![9], Some(ANSWERED)));
    assert_eq!((rig.count(TxCounter::SentUnconfirmed), rig.count(TxCounter::Frames), rig.sent().len()), (1, 1, 0));
}

#[test]
fn replies_leave_in_the_ports_name_and_fail_where_there_is_no_way() {
    let mut rig = Rig::new(true);
    rig.dropped(9, Some(LINK));
    rig.poll();
    assert_eq!((rig.sent(), rig.came_home()), (vec![FRAME], vec![9]));
    // No link, and no kernel that knew another way.
    rig.dropped(10, None);
    rig.poll();
    assert_eq!((rig.sent().len(), rig.came_home(), rig.count(TxCounter::SendErrors)), (0, vec![10], 1));
    // A device without room is waited for.
    rig.seen.borrow_mut().outcome = Some(SendOutcome::Later);
    rig.dropped(11, Some(LINK));
    for _ in 0..3 {
        rig.poll();
    }
    assert_eq!((rig.came_home().len(), rig.count(TxCounter::SendErrors)), (0, 1));
    rig.seen.borrow_mut().outcome = None;
    rig.poll();
    assert_eq!((rig.sent().len(), rig.came_home()), (1, vec![11]));
}
