//! How long the next inference will take, on the safe side.

/// A maximum that decays: it follows slower frames at once and forgets them within some hundred faster ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expectation {
    ns: u64,
}

impl Expectation {
    /// From what a predecessor knew.
    pub(crate) fn new(ns: u64) -> Self {
        Self { ns }
    }

    /// Learns from one inference.
    #[inline]
    pub(crate) fn learn(&mut self, took_ns: u64) {
        self.ns = took_ns.max(self.ns - self.ns / 64);
    }

    /// The expectation, nanoseconds.
    pub(crate) fn ns(self) -> u64 {
        self.ns
    }

    /// Whether a frame that begins now, behind `ahead` others, will be answered by `deadline_ns`. A sixteenth and 300 us
    /// are left for the answer's way out.
    #[inline]
    pub(crate) fn in_time(self, now_ns: u64, ahead: usize, deadline_ns: u64) -> bool {
        let need = self.ns * (ahead as u64 + 1);
        deadline_ns == 0 || now_ns + need + need / 16 + 300_000 <= deadline_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_up_at_once_and_down_slowly() {
        let mut e = Expectation::new(0);
        e.learn(1_000_000);
        assert_eq!(e.ns(), 1_000_000);
        e.learn(100);
        assert!(e.ns() > 980_000);
        for _ in 0..1_000 {
            e.learn(100);
        }
        assert!(e.ns() < 300, "{}", e.ns());
        assert!(e.in_time(5, 3, 0), "no deadline is always met");
        let slow = Expectation::new(10_000_000);
        assert!(slow.in_time(0, 0, 11_000_000) && !slow.in_time(0, 1, 11_000_000));
    }
}
