//! TensorRT: what is missing is named; and, with a driver and a shim that compute in the processor's memory, all that lies between them. The last test
//! runs the real thing where there is one, and says aloud where not.

use super::folder::TempFolder;
use super::onnx::{self, Dim, FLOAT, Tensor};
use super::{TempFile, child, options, shared};
use crate::conformance::ffi::Leaked;
use crate::{
    Engine, EngineError, EngineOptions, Frame, LoadError, Regions, Submitted, Ticket, conformance, load, survey,
};
use std::path::Path;
use zerocopy::{FromBytes, IntoBytes};

const CUDA: &str = "libcuda.so.1";
const SHIM: &str = "libflumeway_tensorrt.so.10";
const WIDTH: usize = 10;

fn model(name: &str) -> TempFile {
    let tensor = |name| Tensor { name, dtype: FLOAT, dims: vec![Dim::Name("batch"), Dim::N(WIDTH as u64)] };
    TempFile::new(name, &onnx::model("Relu", &[tensor("x")], &[tensor("y")]))
}

/// A folder with driver, shim and the program that tries it.
fn fake(name: &str, cuda: &[&str], shim: &[&str]) -> TempFolder {
    let folder = TempFolder::new(name);
    folder.compile("fake_cuda.c", "tensorrt", CUDA, cuda);
    folder.compile("fake_tensorrt.c", "tensorrt", SHIM, shim);
    folder.compile_program("try_tensorrt.c", "tensorrt", "try_tensorrt");
    folder
}

fn missing(folder: &TempFolder, model: &Path) -> String {
    let error = load("tensorrt", Some(model), &folder.options()).err().expect("something is missing");
    assert!(matches!(error, LoadError::NoRuntime { engine: "tensorrt", .. }), "{error:?}");
    let found = survey(&folder.options()).into_iter().find(|found| found.engine == "tensorrt").unwrap();
    assert!(!found.is_usable() && found.note.is_some(), "{found:?}");
    error.to_string()
}

#[test]
fn what_is_missing_is_named_from_the_driver_up() {
    let model = model("missing.onnx");
    let folder = TempFolder::new("trt-no-driver");
    std::fs::write(folder.library("tensorrt", CUDA), b"this is no library").unwrap();
    let message = missing(&folder, model.path());
    assert!(message.contains("no NVIDIA driver") && message.contains(CUDA), "{message}");

    let folder = TempFolder::new("trt-no-kernel");
    folder.compile("fake_cuda.c", "tensorrt", CUDA, &["-DFAKE_INIT=100"]);
    let message = missing(&folder, model.path());
    assert!(message.contains("cuInit: CUDA error 100 (no device)"), "{message}");

    let folder = TempFolder::new("trt-no-device");
    folder.compile("fake_cuda.c", "tensorrt", CUDA, &["-DFAKE_DEVICES=0"]);
    let message = missing(&folder, model.path());
    assert!(message.contains("cuDeviceGetCount says 0"), "{message}");

    let folder = TempFolder::new("trt-no-shim");
    folder.compile("fake_cuda.c", "tensorrt", CUDA, &[]);
    let message = missing(&folder, model.path());
    assert!(message.contains("libflumeway_tensorrt.so is in none of") && message.contains("make engines"), "{message}");
}

#[test]
fn a_library_that_crashes_does_so_in_a_process_of_its_own() {
    let model = model("crash.onnx");
    let folder = fake("trt-crash", &[], &["-DFAKE_CRASH"]);
    let message = missing(&folder, model.path());
    assert!(message.contains("crashed in a trial process") && message.contains("signal: 6"), "{message}");
    std::fs::remove_file(folder.library("tensorrt", "try_tensorrt")).unwrap();
    let message = missing(&folder, model.path());
    assert!(message.contains("try_tensorrt"), "{message}");
}

