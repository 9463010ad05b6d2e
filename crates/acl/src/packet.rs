//! What a list knows of a packet, and what it decides.

use std::net::IpAddr;

/// The fields of a packet that rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes to.
    pub destination: IpAddr,
    /// UDP or TCP port it comes from; 0 if its protocol has none.
    pub source_port: u16,
    /// UDP or TCP port it goes to; 0 if its protocol has none.
    pub port: u16,
    /// VLAN identifier of its outer tag. `None`, and 0 (a tag that carries only a priority), is no VLAN. A socket does not
    /// tell it: packets of such a driver count as untagged.
    pub vlan: Option<u16>,
    /// IP protocol number.
    pub protocol: u8,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It comes in.
    Allowed,
    /// A rule or the policy denies it.
    Denied,
    /// A rule allows it, and its source has sent too many.
    Limited,
}

/// A verdict, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of the packet.
    pub verdict: Verdict,
    /// The rule that matched, counted from 0; `None` is the policy.
    pub rule: Option<u16>,
}
