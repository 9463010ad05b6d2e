//! An engine that crashes its process on demand.

use crate::area;
use crate::engine::{Description, Engine, Finished, Submitted, Ticket};
use crate::error::{EngineError, LoadError};
use crate::null::{NullEngine, test_description};
use crate::options::EngineOptions;
use crate::spec::Specs;
use std::path::Path;

/// First element of the first input that makes the engine abort. Exact in f32, and not a value that a normalised image has.
pub const ABORT_MARKER: f32 = 1234.5;

/// Environment variable that, set to 1, lets the abort engine load.
pub const TEST_ENGINES_VARIABLE: &str = "FLUMEWAY_TEST_ENGINES";

/// Answers as the null engine does, and calls `abort` when it meets [`ABORT_MARKER`].
pub(crate) struct AbortEngine {
    null: NullEngine,
}

impl AbortEngine {
    pub(crate) fn load(model: Option<&Path>, options: &EngineOptions) -> Result<Self, LoadError> {
        let consent = std::env::var_os(TEST_ENGINES_VARIABLE).is_some_and(|value| value == "1");
        if !consent && !options.i_know_this_crashes {
            return Err(LoadError::CrashingEngine);
        }
        Ok(Self { null: NullEngine::load(model, options)? })
    }
}

impl Engine for AbortEngine {
    fn specs(&self) -> &Specs {
        self.null.specs()
    }

    fn submit(&mut self, ticket: Ticket, input: &[u8], output: &mut [u8]) -> Result<Submitted, EngineError> {
        area::check(self.specs(), self.align_bytes(), input, output)?;
        let first: &[u8] = area::input(self.specs(), input, 0)?;
        if first.starts_with(&ABORT_MARKER.to_ne_bytes()) {
            std::process::abort();
        }
        self.null.submit(ticket, input, output)
    }

    fn poll(&mut self) -> Option<Finished> {
        self.null.poll()
    }

    fn in_flight(&self) -> usize {
        self.null.in_flight()
    }

    fn warm_up(&mut self) -> Result<(), EngineError> {
        self.null.warm_up()
    }

    fn describe(&self) -> Description {
        test_description("abort", "answers with its own input, and aborts the process on a marked one")
    }
}