/// The real shims as `make engines` compiled them, where there is no libnvinfer that works.
#[test]
fn the_real_shims_name_the_library_they_want() {
    let found = survey(&options()).into_iter().find(|found| found.engine == "tensorrt").unwrap();
    if found.is_usable() {
        println!("TensorRT is here, {found:?}: there is no library to miss");
        return;
    }
    let Some(engines) = options().runtime_dir else { panic!("these tests lie in a target folder") };
    let model = model("nvinfer.onnx");
    let mut tried = 0;
    for major in ["10", "11"] {
        let file = format!("libflumeway_tensorrt.so.{major}");
        let real = engines.join("tensorrt").join(&file);
        if !real.exists() {
            println!("SKIPPED: {} missing: make engines", real.display());
            assert!(std::env::var_os("FLUMEWAY_NO_SKIPS").is_none(), "{} is missing", real.display());
            continue;
        }
        let folder = fake(&format!("trt-real-{major}"), &[], &[]);
        std::fs::remove_file(folder.library("tensorrt", SHIM)).unwrap();
        std::fs::copy(&real, folder.library("tensorrt", &file)).unwrap();
        let message = missing(&folder, model.path());
        assert!(message.contains(&format!("libnvinfer.so.{major}")) || message.contains("crashed"), "{message}");
        tried += 1;
    }
    println!("{tried} shims tried");
}

#[test]
fn it_conforms_on_a_device_that_is_none() {
    let model = model("fake.onnx");
    for (name, cuda, shim, batch) in [
        ("trt-plain", &[][..], &[][..], 1),
        ("trt-batch", &[], &[], 8),
        ("trt-no-graphs", &["-DFAKE_CAPTURE=900"], &[], 3),
        ("trt-integrated", &["-DFAKE_INTEGRATED=1"], &[], 1),
        ("trt-integers", &[], &["-DFAKE_INTEGERS"], 4),
    ] {
        let folder = fake(name, cuda, shim);
        let options = EngineOptions { max_batch: batch, ..folder.options() };
        let engine = load("tensorrt", Some(model.path()), &options).unwrap();
        let description = engine.describe();
        println!("{name}: {description:?}");
        assert_eq!(
            (engine.batch_max(), description.version.as_str(), description.device.as_str()),
            (batch, "10.16.1", "Fake 0")
        );
        assert_eq!(description.note.contains("no CUDA graphs (cuStreamBeginCapture"), !cuda.is_empty() && batch == 3);
        drop(engine);
        conformance::run(|| load("tensorrt", Some(model.path()), &options).unwrap());
    }
}

/// Areas in memory that lasts, each at a multiple of `step`.
struct Arena {
    inputs: Leaked,
    outputs: Leaked,
    step: usize,
}

impl Arena {
    fn new(frames: usize, step: usize) -> Self {
        let [inputs, outputs] = [0; 2].map(|_| Leaked::new(frames * step, step));
        Self { inputs, outputs, step }
    }

    fn regions(&self) -> Regions {
        Regions::new([self.inputs.cells(), &[]], self.outputs.cells())
    }

    fn submit(&mut self, engine: &mut dyn Engine, place: usize, x: f32) -> Submitted {
        let range = place * self.step..place * self.step + WIDTH * 4;
        self.inputs.bytes_mut(range.clone()).copy_from_slice([x; WIDTH].as_bytes());
        let ticket = Ticket(place as u64);
        engine.submit(ticket, self.inputs.bytes(range.clone()), self.outputs.bytes_mut(range)).unwrap()
    }

    fn answer(&self, place: usize) -> Vec<f32> {
        let bytes = self.outputs.bytes(place * self.step..place * self.step + WIDTH * 4);
        <[f32]>::ref_from_bytes(bytes).unwrap().to_vec()
    }
}

fn wait(engine: &mut dyn Engine) -> (Ticket, Result<(), EngineError>) {
    loop {
        if let Some(finished) = engine.poll() {
            return (finished.ticket, finished.result);
        }
    }
}

