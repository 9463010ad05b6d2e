//! From a model file to an engine.

use super::batch::{self, Batches};
use super::element::Element;
use super::ffi::{Failure, ModelTensor, Options, Runtime, Session};
use super::run::{self, Layout, Plan};
use super::signature::{Input, Signature};
use super::{NAME, OnnxRuntimeEngine, failed, library, provider};
use crate::area::Scratch;
use crate::dtype::DType;
use crate::engine::Description;
use crate::error::LoadError;
use crate::finished::{FINISHED_MAX, FinishedQueue};
use crate::model_file;
use crate::options::{EngineOptions, Precision};
use crate::regions::Regions;
use crate::shape::{Dim, Settled};
use crate::spec::{Specs, TensorSpec};
use ort_sys::OrtErrorCode;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Areas on one side whose tensors are kept. A stage has some hundred tensor slots. Frames read in packet buffers come from more addresses, and
/// there making tensors anew is cheaper than memory for all of them.
const KEPT_AREAS: usize = 512;

pub(super) fn engine(path: &Path, options: &EngineOptions) -> Result<OnnxRuntimeEngine, LoadError> {
    let bytes = model_file::read(path, NAME)?;
    let runtime = library::get(options)?;
    let signature = Signature::read(&bytes);
    let mut settled = Settled::default();
    let inputs = input_specs(&signature.inputs, path, options, &mut settled)?;
    let batched = options.max_batch > 1 && signature.inputs.iter().all(has_open_batch);
    let mut session_options = Options::new(runtime, options.threads).map_err(broken)?;
    let device = provider::choose(runtime, options, &mut session_options)?;
    configure(&mut session_options, path, options).map_err(broken)?;
    for (input, spec) in signature.inputs.iter().zip(&inputs) {
        settle(&mut session_options, input, spec, batched).map_err(broken)?;
    }
    let mut session = Session::new(&session_options, &bytes).map_err(|failure| refused(path, failure))?;
    check_inputs(&session, &inputs, path)?;
    let outputs = output_specs(&mut session, path, &inputs, &settled)?;
    let specs = Specs::new(inputs, outputs).map_err(|error| unsupported_shape(path, error.to_string()))?;
    let elements = [&session.inputs, &session.outputs]
        .map(|tensors| tensors.iter().map(|tensor| tensor.element).collect::<Vec<_>>());
    let layouts = (Layout::inputs(&specs, &elements[0]), Layout::outputs(&specs, &elements[1]));
    let single = Plan::new(&session, layouts.0, layouts.1, KEPT_AREAS).map_err(broken)?;
    let mut batches = Batches::default();
    if batched && batch_is_outermost(&mut session, &specs) {
        let max = options.max_batch.min(FINISHED_MAX);
        batches = Batches::new(&session, &specs, [&elements[0], &elements[1]], max).map_err(broken)?;
    }
    let description = describe(runtime, options, device, signature.quantised, batches.max());
    let (regions, finished) = (Regions::none(), FinishedQueue::new());
    Ok(OnnxRuntimeEngine { session, specs, single, batches, regions, finished, description })
}

/// The inputs' names, types and sizes, as the file has them.
fn input_specs(
    inputs: &[Input],
    path: &Path,
    options: &EngineOptions,
    settled: &mut Settled,
) -> Result<Vec<TensorSpec>, LoadError> {
    let mut specs = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.iter().enumerate() {
        let element = Element(input.element.unwrap_or(0));
        let dtype = element.in_place().ok_or_else(|| unsupported_dtype(path, "input", &input.name, element))?;
        let wanted = options.input_shape.as_deref().filter(|_| index == 0);
        let shape = settled.input(path, &input.name, input.dims.as_deref(), wanted)?;
        specs.push(TensorSpec::new(input.name.as_str(), dtype, shape));
    }
    Ok(specs)
}

