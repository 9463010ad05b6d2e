//! Boxes of a detector with a score and a box output.

use super::config::{BoxForm, BoxUnit, DetectionsConfig, ScoreActivation};
use super::error::PostConfigError;
use super::score::{Softmax, sigmoid};
use super::{nms, shape_of};

/// One object: corners in parts of the image's sides (0 to 1 inside the image; a box may reach beyond), `x1 <= x2`, `y1 <= y2`, all finite.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Detection {
    /// Index of the class in the model's score rows.
    pub class: u32,
    /// 0 to 1, if the model or the activation makes it so.
    pub score: f32,
    /// Left.
    pub x1: f32,
    /// Top.
    pub y1: f32,
    /// Right.
    pub x2: f32,
    /// Bottom.
    pub y2: f32,
}

impl Detection {
    /// Part of the image that the box covers.
    pub(super) fn area(&self) -> f32 {
        (self.x2 - self.x1) * (self.y2 - self.y1)
    }
}

#[derive(Debug)]
pub(super) struct Detections {
    config: DetectionsConfig,
    classes: usize,
    /// What to multiply the box numbers by.
    scale: [f32; 2],
    /// Room for a candidate from every row.
    candidates: Vec<Detection>,
}

impl Detections {
    pub(super) fn new<S: AsRef<[usize]>>(config: &DetectionsConfig, shapes: &[S]) -> Result<Self, PostConfigError> {
        let (score_rows, classes) = rows(shapes, "scores_output", config.scores_output, "[1, boxes, classes]")?;
        let (box_rows, numbers) = rows(shapes, "boxes_output", config.boxes_output, "[1, boxes, 4]")?;
        if numbers != 4 {
            let shape = shape_of(shapes, "boxes_output", config.boxes_output)?.to_vec();
            return Err(PostConfigError::Shape { key: "boxes_output", shape, expected: "[1, boxes, 4]" });
        }
        if score_rows != box_rows {
            return Err(PostConfigError::RowCount { scores: score_rows, boxes: box_rows });
        }
        check_ranges(config, classes)?;
        let scale = match config.box_unit {
            BoxUnit::Normalised => [1.0, 1.0],
            BoxUnit::Pixels { width, height } => [1.0 / width as f32, 1.0 / height as f32],
        };
        Ok(Self { config: config.clone(), classes, scale, candidates: Vec::with_capacity(score_rows) })
    }

    pub(super) fn run(&mut self, outputs: &[&[f32]]) -> &[Detection] {
        let scores = outputs[self.config.scores_output].chunks_exact(self.classes);
        let boxes = outputs[self.config.boxes_output].as_chunks::<4>().0;
        self.candidates.clear();
        for (row, &numbers) in scores.zip(boxes) {
            let (class, score) = self.best_class(row);
            // A NaN fails the comparison.
            if score >= self.config.score_threshold
                && let Some(detection) = self.decode(class, score, numbers)
            {
                self.candidates.push(detection);
            }
        }
        let kept = nms::suppress(&mut self.candidates, self.config.iou_threshold, self.config.max_detections);
        &self.candidates[..kept]
    }

    /// The best class of a row that is not the background, with its score after activation; NaN if there is none.
    fn best_class(&self, row: &[f32]) -> (usize, f32) {
        let mut best = (0, f32::NAN);
        for (class, &score) in row.iter().enumerate() {
            if Some(class) != self.config.background_class && !score.is_nan() && (best.1.is_nan() || score > best.1) {
                best = (class, score);
            }
        }
        // Every activation keeps the order within a row, so one number per row has to be activated.
        let score = match self.config.activation {
            ScoreActivation::None => best.1,
            ScoreActivation::Softmax => Softmax::of(row).probability(best.1),
            ScoreActivation::Sigmoid => sigmoid(best.1),
        };
        (best.0, score)
    }

    /// `None` for a box that is none: a corner that is not finite, or right of or below the opposite one.
    fn decode(&self, class: usize, score: f32, numbers: [f32; 4]) -> Option<Detection> {
        let [a, b, c, d] = numbers;
        let [x1, y1, x2, y2] = match self.config.box_form {
            BoxForm::Corners => [a, b, c, d],
            BoxForm::Centre => [a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0],
        };
        let [sx, sy] = self.scale;
        let detection = Detection { class: class as u32, score, x1: x1 * sx, y1: y1 * sy, x2: x2 * sx, y2: y2 * sy };
        let corners = [detection.x1, detection.y1, detection.x2, detection.y2];
        let sane = corners.iter().all(|corner| corner.is_finite())
            && detection.x1 <= detection.x2
            && detection.y1 <= detection.y2;
        (sane && score.is_finite()).then_some(detection)
    }
}

