//! A stand-in for all four stages: it speaks the protocol of activation, rings and words, and touches no packet.
//!
//! Its name says which stage it is; a file `STAGE.mode` beside it says how it misbehaves.

use arena::descriptor::{DataRange, Fate, FateKind, Role};
use arena::launch::{Attached, Launch};
use arena::layout::{LAYOUT_HASH, LAYOUT_VERSION};
use arena::meta::FrameMeta;
use arena::page::Command;
use arena::record::Place;
use arena::ring::{Consumer, Producer};
use arena::sync::Ordering;
use arena::topology::RX;
use arena::topology::RingKind;
use arena::{Held, Me, StageKind, now_ns};
use std::path::Path;
use std::time::Duration;

/// The id of the frame that an infer with mode `abort` cannot stand.
pub const DEADLY_FRAME: u64 = 13;

fn pause() {
    static PARENT: std::sync::OnceLock<Option<rustix::process::Pid>> = std::sync::OnceLock::new();
    let parent = rustix::process::getppid();
    if *PARENT.get_or_init(|| parent) != parent {
        std::process::exit(0); // A test failed and took the supervisor with it.
    }
    std::thread::sleep(Duration::from_micros(300));
}

/// The life of a stage process.
pub fn main(path: &Path, question: Option<&str>) -> i32 {
    let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix("flumeway-")).unwrap_or_default();
    let mode = std::fs::read_to_string(path.with_file_name(format!("{name}.mode"))).unwrap_or_default();
    match (question, mode.as_str()) {
        (Some("--layout"), "old-layout") => println!("{{\"layout_version\":0,\"layout_hash\":\"00ff\"}}"),
        (Some("--layout"), _) => {
            println!("{{\"layout_version\":{LAYOUT_VERSION},\"layout_hash\":\"{LAYOUT_HASH:016x}\"}}");
        }
        (Some("--describe"), "no-model") => {
            eprintln!("broken.onnx: not an ONNX file");
            return 2;
        }
        (Some("--describe"), _) => println!(
            "{{\"schema\":1,\"engine\":\"null\",\"inputs\":[{{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[1,16]}}],\
             \"outputs\":[{{\"name\":\"y\",\"dtype\":\"f32\",\"shape\":[1,16]}}],\"input_bytes\":64,\"output_bytes\":64}}"
        ),
        (Some(_), _) => return 2,
        (None, _) => return stage(name, &mode),
    }
    0
}

fn stage(name: &str, mode: &str) -> i32 {
    let launch = Launch::from_env().expect("a launch");
    let attached = launch.attach().expect("an arena");
    if mode == "refuse" {
        rustix::io::write(&attached.supervisor, b"the model is no network\n").expect("a socket");
        return 78;
    }
    assert!(name.is_empty() || attached.arena.geometry().instance(launch.owner).is_some());
    rustix::io::write(&attached.supervisor, b"ready\n").expect("a socket");
    let control = attached.arena.control_word(launch.owner).expect("a control word");
    let incarnation = loop {
        match control.command() {
            Command::Active { incarnation, ticket } if ticket == launch.ticket => break incarnation,
            Command::Drain { ticket, .. } if ticket == launch.ticket => return 0,
            _ => pause(),
        }
    };
    let page = attached.arena.page(launch.owner).expect("a page");
    page.heartbeat_ns.store(now_ns(), Ordering::Relaxed);
    page.incarnation.store(incarnation, Ordering::Release);
    let mut work = Work::new(&attached, Me { id: launch.owner, incarnation }, mode == "abort");
    page.first_work_ns.store(now_ns(), Ordering::Release);
    while control.command() == (Command::Active { incarnation, ticket: launch.ticket }) {
        page.heartbeat_ns.store(now_ns(), Ordering::Relaxed);
        work.turn();
        pause();
    }
    if mode == "stubborn" {
        loop {
            page.heartbeat_ns.store(now_ns(), Ordering::Relaxed);
            pause();
        }
    }
    page.parked.store(incarnation, Ordering::Release);
    0
}

