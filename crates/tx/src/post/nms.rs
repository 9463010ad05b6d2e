//! Non-maximum suppression: of boxes that show the same thing, the best one.

use super::detections::Detection;

/// Intersection over union of two boxes, 0 to 1; 0 for boxes without area.
pub(super) fn iou(a: &Detection, b: &Detection) -> f32 {
    let width = a.x2.min(b.x2) - a.x1.max(b.x1);
    let height = a.y2.min(b.y2) - a.y1.max(b.y1);
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let intersection = width * height;
    let union = a.area() + b.area() - intersection;
    if union > 0.0 { intersection / union } else { 0.0 }
}

/// Keeps, at the front of `candidates`, the best boxes that no better kept box of the same class overlaps by more than `iou_threshold`, best first and at
/// most `max`; returns how many. In place and without allocation; greedy, as the procedure is usually defined: a suppressed box suppresses nothing.
///
/// Takes at most `candidates.len() * max` comparisons.
pub(super) fn suppress(candidates: &mut [Detection], iou_threshold: f32, max: usize) -> usize {
    // Equal scores: by class and place, so that the answer does not depend on the order of the model's rows.
    candidates.sort_unstable_by(|a, b| {
        let place =
            |box_: &Detection| (box_.class, box_.x1.to_bits(), box_.y1.to_bits(), box_.x2.to_bits(), box_.y2.to_bits());
        b.score.total_cmp(&a.score).then_with(|| place(a).cmp(&place(b)))
    });
    let mut kept = 0;
    for next in 0..candidates.len() {
        if kept == max {
            break;
        }
        let candidate = candidates[next];
        let covered = |better: &Detection| better.class == candidate.class && iou(better, &candidate) > iou_threshold;
        if !candidates[..kept].iter().any(covered) {
            candidates[kept] = candidate;
            kept += 1;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(class: u32, score: f32, x1: f32, y1: f32, x2: f32, y2: f32) -> Detection {
        Detection { class, score, x1, y1, x2, y2 }
    }

    #[test]
    fn known_overlaps() {
        let a = at(0, 1.0, 0.0, 0.0, 2.0, 2.0);
        // One of 4 + 4 - 1 unit squares is shared.
        assert!((iou(&a, &at(0, 1.0, 1.0, 1.0, 3.0, 3.0)) - 1.0 / 7.0).abs() < 1e-6);
        assert!((iou(&a, &a) - 1.0).abs() < 1e-6);
        assert!(iou(&a, &at(0, 1.0, 2.0, 0.0, 4.0, 2.0)) <= 0.0, "touching is not overlapping");
        assert!(iou(&a, &at(0, 1.0, 1.0, 1.0, 1.0, 1.0)) <= 0.0, "a point has no area");
        assert!((iou(&a, &at(0, 1.0, 0.0, 0.0, 1.0, 1.0)) - 0.25).abs() < 1e-6, "inside");
    }

    #[test]
    fn a_suppressed_box_suppresses_nothing() {
        // b overlaps a and c by 3/5 each; a and c overlap by 1/3. With a kept, b goes and c stays.
        let a = at(0, 0.9, 0.0, 0.0, 4.0, 1.0);
        let b = at(0, 0.8, 1.0, 0.0, 5.0, 1.0);
        let c = at(0, 0.7, 2.0, 0.0, 6.0, 1.0);
        let mut boxes = [c, a, b];
        assert_eq!(suppress(&mut boxes, 0.5, 10), 2);
        assert_eq!(boxes[..2], [a, c]);
        // The same boxes of three classes are all kept.
        let mut boxes = [a, Detection { class: 1, ..b }, Detection { class: 2, ..c }];
        assert_eq!(suppress(&mut boxes, 0.5, 10), 3);
        // And the limit keeps the best.
        assert_eq!(suppress(&mut boxes, 0.5, 1), 1);
        assert_eq!(boxes[0], a);
    }

    fn boxes() -> impl Strategy<Value = Vec<Detection>> {
        // A coarse grid makes equal boxes, equal scores and overlaps of all sizes frequent.
        let one = (0_u32..3, 0_u8..10, 0_u8..8, 0_u8..8, 1_u8..8, 1_u8..8).prop_map(|(class, score, x, y, w, h)| {
            let side = |n: u8| f32::from(n) / 16.0;
            at(class, f32::from(score) / 10.0, side(x), side(y), side(x + w), side(y + h))
        });
        prop::collection::vec(one, 0..60)
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_the_definition_says(input in boxes(), iou_threshold in 0.0_f32..1.0) {
            let mut output = input.clone();
            let kept = suppress(&mut output, iou_threshold, usize::MAX);
            let output = &output[..kept];
            prop_assert!(output.windows(2).all(|pair| pair[0].score >= pair[1].score), "best first");
            prop_assert!(output.iter().all(|kept| input.contains(kept)), "nothing is made up");
            for (i, a) in output.iter().enumerate() {
                for b in &output[..i] {
                    prop_assert!(a.class != b.class || iou(a, b) <= iou_threshold, "kept boxes do not overlap");
                }
            }
            for lost in input.iter().filter(|candidate| !output.contains(candidate)) {
                let reason = |kept: &Detection| kept.class == lost.class && kept.score >= lost.score && iou(kept, lost) > iou_threshold;
                prop_assert!(output.iter().any(reason), "a lost box was covered by a better one: {lost:?}");
            }
        }

        #[test]
        fn a_second_pass_changes_nothing_and_order_does_not_matter(mut input in boxes(), max in 1_usize..20) {
            let mut first = input.clone();
            let kept = suppress(&mut first, 0.4, max);
            let mut again = first[..kept].to_vec();
            prop_assert_eq!(suppress(&mut again, 0.4, max), kept);
            prop_assert_eq!(&again[..], &first[..kept]);
            input.reverse();
            prop_assert_eq!(suppress(&mut input, 0.4, max), kept);
            prop_assert_eq!(&input[..kept], &first[..kept]);
        }
    }
}
