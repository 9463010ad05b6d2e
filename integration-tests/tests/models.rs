//! Photographs through the running pipeline: its answers against those of ONNX Runtime, recorded in
//! `../shared/images/reference.json` after Pillow's antialiased bilinear resize; and the bundled network on its frames.

#[path = "models/bytes.rs"]
mod bytes;
#[path = "models/picture.rs"]
mod picture;
#[path = "models/swap.rs"]
mod swap;

use integration_tests::client::{Answer, Client};
use integration_tests::pipeline::Pipeline;
use picture::{Encoded, Picture};
use serde_json::Value;
use std::path::{Path, PathBuf};
use wire::{Detection, Encoding, ResultView, Status};

const PHOTOGRAPHS: [&str; 4] = ["astronaut", "chelsea", "coffee", "rocket"];

/// The folder of models and photographs, and what ONNX Runtime answered.
fn reference() -> Option<(PathBuf, Value)> {
    let dir = integration_tests::shared()?;
    let path = dir.join("images/reference.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("SKIPPED: {} is missing", path.display());
        return None;
    };
    Some((dir, serde_json::from_str(&text).expect("JSON")))
}

/// Sends a frame, and waits for its answer.
fn ask(client: &mut Client, frame: &Encoded) -> Answer {
    let id = client.replies.len() as u64;
    client.send(id, &frame.frame());
    client.receive_until(id as usize + 1);
    client.answer(id).clone()
}

/// The best class, its score, and its label.
fn best_class(answer: &Answer) -> (u32, f32, Option<String>) {
    assert_eq!(answer.status, Status::Ok);
    let ResultView::Classes(mut classes) = answer.reply.result().expect("a result") else { panic!("no classes") };
    let best = classes.next().expect("at least one class");
    (best.class, best.score, best.label.map(str::to_owned))
}

fn best_detection(answer: &Answer) -> Option<Detection> {
    assert_eq!(answer.status, Status::Ok);
    let ResultView::Detections(boxes) = answer.reply.result().expect("a result") else { panic!("no detections") };
    boxes.max_by(|a, b| a.score.total_cmp(&b.score))
}

fn mobilenet(shared: &Path) -> String {
    format!(
        "[infer]\nmodel = \"{}\"\n[preprocess]\nresize = \"bilinear-antialias\"\nmean = [0.485, 0.456, 0.406]\n\
         std = [0.229, 0.224, 0.225]\n[post]\nkind = \"classes\"\ntop_k = 5\n",
        shared.join("models/mobilenetv2-fp32.onnx").display()
    )
}

/// Input `(pixel - 127) / 128`, as this detector was trained; box scores are probabilities, class 0 is background.
fn ultraface(shared: &Path) -> String {
    format!(
        "[infer]\nmodel = \"{}\"\n[preprocess]\nresize = \"bilinear-antialias\"\nscale = 0.0078125\n\
         mean = [0.9921875, 0.9921875, 0.9921875]\n[post]\nkind = \"detections\"\nscores_output = 0\nboxes_output = 1\n\
         background_class = 0\nscore_threshold = 0.05\n",
        shared.join("models/ultraface-rfb-320.onnx").display()
    )
}

fn photograph(shared: &Path, name: &str) -> Picture {
    Picture::load(&shared.join(format!("images/{name}.jpg")))
}

#[test]
fn the_classifier_answers_as_onnx_runtime() {
    let Some((shared, reference)) = reference() else { return };
    let pipeline = Pipeline::start("mobilenet", &mobilenet(&shared));
    let mut client = Client::new(pipeline.listen(), 1);
    for name in PHOTOGRAPHS {
        let picture = photograph(&shared, name);
        let expected = reference[name]["mobilenetv2_fp32_top5"][0].as_u64().expect("a class");
        for encoding in [Encoding::Jpeg, Encoding::Rgb8] {
            let (class, score, _) = best_class(&ask(&mut client, &picture.encode(encoding)));
            println!("{name} {encoding}: class {class}, {score:.3}");
            assert_eq!(u64::from(class), expected, "{name} as {encoding}");
        }
    }
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["answered"], 8, "{ledger}");
    assert_eq!(pipeline.counter("preprocess.0", "copies"), 4, "raw pixels are never copied, a gathered JPEG once");
}

