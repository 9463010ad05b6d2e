//! Which engines this binary can use on this machine, and why not the others.

use crate::kind::EngineKind;
use crate::options::EngineOptions;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Whether an engine can be used here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Availability {
    /// Its name.
    pub engine: &'static str,
    /// Version of its library, as that says itself.
    pub version: Option<String>,
    /// The library's file, where it is not built in.
    pub library: Option<PathBuf>,
    /// What it can compute on; empty if it cannot be used.
    pub devices: Vec<String>,
    /// Why it cannot be used and what to do about it, or what is special.
    pub note: Option<String>,
}

impl Availability {
    /// An engine that is part of this binary.
    pub(crate) fn built_in(engine: &'static str, version: &str, device: &str, note: Option<&str>) -> Self {
        Self {
            engine,
            version: Some(version.to_owned()),
            library: None,
            devices: vec![device.to_owned()],
            note: note.map(str::to_owned),
        }
    }

    /// An engine that cannot be used, for `reason`.
    pub(crate) fn missing(engine: &'static str, reason: impl Into<String>) -> Self {
        Self { engine, version: None, library: None, devices: Vec::new(), note: Some(reason.into()) }
    }

    /// Reads what [`Availability::to_json`] made; `None` if it is something else, or about another engine than `engine`.
    pub fn from_json(engine: &'static str, value: &Value) -> Option<Self> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let devices = value.get("devices")?.as_array()?.iter().map(|device| device.as_str().map(str::to_owned));
        Some(Self {
            engine: Some(engine).filter(|engine| text("engine").as_deref() == Some(engine))?,
            version: text("version"),
            library: text("library").map(PathBuf::from),
            devices: devices.collect::<Option<_>>()?,
            note: text("note"),
        })
    }

    /// An engine whose probe did not end well, for `reason`.
    pub fn unusable(engine: &'static str, reason: impl Into<String>) -> Self {
        Self::missing(engine, reason)
    }

    /// Whether it can be used.
    pub fn is_usable(&self) -> bool {
        !self.devices.is_empty()
    }

    /// `{"engine":..,"usable":..,"version":..,"library":..,"devices":[..],"note":..}`.
    pub fn to_json(&self) -> Value {
        json!({
            "engine": self.engine,
            "usable": self.is_usable(),
            "version": self.version,
            "library": self.library,
            "devices": self.devices,
            "note": self.note,
        })
    }
}

/// Every engine that runs models, in the order of [`EngineKind::ALL`], probed in this process.
pub fn survey(options: &EngineOptions) -> Vec<Availability> {
    EngineKind::ALL.into_iter().filter(|kind| kind.needs_model()).map(|kind| probe(kind, options)).collect()
}

/// Whether one engine can be used here. Opens its library and asks it for version and devices; takes up to seconds, and loads no model. A library
/// may do to its process what it likes: whoever cannot have that asks in a process of its own.
pub fn probe(kind: EngineKind, options: &EngineOptions) -> Availability {
    match kind {
        EngineKind::Rten => Availability::built_in(kind.name(), crate::rten_engine::VERSION, "cpu", None),
        #[cfg(feature = "tract")]
        EngineKind::Tract => Availability::built_in(kind.name(), crate::tract_engine::VERSION, "cpu", None),
        #[cfg(not(feature = "tract"))]
        EngineKind::Tract => {
            Availability::missing(kind.name(), "left out of this binary: build it with the feature tract")
        }
        EngineKind::Onnxruntime => crate::onnxruntime::probe(options),
        EngineKind::Openvino => crate::openvino::probe(options),
        EngineKind::Tensorrt => crate::tensorrt::probe(options),
        EngineKind::Armnn => crate::armnn::probe(options),
        EngineKind::Null | EngineKind::Delay | EngineKind::Abort => {
            Availability::built_in(kind.name(), env!("CARGO_PKG_VERSION"), "none", Some("for tests and measurements"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_says_why() {
        for found in survey(&EngineOptions::default()) {
            assert!(found.is_usable() || found.note.as_deref().is_some_and(|note| note.len() > 10), "{found:?}");
            assert!(!found.is_usable() || found.version.is_some(), "{found:?}");
        }
        for found in survey(&EngineOptions::default()) {
            assert_eq!(Availability::from_json(found.engine, &found.to_json()), Some(found.clone()));
            assert_eq!(Availability::from_json("other", &found.to_json()), None);
        }
        let rten = survey(&EngineOptions::default()).into_iter().find(|found| found.engine == "rten").unwrap();
        assert!(rten.is_usable() && rten.to_json()["usable"] == true);
    }
}
