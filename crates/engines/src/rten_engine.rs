//! rten: a pure-Rust ONNX engine, the default.
//!
//! What a frame allocates, since rten's interface leaves no choice: the list of inputs, the intermediate tensors (from a pool that lives for one
//! run), and the outputs, which are then copied to the output area (4 KB for a thousand classes). With the allocator's thresholds grown by
//! the warm-up these calls stay in user space. The model runs on a worker thread of rten's pool even with one thread; the
//! caller sleeps meanwhile, and the hand-over is part of the time of `submit`.

use crate::area::{self, ScratchAreas};
use crate::dtype::DType;
use crate::engine::{Description, Engine, Finished, Submitted, Ticket};
use crate::error::{EngineError, LoadError};
use crate::finished::{FINISHED_MAX, FinishedQueue};
use crate::model_file;
use crate::options::EngineOptions;
use crate::shape::{Dim, Settled};
use crate::spec::{SpecError, Specs, TensorSpec};
use rten::{
    DataType, Dimension, LoadErrorKind, Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView,
    ValueType, ValueView,
};
use rten_tensor::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const NAME: &str = "rten";

/// Of the crate that is built in; the workspace pins it.
pub(crate) const VERSION: &str = "0.27";

/// Runs that make a model's times settle; the first is several times slower than the third.
const WARM_UP_RUNS: usize = 3;

/// A model loaded by rten.
pub(crate) struct RtenEngine {
    graph: LoadedGraph,
    specs: Specs,
    finished: FinishedQueue,
    threads: usize,
}

/// What a run needs, apart from the layout of the areas.
struct LoadedGraph {
    model: Model,
    input_ids: Vec<NodeId>,
    output_ids: Vec<NodeId>,
    run_options: RunOptions,
}

impl RtenEngine {
    pub(crate) fn load(path: &Path, options: &EngineOptions) -> Result<Self, LoadError> {
        let model = parse(path, model_file::read(path, NAME)?)?;
        let pool = Arc::new(ThreadPool::with_num_threads(options.threads));
        let graph = LoadedGraph {
            input_ids: model.input_ids().to_vec(),
            output_ids: model.output_ids().to_vec(),
            run_options: RunOptions::default().with_thread_pool(Some(pool)),
            model,
        };
        let specs = find_specs(&graph, path, options)?;
        Ok(Self { graph, specs, finished: FinishedQueue::new(), threads: options.threads })
    }
}

fn parse(path: &Path, bytes: Vec<u8>) -> Result<Model, LoadError> {
    let options = ModelOptions::with_all_ops();
    let is_onnx = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"));
    let loaded = if is_onnx {
        // By path, so that weights in files beside the model are found.
        options.load_file(path)
    } else {
        options.load(bytes)
    };
    loaded.map_err(|error| {
        let (path, reason) = (path.to_owned(), error.to_string());
        match error.kind() {
            LoadErrorKind::OperatorInvalid => LoadError::UnsupportedOperator { path, engine: NAME, reason },
            LoadErrorKind::GraphError if reason.contains("unsupported") => {
                LoadError::UnsupportedOperator { path, engine: NAME, reason }
            }
            LoadErrorKind::IoError => LoadError::Unreadable { path, source: std::io::Error::other(reason) },
            _ => LoadError::CorruptModel { path, engine: NAME, reason },
        }
    })
}

/// Shapes and names of all inputs and outputs; runs the model on zeros if the file leaves an output open.
fn find_specs(graph: &LoadedGraph, path: &Path, options: &EngineOptions) -> Result<Specs, LoadError> {
    let mut settled = Settled::default();
    let mut inputs = Vec::with_capacity(graph.input_ids.len());
    for (index, &id) in graph.input_ids.iter().enumerate() {
        let name = graph.name(id, "input", index);
        let Some(dtype) = input_dtype(graph.dtype(id)) else {
            return Err(unsupported_dtype(path, "input", name, graph.dtype(id)));
        };
        let wanted = options.input_shape.as_deref().filter(|_| index == 0);
        let shape = settled.input(path, &name, graph.shape(id).as_deref(), wanted)?;
        inputs.push(TensorSpec::new(name, dtype, shape));
    }
    let mut outputs = Vec::with_capacity(graph.output_ids.len());
    for (index, &id) in graph.output_ids.iter().enumerate() {
        let name = graph.name(id, "output", index);
        match (graph.dtype(id), settled.output(graph.shape(id).as_deref())) {
            (Some(ValueType::Sequence(_)), _) => {
                return Err(unsupported_dtype(path, "output", name, graph.dtype(id)));
            }
            (Some(dtype), Some(shape)) => outputs.push(TensorSpec::new(name, output_dtype(dtype), shape)),
            _ => {
                outputs = trial_run(graph, path, &inputs)?;
                break;
            }
        }
    }
    Specs::new(inputs, outputs).map_err(|error| unsupported_shape(path, &error))
}

