//! `[[ingress.acl]]`: which packets may come in, and how many of them. The first rule that matches a packet decides.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use crate::error::{ConfigError, Origin};
use crate::prefix::Prefix;
use crate::reader::Section;
use crate::value::{Mistake, Value, words};

/// Most rules of an access list: the bit vectors that it is compiled into have one bit per rule.
pub const MAX_ACL_RULES: usize = 512;

/// Highest rate that can be asked for; above it the nanoseconds between two packets are too coarse.
const MAX_RATE_PPS: u32 = 10_000_000;

/// Most packets that a source may send at once ahead of its rate.
const MAX_BURST: u32 = 1_000_000;

/// Longest name of a rule, in bytes.
const MAX_NAME_BYTES: usize = 64;

words! {
    /// What becomes of a packet.
    AclAction {
        /// It comes in.
        Allow = "allow",
        /// It is dropped and counted.
        Deny = "deny",
    }
}

/// One `[[ingress.acl]]` entry. What is `None` matches every packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AclRule {
    /// What counters call it.
    pub name: Option<String>,
    /// What becomes of a packet that matches.
    pub action: AclAction,
    /// Addresses it comes from.
    pub source: Option<Prefix>,
    /// Addresses it goes to; of the family of `source`.
    pub destination: Option<Prefix>,
    /// UDP or TCP ports it goes to.
    pub ports: Option<PortRange>,
    /// Ports it comes from.
    pub source_ports: Option<PortRange>,
    /// VLAN identifier of its outer tag (IEEE 802.1Q); 0 is no tag, or one that carries only a priority.
    pub vlan: Option<u32>,
    /// IP protocol number.
    pub protocol: Option<Protocol>,
    /// Packets per second that each source address may send. Of rules that allow only.
    pub rate_pps: Option<u32>,
    /// Packets that a source may send at once ahead of its rate; `None` is a tenth of the rate.
    pub burst: Option<u32>,
}

/// How many packets a source may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Packets per second in the long run.
    pub per_second: u32,
    /// Packets at once.
    pub burst: u32,
}

/// As the file says it, in one line.
impl fmt::Display for AclRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.action)?;
        let parts = [
            ("source", self.source.map(|p| p.to_string())),
            ("destination", self.destination.map(|p| p.to_string())),
            ("ports", self.ports.map(|p| p.to_string())),
            ("source_ports", self.source_ports.map(|p| p.to_string())),
            ("vlan", self.vlan.map(|v| v.to_string())),
            ("protocol", self.protocol.map(|p| p.0.to_string())),
            ("rate_pps", self.rate_pps.map(|r| r.to_string())),
            ("burst", self.burst.map(|b| b.to_string())),
            ("name", self.name.clone()),
        ];
        parts.iter().try_for_each(|(key, value)| value.as_ref().map_or(Ok(()), |value| write!(f, " {key} {value}")))
    }
}

impl AclRule {
    /// A rule that matches every packet.
    pub const fn all(action: AclAction) -> Self {
        Self {
            name: None,
            action,
            source: None,
            destination: None,
            ports: None,
            source_ports: None,
            vlan: None,
            protocol: None,
            rate_pps: None,
            burst: None,
        }
    }

    /// What each source may send, if the rule bounds it: the burst is a tenth of the rate, and at least 1, unless given.
    pub fn rate(&self) -> Option<Rate> {
        let per_second = self.rate_pps?;
        Some(Rate { per_second, burst: self.burst.unwrap_or(per_second / 10).max(1) })
    }

    pub(crate) fn read(section: &mut Section<'_, '_>) -> Result<Self, ConfigError> {
        let mut action = None;
        let mut rule = Self::all(AclAction::Allow);
        section.set("name", &mut rule.name)?;
        section.set("action", &mut action)?;
        section.set("source", &mut rule.source)?;
        section.set("destination", &mut rule.destination)?;
        section.set("ports", &mut rule.ports)?;
        section.set("source_ports", &mut rule.source_ports)?;
        section.set("vlan", &mut rule.vlan)?;
        section.set("protocol", &mut rule.protocol)?;
        section.set("rate_pps", &mut rule.rate_pps)?;
        section.set("burst", &mut rule.burst)?;
        let Some(action) = action else {
            let remedy = format!("write {}", AclAction::wanted());
            return Err(section.origin.error(&section.path_of("action"), "is missing", remedy));
        };
        rule.action = action;
        Ok(rule)
    }

