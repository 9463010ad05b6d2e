//! Softmax and sigmoid.

/// What softmax needs to know of a row to give single probabilities: `p(x) = exp(x - max) / sum`, with the largest score
/// taken off first, so that no exponential overflows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Softmax {
    max: f32,
    sum: f32,
}

impl Softmax {
    /// Looks at all scores of a row; NaN counts as no score.
    pub(super) fn of(scores: &[f32]) -> Self {
        let max = scores.iter().copied().filter(|score| !score.is_nan()).fold(f32::NEG_INFINITY, f32::max);
        let sum = if max.is_finite() {
            scores.iter().filter(|score| !score.is_nan()).map(|score| (score - max).exp()).sum()
        } else {
            // Only equals of an infinite maximum have weight: they share the whole.
            scores.iter().filter(|&&score| score.total_cmp(&max).is_eq()).count() as f32
        };
        Self { max, sum }
    }

    /// The probability of a score of that row, 0 to 1.
    pub(super) fn probability(self, score: f32) -> f32 {
        if self.max.is_finite() {
            (score - self.max).exp() / self.sum
        } else if score.total_cmp(&self.max).is_eq() {
            1.0 / self.sum
        } else {
            0.0
        }
    }
}

/// `1 / (1 + exp(-x))`; the exponential of a large `-x` is infinite and gives 0, as it should.
pub(super) fn sigmoid(score: f32) -> f32 {
    1.0 / (1.0 + (-score).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn softmax(scores: &[f32]) -> Vec<f32> {
        let row = Softmax::of(scores);
        scores.iter().map(|&score| row.probability(score)).collect()
    }

    #[test]
    fn known_rows() {
        // exp(ln k) = k, so the probabilities are 1/10, 2/10, 3/10, 4/10.
        let row: Vec<_> = [1.0_f32, 2.0, 3.0, 4.0].iter().map(|k| k.ln()).collect();
        for (got, expected) in softmax(&row).into_iter().zip([0.1, 0.2, 0.3, 0.4]) {
            assert!((got - expected).abs() < 1e-6, "{got} {expected}");
        }
        assert_eq!(softmax(&[1000.0, 1000.0]), [0.5, 0.5]);
        assert_eq!(softmax(&[f32::INFINITY, 0.0, f32::INFINITY, f32::NEG_INFINITY]), [0.5, 0.0, 0.5, 0.0]);
        assert_eq!(softmax(&[f32::NEG_INFINITY; 4]), [0.25; 4]);
        assert_eq!(softmax(&[0.0, f32::NAN])[..1], [1.0]);
    }

    #[test]
    fn sigmoid_of_known_scores() {
        assert_eq!([0.0, 200.0, -200.0].map(sigmoid)[..], [0.5, 1.0, 0.0]);
        assert!((sigmoid(3.0_f32.ln()) - 0.75).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_one_and_keep_the_order(scores in prop::collection::vec(-1e4_f32..1e4, 1..200)) {
            let probabilities = softmax(&scores);
            prop_assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            for (a, b) in probabilities.windows(2).zip(scores.windows(2)).map(|(p, s)| ((p[0], s[0]), (p[1], s[1]))) {
                prop_assert!(a.1 < b.1 || a.0 >= b.0);
            }
        }
    }
}
