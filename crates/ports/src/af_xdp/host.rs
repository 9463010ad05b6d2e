//! What outlives the stages: the sockets on the arena's packets, the XDP program, and the link that holds it.
//!
//! The program is attached before any socket is in its map: until a gateway has filled its queue ([`Host::serve`]) the kernel's
//! UDP socket serves the frames, so that none is lost at the start.

use super::sockets::{Pair, Wanted};
use super::{MAX_FRAME, MAX_MTU, MAX_QUEUES};
use crate::PortError;
use crate::xdp::{Attached, Counters, Filter, Interface, Mode, Program, XdpError};
use acl::Compiled;
use arena::region::Mapping;
use rustix::process::{Resource, Rlimit};
use rustix::thread::CapabilitySet;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// Which of two ways to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The better one, if it is there.
    Auto,
    /// The better one, or none.
    Require,
    /// The other one.
    Off,
}

/// What the host is to open.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the interface.
    pub interface: String,
    /// Its receive queues; `None`: all of them.
    pub queues: Option<Vec<u32>>,
    /// The XDP program runs in the driver (native), or behind it (generic).
    pub native: Choice,
    /// The device reads and writes the arena itself.
    pub zero_copy: Choice,
    /// Entries of each ring, a power of two.
    pub ring_size: u32,
    /// The kernel says when it wants to be woken.
    pub need_wakeup: bool,
    /// Microseconds and packets of a busy poll; `None`: interrupts.
    pub busy_poll: Option<(u32, u32)>,
    /// Where requests go.
    pub listen: SocketAddr,
}

/// How it is done, and why not better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The program runs in the driver.
    pub native: bool,
    /// The device reads and writes the arena itself.
    pub zero_copy: bool,
    /// Why each better way was not taken.
    pub reasons: Vec<String>,
}

/// Sockets, program and link, held by the supervisor.
#[derive(Debug)]
pub struct Host {
    interface: Interface,
    listen: SocketAddr,
    pairs: Vec<Pair>,
    attached: Attached,
    chosen: Chosen,
    /// Queues whose sockets are in the program's map.
    served: Vec<u32>,
}

/// Looks at the interface, and refuses one that cannot serve; opens and changes nothing.
///
/// # Errors
/// [`PortError`] with cause and remedy.
pub fn examine(options: &Options) -> Result<(Interface, Vec<u32>), PortError> {
    let interface = Interface::find(&options.interface)?;
    let name = || interface.name.clone();
    let needed = CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN | CapabilitySet::BPF;
    if !rustix::thread::capabilities(None).is_ok_and(|has| has.effective.contains(needed)) {
        return Err(PortError::NotPermitted);
    }
    if let Some(other) = interface.xdp {
        return Err(other.occupies(&interface).into());
    }
    if !interface.is_up {
        return Err(PortError::Down { interface: name() });
    }
    if interface.mtu > MAX_MTU {
        return Err(PortError::Mtu { interface: name(), mtu: interface.mtu, max: MAX_MTU, frame: MAX_FRAME });
    }
    let queues = options.queues.clone().unwrap_or_else(|| (0..interface.rx_queues.min(MAX_QUEUES.into())).collect());
    if let Some(queue) = queues.iter().find(|q| **q >= interface.rx_queues) {
        return Err(PortError::NoQueue { interface: name(), queue: *queue });
    }
    if let Some(queue) = queues.iter().find(|q| super::owners(**q).is_none()) {
        return Err(PortError::Queue { queue: *queue });
    }
    addresses(&interface, options.listen)?;
    Ok((interface, queues))
}

/// The interface's addresses that `listen` means.
fn addresses(interface: &Interface, listen: SocketAddr) -> Result<Vec<IpAddr>, PortError> {
    let meant = |address: &&IpAddr| match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.is_ipv4(),
        IpAddr::V6(ip) if ip.is_unspecified() => true,
        ip => **address == ip,
    };
    let found: Vec<_> = interface.addresses.iter().filter(meant).copied().collect();
    if found.is_empty() {
        return Err(PortError::NoAddress { interface: interface.name.clone(), listen });
    }
    Ok(found)
}

/// The ways to try, best first: native and zero copy, each with what it means that it is not taken.
fn ways(options: &Options) -> Vec<(bool, bool)> {
    let native = match options.native {
        Choice::Auto => &[true, false][..],
        Choice::Require => &[true],
        Choice::Off => &[false],
    };
    let zero_copy = match options.zero_copy {
        Choice::Auto => &[true, false][..],
        Choice::Require => &[true],
        Choice::Off => &[false],
    };
    let all = native.iter().flat_map(|n| zero_copy.iter().map(move |z| (*n, *z)));
    // Generic XDP always copies.
    all.filter(|(native, zero_copy)| *native || !zero_copy).collect()
}

/// Whether the next way may work where this one did not.
fn may_fall_back(error: &PortError, native: bool, zero_copy: bool) -> bool {
    match error {
        PortError::NoZeroCopy { .. } => zero_copy,
        PortError::Xdp(XdpError::NoNative(_) | XdpError::Refused { .. }) => native,
        _ => false,
    }
}

