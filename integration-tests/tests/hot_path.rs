//! The hot path allocates nothing: all four stages in one process and one thread, on a real arena and real UDP sockets,
//! with every allocation inside their polls counted.
//!
//! The engine is `null`: what other engines, and the JPEG decoder, allocate within a call and free again is theirs.

use allocation_counter::measure;
use arena::arena::{Access, Regions, rights};
use arena::doorbell::Doorbells;
use arena::launch::Attached;
use arena::region::{HugePages, Region};
use arena::{Arena, Geometry, Me, OwnerId, StageKind, now_ns};
use config::{Auto, ModelFacts, Pipeline, Topology};
use engines::EngineOptions;
use integration_tests::client::{Client, Frame, values};
use ports::udp::Host;
use stage::{Context, Stage};
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;
use wire::{BadRequestReason, Encoding, Status};

/// Frames after which every table has met what it will meet.
const WARM_UP: u64 = 200;
/// Frames whose allocations count.
const COUNTED: u64 = 500;

/// A stage as its process would run it, with what it knows of its surroundings.
struct Process {
    name: String,
    /// Never dropped: it ends as a process does, with buffers in hand, whose handles would take that for a leak.
    stage: ManuallyDrop<Box<dyn Stage>>,
    cx: Context,
}

/// The whole pipeline in this thread.
struct InProcess {
    processes: Vec<Process>,
    /// Must outlive the processes, as a supervisor's would.
    host: Host,
}

fn access(region: &Region, access: Access) -> Option<(BorrowedFd<'_>, bool)> {
    match access {
        Access::None => None,
        Access::Read => Some((region.ro.as_fd(), false)),
        Access::Write => Some((region.rw.as_fd(), true)),
    }
}

fn null_device() -> OwnedFd {
    std::fs::File::open("/dev/null").expect("/dev/null").into()
}

/// What a stage of this kind gets from its supervisor.
fn attach(kind: StageKind, regions: &Regions, bells: &[OwnedFd], host: &Host) -> Attached {
    let (packets, inputs, outputs) = rights(kind);
    let arena = Arena::attach(
        regions.control.rw.as_fd(),
        access(&regions.packets, packets),
        access(&regions.inputs, inputs),
        access(&regions.outputs, outputs),
    )
    .expect("attach");
    let duplicate = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().expect("a duplicate");
    let port = match kind {
        StageKind::RxGateway => host.rx_descriptors(0).expect("a socket").map(duplicate).into(),
        StageKind::Tx => host.tx_descriptors().map(duplicate).into(),
        StageKind::Preprocess | StageKind::Infer => Vec::new(),
    };
    let doorbells = Doorbells::new(&arena, bells.iter().map(|b| Some(duplicate(b.as_fd()))));
    Attached { arena, doorbells, config: null_device(), supervisor: null_device(), port }
}

fn prepare(kind: StageKind, pipeline: &Pipeline, attached: &Attached) -> Box<dyn Stage> {
    match kind {
        StageKind::RxGateway => Box::new(rx_gateway::RxGateway::prepare(pipeline, attached).expect("rx-gateway")),
        StageKind::Preprocess => Box::new(preprocess::Preprocess::prepare(pipeline, attached).expect("preprocess")),
        StageKind::Infer => Box::new(infer::Infer::prepare(pipeline, attached).expect("infer")),
        StageKind::Tx => Box::new(tx::Tx::prepare(pipeline, attached).expect("tx")),
    }
}

/// The configuration with every `auto` resolved, as the supervisor does it.
fn resolved(text: &str, options: &EngineOptions) -> Pipeline {
    let mut pipeline = Pipeline::from_toml_str(text, Path::new("/"), "test").expect("a valid configuration");
    let description = engines::describe_model_json(pipeline.infer.model.as_deref(), "null", options).expect("shapes");
    let model = ModelFacts::from_describe(&description).expect("shapes");
    let topology = Topology::new(&pipeline, &[0]).expect("a topology");
    pipeline.resolve(&topology, &[model]).expect("sizes");
    pipeline
}

