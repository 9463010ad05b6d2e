//! When each datagram is due.

/// Nanoseconds of a second.
const SECOND_NS: f64 = 1e9;

/// The due times of frames and of their datagrams, from the rate alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start_ns: u64,
    /// 0 for a closed loop.
    interval_ns: f64,
    /// Part of the interval over which a frame's datagrams are spread, 0 to 1.
    spread: f64,
}

impl Schedule {
    /// `rate_fps` frames per second from `start_ns` on; rate 0 makes everything due at once.
    pub(crate) fn new(start_ns: u64, rate_fps: f64, spread_percent: f64) -> Self {
        let interval_ns = if rate_fps > 0.0 { SECOND_NS / rate_fps } else { 0.0 };
        Self { start_ns, interval_ns, spread: spread_percent / 100.0 }
    }

    /// Whether frames are due by the clock and not by the answers.
    pub(crate) fn is_open_loop(&self) -> bool {
        self.interval_ns > 0.0
    }

    /// When the first datagram of frame `frame` is due.
    pub(crate) fn frame_due_ns(&self, frame: u64) -> u64 {
        // Multiplying, not adding up: rounding errors must not make the rate drift.
        self.start_ns + (frame as f64 * self.interval_ns) as u64
    }

    /// When datagram `index` of the `count` of frame `frame` is due: evenly spaced from the frame's own time on.
    pub(crate) fn datagram_due_ns(&self, frame: u64, index: u16, count: u16) -> u64 {
        let share = f64::from(index) / f64::from(count.max(1));
        self.frame_due_ns(frame) + (self.interval_ns * self.spread * share) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_are_due_at_the_rate() {
        let schedule = Schedule::new(1_000, 30.0, 100.0);
        assert_eq!(schedule.frame_due_ns(0), 1_000);
        assert_eq!(schedule.frame_due_ns(30), 1_000_001_000);
        assert_eq!(schedule.frame_due_ns(30 * 86_400), 86_400_000_001_000, "no drift within a day");
    }

    #[test]
    fn datagrams_are_spread_over_the_interval() {
        let schedule = Schedule::new(0, 10.0, 100.0);
        let due: Vec<u64> = (0..4).map(|index| schedule.datagram_due_ns(1, index, 4)).collect();
        assert_eq!(due, [100_000_000, 125_000_000, 150_000_000, 175_000_000]);
        let half = Schedule::new(0, 10.0, 50.0);
        assert_eq!(half.datagram_due_ns(0, 3, 4), 37_500_000);
        assert_eq!(Schedule::new(0, 10.0, 0.0).datagram_due_ns(0, 3, 4), 0);
    }

    #[test]
    fn rate_zero_is_due_at_once() {
        let schedule = Schedule::new(77, 0.0, 100.0);
        assert!(!schedule.is_open_loop());
        assert_eq!(schedule.datagram_due_ns(1000, 3, 4), 77);
    }

    proptest! {
        #[test]
        fn due_times_never_go_back(rate in 0.1_f64..1e6, frame in 0_u64..1_000_000, count in 1_u16..5000, spread in 0.0_f64..100.0) {
            let schedule = Schedule::new(5, rate, spread);
            let mut last = schedule.frame_due_ns(frame);
            for index in 0..count {
                let due = schedule.datagram_due_ns(frame, index, count);
                prop_assert!(due >= last);
                last = due;
            }
            // One nanosecond for rounding down twice.
            prop_assert!(last <= schedule.frame_due_ns(frame + 1) + 1);
        }
    }
}