/// The element types that rten has and an area can hold.
fn input_dtype(dtype: Option<ValueType>) -> Option<DType> {
    match dtype? {
        ValueType::Tensor(DataType::Float) => Some(DType::F32),
        ValueType::Tensor(DataType::UInt8) => Some(DType::U8),
        ValueType::Tensor(DataType::Int8) => Some(DType::I8),
        _ => None,
    }
}

/// Other types are converted.
fn output_dtype(dtype: ValueType) -> DType {
    input_dtype(Some(dtype)).unwrap_or(DType::F32)
}

fn unsupported_shape(path: &Path, error: &SpecError) -> LoadError {
    LoadError::UnsupportedShape { path: path.to_owned(), reason: error.to_string() }
}

fn unsupported_dtype(path: &Path, direction: &'static str, tensor: String, dtype: Option<ValueType>) -> LoadError {
    let dtype = dtype.map_or_else(|| "unknown to rten (f16 and f64 are)".to_owned(), |dtype| dtype.to_string());
    LoadError::UnsupportedDtype { path: path.to_owned(), direction, tensor, dtype }
}

/// Runs the model on zeros to see the shapes of its outputs.
fn trial_run(graph: &LoadedGraph, path: &Path, inputs: &[TensorSpec]) -> Result<Vec<TensorSpec>, LoadError> {
    // A layout of the inputs alone: the outputs are what is looked for.
    let specs = Specs::new(inputs.to_vec(), vec![TensorSpec::f32("unknown", [1])])
        .map_err(|error| unsupported_shape(path, &error))?;
    let mut areas = ScratchAreas::new(&specs);
    let values =
        graph.run(&specs, areas.split().0).map_err(|source| LoadError::TrialRun { path: path.to_owned(), source })?;
    let mut outputs = Vec::with_capacity(values.len());
    for (index, (value, &id)) in values.iter().zip(&graph.output_ids).enumerate() {
        let name = graph.name(id, "output", index);
        if matches!(value, Value::Sequence(_)) {
            return Err(unsupported_dtype(path, "output", name, Some(value.dtype())));
        }
        outputs.push(TensorSpec::new(name, output_dtype(value.dtype()), value.shape().to_vec()));
    }
    Ok(outputs)
}

impl LoadedGraph {
    fn name(&self, id: NodeId, direction: &str, index: usize) -> String {
        let name = self.model.node_info(id).and_then(|info| info.name().map(str::to_owned));
        name.unwrap_or_else(|| format!("{direction}{index}"))
    }

    fn dtype(&self, id: NodeId) -> Option<ValueType> {
        self.model.node_info(id)?.dtype()
    }

    fn shape(&self, id: NodeId) -> Option<Vec<Dim>> {
        let dims = self.model.node_info(id)?.shape()?;
        let own = |dim| match dim {
            Dimension::Fixed(size) => Dim::Fixed(size),
            Dimension::Symbolic(name) => Dim::Named(name),
        };
        Some(dims.into_iter().map(own).collect())
    }

