//! Arm NN: the conformance suite, the bundled network against rten, wrong models. What is not there is said aloud.

use super::tflite::{self, ADD, CUSTOM, FLOAT16, FLOAT32, INT8, INT64, RELU, Tensor, UINT8};
use super::{TempFile, child, options};
use crate::{DType, EngineOptions, LoadError, Ticket, conformance, load, survey};
use std::path::{Path, PathBuf};
use zerocopy::IntoBytes;

/// Whether Arm NN can be used here.
fn is_here() -> bool {
    let found = survey(&options()).into_iter().find(|found| found.engine == "armnn").expect("it has a name");
    if !found.is_usable() {
        let reason = found.note.unwrap_or_default();
        println!("SKIPPED: engine armnn: {reason}");
        assert!(std::env::var_os("FLUMEWAY_NO_SKIPS").is_none(), "engine armnn is missing here: {reason}");
        return false;
    }
    assert!(found.version.is_some() && found.library.is_some(), "{found:?}");
    true
}

fn bundled(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(file)
}

fn tensor(name: &'static str, dtype: u8, dims: &[i32]) -> Tensor {
    let quantised = matches!(dtype, UINT8 | INT8).then_some((0.5, 3));
    Tensor { name, dtype, dims: dims.to_vec(), quantised }
}

