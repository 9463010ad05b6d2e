//! [`MacKey`]: a stream's secret, read from a file that nobody else may read.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::Mistake;

/// 32 bytes shared with the senders of a stream. Printing it for debugging shows no byte of it; serialising it does,
/// since that is how it reaches the stages.
#[derive(Clone, PartialEq, Eq)]
pub struct MacKey([u8; 32]);

impl MacKey {
    /// The key itself.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal digits; white space around them is ignored.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.trim().as_bytes();
        let mut key = [0; 32];
        if digits.len() != 2 * key.len() {
            return None;
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |character: u8| char::from(character).to_digit(16);
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Some(Self(key))
    }

    pub(crate) fn load(path: &Path) -> Result<Self, Mistake> {
        let remedy = format!(
            "make one: (umask 077; head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \\n' > '{}')",
            path.display()
        );
        let unreadable = |error: std::io::Error| Mistake::new(format!("cannot be read: {error}"), remedy.clone());
        // Mode and content are taken from one open file, so that they belong together.
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.mode();
        if mode & 0o077 != 0 {
            return Err(Mistake::new(
                format!("names a file that others may use (mode {:04o})", mode & 0o7777),
                format!("run: chmod 600 '{}'", path.display()),
            ));
        }
        let mut text = String::new();
        file.take(256).read_to_string(&mut text).map_err(unreadable)?;
        Self::from_hex(&text).ok_or_else(|| Mistake::new("names a file that is not 64 hexadecimal digits", remedy))
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(secret)")
    }
}

impl Serialize for MacKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}", Hex(&self.0)))
    }
}

impl<'de> Deserialize<'de> for MacKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("a MAC key is 64 hexadecimal digits"))
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_both_ways() {
        let text = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eFF";
        let key = MacKey::from_hex(&format!(" {text}\n")).unwrap();
        assert_eq!(key.bytes()[..3], [0, 1, 2]);
        assert_eq!(key.bytes()[31], 0xff);
        assert_eq!(serde_json::to_string(&key).unwrap(), format!("\"{}\"", text.to_lowercase()));
        assert_eq!(serde_json::from_str::<MacKey>(&format!("\"{text}\"")).unwrap(), key);
        assert_eq!(format!("{key:?}"), "MacKey(secret)");
        assert_eq!(MacKey::from_hex(&text[1..]), None);
        assert_eq!(MacKey::from_hex(&text.replace('f', "g")), None);
        assert_eq!(MacKey::from_hex(&"é".repeat(32)), None, "64 bytes that are no digits");
    }
}
