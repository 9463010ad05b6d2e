//! What is particular to ONNX Runtime; the suite, the reference answers and the wrong models are those of all engines.

use super::onnx::{self, BOOL, Dim, FLOAT, FLOAT16, INT8, INT64, Tensor, UINT8};
use super::{TempFile, onnx_engines, options, shared};
use crate::conformance::{self, Leaked};
use crate::{Engine, EngineError, EngineOptions, LoadError, Regions, Ticket, load, survey};
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use zerocopy::IntoBytes;

const NAME: &str = "onnxruntime";

/// Whether it is here; if not, that has been said.
fn is_here() -> bool {
    onnx_engines().contains(&NAME)
}

fn open(model: &Path, options: &EngineOptions) -> Box<dyn Engine> {
    load(NAME, Some(model), options).unwrap()
}

fn tensor(name: &'static str, dtype: u64, dims: Vec<Dim>) -> Tensor {
    Tensor { name, dtype, dims }
}

/// One operator on `[batch, 3, 5]`.
fn operator(op: &str, dtype: u64, result: u64) -> TempFile {
    let dims = || vec![Dim::Name("batch"), Dim::N(3), Dim::N(5)];
    let model = onnx::model(op, &[tensor("x", dtype, dims())], &[tensor("y", result, dims())]);
    TempFile::new(&format!("ort-{op}-{dtype}.onnx"), &model)
}

/// The model that comes with the repository.
fn roadside() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/roadside.onnx")
}

/// One frame.
fn run(engine: &mut dyn Engine, input: &[u8]) -> Result<Vec<f32>, EngineError> {
    let mut output = vec![0.0_f32; engine.specs().output_bytes() / 4];
    engine.submit(Ticket(1), input, output.as_mut_bytes())?;
    engine.poll().unwrap().result.map(|()| output)
}

#[test]
fn the_library_says_what_it_is() {
    if !is_here() {
        return;
    }
    let found = survey(&options()).into_iter().find(|found| found.engine == NAME).unwrap();
    assert!(found.version.as_deref().is_some_and(|version| version.starts_with("1.")), "{found:?}");
    assert!(found.library.as_deref().is_some_and(Path::is_file), "{found:?}");
    assert!(found.devices.contains(&"cpu".to_owned()), "{found:?}");
    let described = open(&roadside(), &options()).describe();
    assert_eq!((described.engine, described.version), (NAME, found.version.unwrap()));
    assert_eq!((described.device.as_str(), described.precision, described.threads), ("cpu", "f32", 1));
}

#[test]
fn tensors_of_every_type_are_taken_and_given() {
    if !is_here() {
        return;
    }
    for dtype in [FLOAT, FLOAT16, UINT8, INT8] {
        // Reverses the order of the dimensions.
        let dims = |sizes: [u64; 3]| sizes.map(Dim::N).into();
        let (x, y) = (tensor("x", dtype, dims([1, 3, 5])), tensor("y", dtype, dims([5, 3, 1])));
        let model = TempFile::new(&format!("ort-types-{dtype}.onnx"), &onnx::model("Transpose", &[x], &[y]));
        conformance::run(|| open(model.path(), &options()));
        let mut engine = open(model.path(), &options());
        let bytes = engine.specs().inputs()[0].dtype.bytes();
        assert_eq!(engine.specs().inputs()[0].dtype, engine.specs().outputs()[0].dtype);
        // Aligned as f32: submit asks for it.
        let input: Vec<f32> = (0..=15 * bytes / 4).map(|i| f32::from_bits(0x3c01_3c02 + i as u32)).collect();
        let (input, mut output) = (&input.as_bytes()[..15 * bytes], vec![0.0_f32; 16]);
        engine.submit(Ticket(1), input, &mut output.as_mut_bytes()[..15 * bytes]).unwrap();
        assert_eq!(engine.poll().unwrap().result, Ok(()));
        for (i, element) in input.chunks_exact(bytes).enumerate() {
            let at = (i % 5 * 3 + i / 5) * bytes;
            assert_eq!(element, &output.as_bytes()[at..at + bytes], "type {dtype} element {i}");
        }
    }
}