impl InProcess {
    fn start(pipeline: &Pipeline) -> Self {
        let Auto::Fixed(slots) = pipeline.arena.slots else { panic!("slots are resolved") };
        let geometry = Geometry {
            buffers: pipeline.arena.buffers,
            slots,
            slot_input_bytes: pipeline.arena.max_input_bytes,
            slot_output_bytes: pipeline.arena.max_output_bytes,
            preprocess: 1,
            infer: 1,
            ring_capacity: pipeline.rings.capacity,
            max_streams: pipeline.limits.max_streams,
            gateways: 1,
        };
        let host = Host::open(pipeline.ingress.listen, 4 << 20, 1).expect("a socket");
        let (arena, regions) = Arena::create(geometry, HugePages::Off).expect("an arena");
        let bells: Vec<_> = (0..geometry.instances()).map(|_| arena::doorbell::create().expect("a doorbell")).collect();
        let process = |(id, instance): (OwnerId, arena::Instance)| {
            let attached = attach(instance.kind, &regions, &bells, &host);
            let mut stage = prepare(instance.kind, pipeline, &attached);
            let mut cx = Context {
                table: attached.arena.table(),
                me: Me { id, incarnation: 1 },
                instance,
                page: attached.arena.page(id).expect("a page"),
                doorbells: attached.doorbells,
                arena: attached.arena,
                rings: pipeline.rings.clone(),
                port: attached.port,
                now_ns: now_ns(),
                ingress_paused: false,
            };
            stage.activate(&mut cx).expect("active");
            Process { name: instance.name(1), stage: ManuallyDrop::new(stage), cx }
        };
        let processes = arena.geometry().all_instances().map(process).collect();
        Self { processes, host }
    }

    /// One turn of each stage; adds to `allocations` by stage.
    fn turn(&mut self, allocations: &mut [u64]) {
        for (process, allocations) in self.processes.iter_mut().zip(allocations) {
            process.cx.now_ns = now_ns();
            let mut ended = Ok(0);
            let heap = measure(|| ended = process.stage.poll(&mut process.cx));
            ended.unwrap_or_else(|stop| panic!("{}: {stop}", process.name));
            *allocations += heap.count_total;
        }
    }

    /// Sends frames `ids`, a few at a time, and takes turns until all are answered; returns the allocations by stage.
    fn serve(
        &mut self,
        client: &mut Client,
        ids: std::ops::Range<u64>,
        frame: impl Fn(u64) -> Vec<u8>,
        as_sent: Frame<'_>,
    ) -> Vec<u64> {
        let mut allocations = vec![0; self.processes.len()];
        for group in ids.step_by(4) {
            for id in group..group + 4 {
                client.send(id, &Frame { bytes: &frame(id), ..as_sent });
            }
            let until = Instant::now() + integration_tests::pipeline::PATIENCE;
            while (group..group + 4).any(|id| !client.replies.contains_key(&id)) {
                assert!(Instant::now() < until, "frames {group}.. have no answer");
                self.turn(&mut allocations);
                client.receive();
            }
        }
        allocations
    }

    /// The allocations of `COUNTED` frames after `WARM_UP` others, by stage.
    fn count(&mut self, frame: impl Fn(u64) -> Vec<u8>, as_sent: Frame<'_>) -> (Client, HashMap<String, u64>) {
        let mut client = Client::new(self.host.local_addr(), 7);
        self.serve(&mut client, 0..WARM_UP, &frame, as_sent);
        let counted = self.serve(&mut client, WARM_UP..WARM_UP + COUNTED, &frame, as_sent);
        let counted = self.processes.iter().map(|p| p.name.clone()).zip(counted).collect();
        println!("allocations in {COUNTED} frames: {counted:?}");
        (client, counted)
    }

    /// Asserts that no stage allocates for `COUNTED` frames after `WARM_UP` others.
    fn assert_allocates_nothing(&mut self, frame: impl Fn(u64) -> Vec<u8>, as_sent: Frame<'_>) -> Client {
        let (client, counted) = self.count(frame, as_sent);
        assert!(counted.len() == 4 && counted.values().all(|n| *n == 0), "allocations in polls: {counted:?}");
        client
    }
}

