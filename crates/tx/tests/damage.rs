//! A frame whose record was damaged is not answered, since its address may be somebody else's: it goes home as dropped.

#[path = "../../stage/tests/world/mod.rs"]
mod world;

use arena::counters::TxCounter;
use arena::descriptor::{Fate, FateKind};
use arena::meta::Address;
use arena::sync::Ordering;
use arena::topology::{RX, RingKind};
use arena::{Me, OwnerId, StageKind};
use ports::udp::Host;
use stage::{Context, Stage};
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;
use tx::Tx;
use wire::{DropReason, ReplyHeader, Status};
use world::{DAMAGED, ELEMENTS, World, meta, pipeline, place};

const HEAD: u32 = 9;
const ANSWERED: Fate = Fate { kind: FateKind::Answered, reason: 0 };

struct Rig {
    world: World,
    stage: Tx,
    cx: Context,
    infer: OwnerId,
    client: UdpSocket,
    _host: Host,
}

impl Rig {
    fn new() -> Self {
        let world = World::new(StageKind::Tx);
        let host = Host::open("127.0.0.1:0".parse().unwrap(), 200 << 10, 1).expect("a socket");
        let port = host.tx_descriptors().map(|fd| fd.try_clone_to_owned().expect("a duplicate"));
        let attached = world.attached(port.into());
        let mut stage = Tx::prepare(&pipeline(), &attached).expect("a stage");
        let mut cx = world.context(1, attached);
        stage.activate(&mut cx).expect("active");
        let infer = world.arena.geometry().infer_id(0);
        let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        Self { world, stage, cx, infer, client, _host: host }
    }

    /// Feeds a frame that infer finished, lets `spoil` at it, and gives the fate that it came home with.
    fn fate(&mut self, spoil: impl Fn(&World)) -> Fate {
        let (world, me) = (&self.world, Me { id: self.infer, incarnation: 1 });
        let table = world.arena.table();
        let head = table.take(HEAD, me).unwrap();
        if let Some(slot) = table.detach_slot(&head, me) {
            slot.release();
        }
        head.release();
        world.descriptor(HEAD).reset();
        world.attach_slot(HEAD, 0, me);
        let slot = world.descriptor(HEAD).slot.load(Ordering::Relaxed);
        let reply_to = Address::new(self.client.local_addr().unwrap());
        world.feed(HEAD, &meta(reply_to), place(0, 1, 4 * ELEMENTS as u16), self.infer);
        // Feeding begins a frame anew; its slot is still attached.
        world.descriptor(HEAD).slot.store(slot, Ordering::Relaxed);
        spoil(world);
        self.stage.poll(&mut self.cx).expect("no stop, no poison");
        assert_eq!(world.take_from(RingKind::Home, RX), Some(HEAD));
        assert!(world.descriptor(HEAD).is_settled());
        world.descriptor(HEAD).fate().expect("a fate")
    }

    fn nothing_came(&self) {
        self.client.set_nonblocking(true).unwrap();
        let came = self.client.recv(&mut [0; 4096]).map_err(|e| e.kind());
        assert_eq!(came, Err(ErrorKind::WouldBlock));
        self.client.set_nonblocking(false).unwrap();
    }

    fn status(&self) -> Status {
        let mut bytes = [0; 4096];
        let len = self.client.recv(&mut bytes).expect("a reply");
        ReplyHeader::parse(&bytes[..len]).expect("a reply").header.status
    }
}

#[test]
fn every_bit_of_a_heads_record_counts() {
    let mut rig = Rig::new();
    for at in rig.world.immutable(HEAD) {
        for bit in 0..64 {
            assert_eq!(rig.fate(|w| w.flip(at, bit)), DAMAGED, "bit {bit} at {at:#x}");
        }
    }
    // Loopback delivers in order and at once: had any of them been answered, it would be here.
    rig.nothing_came();
    assert_eq!(rig.cx.page.counter(TxCounter::Damaged as usize), 23 * 64);
    assert_eq!(rig.fate(|_| {}), ANSWERED, "a sound frame is answered");
    assert_eq!(rig.status(), Status::Ok);
}

#[test]
fn a_fate_that_stands_already_stays_and_no_status_goes_out() {
    let mut rig = Rig::new();
    let late = Fate { kind: FateKind::Dropped, reason: DropReason::Deadline.code() };
    let reply_to = *rig.world.immutable(HEAD).get(14).expect("a word of the address");
    let fate = rig.fate(|w| {
        w.descriptor(HEAD).set_fate(late);
        w.flip(reply_to, 3);
    });
    assert_eq!(fate, late);
    rig.nothing_came();
}

/// The record of the head is sound, a segment's was not: whoever sent it may be told.
#[test]
fn a_frame_with_a_damaged_segment_is_refused_to_its_sender() {
    let mut rig = Rig::new();
    assert_eq!(rig.fate(|w| w.descriptor(HEAD).set_fate(DAMAGED)), DAMAGED);
    assert_eq!(rig.status(), Status::Dropped(DropReason::Damaged));
}
