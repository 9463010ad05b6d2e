//! `[ingress]` and `[limits]`: where frames come from, and how much a sender may ask for.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use crate::acl::{self, AclAction, AclRule};
use crate::error::{ConfigError, Origin};
use crate::general::Profile;
use crate::memory::Arena;
use crate::reader::Section;
use crate::value::{Auto, Mistake, Value};

/// Most bytes of UDP payload that fit into a packet buffer beside its headers and headroom.
pub const MAX_DATAGRAM_BYTES: u32 = 3328;

/// Bytes of a request's header without extensions.
pub const REQUEST_HEADER_BYTES: u32 = 128;

/// Most bytes of one frame in the frame protocol.
const MAX_FRAME_BYTES: u32 = 64 << 20;

/// How packets come in and go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// The best driver that works here.
    Auto,
    /// Ordinary UDP sockets.
    Udp,
    /// Kernel bypass on a stock kernel, see `[af_xdp]`.
    AfXdp,
    /// Poll-mode drivers past the kernel, see `[dpdk]`.
    Dpdk,
    /// From one capture file into another, see `[replay]`.
    Replay,
}

/// Drivers that the design names and this release lacks.
const LATER_DRIVERS: [&str; 2] = ["rdma", "tcp"];

impl Driver {
    const ALL: [Self; 5] = [Self::Auto, Self::Udp, Self::AfXdp, Self::Dpdk, Self::Replay];
    const WORDS: [&str; 5] = ["auto", "udp", "af_xdp", "dpdk", "replay"];

    /// The word that stands for this driver in configuration and print.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Udp => "udp",
            Self::AfXdp => "af_xdp",
            Self::Dpdk => "dpdk",
            Self::Replay => "replay",
        }
    }
}

impl Value for Driver {
    fn wanted() -> String {
        crate::suggest::one_of(&Self::WORDS)
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        match value.as_str() {
            Some(name) if LATER_DRIVERS.contains(&name) => {
                Err(Mistake::new("comes with a later release", format!("write {}", Self::wanted())))
            }
            _ => crate::value::read_word(value, &Self::ALL, &Self::WORDS),
        }
    }
}

/// `[ingress]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingress {
    /// How packets come in and go out.
    pub driver: Driver,
    /// Local address and UDP port of requests.
    pub listen: SocketAddr,
    /// What the socket's queue may hold, as asked for by `SO_RCVBUF`.
    pub receive_buffer_bytes: u32,
    /// Longest UDP payload that is received whole.
    pub max_datagram_bytes: u32,
    /// What becomes of packets that no rule of `acl` matches.
    pub acl_policy: AclAction,
    /// The access list; the first rule that matches decides.
    pub acl: Vec<AclRule>,
}

impl Ingress {
    pub(crate) fn defaults() -> Self {
        Self {
            driver: Driver::Auto,
            listen: SocketAddr::from(([0, 0, 0, 0], 9000)),
            receive_buffer_bytes: 4 << 20,
            max_datagram_bytes: MAX_DATAGRAM_BYTES,
            acl_policy: AclAction::Allow,
            acl: Vec::new(),
        }
    }

    pub(crate) fn read(section: &mut Section<'_, '_>) -> Result<Self, ConfigError> {
        let mut ingress = Self::defaults();
        section.set("driver", &mut ingress.driver)?;
        section.set("listen", &mut ingress.listen)?;
        section.set("receive_buffer_bytes", &mut ingress.receive_buffer_bytes)?;
        section.set("max_datagram_bytes", &mut ingress.max_datagram_bytes)?;
        section.set("acl_policy", &mut ingress.acl_policy)?;
        ingress.acl = section.entries("acl", "ingress.acl", AclRule::read)?;
        Ok(ingress)
    }

    pub(crate) fn check(&self, at: &Origin) -> Result<(), ConfigError> {
        at.in_range("ingress.receive_buffer_bytes", self.receive_buffer_bytes, 4096..=1 << 30)?;
        at.in_range("ingress.max_datagram_bytes", self.max_datagram_bytes, 256..=MAX_DATAGRAM_BYTES)?;
        acl::check(&self.acl, at)
    }
}

/// `[limits]`: bounds on what senders may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Streams known at once; requests of further ones are refused and counted.
    pub max_streams: u32,
    /// Longest reply, all its packets together.
    pub max_reply_bytes: u32,
    /// Frames of one stream that may be incomplete at once.
    pub max_assembling_per_stream: u32,
    /// How long a frame may stay incomplete.
    pub assembly_timeout_ms: u32,
    /// Longest frame, all its packets together.
    pub max_frame_bytes: u32,
    /// Frames admitted at once; `auto` is the number of slots.
    pub max_heads: Auto<u32>,
}

impl Limits {
    pub(crate) fn defaults(profile: Profile) -> Self {
        Self {
            max_streams: 1024,
            max_reply_bytes: 128 << 10,
            max_assembling_per_stream: 4,
            assembly_timeout_ms: 200,
            max_frame_bytes: if profile == Profile::Small { 4 << 20 } else { 8 << 20 },
            max_heads: Auto::AUTO,
        }
    }

    pub(crate) fn read(section: &mut Section<'_, '_>, profile: Profile) -> Result<Self, ConfigError> {
        let mut limits = Self::defaults(profile);
        section.set("max_streams", &mut limits.max_streams)?;
        section.set("max_reply_bytes", &mut limits.max_reply_bytes)?;
        section.set("max_assembling_per_stream", &mut limits.max_assembling_per_stream)?;
        section.set("assembly_timeout_ms", &mut limits.assembly_timeout_ms)?;
        section.set("max_frame_bytes", &mut limits.max_frame_bytes)?;
        section.set("max_heads", &mut limits.max_heads)?;
        Ok(limits)
    }

    pub(crate) fn check(
        &self,
        at: &Origin,
        arena: &Arena,
        ingress: &Ingress,
        gateways: u32,
    ) -> Result<(), ConfigError> {
        at.in_range("limits.max_streams", self.max_streams, 1..=65536)?;
        at.in_range("limits.max_reply_bytes", self.max_reply_bytes, 512..=16 << 20)?;
        at.in_range("limits.max_assembling_per_stream", self.max_assembling_per_stream, 1..=1024)?;
        at.in_range("limits.assembly_timeout_ms", self.assembly_timeout_ms, 1..=60_000)?;
        at.in_range("limits.max_frame_bytes", self.max_frame_bytes, 64..=MAX_FRAME_BYTES)?;
        let packets = self.max_frame_bytes.div_ceil(ingress.max_datagram_bytes - REQUEST_HEADER_BYTES);
        let share = arena.buffers / gateways;
        if packets > share {
            let among =
                if gateways > 1 { format!(", {share} for each of {gateways} rx-gateways") } else { String::new() };
            let least = packets.saturating_mul(gateways).next_power_of_two();
            return Err(at.error(
                "limits.max_frame_bytes",
                &format!(
                    "= {} takes {packets} buffers, more than [arena] buffers = {}{among}",
                    self.max_frame_bytes, arena.buffers
                ),
                format!("write less, or [arena] buffers = {least}"),
            ));
        }
        let Auto::Fixed(heads) = self.max_heads else {
            return Ok(());
        };
        at.in_range("limits.max_heads", heads, 1..=65536)?;
        match arena.slots {
            Auto::Fixed(slots) if heads > slots => Err(at.error(
                "limits.max_heads",
                &format!("= {heads} is more than [arena] slots = {slots}"),
                format!("write at most {slots}: every admitted frame needs a slot"),
            )),
            _ => Ok(()),
        }
    }
}
