//! `[af_xdp]`: which interface and queues the kernel bypass takes, and how.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, Origin};
use crate::reader::Section;
use crate::value::{Auto, words};

/// Most queues: what owner ids there are for.
const MAX_QUEUES: u32 = 63;

/// Longest name of an interface (`IFNAMSIZ`), without its closing zero.
const MAX_INTERFACE_BYTES: usize = 15;

words! {
    /// How the XDP program is attached.
    XdpMode {
        /// Native if the driver has it, else generic.
        Auto = "auto",
        /// In the driver, before the kernel has made a packet of its own of it.
        Native = "native",
        /// In the kernel's stack: every interface can, at the cost of one more copy.
        Generic = "generic",
    }
}

words! {
    /// Whether the NIC writes into the arena itself.
    ZeroCopy {
        /// If the driver has it.
        Auto = "auto",
        /// Or the pipeline does not start.
        Require = "require",
        /// The kernel copies.
        Off = "off",
    }
}

/// `[af_xdp]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfXdp {
    /// The interface; `auto` is the one that has the address of `[ingress] listen`.
    pub interface: Auto<String>,
    /// Its receive queues; `auto` is all of them.
    pub queues: Auto<Vec<u32>>,
    /// How the XDP program is attached.
    pub mode: XdpMode,
    /// Whether the NIC writes into the arena itself.
    pub zero_copy: ZeroCopy,
    /// Entries of each of a queue's four rings.
    pub ring_size: u32,
    /// Whether the kernel is woken only when it asks to be.
    pub need_wakeup: bool,
    /// How long rx-gateway polls the device itself when a queue is empty; 0 leaves it to interrupts.
    pub busy_poll_us: u32,
    /// Packets of one such poll.
    pub busy_poll_budget: u32,
    /// Whether UDP checksums of requests are verified in software.
    pub verify_checksums: bool,
}

impl AfXdp {
    pub(crate) fn defaults() -> Self {
        Self {
            interface: Auto::AUTO,
            queues: Auto::AUTO,
            mode: XdpMode::Auto,
            zero_copy: ZeroCopy::Auto,
            ring_size: 2048,
            need_wakeup: true,
            busy_poll_us: 0,
            busy_poll_budget: 64,
            verify_checksums: false,
        }
    }

    pub(crate) fn read(section: &mut Section<'_, '_>) -> Result<Self, ConfigError> {
        let mut it = Self::defaults();
        section.set("interface", &mut it.interface)?;
        section.set("queues", &mut it.queues)?;
        section.set("mode", &mut it.mode)?;
        section.set("zero_copy", &mut it.zero_copy)?;
        section.set("ring_size", &mut it.ring_size)?;
        section.set("need_wakeup", &mut it.need_wakeup)?;
        section.set("busy_poll_us", &mut it.busy_poll_us)?;
        section.set("busy_poll_budget", &mut it.busy_poll_budget)?;
        section.set("verify_checksums", &mut it.verify_checksums)?;
        Ok(it)
    }

    pub(crate) fn check(&self, at: &Origin) -> Result<(), ConfigError> {
        at.in_range("af_xdp.ring_size", self.ring_size, 64..=32768)?;
        if !self.ring_size.is_power_of_two() {
            let remedy = format!("write {}", self.ring_size.next_power_of_two());
            return Err(at.error("af_xdp.ring_size", &format!("= {} is no power of two", self.ring_size), remedy));
        }
        at.in_range("af_xdp.busy_poll_us", self.busy_poll_us, 0..=10_000)?;
        at.in_range("af_xdp.busy_poll_budget", self.busy_poll_budget, 1..=1024)?;
        if let Auto::Fixed(name) = &self.interface
            && (name.is_empty() || name.len() > MAX_INTERFACE_BYTES)
        {
            let problem = format!("= \"{name}\" is no interface's name");
            return Err(at.error("af_xdp.interface", &problem, "write one that `ip link` shows, or \"auto\""));
        }
        if self.mode == XdpMode::Generic && self.zero_copy == ZeroCopy::Require {
            let problem = "= \"require\" contradicts mode = \"generic\": generic XDP always copies";
            return Err(at.error("af_xdp.zero_copy", problem, "write zero_copy = \"auto\", or mode = \"native\""));
        }
        let Auto::Fixed(queues) = &self.queues else { return Ok(()) };
        let mut sorted = queues.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if queues.is_empty() || sorted.len() < queues.len() {
            let remedy = "name each queue once, such as [0, 1], or write \"auto\"";
            return Err(at.error("af_xdp.queues", "names no queue, or one twice", remedy));
        }
        match sorted.last() {
            Some(last) if *last >= MAX_QUEUES => {
                let problem = format!("names queue {last}, and {MAX_QUEUES} queues are supported");
                Err(at.error("af_xdp.queues", &problem, format!("name queues 0 to {}", MAX_QUEUES - 1)))
            }
            _ => Ok(()),
        }
    }
}

/// What the supervisor found out about the interface; stages need it, and no key of the file is it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFacts {
    /// The interface.
    pub interface: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Largest IP packet that it sends, bytes.
    pub mtu: u32,
    /// The queues that are served, in the order of their sockets.
    pub queues: Vec<u32>,
    /// Whether the device reads and writes the arena itself.
    pub zero_copy: bool,
    /// Link addresses of those to whom replies go by configuration and not back where the request came from.
    pub neighbours: Vec<Neighbour>,
}

/// Where on the link an address is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The destination's address.
    pub address: IpAddr,
    /// Our own address on the way there.
    pub source: IpAddr,
    /// The next hop's hardware address.
    pub mac: [u8; 6],
}

impl DeviceFacts {
    /// The queues that gateway number `gateway` of `gateways` serves: in turn.
    pub fn queues_of(&self, gateway: usize, gateways: usize) -> Vec<u32> {
        self.queues.iter().copied().skip(gateway).step_by(gateways.max(1)).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Auto, Pipeline};
    use std::path::Path;

    fn load(text: &str) -> Result<Pipeline, String> {
        let text = format!("[infer]\nengine = \"null\"\n[af_xdp]\n{text}");
        Pipeline::from_toml_str(&text, Path::new(""), "p.toml").map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_take_every_queue() {
        let pipeline = load("").unwrap();
        assert_eq!(pipeline.af_xdp.queues, Auto::AUTO);
        assert_eq!(load("queues = [2, 0]\ninterface = \"eth0\"").unwrap().af_xdp.queues, Auto::Fixed(vec![2, 0]));
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_remedy() {
        for (text, said) in [
            ("ring_size = 1000", "write 1024"),
            ("ring_size = 32", "64"),
            ("queues = []", "name each queue once"),
            ("queues = [1, 1]", "name each queue once"),
            ("queues = [63]", "name queues 0 to 62"),
            ("interface = \"\"", "`ip link`"),
            ("interface = \"a-name-that-is-too-long\"", "`ip link`"),
            ("mode = \"generic\"\nzero_copy = \"require\"", "contradicts"),
            ("mode = \"fast\"", "native"),
            ("busy_poll_budget = 0", "1"),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn queues_are_dealt_out_in_turn() {
        let facts = super::DeviceFacts {
            interface: "eth0".to_owned(),
            mac: [0; 6],
            mtu: 1500,
            queues: vec![4, 5, 6],
            zero_copy: false,
            neighbours: Vec::new(),
        };
        assert_eq!((facts.queues_of(0, 2), facts.queues_of(1, 2)), (vec![4, 6], vec![5]));
        assert_eq!(facts.queues_of(0, 1), [4, 5, 6]);
    }
}