/// Neither is computed by a kernel that writes where it is told: one is the input itself, the other is settled when the model loads.
#[test]
fn an_output_that_nothing_computes_is_written_all_the_same() {
    if !is_here() {
        return;
    }
    let row = |name, dtype| tensor(name, dtype, vec![Dim::N(1), Dim::N(40)]);
    let same = onnx::model("Identity", &[row("x", FLOAT)], &[row("y", FLOAT)]);
    let same = TempFile::new("ort-same.onnx", &same);
    conformance::run(|| open(same.path(), &options()));
    let shape = onnx::model("Shape", &[row("x", FLOAT)], &[tensor("y", INT64, vec![Dim::N(2)])]);
    let shape = TempFile::new("ort-shape.onnx", &shape);
    let mut engine = open(shape.path(), &options());
    for _ in 0..2 {
        assert_eq!(run(&mut *engine, [7.0_f32; 40].as_bytes()), Ok(vec![1.0, 40.0]));
    }
}

#[test]
fn a_model_is_read_through_a_descriptor() {
    if !is_here() {
        return;
    }
    let file = std::fs::File::open(roadside()).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let (mut named, mut opened) = (open(&roadside(), &options()), open(Path::new(&path), &options()));
    let input = vec![0.25_f32; named.specs().input_bytes() / 4];
    assert_eq!(run(&mut *opened, input.as_bytes()), run(&mut *named, input.as_bytes()));
}

#[test]
fn truth_values_become_f32() {
    if !is_here() {
        return;
    }
    let model = operator("IsNaN", FLOAT, BOOL);
    let mut engine = open(model.path(), &EngineOptions { max_batch: 3, ..options() });
    let mut input = [1.0_f32; 15];
    input[4] = f32::NAN;
    let mut expected = [0.0; 15];
    expected[4] = 1.0;
    assert_eq!(run(&mut *engine, input.as_bytes()), Ok(expected.to_vec()));
    let mut outputs = [[7.0_f32; 15]; 2];
    let [first, second] = &mut outputs;
    let clean = [2.0_f32; 15];
    let frame = |ticket, input: &'static [u8], output| crate::Frame { ticket: Ticket(ticket), input, output };
    let (clean, input) = (clean.to_vec().leak().as_bytes(), input.to_vec().leak().as_bytes());
    let mut frames = [frame(1, clean, first.as_mut_bytes()), frame(2, input, second.as_mut_bytes())];
    engine.submit_batch(&mut frames).unwrap();
    assert_eq!(outputs, [[0.0; 15], expected], "in a batch too");
}

#[test]
fn batches_are_taken_where_the_model_allows() {
    if !is_here() {
        return;
    }
    let batched = EngineOptions { max_batch: 4, ..options() };
    let negative = operator("Neg", FLOAT, FLOAT);
    assert_eq!(open(negative.path(), &batched).batch_max(), 4);
    conformance::run(|| open(negative.path(), &batched));
    assert_eq!(open(negative.path(), &options()).batch_max(), 1);
    // Its answer is one for all frames, whatever the file says of its shape.
    let dims = || vec![Dim::Name("batch"), Dim::N(3), Dim::N(5)];
    let all = onnx::model("ArgMax", &[tensor("x", FLOAT, dims())], &[tensor("y", INT64, dims())]);
    let all = TempFile::new("ort-all.onnx", &all);
    let engine = open(all.path(), &batched);
    assert_eq!(engine.batch_max(), 1);
    assert!(engine.describe().note.contains("batch is fixed"), "{}", engine.describe().note);
    let two = |name| tensor(name, FLOAT, dims());
    let add = TempFile::new("ort-add.onnx", &onnx::model("Add", &[two("a"), two("b")], &[two("sum")]));
    conformance::run(|| open(add.path(), &EngineOptions { max_batch: 3, ..options() }));
    if let Some(model) = shared("models/mobilenetv2-fp32.onnx") {
        assert_eq!(open(&model, &batched).batch_max(), 4);
        conformance::run(|| open(&model, &batched));
    }
}