fn has_open_batch(input: &Input) -> bool {
    matches!(input.dims.as_deref(), Some([Dim::Named(_), _, ..]))
}

fn configure(options: &mut Options, path: &Path, engine: &EngineOptions) -> Result<(), Failure> {
    // Threads that wait would take the core from other stages.
    options.set(c"session.intra_op.allow_spinning", c"0")?;
    options.set(c"session.inter_op.allow_spinning", c"0")?;
    if engine.precision == Precision::Reduced {
        options.set(c"mlas.enable_gemm_fastmath_arm64_bfloat16", c"1")?;
    }
    // The session is made of the bytes that were checked, so where weights in files beside the model are must be said.
    let folder = std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::to_owned));
    if let Some(folder) = folder.and_then(|folder| CString::new(folder.as_os_str().as_bytes()).ok()) {
        options.set(c"session.model_external_initializers_file_folder_path", &folder)?;
    }
    Ok(())
}

/// Tells the library the sizes of dynamic dimensions, so that it plans for them. The batch stays open where batches are wanted.
fn settle(options: &mut Options, input: &Input, spec: &TensorSpec, batched: bool) -> Result<(), Failure> {
    let dims = input.dims.as_deref().unwrap_or_default();
    let batch = dims.first().filter(|_| batched);
    for (dim, &size) in dims.iter().zip(&spec.shape) {
        if let Dim::Named(name) = dim
            && Some(dim) != batch
            && let Ok(name) = CString::new(name.as_str())
        {
            options.settle(&name, size)?;
        }
    }
    Ok(())
}

/// The library must see the inputs that the file showed.
fn check_inputs(session: &Session, inputs: &[TensorSpec], path: &Path) -> Result<(), LoadError> {
    let seen = session.inputs.iter().map(|tensor| (tensor.name.to_string_lossy(), tensor.element.in_place()));
    let seen: Vec<_> = seen.collect();
    let named: Vec<_> = inputs.iter().map(|spec| (spec.name.as_str().into(), Some(spec.dtype))).collect();
    if seen == named {
        return Ok(());
    }
    let reason = format!("its graph has the inputs {named:?}, and ONNX Runtime sees {seen:?}");
    Err(LoadError::CorruptModel { path: path.to_owned(), engine: NAME, reason })
}

/// Names, types and sizes of the outputs; runs the model on zeros if the library cannot tell them.
fn output_specs(
    session: &mut Session,
    path: &Path,
    inputs: &[TensorSpec],
    settled: &Settled,
) -> Result<Vec<TensorSpec>, LoadError> {
    // A scalar and a tensor without a shape look alike.
    let told = |dims: &[Dim]| settled.output(Some(dims)).filter(|shape| !shape.is_empty());
    let mut shapes: Vec<_> = session.outputs.iter().map(|tensor| told(&tensor.dims)).collect();
    let dtypes = output_dtypes(session, path)?;
    if shapes.iter().any(Option::is_none) {
        let found = trial_run(session, inputs)
            .map_err(|failure| LoadError::TrialRun { path: path.to_owned(), source: failed(failure) })?;
        shapes = found.into_iter().map(Some).collect();
    }
    let spec = |((tensor, dtype), shape): ((&ModelTensor, _), Option<Vec<usize>>)| {
        TensorSpec::new(tensor.name.to_string_lossy(), dtype, shape.unwrap_or_default())
    };
    Ok(session.outputs.iter().zip(dtypes).zip(shapes).map(spec).collect())
}

fn output_dtypes(session: &Session, path: &Path) -> Result<Vec<DType>, LoadError> {
    let dtype = |tensor: &ModelTensor| {
        let refused = || unsupported_dtype(path, "output", &tensor.name.to_string_lossy(), tensor.element);
        tensor.element.as_output().ok_or_else(refused)
    };
    session.outputs.iter().map(dtype).collect()
}

