//! Quantiles of the histogram against the exact ones.

use arena::histogram::Histogram;
use arena::topology::RX;
use proptest::prelude::*;

/// Durations of all magnitudes that the buckets cover (below 2^40 ns).
fn durations() -> impl Strategy<Value = Vec<u64>> {
    let one = (0..40_u32).prop_flat_map(|bits| 0..1_u64 << bits | 1);
    prop_oneof![prop::collection::vec(one, 1..400), prop::collection::vec(0..50_000_u64, 1..400)]
}

fn exact(sorted: &[u64], q: f64) -> u64 {
    let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted[rank - 1]
}

/// The histogram of a fresh page.
fn with_fresh(test: impl FnOnce(&Histogram)) {
    let (arena, _regions) = crate::small();
    test(&arena.page(RX).unwrap().work);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_quantile_is_at_most_a_sixteenth_too_high(values in durations(), q in 0.0..=1.0_f64) {
        with_fresh(|histogram| {
            for value in &values {
                histogram.record(*value);
            }
            let mut sorted = values.clone();
            sorted.sort_unstable();
            for q in [q, 0.0, 0.5, 0.9, 0.99, 0.999, 1.0] {
                let (is, want) = (histogram.quantile_ns(q), exact(&sorted, q));
                assert!(is >= want && (is - want) * 16 <= want, "quantile {q}: {is} for {want}");
            }
            let sum: u64 = values.iter().sum();
            assert_eq!(histogram.count(), values.len() as u64);
            assert_eq!(histogram.max_ns(), *sorted.last().unwrap());
            assert_eq!(histogram.mean_ns(), sum / values.len() as u64);
        });
    }
}

#[test]
fn without_records_and_beyond_the_last_bucket() {
    with_fresh(|histogram| {
        assert_eq!((histogram.quantile_ns(0.5), histogram.mean_ns(), histogram.max_ns()), (0, 0, 0));
        histogram.record(u64::MAX);
        assert_eq!((histogram.count(), histogram.max_ns()), (1, u64::MAX));
        assert!(histogram.quantile_ns(1.0) >= (1 << 40) - 1, "what is too long counts as at least 18 minutes");
    });
}
