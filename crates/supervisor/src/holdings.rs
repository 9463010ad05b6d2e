//! What the supervisor holds for as long as the pipeline lives, and stages inherit: memory, doorbells, sockets, and the
//! configuration document.

use crate::dpdk;
use crate::error::StartError;
use crate::ingress::Ingress;
use crate::process::Process;
use crate::spawn::{self, Allowed};
use arena::arena::{Access, Regions, rights};
use arena::doorbell::{self, Doorbells};
use arena::launch::{Launch, write_config};
use arena::layout::Layout;
use arena::region::{HugePages, Region};
use arena::sync::Ordering;
use arena::{Arena, Geometry, Instance, OwnerId, StageKind};
use config::{Auto, Driver, Hugepages, InstanceKind, Pipeline, StageUser};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::thread::CpuSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

/// Everything that outlives a stage.
#[derive(Debug)]
pub(crate) struct Holdings {
    /// The arena, mapped here.
    pub arena: Arena,
    /// Its descriptors.
    pub regions: Regions,
    /// All doorbells.
    pub bells: Doorbells,
    /// The drivers' privileged half.
    pub ingress: Ingress,
    /// Folder of the executables.
    bin_dir: PathBuf,
    /// User that stages run as.
    user: Option<StageUser>,
    /// Cores that the supervisor itself was started with.
    cpus: CpuSet,
    config: OwnedFd,
    /// Stages get this one: they read the document and do not write it.
    config_ro: OwnedFd,
    next_ticket: u32,
}

/// Sizes of the arena; `pipeline` is resolved.
fn geometry(pipeline: &Pipeline) -> Geometry {
    let fixed = |auto: Auto<u32>| auto.unwrap_or(0);
    Geometry {
        buffers: pipeline.arena.buffers,
        slots: fixed(pipeline.arena.slots),
        slot_input_bytes: pipeline.arena.max_input_bytes,
        slot_output_bytes: pipeline.arena.max_output_bytes,
        // Out of range stays out of range: the arena names the limit.
        preprocess: u8::try_from(pipeline.preprocess.instances).unwrap_or(u8::MAX),
        infer: u8::try_from(pipeline.infer.instances).unwrap_or(u8::MAX),
        ring_capacity: pipeline.rings.capacity,
        max_streams: pipeline.limits.max_streams,
        gateways: u8::try_from(pipeline.rx_gateway.instances).unwrap_or(u8::MAX),
    }
}

/// Pages of 2 MiB that the arena takes; without its slots as long as their number is not resolved.
pub(crate) fn arena_pages(pipeline: &Pipeline) -> u64 {
    let page = |bytes: u64| bytes.div_ceil(2 << 20);
    Layout::new(geometry(pipeline)).map_or_else(
        |_| page(u64::from(pipeline.arena.buffers) * config::BUFFER_STRIDE_BYTES),
        |l| [l.control_bytes, l.packets_bytes, l.inputs_bytes, l.outputs_bytes].map(page).iter().sum(),
    )
}

impl Holdings {
    /// Opens sockets and driver, creates the arena and publishes `pipeline` (resolved) as generation 0. Which driver it is, and
    /// what stages must know of its interface, is written into `pipeline`.
    pub(crate) fn create(pipeline: &mut Pipeline) -> Result<Self, StartError> {
        let mut ingress = Ingress::open(pipeline)?;
        let is_dpdk = pipeline.ingress.driver == Driver::Dpdk;
        let huge = match pipeline.arena.hugepages {
            Hugepages::Auto if is_dpdk && dpdk::does_dma(pipeline) => HugePages::Require,
            // The library takes no other pages: it comes first.
            Hugepages::Auto if is_dpdk && !dpdk::leaves_room(pipeline, arena_pages(pipeline)) => HugePages::Off,
            Hugepages::Auto => HugePages::Auto,
            Hugepages::Require => HugePages::Require,
            Hugepages::Off => HugePages::Off,
        };
        let (arena, regions) = Arena::create(geometry(pipeline), huge)?;
        ingress.open_device(pipeline, &regions)?;
        let bells: Vec<_> = (0..arena.geometry().instances())
            .map(|_| doorbell::create().map(Some))
            .collect::<Result<_, _>>()
            .map_err(StartError::system("eventfd"))?;
        let config = rustix::fs::memfd_create("flumeway-config", MemfdFlags::CLOEXEC)
            .map_err(StartError::system("memfd_create"))?;
        write_config(&config, 0, &pipeline.to_json()).map_err(StartError::system("pwrite"))?;
        // As with the regions: without this, another user's stage could re-open its read-only descriptor for writing.
        rustix::fs::fchmod(&config, Mode::RUSR).map_err(StartError::system("fchmod"))?;
        let path = format!("/proc/self/fd/{}", config.as_raw_fd());
        let config_ro = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(StartError::system("open"))?;
        arena.supervisor().incarnation.store(crate::quarantine::INCARNATION, Ordering::Release);
        Ok(Self {
            bells: Doorbells::new(&arena, bells),
            arena,
            regions,
            ingress,
            bin_dir: pipeline.supervisor.bin_dir.clone(),
            user: pipeline.supervisor.stage_user,
            cpus: rustix::thread::sched_getaffinity(None).map_err(StartError::system("sched_getaffinity"))?,
            config,
            config_ro,
            next_ticket: 1,
        })
    }

