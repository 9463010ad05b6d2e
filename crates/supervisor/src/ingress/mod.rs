//! The privileged half of the drivers: which one is taken, what the stages inherit of it, and the access list in it.

mod af_xdp;
mod report;

use crate::dpdk::{self, Claims};
use crate::error::StartError;
use crate::holdings::arena_pages;
use acl::Compiled;
use arena::StageKind;
use arena::arena::Regions;
use config::{DeviceFacts, Driver, Neighbour, Pipeline};
use ports::PortError;
use ports::af_xdp::Host;
use ports::replay;
use ports::xdp::{Counters, Interface};
use rustix::thread::CapabilitySet;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, RawFd};
use std::time::{Duration, Instant};

/// What has been opened, held for as long as the pipeline lives.
#[derive(Debug)]
pub(crate) struct Ingress {
    /// The kernel's sockets; beside AF_XDP they serve what that leaves to the kernel. Capture files need none.
    socket: Option<ports::udp::Host>,
    device: Option<Host>,
    replay: Option<replay::Host>,
    listen: SocketAddr,
    /// The devices that stages drive without a kernel beside them, in a few words.
    dpdk: Option<String>,
    /// Interfaces on which killed stages leave a program.
    left_on: Vec<String>,
    /// No other pipeline has these devices meanwhile.
    _claims: Claims,
    /// What each rx-gateway and tx keep of the supervisor's capabilities for them.
    rights: (Vec<CapabilitySet>, CapabilitySet),
    /// Why no better driver was taken.
    reasons: Vec<String>,
    /// What earlier access lists' programs had counted.
    before: Counters,
    gateways: usize,
    /// rx-gateways whose queues have been filled.
    served: Vec<usize>,
}

/// What an interface comes to, before anything is opened: for `check`.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The driver that would be taken.
    pub driver: Driver,
    /// Why no better one.
    pub reasons: Vec<String>,
    /// The interface, and the queues that would be served, if the driver takes one.
    pub interface: Option<(Interface, Vec<u32>)>,
}

/// Looks which driver the pipeline would take; changes nothing.
///
/// # Errors
/// [`StartError`] if the configuration names a driver that cannot serve here.
pub fn examine(pipeline: &Pipeline) -> Result<Examined, StartError> {
    examine_and_claim(pipeline).map(|(examined, _)| examined)
}

/// The same; what is returned with it keeps other pipelines away from the devices.
fn examine_and_claim(pipeline: &Pipeline) -> Result<(Examined, Claims), StartError> {
    let found = |driver, reasons, interface| (Examined { driver, reasons, interface }, Claims::default());
    let dpdk = |claims| (found(Driver::Dpdk, Vec::new(), None).0, claims);
    match pipeline.ingress.driver {
        Driver::Udp => Ok(found(Driver::Udp, Vec::new(), None)),
        Driver::Replay => {
            if let Some(input) = &pipeline.replay.input {
                replay::examine(input)?;
            }
            Ok(found(Driver::Replay, Vec::new(), None))
        }
        Driver::Dpdk => dpdk::examine(pipeline, arena_pages(pipeline)).map(dpdk),
        Driver::AfXdp => {
            let interface = af_xdp::options(pipeline).and_then(|o| ports::af_xdp::examine(&o))?;
            Ok(found(Driver::AfXdp, Vec::new(), Some(interface)))
        }
        Driver::Auto => {
            let reason = match may_be_dpdk(pipeline) {
                Ok(claims) => return Ok(dpdk(claims)),
                Err(reason) => reason,
            };
            let mut reasons = vec![format!("not dpdk: {reason}")];
            let interface =
                af_xdp::chosen(pipeline).and_then(|o| ports::af_xdp::examine(&o).map_err(|e| e.to_string()));
            match interface {
                Ok(interface) => Ok(found(Driver::AfXdp, reasons, Some(interface))),
                Err(reason) => {
                    reasons.push(format!("not af_xdp: {reason}"));
                    Ok(found(Driver::Udp, reasons, None))
                }
            }
        }
    }
}

/// `auto` takes ports only if the configuration names them.
fn may_be_dpdk(pipeline: &Pipeline) -> Result<Claims, String> {
    match pipeline.dpdk.without_device() {
        Some(key) => Err(format!("[dpdk] {key} does not name a device")),
        None => dpdk::examine(pipeline, arena_pages(pipeline)).map_err(|e| e.to_string()),
    }
}