/// The outputs' shapes for inputs that are all zero.
fn trial_run(session: &mut Session, inputs: &[TensorSpec]) -> Result<Vec<Vec<usize>>, Failure> {
    // A layout of the inputs alone: the outputs are what is looked for.
    let specs = Specs::new(inputs.to_vec(), vec![TensorSpec::f32("unknown", [1])])
        .map_err(|error| Failure::own(&error.to_string()))?;
    let elements: Vec<_> = session.inputs.iter().map(|tensor| tensor.element).collect();
    let zeros = Scratch::new(specs.input_bytes());
    let outputs = run::trial(session, Layout::inputs(&specs, &elements), zeros.get())?;
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => *size,
        Dim::Named(_) => 0,
    };
    Ok(outputs.iter().map(|(_, dims)| dims.iter().map(size).collect()).collect())
}

/// Whether the model answers two frames with two answers, one after the other.
fn batch_is_outermost(session: &mut Session, specs: &Specs) -> bool {
    let expected = batch::of(specs.outputs(), 2).into_iter().map(|tensor| tensor.shape);
    let single = specs.outputs().iter().all(|tensor| tensor.shape.first() == Some(&1));
    single && trial_run(session, &batch::of(specs.inputs(), 2)).is_ok_and(|shapes| expected.eq(shapes))
}

fn describe(
    runtime: &Runtime,
    options: &EngineOptions,
    device: String,
    quantised: bool,
    batch_max: usize,
) -> Description {
    let reduced = options.precision == Precision::Reduced;
    let precision = match device.split(':').next() {
        _ if quantised => "int8",
        Some("cpu") if reduced && cfg!(target_arch = "aarch64") => "bf16",
        Some("cuda") if reduced => "tf32",
        Some("tensorrt" | "acl") if reduced => "f16",
        _ => "f32",
    };
    let copies =
        if device == "cpu" { "tensors stay where they are" } else { "the provider may copy tensors to its device" };
    let mut notes = vec![copies.to_owned()];
    if reduced && precision == "f32" {
        notes.push("no shorter number format is to be had on this device".to_owned());
    }
    if options.max_batch > 1 && batch_max == 1 {
        notes.push("one frame at a time: the model's batch is fixed".to_owned());
    }
    let others: Vec<_> = provider::devices(runtime).into_iter().filter(|other| !device.starts_with(other)).collect();
    if !others.is_empty() {
        notes.push(format!("other devices: {}", others.join(", ")));
    }
    Description {
        engine: NAME,
        version: runtime.version.clone(),
        device,
        precision,
        threads: options.threads,
        in_flight_max: FINISHED_MAX,
        note: notes.join("; "),
    }
}

/// Which of the user's mistakes a refusal of the model is.
fn refused(path: &Path, failure: Failure) -> LoadError {
    let (path, reason) = (path.to_owned(), failure.message);
    let unknown = ["is not a registered function/op", "No Op registered for", "opset import", "under development"];
    if failure.code == OrtErrorCode::ORT_NOT_IMPLEMENTED as i32 || unknown.iter().any(|words| reason.contains(words)) {
        LoadError::UnsupportedOperator { path, engine: NAME, reason }
    } else if failure.code == OrtErrorCode::ORT_EP_FAIL as i32 {
        LoadError::Runtime { engine: NAME, reason }
    } else {
        LoadError::CorruptModel { path, engine: NAME, reason }
    }
}

fn broken(failure: Failure) -> LoadError {
    LoadError::Runtime { engine: NAME, reason: failure.message }
}

fn unsupported_shape(path: &Path, reason: String) -> LoadError {
    LoadError::UnsupportedShape { path: path.to_owned(), reason }
}

fn unsupported_dtype(path: &Path, direction: &'static str, tensor: &str, element: Element) -> LoadError {
    LoadError::UnsupportedDtype { path: path.to_owned(), direction, tensor: tensor.to_owned(), dtype: element.name() }
}
