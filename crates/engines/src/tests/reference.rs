//! Answers on four photographs against those of ONNX Runtime, recorded in `../shared/images/reference.json`.

use super::{images, onnx_engines, options, shared};
use crate::{Engine, Ticket, load};
use serde_json::Value;
use zerocopy::{FromBytes, IntoBytes};

/// Mean and standard deviation of the ImageNet training set on 0..255, in RGB.
const IMAGENET_MEAN: [f32; 3] = [123.675, 116.28, 103.53];
const IMAGENET_STD: [f32; 3] = [58.395, 57.12, 57.375];

/// What the face detector was trained with.
const ULTRAFACE_MEAN: [f32; 3] = [127.0; 3];
const ULTRAFACE_STD: [f32; 3] = [128.0; 3];

fn photographs() -> Option<serde_json::Map<String, Value>> {
    let text = std::fs::read_to_string(shared("images/reference.json")?).unwrap();
    match serde_json::from_str(&text).unwrap() {
        Value::Object(map) => Some(map),
        other => panic!("reference.json is an object, not {other}"),
    }
}

/// Runs one image; returns each output.
fn infer(engine: &mut dyn Engine, input: &[f32]) -> Vec<Vec<f32>> {
    let mut output = vec![0.0_f32; engine.specs().output_bytes() / 4];
    engine.submit(Ticket(0), input.as_bytes(), output.as_mut_bytes()).unwrap();
    let finished = engine.poll().unwrap();
    finished.result.unwrap();
    let specs = engine.specs();
    let tensor =
        |index| <[f32]>::ref_from_bytes(&output.as_bytes()[specs.output_range(index).unwrap()]).unwrap().to_vec();
    (0..specs.outputs().len()).map(tensor).collect()
}

fn arg_max(values: &[f32]) -> usize {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap()
}

/// How far the recorded class of the quantised model may lie behind the best one. ONNX Runtime disagrees with itself there: on the photograph
/// rocket it answers 557 by 0.27 with its integer kernels, and 682 by 1.36 with graph optimisations off, when it computes in f32 between the
/// quantisation steps as the built-in engines do. And it is that sensitive to the input: with one level more or less in one value of fifteen
/// the integer kernels put 682 ahead by 1.49, and on the photograph as it is decoded here by 1.63.
const QUANTISED_LOGIT_TOLERANCE: f32 = 2.0;

#[test]
fn the_classifier_agrees() {
    let (Some(photographs), Some(model)) = (photographs(), shared("models/mobilenetv2-fp32.onnx")) else { return };
    for name in onnx_engines() {
        let mut engine = load(name, Some(&model), &options()).unwrap();
        for (photograph, expected) in &photographs {
            let Some(logits) = classify(&mut *engine, photograph) else { return };
            let top = arg_max(&logits);
            println!("{name} {photograph}: class {top}, logit {:.3}", logits[top]);
            assert_eq!(Some(top as u64), expected["mobilenetv2_fp32_top5"][0].as_u64(), "{name} {photograph}");
            let logit = expected["mobilenetv2_fp32_top1_logit"].as_f64().unwrap();
            assert!((f64::from(logits[top]) - logit).abs() < 0.15, "{name} {photograph}: {} {logit}", logits[top]);
        }
    }
}

#[test]
fn the_quantised_classifier_agrees() {
    let (Some(photographs), Some(model)) = (photographs(), shared("models/mobilenetv2-int8-qdq.onnx")) else { return };
    for name in onnx_engines() {
        let mut engine = load(name, Some(&model), &options()).unwrap();
        for (photograph, expected) in &photographs {
            let Some(logits) = classify(&mut *engine, photograph) else { return };
            let (top, recorded) = (arg_max(&logits), expected["mobilenetv2_int8_top1"].as_u64().unwrap() as usize);
            println!(
                "{name} {photograph}: class {top} at {:.3}, recorded {recorded} at {:.3}",
                logits[top], logits[recorded]
            );
            let behind = logits[top] - logits[recorded];
            assert!(behind < QUANTISED_LOGIT_TOLERANCE, "{name} {photograph}: {behind}");
        }
    }
}

fn classify(engine: &mut dyn Engine, photograph: &str) -> Option<Vec<f32>> {
    let image = shared(&format!("images/{photograph}.jpg"))?;
    let input = images::tensor(&image, 224, 224, IMAGENET_MEAN, IMAGENET_STD);
    Some(infer(engine, &input).remove(0))
}

#[test]
fn the_face_detector_agrees() {
    let (Some(photographs), Some(model)) = (photographs(), shared("models/ultraface-rfb-320.onnx")) else { return };
    for name in onnx_engines() {
        let mut engine = load(name, Some(&model), &options()).unwrap();
        assert_eq!(engine.specs().inputs().len(), 1, "weights listed as inputs are not inputs");
        for (photograph, expected) in &photographs {
            let Some(image) = shared(&format!("images/{photograph}.jpg")) else { return };
            let input = images::tensor(&image, 320, 240, ULTRAFACE_MEAN, ULTRAFACE_STD);
            let [scores, boxes] = <[Vec<f32>; 2]>::try_from(infer(&mut *engine, &input)).unwrap();
            let faces: Vec<_> = scores.chunks_exact(2).map(|pair| pair[1]).collect();
            let best = arg_max(&faces);
            println!("{name} {photograph}: score {:.4} at {:?}", faces[best], &boxes[best * 4..best * 4 + 4]);
            let score = expected["ultraface_best_score"].as_f64().unwrap();
            assert!((f64::from(faces[best]) - score).abs() < 0.03, "{name} {photograph}: {} {score}", faces[best]);
            if score > 0.5 {
                for (side, at) in boxes[best * 4..best * 4 + 4].iter().enumerate() {
                    let recorded = expected["ultraface_best_box_xyxy_normalised"][side].as_f64().unwrap();
                    assert!(
                        (f64::from(*at) - recorded).abs() < 0.02,
                        "{name} {photograph} side {side}: {at} {recorded}"
                    );
                }
            }
        }
    }
}
