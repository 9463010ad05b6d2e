//! `[dpdk]`: which ports the poll-mode drivers take, and how.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use crate::dpdk_device::DpdkDevice;
use crate::error::{ConfigError, Origin};
use crate::general::{entry, inline_table};
use crate::ingress::Driver;
use crate::memory::Hugepages;
use crate::pipeline::Pipeline;
use crate::reader::Section;
use crate::stream::ReplyTo;
use crate::value::{Auto, Mistake, Value, words};

/// Most receive queues of one rx-gateway.
const MAX_QUEUES: u32 = 16;

/// Largest IP packet whose frame and tags fit into one buffer.
const MAX_MTU: u32 = 3626;

/// Arguments of the library that Flumeway sets itself, and by what.
const OWN_ARGUMENTS: [(&str, &str); 17] = [
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
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
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

    /// Whether the library is told to do without hugepages.
    pub fn without_hugepages(&self) -> bool {
        self.eal_args.iter().any(|argument| argument == "--no-huge")
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
                // A short option may have its value without a blank.
                name == own || (own.len() == 2 && name.starts_with(own) && !name.starts_with("--"))
            };
            let Some((own, by)) = OWN_ARGUMENTS.iter().find(|(own, _)| is(own)) else { continue };
            let problem = format!("has {argument}, and {own} is what Flumeway sets itself");
            let remedy = if by.is_empty() { "remove it".to_owned() } else { format!("remove it, and use {by}") };
            return Err(at.error("dpdk.eal_args", &problem, remedy));
        }
        Ok(())
    }
}

/// Checks how `[dpdk]` fits the other sections, if a start may take its drivers.
pub(crate) fn check_fit(pipeline: &Pipeline) -> Result<(), ConfigError> {
    let (at, dpdk, listen) = (&pipeline.origin, &pipeline.dpdk, pipeline.ingress.listen);
    if !dpdk.may_serve(pipeline.ingress.driver) {
        return Ok(());
    }
    if let Some(key) = dpdk.without_device() {
        let problem = "is missing, and [ingress] driver = \"dpdk\" needs it";
        return Err(at.error(&format!("dpdk.{key}"), problem, format!("write {}", DpdkDevice::wanted())));
    }
    let gateways = pipeline.rx_gateway.instances;
    if dpdk.rx.len() != gateways as usize {
        let problem =
            format!("names {} for [rx_gateway] instances = {gateways}", crate::general::count(dpdk.rx.len(), "device"));
        return Err(at.error("dpdk.rx", &problem, "name one per rx-gateway; queues spread one device's packets"));
    }
    check_ports(at, dpdk)?;
    if listen.port() == 0 {
        let problem = format!("= \"{listen}\" leaves the port to the kernel, which DPDK goes past");
        return Err(at.error("ingress.listen", &problem, "write a port"));
    }
    if dpdk.addresses(listen.ip()).is_empty() {
        let problem = format!("is empty, and [ingress] listen = \"{listen}\" names no address either");
        return Err(at.error("dpdk.addresses", &problem, "write the addresses that senders reach this machine by"));
    }
    let pci = dpdk.devices().find_map(DpdkDevice::pci);
    if let (Some(device), Hugepages::Off) = (pci, pipeline.arena.hugepages) {
        let problem = format!("= \"off\", and {device} reads and writes the arena itself: its pages must be huge");
        return Err(at.error("arena.hugepages", &problem, "write \"require\""));
    }
    check_buffers(pipeline)?;
    check_neighbours(pipeline)
}

/// No two processes drive one port.
fn check_ports(at: &Origin, dpdk: &Dpdk) -> Result<(), ConfigError> {
    let devices: Vec<&DpdkDevice> = dpdk.devices().collect();
    for (n, device) in devices.iter().enumerate() {
        let Some(first) = devices[..n].iter().find(|other| other.is_port_of(device)) else { continue };
        let is_tx = n == dpdk.rx.len();
        let key = if is_tx { "dpdk.tx" } else { "dpdk.rx" };
        let problem = format!("= \"{device}\" is the same port as \"{first}\"");
        let remedy = if is_tx {
            "rx and tx need two ports or functions: name another, or with one port write [ingress] driver = \"af_xdp\""
        } else {
            "name each once; queues spread one device's packets"
        };
        return Err(at.error(key, &problem, remedy));
    }
    Ok(())
}

/// What waits in the device and its pool is lost to frames in flight: half of the buffers at least is left to them.
fn check_buffers(pipeline: &Pipeline) -> Result<(), ConfigError> {
    let (dpdk, gateways) = (&pipeline.dpdk, pipeline.rx_gateway.instances);
    let share = pipeline.arena.buffers / gateways.max(1);
    let held = dpdk.rx_descriptors * dpdk.queues + dpdk.pool_cache;
    if held <= share / 2 {
        return Ok(());
    }
    let problem = format!(
        "= {} for {} and pool_cache = {} keep {held} of the {share} buffers of an rx-gateway with the device",
        dpdk.rx_descriptors,
        crate::general::count(dpdk.queues as usize, "queue"),
        dpdk.pool_cache,
    );
    let buffers = u64::from(held) * 2 * u64::from(gateways);
    let remedy = format!("leave half to frames in flight: write less, or [arena] buffers = {buffers}");
    Err(pipeline.origin.error("dpdk.rx_descriptors", &problem, remedy))
}

/// No kernel knows the link addresses of those who get replies without having asked.
fn check_neighbours(pipeline: &Pipeline) -> Result<(), ConfigError> {
    for stream in std::iter::once(&pipeline.default_stream).chain(&pipeline.streams) {
        let ReplyTo::Address(to) = stream.reply_to else { continue };
        if pipeline.dpdk.neighbours.iter().all(|neighbour| neighbour.address != to.ip()) {
            let key = format!("stream.{}.reply_to", stream.id);
            let problem = format!("= \"{to}\" has no entry in [dpdk] neighbours");
            let remedy =
                format!("add {{ address = \"{}\", mac = \"...\" }} with the next hop's hardware address", to.ip());
            return Err(pipeline.origin.error(&key, &problem, remedy));
        }
    }
    Ok(())
}
