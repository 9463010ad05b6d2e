//! What only OpenVINO has: its library, its cache, its requests, its devices.

use super::onnx::{self, Dim, FLOAT, FLOAT16, INT8, Node, Tensor, UINT8};
use super::{TempFile, onnx_engines, options, shared};
use crate::conformance::ffi::Leaked;
use crate::{
    DType, Engine, EngineError, EngineOptions, LoadError, Precision, Regions, Submitted, Ticket, conformance, load,
    survey,
};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const NAME: &str = "openvino";

/// Says so and ends the test where OpenVINO is not installed.
macro_rules! needs_openvino {
    () => {
        if !onnx_engines().contains(&NAME) {
            return;
        }
    };
}

/// A folder that is removed at the end of the test.
struct TempFolder(PathBuf);

impl TempFolder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flumeway-openvino-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn cached(&self) -> EngineOptions {
        EngineOptions { cache_dir: Some(self.0.clone()), ..options() }
    }

    /// Compiled models in it.
    fn compiled(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.0.join(NAME)) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "compiled")).collect()
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // Nothing depends on the removal.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tensor(name: &'static str, dtype: u64, dims: &[u64]) -> Tensor {
    Tensor { name, dtype, dims: dims.iter().map(|&dim| Dim::N(dim)).collect() }
}

fn negation(name: &str) -> TempFile {
    let dims = || vec![Dim::Name("batch"), Dim::N(6)];
    let tensor = |name| Tensor { name, dtype: FLOAT, dims: dims() };
    TempFile::new(name, &onnx::model("Neg", &[tensor("x")], &[tensor("y")]))
}

/// One frame; the output area as it is after it.
fn infer(engine: &mut dyn Engine, input: &[u8]) -> Result<Vec<u8>, EngineError> {
    let mut lines = vec![0_u64; engine.specs().output_bytes().div_ceil(8)];
    let output = &mut zerocopy::IntoBytes::as_mut_bytes(lines.as_mut_slice())[..engine.specs().output_bytes()];
    engine.submit(Ticket(0), input, output)?;
    let finished = engine.poll().expect("a frame outside of lasting memory is computed inside submit");
    finished.result.map(|()| output.to_vec())
}

fn floats(values: &[f32]) -> &[u8] {
    zerocopy::IntoBytes::as_bytes(values)
}

/// A photograph's worth of numbers.
fn some_input(engine: &dyn Engine) -> Vec<f32> {
    (0..engine.specs().input_bytes() / 4).map(|i| (i % 251) as f32 / 125.5 - 1.0).collect()
}

fn no_runtime(root: &Path) -> String {
    let options = EngineOptions { runtime_dir: Some(root.to_owned()), ..EngineOptions::default() };
    let error = load(NAME, Some(Path::new("model.onnx")), &options).err().unwrap();
    assert!(matches!(error, LoadError::NoRuntime { .. }), "{error:?}");
    let found = survey(&options).into_iter().find(|found| found.engine == NAME).unwrap();
    assert!(!found.is_usable() && found.note == Some(error.to_string()), "{found:?}");
    error.to_string()
}

#[test]
fn a_library_that_is_missing_or_another_is_named() {
    let folder = TempFolder::new("libraries");
    let missing = no_runtime(&folder.0);
    assert!(missing.contains("libopenvino_c.so") && missing.contains("make engines"), "{missing}");
    assert!(missing.contains(&folder.0.join(NAME).display().to_string()), "{missing}");

    let library = folder.0.join(NAME).join("libopenvino_c.so");
    fs::create_dir(folder.0.join(NAME)).unwrap();
    fs::write(&library, b"no library at all").unwrap();
    let noise = no_runtime(&folder.0);
    assert!(noise.contains(&library.display().to_string()), "{noise}");

    // A library that every program here has, and that has none of the entry points.
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let other =
        maps.lines().filter_map(|line| line.split_whitespace().last()).find(|path| path.contains("/libgcc_s.so"));
    fs::remove_file(&library).unwrap();
    fs::copy(other.expect("the unwinder is a library"), &library).unwrap();
    let other = no_runtime(&folder.0);
    assert!(other.contains("another library or too old") && other.contains("ov_get_openvino_version"), "{other}");
}

#[test]
fn the_survey_has_version_library_and_devices() {
    needs_openvino!();
    let found = survey(&options()).into_iter().find(|found| found.engine == NAME).unwrap();
    assert!(found.version.unwrap().starts_with("20") && found.library.unwrap().exists());
    assert!(found.devices.contains(&"cpu".to_owned()), "{:?}", found.devices);
}

