//! Arm NN: TensorFlow Lite models on Arm's processors and GPUs, through a shim (`shims/armnn.cpp`).
//!
//! Images are `[N, H, W, C]` there. A network computes inside `submit`; where the backend can, it reads the input area and writes the output area in
//! place. Its batch is what the file says, one frame.

mod ffi;

use crate::area;
use crate::available::Availability;
use crate::dtype::DType;
use crate::engine::{Description, Engine, Finished, Submitted, Ticket};
use crate::error::{EngineError, LoadError};
use crate::finished::{FINISHED_MAX, FinishedQueue};
use crate::model_file;
use crate::options::{EngineOptions, Precision};
use crate::shape::Settled;
use crate::shim::{self, Element, Tensor};
use crate::spec::{Specs, TensorSpec};
use std::path::{Path, PathBuf};
use std::time::Instant;

const NAME: &str = "armnn";

/// Backends in the order in which one is taken that is not named.
const PREFERRED: [&str; 2] = ["CpuAcc", "CpuRef"];

/// Computes for the record, slowly: what is left over when no other backend is there.
const REFERENCE: &str = "CpuRef";

/// Runs that fill the library's pools. It computes on the caller's thread, or on threads of its own that wait for work.
const WARM_UP_RUNS: usize = 2;

/// `flumeway_direction`.
const INPUT: u32 = 0;
const OUTPUT: u32 = 1;

pub(crate) fn load(model: &Path, options: &EngineOptions) -> Result<Box<dyn Engine>, LoadError> {
    let bytes = model_file::read_tflite(model, NAME)?;
    let (_, library, available) = open(options)?;
    let backends = choose(options, &available)?;
    // Half floats are half the work on a device that has them; the reference backend only computes them more slowly.
    let reduced = options.precision == Precision::Reduced && backends[0] != REFERENCE;
    let network = library
        .load(&bytes, &backends.join(","), options.threads as u32, reduced)
        .map_err(|failure| failure.into_load_error(NAME, model))?;
    let tensors = |direction| {
        let failed = |reason| LoadError::Runtime { engine: NAME, reason };
        network.tensors(direction).map_err(failed)
    };
    let (inputs, outputs) = (tensors(INPUT)?, tensors(OUTPUT)?);
    let specs = specs(model, &inputs, &outputs, options)?;
    let converted = outputs.iter().map(|tensor| Converted::new(tensor.element, &specs, tensor)).collect();
    let chosen = Chosen { version: library.version(), backends, reduced, threads: options.threads };
    let finished = FinishedQueue::new();
    Ok(Box::new(ArmnnEngine { network, specs, converted, chosen, finished }))
}

pub(crate) fn probe(options: &EngineOptions) -> Availability {
    match open(options) {
        Ok((path, library, devices)) => Availability {
            engine: NAME,
            version: Some(library.version()),
            library: Some(path),
            devices: devices.iter().map(|name| name.to_lowercase()).collect(),
            note: Some("reads TensorFlow Lite files".to_owned()),
        },
        Err(error) => Availability::missing(NAME, error.to_string()),
    }
}

/// The library, where it lies, and its backends, of which there is at least one.
fn open(options: &EngineOptions) -> Result<(PathBuf, ffi::Armnn, Vec<String>), LoadError> {
    let path = shim::find(NAME, options)?;
    let missing = |reason| shim::no_runtime(NAME, reason);
    let library = ffi::Armnn::open(&path).map_err(missing)?;
    let backends = library.backends().map_err(missing)?;
    if backends.is_empty() {
        let reason = format!("Arm NN {} has no backend (Debian: libarmnn-cpuref-backend22)", library.version());
        return Err(missing(reason));
    }
    Ok((path, library, backends))
}

/// The backends to use, best first: the one that is named and, for layers that it lacks, those of the processor.
fn choose(options: &EngineOptions, available: &[String]) -> Result<Vec<String>, LoadError> {
    let find = |wanted: &str| available.iter().find(|name| name.eq_ignore_ascii_case(wanted)).cloned();
    let mut backends: Vec<_> = PREFERRED.into_iter().filter_map(find).collect();
    match options.device.as_deref() {
        None | Some("cpu") if !backends.is_empty() => {}
        None => backends = available.to_vec(),
        Some(wanted) => {
            let Some(named) = find(wanted) else {
                let there = available.join(", ").to_lowercase();
                let reason = format!("Arm NN has no device \"{wanted}\" here: write one of {there}, or none");
                return Err(LoadError::BadOptions { reason });
            };
            // The reference is asked for where nothing else shall compute.
            backends.retain(|name| *name != named && named != REFERENCE);
            backends.insert(0, named);
        }
    }
    Ok(backends)
}