#[test]
fn every_encoding_shows_the_classifier_the_same_picture() {
    let Some((shared, reference)) = reference() else { return };
    let pipeline = Pipeline::start("encodings", &mobilenet(&shared));
    let mut client = Client::new(pipeline.listen(), 1);
    let picture = photograph(&shared, "coffee");
    let expected = reference["coffee"]["mobilenetv2_fp32_top5"][0].as_u64().expect("a class");
    let mut scores = Vec::new();
    for encoding in [Encoding::Rgb8, Encoding::Bgr8, Encoding::Nv12, Encoding::Yuyv] {
        let (class, score, _) = best_class(&ask(&mut client, &picture.encode(encoding)));
        println!("coffee {encoding}: class {class}, {score:.4}");
        assert_eq!(u64::from(class), expected, "{encoding}");
        scores.push(score);
    }
    assert_eq!(scores[0].to_bits(), scores[1].to_bits(), "the order of the channels changes nothing");
    assert!(scores.iter().all(|s| (s - scores[0]).abs() < 0.05), "subsampled chroma changes little: {scores:?}");
    // Without colour it may be taken for something else, but it is answered.
    best_class(&ask(&mut client, &picture.encode(Encoding::Gray8)));
    pipeline.assert_whole();
}

#[test]
fn the_face_detector_finds_what_onnx_runtime_finds() {
    let Some((shared, reference)) = reference() else { return };
    let pipeline = Pipeline::start("ultraface", &ultraface(&shared));
    let mut client = Client::new(pipeline.listen(), 1);
    for name in PHOTOGRAPHS {
        let picture = photograph(&shared, name);
        let expected = &reference[name];
        let has_face = expected["ultraface_best_score"].as_f64().expect("a score") > 0.5;
        assert_eq!(has_face, ["astronaut", "chelsea"].contains(&name), "the recorded answers are those meant");
        for encoding in [Encoding::Jpeg, Encoding::Rgb8] {
            let best = best_detection(&ask(&mut client, &picture.encode(encoding)));
            println!("{name} {encoding}: {best:?}");
            let score = best.map_or(0.0, |b| b.score);
            let recorded = expected["ultraface_best_score"].as_f64().expect("a score");
            assert!((f64::from(score) - recorded).abs() < 0.03, "{name} as {encoding}: {score} {recorded}");
            assert_eq!(score > 0.5, has_face, "{name} as {encoding}: {score}");
            let Some(found) = best.filter(|_| has_face) else { continue };
            for (at, side) in [found.x0, found.y0, found.x1, found.y1].into_iter().enumerate() {
                let recorded = expected["ultraface_best_box_xyxy_normalised"][at].as_f64().expect("a side");
                assert!(
                    (f64::from(side) - recorded).abs() <= 0.02,
                    "{name} as {encoding}: {found:?} side {at} {recorded}"
                );
            }
        }
    }
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["answered"], 8, "{ledger}");
}

#[test]
fn the_bundled_network_knows_its_frames() {
    let models = integration_tests::root().join("models");
    let text = format!(
        "[infer]\nmodel = \"{}\"\n[preprocess]\nresize = \"bilinear-antialias\"\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n\
         [post]\nlabels = \"{}\"\ntop_k = 3\n",
        models.join("roadside.onnx").display(),
        models.join("roadside.labels").display()
    );
    let pipeline = Pipeline::start("roadside", &text);
    let mut client = Client::new(pipeline.listen(), 1);
    let table = std::fs::read_to_string(models.join("frames/labels.json")).expect("the table of labels");
    let table: serde_json::Map<String, Value> = serde_json::from_str(&table).expect("JSON");
    assert!(table.len() >= 24, "a few dozen frames");
    let mut right = [0, 0];
    for (file, label) in &table {
        let picture = Picture::load(&models.join("frames").join(file));
        for (encoding, right) in [Encoding::Jpeg, Encoding::Rgb8].into_iter().zip(&mut right) {
            let (_, score, named) = best_class(&ask(&mut client, &picture.encode(encoding)));
            if named.as_deref() == label.as_str() {
                *right += 1;
            } else {
                println!("{file} as {encoding}: {named:?} at {score:.2}");
            }
        }
    }
    println!("{right:?} of {} right, as JPEG and as rgb8", table.len());
    assert!(right.iter().all(|n| n * 100 >= table.len() * 95), "{right:?} of {}", table.len());
    pipeline.assert_whole();
}
