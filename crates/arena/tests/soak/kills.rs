//! Random choices: whom to kill, when and how. A seed gives the same choices again.

use arena::OwnerId;
use std::time::Duration;

/// Splitmix64: a seed that differs in one bit gives an unrelated sequence.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Up to `us` microseconds.
    pub fn micros(&mut self, us: u64) -> Duration {
        Duration::from_micros(self.below(us))
    }
}

/// What is done to a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// SIGKILL.
    Kill,
    /// SIGKILL, and its successor again, this many times, each early in its life.
    Again(u64),
    /// SIGKILL of this stage and of another one before either is swept.
    Pair,
    /// DRAIN, PARKED, a standby takes over while the old process lives on.
    Park,
    /// DRAIN, and SIGKILL somewhere on the way to PARKED.
    KillDraining,
    /// SIGSTOP for a while, then SIGKILL.
    StopAndKill,
    /// SIGSTOP, DRAIN while it is stopped, SIGCONT, PARKED.
    StopAndPark,
}

impl Plan {
    pub fn choose(random: &mut Random) -> Self {
        match random.below(100) {
            0..60 => Self::Kill,
            60..75 => Self::Again(1 + random.below(3)),
            75..82 => Self::Pair,
            82..88 => Self::Park,
            88..93 => Self::KillDraining,
            93..97 => Self::StopAndKill,
            _ => Self::StopAndPark,
        }
    }
}

/// The stage to which it is done.
pub fn victim(random: &mut Random, stages: usize) -> OwnerId {
    OwnerId(OwnerId::FIRST_STAGE + random.below(stages as u64) as u8)
}
