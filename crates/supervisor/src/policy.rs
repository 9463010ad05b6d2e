//! When a dead instance is started again, and when that is given up.

use config::Supervisor;
use std::collections::VecDeque;

/// After this long without a death of its own doing the next delay is the first one again. A death counter that any
/// recovery resets would never escalate, so the limit counts over its own window.
const QUIET_NS: u64 = 60_000_000_000;
/// A stage that cannot load its configuration or model gets this many tries in a row: one may fall into the moment at
/// which a file is being replaced.
const PERMANENT_TRIES: u32 = 3;

/// Deaths by damaged memory that are excused within one window.
const EXCUSED_MAX: usize = 50;

/// What to do after a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Start the next incarnation after this long.
    Restart {
        /// 0 = at once.
        delay_ns: u64,
    },
    /// Leave it: it dies too often.
    Park,
}

/// The deaths of one instance that were its own doing.
#[derive(Clone, Debug, Default)]
pub(crate) struct RestartPolicy {
    deaths_ns: VecDeque<u64>,
    excused_ns: VecDeque<u64>,
    level: u32,
    permanent: u32,
}

impl RestartPolicy {
    /// Records a death and decides. Kills from outside restart at once and never park.
    pub(crate) fn on_death(&mut self, now_ns: u64, own_doing: bool, permanent: bool, limits: &Supervisor) -> Decision {
        if !own_doing {
            return Decision::Restart { delay_ns: 0 };
        }
        self.permanent = if permanent { self.permanent + 1 } else { 0 };
        if self.deaths_ns.back().is_some_and(|last| now_ns.saturating_sub(*last) > QUIET_NS) {
            self.level = 0;
        }
        let window_ns = u64::from(limits.restart_window_s) * 1_000_000_000;
        self.deaths_ns.push_back(now_ns);
        while self.deaths_ns.front().is_some_and(|first| now_ns.saturating_sub(*first) > window_ns) {
            self.deaths_ns.pop_front();
        }
        if self.deaths_ns.len() > limits.restart_limit as usize || self.permanent >= PERMANENT_TRIES {
            return Decision::Park;
        }
        let delay_ms = delay_ms(self.level, limits.restart_delay_ms, limits.restart_delay_max_ms);
        self.level = self.level.saturating_add(1);
        Decision::Restart { delay_ns: delay_ms * 1_000_000 }
    }

    /// Whether a death by damaged memory, which has been repaired, is not counted: damage is nobody's own doing, but there is a
    /// limit to that, or damage without end would make a crash loop.
    pub(crate) fn excuses(&mut self, now_ns: u64, limits: &Supervisor) -> bool {
        let window_ns = u64::from(limits.restart_window_s) * 1_000_000_000;
        while self.excused_ns.front().is_some_and(|first| now_ns.saturating_sub(*first) > window_ns) {
            self.excused_ns.pop_front();
        }
        let excused = self.excused_ns.len() < EXCUSED_MAX;
        if excused {
            self.excused_ns.push_back(now_ns);
        }
        excused
    }

    /// Deaths of its own doing within the window, as of the last one.
    pub(crate) fn deaths(&self) -> usize {
        self.deaths_ns.len()
    }
}

/// The first delay, then twice as long each time, from 1 ms on if the first is 0.
fn delay_ms(level: u32, first: u32, most: u32) -> u64 {
    let delay = match (u64::from(first), level) {
        (0, 0) => 0,
        (0, level) => 1_u64.checked_shl(level - 1).unwrap_or(u64::MAX),
        (first, level) if level < 32 => first << level,
        _ => u64::MAX,
    };
    delay.min(u64::from(most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn limits() -> Supervisor {
        config::Pipeline::default_with(config::Engine::Null).supervisor
    }

    fn delay(decision: Decision) -> u64 {
        match decision {
            Decision::Restart { delay_ns } => delay_ns / 1_000_000,
            Decision::Park => panic!("parked"),
        }
    }

    #[test]
    fn delays_double_up_to_the_greatest() {
        let mut limits = limits();
        limits.restart_limit = 100;
        let mut policy = RestartPolicy::default();
        let delays: Vec<u64> = (0..16).map(|i| delay(policy.on_death(i, true, false, &limits))).collect();
        assert_eq!(delays, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 5000, 5000]);
        limits.restart_delay_ms = 300;
        let mut policy = RestartPolicy::default();
        let delays: Vec<u64> = (0..6).map(|i| delay(policy.on_death(i, true, false, &limits))).collect();
        assert_eq!(delays, [300, 600, 1200, 2400, 4800, 5000]);
    }

    #[test]
    fn a_quiet_minute_starts_over() {
        let mut policy = RestartPolicy::default();
        for i in 0..4 {
            policy.on_death(i * SECOND, true, false, &limits());
        }
        assert_eq!(delay(policy.on_death(63 * SECOND, true, false, &limits())), 8, "59 s were not enough");
        assert_eq!(delay(policy.on_death(124 * SECOND, true, false, &limits())), 0);
    }

    #[test]
    fn the_eleventh_death_within_the_window_parks() {
        let mut policy = RestartPolicy::default();
        for i in 0..10 {
            assert_ne!(policy.on_death(i * SECOND, true, false, &limits()), Decision::Park);
        }
        assert_eq!(policy.on_death(10 * SECOND, true, false, &limits()), Decision::Park);
        assert_eq!(policy.deaths(), 11);
        // The same number spread over a longer time does not.
        let mut policy = RestartPolicy::default();
        for i in 0..100 {
            assert_ne!(policy.on_death(i * 4 * SECOND, true, false, &limits()), Decision::Park);
        }
    }

    #[test]
    fn kills_from_outside_never_park_nor_wait() {
        let mut policy = RestartPolicy::default();
        for i in 0..1000 {
            assert_eq!(policy.on_death(i, false, false, &limits()), Decision::Restart { delay_ns: 0 });
        }
    }

    #[test]
    fn damage_is_excused_but_not_for_ever() {
        let mut policy = RestartPolicy::default();
        assert!((0..EXCUSED_MAX as u64).all(|i| policy.excuses(i, &limits())));
        assert!(!policy.excuses(SECOND, &limits()));
        assert_ne!(policy.on_death(SECOND, true, false, &limits()), Decision::Park, "none of them counted");
        assert!(policy.excuses(40 * SECOND, &limits()), "the window is over");
    }

    #[test]
    fn what_cannot_load_parks_at_the_third_try() {
        let mut policy = RestartPolicy::default();
        assert_ne!(policy.on_death(0, true, true, &limits()), Decision::Park);
        assert_ne!(policy.on_death(1, true, true, &limits()), Decision::Park);
        assert_eq!(policy.on_death(2, true, true, &limits()), Decision::Park);
    }

    proptest! {
        #[test]
        fn delays_never_fall_nor_exceed_the_greatest(first in 0_u32..10_000, most in 1_u32..600_000, level in 0_u32..200) {
            let most = most.max(first);
            let (now, next) = (delay_ms(level, first, most), delay_ms(level + 1, first, most));
            prop_assert!(now <= next && next <= u64::from(most));
        }
    }
}
