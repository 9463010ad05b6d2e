//! Two network namespaces joined by a veth pair: the pipeline in one, the traffic in the other. Both are gone when the
//! [`Net`] is dropped, also when its process is killed: a guard process of its own removes them (see `removal`).

mod links;
mod missing;
mod removal;
mod setup;
mod switched;
mod taps;

pub use links::{Attachment, Counters};
pub use missing::Missing;
pub use switched::{SWITCH, Switched};
pub use taps::Taps;

use removal::Guard;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Set to anything, it makes [`skipped`] fail: for machines on which nothing may be missing.
pub const NO_SKIPS: &str = "FLUMEWAY_NO_SKIPS";

/// One of the two namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where the pipeline runs: namespace `-a`, addresses ending in 1.
    Pipeline,
    /// Where requests come from: namespace `-b`, addresses ending in 2.
    Traffic,
}

/// How the pair is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Receive queues, and as many transmit queues, of each interface.
    pub queues: u32,
    /// MTU of both interfaces in bytes. A native XDP program without fragments takes at most 3 506 on a veth.
    pub mtu: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { queues: 1, mtu: 1500 }
    }
}

/// Two namespaces and what joins them. Drop what runs inside first: what still does is killed.
#[derive(Debug)]
pub struct Net {
    label: String,
    names: [String; 2],
    interfaces: [String; 2],
    options: Options,
    guard: Guard,
}

/// A line `skipped: ` with what is missing for the test of this name. Fails instead where [`NO_SKIPS`] is set.
///
/// # Panics
/// Then.
pub fn skipped(label: &str, missing: &str) {
    assert!(std::env::var_os(NO_SKIPS).is_none(), "{label}: {missing}, and {NO_SKIPS} is set");
    crate::report(&format!("skipped-{label}"), &format!("skipped: {missing}\n"));
}

fn next_number() -> u32 {
    static NEXT: Mutex<u32> = Mutex::new(0);
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    *next += 1;
    *next
}

fn command_in(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let namespace = File::open(removal::folder().join(namespace))?;
    let worker = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(work())
    };
    std::thread::scope(|scope| scope.spawn(worker).join()).unwrap_or_else(|e| std::panic::resume_unwind(e))
}

impl Net {
    /// One queue, MTU 1500. `label` shows in messages and in the guard's command line.
    pub fn new(label: &str) -> Result<Self, Missing> {
        Self::with(label, Options::default())
    }

    /// Removes what dead processes left, then makes the namespaces.
    pub fn with(label: &str, options: Options) -> Result<Self, Missing> {
        missing::check_machine()?;
        removal::sweep();
        let (pid, n) = (std::process::id(), next_number());
        let names = ["a", "b"].map(|side| format!("fw-{pid}-{n}-{side}"));
        // Unique on the machine, not just in the namespace: kernel threads are found by the interface's name.
        let interfaces = ["a", "b"].map(|side| format!("fw{side}{pid}-{n}"));
        // The guard comes first: it removes half of a pair as well.
        let guard = Guard::start(label, &names).map_err(|e| Missing::Guard(e.to_string()))?;
        let net = Self { label: label.to_owned(), names, interfaces, options, guard };
        setup::make(&net)?;
        Ok(net)
    }

    /// [`Net::with`], or nothing and [`skipped`].
    pub fn or_skip(label: &str, options: Options) -> Option<Self> {
        let missing = match Self::with(label, options) {
            Ok(net) => return Some(net),
            Err(missing) => missing,
        };
        skipped(label, &missing.to_string());
        None
    }

    /// What it was called.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// How it was made.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Name of a namespace, as `ip netns` knows it.
    pub fn name(&self, side: Side) -> &str {
        &self.names[side as usize]
    }

    /// Name of a side's end of the veth pair.
    pub fn interface(&self, side: Side) -> &str {
        &self.interfaces[side as usize]
    }

    /// IPv4 address, in a /30.
    pub fn v4(&self, side: Side) -> IpAddr {
        Ipv4Addr::new(10, 77, 0, 1 + side as u8).into()
    }

    /// IPv6 address, in a /64.
    pub fn v6(&self, side: Side) -> IpAddr {
        Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1 + side as u16).into()
    }

    /// A command that runs in a namespace; the child's pid is the program's own. `ip netns exec` gives it a `/sys` that
    /// shows the namespace's interfaces (without what is mounted below `/sys` outside, so no `/sys/fs/bpf`).
    pub fn command_in(&self, side: Side, program: impl AsRef<OsStr>) -> Command {
        command_in(self.name(side), program)
    }

    /// `flumeway` with these arguments in a namespace.
    pub fn flumeway(&self, side: Side, arguments: &[&str]) -> Command {
        let mut command = self.command_in(side, crate::shipped().join("flumeway"));
        command.args(arguments);
        command
    }

    /// Runs `work` on a thread that has entered the namespace. Sockets opened there stay there, whoever uses them later.
    pub fn inside<T: Send>(&self, side: Side, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        inside(self.name(side), work)
    }

    /// Process id of the guard.
    pub fn guard_pid(&self) -> u32 {
        self.guard.pid()
    }
}
