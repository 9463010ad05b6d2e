//! Every kind of wrong model gets the error that names cause and remedy.

use super::onnx::{self, Dim, FLOAT, INT64, Tensor};
use super::{TempFile, onnx_engines, options, shared};
use crate::{EngineOptions, LoadError, describe_model_json, load};
use std::path::Path;

fn tensor(name: &'static str, dtype: u64, dims: Vec<Dim>) -> Tensor {
    Tensor { name, dtype, dims }
}

fn load_error(engine: &str, path: &Path) -> LoadError {
    load(engine, Some(path), &options()).err().expect("the model is wrong")
}

#[test]
fn what_is_no_file_is_told_apart() {
    for engine in onnx_engines() {
        let missing = load_error(engine, Path::new("/nonexistent/model.onnx"));
        assert!(matches!(missing, LoadError::MissingFile { .. }), "{missing}");
        assert!(missing.to_string().contains("/nonexistent/model.onnx"));
        let folder = load_error(engine, Path::new("/tmp"));
        assert!(matches!(folder, LoadError::Unreadable { .. }), "{folder}");
        let none = load(engine, None, &options()).err().unwrap();
        assert!(matches!(none, LoadError::NoModel { .. }), "{none}");
    }
    let unknown = load("onnx", None, &options()).err().unwrap();
    assert!(matches!(unknown, LoadError::UnknownEngine { .. }), "{unknown}");
}

#[cfg(not(feature = "tract"))]
#[test]
fn an_engine_that_was_left_out_names_its_feature() {
    let message = load_error("tract", Path::new("m.onnx")).to_string();
    assert!(message.contains("--features tract"), "{message}");
}

#[test]
fn damaged_models_are_corrupt() {
    let good = onnx::model(
        "Relu",
        &[tensor("x", FLOAT, vec![Dim::N(1), Dim::N(4)])],
        &[tensor("y", FLOAT, vec![Dim::N(1), Dim::N(4)])],
    );
    for (name, bytes) in [
        ("empty.onnx", &b""[..]),
        ("text.onnx", b"this is not a model, it is a sentence"),
        ("noise.onnx", &[0xff; 300]),
        ("half.onnx", &good[..good.len() / 2]),
        ("half-without-extension", &good[..good.len() / 2]),
    ] {
        let file = TempFile::new(name, bytes);
        for engine in onnx_engines() {
            let error = load_error(engine, file.path());
            assert!(matches!(error, LoadError::CorruptModel { .. }), "{engine} {name}: {error:?}");
            assert!(error.to_string().contains(engine), "{error}");
        }
    }
}

#[test]
fn a_truncated_real_model_is_an_error_at_any_length() {
    let Some(path) = shared("models/ultraface-rfb-320.onnx") else { return };
    let bytes = std::fs::read(path).unwrap();
    for part in 1..16 {
        let file = TempFile::new("truncated.onnx", &bytes[..bytes.len() * part / 16]);
        for engine in onnx_engines() {
            load_error(engine, file.path());
        }
    }
}

#[test]
fn an_operator_that_nobody_has_is_named() {
    let vector = |name| tensor(name, FLOAT, vec![Dim::N(1), Dim::N(4)]);
    let file = TempFile::new("operator.onnx", &onnx::model("FluxCompensate", &[vector("x")], &[vector("y")]));
    for engine in onnx_engines() {
        let error = load_error(engine, file.path());
        assert!(matches!(error, LoadError::UnsupportedOperator { .. }), "{engine}: {error:?}");
        assert!(error.to_string().contains("FluxCompensate"), "{error}");
    }
}

#[test]
fn a_dynamic_dimension_beside_the_batch_is_named_and_can_be_settled() {
    let image = |name| {
        let dims = vec![Dim::Name("batch"), Dim::N(3), Dim::Name("height"), Dim::Name("width")];
        tensor(name, FLOAT, dims)
    };
    let file = TempFile::new("dynamic.onnx", &onnx::model("Relu", &[image("x")], &[image("y")]));
    for engine in onnx_engines() {
        let error = load_error(engine, file.path());
        assert!(matches!(error, LoadError::UnsupportedShape { .. }), "{engine}: {error:?}");
        assert!(error.to_string().contains("dimension 2 (\"height\")"), "{error}");
        let options = EngineOptions { input_shape: Some(vec![1, 3, 6, 8]), ..options() };
        let loaded = load(engine, Some(file.path()), &options).unwrap();
        assert_eq!(loaded.specs().outputs()[0].shape, [1, 3, 6, 8], "{engine}");
    }
}

