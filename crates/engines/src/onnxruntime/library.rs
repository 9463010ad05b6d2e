//! Which libonnxruntime this process uses.

use super::NAME;
use super::ffi::Runtime;
use crate::error::LoadError;
use crate::options::EngineOptions;
use crate::runtime;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What packages call the file; a version may follow.
const LIBRARY: &str = "libonnxruntime.so";

const INSTALL: &str = "Install it with `make engines`, or name a folder that has it in `onnxruntime` as `runtime_dir`";

/// The one library of this process. Its environment cannot be made twice, and unloading it is not safe: so the first choice stays.
static RUNTIME: Mutex<Option<&'static Runtime>> = Mutex::new(None);

/// The library: the one in use, if the options lead to it, else the first that opens.
pub(super) fn get(options: &EngineOptions) -> Result<&'static Runtime, LoadError> {
    let folders = runtime::folders(NAME, options);
    let candidates = runtime::libraries(&folders, LIBRARY);
    if candidates.is_empty() {
        let reason =
            format!("there is no {LIBRARY}, with or without a version behind it, in {}", runtime::listed(&folders));
        return Err(unusable(reason, INSTALL));
    }
    let mut slot = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    match *slot {
        Some(used) if candidates.iter().any(|candidate| resolved(candidate) == used.path) => Ok(used),
        Some(used) => {
            let reason = format!(
                "this process already uses {} and the options lead to {}",
                used.path.display(),
                runtime::listed(&candidates)
            );
            Err(unusable(reason, "Use one `runtime_dir` for all models, or start the process anew"))
        }
        None => {
            let opened: &'static Runtime = Box::leak(Box::new(open_first(&candidates)?));
            *slot = Some(opened);
            Ok(opened)
        }
    }
}

fn open_first(candidates: &[PathBuf]) -> Result<Runtime, LoadError> {
    let mut reasons = Vec::new();
    for candidate in candidates {
        match Runtime::open(&resolved(candidate)) {
            Ok(runtime) => return Ok(runtime),
            Err(reason) => reasons.push(format!("{} {reason}", candidate.display())),
        }
    }
    Err(unusable(reasons.join("; "), INSTALL))
}

fn resolved(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn unusable(reason: String, remedy: &str) -> LoadError {
    LoadError::NoRuntime { engine: NAME, reason, remedy: remedy.to_owned() }
}
