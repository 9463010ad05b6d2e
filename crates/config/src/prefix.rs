//! [`Prefix`]: a set of addresses in CIDR notation, such as `10.1.0.0/16` or `fd00::/8`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::de::DeValue;

use crate::value::{Mistake, Value};

/// Addresses that share their leading bits (RFC 4632, RFC 4291 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix(IpNet);

/// A text that is no [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Neither an address nor address/length.
    #[error("{0:?} is not an address prefix; write it like \"10.1.0.0/16\", \"fd00::/8\" or \"192.0.2.7\"")]
    Form(String),
    /// Bits are set behind the prefix: the length or the address is a slip.
    #[error("{0:?} has bits set behind its prefix; write \"{1}\"")]
    HostBits(String, Prefix),
    /// IPv4 addresses written as IPv6 ones, which would match nobody.
    #[error("{0:?} means IPv4 addresses; write \"{1}\"")]
    Mapped(String, Prefix),
}

impl Prefix {
    /// The lowest address: its bits behind the prefix are 0.
    pub fn network(&self) -> IpAddr {
        self.0.network()
    }

    /// How many leading bits all its addresses share.
    pub fn length(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether it holds IPv4 addresses.
    pub fn is_ipv4(&self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    /// Whether `address` lies in the prefix. IPv4 addresses mapped into IPv6, as a socket bound to `[::]` reports them,
    /// count as the IPv4 addresses they are.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let form = || PrefixError::Form(text.to_owned());
        let net = if text.contains('/') {
            text.parse::<IpNet>().map_err(|_| form())?
        } else {
            IpNet::from(text.parse::<IpAddr>().map_err(|_| form())?)
        };
        if net.addr() != net.network() {
            return Err(PrefixError::HostBits(text.to_owned(), Self(net.trunc())));
        }
        if let Some(v4) = as_ipv4(net) {
            return Err(PrefixError::Mapped(text.to_owned(), Self(v4)));
        }
        Ok(Self(net))
    }
}

/// The IPv4 prefix that `::ffff:a.b.c.d/96+n` stands for.
fn as_ipv4(net: IpNet) -> Option<IpNet> {
    let IpNet::V6(v6) = net else {
        return None;
    };
    let length = v6.prefix_len().checked_sub(96)?;
    IpNet::new(v6.addr().to_ipv4_mapped()?.into(), length).ok()
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Value for Prefix {
    fn wanted() -> String {
        "an address prefix like \"10.1.0.0/16\", \"fd00::/8\" or \"192.0.2.7\"".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        let text = value.as_str().ok_or_else(|| Mistake::wrong_type(value, &Self::wanted()))?;
        text.parse().map_err(|error| match error {
            PrefixError::Form(_) => Mistake::new("is not an address prefix", format!("write {}", Self::wanted())),
            PrefixError::HostBits(_, prefix) => {
                Mistake::new("has bits set behind its prefix", format!("write \"{prefix}\""))
            }
            PrefixError::Mapped(_, prefix) => Mistake::new("means IPv4 addresses", format!("write \"{prefix}\"")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn prefix(text: &str) -> Prefix {
        text.parse().expect(text)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn membership_at_the_edges() {
        let net = prefix("10.1.0.0/16");
        for (inside, text) in
            [(true, "10.1.0.0"), (true, "10.1.255.255"), (false, "10.0.255.255"), (false, "10.2.0.0"), (false, "::1")]
        {
            assert_eq!(net.contains(address(text)), inside, "{text}");
        }
        assert!(net.contains(address("::ffff:10.1.2.3")), "mapped IPv4 counts as IPv4");
        assert!(prefix("0.0.0.0/0").contains(address("203.0.113.9")));
        assert!(!prefix("0.0.0.0/0").contains(address("2001:db8::1")));
        assert!(prefix("fd00::/8").contains(address("fdff::1")));
        assert!(!prefix("fd00::/8").contains(address("fe80::1")));
        assert_eq!(prefix("192.0.2.7").to_string(), "192.0.2.7/32");
        assert!(!prefix("192.0.2.7").contains(address("192.0.2.6")));
    }

    #[test]
    fn wrong_texts_are_refused_with_a_remedy() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "/8", "10.0.0.0/", "host"] {
            assert_eq!(text.parse::<Prefix>(), Err(PrefixError::Form(text.to_owned())));
        }
        let error = "10.1.2.3/8".parse::<Prefix>().unwrap_err();
        let mapped = "::ffff:10.1.0.0/112".parse::<Prefix>().unwrap_err();
        assert_eq!(mapped.to_string(), "\"::ffff:10.1.0.0/112\" means IPv4 addresses; write \"10.1.0.0/16\"");
        assert_eq!(error.to_string(), "\"10.1.2.3/8\" has bits set behind its prefix; write \"10.0.0.0/8\"");
    }

    proptest! {
        #[test]
        fn v4_membership_is_equality_of_the_leading_bits(net: u32, other: u32, length in 0u32..=32) {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            let prefix: Prefix = format!("{}/{length}", Ipv4Addr::from(net & mask)).parse().unwrap();
            prop_assert_eq!(prefix.contains(Ipv4Addr::from(other).into()), net & mask == other & mask);
            prop_assert!(prefix.contains(Ipv4Addr::from((net & mask) | (other & !mask)).into()));
        }

        #[test]
        fn v6_membership_is_equality_of_the_leading_bits(net: u128, length in 0u32..=128, flipped in 0u32..128) {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            let net = (net | 0x2000 << 112) & mask;
            let prefix: Prefix = format!("{}/{length}", Ipv6Addr::from(net)).parse().unwrap();
            let other = Ipv6Addr::from(net ^ (1 << flipped));
            // Flipping a bit may turn the address into a mapped IPv4 one, which is no IPv6 address here.
            prop_assume!(other.to_ipv4_mapped().is_none());
            prop_assert_eq!(prefix.contains(other.into()), flipped < 128 - length);
        }
    }
}
