//! `[dpdk]`: which ports the poll-mode drivers take, and how.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use crate::dpdk_device::DpdkDevice;
use crate::error::{ConfigError, Origin};
use crate::general::{entry, inline_table};
use crate::ingress::Driver;
use crate::reader::Section;
use crate::value::{Auto, Mistake, Value, words};

/// Most receive queues of one rx-gateway.
const MAX_QUEUES: u32 = 16;

/// Largest IP packet whose frame and tags fit into one buffer.
const MAX_MTU: u32 = 3626;

/// Bursts that a pool has beyond what fills the queues and the cache: that of `ports::dpdk`.
const SPARE_BURSTS: u32 = 8;

/// Arguments of the library that Flumeway sets itself, or that contradict what it sets, and what to write instead.
const OWN_ARGUMENTS: [(&str, &str); 19] = [
    ("-l", "[pipeline] cores"),
    ("-c", "[pipeline] cores"),
    ("-s", "[pipeline] cores"),
    ("-S", "[pipeline] cores"),
    ("--lcores", "[pipeline] cores"),
    ("--main-lcore", "[pipeline] cores"),
    ("-m", "[dpdk] eal_memory_mib"),
    ("--socket-mem", "[dpdk] eal_memory_mib"),
    ("-a", "[dpdk] rx and tx"),
    ("--allow", "[dpdk] rx and tx"),
    ("-b", "[dpdk] rx and tx"),
    ("--block", "[dpdk] rx and tx"),
    ("--vdev", "[dpdk] rx and tx"),
    ("--no-pci", "[dpdk] rx and tx"),
    ("--no-huge", ""),
    ("--legacy-mem", ""),
    ("--in-memory", ""),
    ("--file-prefix", ""),
    ("--proc-type", ""),
];

words! {
    /// Whether what a port can do itself is left to it.
    Offloads {
        /// Checksums and the spreading over queues, where the port has them.
        Auto = "auto",
        /// Everything in software.
        Off = "off",
    }
}

words! {
    /// Whether the port itself drops what is not for the pipeline.
    FlowRules {
        /// If the port accepts the rules.
        Auto = "auto",
        /// The pipeline looks at every packet.
        Off = "off",
        /// Or the pipeline does not start.
        Require = "require",
    }
}

words! {
    /// What rx-gateway does when nothing comes.
    DpdkIdle {
        /// Waits for an interrupt where the port has them, else sleeps.
        Auto = "auto",
        /// Waits for an interrupt; does not start where the port has none.
        Interrupt = "interrupt",
        /// Sleeps, and looks again.
        Sleep = "sleep",
    }
}

/// A hardware address (IEEE 802). Written `"02:00:00:00:00:09"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkAddress(pub [u8; 6]);

impl LinkAddress {
    fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        // The lowest bit of the first byte marks a group.
        (parts.next().is_none() && bytes[0] & 1 == 0 && bytes != [0; 6]).then_some(Self(bytes))
    }
}

impl fmt::Display for LinkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separated = |(n, byte): (usize, &u8)| write!(f, "{}{byte:02x}", if n == 0 { "" } else { ":" });
        self.0.iter().enumerate().try_for_each(separated)
    }
}

/// Where on the link replies to an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticNeighbour {
    /// The destination's address.
    pub address: IpAddr,
    /// The next hop's hardware address.
    pub mac: LinkAddress,
}

const NEIGHBOUR: &str = "{ address = \"192.0.2.9\", mac = \"02:00:00:00:00:09\" }";

impl Value for IpAddr {
    fn wanted() -> String {
        "an address such as \"192.0.2.1\" or \"2001:db8::1\"".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        let text = value.as_str().ok_or_else(|| Mistake::wrong_type(value, &Self::wanted()))?;
        text.parse().map_err(|_| Mistake::new("is no address", format!("write {}", Self::wanted())))
    }
}

impl Value for LinkAddress {
    fn wanted() -> String {
        "a hardware address such as \"02:00:00:00:00:09\", of one station".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        let text = value.as_str().ok_or_else(|| Mistake::wrong_type(value, &Self::wanted()))?;
        Self::parse(text).ok_or_else(|| Mistake::new("is no hardware address", format!("write {}", Self::wanted())))
    }
}

