//! The access list of `[[ingress.acl]]`: which packets may come in, and how many of them.
//!
//! - [`List`] decides on packets in software, for every driver.
//! - [`Compiled`] is the same list as bit vectors, one per value of each field; the XDP program of `ports` looks them up
//!   in BPF maps. Tests compare the two.
//! - [`Gcra`] is the rate limit that both use.
//!
//! The first rule that matches a packet decides; the policy decides on what no rule matches. IPv4 addresses mapped into
//! IPv6 (RFC 4291 section 2.5.5.2) count as the IPv4 addresses they are.

#![forbid(unsafe_code)]

mod bits;
mod compiled;
mod gcra;
mod list;
mod packet;
mod sources;

pub use bits::{BITS, Bits, WORDS};
pub use compiled::{Compiled, CompiledRule, SourcePrefix};
pub use config::{AclAction, AclRule, PortRange, Prefix, Protocol};
pub use gcra::Gcra;
pub use list::List;
pub use packet::{Decision, Packet, Verdict};
pub use sources::SOURCES;

/// Why a list cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AclError {
    /// More rules than a bit vector has bits.
    #[error("the access list has {0} rules, {BITS} are the most; join prefixes and port ranges of [[ingress.acl]]")]
    TooManyRules(usize),
}