impl Ingress {
    /// Opens the kernel's sockets: before the arena, so that a port in use shows before gigabytes are pre-faulted. Interfaces
    /// that cannot serve are refused here too.
    pub(crate) fn open(pipeline: &mut Pipeline) -> Result<Self, StartError> {
        let (examined, claims) = examine_and_claim(pipeline)?;
        if examined.driver == Driver::Dpdk {
            pipeline.ingress.driver = Driver::Dpdk;
        }
        let (ingress, gateways) = (&pipeline.ingress, pipeline.rx_gateway.instances as usize);
        let rights = pipeline.dpdk.rx.iter().map(|device| dpdk::kept(pipeline, Some(device))).collect();
        let mut it = Self {
            socket: None,
            device: None,
            replay: None,
            listen: ingress.listen,
            dpdk: (ingress.driver == Driver::Dpdk).then(|| dpdk::describe(pipeline)),
            left_on: if ingress.driver == Driver::Dpdk { dpdk::left_on(pipeline) } else { Vec::new() },
            _claims: claims,
            rights: (rights, dpdk::kept(pipeline, pipeline.dpdk.tx.as_ref())),
            // What speaks against AF_XDP is found again when it is opened.
            reasons: examined.reasons.into_iter().filter(|reason| !reason.starts_with("not af_xdp")).collect(),
            before: Counters::default(),
            gateways,
            served: Vec::new(),
        };
        if let (Driver::Replay, Some(input), Some(output)) =
            (ingress.driver, &pipeline.replay.input, &pipeline.replay.output)
        {
            it.replay = Some(replay::Host::open(&replay::Options { input, output })?);
        } else if ingress.driver != Driver::Dpdk {
            let socket = open_socket(ingress.listen, ingress.receive_buffer_bytes as usize, gateways)?;
            // The kernel may have chosen the port.
            it.listen = socket.local_addr();
            it.socket = Some(socket);
        }
        Ok(it)
    }

    /// Opens the driver on the arena's packets, and writes into `pipeline` which it is and what stages must know of it.
    pub(crate) fn open_device(&mut self, pipeline: &mut Pipeline, regions: &Regions) -> Result<(), StartError> {
        let acl = compile(pipeline)?;
        pipeline.ingress.listen.set_port(self.listen.port());
        let open = |options: ports::af_xdp::Options| {
            Host::open(&options, &acl, regions.packets.rw.as_fd(), regions.packets.len)
        };
        let opened = match pipeline.ingress.driver {
            Driver::Udp | Driver::Dpdk | Driver::Replay => None,
            Driver::AfXdp => Some(af_xdp::options(pipeline).and_then(open)?),
            Driver::Auto => match af_xdp::chosen(pipeline).and_then(|o| open(o).map_err(|e| e.to_string())) {
                Ok(host) => Some(host),
                Err(reason) => {
                    self.reasons.push(format!("not af_xdp: {reason}"));
                    None
                }
            },
        };
        pipeline.ingress.driver = match (&opened, pipeline.ingress.driver) {
            (Some(_), _) => Driver::AfXdp,
            (None, same @ (Driver::Dpdk | Driver::Replay)) => same,
            (None, _) => Driver::Udp,
        };
        pipeline.device = opened.as_ref().map(|host| DeviceFacts {
            interface: host.interface().name.clone(),
            mac: host.interface().mac,
            mtu: host.interface().mtu,
            queues: host.queues(),
            zero_copy: host.chosen().zero_copy,
            neighbours: Vec::new(),
        });
        if let Some(host) = &opened {
            self.reasons.extend(host.chosen().reasons.iter().cloned());
        }
        self.device = opened;
        tracing::info!(driver = self.describe(), reasons = ?self.reasons, "packets");
        Ok(())
    }

    /// The driver and how it works, in a few words.
    pub(crate) fn describe(&self) -> String {
        if let Some(replay) = &self.replay {
            let done = replay.progress();
            return format!("replay: {} packets, {} skipped, {} dropped", done.packets, done.skipped, done.dropped);
        }
        if let Some(devices) = &self.dpdk {
            return devices.clone();
        }
        let Some(device) = &self.device else { return "udp".to_owned() };
        let chosen = device.chosen();
        let (mode, copy) =
            (if chosen.native { "native" } else { "generic" }, if chosen.zero_copy { "zero copy" } else { "copy" });
        format!("af_xdp on {} queues {:?} ({mode}, {copy})", device.interface().name, device.queues())
    }

