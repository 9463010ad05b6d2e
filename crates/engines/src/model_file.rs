//! The checks on a model file that do not depend on the engine.

use crate::error::LoadError;
use crate::onnx_check;
use std::io::ErrorKind;
use std::path::Path;

/// Tells a missing, an unreadable, and a damaged file apart before an engine's parser sees it. Returns the file's bytes.
pub(crate) fn read(path: &Path, engine: &'static str) -> Result<Vec<u8>, LoadError> {
    let bytes = std::fs::read(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => LoadError::MissingFile { path: path.to_owned() },
        _ => LoadError::Unreadable { path: path.to_owned(), source },
    })?;
    match onnx_check::check(&bytes) {
        Ok(()) => Ok(bytes),
        Err(reason) => Err(LoadError::CorruptModel { path: path.to_owned(), engine, reason }),
    }
}
