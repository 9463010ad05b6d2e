//! What can go wrong, and what to do about it.

use crate::abort::TEST_ENGINES_VARIABLE;
use crate::spec::SpecError;
use std::path::PathBuf;
use thiserror::Error;

/// Why an engine did not load.
#[derive(Debug, Error)]
pub enum LoadError {
    /// No engine of that name.
    #[error("unknown engine \"{name}\": choose one of {known}")]
    UnknownEngine {
        /// The name asked for.
        name: String,
        /// Names that exist in this binary.
        known: String,
    },
    /// The engine exists but was left out of this binary.
    #[error("this binary was built without the engine {engine}: build it with `--features {feature}`, or use rten")]
    NotBuilt {
        /// The engine.
        engine: &'static str,
        /// The cargo feature that adds it.
        feature: &'static str,
    },
    /// The library that computes is not there, or not one that can be used.
    #[error("the engine {engine} cannot be used: {reason}. {remedy}")]
    NoRuntime {
        /// The engine.
        engine: &'static str,
        /// What was looked for and where, or what the library said.
        reason: String,
        /// What to install or to write.
        remedy: String,
    },
    /// The engine's library failed outside of any particular model.
    #[error("the engine {engine} failed: {reason}")]
    Runtime {
        /// The engine.
        engine: &'static str,
        /// What it said.
        reason: String,
    },
    /// The engine runs models and got none.
    #[error("the engine {engine} needs a model: name an ONNX file")]
    NoModel {
        /// The engine.
        engine: &'static str,
    },
    /// There is no file at the path.
    #[error("model {path} does not exist: check the path (relative paths start at the working directory)", path = .path.display())]
    MissingFile {
        /// The path.
        path: PathBuf,
    },
    /// There is something at the path that cannot be read as a file.
    #[error("model {path} cannot be read ({source}): check that it is a file and that this user may read it", path = .path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are no model, or a damaged one.
    #[error("model {path} is damaged or no ONNX model; {engine} cannot take it: {reason}. Export or copy it again, and compare checksums", path = .path.display())]
    CorruptModel {
        /// The path.
        path: PathBuf,
        /// The engine that tried.
        engine: &'static str,
        /// What its parser said.
        reason: String,
    },
    /// A well-formed model that uses something the engine lacks.
    #[error("model {path} uses what the engine {engine} does not support: {reason}. Export it with standard ONNX operators (opset 17 is safe), or use another engine", path = .path.display())]
    UnsupportedOperator {
        /// The path.
        path: PathBuf,
        /// The engine.
        engine: &'static str,
        /// What it said, naming operator or node.
        reason: String,
    },
    /// A tensor's shape cannot be served.
    #[error("model {path}: {reason}", path = .path.display())]
    UnsupportedShape {
        /// The path.
        path: PathBuf,
        /// Names the tensor and the dimension, and says what to do.
        reason: String,
    },
    /// A tensor's element type cannot be served.
    #[error("model {path}: {direction} \"{tensor}\" has element type {dtype}: the engine takes none of f32, f16, u8, i8 there; export the model with a cast", path = .path.display())]
    UnsupportedDtype {
        /// The path.
        path: PathBuf,
        /// `input` or `output`.
        direction: &'static str,
        /// Name of the tensor.
        tensor: String,
        /// Its type in the engine's words.
        dtype: String,
    },
    /// The model loads and fails when run.
    #[error("model {path} does not run: {source}", path = .path.display())]
    TrialRun {
        /// The path.
        path: PathBuf,
        /// What happened.
        source: EngineError,
    },
    /// Options that contradict each other or the model.
    #[error("engine options: {reason}")]
    BadOptions {
        /// What is wrong and what to write.
        reason: String,
    },
    /// The abort engine was asked for without the two-step consent.
    #[error(
        "the engine abort kills its own process and is for tests: set {TEST_ENGINES_VARIABLE}=1 if that is what you want, or use null"
    )]
    CrashingEngine,
    /// Shapes given by options cannot be laid out.
    #[error("engine options: {0}")]
    Shape(#[from] SpecError),
}

/// Why a frame was not taken, or not computed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EngineError {
    /// The input area has another size than the model's inputs.
    #[error(
        "the input area has {got_bytes} bytes and the model takes {expected_bytes}: pass a tensor of the model's input shape"
    )]
    InputLength {
        /// [`crate::Specs::input_bytes`].
        expected_bytes: usize,
        /// What came.
        got_bytes: usize,
    },
    /// The output area has another size than the model's outputs.
    #[error(
        "the output area has {got_bytes} bytes and the model writes {expected_bytes}: reserve `output_bytes` of the specs"
    )]
    OutputLength {
        /// [`crate::Specs::output_bytes`].
        expected_bytes: usize,
        /// What came.
        got_bytes: usize,
    },
    /// An area starts at an address that the element type does not allow.
    #[error("the {area} area is not aligned to {align_bytes} bytes: copy it to an aligned slot first")]
    Misaligned {
        /// `input` or `output`.
        area: &'static str,
        /// What is needed.
        align_bytes: usize,
    },
    /// As many frames are in flight as the engine holds.
    #[error("{in_flight} frames are in flight, as many as the engine holds: poll before submitting more")]
    Busy {
        /// Frames in flight.
        in_flight: usize,
    },
    /// More frames at once than the engine takes, or none.
    #[error("{got} frames in one batch, and this engine takes 1 to {max}: submit them one by one")]
    Batch {
        /// Frames of the batch.
        got: usize,
        /// [`crate::Engine::batch_max`].
        max: usize,
    },
    /// A device does not take the memory in which the areas lie.
    #[error("the device cannot use the arena's memory in place ({0}): frames are copied to it")]
    Attach(String),
    /// The model answered with another shape than at load, as models with data-dependent output sizes do.
    #[error(
        "output {index} has {got} elements and had {expected} at load: use a model whose output size does not depend on the data"
    )]
    OutputShape {
        /// Which output.
        index: usize,
        /// Elements at load.
        expected: usize,
        /// Elements now.
        got: usize,
    },
    /// The engine failed inside.
    #[error("the engine failed: {0}")]
    Run(String),
}
