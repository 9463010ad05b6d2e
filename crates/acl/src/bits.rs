//! [`Bits`]: a set of rules.

use std::ops::BitAnd;

/// Words of a set.
pub const WORDS: usize = 8;

/// Rules that a set can hold.
pub const BITS: usize = WORDS * 64;

// The configuration must not let in more.
const _: () = assert!(BITS == config::MAX_ACL_RULES);

/// A set of rules. Rule `r` is bit `r % 64` of word `r / 64`, so that the first rule is the lowest bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bits(pub [u64; WORDS]);

impl Bits {
    /// The positions at which `member` holds; those from [`BITS`] on are left out.
    pub(crate) fn of<T>(rules: &[T], mut member: impl FnMut(&T) -> bool) -> Self {
        let mut words = [0; WORDS];
        for (n, rule) in rules.iter().take(BITS).enumerate() {
            words[n / 64] |= u64::from(member(rule)) << (n % 64);
        }
        Self(words)
    }

    /// The lowest rule in it.
    pub fn first(self) -> Option<u16> {
        let word = self.0.iter().position(|word| *word != 0)?;
        Some((word * 64) as u16 + self.0[word].trailing_zeros() as u16)
    }

    /// Whether no rule is in it.
    pub fn is_empty(self) -> bool {
        self.0 == [0; WORDS]
    }
}

impl BitAnd for Bits {
    type Output = Self;

    fn bitand(mut self, other: Self) -> Self {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a &= b;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_is_the_lowest_bit() {
        let of = |wanted: &[usize]| Bits::of(&(0..600).collect::<Vec<usize>>(), |n| wanted.contains(n));
        assert_eq!(of(&[]).first(), None);
        assert!(of(&[512, 599]).is_empty(), "behind the end");
        for (set, first) in [(vec![0], 0), (vec![63, 64], 63), (vec![64], 64), (vec![511, 300], 300), (vec![511], 511)]
        {
            assert_eq!(of(&set).first(), Some(first), "{set:?}");
        }
        assert_eq!((of(&[1, 70, 200]) & of(&[2, 70, 511])).0, of(&[70]).0);
        assert_eq!(of(&[65]).0, [0, 2, 0, 0, 0, 0, 0, 0], "as the BPF program reads it");
    }
}
