//! Distributions of durations.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest duration that is told apart from longer ones.
const MAX_NS: u64 = 3_600_000_000_000;
/// Three digits: values are exact to 0.1 %.
const SIGNIFICANT_DIGITS: u8 = 3;

/// A distribution of durations in nanoseconds.
#[derive(Debug)]
pub struct Distribution {
    histogram: Histogram<u64>,
    /// Exact, where the histogram rounds.
    max_ns: u64,
    sum_ns: u128,
}

/// A distribution in numbers, in microseconds. All are 0 if nothing was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Percentiles {
    /// How many values.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// Nine of ten are at most this.
    pub p90: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// 999 of 1 000 are at most this.
    pub p99_9: f64,
    /// The largest.
    pub max: f64,
}

impl Distribution {
    /// Empty. The memory is taken here; recording takes none.
    pub fn new() -> Self {
        let histogram =
            Histogram::new_with_bounds(1, MAX_NS, SIGNIFICANT_DIGITS).expect("the bounds are valid constants");
        Self { histogram, max_ns: 0, sum_ns: 0 }
    }

    /// Adds one value.
    pub fn record(&mut self, duration_ns: u64) {
        self.histogram.saturating_record(duration_ns);
        self.max_ns = self.max_ns.max(duration_ns);
        self.sum_ns += u128::from(duration_ns);
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// In numbers.
    pub fn percentiles(&self) -> Percentiles {
        let count = self.histogram.len();
        if count == 0 {
            return Percentiles::default();
        }
        let at = |quantile| microseconds(self.histogram.value_at_quantile(quantile).min(self.max_ns) as f64);
        Percentiles {
            count,
            mean: microseconds(self.sum_ns as f64 / count as f64),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: microseconds(self.max_ns as f64),
        }
    }
}

impl Default for Distribution {
    fn default() -> Self {
        Self::new()
    }
}

/// Rounded to a tenth: digits beyond are noise.
fn microseconds(duration_ns: f64) -> f64 {
    (duration_ns / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer() {
        let mut distribution = Distribution::new();
        (1..=1000).for_each(|value| distribution.record(value * 1000));
        let percentiles = distribution.percentiles();
        assert_eq!((percentiles.count, percentiles.max, percentiles.mean), (1000, 1000.0, 500.5));
        for (given, exact) in
            [(percentiles.p50, 500.0), (percentiles.p90, 900.0), (percentiles.p99, 990.0), (percentiles.p99_9, 999.0)]
        {
            assert!((given - exact).abs() <= exact * 0.001 + 0.1, "{given} for {exact}");
        }
    }

    #[test]
    fn nothing_recorded_is_all_zero() {
        assert_eq!(Distribution::new().percentiles(), Percentiles::default());
    }

    #[test]
    fn extremes_are_kept() {
        let mut distribution = Distribution::new();
        distribution.record(0);
        distribution.record(u64::MAX);
        assert_eq!((distribution.count(), distribution.percentiles().max), (2, microseconds(u64::MAX as f64)));
        assert!(distribution.percentiles().p50 < 0.1);
    }
}