/// The same tensor in and out of `operator`.
fn same(file: &str, operator: (u32, u8), inputs: &[&'static str], dtype: u8, dims: &[i32]) -> TempFile {
    let inputs: Vec<_> = inputs.iter().map(|name| tensor(name, dtype, dims)).collect();
    TempFile::new(file, &tflite::model(operator, &inputs, &[tensor("y", dtype, dims)]))
}

fn load_error(path: &Path) -> LoadError {
    load("armnn", Some(path), &options()).err().expect("the model is wrong")
}

#[test]
fn it_conforms_on_small_models_of_every_element_type() {
    if !is_here() {
        return;
    }
    for (file, dtype, expected) in [
        ("f32.tflite", FLOAT32, DType::F32),
        ("f16.tflite", FLOAT16, DType::F16),
        ("u8.tflite", UINT8, DType::U8),
        ("i8.tflite", INT8, DType::I8),
    ] {
        let model = same(file, RELU, &["x"], dtype, &[1, 3, 5, 2]);
        let engine = match load("armnn", Some(model.path()), &options()) {
            Ok(engine) => engine,
            // The parser of 20.08 knows no half floats, and says so.
            Err(LoadError::UnsupportedOperator { reason, .. }) if dtype == FLOAT16 => {
                assert!(reason.contains("FLOAT16"), "{reason}");
                continue;
            }
            Err(error) => panic!("{file}: {error}"),
        };
        assert_eq!((engine.specs().inputs()[0].dtype, engine.specs().outputs()[0].dtype), (expected, expected));
        conformance::run(|| load("armnn", Some(model.path()), &options()).unwrap());
    }
    let model = same("sum.tflite", ADD, &["a", "b"], FLOAT32, &[1, 15]);
    conformance::run(|| load("armnn", Some(model.path()), &options()).unwrap());
}

#[test]
fn it_conforms_on_the_bundled_network() {
    if is_here() {
        conformance::run(|| load("armnn", Some(&bundled("roadside.tflite")), &options()).unwrap());
    }
}

#[test]
fn the_bundled_network_answers_as_in_rten() {
    if !is_here() {
        return;
    }
    let [mut armnn, mut rten] = [("armnn", "roadside.tflite"), ("rten", "roadside.onnx")]
        .map(|(engine, file)| load(engine, Some(&bundled(file)), &options()).unwrap());
    assert_eq!(
        (armnn.specs().inputs()[0].shape.as_slice(), armnn.specs().inputs()[0].name.as_str()),
        (&[1, 96, 96, 3][..], "image")
    );
    assert_eq!(
        (rten.specs().inputs()[0].shape.as_slice(), rten.specs().outputs()),
        (&[1, 3, 96, 96][..], armnn.specs().outputs())
    );
    for seed in 0..4_usize {
        // Something with edges and slopes in every colour, as pictures have them.
        let value = |channel: usize, row: usize, column: usize| {
            let wave = ((row * (seed + 2) + column * (channel + 1)) % 61) as f32 / 30.5 - 1.0;
            if (row / 16 + column / 24 + seed).is_multiple_of(2) { wave } else { -0.3 * channel as f32 }
        };
        let (mut nchw, mut nhwc) = (vec![0.0_f32; 3 * 96 * 96], vec![0.0_f32; 3 * 96 * 96]);
        for (channel, row, column) in (0..3 * 96 * 96).map(|i| (i / (96 * 96), i / 96 % 96, i % 96)) {
            nchw[(channel * 96 + row) * 96 + column] = value(channel, row, column);
            nhwc[(row * 96 + column) * 3 + channel] = value(channel, row, column);
        }
        let answers = [(&mut armnn, &nhwc), (&mut rten, &nchw)].map(|(engine, input)| {
            let mut output = [0.0_f32; 5];
            engine.submit(Ticket(1), input.as_bytes(), output.as_mut_bytes()).unwrap();
            assert_eq!(engine.poll().unwrap().result, Ok(()));
            output
        });
        println!("seed {seed}: {answers:?}");
        let scale = answers[1].iter().fold(1.0_f32, |most, value| most.max(value.abs()));
        for (armnn, rten) in answers[0].iter().zip(&answers[1]) {
            assert!((armnn - rten).abs() < 1e-4 * scale, "{answers:?}");
        }
    }
}

#[test]
fn what_runs_is_described() {
    if !is_here() {
        return;
    }
    let wanted = EngineOptions { device: Some("cpuref".to_owned()), threads: 2, ..options() };
    let description = load("armnn", Some(&bundled("roadside.tflite")), &wanted).unwrap().describe();
    assert_eq!((description.device.as_str(), description.threads), ("cpuref", 1), "{description:?}");
    assert!(description.note.contains("in place"), "the reference backend takes areas as they are: {description:?}");
    let elsewhere = EngineOptions { device: Some("npu".to_owned()), ..options() };
    let refused = load("armnn", Some(&bundled("roadside.tflite")), &elsewhere).err().unwrap();
    assert!(matches!(refused, LoadError::BadOptions { .. }) && refused.to_string().contains("cpuref"), "{refused}");
}

#[test]
fn wrong_models_are_refused_with_their_cause() {
    if !is_here() {
        return;
    }
    assert!(matches!(load_error(Path::new("/nonexistent/model.tflite")), LoadError::MissingFile { .. }));
    assert!(matches!(load_error(Path::new("/tmp")), LoadError::Unreadable { .. }));
    assert!(matches!(load("armnn", None, &options()), Err(LoadError::NoModel { .. })));
    let onnx = load_error(&bundled("roadside.onnx"));
    assert!(matches!(onnx, LoadError::CorruptModel { .. }) && onnx.to_string().contains("reads .tflite"), "{onnx}");

    let whole = std::fs::read(bundled("roadside.tflite")).unwrap();
    for (file, bytes) in
        [("empty.tflite", &whole[..0]), ("half.tflite", &whole[..whole.len() / 2]), ("noise.tflite", &[0xff; 300])]
    {
        let error = load_error(TempFile::new(file, bytes).path());
        assert!(matches!(error, LoadError::CorruptModel { engine: "armnn", .. }), "{file}: {error:?}");
    }
    let custom = load_error(same("custom.tflite", CUSTOM, &["x"], FLOAT32, &[1, 4]).path());
    assert!(matches!(custom, LoadError::UnsupportedOperator { .. }), "{custom:?}");
    assert!(custom.to_string().contains("CUSTOM"), "{custom}");
    let dtype = load_error(same("i64.tflite", RELU, &["x"], INT64, &[1, 4]).path());
    println!("i64: {dtype}");
    assert!(!matches!(dtype, LoadError::CorruptModel { .. }), "{dtype:?}");
    let integers = load_error(same("i32.tflite", RELU, &["x"], tflite::INT32, &[1, 4]).path());
    assert!(!matches!(integers, LoadError::CorruptModel { .. }), "{integers:?}");
    let batch = load_error(same("batch.tflite", RELU, &["x"], FLOAT32, &[8, 4, 4, 3]).path());
    assert!(matches!(batch, LoadError::UnsupportedShape { .. }) && batch.to_string().contains("batch of 8"), "{batch}");
}

/// SIGKILL while it computes, again and again; a new process loads the same model and answers.
#[test]
fn a_process_that_is_killed_while_it_computes_leaves_nothing_behind() {
    if !is_here() {
        return;
    }
    let load = || load("armnn", Some(&bundled("roadside.tflite")), &options()).unwrap();
    child::killed_while_computing(
        "tests::armnn::a_process_that_is_killed_while_it_computes_leaves_nothing_behind",
        Path::new("/"),
        load,
    );
    load().warm_up().unwrap();
}
