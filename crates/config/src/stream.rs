//! `[[stream]]`: who may send a stream, where its answers go, and what gives when there is too much of it.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use crate::error::{ConfigError, Origin};
use crate::ingress::Ingress;
use crate::mac_key::MacKey;
use crate::model::DEFAULT_MODEL;
use crate::prefix::Prefix;
use crate::reader::Section;
use crate::value::{Mistake, Value, words};

/// The streams that an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamId {
    /// All streams without an entry of their own.
    Default,
    /// The stream of this number.
    Id(u32),
}

impl StreamId {
    /// As it stands in the file: the default's in quotes.
    pub(crate) fn as_written(self) -> String {
        match self {
            Self::Default => "\"default\"".to_owned(),
            Self::Id(id) => id.to_string(),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Id(id) => id.fmt(f),
        }
    }
}

impl Value for StreamId {
    fn wanted() -> String {
        "id = 7 for one stream, or id = \"default\" for all others".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        match value.as_str() {
            Some("default") => Ok(Self::Default),
            Some(_) => Err(Mistake::new("is not known", format!("write {}", Self::wanted()))),
            None => u32::read(value)
                .map(Self::Id)
                .map_err(|mistake| Mistake { remedy: format!("write {}", Self::wanted()), ..mistake }),
        }
    }
}

/// Where a stream's answers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplyTo {
    /// To the address that the request came from.
    Sender,
    /// Nowhere.
    None,
    /// To this address.
    Address(SocketAddr),
}

impl Value for ReplyTo {
    fn wanted() -> String {
        "\"sender\", \"none\" or an address with a port, such as \"192.0.2.1:9001\"".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        match value.as_str() {
            Some("sender") => Ok(Self::Sender),
            Some("none") => Ok(Self::None),
            Some(text) => match text.parse::<SocketAddr>() {
                Ok(address) if address.port() != 0 => Ok(Self::Address(address)),
                _ => Err(Mistake::new("is not understood", format!("write {}", Self::wanted()))),
            },
            None => Err(Mistake::wrong_type(value, &Self::wanted())),
        }
    }
}

words! {
    /// What gives when frames come faster than they are inferred.
    Policy {
        /// rx-gateway stops reading; the socket's queue absorbs, and overflows when it must.
        Pause = "pause",
        /// The stream's frame that has waited longest is dropped for the new one.
        DropOldest = "drop-oldest",
        /// The new frame is dropped.
        DropNewest = "drop-newest",
    }
}

/// One `[[stream]]` entry, complete: what it left out comes from the default entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// The streams it is about.
    pub id: StreamId,
    /// Prefixes of the addresses that may send it; empty lets everybody.
    pub sources: Vec<Prefix>,
    /// Where its answers go.
    pub reply_to: ReplyTo,
    /// Name of the network that its frames go through.
    pub model: String,
    /// What gives when there is too much of it.
    pub policy: Policy,
    /// Time from a frame's first packet after which its answer is worthless, for frames that carry no deadline; 0 is none.
    pub deadline_us: u32,
    /// Whether a dropped frame is answered with a status.
    pub reply_on_drop: bool,
    /// Most such answers per second.
    pub reply_on_drop_per_s: u32,
    /// File with the key of its message authentication code.
    pub mac_key_file: Option<PathBuf>,
    /// The key read from it; `None` if packets carry no authentication.
    pub mac_key: Option<MacKey>,
    /// Complete frames of this stream that may wait at rx-gateway.
    pub backlog: u32,
}

impl Stream {
    /// The default entry of a file that has none.
    pub(crate) fn defaults() -> Self {
        Self {
            id: StreamId::Default,
            sources: Vec::new(),
            reply_to: ReplyTo::Sender,
            model: DEFAULT_MODEL.to_owned(),
            policy: Policy::Pause,
            deadline_us: 0,
            reply_on_drop: true,
            reply_on_drop_per_s: 1000,
            mac_key_file: None,
            mac_key: None,
            backlog: 64,
        }
    }

    /// Whether `address` may send this stream.
    pub fn admits(&self, address: std::net::IpAddr) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|prefix| prefix.contains(address))
    }

    /// Reads the entry `id`; what it leaves out comes from `base`.
    pub(crate) fn read(
        section: &mut Section<'_, '_>,
        id: StreamId,
        base: &Self,
        base_dir: &Path,
    ) -> Result<Self, ConfigError> {
        let mut stream = Self { id, ..base.clone() };
        section.set("sources", &mut stream.sources)?;
        section.set("reply_to", &mut stream.reply_to)?;
        section.set("model", &mut stream.model)?;
        section.set("policy", &mut stream.policy)?;
        section.set("deadline_us", &mut stream.deadline_us)?;
        section.set("reply_on_drop", &mut stream.reply_on_drop)?;
        section.set("reply_on_drop_per_s", &mut stream.reply_on_drop_per_s)?;
        section.set("mac_key_file", &mut stream.mac_key_file)?;
        section.set("backlog", &mut stream.backlog)?;
        if stream.mac_key_file != base.mac_key_file {
            stream.mac_key_file = stream.mac_key_file.map(|path| crate::files::absolute(base_dir, &path));
            stream.mac_key = match &stream.mac_key_file {
                None => None,
                Some(path) => Some(MacKey::load(path).map_err(|mistake| {
                    let problem = format!("= \"{}\" {}", path.display(), mistake.problem);
                    section.origin.error(&section.path_of("mac_key_file"), &problem, mistake.remedy)
                })?),
            };
        }
        Ok(stream)
    }

    pub(crate) fn check(&self, at: &Origin, ingress: &Ingress) -> Result<(), ConfigError> {
        let key = |name: &str| format!("stream.{}.{name}", self.id);
        at.in_range(&key("deadline_us"), self.deadline_us, 0..=60_000_000)?;
        at.in_range(&key("reply_on_drop_per_s"), self.reply_on_drop_per_s, 0..=10_000_000)?;
        at.in_range(&key("backlog"), self.backlog, 1..=65536)?;
        match self.reply_to {
            ReplyTo::Address(address) if address.is_ipv6() && ingress.listen.is_ipv4() => Err(at.error(
                &key("reply_to"),
                &format!(
                    "= \"{address}\" is an IPv6 address, and [ingress] listen = \"{}\" an IPv4 one",
                    ingress.listen
                ),
                format!("write an IPv4 address, or listen = \"[::]:{}\"", ingress.listen.port()),
            )),
            ReplyTo::Address(address) if address.is_ipv4() && ingress.listen.is_ipv6() && !dual_stack(ingress) => {
                Err(at.error(
                    &key("reply_to"),
                    &format!(
                        "= \"{address}\" is an IPv4 address, and [ingress] listen = \"{}\" an IPv6 one",
                        ingress.listen
                    ),
                    format!("write an IPv6 address, or listen = \"[::]:{}\"", ingress.listen.port()),
                ))
            }
            _ => Ok(()),
        }
    }
}

/// A socket bound to `[::]` carries IPv4 too.
fn dual_stack(ingress: &Ingress) -> bool {
    ingress.listen.ip().is_unspecified()
}
