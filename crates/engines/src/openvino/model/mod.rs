//! A model file, read and settled: every shape a number, every output of a type that an area can hold.

pub(super) mod ffi;

use self::ffi::{Core, Model, Port};
use super::ffi::{Bounds, element_type, element_type_name};
use super::{NAME, onnx_names};
use crate::dtype::DType;
use crate::error::LoadError;
use crate::model_file;
use crate::options::EngineOptions;
use crate::shape::{Dim, Settled};
use crate::spec::{Specs, TensorSpec};
use std::ffi::c_int;
use std::path::Path;

/// A model file before OpenVINO has it.
pub(super) struct ModelFile<'a> {
    path: &'a Path,
    /// The file's bytes, and those of the weights beside it.
    pub bytes: [Vec<u8>; 2],
    is_ir: bool,
    /// Of an ONNX file.
    open_dimensions: Vec<(String, usize, String)>,
    pub is_quantised: bool,
    /// Whether `bytes` are all there is, so that what is compiled of them can be kept.
    pub is_whole: bool,
}

/// A model that can be compiled.
pub(super) struct SettledModel {
    pub model: Model,
    pub specs: Specs,
}

impl<'a> ModelFile<'a> {
    /// Reads and checks an ONNX file, or OpenVINO's own format (`.xml`, with the weights in a `.bin` beside it).
    pub(super) fn read(path: &'a Path) -> Result<Self, LoadError> {
        if has_extension(path, "xml") {
            let bytes = [read(path)?, read(&path.with_extension("bin"))?];
            return Ok(Self {
                path,
                bytes,
                is_ir: true,
                open_dimensions: Vec::new(),
                is_quantised: false,
                is_whole: true,
            });
        }
        let model = model_file::read(path, NAME)?;
        Ok(Self {
            path,
            is_ir: false,
            open_dimensions: onnx_names::open_dimensions(&model),
            is_quantised: onnx_names::is_quantised(&model),
            is_whole: !onnx_names::has_external_data(&model),
            bytes: [model, Vec::new()],
        })
    }

    /// Parses the file and settles it for one frame.
    pub(super) fn settle(&self, core: &Core, options: &EngineOptions) -> Result<SettledModel, LoadError> {
        let model = self.parse(core)?;
        let inputs = model.inputs().map_err(|reason| self.corrupt(reason))?;
        let specs = self.inputs(&inputs, options)?;
        let mut shapes: Vec<_> = specs.iter().map(|spec| spec.shape.iter().map(|&dim| fixed(dim)).collect()).collect();
        self.reshape(&model, &inputs, &mut shapes)?;
        let (model, outputs) = self.outputs(model)?;
        let specs = Specs::new(specs, outputs).map_err(|error| self.bad_shape(error.to_string()))?;
        Ok(SettledModel { model, specs })
    }

    /// The same model for any batch up to `max`; `None` if the model does not have a batch that is open, outermost, in every input and output.
    pub(super) fn settle_batch(&self, core: &Core, specs: &Specs, max: usize) -> Result<Option<Model>, LoadError> {
        let model = self.parse(core)?;
        let inputs = model.inputs().map_err(|reason| self.corrupt(reason))?;
        let open = |port: &Port| port.dims.as_ref().is_some_and(|dims| dims.len() > 1 && as_fixed(dims[0]).is_none());
        if !inputs.iter().all(open) || specs.inputs().iter().any(|spec| spec.shape.first() != Some(&1)) {
            return Ok(None);
        }
        let batch = Bounds { min: 1, max: max as i64 };
        let shape = |spec: &TensorSpec| {
            [&[batch], &*spec.shape[1..].iter().map(|&dim| fixed(dim)).collect::<Vec<_>>()].concat()
        };
        let mut shapes: Vec<_> = specs.inputs().iter().map(shape).collect();
        self.reshape(&model, &inputs, &mut shapes)?;
        let outputs = model.outputs().map_err(|reason| self.corrupt(reason))?;
        let follows = |(port, spec): (&Port, &TensorSpec)| {
            let Some([first, rest @ ..]) = port.dims.as_deref() else { return false };
            let rest: Option<Vec<_>> = rest.iter().map(|&dim| as_fixed(dim)).collect();
            as_fixed(*first).is_none() && spec.shape.first() == Some(&1) && rest.as_deref() == Some(&spec.shape[1..])
        };
        if !outputs.iter().zip(specs.outputs()).all(follows) {
            return Ok(None);
        }
        convert(model, &outputs).map(Some)
    }

    fn parse(&self, core: &Core) -> Result<Model, LoadError> {
        // By path where that works, so that weights in files beside the model are found.
        let parsed = if self.is_ir || has_extension(self.path, "onnx") {
            core.read(self.path)
        } else {
            core.read_bytes(&self.bytes[0])
        };
        parsed.map_err(|reason| {
            let lower = reason.to_lowercase();
            if ["no conversion rule", "not support", "unsupported", "not implemented"]
                .iter()
                .any(|words| lower.contains(words))
            {
                LoadError::UnsupportedOperator { path: self.path.to_owned(), engine: NAME, reason }
            } else {
                self.corrupt(reason)
            }
        })
    }

