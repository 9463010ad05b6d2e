//! How long the next inference will take, on the safe side.

/// Inferences per window. A frame can be surprised by a duration only if that is longer than all of the last window: of
/// durations without a trend that is one in 129, so that 99 of 100 answers are in time on a machine that is busy elsewhere.
/// A maximum that decays forgets too early for that.
const WINDOW: u32 = 128;
/// Refusals in a row after which the expectation is no longer believed: without inferences it would never be corrected.
const REFUSALS: u32 = 32;

/// Left for the answer's way out.
const WAY_OUT_NS: u64 = 300_000;

/// The longest of the last one to two windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expectation {
    current_ns: u64,
    previous_ns: u64,
    inferences: u32,
    refusals: u32,
}

impl Expectation {
    /// From what a predecessor knew.
    pub(crate) fn new(ns: u64) -> Self {
        Self { current_ns: ns, previous_ns: 0, inferences: 0, refusals: 0 }
    }

    /// Learns from one inference.
    #[inline]
    pub(crate) fn learn(&mut self, took_ns: u64) {
        self.refusals = 0;
        self.current_ns = self.current_ns.max(took_ns);
        self.inferences += 1;
        if self.inferences == WINDOW {
            *self = Self { previous_ns: self.current_ns, ..Self::new(0) };
        }
    }

    /// A frame whose deadline had not passed was refused because of this expectation.
    #[inline]
    pub(crate) fn refused(&mut self) {
        self.refusals += 1;
        if self.refusals == REFUSALS {
            *self = Self::new(0);
        }
    }

    /// The expectation, nanoseconds.
    pub(crate) fn ns(self) -> u64 {
        self.current_ns.max(self.previous_ns)
    }

    /// Whether a frame that begins now, behind `ahead` others, will be answered by `deadline_ns`. A sixteenth and 300 us
    /// are left for the answer's way out.
    #[inline]
    pub(crate) fn in_time(self, now_ns: u64, ahead: usize, deadline_ns: u64) -> bool {
        let need = self.ns() * (ahead as u64 + 1);
        deadline_ns == 0 || now_ns + need + need / 16 + WAY_OUT_NS <= deadline_ns
    }

    /// The latest time at which a frame can begin, with nothing ahead of it, and be answered by `deadline_ns`.
    #[inline]
    pub(crate) fn latest_ns(self, deadline_ns: u64) -> u64 {
        let need = self.ns();
        deadline_ns.saturating_sub(need + need / 16 + WAY_OUT_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_frame_is_expected_again_for_a_window() {
        let mut e = Expectation::new(0);
        e.learn(1_000_000);
        for _ in 0..WINDOW {
            assert_eq!(e.ns(), 1_000_000);
            e.learn(100);
        }
        (0..WINDOW).for_each(|_| e.learn(100));
        assert_eq!(e.ns(), 100);
    }

    #[test]
    fn refusals_in_a_row_end_a_belief_and_single_ones_do_not() {
        let mut e = Expectation::new(9_000);
        for _ in 0..10 {
            (1..REFUSALS).for_each(|_| e.refused());
            e.learn(5);
        }
        assert_eq!(e.ns(), 9_000);
        (0..REFUSALS).for_each(|_| e.refused());
        assert_eq!(e.ns(), 0);
    }

    #[test]
    fn what_is_ahead_takes_its_time_too() {
        let slow = Expectation::new(10_000_000);
        assert!(slow.in_time(0, 0, 11_000_000) && !slow.in_time(0, 1, 11_000_000));
        assert!(slow.in_time(5, 3, 0), "no deadline is always met");
        let latest = slow.latest_ns(20_000_000);
        assert!(slow.in_time(latest, 0, 20_000_000) && !slow.in_time(latest + 1, 0, 20_000_000));
    }
}
