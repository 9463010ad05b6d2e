//! From an ONNX file to a plan on the device, and to the tensors that it has.

use super::NAME;
use super::ffi::{DIMS_MAX, INPUT, Loaded, Network, OUTPUT, Sizes};
use super::library::Found;
use super::plan_cache::PlanCache;
use super::slot::Layout;
use crate::dtype::DType;
use crate::error::LoadError;
use crate::model_file;
use crate::options::{EngineOptions, Precision};
use crate::shape::{Dim, Settled};
use crate::shim::{Element, Tensor};
use crate::spec::{Specs, TensorSpec};
use std::path::Path;
use std::sync::Arc;

/// How the plan came about, for the description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Cached,
    Built,
    /// Built, and not kept, for that reason.
    BuiltOnly(String),
}

/// Loads the plan of `model`, which is built where it is not at hand.
///
/// # Errors
/// As [`crate::load`].
pub(super) fn load(
    found: &Found,
    model: &Path,
    options: &EngineOptions,
) -> Result<(Arc<Loaded>, Layout, Origin), LoadError> {
    let bytes = model_file::read(model, NAME)?;
    let reduced = options.precision == Precision::Reduced;
    let cache = cache(found, &bytes, options);
    if let Ok(cache) = &cache {
        // A plan that is whole and is refused all the same is made anew.
        let loaded = cache.read().and_then(|plan| found.tensorrt.load(&plan).ok());
        if let Some(loaded) = loaded {
            let layout = layout(&loaded, model)?;
            return Ok((loaded, layout, Origin::Cached));
        }
    }
    let refused = |failure: crate::shim::Failure| failure.into_load_error(NAME, model);
    let mut network = found.tensorrt.parse(model, reduced).map_err(refused)?;
    let sizes = settle(&network, model, options)?;
    let plan = network.build(&sizes).map_err(refused)?;
    let loaded = found.tensorrt.load(&plan).map_err(refused)?;
    let layout = layout(&loaded, model)?;
    let kept =
        cache.and_then(|cache| cache.write(&plan).map_err(|error| format!("cache_dir cannot be written: {error}")));
    Ok((loaded, layout, kept.map_or_else(Origin::BuiltOnly, |()| Origin::Built)))
}

/// Where the plan is kept; or why it is not.
fn cache(found: &Found, model: &[u8], options: &EngineOptions) -> Result<PlanCache, String> {
    let folder = options.cache_dir.as_deref().ok_or("cache_dir is not set")?;
    // Weights in other files may change while the model's own bytes do not. The word stands at each of them.
    if model.windows(8).any(|word| word == b"location") {
        return Err("the model keeps weights in other files".to_owned());
    }
    let device = &found.device;
    let machine = format!(
        "{} {:?} cuda {} tensorrt {} shim {}",
        device.name, device.capability, device.driver, found.tensorrt.version, found.tensorrt.major
    );
    let wanted = format!("{:?} {} {:?}", options.precision, options.max_batch, options.input_shape);
    Ok(PlanCache::new(folder, &[model, machine.as_bytes(), wanted.as_bytes()]))
}

/// The sizes to build for.
fn settle(network: &Network, path: &Path, options: &EngineOptions) -> Result<Vec<Sizes>, LoadError> {
    let inputs = network.inputs().map_err(|reason| LoadError::Runtime { engine: NAME, reason })?;
    let mut settled = Settled::default();
    let mut all = Vec::with_capacity(inputs.len());
    // A batch is the outermost dimension of every input, and left open.
    let batches = inputs.iter().all(|input| input.dims.len() > 1 && matches!(input.dims[0], Dim::Named(_)));
    for (index, input) in inputs.iter().enumerate() {
        area_type(path, "input", input)?;
        let wanted = options.input_shape.as_deref().filter(|_| index == 0);
        let shape = settled.input(path, &input.name, Some(&input.dims), wanted)?;
        let mut sizes = Sizes::default();
        for (axis, &size) in shape.iter().enumerate().take(DIMS_MAX) {
            (sizes.least[axis], sizes.most[axis]) = (size as i64, size as i64);
        }
        if batches && sizes.least[0] == 1 {
            sizes.most[0] = options.max_batch as i64;
        }
        all.push(sizes);
    }
    Ok(all)
}