    /// `number` counts the rules from 1, as messages do.
    fn check(&self, at: &Origin, number: usize) -> Result<(), ConfigError> {
        let key = |name: &str| format!("ingress.acl.{number}.{name}");
        if self.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > MAX_NAME_BYTES) {
            return Err(at.error(
                &key("name"),
                &format!("is empty or longer than {MAX_NAME_BYTES} bytes"),
                "write a short name, or leave the key out",
            ));
        }
        if let (Some(source), Some(destination)) = (self.source, self.destination)
            && source.is_ipv4() != destination.is_ipv4()
        {
            return Err(at.error(
                &key("destination"),
                &format!("= \"{destination}\" is not of the family of source = \"{source}\""),
                "write both as IPv4 or both as IPv6; a rule for each family, if both are meant",
            ));
        }
        for (name, ports) in [("ports", self.ports), ("source_ports", self.source_ports)] {
            if ports.is_some_and(|ports| ports.first > ports.last) {
                return Err(at.error(&key(name), "begins above its end", "write the lower port first"));
            }
        }
        if let Some(vlan) = self.vlan {
            at.in_range(&key("vlan"), vlan, 0..=4094)?;
        }
        self.check_rate(at, &key)
    }

    fn check_rate(&self, at: &Origin, key: &impl Fn(&str) -> String) -> Result<(), ConfigError> {
        let Some(rate) = self.rate_pps else {
            return match self.burst {
                None => Ok(()),
                Some(_) => Err(at.error(&key("burst"), "stands without rate_pps", "add rate_pps, or remove burst")),
            };
        };
        if self.action == AclAction::Deny {
            return Err(at.error(
                &key("rate_pps"),
                &format!("= {rate} stands in a rule that denies"),
                "write action = \"allow\": what is above the rate is dropped; or remove rate_pps",
            ));
        }
        at.in_range(&key("rate_pps"), rate, 1..=MAX_RATE_PPS)?;
        at.in_range(&key("burst"), self.burst.unwrap_or(1), 1..=MAX_BURST)
    }
}

/// Checks the list as a whole.
pub(crate) fn check(rules: &[AclRule], at: &Origin) -> Result<(), ConfigError> {
    if rules.len() > MAX_ACL_RULES {
        return Err(at.error(
            "ingress.acl",
            &format!("has {} rules", rules.len()),
            format!("write at most {MAX_ACL_RULES}: join prefixes and port ranges"),
        ));
    }
    rules.iter().enumerate().try_for_each(|(n, rule)| rule.check(at, n + 1))
}

/// Whether the list lets everything in: no rule denies, none bounds a rate, and what matches none is allowed.
pub(crate) fn changes_nothing(rules: &[AclRule], policy: AclAction) -> bool {
    let harmless = |rule: &AclRule| rule.action == AclAction::Allow && rule.rate_pps.is_none();
    !rules.is_empty() && policy == AclAction::Allow && rules.iter().all(harmless)
}

/// Ports `first..=last`. Written `"9000"` or `"9000-9010"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortRange {
    /// Lowest.
    pub first: u16,
    /// Highest.
    pub last: u16,
}

impl PortRange {
    /// The ports in it.
    pub const fn range(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }

    /// Whether `port` is one of them.
    pub fn contains(self, port: u16) -> bool {
        self.range().contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl Value for PortRange {
    fn wanted() -> String {
        "ports from 0 to 65535 in quotes, like \"9000\" or \"9000-9010\"".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        let text = value.as_str().ok_or_else(|| Mistake::wrong_type(value, &Self::wanted()))?;
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        // `parse` takes a sign, which a port has not.
        let port = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
        match (port(first.trim()), port(last.trim())) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            (Some(first), Some(last)) => Err(Mistake::new("begins above its end", format!("write \"{last}-{first}\""))),
            _ => Err(Mistake::new("is no range of ports", format!("write {}", Self::wanted()))),
        }
    }
}

/// An IP protocol (IANA, Assigned Internet Protocol Numbers). Written `"udp"`, `"tcp"` or as its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Protocol(pub u8);

impl Protocol {
    /// RFC 9293.
    pub const TCP: Self = Self(6);
    /// RFC 768.
    pub const UDP: Self = Self(17);
}

impl Value for Protocol {
    fn wanted() -> String {
        "\"udp\", \"tcp\" or a protocol number from 0 to 255".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        match value.as_str() {
            Some("udp") => Ok(Self::UDP),
            Some("tcp") => Ok(Self::TCP),
            Some(_) => Err(Mistake::new("is not known", format!("write {}", Self::wanted()))),
            None => match u32::read(value).map(u8::try_from) {
                Ok(Ok(number)) => Ok(Self(number)),
                Ok(Err(_)) => Err(Mistake::new("is out of range", format!("write {}", Self::wanted()))),
                Err(mistake) => Err(Mistake { remedy: format!("write {}", Self::wanted()), ..mistake }),
            },
        }
    }
}

/// A key that may be absent: what is written is a value.
macro_rules! optional {
    ($($kind:ty),+) => { $(
        impl Value for Option<$kind> {
            fn wanted() -> String {
                <$kind>::wanted()
            }

            fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
                <$kind>::read(value).map(Some)
            }
        }
    )+ };
}
optional!(AclAction, Prefix, PortRange, Protocol, String);