fn specs(path: &Path, inputs: &[Tensor], outputs: &[Tensor], options: &EngineOptions) -> Result<Specs, LoadError> {
    let unsupported = |direction, tensor: &Tensor| LoadError::UnsupportedDtype {
        path: path.to_owned(),
        direction,
        tensor: tensor.name.clone(),
        dtype: format!("{:?}", tensor.element),
    };
    let mut settled = Settled::default();
    let mut input_specs = Vec::with_capacity(inputs.len());
    for (index, tensor) in inputs.iter().enumerate() {
        let Element::Area(dtype) = tensor.element else { return Err(unsupported("input", tensor)) };
        let wanted = options.input_shape.as_deref().filter(|_| index == 0);
        let shape = settled.input(path, &tensor.name, Some(&tensor.dims), wanted)?;
        input_specs.push(TensorSpec::new(&tensor.name, dtype, shape));
    }
    let mut output_specs = Vec::with_capacity(outputs.len());
    for tensor in outputs {
        let dtype = match tensor.element {
            Element::Area(dtype) => dtype,
            Element::I32 | Element::I64 | Element::Bool => DType::F32,
            Element::Other => return Err(unsupported("output", tensor)),
        };
        let shape = settled.output(Some(&tensor.dims)).ok_or_else(|| LoadError::UnsupportedShape {
            path: path.to_owned(),
            reason: format!("output \"{}\" has no fixed shape: export the model with one", tensor.name),
        })?;
        output_specs.push(TensorSpec::new(&tensor.name, dtype, shape));
    }
    Specs::new(input_specs, output_specs)
        .map_err(|error| LoadError::UnsupportedShape { path: path.to_owned(), reason: error.to_string() })
}

/// Where an output goes first that no area holds as it is.
struct Converted {
    element: Element,
    scratch: area::Scratch,
}

impl Converted {
    fn new(element: Element, specs: &Specs, tensor: &Tensor) -> Option<Self> {
        if matches!(element, Element::Area(_)) {
            return None;
        }
        let spec = specs.outputs().iter().find(|spec| spec.name == tensor.name)?;
        Some(Self { element, scratch: area::Scratch::new(spec.elements() * element.bytes()?) })
    }
}

/// What was decided at load.
struct Chosen {
    version: String,
    backends: Vec<String>,
    reduced: bool,
    threads: usize,
}

/// A network loaded by Arm NN.
struct ArmnnEngine {
    network: ffi::Network,
    specs: Specs,
    /// For each output.
    converted: Vec<Option<Converted>>,
    chosen: Chosen,
    finished: FinishedQueue,
}

impl ArmnnEngine {
    fn compute(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), EngineError> {
        let specs = &self.specs;
        let inputs = (0..specs.inputs().len()).filter_map(|index| input.get(specs.input_range(index)?));
        let (mut rest, mut at) = (&mut *output, 0);
        let outputs = self.converted.iter_mut().enumerate().filter_map(|(index, converted)| {
            let range = specs.output_range(index)?;
            let (tensor, tail) = std::mem::take(&mut rest).split_at_mut(range.start - at).1.split_at_mut(range.len());
            (rest, at) = (tail, range.end);
            Some(converted.as_mut().map_or(tensor, |converted| converted.scratch.get_mut()))
        });
        self.network.run(inputs, outputs).map_err(EngineError::Run)?;
        for (index, converted) in self.converted.iter().enumerate() {
            if let Some(Converted { element, scratch }) = converted {
                shim::convert(*element, scratch.get(), area::output(specs, output, index)?);
            }
        }
        Ok(())
    }
}

impl Engine for ArmnnEngine {
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
        let mut areas = area::ScratchAreas::new(&self.specs);
        for _ in 0..WARM_UP_RUNS {
            let (input, output) = areas.split();
            self.compute(input, output)?;
        }
        Ok(())
    }

    fn describe(&self) -> Description {
        let Chosen { version, backends, reduced, threads } = &self.chosen;
        let place = if self.network.in_place() { "in place" } else { "through copies of Arm NN's" };
        let slow = if backends[0] == REFERENCE {
            "; CpuRef is for checking answers and slow: CpuAcc needs an Arm processor and libarmnn-cpuacc-backend"
        } else {
            ""
        };
        Description {
            engine: NAME,
            version: version.clone(),
            device: backends[0].to_lowercase(),
            precision: if *reduced { "f16" } else { "model" },
            // The reference has one thread whatever is asked for.
            threads: if backends[0] == REFERENCE { 1 } else { *threads },
            in_flight_max: FINISHED_MAX,
            note: format!("backends {}; areas are used {place}{slow}", backends.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(device: Option<&str>, available: &[&str]) -> Result<Vec<String>, LoadError> {
        let options = EngineOptions { device: device.map(str::to_owned), ..EngineOptions::default() };
        choose(&options, &available.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_fastest_backend_of_the_processor_comes_first() {
        assert_eq!(chosen(None, &["CpuRef", "GpuAcc", "CpuAcc"]).unwrap(), ["CpuAcc", "CpuRef"]);
        assert_eq!(chosen(Some("cpu"), &["CpuRef"]).unwrap(), ["CpuRef"]);
        assert_eq!(chosen(Some("gpuacc"), &["CpuAcc", "CpuRef", "GpuAcc"]).unwrap(), ["GpuAcc", "CpuAcc", "CpuRef"]);
        assert_eq!(chosen(Some("cpuref"), &["CpuAcc", "CpuRef"]).unwrap(), ["CpuRef"]);
        assert_eq!(chosen(None, &["EthosNAcc"]).unwrap(), ["EthosNAcc"]);
    }

    #[test]
    fn a_device_that_is_not_here_is_answered_with_those_that_are() {
        let refused = chosen(Some("gpuacc"), &["CpuRef"]).unwrap_err().to_string();
        assert!(refused.contains("\"gpuacc\"") && refused.contains("cpuref"), "{refused}");
    }
}
