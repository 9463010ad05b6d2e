//! Another network in a running one's place, through the command line: checked, loaded beside it, switched between two frames, taken back.

use integration_tests::client::{Client, Frame};
use integration_tests::pipeline::Pipeline;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use wire::{Encoding, ResultView, Status};

/// The bundled network, which has five classes.
fn roadside() -> PathBuf {
    integration_tests::root().join("models/roadside.onnx")
}

/// The same network with its last bias changed, so that class `class` always wins: found as the only five floats of the initialiser that is added last.
fn biased(to: &Path, class: usize) {
    let mut bytes = std::fs::read(roadside()).expect("the bundled network");
    let at = bias_at(&bytes);
    for i in 0..5 {
        let value: f32 = if i == class { 1000.0 } else { 0.0 };
        bytes[at + 4 * i..at + 4 * i + 4].copy_from_slice(&value.to_le_bytes());
    }
    std::fs::write(to, bytes).expect("write a network");
}

/// Where the five floats of the last layer's bias begin: an ONNX initialiser with dims [5] (field 1 = 5), data type 1 (field 2), and raw data (field 9) of 20
/// bytes (onnx.proto3, TensorProto).
fn bias_at(bytes: &[u8]) -> usize {
    let found: Vec<usize> =
        (0..bytes.len() - 22).filter(|&i| bytes[i] == 0x4a && bytes[i + 1] == 20).map(|i| i + 2).collect();
    let plausible = |at: &usize| {
        let float = |i: usize| f32::from_le_bytes(bytes[at + 4 * i..at + 4 * i + 4].try_into().expect("four bytes"));
        (0..5).all(|i| float(i).is_finite() && float(i).abs() < 10.0 && float(i) != 0.0)
    };
    let found: Vec<usize> = found.into_iter().filter(plausible).collect();
    assert_eq!(found.len(), 1, "the network has one initialiser of five floats");
    found[0]
}