/// Tensors of 16 values in and out.
fn tensors() -> InProcess {
    let text = "[pipeline]\nprofile = \"small\"\n[ingress]\nlisten = \"127.0.0.1:0\"\n[infer]\nengine = \"null\"\n\
                null_input_elements = 16\nnull_output_elements = 16\n[post]\nkind = \"tensor\"\n\
                [[stream]]\nid = \"default\"\nreply_on_drop_per_s = 100000\n";
    let shape = Some(vec![1, 16]);
    let options = EngineOptions { input_shape: shape.clone(), output_shape: shape, ..EngineOptions::default() };
    InProcess::start(&resolved(text, &options))
}

/// Pictures in, classes out, JPEGs by this decoder. The bundled network lends its shapes; the engine is still `null`.
fn pictures(jpeg: &str) -> InProcess {
    let models = integration_tests::root().join("models");
    let text = format!(
        "[pipeline]\nprofile = \"small\"\n[ingress]\nlisten = \"127.0.0.1:0\"\n[infer]\nengine = \"null\"\nmodel = \"{}\"\n\
         [preprocess]\nresize = \"bilinear-antialias\"\njpeg = \"{jpeg}\"\n[post]\nlabels = \"{}\"\ntop_k = 3\n",
        models.join("roadside.onnx").display(),
        models.join("roadside.labels").display()
    );
    InProcess::start(&resolved(&text, &EngineOptions::default()))
}

/// A tensor frame without its bytes.
const TENSOR: Frame<'static> = Frame { encoding: Encoding::TensorF32, width: 0, height: 0, bytes: &[] };

#[test]
fn small_tensors_allocate_nothing() {
    let client = tensors().assert_allocates_nothing(|id| integration_tests::client::tensor(&[id as f32; 16]), TENSOR);
    for id in 0..WARM_UP + COUNTED {
        assert_eq!(client.answer(id).status, Status::Ok);
        assert_eq!(values(&client.answer(id).bytes), [id as f32; 16], "frame {id}");
    }
}

#[test]
fn refusals_allocate_nothing() {
    let client = tensors().assert_allocates_nothing(|id| vec![0; 4 * (17 + id as usize % 600)], TENSOR);
    for id in 0..WARM_UP + COUNTED {
        assert_eq!(client.answer(id).status, Status::BadRequest(BadRequestReason::WrongSize), "frame {id}");
    }
}

#[test]
fn pictures_in_many_fragments_allocate_nothing() {
    let (width, height) = (160_u16, 120_u16);
    let picture = |id: u64| vec![id as u8; usize::from(width) * usize::from(height) * 3];
    let as_sent = Frame { encoding: Encoding::Rgb8, width, height, bytes: &[] };
    let client = pictures("auto").assert_allocates_nothing(picture, as_sent);
    assert!(client.datagrams(0, &Frame { bytes: &picture(0), ..as_sent }).len() > 30, "many fragments");
    for id in 0..WARM_UP + COUNTED {
        assert_eq!(client.answer(id).status, Status::Ok, "frame {id}");
    }
}

/// The embedded decoder: the memory of libjpeg-turbo is the C library's, and is not counted.
#[test]
fn the_jpeg_decoder_alone_allocates_and_the_count_sees_it() {
    let file = std::fs::read(integration_tests::root().join("models/frames/car-00.jpg")).expect("a bundled frame");
    let as_sent = Frame { encoding: Encoding::Jpeg, width: 0, height: 0, bytes: &[] };
    let (client, counted) = pictures("zune").count(|_| file.clone(), as_sent);
    assert!((0..WARM_UP + COUNTED).all(|id| client.answer(id).status == Status::Ok));
    assert!(counted["preprocess.0"] >= COUNTED, "the count is blind: {counted:?}");
    assert!(counted.iter().all(|(name, n)| name == "preprocess.0" || *n == 0), "{counted:?}");
}