#[test]
fn frames_in_the_arena_are_under_way_together() {
    let model = model("arena.onnx");
    for (name, cuda, memory) in
        [("trt-arena", &[][..], "one DMA each way"), ("trt-shared", &["-DFAKE_INTEGRATED=1"], "in place")]
    {
        let folder = fake(name, cuda, &[]);
        let mut engine = load("tensorrt", Some(model.path()), &folder.options()).unwrap();
        let mut arena = Arena::new(4, 256);
        engine.attach(&arena.regions()).unwrap();
        assert!(engine.describe().note.contains(memory), "{:?}", engine.describe());
        for place in 0..4 {
            assert_eq!(arena.submit(&mut *engine, place, place as f32), Submitted::Pending, "{name}");
        }
        assert!(engine.poll().is_none() && engine.in_flight() == 4, "nothing is done yet");
        for place in 0..4 {
            assert_eq!(wait(&mut *engine), (Ticket(place), Ok(())));
            assert_eq!(arena.answer(place as usize), [2.0 * place as f32 + 1.0; WIDTH], "{name}");
        }
        // What is under way when the engine goes is waited for: the fake driver aborts if not.
        arena.submit(&mut *engine, 1, 5.0);
        drop(engine);
        assert_eq!(arena.answer(1), [11.0; WIDTH]);
    }
}

#[test]
fn a_run_that_fails_comes_back_as_an_error_and_the_next_one_runs() {
    let (folder, model) = (fake("trt-error", &[], &[]), model("error.onnx"));
    let mut engine = load("tensorrt", Some(model.path()), &folder.options()).unwrap();
    let mut arena = Arena::new(2, 256);
    for attached in [false, true] {
        if attached {
            engine.attach(&arena.regions()).unwrap();
        }
        arena.submit(&mut *engine, 0, -2000.0);
        arena.submit(&mut *engine, 1, 3.0);
        let (ticket, result) = wait(&mut *engine);
        let message = result.unwrap_err().to_string();
        assert!(ticket == Ticket(0) && message.contains("CUDA error 700"), "{message}");
        assert_eq!(wait(&mut *engine), (Ticket(1), Ok(())));
        assert_eq!(arena.answer(1), [7.0; WIDTH]);
    }
}

#[test]
fn memory_that_the_device_refuses_is_copied() {
    let (folder, model) = (fake("trt-refuses", &["-DFAKE_REGISTER=1"], &[]), model("refuses.onnx"));
    let mut engine = load("tensorrt", Some(model.path()), &folder.options()).unwrap();
    let mut arena = Arena::new(1, 64);
    let refused = engine.attach(&arena.regions());
    assert!(
        matches!(&refused, Err(EngineError::Attach(reason)) if reason.contains("cuMemHostRegister")),
        "{refused:?}"
    );
    assert!(engine.describe().note.contains("copied by the driver"), "{:?}", engine.describe());
    arena.submit(&mut *engine, 0, 4.0);
    assert_eq!(wait(&mut *engine), (Ticket(0), Ok(())));
    assert_eq!(arena.answer(0), [9.0; WIDTH]);
}

#[test]
fn more_runs_than_slots_wait_for_the_oldest() {
    let (folder, model) = (fake("trt-slots", &[], &[]), model("slots.onnx"));
    let options = EngineOptions { max_batch: 6, max_in_flight: 2, ..folder.options() };
    let mut engine = load("tensorrt", Some(model.path()), &options).unwrap();
    assert_eq!(engine.describe().in_flight_max, 6);
    let mut arena = Arena::new(6, 64);
    engine.attach(&arena.regions()).unwrap();
    for place in 0..6 {
        arena.submit(&mut *engine, place, place as f32);
    }
    let (input, mut output) = ([0.0_f32; WIDTH], [0.0_f32; WIDTH]);
    let frame = Frame { ticket: Ticket(9), input: input.as_bytes(), output: output.as_mut_bytes() };
    assert_eq!(engine.submit_batch(&mut [frame]), Err(EngineError::Busy { in_flight: 6 }));
    for place in 0..6 {
        assert_eq!(wait(&mut *engine), (Ticket(place), Ok(())));
        assert_eq!(arena.answer(place as usize), [2.0 * place as f32 + 1.0; WIDTH]);
    }
}

