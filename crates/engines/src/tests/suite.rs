//! The conformance suite on every engine that this binary contains.

use super::onnx::{self, Dim, FLOAT, Tensor};
use super::{TempFile, onnx_engines, options, shared};
use crate::{EngineOptions, Submitted, Ticket, conformance, load};

fn small() -> EngineOptions {
    EngineOptions { input_shape: Some(vec![1, 3, 4, 5]), output_shape: Some(vec![1, 130]), ..EngineOptions::default() }
}

/// Two inputs and one output: their sum.
fn add_model() -> TempFile {
    let tensor = |name| Tensor { name, dtype: FLOAT, dims: vec![Dim::Name("batch"), Dim::N(3), Dim::N(5)] };
    TempFile::new("add.onnx", &onnx::model("Add", &[tensor("a"), tensor("b")], &[tensor("sum")]))
}

#[test]
fn test_engines_conform() {
    conformance::run(|| load("null", None, &small()).unwrap());
    conformance::run(|| load("null", None, &EngineOptions { max_batch: 4, ..small() }).unwrap());
    let batches = EngineOptions { max_batch: 3, delay_us: 200, asynchronous: true, ..small() };
    conformance::run(|| load("delay", None, &batches).unwrap());
    conformance::run(|| load("delay", None, &EngineOptions { delay_us: 200, ..small() }).unwrap());
    conformance::run(|| load("delay", None, &EngineOptions { delay_us: 200, busy: true, ..small() }).unwrap());
    conformance::run(|| load("delay", None, &EngineOptions { delay_us: 200, asynchronous: true, ..small() }).unwrap());
    conformance::run(|| load("abort", None, &EngineOptions { i_know_this_crashes: true, ..small() }).unwrap());
}

#[test]
fn model_engines_conform_on_a_small_model() {
    let model = add_model();
    for kind in onnx_engines() {
        conformance::run(|| load(kind, Some(model.path()), &options()).unwrap());
    }
}

#[test]
fn model_engines_conform_on_the_reference_models() {
    for name in ["mobilenetv2-fp32", "mobilenetv2-int8-qdq", "ultraface-rfb-320"] {
        let Some(model) = shared(&format!("models/{name}.onnx")) else { return };
        for kind in onnx_engines() {
            conformance::run(|| load(kind, Some(&model), &options()).unwrap());
        }
    }
}

#[test]
fn several_inputs_are_read_from_their_offsets() {
    let model = add_model();
    for kind in onnx_engines() {
        let mut engine = load(kind, Some(model.path()), &options()).unwrap();
        assert_eq!(engine.specs().inputs()[0].shape, [1, 3, 5], "the dynamic batch is 1");
        assert_eq!(engine.specs().input_offsets(), [0, 64]);
        let mut input = vec![0.0_f32; engine.specs().input_bytes() / 4];
        for i in 0..15 {
            input[i] = i as f32;
            input[16 + i] = 100.0;
        }
        let mut output = [0.0_f32; 15];
        let submitted = engine.submit(Ticket(0), bytes(&input), bytes_mut(&mut output)).unwrap();
        assert_eq!(submitted, Submitted::Done);
        let expected: Vec<_> = (0..15).map(|i| 100.0 + i as f32).collect();
        assert_eq!(output.as_slice(), expected, "{kind}");
    }
}

#[test]
fn the_echo_is_the_documented_one() {
    let options =
        EngineOptions { input_shape: Some(vec![3]), output_shape: Some(vec![2, 4]), ..EngineOptions::default() };
    let mut engine = load("null", None, &options).unwrap();
    let mut output = [0.0_f32; 8];
    engine.submit(Ticket(0), bytes(&[1.0, 2.0, 3.0]), bytes_mut(&mut output)).unwrap();
    assert_eq!(output.as_slice(), [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0]);
}

#[test]
fn a_test_engine_takes_the_shapes_of_a_model() {
    let model = add_model();
    let engine = load("null", Some(model.path()), &EngineOptions::default()).unwrap();
    assert_eq!(engine.specs().inputs().len(), 2);
    assert_eq!(engine.specs().outputs()[0].name, "sum");
}

fn bytes(values: &[f32]) -> &[u8] {
    zerocopy::IntoBytes::as_bytes(values)
}

fn bytes_mut(values: &mut [f32]) -> &mut [u8] {
    zerocopy::IntoBytes::as_mut_bytes(values)
}

#[test]
fn the_abort_engine_needs_consent() {
    // The variable is not set by `make test`; where someone has set it the consent is given.
    if std::env::var_os(crate::TEST_ENGINES_VARIABLE).is_none() {
        let refused = load("abort", None, &EngineOptions::default()).err().unwrap().to_string();
        assert!(refused.contains(crate::TEST_ENGINES_VARIABLE), "{refused}");
    }
}

/// Runs itself in a child process, which must die of SIGABRT on the marked input and not before.
#[test]
fn the_abort_engine_aborts_on_the_marker_only() {
    use std::os::unix::process::ExitStatusExt;
    const CHILD: &str = "FLUMEWAY_TEST_ABORT_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let options = EngineOptions {
            input_shape: Some(vec![2]),
            output_shape: Some(vec![2]),
            i_know_this_crashes: true,
            ..EngineOptions::default()
        };
        let mut engine = load("abort", None, &options).unwrap();
        let mut output = [0.0_f32; 2];
        engine.submit(Ticket(1), bytes(&[1.0, crate::ABORT_MARKER]), bytes_mut(&mut output)).unwrap();
        println!("alive after an unmarked frame");
        let _ = engine.submit(Ticket(2), bytes(&[crate::ABORT_MARKER, 1.0]), bytes_mut(&mut output));
        println!("alive after the marked frame");
        return;
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::suite::the_abort_engine_aborts_on_the_marker_only", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&child.stdout);
    assert!(printed.contains("alive after an unmarked frame"), "{printed}");
    assert!(!printed.contains("alive after the marked frame"), "{printed}");
    assert_eq!(child.status.signal(), Some(6), "{:?}", child.status);
}