    fn inputs(&self, ports: &[Port], options: &EngineOptions) -> Result<Vec<TensorSpec>, LoadError> {
        let mut settled = Settled::default();
        let spec = |(index, port): (usize, &Port)| {
            let name = port.name.clone().unwrap_or_else(|| format!("input{index}"));
            let dtype = dtype(port.element_type).ok_or_else(|| self.bad_dtype("input", &name, port.element_type))?;
            let dims: Option<Vec<_>> = port.dims.as_ref().map(|dims| {
                dims.iter().enumerate().map(|(axis, &dim)| self.dimension(index, &name, axis, dim)).collect()
            });
            let wanted = options.input_shape.as_deref().filter(|_| index == 0);
            let shape = settled.input(self.path, &name, dims.as_deref(), wanted)?;
            Ok(TensorSpec::new(name, dtype, shape))
        };
        ports.iter().enumerate().map(spec).collect()
    }

    /// An open dimension has the file's name for it, or one of its own.
    fn dimension(&self, index: usize, input: &str, axis: usize, dim: Bounds) -> Dim {
        let named = || {
            let known = self.open_dimensions.iter().find(|(of, at, _)| of == input && *at == axis);
            known.map_or_else(|| format!("dimension {axis} of input {index}"), |(_, _, name)| name.clone())
        };
        as_fixed(dim).map_or_else(|| Dim::Named(named()), Dim::Fixed)
    }

    /// Settles the inputs where any of them is open.
    fn reshape(&self, model: &Model, inputs: &[Port], shapes: &mut [Vec<Bounds>]) -> Result<(), LoadError> {
        if inputs.iter().zip(&*shapes).all(|(port, shape)| port.dims.as_ref() == Some(shape)) {
            return Ok(());
        }
        let described = format!(
            "{:?}",
            shapes.iter().map(|dims| dims.iter().map(|dim| dim.max).collect()).collect::<Vec<Vec<_>>>()
        );
        model.reshape(shapes).map_err(|reason| {
            self.bad_shape(format!("it cannot have inputs of {described}: {reason}. Give other sizes by `input_shape`"))
        })
    }

    /// The outputs' specs, and the model with those converted that no area can hold.
    fn outputs(&self, model: Model) -> Result<(Model, Vec<TensorSpec>), LoadError> {
        let ports = model.outputs().map_err(|reason| self.corrupt(reason))?;
        let mut specs = Vec::with_capacity(ports.len());
        for (index, port) in ports.iter().enumerate() {
            let name = port.name.clone().unwrap_or_else(|| format!("output{index}"));
            if matches!(element_type_name(port.element_type), "dynamic" | "string" | "unknown") {
                return Err(self.bad_dtype("output", &name, port.element_type));
            }
            let shape: Option<Vec<_>> =
                port.dims.as_ref().and_then(|dims| dims.iter().map(|&dim| as_fixed(dim)).collect());
            let Some(shape) = shape else {
                return Err(self.bad_shape(format!(
                    "the size of output \"{name}\" depends on the data: export the model with a fixed number of results"
                )));
            };
            specs.push(TensorSpec::new(name, dtype(port.element_type).unwrap_or(DType::F32), shape));
        }
        Ok((convert(model, &ports)?, specs))
    }

    fn corrupt(&self, reason: String) -> LoadError {
        LoadError::CorruptModel { path: self.path.to_owned(), engine: NAME, reason }
    }

    fn bad_shape(&self, reason: String) -> LoadError {
        LoadError::UnsupportedShape { path: self.path.to_owned(), reason }
    }

    fn bad_dtype(&self, direction: &'static str, tensor: &str, number: c_int) -> LoadError {
        let dtype = element_type_name(number).to_owned();
        LoadError::UnsupportedDtype { path: self.path.to_owned(), direction, tensor: tensor.to_owned(), dtype }
    }
}

/// The model with those outputs in f32 that no area can hold as they are.
fn convert(model: Model, outputs: &[Port]) -> Result<Model, LoadError> {
    let other = |(index, port): (usize, &Port)| dtype(port.element_type).is_none().then_some(index);
    let others: Vec<_> = outputs.iter().enumerate().filter_map(other).collect();
    if others.is_empty() {
        return Ok(model);
    }
    model.with_f32(&others).map_err(|reason| LoadError::Runtime { engine: NAME, reason })
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => LoadError::MissingFile { path: path.to_owned() },
        _ => LoadError::Unreadable { path: path.to_owned(), source },
    })
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

fn dtype(number: c_int) -> Option<DType> {
    DType::ALL.into_iter().find(|&dtype| element_type(dtype) == number)
}

fn fixed(dim: usize) -> Bounds {
    Bounds { min: dim as i64, max: dim as i64 }
}

fn as_fixed(dim: Bounds) -> Option<usize> {
    usize::try_from(dim.max).ok().filter(|_| dim.min == dim.max)
}