#[test]
fn element_types_lie_in_the_area_as_they_are() {
    needs_openvino!();
    for (number, dtype) in [(FLOAT, DType::F32), (FLOAT16, DType::F16), (UINT8, DType::U8), (INT8, DType::I8)] {
        let name = format!("max-{}.onnx", dtype.name());
        let inputs = [tensor("a", number, &[1, 37]), tensor("b", number, &[1, 37])];
        let model = TempFile::new(&name, &onnx::model("Max", &inputs, &[tensor("y", number, &[1, 37])]));
        let mut engine = load(NAME, Some(model.path()), &options()).unwrap();
        let specs = engine.specs().clone();
        assert!(specs.inputs().iter().chain(specs.outputs()).all(|spec| spec.dtype == dtype), "{specs:?}");
        conformance::run(|| load(NAME, Some(model.path()), &options()).unwrap());
        let element: &[u8] = match dtype {
            DType::F32 => &1.5_f32.to_ne_bytes(),
            DType::F16 => &0x3e00_u16.to_ne_bytes(),
            DType::U8 => &[200],
            DType::I8 => &[100],
        };
        let mut areas = crate::area::ScratchAreas::new(&specs);
        let mut input = areas.split().0.to_vec();
        for at in specs.input_range(1).unwrap().step_by(dtype.bytes()) {
            input[at..at + dtype.bytes()].copy_from_slice(element);
        }
        let mut scratch = crate::area::Scratch::new(input.len());
        scratch.get_mut().copy_from_slice(&input);
        let output = infer(&mut *engine, scratch.get()).unwrap();
        assert!(output.chunks(dtype.bytes()).all(|got| got == element), "{dtype:?}: {output:?}");
    }
}

#[test]
fn batches_and_the_caller_s_thread_conform() {
    needs_openvino!();
    let model = negation("batch.onnx");
    for options in [
        EngineOptions { max_batch: 8, ..options() },
        EngineOptions { max_in_flight: 1, ..options() },
        EngineOptions { threads: 2, max_in_flight: 1, max_batch: 3, ..options() },
    ] {
        conformance::run(|| {
            let engine = load(NAME, Some(model.path()), &options).unwrap();
            assert_eq!(
                engine.batch_max(),
                if options.max_in_flight == 1 { options.max_batch } else { engine.batch_max() }
            );
            engine
        });
        let engine = load(NAME, Some(model.path()), &options).unwrap();
        assert_eq!((engine.batch_max(), engine.describe().threads), (options.max_batch, options.threads));
    }
}

#[test]
fn batches_of_a_real_model_conform() {
    needs_openvino!();
    let Some(model) = shared("models/ultraface-rfb-320.onnx") else { return };
    let options = EngineOptions { max_batch: 4, ..options() };
    let engine = load(NAME, Some(&model), &options).unwrap();
    if engine.batch_max() == 1 {
        // Its batch is fixed to one frame, which the description says.
        assert!(engine.describe().note.contains("no batches"), "{}", engine.describe().note);
    }
    let Some(model) = shared("models/mobilenetv2-fp32.onnx") else { return };
    assert_eq!(load(NAME, Some(&model), &options).unwrap().batch_max(), 4);
    conformance::run(|| load(NAME, Some(&model), &options).unwrap());
}

#[test]
fn a_model_without_an_open_batch_says_so() {
    needs_openvino!();
    let model = onnx::model("Relu", &[tensor("x", FLOAT, &[1, 6])], &[tensor("y", FLOAT, &[1, 6])]);
    let model = TempFile::new("fixed.onnx", &model);
    let engine = load(NAME, Some(model.path()), &EngineOptions { max_batch: 4, ..options() }).unwrap();
    assert_eq!(engine.batch_max(), 1);
    assert!(engine.describe().note.contains("no batches"), "{}", engine.describe().note);
}

/// The sum of `x`, repeated to the shape that `size` gives: a shape to which `x` cannot be repeated is found out by running only.
fn failing_model() -> TempFile {
    let nodes = [
        Node { op: "Cast", inputs: &["size"], outputs: &["shape"], attributes: &[("to", 7)] },
        Node { op: "Expand", inputs: &["x", "shape"], outputs: &["repeated"], attributes: &[] },
        Node { op: "ReduceSum", inputs: &["repeated"], outputs: &["sum"], attributes: &[("keepdims", 0)] },
    ];
    let inputs = [tensor("x", FLOAT, &[1, 4]), tensor("size", FLOAT, &[2])];
    TempFile::new("failing.onnx", &onnx::graph(&nodes, &inputs, &[tensor("sum", FLOAT, &[])]))
}

