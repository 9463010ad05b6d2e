//! What a user may say about an engine.

use crate::error::LoadError;
use std::path::PathBuf;

/// How exactly an engine must compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// In the number formats that the model names.
    #[default]
    Model,
    /// In shorter ones (bf16, f16, tf32) where the device computes faster in them. Answers differ in the third digit.
    Reduced,
}

/// Options of all engines; each reads those that concern it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Threads that compute one frame, on a processor. 1 keeps the engine on the stage's own core.
    pub threads: usize,
    /// How exactly to compute.
    pub precision: Precision,
    /// Which device, in the engine's own words (`cpu`, `gpu`, `npu`, `cuda:1`); none lets the engine take its usual one.
    pub device: Option<String>,
    /// Most frames the caller will submit at once; engines that gain nothing by it stay at 1.
    pub max_batch: usize,
    /// Most frames the caller wants to keep in flight in an engine that computes beside its caller.
    pub max_in_flight: usize,
    /// Folder whose subfolders hold the engines' libraries; looked at before the usual places.
    pub runtime_dir: Option<PathBuf>,
    /// Folder for what takes long to make of a model (compiled models, engine plans); none makes it anew each time.
    pub cache_dir: Option<PathBuf>,
    /// Shape of the model's first input, `[N, C, H, W]`. Model engines: settles dynamic dimensions. Test engines: the input, when no model is given.
    pub input_shape: Option<Vec<usize>>,
    /// Test engines: shape of the one output, when no model is given.
    pub output_shape: Option<Vec<usize>>,
    /// `delay`: time from submit to finished, in microseconds.
    pub delay_us: u64,
    /// `delay`: pass the time computing (a processor-bound engine) instead of sleeping (a device).
    pub busy: bool,
    /// `delay`: return from submit at once and finish the ticket after `delay_us`, as a device with a queue does.
    pub asynchronous: bool,
    /// `abort`: must be set, or the environment variable [`crate::TEST_ENGINES_VARIABLE`] be 1, for the engine to load.
    pub i_know_this_crashes: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            threads: 1,
            precision: Precision::Model,
            device: None,
            max_batch: 1,
            max_in_flight: 4,
            runtime_dir: None,
            cache_dir: None,
            input_shape: None,
            output_shape: None,
            delay_us: 0,
            busy: false,
            asynchronous: false,
            i_know_this_crashes: false,
        }
    }
}

/// Most threads one frame may be split over: more than any machine that this runs on has cores is a typing error.
const THREADS_MAX: usize = 1024;

/// Most frames of a batch, and in flight.
const FRAMES_MAX: usize = 256;

impl EngineOptions {
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        if self.threads == 0 || self.threads > THREADS_MAX {
            let reason = format!("threads = {} is out of range: give 1 to {THREADS_MAX}", self.threads);
            return Err(LoadError::BadOptions { reason });
        }
        if self.max_batch == 0
            || self.max_batch > FRAMES_MAX
            || self.max_in_flight == 0
            || self.max_in_flight > FRAMES_MAX
        {
            let reason = format!(
                "max_batch = {} and max_in_flight = {} must be 1 to {FRAMES_MAX}",
                self.max_batch, self.max_in_flight
            );
            return Err(LoadError::BadOptions { reason });
        }
        if self.busy && self.asynchronous {
            let reason =
                "busy and asynchronous exclude each other: one computes on the caller's thread, the other does not"
                    .to_owned();
            return Err(LoadError::BadOptions { reason });
        }
        Ok(())
    }
}