impl Value for StaticNeighbour {
    fn wanted() -> String {
        NEIGHBOUR.to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        inline_table(value, &["address", "mac"], NEIGHBOUR)?;
        Ok(Self { address: entry(value, "address")?, mac: entry(value, "mac")? })
    }
}

/// `[dpdk]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dpdk {
    /// Ports that requests come by: one per rx-gateway.
    pub rx: Vec<DpdkDevice>,
    /// The port that replies go out by: another one.
    pub tx: Option<DpdkDevice>,
    /// Addresses of ours, answered for on the link; see [`Self::addresses`].
    pub addresses: Vec<IpAddr>,
    /// Where replies go whose stream has a fixed `reply_to`.
    pub neighbours: Vec<StaticNeighbour>,
    /// Receive queues of each rx port.
    pub queues: u32,
    /// Entries of each receive queue.
    pub rx_descriptors: u32,
    /// Entries of the send queue.
    pub tx_descriptors: u32,
    /// Most packets of one call to the driver.
    pub burst: u32,
    /// Buffers that the pool keeps at hand beside its common store.
    pub pool_cache: u32,
    /// Largest IP packet; `auto` leaves the port's own.
    pub mtu: Auto<u32>,
    /// Whether rx ports take in frames to other hardware addresses.
    pub promiscuous: bool,
    /// Whether UDP checksums of requests are verified in software.
    pub verify_checksums: bool,
    /// Whether the port computes checksums and spreads packets over queues.
    pub offloads: Offloads,
    /// Whether the port drops what is not for the pipeline.
    pub flow_rules: FlowRules,
    /// What rx-gateway does when nothing comes.
    pub idle: DpdkIdle,
    /// How long it sleeps at first where it sleeps.
    pub idle_sleep_us: u32,
    /// Memory that the library takes at once in each of its processes, MiB; 0 takes it as needed.
    pub eal_memory_mib: u32,
    /// Further arguments of the library.
    pub eal_args: Vec<String>,
}

impl Dpdk {
    pub(crate) fn defaults() -> Self {
        Self {
            rx: Vec::new(),
            tx: None,
            addresses: Vec::new(),
            neighbours: Vec::new(),
            queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            burst: 32,
            pool_cache: 256,
            mtu: Auto::AUTO,
            promiscuous: false,
            verify_checksums: false,
            offloads: Offloads::Auto,
            flow_rules: FlowRules::Auto,
            idle: DpdkIdle::Auto,
            idle_sleep_us: 200,
            eal_memory_mib: 0,
            eal_args: Vec::new(),
        }
    }

    pub(crate) fn read(section: &mut Section<'_, '_>) -> Result<Self, ConfigError> {
        let mut it = Self::defaults();
        section.set("rx", &mut it.rx)?;
        section.set("tx", &mut it.tx)?;
        section.set("addresses", &mut it.addresses)?;
        section.set("neighbours", &mut it.neighbours)?;
        section.set("queues", &mut it.queues)?;
        section.set("rx_descriptors", &mut it.rx_descriptors)?;
        section.set("tx_descriptors", &mut it.tx_descriptors)?;
        section.set("burst", &mut it.burst)?;
        section.set("pool_cache", &mut it.pool_cache)?;
        section.set("mtu", &mut it.mtu)?;
        section.set("promiscuous", &mut it.promiscuous)?;
        section.set("verify_checksums", &mut it.verify_checksums)?;
        section.set("offloads", &mut it.offloads)?;
        section.set("flow_rules", &mut it.flow_rules)?;
        section.set("idle", &mut it.idle)?;
        section.set("idle_sleep_us", &mut it.idle_sleep_us)?;
        section.set("eal_memory_mib", &mut it.eal_memory_mib)?;
        section.set("eal_args", &mut it.eal_args)?;
        Ok(it)
    }

    /// The addresses that are answered for, `listen` being that of `[ingress]`: those that are configured, else `listen`.
    pub fn addresses(&self, listen: IpAddr) -> Vec<IpAddr> {
        if self.addresses.is_empty() && !listen.is_unspecified() { vec![listen] } else { self.addresses.clone() }
    }

    /// All devices, those for receiving first.
    pub fn devices(&self) -> impl Iterator<Item = &DpdkDevice> {
        self.rx.iter().chain(&self.tx)
    }

