//! The privileged half of the drivers: which one is taken, what the stages inherit of it, and the access list in it.

use crate::error::StartError;
use acl::Compiled;
use arena::Arena;
use arena::arena::Regions;
use arena::gateway::ACL_CELLS;
use arena::sync::Ordering;
use config::{Auto, DeviceFacts, Driver, Neighbour, Pipeline, XdpMode, ZeroCopy};
use ports::PortError;
use ports::af_xdp::{self, Choice};
use ports::replay;
use ports::xdp::{Counters, Interface};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, RawFd};
use std::time::{Duration, Instant};

/// What has been opened, held for as long as the pipeline lives.
#[derive(Debug)]
pub(crate) struct Ingress {
    /// The kernel's sockets; beside AF_XDP they serve what that leaves to the kernel. Capture files need none.
    socket: Option<ports::udp::Host>,
    device: Option<af_xdp::Host>,
    replay: Option<replay::Host>,
    listen: SocketAddr,
    /// Why no better driver was taken.
    reasons: Vec<String>,
    /// What earlier access lists' programs had counted.
    before: Counters,
    gateways: usize,
    /// rx-gateways whose queues have been filled.
    served: Vec<usize>,
}

/// What `[af_xdp]` asks for, with the interface found if it is to be.
fn options(pipeline: &Pipeline) -> Result<af_xdp::Options, PortError> {
    let wanted = &pipeline.af_xdp;
    let interface = match &wanted.interface {
        Auto::Fixed(name) => name.clone(),
        Auto::Auto(_) => Interface::with_address(pipeline.ingress.listen.ip())?
            .ok_or(PortError::WhichInterface { listen: pipeline.ingress.listen })?,
    };
    let choice = |auto, require| match (auto, require) {
        (true, _) => Choice::Auto,
        (false, true) => Choice::Require,
        (false, false) => Choice::Off,
    };
    Ok(af_xdp::Options {
        interface,
        queues: match &wanted.queues {
            Auto::Fixed(queues) => Some(queues.clone()),
            Auto::Auto(_) => None,
        },
        native: choice(wanted.mode == XdpMode::Auto, wanted.mode == XdpMode::Native),
        zero_copy: choice(wanted.zero_copy == ZeroCopy::Auto, wanted.zero_copy == ZeroCopy::Require),
        ring_size: wanted.ring_size,
        need_wakeup: wanted.need_wakeup,
        busy_poll: (wanted.busy_poll_us > 0).then_some((wanted.busy_poll_us, wanted.busy_poll_budget)),
        listen: pipeline.ingress.listen,
    })
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

/// Looks which driver the pipeline would take; opens and changes nothing.
///
/// # Errors
/// [`PortError`] if the configuration names a driver that cannot serve here.
pub fn examine(pipeline: &Pipeline) -> Result<Examined, PortError> {
    let udp = |reasons| Examined { driver: Driver::Udp, reasons, interface: None };
    match pipeline.ingress.driver {
        Driver::Udp => Ok(udp(Vec::new())),
        Driver::Replay => {
            if let Some(input) = &pipeline.replay.input {
                replay::examine(input)?;
            }
            Ok(Examined { driver: Driver::Replay, reasons: Vec::new(), interface: None })
        }
        Driver::Dpdk => Ok(Examined { driver: Driver::Dpdk, reasons: Vec::new(), interface: None }),
        Driver::AfXdp => {
            let found = options(pipeline).and_then(|o| af_xdp::examine(&o))?;
            Ok(Examined { driver: Driver::AfXdp, reasons: Vec::new(), interface: Some(found) })
        }
        Driver::Auto => {
            Ok(match may_be_af_xdp(pipeline).and_then(|o| af_xdp::examine(&o).map_err(|e| e.to_string())) {
                Ok(found) => Examined { driver: Driver::AfXdp, reasons: Vec::new(), interface: Some(found) },
                Err(reason) => udp(vec![format!("not af_xdp: {reason}")]),
            })
        }
    }
}

/// `auto` puts a program on an interface only if the configuration names it.
fn may_be_af_xdp(pipeline: &Pipeline) -> Result<af_xdp::Options, String> {
    match &pipeline.af_xdp.interface {
        Auto::Fixed(_) => options(pipeline).map_err(|e| e.to_string()),
        Auto::Auto(_) => Err("[af_xdp] interface does not name one".to_owned()),
    }
}

impl Ingress {
    /// Opens the kernel's sockets: before the arena, so that a port in use shows before gigabytes are pre-faulted. Interfaces
    /// that cannot serve are refused here too.
    pub(crate) fn open(pipeline: &Pipeline) -> Result<Self, StartError> {
        let (ingress, gateways) = (&pipeline.ingress, pipeline.rx_gateway.instances as usize);
        examine(pipeline)?;
        let mut it = Self {
            socket: None,
            device: None,
            replay: None,
            listen: ingress.listen,
            reasons: Vec::new(),
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
        let open = |options: af_xdp::Options| {
            af_xdp::Host::open(&options, &acl, regions.packets.rw.as_fd(), regions.packets.len)
        };
        let opened = match pipeline.ingress.driver {
            Driver::Udp | Driver::Dpdk | Driver::Replay => None,
            Driver::AfXdp => Some(options(pipeline).and_then(open)?),
            Driver::Auto => match may_be_af_xdp(pipeline).and_then(|o| open(o).map_err(|e| e.to_string())) {
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
            self.reasons.clone_from(&host.chosen().reasons);
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

    fn queues_of(&self, gateway: usize) -> Vec<u32> {
        let all = self.device.as_ref().map(af_xdp::Host::queues).unwrap_or_default();
        all.into_iter().skip(gateway).step_by(self.gateways.max(1)).collect()
    }

    /// Device queues whose owner ids are in use, as bits.
    pub(crate) fn queue_mask(&self) -> u64 {
        let all = self.device.as_ref().map(af_xdp::Host::queues).unwrap_or_default();
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
        self.before = carry(&self.before, &counted, old, new);
        Ok(())
    }

    /// Driver, interface, filter and access list as the status shows them.
    pub(crate) fn report(&mut self, pipeline: &Pipeline, arena: &Arena) -> Value {
        let filter = self.device.as_mut().and_then(|device| device.counters().ok()).map(|now| sum(&self.before, &now));
        // Beside a filter rx-gateway applies the list once more to what the kernel's socket serves: not counted twice here.
        let in_stages = |cell: usize| {
            let cells = arena.gateways().filter_map(|page| page.acl_hits.get(cell));
            cells.fold(0_u64, |sum, cell| sum.wrapping_add(cell.load(Ordering::Relaxed)))
        };
        let rules = pipeline.ingress.acl.iter().enumerate().map(|(n, rule)| {
            let in_filter = filter.as_ref().and_then(|f| f.hits.get(n).copied());
            json!({ "rule": rule.to_string(), "hits": in_filter.unwrap_or_else(|| in_stages(n)), "hits_in_rx_gateway": in_stages(n) })
        });
        json!({
            "driver": pipeline.ingress.driver.word(),
            "described": self.describe(),
            "not_taken": self.reasons,
            "device": pipeline.device.as_ref().map(|d| json!({
                "interface": d.interface, "mtu": d.mtu, "queues": d.queues, "zero_copy": d.zero_copy,
                "native": self.device.as_ref().map(|h| h.chosen().native),
                "served": self.device.as_ref().map(af_xdp::Host::served),
            })),
            "filter": filter.as_ref().map(|f| json!({
                "redirected": f.redirected, "no_socket": f.no_socket, "denied": f.denied, "limited": f.limited,
                "fragments": f.fragments,
            })),
            "access_list": rules.collect::<Vec<_>>(),
            "policy": pipeline.ingress.acl_policy.word(),
            "policy_hits": filter.as_ref().map_or_else(|| in_stages(ACL_CELLS - 1), |f| f.policy_hits),
        })
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

fn sum(a: &Counters, b: &Counters) -> Counters {
    let hits = b.hits.iter().enumerate().map(|(n, hits)| hits + a.hits.get(n).copied().unwrap_or(0));
    Counters {
        redirected: a.redirected + b.redirected,
        no_socket: a.no_socket + b.no_socket,
        denied: a.denied + b.denied,
        limited: a.limited + b.limited,
        fragments: a.fragments + b.fragments,
        policy_hits: a.policy_hits + b.policy_hits,
        hits: hits.collect(),
    }
}

/// What the totals begin with under a new list: a rule that stays, stays with its hits, wherever it stands now.
fn carry(before: &Counters, counted: &Counters, old: &Pipeline, new: &Pipeline) -> Counters {
    let mut total = sum(before, counted);
    let hits_of = |rule| {
        let at = old.ingress.acl.iter().position(|o| o == rule)?;
        total.hits.get(at).copied()
    };
    let hits = new.ingress.acl.iter().map(|rule| hits_of(rule).unwrap_or(0)).collect();
    total.hits = hits;
    total
}
