//! tract: a pure-Rust ONNX engine, faster than rten and slow to build.
//!
//! What a frame allocates: a copy of each input (tract's tensors own their memory), the intermediate tensors, and the outputs, which are then copied to
//! the output area. It computes on the caller's thread, with one thread whatever `threads` says.

use crate::area::{self, ScratchAreas};
use crate::engine::{Description, Engine, Finished, Submitted, Ticket};
use crate::error::{EngineError, LoadError};
use crate::finished::{FINISHED_MAX, FinishedQueue};
use crate::model_file;
use crate::options::EngineOptions;
use crate::shape::{Dim, Settled};
use crate::spec::{Specs, TensorSpec};
use std::path::Path;
use std::time::Instant;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::plan::SimpleState;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::ops::unimpl::UnimplementedOp;

const NAME: &str = "tract";

/// Of the crate that is built in; the workspace pins it.
pub(crate) const VERSION: &str = "0.23";

/// Runs that make a model's times settle.
const WARM_UP_RUNS: usize = 3;

/// A model loaded by tract.
pub(crate) struct TractEngine {
    state: SimpleState<TypedFact, Box<dyn TypedOp>>,
    specs: Specs,
    finished: FinishedQueue,
}

impl TractEngine {
    pub(crate) fn load(path: &Path, options: &EngineOptions) -> Result<Self, LoadError> {
        model_file::read(path, NAME)?;
        let corrupt = |error: TractError| LoadError::CorruptModel {
            path: path.to_owned(),
            engine: NAME,
            reason: format!("{error:#}"),
        };
        let unsupported = |error: TractError| LoadError::UnsupportedOperator {
            path: path.to_owned(),
            engine: NAME,
            reason: format!("{error:#}"),
        };
        // The shapes in the file may name a batch that is settled below, and tract would call that a contradiction.
        let parser = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
        let model = parser.model_for_path(path).map_err(corrupt)?;
        refuse_unknown_operators(&model, path)?;
        let output_names = output_names(&model).map_err(corrupt)?;
        let (model, inputs) = settle_inputs(model, path, options)?;
        let plan = model.into_optimized().and_then(TypedModel::into_runnable).map_err(unsupported)?;
        let outputs = find_outputs(plan.model(), path, &output_names)?;
        let specs = Specs::new(inputs, outputs)
            .map_err(|error| LoadError::UnsupportedShape { path: path.to_owned(), reason: error.to_string() })?;
        let state = plan.spawn().map_err(unsupported)?;
        Ok(Self { state, specs, finished: FinishedQueue::new() })
    }

    fn compute(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), EngineError> {
        let failed = |error: TractError| EngineError::Run(format!("{error:#}"));
        let mut inputs = TVec::with_capacity(self.specs.inputs().len());
        for (index, spec) in self.specs.inputs().iter().enumerate() {
            let data = area::input::<f32>(&self.specs, input, index)?;
            inputs.push(Tensor::from_shape(&spec.shape, data).map_err(failed)?.into_tvalue());
        }
        let values = self.state.run(inputs).map_err(failed)?;
        for (index, value) in values.iter().enumerate() {
            let target = area::output::<f32>(&self.specs, output, index)?;
            let value = value.cast_to::<f32>().map_err(failed)?;
            let view = value.try_as_plain_ram().map_err(failed)?;
            let data = view.as_slice::<f32>().map_err(failed)?;
            if data.len() != target.len() {
                return Err(EngineError::OutputShape { index, expected: target.len(), got: data.len() });
            }
            target.copy_from_slice(data);
        }
        Ok(())
    }
}

fn refuse_unknown_operators(model: &InferenceModel, path: &Path) -> Result<(), LoadError> {
    match model.nodes().iter().find(|node| node.op_is::<UnimplementedOp>()) {
        None => Ok(()),
        Some(node) => Err(LoadError::UnsupportedOperator {
            path: path.to_owned(),
            engine: NAME,
            reason: format!("node \"{}\": {}", node.name, node.op.name()),
        }),
    }
}