/// Rows and columns of an output of shape `[1, .., rows, columns]`.
fn rows<S: AsRef<[usize]>>(
    shapes: &[S],
    key: &'static str,
    index: usize,
    expected: &'static str,
) -> Result<(usize, usize), PostConfigError> {
    let shape = shape_of(shapes, key, index)?;
    match shape {
        [ones @ .., rows, columns] if *rows > 0 && *columns > 0 && ones.iter().all(|&dim| dim == 1) => {
            Ok((*rows, *columns))
        }
        _ => Err(PostConfigError::Shape { key, shape: shape.to_vec(), expected }),
    }
}

fn check_ranges(config: &DetectionsConfig, classes: usize) -> Result<(), PostConfigError> {
    let range = |key, value: f64, range| Err(PostConfigError::Range { key, value, range });
    if !(0.0..=1.0).contains(&config.score_threshold) {
        return range("score_threshold", f64::from(config.score_threshold), "0 to 1");
    }
    if !(0.0..=1.0).contains(&config.iou_threshold) {
        return range("iou_threshold", f64::from(config.iou_threshold), "0 to 1");
    }
    if config.max_detections == 0 {
        return range("max_detections", 0.0, "at least 1");
    }
    if let Some(background) = config.background_class
        && (background >= classes || classes == 1)
    {
        return range("background_class", background as f64, "one of several classes of the score output, or none");
    }
    if let BoxUnit::Pixels { width, height } = config.box_unit
        && (width == 0 || height == 0)
    {
        return range("box_unit", 0.0, "the width and height of the model's input");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::{PostConfig, PostProcessor, PostResult};
    use proptest::prelude::*;

    fn run(config: &DetectionsConfig, scores: &[f32], boxes: &[f32]) -> Vec<Detection> {
        let rows = boxes.len() / 4;
        let shapes = [vec![1, rows, scores.len() / rows], vec![1, rows, 4]];
        let mut post = PostProcessor::new(&PostConfig::Detections(config.clone()), &shapes).unwrap();
        match post.run(&[scores, boxes]).unwrap() {
            PostResult::Detections(detections) => detections.to_vec(),
            other => panic!("detections, not {other:?}"),
        }
    }

    /// All rows over 0.3 that ONNX Runtime gives for `ultraface-rfb-320.onnx` on the photograph chelsea (a cat), rounded to four places.
    const CHELSEA: [([f32; 2], [f32; 4]); 12] = [
        ([0.6574, 0.3426], [0.1224, 0.1628, 0.5033, 0.6433]),
        ([0.3112, 0.6888], [0.1379, 0.2242, 0.5108, 0.6845]),
        ([0.1909, 0.8091], [0.1069, 0.2205, 0.4956, 0.6843]),
        ([0.5161, 0.4839], [0.1384, 0.2206, 0.49, 0.7206]),
        ([0.5169, 0.4831], [0.1319, 0.1954, 0.4845, 0.7196]),
        ([0.0061, 0.9939], [0.1283, 0.1586, 0.5025, 0.6884]),
        ([0.1461, 0.8539], [0.1393, 0.1083, 0.5285, 0.7075]),
        ([0.3186, 0.6814], [0.2434, 0.0097, 0.6453, 0.8014]),
        ([0.6918, 0.3082], [0.2365, 0.0011, 0.6536, 0.811]),
        ([0.3485, 0.6515], [0.5253, -0.04, 0.8916, 0.8101]),
        ([0.1648, 0.8352], [0.1233, 0.2048, 0.4848, 0.7357]),
        ([0.5766, 0.4234], [0.1053, 0.1577, 0.5196, 0.7734]),
    ];

    fn chelsea(iou_threshold: f32) -> Vec<f32> {
        let (scores, boxes): (Vec<_>, Vec<_>) = CHELSEA.into_iter().unzip();
        let config = DetectionsConfig { iou_threshold, ..DetectionsConfig::default() };
        run(&config, scores.as_flattened(), boxes.as_flattened()).iter().map(|face| face.score).collect()
    }

    #[test]
    fn ultraface_rows_decode_to_the_recorded_boxes() {
        // Worked by hand: the box of 0.6814 overlaps that of 0.9939 by 0.362, and that of 0.6515 overlaps neither by more than 0.18.
        assert_eq!(chelsea(0.3), [0.9939, 0.6515]);
        assert_eq!(chelsea(0.5), [0.9939, 0.6814, 0.6515]);
    }

    #[test]
    fn centre_boxes_in_pixels_become_normalised_corners() {
        let config = DetectionsConfig {
            activation: ScoreActivation::Sigmoid,
            background_class: None,
            box_form: BoxForm::Centre,
            box_unit: BoxUnit::Pixels { width: 200, height: 100 },
            ..DetectionsConfig::default()
        };
        let found = run(&config, &[-9.0, 0.0, 3.0_f32.ln()], &[100.0, 50.0, 40.0, 20.0]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].class, 2);
        let got = [found[0].score, found[0].x1, found[0].y1, found[0].x2, found[0].y2];
        for (got, expected) in got.into_iter().zip([0.75, 0.4, 0.4, 0.6, 0.6]) {
            assert!((got - expected).abs() < 1e-6, "{got} {expected}");
        }
    }

    #[test]
    fn softmax_includes_the_background() {
        let config = DetectionsConfig {
            activation: ScoreActivation::Softmax,
            score_threshold: 0.1,
            ..DetectionsConfig::default()
        };
        let row: Vec<_> = [6.0_f32, 1.0, 3.0].iter().map(|k| k.ln()).collect();
        let found = run(&config, &row, &[0.0, 0.0, 1.0, 1.0]);
        // The background has the largest score and is never reported; the best other class has 3 of 10.
        assert_eq!(found[0].class, 2);
        assert!((found[0].score - 0.3).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn broken_numbers_are_no_boxes() {
        let boxes = [
            [0.0, 0.0, 1.0, f32::NAN],
            [0.0, 0.0, f32::INFINITY, 1.0],
            [0.5, 0.0, 0.4, 1.0],
            [0.0, 0.0, 1.0, 1.0],
            [0.1, 0.1, 0.2, 0.2],
        ];
        let scores = [[0.1, 0.9], [0.1, 0.9], [0.1, 0.9], [0.1, f32::NAN], [0.1, 0.6]];
        let found = run(&DetectionsConfig::default(), scores.as_flattened(), boxes.as_flattened());
        assert_eq!(found, [Detection { class: 1, score: 0.6, x1: 0.1, y1: 0.1, x2: 0.2, y2: 0.2 }]);
    }

    #[test]
    fn a_second_frame_does_not_see_the_first() {
        let mut post =
            PostProcessor::new(&PostConfig::Detections(DetectionsConfig::default()), &[[1, 1, 2], [1, 1, 4]]).unwrap();
        assert!(matches!(post.run(&[&[0.1, 0.9], &[0.0, 0.0, 1.0, 1.0]]), Ok(PostResult::Detections([_]))));
        assert_eq!(post.run(&[&[0.9, 0.1], &[0.0, 0.0, 1.0, 1.0]]), Ok(PostResult::Detections(&[])));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let new = |config: DetectionsConfig, shapes: &[&[usize]]| {
            PostProcessor::new(&PostConfig::Detections(config), shapes).map(|_| ()).unwrap_err()
        };
        let usual = DetectionsConfig::default;
        let fit: [&[usize]; 2] = [&[1, 9, 2], &[1, 9, 4]];
        assert!(matches!(new(usual(), &fit[..1]), PostConfigError::NoSuchOutput { key: "boxes_output", .. }));
        assert!(matches!(new(usual(), &[&[1, 9, 2], &[1, 9, 5]]), PostConfigError::Shape { key: "boxes_output", .. }));
        assert!(matches!(new(usual(), &[&[2, 9, 2], &[1, 9, 4]]), PostConfigError::Shape { key: "scores_output", .. }));
        assert!(matches!(new(usual(), &[&[1, 8, 2], &[1, 9, 4]]), PostConfigError::RowCount { scores: 8, boxes: 9 }));
        for (config, key) in [
            (DetectionsConfig { score_threshold: 1.5, ..usual() }, "score_threshold"),
            (DetectionsConfig { iou_threshold: f32::NAN, ..usual() }, "iou_threshold"),
            (DetectionsConfig { max_detections: 0, ..usual() }, "max_detections"),
            (DetectionsConfig { background_class: Some(2), ..usual() }, "background_class"),
            (DetectionsConfig { box_unit: BoxUnit::Pixels { width: 0, height: 1 }, ..usual() }, "box_unit"),
        ] {
            assert!(matches!(new(config, &fit), PostConfigError::Range { key: named, .. } if named == key), "{key}");
        }
    }

    proptest! {
        #[test]
        fn any_bit_pattern_gives_a_sane_answer(words in prop::collection::vec(any::<[u32; 7]>(), 1..40), activation in 0_usize..3) {
            let floats: Vec<_> = words.iter().map(|row| row.map(f32::from_bits)).collect();
            let scores: Vec<_> = floats.iter().flat_map(|row| row[..3].to_vec()).collect();
            let boxes: Vec<_> = floats.iter().flat_map(|row| row[3..].to_vec()).collect();
            let activation = [ScoreActivation::None, ScoreActivation::Softmax, ScoreActivation::Sigmoid][activation];
            let config = DetectionsConfig { activation, max_detections: 7, score_threshold: 0.0, ..DetectionsConfig::default() };
            let found = run(&config, &scores, &boxes);
            prop_assert!(found.len() <= 7);
            for detection in found {
                prop_assert!(detection.class == 1 || detection.class == 2);
                prop_assert!(detection.score.is_finite() && detection.x1.is_finite() && detection.y2.is_finite());
                prop_assert!(detection.x1 <= detection.x2 && detection.y1 <= detection.y2);
            }
        }
    }
}