impl Host {
    /// Opens the sockets on the packets region, loads the program and attaches it, the best way that works.
    ///
    /// # Errors
    /// [`PortError`] with cause and remedy; nothing is left attached or open.
    pub fn open(options: &Options, acl: &Compiled, packets: BorrowedFd<'_>, bytes: u64) -> Result<Self, PortError> {
        let (interface, queues) = examine(options)?;
        // UMEM is locked memory. Where the limit cannot be raised, the kernel says so below.
        let unlimited = Rlimit { current: None, maximum: None };
        let _ = rustix::process::setrlimit(Resource::Memlock, unlimited);
        // A mapping that is not writable cannot be a UMEM.
        let packets = Mapping::map("packets", packets, bytes, true)?;
        let (mut reasons, ways) = (Vec::new(), ways(options));
        for (n, (native, zero_copy)) in ways.iter().copied().enumerate() {
            match Self::attempt(options, &interface, &queues, acl, &packets, (native, zero_copy)) {
                Ok((pairs, attached)) => {
                    let chosen = Chosen { native, zero_copy, reasons };
                    let listen = options.listen;
                    return Ok(Self { interface, listen, pairs, attached, chosen, served: Vec::new() });
                }
                Err(error) if n + 1 < ways.len() && may_fall_back(&error, native, zero_copy) => {
                    reasons.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        // There is always a way, and the last one's error is returned above.
        Err(PortError::NoZeroCopy { interface: interface.name, source: rustix::io::Errno::NOTSUP })
    }

    fn attempt(
        options: &Options,
        interface: &Interface,
        queues: &[u32],
        acl: &Compiled,
        packets: &Mapping,
        (native, zero_copy): (bool, bool),
    ) -> Result<(Vec<Pair>, Attached), PortError> {
        let wanted = Wanted {
            interface: &interface.name,
            ifindex: interface.index,
            ring_size: options.ring_size,
            zero_copy,
            need_wakeup: options.need_wakeup,
            busy_poll: options.busy_poll,
        };
        // Sockets first: what is attached must come off again, what is only open closes by itself.
        let pairs = wanted.open(queues, packets)?;
        let program = Program::load(&filter(interface, options.listen, acl)?)?;
        let mode = if native { Mode::Native } else { Mode::Generic };
        Ok((pairs, program.attach(interface.index, mode)?))
    }

    /// Lets frames of `queues` go to their sockets: their gateway has filled the queues.
    ///
    /// # Errors
    /// [`PortError`] of the program's map.
    pub fn serve(&mut self, queues: &[u32]) -> Result<(), PortError> {
        for pair in self.pairs.iter().filter(|p| queues.contains(&p.queue)) {
            if !self.served.contains(&pair.queue) {
                self.attached.program().set_socket(pair.queue, pair.rx.as_fd())?;
                self.served.push(pair.queue);
            }
        }
        Ok(())
    }

    /// Puts another access list, and the interface's present addresses, in place of the old ones, without a gap.
    /// Returns what the old program had counted.
    ///
    /// # Errors
    /// [`PortError`]; the old list goes on then.
    pub fn replace_access_list(&mut self, acl: &Compiled) -> Result<Counters, PortError> {
        let interface = Interface::find(&self.interface.name)?;
        let mut program = Program::load(&filter(&interface, self.listen, acl)?)?;
        for pair in self.pairs.iter().filter(|p| self.served.contains(&p.queue)) {
            program.set_socket(pair.queue, pair.rx.as_fd())?;
        }
        let mut old = self.attached.replace(program)?;
        self.interface = interface;
        // It is done: what cannot be read any more must not look as if it were not.
        Ok(old.counters().unwrap_or_default())
    }

    /// What the program has counted since it, or its access list, came.
    ///
    /// # Errors
    /// [`PortError`] of the program's maps.
    pub fn counters(&mut self) -> Result<Counters, PortError> {
        Ok(self.attached.counters()?)
    }

    /// The interface as it was when it was last looked at.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Which way was taken.
    pub fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    /// The queues that have sockets.
    pub fn queues(&self) -> Vec<u32> {
        self.pairs.iter().map(|p| p.queue).collect()
    }

    /// The queues whose frames go to their sockets by now.
    pub fn served(&self) -> &[u32] {
        &self.served
    }

    /// What the gateway that serves `queues` inherits, in their order: the receiving socket of each.
    pub fn rx_fds(&self, queues: &[u32]) -> Vec<RawFd> {
        self.rx_descriptors(queues).iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// What tx inherits: the sending socket of each queue.
    pub fn tx_fds(&self) -> Vec<RawFd> {
        self.tx_descriptors().iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// The descriptors of [`Host::rx_fds`], for whoever duplicates them.
    pub fn rx_descriptors(&self, queues: &[u32]) -> Vec<BorrowedFd<'_>> {
        let of = |queue: &u32| self.pairs.iter().find(|p| p.queue == *queue);
        queues.iter().filter_map(of).map(|p| p.rx.as_fd()).collect()
    }

    /// The descriptors of [`Host::tx_fds`], for whoever duplicates them.
    pub fn tx_descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.pairs.iter().map(|p| p.tx.as_fd()).collect()
    }
}

/// What the program lets through to the sockets.
fn filter<'a>(interface: &Interface, listen: SocketAddr, acl: &'a Compiled) -> Result<Filter<'a>, PortError> {
    let addresses = addresses(interface, listen)?;
    Ok(Filter { mac: interface.mac, addresses, ports: vec![listen.port()], acl })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_way_is_tried_first_and_generic_never_without_copies() {
        let mut options = Options {
            interface: "eth0".to_owned(),
            queues: None,
            native: Choice::Auto,
            zero_copy: Choice::Auto,
            ring_size: 64,
            need_wakeup: true,
            busy_poll: None,
            listen: "0.0.0.0:9".parse().unwrap(),
        };
        assert_eq!(ways(&options), [(true, true), (true, false), (false, false)]);
        options.native = Choice::Off;
        assert_eq!(ways(&options), [(false, false)]);
        (options.native, options.zero_copy) = (Choice::Require, Choice::Off);
        assert_eq!(ways(&options), [(true, false)]);
        options.zero_copy = Choice::Require;
        assert_eq!(ways(&options), [(true, true)]);
    }
}