/// Fixes the inputs' shapes in the model and returns them.
fn settle_inputs(
    mut model: InferenceModel,
    path: &Path,
    options: &EngineOptions,
) -> Result<(InferenceModel, Vec<TensorSpec>), LoadError> {
    let corrupt = |error: TractError| LoadError::CorruptModel {
        path: path.to_owned(),
        engine: NAME,
        reason: format!("{error:#}"),
    };
    let mut settled = Settled::default();
    let mut inputs = Vec::new();
    for index in 0..model.input_outlets().map_err(corrupt)?.len() {
        let outlet = model.input_outlets().map_err(corrupt)?[index];
        let name = model.node(outlet.node).name.clone();
        let fact = model.input_fact(index).map_err(corrupt)?;
        let dtype = fact.datum_type.concretize();
        if dtype != Some(f32::datum_type()) {
            return Err(LoadError::UnsupportedDtype {
                path: path.to_owned(),
                direction: "input",
                tensor: name,
                dtype: dtype.map_or_else(|| "unknown".to_owned(), |dtype| format!("{dtype:?}")),
            });
        }
        let dims: Option<Vec<Dim>> = (!fact.shape.is_open()).then(|| fact.shape.dims().map(own_dim).collect());
        let wanted = options.input_shape.as_deref().filter(|_| index == 0);
        let shape = settled.input(path, &name, dims.as_deref(), wanted)?;
        model.set_input_fact(index, f32::fact(&shape).into()).map_err(corrupt)?;
        inputs.push(TensorSpec::f32(name, shape));
    }
    Ok((model, inputs))
}

fn own_dim(dim: &tract_onnx::tract_hir::infer::DimFact) -> Dim {
    match dim.concretize() {
        Some(size) => usize::try_from(&size).map_or_else(|_| Dim::Named(size.to_string()), Dim::Fixed),
        None => Dim::Named("?".to_owned()),
    }
}

/// The outputs' names in the file; optimisation renames nodes.
fn output_names(model: &InferenceModel) -> TractResult<Vec<String>> {
    let name = |&outlet| model.outlet_label(outlet).map_or_else(|| model.node(outlet.node).name.clone(), str::to_owned);
    Ok(model.output_outlets()?.iter().map(name).collect())
}

fn find_outputs(model: &TypedModel, path: &Path, names: &[String]) -> Result<Vec<TensorSpec>, LoadError> {
    let mut outputs = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let shape = model.output_fact(index).ok().and_then(|fact| fact.shape.as_concrete().map(<[usize]>::to_vec));
        let shape = shape.ok_or_else(|| LoadError::UnsupportedShape {
            path: path.to_owned(),
            reason: format!(
                "the size of output \"{name}\" depends on the data: use a model whose output has a fixed size"
            ),
        })?;
        outputs.push(TensorSpec::f32(name.as_str(), shape));
    }
    Ok(outputs)
}

impl Engine for TractEngine {
    fn specs(&self) -> &Specs {
        &self.specs
    }

    fn submit(&mut self, ticket: Ticket, input: &[u8], output: &mut [u8]) -> Result<Submitted, EngineError> {
        self.finished.check_room()?;
        area::check(&self.specs, self.align_bytes(), input, output)?;
        let started = Instant::now();
        let result = self.compute(input, output);
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
            self.compute(input, output)?;
        }
        Ok(())
    }

    fn describe(&self) -> Description {
        Description {
            engine: NAME,
            version: VERSION.to_owned(),
            device: "cpu".to_owned(),
            precision: "f32",
            threads: 1,
            in_flight_max: FINISHED_MAX,
            note: "the fastest engine that is built in; ONNX Runtime and OpenVINO are faster where installed"
                .to_owned(),
        }
    }
}
