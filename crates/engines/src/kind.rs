//! The engines by name.

use crate::error::LoadError;
use std::fmt;
use std::str::FromStr;

/// Which engine; parsed from the name that the configuration uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// Pure-Rust ONNX engine, built in.
    Rten,
    /// Pure-Rust ONNX engine, present when built with the feature `tract`.
    Tract,
    /// ONNX Runtime, loaded at run time.
    Onnxruntime,
    /// OpenVINO, loaded at run time.
    Openvino,
    /// TensorRT, loaded at run time.
    Tensorrt,
    /// Arm NN, loaded at run time.
    Armnn,
    /// Echoes its input.
    Null,
    /// Echoes its input after a set time.
    Delay,
    /// Echoes its input, and aborts the process on a marked one.
    Abort,
}

impl EngineKind {
    /// Every engine that has a name, built in or not.
    pub const ALL: [Self; 9] = [
        Self::Rten,
        Self::Tract,
        Self::Onnxruntime,
        Self::Openvino,
        Self::Tensorrt,
        Self::Armnn,
        Self::Null,
        Self::Delay,
        Self::Abort,
    ];

    /// The name that the configuration uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rten => "rten",
            Self::Tract => "tract",
            Self::Onnxruntime => "onnxruntime",
            Self::Openvino => "openvino",
            Self::Tensorrt => "tensorrt",
            Self::Armnn => "armnn",
            Self::Null => "null",
            Self::Delay => "delay",
            Self::Abort => "abort",
        }
    }

    /// Whether this binary contains the engine.
    pub const fn is_built(self) -> bool {
        !matches!(self, Self::Tract) || cfg!(feature = "tract")
    }

    /// Whether the engine runs a model, as opposed to taking at most its shapes.
    pub const fn needs_model(self) -> bool {
        !matches!(self, Self::Null | Self::Delay | Self::Abort)
    }

    /// Whether it reads ONNX files.
    pub const fn reads_onnx(self) -> bool {
        self.needs_model() && !matches!(self, Self::Armnn)
    }

    /// Whether it cannot do without a GPU.
    pub const fn needs_gpu(self) -> bool {
        matches!(self, Self::Tensorrt)
    }

    /// The names that parse, for messages.
    pub(crate) fn names() -> String {
        let names: Vec<_> = Self::ALL.iter().filter(|kind| kind.is_built()).map(|kind| kind.name()).collect();
        names.join(", ")
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = LoadError;

    fn from_str(name: &str) -> Result<Self, LoadError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| LoadError::UnknownEngine { name: name.to_owned(), known: Self::names() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for kind in EngineKind::ALL {
            assert_eq!(kind.name().parse::<EngineKind>().ok(), Some(kind));
        }
        assert!(
            "auto".parse::<EngineKind>().is_err(),
            "that is a choice between engines, and made before one is loaded"
        );
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let message = "tensorflow".parse::<EngineKind>().unwrap_err().to_string();
        assert!(message.contains("tensorflow") && message.contains("rten") && message.contains("null"), "{message}");
    }
}