    /// Writes the document of a generation and announces it to all stages.
    pub(crate) fn publish(&self, generation: u64, pipeline: &Pipeline) -> io::Result<()> {
        write_config(&self.config, generation, &pipeline.to_json())?;
        self.arena.supervisor().config_generation.store(generation, Ordering::Release);
        self.ring_all();
        Ok(())
    }

    /// Rings every doorbell: after a death nobody knows which of them the dead one still owed.
    pub(crate) fn ring_all(&self) {
        for (id, _) in self.arena.geometry().all_instances() {
            self.bells.ring_always(id);
        }
    }

    /// Starts a process for an instance. It waits until the control word names its ticket.
    pub(crate) fn spawn(&mut self, id: OwnerId, instance: Instance, core: Option<usize>) -> io::Result<Process> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let ticket = self.next_ticket;
        // 0 is in no process's hands: a page that nobody has written yet shows it.
        self.next_ticket = self.next_ticket.checked_add(1).unwrap_or(1);
        let launch = self.launch(id, instance, ticket, core, &theirs);
        let binary = self.bin_dir.join(executable(instance.kind));
        let rights = self.ingress.rights(instance.kind, instance.number.into());
        let child = spawn::spawn(&binary, &launch, Allowed { user: self.user, rights }, self.cpus)
            .map_err(|e| {
                let remedy = if e.kind() == io::ErrorKind::PermissionDenied {
                    "; stages have no capability: their user must be able to read the executables and every folder above them"
                } else {
                    ""
                };
                io::Error::new(e.kind(), format!("{} cannot be run: {e}{remedy}", binary.display()))
            })?;
        Ok(Process::new(child, ticket, ours))
    }

    fn launch(&self, id: OwnerId, instance: Instance, ticket: u32, core: Option<usize>, theirs: &OwnedFd) -> Launch {
        let (packets, inputs, outputs) = rights(instance.kind);
        let regions = &self.regions;
        let bells = self.arena.geometry().all_instances();
        Launch {
            owner: id,
            ticket,
            control: regions.control.rw.as_raw_fd(),
            packets: share(&regions.packets, packets),
            inputs: share(&regions.inputs, inputs),
            outputs: share(&regions.outputs, outputs),
            bells: bells.filter_map(|(id, _)| self.bells.fd(id)).map(|fd| fd.as_raw_fd()).collect(),
            config: self.config_ro.as_raw_fd(),
            supervisor: theirs.as_raw_fd(),
            port: match instance.kind {
                StageKind::RxGateway => self.ingress.rx_fds(instance.number.into()),
                StageKind::Tx => self.ingress.tx_fds(),
                StageKind::Preprocess | StageKind::Infer => Vec::new(),
            },
            core,
        }
    }
}

fn share(region: &Region, access: Access) -> (i32, Access) {
    let fd = match access {
        Access::None => -1,
        Access::Read => region.ro.as_raw_fd(),
        Access::Write => region.rw.as_raw_fd(),
    };
    (fd, access)
}

fn executable(kind: StageKind) -> &'static str {
    match kind {
        StageKind::RxGateway => InstanceKind::RxGateway,
        StageKind::Preprocess => InstanceKind::Preprocess,
        StageKind::Infer => InstanceKind::Infer,
        StageKind::Tx => InstanceKind::Tx,
    }
    .executable()
}
