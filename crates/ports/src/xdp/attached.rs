//! [`Attached`]: the program at its interface.

use super::error::XdpError;
use super::ffi;
use super::interface::{installed, name_of};
use super::netlink::{self, Which};
use super::program::Program;
use aya::maps::PerCpuArray;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Where in the kernel the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel makes anything of the frame.
    Native,
    /// Behind the driver, on any interface: slower.
    Generic,
}

impl Mode {
    /// The word that stands for it in configuration and print.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    /// `XDP_FLAGS_DRV_MODE`, `XDP_FLAGS_SKB_MODE` of include/uapi/linux/if_link.h.
    const fn flags(self) -> u32 {
        match self {
            Self::Native => 1 << 2,
            Self::Generic => 1 << 1,
        }
    }
}

/// What a program has counted, all cores together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames given to sockets.
    pub redirected: u64,
    /// Frames let in whose queue has no socket: given to the kernel, whose own UDP socket serves them.
    pub no_socket: u64,
    /// Dropped by a rule or the policy.
    pub denied: u64,
    /// Dropped because their source sends too many.
    pub limited: u64,
    /// First fragments of IP dropped, of packets for a port of ours; others are left to the kernel.
    pub fragments: u64,
    /// Packets that no rule matched.
    pub policy_hits: u64,
    /// Packets that each rule matched, whatever became of them.
    pub hits: Vec<u64>,
}

/// A program at its interface. Dropping it detaches the program.
#[derive(Debug)]
pub struct Attached {
    // Dropped first: the interface must be free before the maps go.
    link: OwnedFd,
    program: Program,
    ifindex: u32,
    mode: Mode,
}

impl Program {
    /// Puts the program to work at interface `ifindex` of this network namespace. The link it makes goes when this process
    /// dies, however it dies.
    pub fn attach(mut self, ifindex: u32, mode: Mode) -> Result<Attached, XdpError> {
        let refused = |source| attach_error(ifindex, mode, source);
        let link = ffi::link_create(self.fd()?.as_fd(), ifindex, mode.flags()).map_err(refused)?;
        Ok(Attached { link, program: self, ifindex, mode })
    }

    /// What it has counted: nothing, before it is attached, but for trial runs.
    pub fn counters(&mut self) -> Result<Counters, XdpError> {
        let totals: PerCpuArray<_, [u64; 8]> =
            PerCpuArray::try_from(super::fill::map(&mut self.ebpf, "totals")?).map_err(XdpError::map("totals"))?;
        let mut sums = [0_u64; 8];
        for core in totals.get(&0, 0).map_err(XdpError::map("totals"))?.iter() {
            for (sum, count) in sums.iter_mut().zip(core) {
                *sum = sum.wrapping_add(*count);
            }
        }
        let rows: PerCpuArray<_, u64> =
            PerCpuArray::try_from(super::fill::map(&mut self.ebpf, "hits")?).map_err(XdpError::map("hits"))?;
        let sum = |rule: usize| -> Result<u64, XdpError> {
            let cores = rows.get(&(rule as u32), 0).map_err(XdpError::map("hits"))?;
            Ok(cores.iter().fold(0, |sum, count| sum.wrapping_add(*count)))
        };
        let hits = (0..self.rules).map(sum).collect::<Result<_, _>>()?;
        let [redirected, no_socket, denied, limited, fragments, policy_hits, ..] = sums;
        Ok(Counters { redirected, no_socket, denied, limited, fragments, policy_hits, hits })
    }

    fn fd(&mut self) -> Result<std::os::fd::BorrowedFd<'_>, XdpError> {
        self.xdp_mut()?.fd().map(AsFd::as_fd).map_err(|error| XdpError::load(&error))
    }
}

impl Attached {
    /// Puts `program`, its sockets set, in the place of the one that runs: each frame meets one or the other, none meets
    /// neither. Returns the old one, whose counters then stand still; on an error it is the one that goes on.
    pub fn replace(&mut self, mut program: Program) -> Result<Program, XdpError> {
        ffi::link_update(self.link.as_fd(), program.fd()?).map_err(XdpError::Replace)?;
        Ok(std::mem::replace(&mut self.program, program))
    }

    /// What the program that runs has counted since it came.
    pub fn counters(&mut self) -> Result<Counters, XdpError> {
        self.program.counters()
    }

    /// The program that runs, for its sockets.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// The interface's number.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Where the program runs.
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

/// What the kernel's refusal means.
fn attach_error(ifindex: u32, mode: Mode, source: Errno) -> XdpError {
    let is_there = || netlink::link(&Which::Index(ifindex)).map_or(true, |link| link.is_some());
    let interface = || name_of(ifindex);
    match source {
        // The kernel's word for a number that no interface has.
        Errno::INVAL if !is_there() => XdpError::NoInterface(format!("number {ifindex}")),
        Errno::PERM => XdpError::NotPermitted("attaching the XDP program"),
        Errno::NODEV | Errno::NXIO => XdpError::NoInterface(format!("number {ifindex}")),
        Errno::OPNOTSUPP if mode == Mode::Native => XdpError::NoNative(interface()),
        Errno::BUSY | Errno::EXIST => match installed(ifindex) {
            Ok(Some(other)) => other.occupying(ifindex, interface()),
            _ => XdpError::Refused { interface: interface(), mode: mode.word(), source },
        },
        source => XdpError::Refused { interface: interface(), mode: mode.word(), source },
    }
}
