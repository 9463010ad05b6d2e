//! What a user may say about an engine.

use crate::error::LoadError;

/// Options of all engines; each reads those that concern it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Threads that compute one frame (`rten`). 1 keeps the engine on the stage's own core.
    pub threads: usize,
    /// Shape of the model's first input, `[N, C, H, W]`. `rten`, `tract`: settles dynamic dimensions. Test engines: the input, when no model is given.
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

impl EngineOptions {
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        if self.threads == 0 || self.threads > THREADS_MAX {
            let reason = format!("threads = {} is out of range: give 1 to {THREADS_MAX}", self.threads);
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
