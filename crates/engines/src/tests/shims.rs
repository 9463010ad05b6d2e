//! Shims that are missing, damaged, or of another version; and, with one that computes nothing, what comes back through the C interface.

use super::TempFile;
use super::folder::TempFolder;
use super::tflite::{self, FLOAT32, RELU, Tensor};
use crate::{Engine, EngineError, EngineOptions, LoadError, Ticket, load, survey};
use zerocopy::IntoBytes;

const SHIM: &str = "libflumeway_armnn.so";

fn model(name: &str) -> TempFile {
    let tensor = |name| Tensor { name, dtype: FLOAT32, dims: vec![1, 4], quantised: None };
    TempFile::new(name, &tflite::model(RELU, &[tensor("x")], &[tensor("y")]))
}

fn refused(folder: &TempFolder, model: &TempFile) -> String {
    let error = load("armnn", Some(model.path()), &folder.options()).err().expect("there is no usable shim");
    assert!(matches!(error, LoadError::NoRuntime { engine: "armnn", .. }), "{error:?}");
    let found = survey(&folder.options()).into_iter().find(|found| found.engine == "armnn").unwrap();
    assert!(!found.is_usable() && found.note.is_some(), "{found:?}");
    error.to_string()
}

#[test]
fn a_shim_that_cannot_be_used_is_named_with_its_remedy() {
    let (folder, model) = (TempFolder::new("bad-shims"), model("bad-shims.tflite"));
    let shim = folder.library("armnn", SHIM);
    std::fs::write(&shim, b"this is no library").unwrap();
    let message = refused(&folder, &model);
    assert!(message.contains(SHIM) && message.contains("make engines"), "{message}");

    folder.compile("fake_armnn.c", "armnn", SHIM, &["-DFAKE_IS_EMPTY"]);
    let message = refused(&folder, &model);
    assert!(message.contains("no shim of Flumeway") && message.contains("flumeway_armnn_abi"), "{message}");
}

/// Each in a folder of its own: a library once opened stays as it was.
#[test]
fn a_shim_of_another_version_or_without_a_function_is_refused() {
    let (folder, model) = (TempFolder::new("old-shim"), model("old-shim.tflite"));
    folder.compile("fake_armnn.c", "armnn", SHIM, &["-DFAKE_ABI=77"]);
    let message = refused(&folder, &model);
    assert!(message.contains("version 77") && message.contains("make engines"), "{message}");

    let folder = TempFolder::new("short-shim");
    folder.compile("fake_armnn.c", "armnn", SHIM, &["-DFAKE_LACKS_RUN"]);
    let message = refused(&folder, &model);
    assert!(message.contains("flumeway_armnn_run"), "{message}");
}

#[test]
fn a_shim_that_describes_what_cannot_be_is_not_believed() {
    let (folder, model) = (TempFolder::new("lying-shim"), model("lying-shim.tflite"));
    folder.compile("fake_armnn.c", "armnn", SHIM, &["-DFAKE_RANK=9"]);
    let options = EngineOptions { threads: 3, ..folder.options() };
    let error = load("armnn", Some(model.path()), &options).err().unwrap();
    assert!(matches!(error, LoadError::Runtime { .. }) && error.to_string().contains("tensor 0"), "{error}");
}

#[test]
fn errors_inside_come_back_with_the_ticket_and_integers_become_f32() {
    let (folder, model) = (TempFolder::new("fake-shim"), model("fake-shim.tflite"));
    folder.compile("fake_armnn.c", "armnn", SHIM, &[]);
    let options = EngineOptions { threads: 3, ..folder.options() };
    let mut engine = load("armnn", Some(model.path()), &options).unwrap();
    let run = |engine: &mut dyn Engine, ticket, input: [f32; 4]| {
        let mut output = [0.0_f32; 4];
        engine.submit(Ticket(ticket), input.as_bytes(), output.as_mut_bytes()).unwrap();
        let finished = engine.poll().unwrap();
        assert_eq!(finished.ticket, Ticket(ticket));
        finished.result.map(|()| output)
    };
    assert_eq!(run(&mut *engine, 1, [1.0, 2.0, 3.0, 4.0]), Ok([2.0, 3.0, 4.0, 5.0]));
    let failed = Err(EngineError::Run("the first number is negative".to_owned()));
    assert_eq!(run(&mut *engine, 2, [-1.0, 2.0, 3.0, 4.0]), failed);
    assert_eq!(run(&mut *engine, 3, [9.0, 2.0, 3.0, 4.0]), Ok([10.0, 3.0, 4.0, 5.0]), "and it goes on");
    let description = engine.describe();
    assert_eq!((description.device.as_str(), description.threads, description.version.as_str()), ("cpuacc", 3, "fake"));
}
