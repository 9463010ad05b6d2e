//! The checks on a model file that do not depend on the engine.

use crate::error::LoadError;
use crate::{onnx_check, tflite_check};
use std::io::ErrorKind;
use std::path::Path;

/// The file's bytes; tells a missing and an unreadable file apart.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => LoadError::MissingFile { path: path.to_owned() },
        _ => LoadError::Unreadable { path: path.to_owned(), source },
    })
}

/// The same of an ONNX file, damaged ones told apart before an engine's parser sees them.
pub(crate) fn read(path: &Path, engine: &'static str) -> Result<Vec<u8>, LoadError> {
    read_checked(path, engine, onnx_check::check)
}

/// The same for TensorFlow Lite.
pub(crate) fn read_tflite(path: &Path, engine: &'static str) -> Result<Vec<u8>, LoadError> {
    read_checked(path, engine, tflite_check::check)
}

fn read_checked(
    path: &Path,
    engine: &'static str,
    check: fn(&[u8]) -> Result<(), String>,
) -> Result<Vec<u8>, LoadError> {
    let bytes = bytes(path)?;
    match check(&bytes) {
        Ok(()) => Ok(bytes),
        Err(reason) => Err(LoadError::CorruptModel { path: path.to_owned(), engine, reason }),
    }
}
