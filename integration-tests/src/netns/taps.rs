//! A network namespace for a virtual machine: TAP devices joined by a bridge, which has the clients' addresses.

use super::removal::{self, Guard};
use super::setup::{ip, run};
use super::{Missing, command_in, inside, missing, next_number, skipped};
use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

const BRIDGE: &str = "clients";

/// The namespace. Its removal kills what still runs in it, the virtual machine above all.
#[derive(Debug)]
pub struct Taps {
    name: String,
    // Dropped with the rest: it removes the namespace.
    _guard: Guard,
}

impl Taps {
    /// TAP devices of these names, addresses on the bridge.
    pub fn new(label: &str, devices: &[&str]) -> Result<Self, Missing> {
        missing::check_machine()?;
        removal::sweep();
        let name = format!("fw-{}-{}-a", std::process::id(), next_number());
        let guard = Guard::start(label, std::slice::from_ref(&name)).map_err(|e| Missing::Guard(e.to_string()))?;
        let taps = Self { name, _guard: guard };
        taps.make(devices)?;
        Ok(taps)
    }

    /// [`Taps::new`], or nothing and [`skipped`].
    pub fn or_skip(label: &str, devices: &[&str]) -> Option<Self> {
        Self::new(label, devices).inspect_err(|missing| skipped(label, &missing.to_string())).ok()
    }

    fn make(&self, devices: &[&str]) -> Result<(), Missing> {
        let name = &self.name;
        ip(&format!("netns add {name}")).map_err(Missing::Namespaces)?;
        let here = |arguments: &str| ip(&format!("-n {name} {arguments}")).map_err(Missing::Taps);
        here("link set lo up")?;
        // Without snooping, multicast such as neighbour solicitation reaches everybody at once.
        here(&format!("link add {BRIDGE} type bridge mcast_snooping 0"))?;
        for device in devices {
            here(&format!("tuntap add dev {device} mode tap"))?;
            here(&format!("link set dev {device} master {BRIDGE}"))?;
            here(&format!("link set dev {device} up"))?;
        }
        here(&format!("addr add {}/24 dev {BRIDGE}", self.v4(2)))?;
        here(&format!("addr add {}/64 dev {BRIDGE} nodad", self.v6(2))).map_err(|e| Missing::Ipv6(e.to_string()))?;
        here(&format!("link set dev {BRIDGE} up"))?;
        // On a wire, checksums are there.
        run(self.command("ethtool").args(["-K", BRIDGE, "tx", "off"])).map_err(Missing::Taps).map(drop)
    }

    /// The interface that the clients are on.
    pub fn bridge(&self) -> &'static str {
        BRIDGE
    }

    /// An IPv4 address of the namespace's /24; the clients' is 2.
    pub fn v4(&self, host: u8) -> IpAddr {
        Ipv4Addr::new(10, 79, 0, host).into()
    }

    /// An IPv6 address of the namespace's /64; the clients' is 2.
    pub fn v6(&self, host: u8) -> IpAddr {
        Ipv6Addr::new(0xfd00, 0x79, 0, 0, 0, 0, 0, host.into()).into()
    }

    /// What the clients' kernel knows of its neighbours (`ip neigh`).
    pub fn neighbours(&self) -> String {
        ip(&format!("-n {} neigh show dev {BRIDGE}", self.name)).unwrap_or_default()
    }

    /// Makes the clients' kernel ask for its neighbours again.
    pub fn forget_neighbours(&self) {
        let _ = ip(&format!("-n {} neigh flush dev {BRIDGE}", self.name));
    }

    /// A command that runs in the namespace; the child's pid is the program's own.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        command_in(&self.name, program)
    }

    /// Runs `work` on a thread that has entered the namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        inside(&self.name, work)
    }
}