/// The tensors of a plan, as one frame has them.
fn layout(loaded: &Arc<Loaded>, path: &Path) -> Result<Layout, LoadError> {
    let failed = |reason| LoadError::Runtime { engine: NAME, reason };
    let inputs = loaded.tensors(INPUT).map_err(failed)?;
    let outputs = loaded.tensors(OUTPUT).map_err(failed)?;
    let sizes = (0..inputs.len()).map(|index| loaded.sizes(index)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut context = loaded.context().map_err(|failure| failed(failure.message))?;
    let mut input_specs = Vec::with_capacity(inputs.len());
    for (index, (input, sizes)) in inputs.iter().zip(&sizes).enumerate() {
        let Element::Area(dtype) = area_type(path, "input", input)? else {
            return Err(unsupported(path, "input", input));
        };
        let shape: Vec<_> = sizes.least[..input.dims.len()].iter().map(|&size| size as usize).collect();
        context.shape(index, &sizes.least).map_err(failed)?;
        input_specs.push(TensorSpec::new(&input.name, dtype, shape));
    }
    let mut output_specs = Vec::with_capacity(outputs.len());
    for (index, output) in outputs.iter().enumerate() {
        let dtype = match area_type(path, "output", output)? {
            Element::Area(dtype) => dtype,
            _ => DType::F32,
        };
        let sized = context.output(index).and_then(|tensor| fixed(&tensor.dims));
        let shape = sized.ok_or_else(|| LoadError::UnsupportedShape {
            path: path.to_owned(),
            reason: format!(
                "the size of output \"{}\" depends on the data: export the model with a fixed one",
                output.name
            ),
        })?;
        output_specs.push(TensorSpec::new(&output.name, dtype, shape));
    }
    let specs = Specs::new(input_specs, output_specs)
        .map_err(|error| LoadError::UnsupportedShape { path: path.to_owned(), reason: error.to_string() })?;
    let mut layout =
        Layout { specs, sizes, elements: outputs.iter().map(|output| output.element).collect(), batch_max: 1 };
    layout.batch_max = batch_max(&layout, &mut context);
    Ok(layout)
}

/// Most frames of a batch: what the plan was built for, if every output grows with the batch.
fn batch_max(layout: &Layout, context: &mut super::ffi::Context) -> usize {
    let most = layout.sizes.iter().map(|sizes| if sizes.least[0] == 1 { sizes.most[0] } else { 1 }).min().unwrap_or(1);
    let Ok(frames @ 2..) = usize::try_from(most) else { return 1 };
    let shaped = layout.sizes.iter().enumerate().all(|(index, sizes)| context.shape(index, &sizes.most).is_ok());
    let grows = layout.specs.outputs().iter().enumerate().all(|(index, spec)| {
        let dims = context.output(index).and_then(|tensor| fixed(&tensor.dims));
        dims.is_some_and(|dims| {
            dims.len() > 1 && dims[0] == frames && spec.shape[0] == 1 && dims[1..] == spec.shape[1..]
        })
    });
    if shaped && grows { frames } else { 1 }
}

fn fixed(dims: &[Dim]) -> Option<Vec<usize>> {
    dims.iter().map(|dim| if let Dim::Fixed(size) = dim { Some(*size) } else { None }).collect()
}

/// The element type, if it can be served.
fn area_type(path: &Path, direction: &'static str, tensor: &Tensor) -> Result<Element, LoadError> {
    match tensor.element {
        Element::Area(_) => Ok(tensor.element),
        Element::I32 | Element::I64 | Element::Bool if direction == "output" => Ok(tensor.element),
        _ => Err(unsupported(path, direction, tensor)),
    }
}

fn unsupported(path: &Path, direction: &'static str, tensor: &Tensor) -> LoadError {
    let (path, dtype) = (path.to_owned(), format!("{:?}", tensor.element));
    LoadError::UnsupportedDtype { path, direction, tensor: tensor.name.clone(), dtype }
}