struct Work<'a> {
    attached: &'a Attached,
    me: Me,
    kind: StageKind,
    aborts: bool,
    inlets: Vec<Consumer<'static>>,
    out: Option<Producer<'static>>,
    wanted: u64,
}

impl<'a> Work<'a> {
    fn new(attached: &'a Attached, me: Me, aborts: bool) -> Self {
        let arena = &attached.arena;
        let kind = arena.geometry().instance(me.id).expect("an instance").kind;
        let consumer = |r: arena::ring::Ring<'static>| r.consumer(arena.table(), me);
        let recovery = arena.rings_where(|s| s.kind == RingKind::Recovery && s.to == me.id);
        let inputs = arena
            .rings_where(|s| s.to == me.id && matches!(s.kind, RingKind::Forward | RingKind::Status | RingKind::Home));
        let outputs = arena.rings_where(|s| s.from == me.id && matches!(s.kind, RingKind::Forward | RingKind::Home));
        let config = arena::launch::read_config(&attached.config, 0).expect("a configuration");
        // The test says in a key that nothing else here uses how many frames rx-gateway is to make up.
        let config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
        Self {
            attached,
            me,
            kind,
            aborts,
            inlets: recovery.into_iter().chain(inputs).map(consumer).collect(),
            out: outputs.into_iter().next().map(|r| r.producer(arena.table(), me)),
            wanted: config["infer"]["delay_us"].as_u64().unwrap_or(0),
        }
    }

    fn turn(&mut self) {
        for n in 0..self.inlets.len() {
            while let Some(held) = self.inlets[n].pop().expect("no poison") {
                self.take(held);
            }
        }
        if self.kind == StageKind::RxGateway {
            self.admit();
        }
    }

    fn take(&mut self, held: Held) {
        let arena = &self.attached.arena;
        let page = arena.page(self.me.id).expect("a page");
        let d = arena.table().of(&held);
        page.set_current(held.index(), d.owner().seq);
        match self.kind {
            StageKind::RxGateway => {
                let fate = d.fate().expect("a fate");
                let cell = &arena.gateway(RX).unwrap().cells[fate.cell()];
                cell.store(cell.load(Ordering::Acquire) + 1, Ordering::Release);
                d.set_role(Role::Free);
                held.release();
                page.clear_current();
                return;
            }
            StageKind::Infer if self.aborts => {
                let meta = arena.frame_meta(held.index()).expect("a sound record");
                if meta.frame == DEADLY_FRAME {
                    std::process::abort();
                }
            }
            StageKind::Tx => d.set_fate(Fate { kind: FateKind::Answered, reason: 0 }),
            StageKind::Preprocess | StageKind::Infer => {}
        }
        self.out.as_mut().expect("a ring").push(held).expect("room");
        page.clear_current();
    }

    /// One frame more, if more are wanted.
    fn admit(&mut self) {
        let arena = &self.attached.arena;
        let gateway = arena.gateway(RX).unwrap();
        let received = gateway.received.load(Ordering::Acquire);
        let paused = arena.supervisor().ingress_paused.load(Ordering::Acquire) != 0;
        if received >= self.wanted || paused {
            return;
        }
        let all = arena.table().iter().take(arena.geometry().buffers as usize);
        let mut free = all.filter(|(_, d)| d.role() == Role::Free && d.owner().id == self.me.id);
        let Some((index, d)) = free.next() else { return };
        let held = arena.table().take(index, self.me).expect("a buffer");
        for cell in [&d.attempts, &d.interruptions, &d.segments] {
            cell.store(0, Ordering::Relaxed);
        }
        d.fate.store(0, Ordering::Relaxed);
        let place = Place { data: DataRange { offset: 320, len: 0 }, fragment: 0, count: 1 };
        arena.write_record(&held, &FrameMeta { frame: received, ..FrameMeta::default() }, place);
        gateway.received.store(received + 1, Ordering::Release);
        d.set_role(Role::Head);
        self.out.as_mut().expect("a ring").push(held).expect("room");
    }
}