fn ctl(pipeline: &Pipeline, arguments: &[&str]) -> Output {
    Command::new(integration_tests::shipped().join("flumeway"))
        .arg("ctl")
        .arg("--socket")
        .arg(pipeline.dir().join("control.sock"))
        .args(arguments)
        .output()
        .expect("run flumeway ctl")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn picture(seed: u8) -> Vec<u8> {
    (0..96_usize * 96).flat_map(|i| [(i as u8).wrapping_add(seed); 3]).collect()
}

fn class_of(client: &Client, id: u64) -> u32 {
    let answer = client.answer(id);
    assert_eq!(answer.status, Status::Ok, "frame {id}");
    let ResultView::Classes(mut classes) = answer.reply.result().expect("a result") else { panic!("classes") };
    classes.next().expect("a class").class
}

/// A client that goes on sending while something else happens; each frame is one of a few pictures.
struct Traffic {
    client: Client,
    next: u64,
}

impl Traffic {
    fn send(&mut self) {
        let bytes = picture((self.next % 7) as u8);
        self.client.send(self.next, &Frame { encoding: Encoding::Rgb8, width: 96, height: 96, bytes: &bytes });
        self.next += 1;
    }

    /// Sends until `done`, a frame every two milliseconds, and at least `least` frames.
    fn until(&mut self, least: u64, mut done: impl FnMut() -> bool) {
        let (first, started) = (self.next, Instant::now());
        while self.next < first + least || !done() {
            assert!(started.elapsed() < Duration::from_mins(2), "it does not end");
            self.send();
            self.client.receive();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for all answers.
    fn settle(&mut self) {
        self.client.receive_until(self.next as usize);
    }
}

/// Runs `flumeway ctl ..` while frames flow.
fn under_load(pipeline: &Pipeline, traffic: &mut Traffic, arguments: &[&str]) -> Output {
    std::thread::scope(|scope| {
        let order = scope.spawn(|| ctl(pipeline, arguments));
        traffic.until(20, || order.is_finished());
        order.join().expect("flumeway ctl ran")
    })
}

fn model(pipeline: &Pipeline) -> Value {
    pipeline.status()["models"][0].clone()
}

#[test]
fn a_network_is_replaced_between_two_frames_and_taken_back() {
    let text = format!("[infer]\nmodel = \"{}\"\nengine = \"rten\"\n", roadside().display());
    let pipeline = Pipeline::start("swap", &text);
    let (always_3, always_1) = (pipeline.dir().join("always-3.onnx"), pipeline.dir().join("always-1.onnx"));
    biased(&always_3, 3);
    biased(&always_1, 1);
    let mut traffic = Traffic { client: Client::new(pipeline.listen(), 1), next: 0 };
    traffic.until(50, || true);
    let original = model(&pipeline)["sha256"].clone();

    let first_swap = traffic.next;
    let path = always_3.display().to_string();
    let output = under_load(&pipeline, &mut traffic, &["model", "load", "default", &path]);
    assert!(output.status.success() && said(&output).contains("no frame was lost"), "{}", said(&output));
    let after = traffic.next;
    traffic.until(50, || true);
    traffic.settle();
    assert!((after..traffic.next).all(|id| class_of(&traffic.client, id) == 3), "the new network answers");
    assert!((0..first_swap).any(|id| class_of(&traffic.client, id) != 3), "the old one answered otherwise");
    let now = model(&pipeline);
    assert_ne!(now["sha256"], original);
    assert_eq!(now["previous"], roadside().display().to_string(), "{now}");

    let path = always_1.display().to_string();
    assert!(under_load(&pipeline, &mut traffic, &["model", "load", "default", &path]).status.success());
    // A death does not bring the old one back.
    let before = pipeline.stage("infer.0")["incarnation"].as_u64().expect("a number");
    pipeline.kill_9("infer.0");
    pipeline.wait_incarnation("infer.0", before);
    let after = traffic.next;
    traffic.until(50, || true);
    traffic.settle();
    assert!((after..traffic.next).all(|id| class_of(&traffic.client, id) == 1));

    assert!(under_load(&pipeline, &mut traffic, &["model", "rollback", "default"]).status.success());
    let after = traffic.next;
    traffic.until(50, || true);
    traffic.settle();
    assert!((after..traffic.next).all(|id| class_of(&traffic.client, id) == 3), "the one before the last load");
    let listed = said(&ctl(&pipeline, &["model", "list"]));
    assert!(listed.contains("always-3.onnx") && listed.contains("always-1.onnx"), "{listed}");
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["answered"], traffic.next, "every frame of the whole test was answered: {ledger}");
}

#[test]
fn what_cannot_take_its_place_leaves_all_as_it_was() {
    let text = format!("[infer]\nmodel = \"{}\"\nengine = \"rten\"\n", roadside().display());
    let pipeline = Pipeline::start("swap-refused", &text);
    let mut traffic = Traffic { client: Client::new(pipeline.listen(), 1), next: 0 };
    traffic.until(20, || true);
    let good = pipeline.dir().join("good.onnx");
    biased(&good, 2);
    let damaged = pipeline.dir().join("damaged.onnx");
    let bytes = std::fs::read(roadside()).expect("the bundled network");
    std::fs::write(&damaged, &bytes[..bytes.len() / 2]).expect("write");
    let before = model(&pipeline);
    let refused = |traffic: &mut Traffic, arguments: &[&str], expected: &str| {
        let output = under_load(&pipeline, traffic, arguments);
        assert!(!output.status.success() && said(&output).contains(expected), "{arguments:?}: {}", said(&output));
    };
    let (good, damaged) = (good.display().to_string(), damaged.display().to_string());
    refused(&mut traffic, &["model", "load", "default", &damaged], "stays as it was");
    refused(&mut traffic, &["model", "load", "default", &good, "--sha256", &"0".repeat(64)], "has the SHA-256");
    refused(&mut traffic, &["model", "load", "other", &good], "there is no model \"other\"; write one of default");
    refused(&mut traffic, &["model", "load", "default", "/nonexistent.onnx"], "cannot be read");
    refused(&mut traffic, &["model", "rollback", "default"], "has not been replaced");
    refused(&mut traffic, &["model", "shadow", "default", "--off"], "nothing shadows model default");
    if let Some(shared) = integration_tests::shared() {
        let other = shared.join("models/ultraface-rfb-320.onnx").display().to_string();
        refused(&mut traffic, &["model", "load", "default", &other], "frames on their way are made for");
    }
    traffic.settle();
    assert_eq!(model(&pipeline), before);
    let incarnation = pipeline.stage("infer.0")["incarnation"].as_u64();
    assert_eq!(incarnation, Some(1), "no process was replaced for it");
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["answered"], traffic.next, "{ledger}");
}

#[test]
fn a_shadow_is_compared_and_answers_nobody() {
    let text = format!("[infer]\nmodel = \"{}\"\nengine = \"rten\"\n", roadside().display());
    let pipeline = Pipeline::start("shadow", &text);
    let other = pipeline.dir().join("always-3.onnx");
    biased(&other, 3);
    let mut traffic = Traffic { client: Client::new(pipeline.listen(), 1), next: 0 };
    traffic.until(7, || true);
    traffic.settle();
    let own: Vec<u32> = (0..7).map(|id| class_of(&traffic.client, id)).collect();
    let shadow = |name: &str| model(&pipeline)["shadow"][name].as_u64().unwrap_or(0);

    let same = roadside().display().to_string();
    let output = under_load(&pipeline, &mut traffic, &["model", "shadow", "default", &same, "--percent", "100"]);
    assert!(output.status.success(), "{}", said(&output));
    traffic.until(30, || shadow("frames") >= 10);
    assert_eq!((shadow("differs"), shadow("other_best"), shadow("errors")), (0, 0, 0), "it is the same network");

    let path = other.display().to_string();
    assert!(
        under_load(&pipeline, &mut traffic, &["model", "shadow", "default", &path, "--percent", "50"]).status.success()
    );
    traffic.settle();
    // The last frame is answered before its turn in the shadow: with the next one, that is over.
    let quiet = |traffic: &mut Traffic| {
        traffic.until(1, || true);
        traffic.settle();
        shadow("frames")
    };
    let before = quiet(&mut traffic);
    traffic.until(60, || true);
    traffic.settle();
    let shadowed = quiet(&mut traffic) - before;
    assert!((29..=32).contains(&shadowed), "half of 61 frames, not {shadowed}");
    assert!(shadow("differs") >= 29 && shadow("errors") == 0, "{}", model(&pipeline));
    assert!(shadow("other_best") > 0 || own.iter().all(|class| *class == 3));
    for id in 0..traffic.next {
        assert_eq!(
            class_of(&traffic.client, id),
            own[(id % 7) as usize],
            "frame {id} is answered by the network itself"
        );
    }
    assert!(under_load(&pipeline, &mut traffic, &["model", "shadow", "default", "--off"]).status.success());
    assert!(model(&pipeline)["shadow"].is_null());
    traffic.settle();
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["answered"], traffic.next, "{ledger}");
}
