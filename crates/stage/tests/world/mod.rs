//! One stage in an arena of its own, with the test at the other ends of its rings, and a hand that damages shared memory.
//! Included by path in the tests of each stage.

#![allow(dead_code, reason = "each stage's tests use their part of it")]

use arena::arena::{Access, Regions, rights};
use arena::descriptor::{DataRange, Descriptor, Fate, FateKind, Role};
use arena::doorbell::Doorbells;
use arena::launch::Attached;
use arena::meta::{Address, Extension, FrameMeta};
use arena::record::Place;
use arena::region::{HugePages, Region};
use arena::topology::{RX, RingKind, TX};
use arena::{Arena, Geometry, Held, Instance, Me, OwnerId, StageKind};
use config::{Engine, ModelFacts, Pipeline, TensorFacts};
use stage::Context;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// How a frame ends whose record does not match its checksum.
pub const DAMAGED: Fate = Fate { kind: FateKind::Dropped, reason: wire::DropReason::Damaged.code() };

/// Elements of the tensor that the stages' model takes and gives.
pub const ELEMENTS: usize = 16;

pub struct World {
    pub arena: Arena,
    pub regions: Regions,
    control: File,
    kind: StageKind,
}

/// A pipeline whose model takes and gives `ELEMENTS` floats.
pub fn pipeline() -> Pipeline {
    let mut pipeline = Pipeline::default_with(Engine::Null);
    let shape = vec![1, ELEMENTS as u64];
    pipeline.infer.null_input_elements = ELEMENTS as u32;
    pipeline.infer.null_output_elements = ELEMENTS as u32;
    pipeline.post.kind = config::PostKind::Tensor;
    let bytes = 4 * ELEMENTS as u64;
    let tensors = vec![TensorFacts::f32(shape)];
    pipeline.set_networks(&[ModelFacts {
        input_bytes: bytes,
        output_bytes: bytes,
        inputs: tensors.clone(),
        outputs: tensors,
        sha256: String::new(),
    }]);
    pipeline
}

/// A tensor frame in one packet, aligned.
pub fn meta(reply_to: Address) -> FrameMeta {
    FrameMeta {
        stream: 7,
        session: 8,
        frame: 42,
        encoding: wire::Encoding::TensorF32.code(),
        flags: FrameMeta::REPLY_ON_DROP,
        total_len: 4 * ELEMENTS as u32,
        stream_row: 0,
        arrival_ns: arena::now_ns(),
        deadline_ns: arena::now_ns() + 3_600_000_000_000,
        capture_time: 99,
        reply_to,
        ..FrameMeta::default()
    }
}

/// The place of fragment `fragment` of `count`, each of them `len` bytes.
pub const fn place(fragment: u16, count: u16, len: u16) -> Place {
    Place { data: DataRange { offset: 448, len }, fragment, count }
}

impl World {
    /// For a stage of this kind.
    pub fn new(kind: StageKind) -> Self {
        let geometry = Geometry {
            buffers: 64,
            slots: 4,
            slot_input_bytes: 64,
            slot_output_bytes: 64,
            preprocess: 1,
            infer: 1,
            ring_capacity: 8,
            max_streams: 4,
            gateways: 1,
        };
        let (arena, regions) = Arena::create(geometry, HugePages::Off).expect("a few MiB of memory");
        let control = File::from(regions.control.rw.try_clone().expect("a duplicate"));
        Self { arena, regions, control, kind }
    }