#[test]
fn several_threads_give_the_same_answers() {
    if !is_here() {
        return;
    }
    let threads = EngineOptions { threads: 2, ..options() };
    assert_eq!(open(&roadside(), &threads).describe().threads, 2);
    conformance::run(|| open(&roadside(), &threads));
}

#[test]
fn weights_in_a_file_beside_the_model_are_found() {
    if !is_here() {
        return;
    }
    let row = |name| tensor(name, FLOAT, vec![Dim::N(1), Dim::N(4)]);
    let weights = TempFile::new("ort-weights.bin", [1.0_f32, 2.0, 3.0, 4.0].as_bytes());
    let file = weights.path().file_name().unwrap().to_str().unwrap();
    let model = onnx::model_with_weights("Mul", &[row("x")], Some((&row("w"), file)), &[row("y")]);
    let model = TempFile::new("ort-external.onnx", &model);
    let mut engine = open(model.path(), &options());
    assert_eq!(engine.specs().inputs().len(), 1);
    assert_eq!(run(&mut *engine, [10.0_f32; 4].as_bytes()), Ok(vec![10.0, 20.0, 30.0, 40.0]));
    drop(weights);
    let error = load(NAME, Some(model.path()), &options()).err().unwrap();
    assert!(error.to_string().contains("ort-weights.bin"), "{error}");
}

