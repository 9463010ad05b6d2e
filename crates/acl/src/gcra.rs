//! [`Gcra`]: the rate limit.

use config::Rate;

/// The generic cell rate algorithm in its virtual scheduling form (ITU-T Recommendation I.371, annex A): a packet conforms
/// if it comes no earlier than `tolerance_ns` before its theoretical arrival time, which is the state of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gcra {
    /// Time between two packets at the rate (the increment T).
    pub interval_ns: u64,
    /// How much earlier one may come (the limit tau).
    pub tolerance_ns: u64,
}

impl Gcra {
    /// A source may send `rate.burst` packets at once, and `rate.per_second` in the long run.
    pub fn new(rate: Rate) -> Self {
        let interval_ns = 1_000_000_000 / u64::from(rate.per_second.max(1));
        Self { interval_ns, tolerance_ns: interval_ns * u64::from(rate.burst.max(1) - 1) }
    }

    /// The next theoretical arrival time of a source whose present one is `arrival_ns` (0: never seen), if a packet at
    /// `now_ns` conforms. `None`: it does not, and the time stays.
    pub fn admit(self, arrival_ns: u64, now_ns: u64) -> Option<u64> {
        (now_ns.saturating_add(self.tolerance_ns) >= arrival_ns)
            .then(|| arrival_ns.max(now_ns).saturating_add(self.interval_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let gcra = Gcra::new(Rate { per_second: 100, burst: 3 });
        assert_eq!(gcra, Gcra { interval_ns: 10_000_000, tolerance_ns: 20_000_000 });
        let mut arrival = 0;
        let mut at = |now: u64| gcra.admit(arrival, now).map(|next| arrival = next).is_some();
        assert_eq!([5, 5, 5, 5].map(&mut at), [true, true, true, false]);
        assert_eq!([10_000_004, 10_000_005, 10_000_006].map(&mut at), [false, true, false]);
        // After a rest the burst is there again, and no more than it.
        assert_eq!([1 << 40; 4].map(&mut at), [true, true, true, false]);
    }

    #[test]
    fn one_packet_at_once() {
        let gcra = Gcra::new(Rate { per_second: 1, burst: 1 });
        assert_eq!(gcra.admit(0, 7), Some(1_000_000_007));
        assert_eq!(gcra.admit(1_000_000_007, 1_000_000_006), None);
        assert_eq!(gcra.admit(1_000_000_007, 1_000_000_007), Some(2_000_000_007));
    }

    proptest! {
        /// Never more than burst + rate * time in any window that begins with the first packet.
        #[test]
        fn the_bound_holds(rate in 1u32..=10_000_000, burst in 1u32..1000, gaps in prop::collection::vec(0u64..3_000_000, 1..400)) {
            let gcra = Gcra::new(Rate { per_second: rate, burst });
            let (mut arrival, mut now, mut admitted) = (0, 1_000_000_000_000, 0u64);
            let start = now;
            for gap in gaps {
                now += gap;
                if let Some(next) = gcra.admit(arrival, now) {
                    arrival = next;
                    admitted += 1;
                }
                prop_assert!(admitted <= u64::from(burst) + (now - start) / gcra.interval_ns);
            }
        }
    }
}
