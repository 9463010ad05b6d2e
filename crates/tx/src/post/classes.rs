//! The best classes of a classifier.

use super::config::ClassesConfig;
use super::error::PostConfigError;
use super::score::Softmax;
use super::{TOP_K_MAX, shape_of};

#[derive(Debug)]
pub(super) struct Classes {
    output: usize,
    softmax: bool,
    top_k: usize,
    /// The answer; its first elements, best first.
    best: [(u32, f32); TOP_K_MAX],
}

impl Classes {
    pub(super) fn new<S: AsRef<[usize]>>(config: &ClassesConfig, shapes: &[S]) -> Result<Self, PostConfigError> {
        let shape = shape_of(shapes, "output", config.output)?;
        let one_row =
            shape.split_last().is_some_and(|(&classes, rest)| classes > 0 && rest.iter().all(|&dim| dim == 1));
        // Convolutional classifiers end in [1, classes, 1, 1].
        let one_column = matches!(shape, &[1, classes, 1, 1] if classes > 0);
        if !one_row && !one_column {
            let (shape, expected) = (shape.to_vec(), "one row of scores, [1, classes]");
            return Err(PostConfigError::Shape { key: "output", shape, expected });
        }
        if config.top_k == 0 || config.top_k > TOP_K_MAX {
            return Err(PostConfigError::Range { key: "top_k", value: config.top_k as f64, range: "1 to 32" });
        }
        let best = [(0, 0.0); TOP_K_MAX];
        Ok(Self { output: config.output, softmax: config.softmax, top_k: config.top_k, best })
    }

    pub(super) fn run(&mut self, outputs: &[&[f32]]) -> &[(u32, f32)] {
        let scores = outputs[self.output];
        let found = top_k(scores, &mut self.best[..self.top_k]);
        let best = &mut self.best[..found];
        if self.softmax {
            let row = Softmax::of(scores);
            for (_, score) in best.iter_mut() {
                *score = row.probability(*score);
            }
        }
        best
    }
}

/// Fills `best` with index and score of the largest scores, best first and of equals the lower index first; returns how many there are. NaN is
/// never among them. One pass; the few insertions cost little, since most scores lose against the last of the best.
fn top_k(scores: &[f32], best: &mut [(u32, f32)]) -> usize {
    let mut found = 0;
    for (index, &score) in scores.iter().enumerate() {
        if score.is_nan() || (found == best.len() && score <= best[found - 1].1) {
            continue;
        }
        if found < best.len() {
            found += 1;
        }
        let mut place = found - 1;
        while place > 0 && best[place - 1].1 < score {
            best[place] = best[place - 1];
            place -= 1;
        }
        best[place] = (index as u32, score);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::{PostConfig, PostProcessor, PostResult};
    use proptest::prelude::*;

    fn run(config: ClassesConfig, scores: &[f32]) -> Vec<(u32, f32)> {
        let mut post = PostProcessor::new(&PostConfig::Classes(config), &[vec![1, scores.len()]]).unwrap();
        match post.run(&[scores]).unwrap() {
            PostResult::Classes(classes) => classes.to_vec(),
            other => panic!("classes, not {other:?}"),
        }
    }

    fn raw(top_k: usize) -> ClassesConfig {
        ClassesConfig { output: 0, softmax: false, top_k }
    }

    #[test]
    fn the_best_come_first() {
        let scores = [0.5, -1.0, 9.0, f32::NAN, 3.0, 9.0, f32::NEG_INFINITY];
        assert_eq!(run(raw(3), &scores), [(2, 9.0), (5, 9.0), (4, 3.0)]);
        assert_eq!(run(raw(1), &scores), [(2, 9.0)]);
        assert_eq!(run(raw(32), &scores).len(), 6, "all but NaN");
        assert_eq!(run(raw(2), &[f32::NAN; 3]), []);
    }

    #[test]
    fn softmax_is_over_all_classes() {
        let scores: Vec<_> = [1.0_f32, 4.0, 3.0, 2.0].iter().map(|k| k.ln()).collect();
        let best = run(ClassesConfig { top_k: 2, ..ClassesConfig::default() }, &scores);
        assert_eq!([best[0].0, best[1].0], [1, 2]);
        assert!((best[0].1 - 0.4).abs() < 1e-6 && (best[1].1 - 0.3).abs() < 1e-6, "{best:?}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let new = |config, shape: &[usize]| PostProcessor::new(&PostConfig::Classes(config), &[shape]).map(|_| ());
        assert_eq!(new(raw(5), &[1, 1000, 1, 1]), Ok(()));
        assert_eq!(new(raw(5), &[1000]), Ok(()));
        assert!(matches!(new(raw(5), &[2, 1000]), Err(PostConfigError::Shape { .. })));
        assert!(matches!(new(raw(5), &[]), Err(PostConfigError::Shape { .. })));
        assert!(matches!(new(raw(0), &[10]), Err(PostConfigError::Range { .. })));
        assert!(matches!(new(raw(33), &[10]), Err(PostConfigError::Range { .. })));
        let other = ClassesConfig { output: 1, ..raw(5) };
        assert!(matches!(new(other, &[10]), Err(PostConfigError::NoSuchOutput { .. })));
    }

    proptest! {
        #[test]
        fn agrees_with_sorting(scores in prop::collection::vec(prop_oneof![-9_i8..9, -9_i8..9].prop_map(f32::from), 1..300), k in 1_usize..=32) {
            let mut expected: Vec<_> = scores.iter().enumerate().map(|(i, &score)| (i as u32, score)).collect();
            // A stable sort keeps equals in the order of their indices.
            expected.sort_by(|a, b| b.1.total_cmp(&a.1));
            expected.truncate(k);
            prop_assert_eq!(run(raw(k), &scores), expected);
        }
    }
}