#[test]
fn an_answer_of_another_size_is_an_error_of_that_frame() {
    if !is_here() {
        return;
    }
    // As many columns as the input has non-zero elements; the file says four.
    let x = tensor("x", FLOAT, vec![Dim::N(2), Dim::N(2)]);
    let y = tensor("y", INT64, vec![Dim::N(2), Dim::N(4)]);
    let model = TempFile::new("ort-four.onnx", &onnx::model("NonZero", &[x], &[y]));
    let mut engine = open(model.path(), &options());
    let good = Ok(vec![0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
    assert_eq!(run(&mut *engine, [1.0_f32; 4].as_bytes()), good);
    for _ in 0..3 {
        let error = run(&mut *engine, [1.0_f32, 0.0, 1.0, 1.0].as_bytes()).unwrap_err();
        assert!(matches!(&error, EngineError::Run(reason) if reason.contains("shape")), "{error}");
        assert_eq!(run(&mut *engine, [2.0_f32; 4].as_bytes()), good, "the next frame is computed");
    }
}

#[test]
fn models_come_and_go_while_others_run() {
    if !is_here() {
        return;
    }
    let (relu, nan) = (operator("Relu", FLOAT, FLOAT), operator("IsNaN", FLOAT, BOOL));
    let mut first = open(relu.path(), &options());
    let input: Vec<f32> = (0..15).map(|i| i as f32 - 7.0).collect();
    let expected: Vec<_> = input.iter().map(|x| x.max(0.0)).collect();
    for _ in 0..20 {
        let mut second = open(nan.path(), &options());
        let third = open(&roadside(), &options());
        assert_eq!(run(&mut *first, input.as_bytes()), Ok(expected.clone()));
        drop(third);
        assert_eq!(run(&mut *second, input.as_bytes()), Ok(vec![0.0; 15]));
        first = open(relu.path(), &options());
    }
}

#[test]
fn our_code_allocates_nothing_per_frame() {
    if !is_here() {
        return;
    }
    let mut engine = open(&roadside(), &options());
    engine.warm_up().unwrap();
    let input = vec![0.25_f32; engine.specs().input_bytes() / 4];
    let mut output = vec![0.0_f32; engine.specs().output_bytes() / 4];
    let counted = allocation_counter::measure(|| {
        for ticket in 0..3 {
            engine.submit(Ticket(ticket), input.as_bytes(), output.as_mut_bytes()).unwrap();
            assert_eq!(engine.poll().unwrap().result, Ok(()));
        }
    });
    assert_eq!(counted.count_total, 0);
}

/// More slots than tensors are kept for, so that some take the places of others, each used again later.
#[test]
fn every_slot_of_lasting_memory_is_read_and_written_as_itself() {
    const SLOTS: usize = 700;
    const STRIDE: usize = 192;
    if !is_here() {
        return;
    }
    let model = operator("Neg", FLOAT, FLOAT);
    let mut engine = open(model.path(), &options());
    let [mut inputs, mut outputs, elsewhere] = [SLOTS, SLOTS, 1].map(|slots| Leaked::new(slots * STRIDE, STRIDE / 3));
    engine.attach(&Regions::new([inputs.cells(), elsewhere.cells()], outputs.cells())).unwrap();
    let number = |slot: usize, element: usize, round: usize| (slot * 31 + element * 7 + round) as f32;
    for round in 0..3 {
        for slot in 0..SLOTS {
            let numbers: Vec<f32> = (0..15).map(|element| number(slot, element, round)).collect();
            inputs.bytes_mut(slot * STRIDE..slot * STRIDE + 60).copy_from_slice(numbers.as_bytes());
        }
        let counted = allocation_counter::measure(|| {
            for slot in 0..SLOTS {
                let range = slot * STRIDE..slot * STRIDE + 60;
                engine.submit(Ticket(1), inputs.bytes(range.clone()), outputs.bytes_mut(range)).unwrap();
                assert_eq!(engine.poll().unwrap().result, Ok(()));
            }
        });
        assert_eq!(counted.count_total, 0);
        for slot in 0..SLOTS {
            let expected: Vec<f32> = (0..15).map(|element| -number(slot, element, round)).collect();
            assert_eq!(outputs.bytes(slot * STRIDE..slot * STRIDE + 60), expected.as_bytes(), "{round} {slot}");
        }
    }
}

#[test]
fn engines_of_one_process_run_side_by_side() {
    if !is_here() {
        return;
    }
    let answers = || {
        let mut engine = open(&roadside(), &options());
        let elements = engine.specs().input_bytes() / 4;
        let answer = |seed: usize| {
            let input: Vec<f32> = (0..elements).map(|i| ((i * 7 + seed * 13) % 251) as f32 / 125.5 - 1.0).collect();
            run(&mut *engine, input.as_bytes()).unwrap()
        };
        (0..20).map(answer).collect::<Vec<_>>()
    };
    let alone = answers();
    let together = std::thread::scope(|scope| [scope.spawn(answers), scope.spawn(answers)].map(|t| t.join().unwrap()));
    assert_eq!(together, [alone.clone(), alone]);
}

#[test]
fn a_device_that_is_not_there_is_answered_with_those_that_are() {
    if !is_here() {
        return;
    }
    let on = |device: &str| {
        let options = EngineOptions { device: Some(device.to_owned()), ..options() };
        load(NAME, Some(&roadside()), &options)
    };
    assert_eq!(on("CPU").unwrap().describe().device, "cpu");
    let unknown = on("abacus").err().unwrap();
    assert!(matches!(unknown, LoadError::BadOptions { .. }), "{unknown}");
    assert!(unknown.to_string().contains("cpu, cuda, tensorrt, openvino, xnnpack, acl"), "{unknown}");
    let devices = survey(&options()).into_iter().find(|found| found.engine == NAME).unwrap().devices;
    for device in ["cuda:0", "tensorrt", "openvino:gpu", "xnnpack", "acl"] {
        let name = device.split(':').next().unwrap();
        if devices.iter().any(|here| here == name) {
            continue;
        }
        let missing = on(device).err().unwrap();
        assert!(matches!(missing, LoadError::NoRuntime { .. }), "{missing}");
        assert!(missing.to_string().contains(&format!("\"{name}\"; it has {}", devices.join(", "))), "{missing}");
    }
}

/// Set in a child process, which then plays its part of the test of the same name.
const CHILD: &str = "FLUMEWAY_TEST_ORT_CHILD";

/// This program again, for one test and with the libraries below `engines` alone.
fn child(test: &str, part: &str, engines: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("tests::onnxruntime::{test}"), "--nocapture", "--test-threads=1"]);
    command.env(CHILD, part).env(crate::RUNTIME_DIR_VARIABLE, engines).stderr(Stdio::null());
    command
}