#[test]
fn an_error_inside_the_engine_is_that_frame_s_alone() {
    needs_openvino!();
    let model = failing_model();
    for threads in [1, 2] {
        let mut engine = load(NAME, Some(model.path()), &EngineOptions { threads, ..options() }).unwrap();
        let input = |size: u8| {
            let mut input = [0.0_f32; 18];
            input[..4].copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
            input[16..].fill(size.into());
            input
        };
        for size in [4, 3, 3, 4, 5, 3, 3, 4] {
            let answer = infer(&mut *engine, floats(&input(size)));
            if size == 4 {
                assert_eq!(answer.unwrap(), 40.0_f32.to_ne_bytes());
            } else {
                assert!(matches!(&answer, Err(EngineError::Run(reason)) if reason.len() > 10), "{size}: {answer:?}");
            }
            assert_eq!(engine.in_flight(), 0);
        }
    }
}

#[test]
fn an_error_beside_the_caller_is_that_frame_s_alone() {
    needs_openvino!();
    let model = failing_model();
    let mut engine = load(NAME, Some(model.path()), &options()).unwrap();
    let (mut input, mut output) = (Leaked::new(72, 64), Leaked::new(4, 64));
    engine.attach(&Regions::new([input.cells(), input.cells()], output.cells())).unwrap();
    for size in [4_u8, 3, 3, 4, 5, 3, 3, 4] {
        input.bytes_mut(0..16).copy_from_slice(floats(&[1.0, 2.0, 3.0, 4.0]));
        input.bytes_mut(64..72).copy_from_slice(floats(&[size.into(), size.into()]));
        let submitted = engine.submit(Ticket(7), input.bytes(0..72), output.bytes_mut(0..4)).unwrap();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(submitted, if cores > 1 { Submitted::Pending } else { Submitted::Done });
        let finished = loop {
            if let Some(finished) = engine.poll() {
                break finished;
            }
            std::thread::yield_now();
        };
        assert_eq!((finished.ticket, engine.in_flight()), (Ticket(7), 0));
        if size == 4 {
            assert_eq!(output.bytes(0..4), 40.0_f32.to_ne_bytes());
        } else {
            assert!(
                matches!(&finished.result, Err(EngineError::Run(reason)) if reason.len() > 10),
                "{size}: {finished:?}"
            );
        }
    }
}

#[test]
fn an_engine_that_goes_waits_for_its_frames() {
    needs_openvino!();
    let Some(model) = shared("models/ultraface-rfb-320.onnx") else { return };
    let mut engine = load(NAME, Some(&model), &options()).unwrap();
    let (bytes, answer_bytes) = (engine.specs().input_bytes(), engine.specs().output_bytes());
    let (input, mut output) = (Leaked::new(bytes, 64), Leaked::new(answer_bytes, 64));
    engine.attach(&Regions::new([input.cells(), input.cells()], output.cells())).unwrap();
    for _ in 0..5 {
        engine.submit(Ticket(1), input.bytes(0..bytes), output.bytes_mut(0..answer_bytes)).unwrap();
        drop(engine);
        // Nobody writes to the output any more: what stands there stays.
        output.bytes_mut(0..answer_bytes).fill(7);
        engine = load(NAME, Some(&model), &options()).unwrap();
        assert!(output.bytes(0..answer_bytes).iter().all(|&byte| byte == 7));
        engine.attach(&Regions::new([input.cells(), input.cells()], output.cells())).unwrap();
    }
}

#[test]
fn devices_that_are_not_here_are_refused_by_name() {
    needs_openvino!();
    let model = negation("device.onnx");
    let with =
        |device: &str| load(NAME, Some(model.path()), &EngineOptions { device: Some(device.to_owned()), ..options() });
    let refused = with("gpu.7").err().unwrap();
    assert!(matches!(refused, LoadError::BadOptions { .. }), "{refused:?}");
    assert!(refused.to_string().contains("gpu.7") && refused.to_string().contains("cpu"), "{refused}");
    for device in ["cpu", "auto"] {
        let mut engine = with(device).unwrap();
        let output = infer(&mut *engine, floats(&[-1.0, 2.0, -3.0, 4.0, -5.0, 6.0])).unwrap();
        assert_eq!(output, floats(&[1.0, -2.0, 3.0, -4.0, 5.0, -6.0]), "{device}");
    }
}

