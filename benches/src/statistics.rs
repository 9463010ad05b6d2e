//! Medians and quantiles of small samples.

/// The value below which the share `q` (0 to 1) of the sample lies; nearest rank. NaN of an empty sample.
pub fn quantile(sample: &[f64], q: f64) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// The middle; the mean of the two middle ones of an even number.
pub fn median(sample: &[f64]) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match (sorted.get(half), sorted.len() % 2) {
        (None, _) => f64::NAN,
        (Some(middle), 1) => *middle,
        (Some(upper), _) => f64::midpoint(sorted[half - 1], *upper),
    }
}

/// The smallest; NaN of an empty sample.
pub fn least(sample: &[f64]) -> f64 {
    sample.iter().copied().fold(f64::NAN, f64::min)
}

/// Each round's `a` over the same round's `b`: drift of the machine between rounds cancels.
pub fn ratios(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a / b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let sample: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(median(&sample).to_bits(), 50.5_f64.to_bits());
        assert_eq!(quantile(&sample, 0.99).to_bits(), 99.0_f64.to_bits());
        assert_eq!(quantile(&sample, 0.0).to_bits(), 1.0_f64.to_bits());
        assert_eq!(least(&sample).to_bits(), 1.0_f64.to_bits());
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert!(median(&[]).is_nan() && quantile(&[], 0.5).is_nan() && least(&[]).is_nan());
        assert_eq!(ratios(&[2.0, 9.0], &[1.0, 3.0]), [2.0, 3.0]);
    }
}
