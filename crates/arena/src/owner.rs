//! The owner word: `owner:8 | incarnation:24 | seq:32`, one per buffer and per slot.
//!
//! The word and ring membership are the only truth about where a buffer is; everything else can be rebuilt from them.
//! Ring membership wins.

use core::fmt;

/// Who may own a buffer. 0 supervisor, 1 quarantine, 2-127 stage instances, 128-191 device rx queues,
/// 192-254 device tx queues, 255 attached to a head. Fixed for the arena's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(pub u8);

impl OwnerId {
    /// The supervisor.
    pub const SUPERVISOR: Self = Self(0);
    /// Buffers that no stage may touch any more.
    pub const QUARANTINE: Self = Self(1);
    /// The first stage instance.
    pub const FIRST_STAGE: u8 = 2;
    /// Attached to the head whose index stands in the incarnation field.
    pub const ATTACHED: Self = Self(255);
}

impl fmt::Debug for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SUPERVISOR => f.write_str("supervisor"),
            Self::QUARANTINE => f.write_str("quarantine"),
            Self::ATTACHED => f.write_str("attached"),
            Self(id @ 128..=191) => write!(f, "device-rx.{}", id - 128),
            Self(id @ 192..=254) => write!(f, "device-tx.{}", id - 192),
            Self(id) => write!(f, "stage.{}", id - Self::FIRST_STAGE),
        }
    }
}

/// Largest incarnation (24 bits).
pub const INCARNATION_MAX: u32 = 0xff_ffff;

/// Who acts: an owner and which activation of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Me {
    /// The owner.
    pub id: OwnerId,
    /// Its activation number, 24 bits, greater than any earlier one of the same owner.
    pub incarnation: u32,
}

/// An unpacked owner word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Who owns the buffer.
    pub id: OwnerId,
    /// Which incarnation; for [`OwnerId::ATTACHED`] the index of the head.
    pub incarnation: u32,
    /// Grows by one with each change of hands; an entry in a ring names the one it was pushed with.
    pub seq: u32,
}

impl Owner {
    /// The 64-bit form.
    #[inline]
    pub const fn pack(self) -> u64 {
        (self.id.0 as u64) << 56 | ((self.incarnation & INCARNATION_MAX) as u64) << 32 | self.seq as u64
    }

    /// From the 64-bit form; every value is a valid word, whether it is plausible is the caller's check.
    #[inline]
    pub const fn unpack(word: u64) -> Self {
        Self { id: OwnerId((word >> 56) as u8), incarnation: (word >> 32) as u32 & INCARNATION_MAX, seq: word as u32 }
    }

    /// Whether `me`, this very incarnation, owns the buffer.
    #[inline]
    pub fn is(self, me: Me) -> bool {
        self.id == me.id && self.incarnation == me.incarnation
    }

    /// Whether an incarnation of `me` before this one owns it.
    #[inline]
    pub fn is_older(self, me: Me) -> bool {
        self.id == me.id && self.incarnation < me.incarnation
    }

    /// The word after `me` has taken the buffer over from this state.
    #[inline]
    #[must_use]
    pub const fn taken_by(self, me: Me) -> Self {
        Self { id: me.id, incarnation: me.incarnation, seq: self.seq.wrapping_add(1) }
    }

    /// The word after the buffer has been attached to `head`.
    #[inline]
    #[must_use]
    pub const fn attached_to(self, head: u32) -> Self {
        Self { id: OwnerId::ATTACHED, incarnation: head, seq: self.seq.wrapping_add(1) }
    }

    /// Whether the buffer is attached to `head`.
    #[inline]
    pub fn is_attached_to(self, head: u32) -> bool {
        self.id == OwnerId::ATTACHED && self.incarnation == head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn word_round_trips(word: u64) {
            prop_assert_eq!(Owner::unpack(word).pack(), word);
        }
    }

    #[test]
    fn known_bits() {
        let owner = Owner { id: OwnerId(3), incarnation: 0x01_0203, seq: 0xdead_beef };
        assert_eq!(owner.pack(), 0x0301_0203_dead_beef);
        assert_eq!(owner.attached_to(9).pack() >> 32, 0xff00_0009);
        assert!(owner.is_older(Me { id: OwnerId(3), incarnation: 0x01_0204 }));
        assert!(!owner.is_older(Me { id: OwnerId(3), incarnation: 0x01_0203 }));
    }
}