#[test]
fn reduced_precision_is_said_and_used_where_the_processor_has_it() {
    needs_openvino!();
    let Some(model) = shared("models/mobilenetv2-fp32.onnx") else { return };
    let mut exact = load(NAME, Some(&model), &options()).unwrap();
    assert_eq!(exact.describe().precision, "f32");
    let mut reduced = load(NAME, Some(&model), &EngineOptions { precision: Precision::Reduced, ..options() }).unwrap();
    let input = some_input(&*exact);
    let same = infer(&mut *exact, floats(&input)) == infer(&mut *reduced, floats(&input));
    println!("reduced precision here: {}", reduced.describe().precision);
    assert_eq!(same, reduced.describe().precision == "f32", "{:?}", reduced.describe());
    let Some(quantised) = shared("models/mobilenetv2-int8-qdq.onnx") else { return };
    assert_eq!(load(NAME, Some(&quantised), &options()).unwrap().describe().precision, "int8 or f32");
}

#[test]
fn a_compiled_model_is_kept_and_answers_the_same() {
    needs_openvino!();
    let Some(model) = shared("models/mobilenetv2-int8-qdq.onnx") else { return };
    let folder = TempFolder::new("cache");
    let mut fresh = load(NAME, Some(&model), &options()).unwrap();
    let input = some_input(&*fresh);
    let expected = infer(&mut *fresh, floats(&input)).unwrap();
    for round in 0..3 {
        let mut engine = load(NAME, Some(&model), &folder.cached()).unwrap();
        assert_eq!(infer(&mut *engine, floats(&input)).unwrap(), expected, "round {round}");
        assert_eq!(engine.describe(), fresh.describe(), "round {round}");
        assert_eq!(folder.compiled().len(), 1, "round {round}");
    }
    conformance::run(|| load(NAME, Some(&model), &folder.cached()).unwrap());
    // Another precision, and another model, have places of their own.
    load(NAME, Some(&model), &EngineOptions { precision: Precision::Reduced, ..folder.cached() }).unwrap();
    assert_eq!(folder.compiled().len(), 2);
}

#[test]
fn a_damaged_cache_is_made_anew() {
    needs_openvino!();
    let Some(model) = shared("models/ultraface-rfb-320.onnx") else { return };
    let folder = TempFolder::new("damaged");
    let mut fresh = load(NAME, Some(&model), &folder.cached()).unwrap();
    let input = some_input(&*fresh);
    let expected = infer(&mut *fresh, floats(&input)).unwrap();
    let file = folder.compiled().remove(0);
    let whole = fs::read(&file).unwrap();
    for part in 0..6 {
        let at = whole.len() * part / 6;
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        for damaged in [&whole[..at], &flipped] {
            fs::write(&file, damaged).unwrap();
            let mut engine = load(NAME, Some(&model), &folder.cached()).unwrap();
            assert_eq!(infer(&mut *engine, floats(&input)).unwrap(), expected, "damaged at {at}");
            assert!(fs::read(&file).unwrap() != *damaged, "the file is written again, {at}");
        }
    }
}

/// Which child of this test program a process is, and what it is to do.
const CHILD: &str = "FLUMEWAY_TEST_OPENVINO_CHILD";

/// Runs `test` of this program in a process of its own, which does what [`CHILD`] says.
fn child(test: &str, task: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("tests::openvino::{test}"), "--nocapture"])
        .env(CHILD, task)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until the child says that it has begun.
fn wait_for_begin(child: &mut Child) {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("child begins")), "the child has ended before");
}

#[test]
fn a_process_killed_in_the_middle_of_a_run_leaves_nothing_broken() {
    use std::os::unix::process::ExitStatusExt;
    needs_openvino!();
    let Some(model) = shared("models/mobilenetv2-fp32.onnx") else { return };
    let mut engine = load(NAME, Some(&model), &options()).unwrap();
    let input = some_input(&*engine);
    if std::env::var_os(CHILD).is_some() {
        println!("child begins");
        loop {
            infer(&mut *engine, floats(&input)).unwrap();
        }
    }
    let expected = infer(&mut *engine, floats(&input)).unwrap();
    for round in 0..3 {
        let mut child = child("a_process_killed_in_the_middle_of_a_run_leaves_nothing_broken", "run");
        wait_for_begin(&mut child);
        // The child does nothing else than computing: it is in the middle of a run whenever it is killed.
        std::thread::sleep(Duration::from_millis(7 * round));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        let mut again = load(NAME, Some(&model), &options()).unwrap();
        assert_eq!(infer(&mut *again, floats(&input)).unwrap(), expected, "round {round}");
    }
}

