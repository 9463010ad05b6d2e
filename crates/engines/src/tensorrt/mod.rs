//! TensorRT.

use crate::available::Availability;
use crate::engine::Engine;
use crate::error::LoadError;
use crate::options::EngineOptions;
use crate::runtime;
use std::path::Path;

const NAME: &str = "tensorrt";

pub(crate) fn load(_model: &Path, options: &EngineOptions) -> Result<Box<dyn Engine>, LoadError> {
    let folders = runtime::folders(NAME, options);
    let reason = format!("its library is in none of {}", runtime::listed(&folders));
    Err(LoadError::NoRuntime { engine: NAME, reason, remedy: "Install it with `make engines`".to_owned() })
}

pub(crate) fn probe(options: &EngineOptions) -> Availability {
    let found = runtime::libraries(&runtime::folders(NAME, options), "lib");
    Availability::missing(NAME, format!("no library: {}", runtime::listed(&found)))
}