    /// What a process of the stage inherits; `port`: the driver's descriptors.
    pub fn attached(&self, port: Vec<OwnedFd>) -> Attached {
        let give = |region: &'_ Region, access| -> Option<(OwnedFd, bool)> {
            let fd: BorrowedFd<'_> = match access {
                Access::None => return None,
                Access::Read => region.ro.as_fd(),
                Access::Write => region.rw.as_fd(),
            };
            Some((fd.try_clone_to_owned().expect("a duplicate"), access == Access::Write))
        };
        let (packets, inputs, outputs) = rights(self.kind);
        let all = [
            give(&self.regions.packets, packets),
            give(&self.regions.inputs, inputs),
            give(&self.regions.outputs, outputs),
        ];
        let [packets, inputs, outputs] = all.each_ref().map(|a| a.as_ref().map(|(fd, w)| (fd.as_fd(), *w)));
        let arena = Arena::attach(self.regions.control.rw.as_fd(), packets, inputs, outputs).expect("attach");
        let fd = || arena::doorbell::create().expect("a descriptor");
        Attached { doorbells: Doorbells::new(&arena, []), arena, config: fd(), supervisor: fd(), port }
    }

    /// The stage's surroundings as its incarnation `incarnation`.
    pub fn context(&self, incarnation: u32, attached: Attached) -> Context {
        let instance = Instance { kind: self.kind, number: 0 };
        let id = self.arena.geometry().id_of(instance);
        Context {
            table: attached.arena.table(),
            me: Me { id, incarnation },
            instance,
            page: attached.arena.page(id).expect("a page"),
            doorbells: attached.doorbells,
            arena: attached.arena,
            rings: pipeline().rings,
            port: attached.port,
            now_ns: arena::now_ns(),
            ingress_paused: false,
        }
    }

    pub fn descriptor(&self, index: u32) -> &'static Descriptor {
        self.arena.table().get(index).expect("a buffer")
    }

    /// Writes the record of a fresh head, as rx-gateway does, and hands it to the stage in `from`'s name.
    pub fn feed(&self, index: u32, meta: &FrameMeta, place: Place, from: OwnerId) {
        let d = self.descriptor(index);
        let held = self.arena.table().take(index, Me { id: from, incarnation: 1 }).expect("a buffer");
        d.reset();
        self.arena.extensions()[index as usize].reset();
        self.arena.write_record(&held, meta, place);
        d.set_role(Role::Head);
        self.push(held, from);
    }

    /// Pushes a head to the stage over the forward ring from `from`.
    pub fn push(&self, held: Held, from: OwnerId) {
        let me = Me { id: from, incarnation: 1 };
        let to = self.arena.geometry().id_of(Instance { kind: self.kind, number: 0 });
        let ring = self.arena.rings_where(|s| s.from == from && s.to == to && is_for_heads(s.kind))[0];
        ring.producer(self.arena.table(), me).push(held).expect("room");
    }

    /// What the stage sent to `to`, if it sent anything; the test owns it then.
    pub fn take_from(&self, kind: RingKind, to: OwnerId) -> Option<u32> {
        let from = self.arena.geometry().id_of(Instance { kind: self.kind, number: 0 });
        let ring = self.arena.rings_where(|s| s.kind == kind && s.from == from && s.to == to)[0];
        let held = ring.consumer(self.arena.table(), Me { id: to, incarnation: 1 }).pop().expect("no poison")?;
        Some(held.release())
    }

    /// Attaches slot `n` to a head that the test owns.
    pub fn attach_slot(&self, head: u32, n: u32, me: Me) {
        let table = self.arena.table();
        let head = table.take(head, me).expect("a head");
        let slot = table.take(self.arena.geometry().buffers + n, me).expect("a slot");
        table.attach_slot(&head, slot);
        head.release();
    }

    /// Where the words of the immutable part of a buffer's record lie in the control region.
    pub fn immutable(&self, index: u32) -> Vec<u64> {
        let descriptor = self.offset("descriptors", index, size_of::<Descriptor>());
        let data = std::mem::offset_of!(Descriptor, data) as u64;
        let extension = self.offset("extensions", index, size_of::<Extension>());
        let words = (0..19).chain(26..29).map(|n| extension + 8 * n);
        words.chain([descriptor + data]).collect()
    }

    fn offset(&self, area: &str, index: u32, size: usize) -> u64 {
        let areas = self.arena.layout().areas();
        let (_, at) = areas.iter().find(|(name, _)| *name == area).expect("an area");
        at + u64::from(index) * size as u64
    }

    /// Flips one bit of the control region.
    pub fn flip(&self, at: u64, bit: u32) {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, at).expect("a word");
        let word = u64::from_le_bytes(bytes) ^ 1 << bit;
        self.control.write_all_at(&word.to_le_bytes(), at).expect("a word");
    }
}

fn is_for_heads(kind: RingKind) -> bool {
    matches!(kind, RingKind::Forward | RingKind::Status | RingKind::Home)
}

/// The ends that every topology has.
pub const ENDS: (OwnerId, OwnerId) = (RX, TX);