#[test]
fn a_process_killed_in_the_middle_of_writing_the_cache_leaves_it_usable() {
    needs_openvino!();
    let Some(model) = shared("models/ultraface-rfb-320.onnx") else { return };
    if let Some(folder) = std::env::var_os(CHILD) {
        let options = EngineOptions { cache_dir: Some(PathBuf::from(&folder)), ..options() };
        println!("child begins");
        loop {
            load(NAME, Some(&model), &options).unwrap();
            fs::remove_dir_all(Path::new(&folder).join(NAME)).unwrap();
        }
    }
    let mut fresh = load(NAME, Some(&model), &options()).unwrap();
    let input = some_input(&*fresh);
    let expected = infer(&mut *fresh, floats(&input)).unwrap();
    let folder = TempFolder::new("killed");
    let mut unfinished = 0;
    for round in 0..12 {
        let name = "a_process_killed_in_the_middle_of_writing_the_cache_leaves_it_usable";
        let mut child = child(name, &folder.0.display().to_string());
        wait_for_begin(&mut child);
        // Killed as soon as a file appears, and in some rounds a little later: before, in, and after the writing of the checksum and the rename.
        let files = || fs::read_dir(folder.0.join(NAME)).map_or(0, Iterator::count);
        while files() == 0 {
            assert!(child.try_wait().unwrap().is_none(), "the child has ended");
            std::hint::spin_loop();
        }
        std::thread::sleep(Duration::from_micros(700 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        unfinished += usize::from(folder.compiled().is_empty());
        let mut engine = load(NAME, Some(&model), &folder.cached()).unwrap();
        assert_eq!(infer(&mut *engine, floats(&input)).unwrap(), expected, "round {round}");
        assert_eq!(folder.compiled().len(), 1, "round {round}");
        fs::remove_dir_all(folder.0.join(NAME)).unwrap();
    }
    println!("{unfinished} of 12 kills came before the file was whole");
}

/// OpenVINO's own format, as its exporter writes it: y = -x.
const NEGATION_XML: &str = r#"<?xml version="1.0"?>
<net name="negation" version="11">
  <layers>
    <layer id="0" name="x" type="Parameter" version="opset1">
      <data shape="1,6" element_type="f32"/>
      <output><port id="0" precision="FP32" names="x"><dim>1</dim><dim>6</dim></port></output>
    </layer>
    <layer id="1" name="y" type="Negative" version="opset1">
      <input><port id="0" precision="FP32"><dim>1</dim><dim>6</dim></port></input>
      <output><port id="1" precision="FP32" names="y"><dim>1</dim><dim>6</dim></port></output>
    </layer>
    <layer id="2" name="y/sink" type="Result" version="opset1">
      <input><port id="0" precision="FP32"><dim>1</dim><dim>6</dim></port></input>
    </layer>
  </layers>
  <edges>
    <edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>
    <edge from-layer="1" from-port="1" to-layer="2" to-port="0"/>
  </edges>
</net>
"#;

#[test]
fn openvino_s_own_format_is_read() {
    needs_openvino!();
    let folder = TempFolder::new("ir");
    let model = folder.0.join("negation.xml");
    fs::write(&model, NEGATION_XML).unwrap();
    let error = load(NAME, Some(&model), &options()).err().unwrap();
    assert!(matches!(&error, LoadError::MissingFile { path } if path.ends_with("negation.bin")), "{error:?}");
    fs::write(folder.0.join("negation.bin"), b"").unwrap();
    conformance::run(|| load(NAME, Some(&model), &options()).unwrap());
    let mut engine = load(NAME, Some(&model), &options()).unwrap();
    assert_eq!((engine.specs().inputs()[0].name.as_str(), engine.specs().outputs()[0].name.as_str()), ("x", "y"));
    assert_eq!(
        infer(&mut *engine, floats(&[-1.0, 2.0, 0.0, 4.0, -5.0, 6.0])).unwrap(),
        floats(&[1.0, -2.0, -0.0, -4.0, 5.0, -6.0])
    );
    fs::write(&model, &NEGATION_XML[..NEGATION_XML.len() / 2]).unwrap();
    assert!(matches!(load(NAME, Some(&model), &options()), Err(LoadError::CorruptModel { .. })));
}