/// Folders for the libraries of a test, removed with what is in them.
struct TempFolder(PathBuf);

impl TempFolder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flumeway-engines-{}-{name}", std::process::id()));
        std::fs::create_dir_all(path.join(NAME)).unwrap();
        Self(path)
    }

    fn library(&self) -> PathBuf {
        self.0.join(NAME).join("libonnxruntime.so")
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // Nothing depends on the removal.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Loads in a process of its own: one that has found a library keeps it.
#[test]
fn libraries_that_are_none_are_told_apart() {
    if std::env::var_os(CHILD).is_some() {
        let loaded = load(NAME, Some(&roadside()), &EngineOptions::default());
        println!("ANSWER {}", loaded.err().map_or_else(|| "loaded".to_owned(), |error| error.to_string()));
        return;
    }
    let answer = |folder: &TempFolder| {
        let output = child("libraries_that_are_none_are_told_apart", "load", &folder.0).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{:?} {printed}", output.status);
        printed.split("ANSWER ").nth(1).and_then(|rest| rest.lines().next()).unwrap().to_owned()
    };
    let folder = TempFolder::new("ort-none");
    let missing = answer(&folder);
    assert!(missing.contains("there is no libonnxruntime.so") && missing.contains("make engines"), "{missing}");
    assert!(missing.contains(folder.0.to_str().unwrap()), "{missing}");
    std::fs::write(folder.library(), "a sentence").unwrap();
    let text = answer(&folder);
    assert!(text.contains("libonnxruntime.so cannot be loaded: ") && !text.contains("dlopen failed"), "{text}");
    // A library that this very process uses, so one that opens.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("/libc"));
    std::fs::copy(libc.expect("this program uses the C library"), folder.library()).unwrap();
    let other = answer(&folder);
    assert!(other.contains("is not ONNX Runtime") && other.contains("OrtGetApiBase"), "{other}");
}

#[test]
fn an_old_library_names_both_versions() {
    if std::env::var_os(CHILD).is_some() {
        let error = load(NAME, Some(&roadside()), &EngineOptions::default()).err().unwrap();
        println!("ANSWER {error}");
        return;
    }
    let folder = TempFolder::new("ort-old");
    let source = TempFile::new(
        "ort-old.c",
        b"static const void *api(unsigned version) { return 0; }\n\
          static const char *version(void) { return \"1.2.3\"; }\n\
          static const struct { const void *(*api)(unsigned); const char *(*version)(void); } base = { api, version };\n\
          const void *OrtGetApiBase(void) { return &base; }\n",
    );
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(folder.library()).arg(source.path());
    let compiled = compiler.status().expect("cc links every Rust program, so it is here");
    assert!(compiled.success());
    let output = child("an_old_library_names_both_versions", "load", &folder.0).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("is version 1.2.3, and at least 1.17.0 is needed"), "{printed}");
}