#[test]
fn plans_are_kept_and_damaged_ones_made_anew() {
    let (folder, model) = (fake("trt-cache", &[], &[]), model("cache.onnx"));
    let cache = folder.library("cache", "plans");
    let options = EngineOptions { cache_dir: Some(cache.clone()), ..folder.options() };
    let note = |options: &EngineOptions| load("tensorrt", Some(model.path()), options).unwrap().describe().note;
    assert!(note(&options).contains("plan built and kept"));
    assert!(note(&options).contains("plan from cache_dir"));
    let batched = EngineOptions { max_batch: 4, ..options.clone() };
    assert!(note(&batched).contains("plan built and kept"), "a plan for other sizes is another one");
    assert!(note(&batched).contains("plan from cache_dir"));
    for entry in std::fs::read_dir(&cache).unwrap() {
        let path = entry.unwrap().path();
        let half = std::fs::read(&path).unwrap();
        std::fs::write(&path, &half[..half.len() / 2]).unwrap();
    }
    assert!(note(&options).contains("plan built and kept"), "half a plan is none");
    assert!(note(&options).contains("plan from cache_dir"));
    let nowhere = EngineOptions { cache_dir: Some("/proc/nowhere".into()), ..options };
    assert!(note(&nowhere).contains("plan built and not kept (cache_dir cannot be written"));
}

#[test]
fn a_process_that_is_killed_while_it_computes_leaves_plans_that_load() {
    let own = child::folder_of_parent().is_none().then(|| fake("trt-killed", &[], &[]));
    let root = own.as_ref().and_then(|own| own.options().runtime_dir).or_else(child::folder_of_parent).unwrap();
    let path = root.join("model.onnx");
    if own.is_some() {
        std::fs::copy(model("killed.onnx").path(), &path).unwrap();
    }
    let options = EngineOptions {
        cache_dir: Some(root.join("plans")),
        runtime_dir: Some(root.clone()),
        ..EngineOptions::default()
    };
    let load = || load("tensorrt", Some(&path), &options).unwrap();
    let test = "tests::tensorrt::a_process_that_is_killed_while_it_computes_leaves_plans_that_load";
    child::killed_while_computing(test, &root, load);
    let mut engine = load();
    assert!(engine.describe().note.contains("plan from cache_dir"), "{:?}", engine.describe());
    engine.warm_up().unwrap();
}

#[test]
fn what_the_parser_refuses_is_an_unsupported_operator() {
    let (folder, model) = (fake("trt-parser", &[], &[]), model("refused.onnx"));
    let error = load("tensorrt", Some(model.path()), &folder.options()).err().unwrap();
    assert!(
        matches!(error, LoadError::UnsupportedOperator { .. }) && error.to_string().contains("FluxCompensate"),
        "{error}"
    );
    let wide = EngineOptions { device: Some("cuda:7".to_owned()), ..folder.options() };
    let error = load("tensorrt", Some(model.path()), &wide).err().unwrap();
    assert!(matches!(error, LoadError::BadOptions { .. }) && error.to_string().contains("cuda:0"), "{error}");
}

/// With a GPU, its driver and TensorRT; `make test-gpu` runs it there. The other tests over all engines then include TensorRT by themselves.
#[test]
fn it_conforms_on_a_real_device() {
    let found = survey(&options()).into_iter().find(|found| found.engine == "tensorrt").unwrap();
    if !found.is_usable() {
        let reason = found.note.unwrap_or_default();
        println!("needs device: {reason}");
        assert!(
            std::env::var_os("FLUMEWAY_DEVICE_TESTS").is_none(),
            "TensorRT is wanted here and cannot be used: {reason}"
        );
        return;
    }
    let folder = TempFolder::new("trt-real-cache");
    for name in ["mobilenetv2-fp32", "mobilenetv2-int8-qdq", "ultraface-rfb-320"] {
        let Some(model) = shared(&format!("models/{name}.onnx")) else { return };
        let cache_dir = Some(folder.library("cache", "plans"));
        let options = EngineOptions { cache_dir, max_batch: 4, ..options() };
        println!("{name}: {:?}", load("tensorrt", Some(&model), &options).unwrap().describe());
        conformance::run(|| load("tensorrt", Some(&model), &options).unwrap());
    }
}
