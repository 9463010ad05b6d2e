//! Inference engines behind one asynchronous interface.
//!
//! [`load`] turns an engine's name, a model file and [`EngineOptions`] into a [`Box<dyn Engine>`]. The caller [`Engine::submit`]s
//! frames whose tensors lie in memory that it owns, and takes them back by [`Engine::poll`]; an engine that computes on the caller's
//! thread finishes inside `submit`, one that drives a device keeps several frames in flight. [`Specs`] says which tensors the
//! model reads and writes and where each lies in the input and the output area.
//!
//! | engine | model | what for |
//! |---|---|---|
//! | `rten` | ONNX | built in: the default |
//! | `tract` | ONNX | build feature `tract`; faster, builds for minutes |
//! | `onnxruntime` | ONNX | its library, loaded at run time where one is found |
//! | `tensorrt` | ONNX | NVIDIA's GPUs; through a shim that is opened at run time |
//! | `armnn` | TensorFlow Lite | Arm NN, on Arm's processors and GPUs; through a shim that is opened at run time |
//! | `openvino` | ONNX, OpenVINO's own | a library of the machine: Intel's and other x86-64 processors, GPUs, NPUs |
//! | `null` | shapes from a model or from the options | measuring everything else |
//! | `delay` | as `null` | an engine that takes a known time |
//! | `abort` | as `null` | tests: kills its process on a marked input |
#![deny(unsafe_code)]

mod abort;
mod area;
mod armnn;
mod available;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod delay;
mod describe;
mod dtype;
mod engine;
mod error;
mod finished;
mod identity;
mod kind;
mod measure;
mod model_file;
mod null;
mod onnx_check;
mod onnxruntime;
mod openvino;
mod options;
mod regions;
mod rten_engine;
mod runtime;
mod shape;
mod shim;
mod spec;
mod tensorrt;
#[cfg(test)]
mod tests;
mod tflite_check;
mod tflite_operators;
#[cfg(feature = "tract")]
mod tract_engine;

pub use abort::{ABORT_MARKER, TEST_ENGINES_VARIABLE};
pub use area::Scratch;
pub use available::{Availability, probe, survey};
pub use describe::describe_model_json;
pub use dtype::DType;
pub use engine::{Description, Engine, Finished, Frame, Submitted, Ticket};
pub use error::{EngineError, LoadError};
pub use identity::{choice_key, is_quantised, model_sha256};
pub use kind::EngineKind;
pub use measure::{Measured, measure};
pub use options::{EngineOptions, Precision};
pub use regions::Regions;
pub use runtime::RUNTIME_DIR_VARIABLE;
pub use spec::{AREA_ALIGN_BYTES, SpecError, Specs, TensorSpec};

use std::path::Path;

/// Loads the engine called `name` (see [`EngineKind`]) with `model`.
///
/// All but the test engines need a model; these take shapes from it if one is given, else from `options`. Loading may take seconds,
/// allocates, and starts the engine's worker threads, which inherit the processor affinity of the calling thread: pin first.
///
/// # Errors
/// [`LoadError`], whose message names the cause and the remedy.
pub fn load(name: &str, model: Option<&Path>, options: &EngineOptions) -> Result<Box<dyn Engine>, LoadError> {
    let kind: EngineKind = name.parse()?;
    options.check()?;
    match kind {
        EngineKind::Rten => Ok(Box::new(rten_engine::RtenEngine::load(required(kind, model)?, options)?)),
        EngineKind::Tract => load_tract(required(kind, model)?, options),
        EngineKind::Onnxruntime => onnxruntime::load(required(kind, model)?, options),
        EngineKind::Openvino => openvino::load(required(kind, model)?, options),
        EngineKind::Tensorrt => tensorrt::load(required(kind, model)?, options),
        EngineKind::Armnn => armnn::load(required(kind, model)?, options),
        EngineKind::Null => Ok(Box::new(null::NullEngine::load(model, options)?)),
        EngineKind::Delay => Ok(Box::new(delay::DelayEngine::load(model, options)?)),
        EngineKind::Abort => Ok(Box::new(abort::AbortEngine::load(model, options)?)),
    }
}

fn required(kind: EngineKind, model: Option<&Path>) -> Result<&Path, LoadError> {
    model.ok_or(LoadError::NoModel { engine: kind.name() })
}

#[cfg(feature = "tract")]
fn load_tract(model: &Path, options: &EngineOptions) -> Result<Box<dyn Engine>, LoadError> {
    Ok(Box::new(tract_engine::TractEngine::load(model, options)?))
}

#[cfg(not(feature = "tract"))]
fn load_tract(_model: &Path, _options: &EngineOptions) -> Result<Box<dyn Engine>, LoadError> {
    Err(LoadError::NotBuilt { engine: "tract", feature: "tract" })
}
