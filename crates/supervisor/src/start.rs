//! Starting a pipeline.

use crate::ask::check_layouts;
use crate::choice::{Choice, settle_models};
use crate::control::Control;
use crate::death::{OomWatch, oom_kills};
use crate::error::StartError;
use crate::holdings::Holdings;
use crate::instance::Unit;
use crate::models::Version;
use crate::options::{Options, StopHandle};
use crate::orders::Order;
use crate::patrol::Patrol;
use crate::quarantine::{Quarantine, StatusPath};
use crate::recovery::Records;
use crate::repair::Repairs;
use crate::spawn;
use crate::stop::Mode;
use arena::reclaim::Marks;
use arena::{Arena, Instance, OwnerId, StageKind, now_ns};
use config::{InstanceKind, MachineFacts, ModelFacts, Pipeline, Topology};
use rustix::event::EventfdFlags;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// A running pipeline and everything it is made of. Dropped without [`Supervisor::run`], it kills its stages.
#[derive(Debug)]
pub struct Supervisor {
    /// First: its stages end before what they were given is taken away.
    pub(crate) units: Vec<Unit>,
    pub(crate) holdings: Holdings,
    pub(crate) control: Control,
    /// The configuration as it was loaded.
    pub(crate) source: Pipeline,
    /// The same with every `auto` resolved: what the stages run with.
    pub(crate) pipeline: Pipeline,
    pub(crate) topology: Topology,
    /// What each network takes and gives.
    pub(crate) facts: Vec<ModelFacts>,
    /// How each network's engine was chosen, if it was.
    pub(crate) choices: Vec<Option<Choice>>,
    /// What each network was before it was replaced.
    pub(crate) previous: HashMap<usize, Version>,
    /// What [`Supervisor::shadow_counts`] said when the present shadow began.
    pub(crate) shadow_base: [u64; 4],
    pub(crate) generation: u64,
    pub(crate) reloaded_ns: u64,
    /// When the kernel was last asked for next hops.
    pub(crate) neighbours_asked_ns: u64,
    pub(crate) mode: Mode,
    /// Whether input is ordered to pause; the word that says so may be damaged.
    pub(crate) ingress_paused: bool,
    /// When input was last ordered to pause.
    pub(crate) paused_ns: u64,
    pub(crate) orders: Vec<Order>,
    pub(crate) records: Records,
    pub(crate) repairs: Repairs,
    pub(crate) patrol: Patrol,
    pub(crate) quarantine: Quarantine,
    pub(crate) status_path: StatusPath,
    pub(crate) marks: Marks,
    pub(crate) signals: Option<OwnedFd>,
    pub(crate) stop_asked: Arc<OwnedFd>,
    pub(crate) oom: OomWatch,
    pub(crate) started_ns: u64,
    pub(crate) ticked_ns: u64,
    /// Why the end will not be clean.
    pub(crate) problems: Vec<String>,
}

impl Supervisor {
    /// Checks the executables, asks for the model's shapes, creates arena, sockets and control socket, and starts every
    /// stage. Frames are taken as soon as the stages have loaded; [`Supervisor::run`] must be called at once.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left behind.
    pub fn start(pipeline: Pipeline, options: &Options) -> Result<Self, StartError> {
        let machine = MachineFacts::detect();
        let topology = Topology::new(&pipeline, &machine.cpus)?;
        check_layouts(&pipeline.supervisor.bin_dir)?;
        let source = pipeline.clone();
        let mut pipeline = pipeline;
        let (choices, facts) = settle_models(&mut pipeline)?;
        pipeline.resolve(&topology, &facts)?;
        // Before the arena: a second supervisor of the same name must not take memory from the first.
        let control = Control::open(&pipeline.supervisor.control_socket)?;
        let signals = options.signals.then(spawn::watch_termination).transpose();
        let signals = signals.map_err(StartError::system("signalfd"))?;
        let stop_asked = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(StartError::system("eventfd"))?;
        let holdings = Holdings::create(&mut pipeline)?;
        let units = units(&holdings.arena, &topology);
        let status_path = StatusPath::open(&holdings.arena)
            .ok_or(rustix::io::Errno::INVAL)
            .map_err(StartError::system("opening the status ring"))?;
        let started_ns = now_ns();
        let mut supervisor = Self {
            marks: Marks::new(holdings.arena.table().len()),
            patrol: Patrol::new(&holdings.arena, started_ns),
            repairs: Repairs::default(),
            status_path,
            units,
            holdings,
            control,
            source,
            pipeline,
            topology,
            facts,
            choices,
            previous: HashMap::new(),
            shadow_base: [0; 4],
            generation: 0,
            reloaded_ns: 0,
            neighbours_asked_ns: 0,
            mode: Mode::Running,
            ingress_paused: false,
            paused_ns: 0,
            orders: Vec::new(),
            records: Records::default(),
            quarantine: Quarantine::default(),
            signals,
            stop_asked: Arc::new(stop_asked),
            oom: OomWatch::new(started_ns, oom_kills()),
            started_ns,
            ticked_ns: started_ns,
            problems: Vec::new(),
        };
        supervisor.start_stages()?;
        Ok(supervisor)
    }

    /// Starts every process and orders it ACTIVE: nothing was there before, so nothing is to be swept.
    fn start_stages(&mut self) -> Result<(), StartError> {
        for n in 0..self.units.len() {
            let unit = &self.units[n];
            let process =
                self.holdings.spawn(unit.id, unit.instance, unit.core).map_err(StartError::system("spawn"))?;
            tracing::info!(stage = unit.name(), pid = process.pid, core = unit.core, "started");
            self.activate(n, process);
        }
        self.await_ports()
    }

    /// Where it listens for frames, the kernel's choice of port filled in.
    pub fn listen(&self) -> SocketAddr {
        self.holdings.ingress.local_addr()
    }

    /// Where the control socket is.
    pub fn control_socket(&self) -> &Path {
        self.control.path()
    }

    /// The configuration in use, every `auto` resolved.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The arena, for reading: ledger, audit, pages.
    pub fn arena(&self) -> &Arena {
        &self.holdings.arena
    }

    /// Name and process id of each stage instance.
    pub fn stage_pids(&self) -> Vec<(String, u32)> {
        self.units.iter().filter_map(|u| Some((u.name(), u.process.as_ref()?.pid))).collect()
    }

    /// Asks this supervisor to stop, from another thread.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(Arc::clone(&self.stop_asked))
    }
}

fn units(arena: &Arena, topology: &Topology) -> Vec<Unit> {
    let core = |instance: Instance| {
        let kind = match instance.kind {
            StageKind::RxGateway => InstanceKind::RxGateway,
            StageKind::Preprocess => InstanceKind::Preprocess,
            StageKind::Infer => InstanceKind::Infer,
            StageKind::Tx => InstanceKind::Tx,
        };
        topology.of_kind(kind).find(|i| i.number == u32::from(instance.number))?.core
    };
    let geometry = arena.geometry();
    let unit =
        |(id, instance): (OwnerId, Instance)| Unit::new(id, instance, instance.name(geometry.gateways), core(instance));
    geometry.all_instances().map(unit).collect()
}