#[test]
fn inputs_of_other_types_are_refused() {
    let vector = |name| tensor(name, INT64, vec![Dim::N(1), Dim::N(4)]);
    let file = TempFile::new("int.onnx", &onnx::model("Relu", &[vector("x")], &[vector("y")]));
    for engine in onnx_engines() {
        let error = load_error(engine, file.path());
        assert!(matches!(error, LoadError::UnsupportedDtype { direction: "input", .. }), "{engine}: {error:?}");
        assert!(error.to_string().contains("\"x\""), "{error}");
    }
}

#[test]
fn integer_outputs_become_f32() {
    // Shape: the input's dimensions as i64.
    let file = TempFile::new(
        "shape.onnx",
        &onnx::model(
            "Shape",
            &[tensor("x", FLOAT, vec![Dim::N(1), Dim::N(3), Dim::N(5)])],
            &[tensor("y", INT64, vec![Dim::N(3)])],
        ),
    );
    for engine in onnx_engines() {
        let mut loaded = load(engine, Some(file.path()), &options()).unwrap();
        let mut output = [0.0_f32; 3];
        let input = [0.0_f32; 15];
        let areas = (zerocopy::IntoBytes::as_bytes(&input), zerocopy::IntoBytes::as_mut_bytes(&mut output));
        loaded.submit(crate::Ticket(0), areas.0, areas.1).unwrap();
        assert_eq!(loaded.poll().unwrap().result, Ok(()));
        assert_eq!(output.map(|value| value as u32), [1, 3, 5], "{engine}");
    }
}

#[test]
fn an_output_without_a_shape_is_found_by_running() {
    // NonZero has as many columns as the data has non-zero elements: on zeros there are none.
    let file = TempFile::new(
        "nonzero.onnx",
        &onnx::model(
            "NonZero",
            &[tensor("x", FLOAT, vec![Dim::N(2), Dim::N(2)])],
            &[tensor("y", INT64, vec![Dim::N(2), Dim::Name("found")])],
        ),
    );
    let error = load_error("rten", file.path());
    assert!(matches!(error, LoadError::UnsupportedShape { .. }), "{error:?}");
    assert!(
        error.to_string().contains("depends on the data") || error.to_string().contains("empty dimension"),
        "{error}"
    );
    // Relu keeps its input's shape, whatever name the file gives to it.
    let file = TempFile::new(
        "renamed.onnx",
        &onnx::model(
            "Relu",
            &[tensor("x", FLOAT, vec![Dim::N(2), Dim::N(2)])],
            &[tensor("y", FLOAT, vec![Dim::N(2), Dim::Name("columns")])],
        ),
    );
    for engine in onnx_engines() {
        let loaded = load(engine, Some(file.path()), &options()).unwrap();
        assert_eq!(loaded.specs().outputs()[0].shape, [2, 2], "{engine}");
    }
}

#[test]
fn options_out_of_range_are_refused() {
    for options in [
        EngineOptions { threads: 0, ..EngineOptions::default() },
        EngineOptions { threads: 100_000, ..EngineOptions::default() },
        EngineOptions { busy: true, asynchronous: true, ..EngineOptions::default() },
    ] {
        assert!(matches!(load("null", None, &options), Err(LoadError::BadOptions { .. })), "{options:?}");
    }
    let options = EngineOptions { input_shape: Some(vec![1 << 40, 1 << 40]), ..EngineOptions::default() };
    assert!(matches!(load("null", None, &options), Err(LoadError::Shape(_))));
}

#[test]
fn a_description_has_what_the_supervisor_needs() {
    let options = EngineOptions {
        input_shape: Some(vec![1, 3, 2, 2]),
        output_shape: Some(vec![1, 7]),
        ..EngineOptions::default()
    };
    let object = describe_model_json(None, "null", &options).unwrap();
    assert_eq!(object["schema"], 1);
    assert_eq!(object["engine"], "null");
    assert_eq!(object["inputs"][0]["shape"], serde_json::json!([1, 3, 2, 2]));
    assert_eq!(object["inputs"][0]["dtype"], "f32");
    assert_eq!(object["outputs"][0]["name"], "output");
    assert_eq!(object["input_bytes"], 48);
    assert_eq!(object["output_bytes"], 28);
}
