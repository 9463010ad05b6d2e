//! The keyed MAC: HMAC-SHA-256 (RFC 2104, FIPS 180-4), truncated to its first 16 bytes.
//!
//! It covers the whole datagram, with the checksum and the MAC itself taken as zero. A key belongs to one stream and
//! serves both directions: the byte that tells requests from replies is covered, so neither passes for the other.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Length of a MAC in bytes.
pub(crate) const MAC_LEN: usize = 16;

/// The key of one stream, already absorbed into the hash states, so that a packet costs no key set-up.
#[derive(Clone)]
pub struct MacKey {
    keyed: Hmac<Sha256>,
}

/// Why a datagram is not authentic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MacError {
    /// A key is set, the datagram has no MAC.
    #[error("the stream has a key and the datagram carries no MAC; give the sender the stream's key")]
    Missing,
    /// A MAC is there, no key is set.
    #[error("the datagram carries a MAC and the stream has no key; configure the stream's key or send without one")]
    Unexpected,
    /// MAC and key do not fit.
    #[error("the MAC does not fit the stream's key; both sides need the same 32 bytes")]
    Wrong,
}

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MacKeyError {
    /// Wrong number of digits.
    #[error("a key has 64 hexadecimal digits (32 bytes), not {digits}; make one with `openssl rand -hex 32`")]
    Length {
        /// Characters found, white space at both ends not counted.
        digits: usize,
    },
    /// A character that is no digit.
    #[error("character {position} of the key is no hexadecimal digit; make a key with `openssl rand -hex 32`")]
    Digit {
        /// Position of the first such character, from 1.
        position: usize,
    },
}

impl MacKey {
    /// The key of these 32 bytes. They should be random.
    pub fn from_bytes(key: &[u8; 32]) -> Self {
        // HMAC fills a key that is shorter than the hash's block with zeros (RFC 2104 section 2). Doing it here makes the
        // constructor one that cannot fail.
        let mut block = [0; 64];
        block[..32].copy_from_slice(key);
        Self { keyed: Hmac::new(&block.into()) }
    }

    /// The key that is written as 64 hexadecimal digits; white space before and after is not read.
    pub fn from_hex(text: &str) -> Result<Self, MacKeyError> {
        let digits = text.trim().as_bytes();
        if digits.len() != 64 {
            return Err(MacKeyError::Length { digits: digits.len() });
        }
        let mut key = [0; 32];
        for (position, &digit) in digits.iter().enumerate() {
            let value = (digit as char).to_digit(16).ok_or(MacKeyError::Digit { position: position + 1 })? as u8;
            key[position / 2] = key[position / 2] << 4 | value;
        }
        Ok(Self::from_bytes(&key))
    }

    /// The MAC of the parts, taken as one message.
    pub(crate) fn sign<'a>(&self, parts: impl Iterator<Item = &'a [u8]>) -> [u8; MAC_LEN] {
        let mut mac = [0; MAC_LEN];
        mac.copy_from_slice(&self.absorb(parts).finalize().into_bytes()[..MAC_LEN]);
        mac
    }

    /// Whether `mac` is the MAC of the parts; takes the same time whichever byte differs.
    pub(crate) fn verify<'a>(&self, parts: impl Iterator<Item = &'a [u8]>, mac: &[u8]) -> Result<(), MacError> {
        // `verify_truncated_left` takes shorter ones too.
        if mac.len() != MAC_LEN {
            return Err(MacError::Wrong);
        }
        self.absorb(parts).verify_truncated_left(mac).map_err(|_| MacError::Wrong)
    }

    fn absorb<'a>(&self, parts: impl Iterator<Item = &'a [u8]>) -> Hmac<Sha256> {
        let mut state = self.keyed.clone();
        parts.for_each(|part| state.update(part));
        state
    }
}

impl fmt::Debug for MacKey {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [u8; MAC_LEN] =
        [0x41, 0xab, 0x79, 0x1c, 0x62, 0xa3, 0x9b, 0x35, 0xf1, 0xef, 0x80, 0x5b, 0xc4, 0xa8, 0xf1, 0x31];

    /// Known answer of this key and message, made with OpenSSL: `printf 'flumeway' | openssl dgst -sha256 -mac HMAC
    /// -macopt hexkey:000102..1f`.
    #[test]
    fn known_answer() {
        let key = MacKey::from_bytes(&core::array::from_fn(|i| i as u8));
        let mac = key.sign([b"flume".as_slice(), b"way".as_slice()].into_iter());
        assert_eq!(mac, KNOWN);
        assert_eq!(key.verify([b"flumeway".as_slice()].into_iter(), &KNOWN), Ok(()));
    }

    #[test]
    fn other_messages_keys_and_lengths_are_wrong() {
        let key = MacKey::from_bytes(&core::array::from_fn(|i| i as u8));
        let other = MacKey::from_bytes(&[7; 32]);
        let message = || [b"flumeway".as_slice()].into_iter();
        assert_eq!(other.verify(message(), &KNOWN), Err(MacError::Wrong));
        assert_eq!(key.verify([b"flumewaz".as_slice()].into_iter(), &KNOWN), Err(MacError::Wrong));
        assert_eq!(key.verify(message(), &KNOWN[..15]), Err(MacError::Wrong));
        assert_eq!(key.verify(message(), &[]), Err(MacError::Wrong));
    }

    #[test]
    fn keys_are_read_from_hex() {
        let digits = "000102030405060708090A0B0C0D0E0F101112131415161718191a1b1c1d1e1f".to_owned();
        let key = MacKey::from_hex(&format!("{digits}\n")).unwrap();
        assert_eq!(key.sign([b"flumeway".as_slice()].into_iter()), KNOWN);
        assert_eq!(MacKey::from_hex("00").unwrap_err(), MacKeyError::Length { digits: 2 });
        let broken = digits.replace("0A", "0x");
        assert_eq!(MacKey::from_hex(&broken).unwrap_err(), MacKeyError::Digit { position: 22 });
        assert_eq!(format!("{key:?}"), "MacKey(..)");
    }
}