    /// Which of the keys names no device, if one does not.
    pub fn without_device(&self) -> Option<&'static str> {
        if self.rx.is_empty() {
            return Some("rx");
        }
        self.tx.is_none().then_some("tx")
    }

    /// Whether a start may end up with these drivers: they are named, or `auto` finds both ports.
    pub fn may_serve(&self, driver: Driver) -> bool {
        driver == Driver::Dpdk || (driver == Driver::Auto && self.without_device().is_none())
    }

    /// Buffers of an rx-gateway that wait in the port and its pool: what fills the queues and the cache, and some bursts.
    pub fn buffers_held(&self) -> u32 {
        let per_queue = self.rx.iter().map(|rx| rx.least_buffers().max(self.rx_descriptors)).max();
        per_queue.unwrap_or(self.rx_descriptors) * self.queues + self.pool_cache + SPARE_BURSTS * self.burst
    }

    /// Checks each value by itself.
    pub(crate) fn check(&self, at: &Origin) -> Result<(), ConfigError> {
        at.in_range("dpdk.queues", self.queues, 1..=MAX_QUEUES)?;
        at.in_range("dpdk.rx_descriptors", self.rx_descriptors, 64..=4096)?;
        at.in_range("dpdk.tx_descriptors", self.tx_descriptors, 64..=4096)?;
        // Vectorised drivers take no fewer at once.
        at.in_range("dpdk.burst", self.burst, 4..=256)?;
        at.in_range("dpdk.pool_cache", self.pool_cache, 0..=512)?;
        at.in_range("dpdk.idle_sleep_us", self.idle_sleep_us, 1..=1000)?;
        at.in_range("dpdk.eal_memory_mib", self.eal_memory_mib, 0..=65536)?;
        if let Auto::Fixed(mtu) = self.mtu {
            at.in_range("dpdk.mtu", mtu, 576..=MAX_MTU)?;
        }
        for (key, device) in self.rx.iter().map(|rx| ("dpdk.rx", rx)).chain(self.tx.iter().map(|tx| ("dpdk.tx", tx))) {
            if DpdkDevice::parse(device.as_str()).as_ref() != Some(device) {
                return Err(at.error(key, &format!("= \"{device}\" is no name of a device"), DpdkDevice::wanted()));
            }
        }
        self.check_addresses(at)?;
        self.check_arguments(at)
    }

    fn check_addresses(&self, at: &Origin) -> Result<(), ConfigError> {
        let no_station = |address: &&IpAddr| address.is_unspecified() || address.is_multicast();
        if let Some(address) = self.addresses.iter().find(no_station) {
            let remedy = "write addresses that senders reach this machine by, such as [\"192.0.2.1\"]";
            return Err(at.error("dpdk.addresses", &format!("has {address}, which is no machine's"), remedy));
        }
        let repeated = |(n, one): (usize, &StaticNeighbour)| {
            self.neighbours[..n].iter().any(|other| other.address == one.address).then_some(one.address)
        };
        match self.neighbours.iter().enumerate().find_map(repeated) {
            Some(address) => Err(at.error("dpdk.neighbours", &format!("has {address} twice"), "write it once")),
            None => Ok(()),
        }
    }

    fn check_arguments(&self, at: &Origin) -> Result<(), ConfigError> {
        for argument in &self.eal_args {
            let name = argument.split('=').next().unwrap_or("");
            let is = |own: &str| {
                // A short option may have its value without a blank, and a long one be cut short (getopt_long(3)).
                let is_cut = name.len() > 2 && name.starts_with("--") && own.starts_with(name);
                name == own || is_cut || (own.len() == 2 && name.starts_with(own) && !name.starts_with("--"))
            };
            let Some((own, by)) = OWN_ARGUMENTS.iter().find(|(own, _)| is(own)) else { continue };
            let problem = if own.starts_with("--no-huge") || own.starts_with("--legacy") {
                format!("has {argument}, which excludes --in-memory, and that is what Flumeway sets itself")
            } else {
                format!("has {argument}, and {own} is what Flumeway sets itself")
            };
            let remedy = if by.is_empty() { "remove it".to_owned() } else { format!("remove it, and use {by}") };
            return Err(at.error("dpdk.eal_args", &problem, remedy));
        }
        Ok(())
    }
}
