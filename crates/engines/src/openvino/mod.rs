//! OpenVINO, through its C library, loaded at run time.
//!
//! Tensors are views of the areas: the library reads inputs and writes outputs where they lie. On the processor a frame is computed on the calling thread
//! inside `submit`; where other cores or a device can compute meanwhile, frames in lasting memory are given to requests that go on after it.

mod batch;
mod cache;
mod device;
mod direct;
mod engine;
mod ffi;
mod model;
mod onnx_names;
mod request;

use self::batch::Batches;
use self::cache::Entry;
use self::device::Device;
use self::engine::OpenVinoEngine;
use self::ffi::OpenVino;
use self::model::ModelFile;
use self::model::ffi::{CompiledModel, Core, Model};
use crate::available::Availability;
use crate::engine::{Description, Engine};
use crate::error::LoadError;
use crate::finished::FINISHED_MAX;
use crate::options::EngineOptions;
use crate::runtime;
use std::path::Path;
use std::sync::Arc;

const NAME: &str = "openvino";

/// The C interface's library, which brings the others.
const LIBRARY: &str = "libopenvino_c.so";

const REMEDY: &str = "Install it with `make engines`, or name by `runtime_dir` the folder in which `openvino/libopenvino_c.so` lies with the libraries \
                      of the same release";

/// Loads a model; see [`crate::load`].
pub(crate) fn load(path: &Path, options: &EngineOptions) -> Result<Box<dyn Engine>, LoadError> {
    let library = open(options)?;
    let file = ModelFile::read(path)?;
    let core = Core::new(library).map_err(failed)?;
    let device = Device::choose(&core, options)?;
    let settled = file.settle(&core, options)?;
    let compiler = Compiler { core: &core, device: &device, file: &file, path, options };
    let compiled = compiler.compile(&settled.model, &format!("{:?}", settled.specs))?;
    let batches = match options.max_batch.min(FINISHED_MAX) {
        1 => None,
        max => compiler.compile_batches(library, &settled.specs, max)?,
    };
    let asynchronous = is_asynchronous(options, &device);
    let mut notes = vec![device.memory_note(&core)];
    notes.extend(device.note.clone());
    let beside = "frames in the arena are computed beside the caller";
    notes.push(if asynchronous { beside } else { "frames are computed on the caller's thread" }.to_owned());
    if options.max_batch > 1 && batches.is_none() {
        notes.push("no batches: the model's first dimension is not open in all inputs and outputs".to_owned());
    }
    if options.cache_dir.is_some() && !file.is_whole {
        notes.push("not cached: the model's weights lie in other files".to_owned());
    }
    let threads = compiled.property(c"INFERENCE_NUM_THREADS").ok().and_then(|threads| threads.parse().ok());
    let description = Description {
        engine: NAME,
        version: library.version.clone(),
        device: core.property(&device.name, c"FULL_DEVICE_NAME").unwrap_or_else(|_| device.name.to_lowercase()),
        precision: device::compiled_precision(&compiled, file.is_quantised),
        threads: threads.unwrap_or(options.threads),
        in_flight_max: if asynchronous { options.max_in_flight } else { 1 },
        note: notes.join("; "),
    };
    Ok(Box::new(OpenVinoEngine::new(library, &compiled, settled.specs, batches, description)?))
}

/// Whether OpenVINO is here, and what it finds; see [`crate::survey`].
pub(crate) fn probe(options: &EngineOptions) -> Availability {
    let asked = open(options).and_then(|library| {
        let devices = Core::new(library).and_then(|core| core.devices()).map_err(failed)?;
        Ok((library, devices))
    });
    match asked {
        Ok((library, devices)) => Availability {
            engine: NAME,
            version: Some(library.version.clone()),
            library: Some(library.path.clone()),
            devices: devices.iter().map(|device| device.to_lowercase()).collect(),
            note: None,
        },
        Err(error) => Availability::missing(NAME, error.to_string()),
    }
}

/// Opens the first library that can be used.
fn open(options: &EngineOptions) -> Result<&'static OpenVino, LoadError> {
    let folders = runtime::folders(NAME, options);
    let mut unusable = Vec::new();
    for path in runtime::libraries(&folders, LIBRARY) {
        match OpenVino::open(&path) {
            Ok(library) => return Ok(library),
            Err(reason) => unusable.push(reason),
        }
    }
    let reason = if unusable.is_empty() {
        format!("{LIBRARY} is in none of {}", runtime::listed(&folders))
    } else {
        unusable.join("; ")
    };
    Err(LoadError::NoRuntime { engine: NAME, reason, remedy: REMEDY.to_owned() })
}

/// On the processor, computing beside the caller takes another core than the caller's: with one core the two only take it from one another.
fn is_asynchronous(options: &EngineOptions, device: &Device) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    options.max_in_flight > 1 && (cores > 1 || !device.is_cpu())
}

/// What is the same for all forms of a model.
struct Compiler<'a> {
    core: &'a Core,
    device: &'a Device,
    file: &'a ModelFile<'a>,
    path: &'a Path,
    options: &'a EngineOptions,
}

impl Compiler<'_> {
    /// Compiles the model, or takes it from the cache. `form` tells one form from others of the same file.
    fn compile(&self, model: &Model, form: &str) -> Result<Arc<CompiledModel>, LoadError> {
        let entry = self.cache_entry(form)?;
        let kept = entry.as_ref().and_then(|entry| self.core.import(entry.load()?, &self.device.name).ok());
        if let Some(kept) = kept {
            return Ok(Arc::new(kept));
        }
        let compiled = self.core.compile(model, &self.device.name).map_err(|reason| {
            // The model is well-formed: its reader has taken it.
            LoadError::UnsupportedOperator { path: self.path.to_owned(), engine: NAME, reason }
        })?;
        if let Some(entry) = entry {
            entry.store(|path| compiled.export(path));
        }
        Ok(Arc::new(compiled))
    }

    fn cache_entry(&self, form: &str) -> Result<Option<Entry>, LoadError> {
        let Some(cache_dir) = self.options.cache_dir.as_deref().filter(|_| self.file.is_whole) else { return Ok(None) };
        let machine = self.core.property(&self.device.name, c"FULL_DEVICE_NAME").unwrap_or_default();
        let abilities = self.core.property(&self.device.name, c"OPTIMIZATION_CAPABILITIES").unwrap_or_default();
        let [model, weights] = &self.file.bytes;
        let settings = self.device.settings.join("\n");
        let texts = [&self.core.library.version, &self.device.name, &machine, &abilities, &settings];
        let mut parts = vec![model.as_slice(), weights.as_slice(), form.as_bytes()];
        parts.extend(texts.map(String::as_bytes));
        Entry::new(cache_dir, &parts).map(Some)
    }

    fn compile_batches(
        &self,
        library: &'static OpenVino,
        specs: &crate::spec::Specs,
        max: usize,
    ) -> Result<Option<Batches>, LoadError> {
        let Some(model) = self.file.settle_batch(self.core, specs, max)? else { return Ok(None) };
        let compiled = self.compile(&model, &format!("{specs:?} batch 1..={max}"))?;
        Batches::new(library, &compiled, specs, max).map(Some).map_err(failed)
    }
}

fn failed(reason: String) -> LoadError {
    LoadError::Runtime { engine: NAME, reason }
}
