//! What the engines behind C++ shims have in common (`crates/engines/shims`): finding a shim, and what it says of tensors.

mod ffi;

pub(crate) use ffi::{Message, RawTensor, Text, open, reason, symbol};

use crate::dtype::DType;
use crate::error::LoadError;
use crate::options::EngineOptions;
use crate::runtime;
use crate::shape::Dim;
use std::path::{Path, PathBuf};

/// What a shim's functions return: `flumeway_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Failed,
    Corrupt,
    Unsupported,
    Missing,
}

impl Status {
    /// `Ok` for success. A number that the header does not know is a failure.
    pub(crate) fn check(code: i32) -> Result<(), Self> {
        match code {
            0 => Ok(()),
            2 => Err(Self::Corrupt),
            3 => Err(Self::Unsupported),
            4 => Err(Self::Missing),
            _ => Err(Self::Failed),
        }
    }
}

/// What a shim reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub status: Status,
    pub message: String,
}

impl Failure {
    /// As an error of loading the model at `path`.
    pub(crate) fn into_load_error(self, engine: &'static str, path: &Path) -> LoadError {
        let (path, reason) = (path.to_owned(), self.message);
        match self.status {
            Status::Corrupt => LoadError::CorruptModel { path, engine, reason },
            Status::Unsupported => LoadError::UnsupportedOperator { path, engine, reason },
            Status::Missing => {
                LoadError::NoRuntime { engine, reason, remedy: "Install it (docs/OPERATIONS.md)".to_owned() }
            }
            Status::Failed => LoadError::Runtime { engine, reason },
        }
    }
}

/// Element type of a library's tensor: `flumeway_element`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    /// One that an area holds.
    Area(DType),
    I32,
    I64,
    Bool,
    Other,
}

impl Element {
    fn new(code: u32) -> Self {
        match code {
            0 => Self::Area(DType::F32),
            1 => Self::Area(DType::F16),
            2 => Self::Area(DType::U8),
            3 => Self::Area(DType::I8),
            4 => Self::I32,
            5 => Self::I64,
            6 => Self::Bool,
            _ => Self::Other,
        }
    }

    /// Bytes of one element; `None` for what is not known.
    pub(crate) fn bytes(self) -> Option<usize> {
        match self {
            Self::Area(dtype) => Some(dtype.bytes()),
            Self::I32 => Some(4),
            Self::I64 => Some(8),
            Self::Bool => Some(1),
            Self::Other => None,
        }
    }
}

/// A tensor as a library describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tensor {
    pub name: String,
    pub element: Element,
    /// Open dimensions have the name `?`, followed by their place.
    pub dims: Vec<Dim>,
}

/// Writes an answer of another element type as f32. Both have as many elements.
pub(crate) fn convert(element: Element, from: &[u8], to: &mut [f32]) {
    match element {
        Element::I32 => each(from, to, |bytes| i32::from_ne_bytes(bytes) as f32),
        Element::I64 => each(from, to, |bytes| i64::from_ne_bytes(bytes) as f32),
        Element::Bool => each(from, to, |[byte]| f32::from(u8::from(byte != 0))),
        // These lie in areas as they are.
        Element::Area(_) | Element::Other => {}
    }
}

fn each<const N: usize>(from: &[u8], to: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    for (to, from) in to.iter_mut().zip(from.as_chunks().0) {
        *to = value(*from);
    }
}

/// The shim `libflumeway_ENGINE.so`.
///
/// # Errors
/// [`LoadError::NoRuntime`]: it is nowhere.
pub(crate) fn find(engine: &'static str, options: &EngineOptions) -> Result<PathBuf, LoadError> {
    let folders = runtime::folders(engine, options);
    let name = format!("libflumeway_{engine}.so");
    runtime::libraries(&folders, &name).into_iter().next().ok_or_else(|| {
        let reason = format!("{name} is in none of {}", runtime::listed(&folders));
        no_runtime(engine, reason)
    })
}

/// With the remedy that holds for every shim.
pub(crate) fn no_runtime(engine: &'static str, reason: String) -> LoadError {
    let remedy = "Install the library with its headers and run `make engines`, or set runtime_dir".to_owned();
    LoadError::NoRuntime { engine, reason, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_element_types_become_f32() {
        let mut to = [0.0; 2];
        convert(Element::I32, &[5_i32.to_ne_bytes(), (-7_i32).to_ne_bytes()].concat(), &mut to);
        assert_eq!(to.as_slice(), [5.0, -7.0]);
        convert(Element::I64, &[1_i64.to_ne_bytes(), (1_i64 << 40).to_ne_bytes()].concat(), &mut to);
        assert_eq!(to.as_slice(), [1.0, (1_u64 << 40) as f32]);
        convert(Element::Bool, &[0, 2], &mut to);
        assert_eq!(to.as_slice(), [0.0, 1.0]);
    }

    #[test]
    fn an_unknown_status_is_a_failure() {
        assert_eq!(Status::check(0), Ok(()));
        assert_eq!(Status::check(77), Err(Status::Failed));
        assert_eq!(Status::check(-1), Err(Status::Failed));
    }
}