    /// Runs the model on an input area that has the layout of `specs`.
    fn run(&self, specs: &Specs, input: &[u8]) -> Result<Vec<Value>, EngineError> {
        let mut inputs: Vec<(NodeId, ValueOrView<'_>)> = Vec::with_capacity(self.input_ids.len());
        for (index, (&id, spec)) in self.input_ids.iter().zip(specs.inputs()).enumerate() {
            let (shape, failed) = (spec.shape.as_slice(), EngineError::Run);
            let view = match spec.dtype {
                DType::U8 => {
                    ValueView::from_shape(shape, area::input::<u8>(specs, input, index)?).map_err(|e| e.to_string())
                }
                DType::I8 => {
                    ValueView::from_shape(shape, area::input::<i8>(specs, input, index)?).map_err(|e| e.to_string())
                }
                DType::F32 => {
                    ValueView::from_shape(shape, area::input::<f32>(specs, input, index)?).map_err(|e| e.to_string())
                }
                DType::F16 => Err("rten has no f16".to_owned()),
            };
            inputs.push((id, view.map_err(failed)?.into()));
        }
        self.model
            .run(inputs, &self.output_ids, Some(self.run_options.clone()))
            .map_err(|error| EngineError::Run(error.to_string()))
    }

    fn compute(&self, specs: &Specs, input: &[u8], output: &mut [u8]) -> Result<(), EngineError> {
        let values = self.run(specs, input)?;
        for (index, value) in values.iter().enumerate() {
            let count = specs.outputs()[index].elements();
            if value.len() != count {
                return Err(EngineError::OutputShape { index, expected: count, got: value.len() });
            }
            match (specs.outputs()[index].dtype, value) {
                (DType::U8, Value::UInt8Tensor(from)) => copy(from, area::output(specs, output, index)?),
                (DType::I8, Value::Int8Tensor(from)) => copy(from, area::output(specs, output, index)?),
                _ => store(value, index, area::output(specs, output, index)?)?,
            }
        }
        Ok(())
    }
}

/// Copies an output to its place, as f32.
fn store(value: &Value, index: usize, target: &mut [f32]) -> Result<(), EngineError> {
    match value {
        Value::FloatTensor(tensor) => copy(tensor, target),
        Value::Int32Tensor(tensor) => convert(tensor.iter(), target, |&from| from as f32),
        Value::Int8Tensor(tensor) => convert(tensor.iter(), target, |&from| f32::from(from)),
        Value::UInt8Tensor(tensor) => convert(tensor.iter(), target, |&from| f32::from(from)),
        other => {
            return Err(EngineError::Run(format!("output {index} is a {}, not a tensor", other.dtype())));
        }
    }
    Ok(())
}

/// Copies an output that has the area's element type.
fn copy<T: Copy>(from: &rten_tensor::Tensor<T>, target: &mut [T]) {
    match from.view().data() {
        Some(data) => target.copy_from_slice(data),
        None => convert(from.iter(), target, |&from| from),
    }
}

fn convert<T, U>(from: impl Iterator<Item = T>, target: &mut [U], convert: impl Fn(T) -> U) {
    for (to, from) in target.iter_mut().zip(from) {
        *to = convert(from);
    }
}

impl Engine for RtenEngine {
    fn specs(&self) -> &Specs {
        &self.specs
    }

    fn submit(&mut self, ticket: Ticket, input: &[u8], output: &mut [u8]) -> Result<Submitted, EngineError> {
        self.finished.check_room()?;
        area::check(&self.specs, self.align_bytes(), input, output)?;
        let started = Instant::now();
        let result = self.graph.compute(&self.specs, input, output);
        self.finished.push(ticket, result, started.elapsed());
        Ok(Submitted::Done)
    }

    fn poll(&mut self) -> Option<Finished> {
        self.finished.pop()
    }

    fn in_flight(&self) -> usize {
        self.finished.len()
    }

    fn warm_up(&mut self) -> Result<(), EngineError> {
        let mut areas = ScratchAreas::new(&self.specs);
        for _ in 0..WARM_UP_RUNS {
            let (input, output) = areas.split();
            self.graph.compute(&self.specs, input, output)?;
        }
        Ok(())
    }

    fn describe(&self) -> Description {
        let note = if cfg!(feature = "tract") {
            "tract is built in too and is usually faster: engine = \"tract\""
        } else {
            "the engine that is always there; tract (build feature) is about 30 % faster"
        };
        Description {
            engine: NAME,
            version: VERSION.to_owned(),
            device: "cpu".to_owned(),
            precision: "f32",
            threads: self.threads,
            in_flight_max: FINISHED_MAX,
            note: note.to_owned(),
        }
    }
}