    /// Where it listens, the kernel's choice of port filled in.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.listen
    }

    /// Whether the input has an end, and has been read to it.
    pub(crate) fn is_finished(&self) -> bool {
        self.replay.as_ref().is_some_and(replay::Host::is_finished)
    }

    /// Every stage has ended; says what was wrong with the files.
    pub(crate) fn close(&self) -> Vec<String> {
        let Some(replay) = &self.replay else { return Vec::new() };
        let cut = replay.close().err().map(|e| format!("the output capture may end with half a reply: {e}"));
        let damaged = replay.progress().damaged_at;
        let damaged = damaged.map(|at| {
            format!("the input capture makes no sense from byte {at} on, and what follows was not replayed; cut it there, or capture again")
        });
        cut.into_iter().chain(damaged).collect()
    }

    /// Takes away what stands on interfaces: the own program, and what killed stages left there. No stage is left.
    pub(crate) fn detach(&mut self) -> Vec<String> {
        self.device = None;
        dpdk::clear(&std::mem::take(&mut self.left_on))
    }

    /// The capabilities that instance `n` of this kind keeps for its device.
    pub(crate) fn rights(&self, kind: StageKind, n: usize) -> CapabilitySet {
        match kind {
            StageKind::RxGateway => self.rights.0.get(n).copied().unwrap_or(CapabilitySet::empty()),
            StageKind::Tx => self.rights.1,
            StageKind::Preprocess | StageKind::Infer => CapabilitySet::empty(),
        }
    }

    fn queues_of(&self, gateway: usize) -> Vec<u32> {
        let all = self.device.as_ref().map(Host::queues).unwrap_or_default();
        all.into_iter().skip(gateway).step_by(self.gateways.max(1)).collect()
    }

    /// Device queues whose owner ids are in use, as bits.
    pub(crate) fn queue_mask(&self) -> u64 {
        if self.dpdk.is_some() {
            // Whatever queues a port has, its stage names them all alike.
            return 1;
        }
        let all = self.device.as_ref().map(Host::queues).unwrap_or_default();
        all.iter().fold(0, |mask, queue| mask | 1_u64.checked_shl(*queue).unwrap_or(0))
    }

    /// What rx-gateway `n` inherits.
    pub(crate) fn rx_fds(&self, n: usize) -> Vec<RawFd> {
        let mut fds = self.socket.as_ref().map(|s| s.rx_fds(n)).unwrap_or_default();
        fds.extend(self.replay.iter().flat_map(replay::Host::rx_fds));
        if let Some(device) = &self.device {
            fds.extend(device.rx_fds(&self.queues_of(n)));
        }
        fds
    }

    /// What tx inherits.
    pub(crate) fn tx_fds(&self) -> Vec<RawFd> {
        let mut fds = self.socket.as_ref().map(ports::udp::Host::tx_fds).unwrap_or_default();
        fds.extend(self.replay.iter().flat_map(replay::Host::tx_fds));
        if let Some(device) = &self.device {
            fds.extend(device.tx_fds());
        }
        fds
    }

    /// Whether frames do not go to the sockets of rx-gateway `n` yet.
    pub(crate) fn is_unserved(&self, n: usize) -> bool {
        self.device.is_some() && !self.served.contains(&n)
    }

    /// rx-gateway `n` has filled its queues: frames may go to their sockets.
    pub(crate) fn serve(&mut self, n: usize) {
        self.served.push(n);
        let queues = self.queues_of(n);
        if let Some(device) = &mut self.device
            && let Err(error) = device.serve(&queues)
        {
            tracing::error!(%error, ?queues, "the kernel's socket goes on serving these queues");
        }
    }

    /// What is known of the ways to `destinations`, in their order.
    pub(crate) fn neighbours(&self, destinations: &BTreeSet<IpAddr>) -> Vec<Neighbour> {
        let Some(device) = &self.device else { return Vec::new() };
        let ifindex = device.interface().index;
        let found = destinations.iter().filter_map(|address| {
            let hop = ports::xdp::next_hop(ifindex, *address).ok().flatten()?;
            crate::neighbours::neighbour(*address, hop)
        });
        found.collect()
    }

    /// Puts the access list of `pipeline` in place of the one in force, where the driver filters.
    pub(crate) fn replace_access_list(&mut self, old: &Pipeline, new: &Pipeline) -> Result<(), String> {
        let compiled = compile(new).map_err(|e| e.to_string())?;
        let Some(device) = &mut self.device else { return Ok(()) };
        let counted = device.replace_access_list(&compiled).map_err(|e| e.to_string())?;
        self.before = af_xdp::carry(&self.before, &counted, old, new);
        Ok(())
    }
}

/// Also where the supervisor ends early. Its units, and with them the stages, have been dropped before.
impl Drop for Ingress {
    fn drop(&mut self) {
        for left in self.detach() {
            tracing::error!("{left}");
        }
    }
}

/// Stages whose supervisor was killed hold its sockets for half a second.
const ORPHANS_GO_WITHIN: Duration = Duration::from_secs(1);

fn open_socket(listen: SocketAddr, bytes: usize, count: usize) -> Result<ports::udp::Host, PortError> {
    let until = Instant::now() + ORPHANS_GO_WITHIN;
    loop {
        match ports::udp::Host::open(listen, bytes, count) {
            Err(PortError::InUse(_)) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            other => return other,
        }
    }
}

/// The access list as the XDP program wants it.
fn compile(pipeline: &Pipeline) -> Result<Compiled, StartError> {
    Ok(Compiled::new(&pipeline.ingress.acl, pipeline.ingress.acl_policy)?)
}