#[test]
fn a_process_keeps_its_library() {
    if let Some(other) = std::env::var_os(CHILD) {
        let first = load(NAME, Some(&roadside()), &EngineOptions::default()).unwrap();
        let elsewhere = EngineOptions { runtime_dir: Some(other.into()), ..EngineOptions::default() };
        // Both folders are looked into, and one of them has the library in use.
        assert!(load(NAME, Some(&roadside()), &elsewhere).is_ok());
        drop(first);
        println!("ANSWER alive");
        return;
    }
    if !is_here() {
        return;
    }
    let library = survey(&options()).into_iter().find(|found| found.engine == NAME).unwrap().library.unwrap();
    let (link, copy) = (TempFolder::new("ort-link"), TempFolder::new("ort-copy"));
    std::os::unix::fs::symlink(&library, link.library()).unwrap();
    std::fs::copy(&library, copy.library()).unwrap();
    // In this process, which uses the library already.
    let linked = EngineOptions { runtime_dir: Some(link.0.clone()), ..EngineOptions::default() };
    assert!(load(NAME, Some(&roadside()), &linked).is_ok(), "a link to the same file");
    if std::env::var_os(crate::RUNTIME_DIR_VARIABLE).is_none() {
        let copied = EngineOptions { runtime_dir: Some(copy.0.clone()), ..EngineOptions::default() };
        let refused = load(NAME, Some(&roadside()), &copied).err().unwrap();
        assert!(refused.to_string().contains("this process already uses"), "{refused}");
    }
    let mut command = child("a_process_keeps_its_library", copy.0.to_str().unwrap(), &link.0);
    let printed = String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned();
    assert!(printed.contains("ANSWER alive"), "{printed}");
}

#[test]
fn a_kill_in_the_middle_of_a_run_leaves_nothing_behind() {
    const TEST: &str = "a_kill_in_the_middle_of_a_run_leaves_nothing_behind";
    let cached = |folder: PathBuf| EngineOptions { cache_dir: Some(folder), ..options() };
    let answer = |engine: &mut dyn Engine| {
        let input = vec![0.25_f32; engine.specs().input_bytes() / 4];
        run(engine, input.as_bytes()).unwrap()
    };
    if let Some(cache) = std::env::var_os(CHILD) {
        let mut engine = open(&roadside(), &cached(cache.into()));
        loop {
            answer(&mut *engine);
            println!("ANSWERED");
        }
    }
    if !is_here() {
        return;
    }
    let cache = TempFolder::new("ort-cache");
    let folder = cache.0.join(NAME);
    let before = answer(&mut *open(&roadside(), &cached(folder.clone())));
    let mut running = child(TEST, folder.to_str().unwrap(), &options().runtime_dir.unwrap());
    let mut running = running.stdout(Stdio::piped()).spawn().unwrap();
    let answered = BufReader::new(running.stdout.take().unwrap()).lines();
    let answered = answered.map_while(Result::ok).filter(|line| line.contains("ANSWERED")).take(5).count();
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(answered, 5, "it computed one frame after the other");
    assert_eq!(answer(&mut *open(&roadside(), &cached(folder.clone()))), before);
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert!(left.is_empty(), "ONNX Runtime keeps nothing: {left:?}");
}

/// Official builds count and report what they do, unless told otherwise before they begin.
#[test]
fn nothing_is_written_into_the_home_of_the_user() {
    const TEST: &str = "nothing_is_written_into_the_home_of_the_user";
    if std::env::var_os(CHILD).is_some() {
        let mut engine = open(&roadside(), &EngineOptions::default());
        let input = vec![0.25_f32; engine.specs().input_bytes() / 4];
        run(&mut *engine, input.as_bytes()).unwrap();
        drop(engine);
        let set = std::env::vars_os().find(|(name, _)| name == "ORT_DISABLE_TELEMETRY");
        println!("ANSWER {set:?} {:?}", std::env::var_os("LAST"));
        return;
    }
    if !is_here() {
        return;
    }
    let home = TempFolder::new("ort-home");
    let engines = options().runtime_dir.unwrap();
    let mut command = child(TEST, "load", &engines);
    // Nothing else: continuous integration, for one, is told apart by a variable, and not reported from.
    command.env_clear().env(CHILD, "load").env(crate::RUNTIME_DIR_VARIABLE, &engines);
    command.env("HOME", &home.0).env("XDG_CACHE_HOME", home.0.join("cache"));
    command.env("ORT_DISABLE_TELEMETRY", "0").env("LAST", "kept");
    let printed = String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned();
    assert!(printed.contains("ANSWER Some((\"ORT_DISABLE_TELEMETRY\", \"1\")) Some(\"kept\")"), "{printed}");
    std::fs::remove_dir(home.0.join(NAME)).unwrap();
    let left: Vec<_> = std::fs::read_dir(&home.0).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
