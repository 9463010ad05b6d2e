//! Taking over what can change while the pipeline runs.

use crate::report::{error, ok};
use crate::start::Supervisor;
use config::{ConfigError, LIVE_KEYS, Pipeline};
use serde_json::{Value, json};
use std::path::Path;

/// Stages look at the document's number at least every 100 ms. Two generations share the document's two halves, so the next
/// but one may overwrite what a slow stage still reads.
const APART_NS: u64 = 500_000_000;

impl Supervisor {
    /// Applies the live keys of the file; names those that need a restart.
    pub(crate) fn reload(&mut self, path: &Path, now_ns: u64) -> Value {
        if now_ns.saturating_sub(self.reloaded_ns) < APART_NS {
            return error("the last reload is still being taken over", true);
        }
        match self.try_reload(path) {
            Ok(answer) => {
                self.reloaded_ns = now_ns;
                ok(answer)
            }
            Err(text) => error(text, false),
        }
    }

    fn try_reload(&mut self, path: &Path) -> Result<Value, String> {
        let new = Pipeline::load(path).map_err(|e| e.to_string())?;
        let changes = config::diff(&self.source, &new);
        let source = merge(&self.source, &new).map_err(|e| e.to_string())?;
        let mut resolved = source.clone();
        resolved.resolve(&self.topology, &self.model).map_err(|e| e.to_string())?;
        let generation = self.generation + 1;
        self.holdings.publish(generation, &resolved).map_err(|e| format!("the document cannot be written: {e}"))?;
        self.generation = generation;
        self.source = source;
        self.pipeline = resolved;
        for line in &changes.applied {
            tracing::info!("reloaded {line}");
        }
        Ok(json!({
            "config_generation": generation, "applied": changes.applied, "needs_restart": changes.needs_restart,
        }))
    }
}

/// The old configuration with the streams and the live keys of the new one.
fn merge(old: &Pipeline, new: &Pipeline) -> Result<Pipeline, ConfigError> {
    let (mut merged, new_json) = (as_json(old), as_json(new));
    for key in ["default_stream", "streams"].iter().chain(LIVE_KEYS) {
        let pointer = format!("/{}", key.replace('.', "/"));
        if let (Some(place), Some(value)) = (merged.pointer_mut(&pointer), new_json.pointer(&pointer)) {
            *place = value.clone();
        }
    }
    Pipeline::from_json(merged.to_string().as_bytes())
}

fn as_json(pipeline: &Pipeline) -> Value {
    serde_json::from_str(&pipeline.to_json()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Engine;

    #[test]
    fn live_keys_change_and_others_stay() {
        let old = Pipeline::default_with(Engine::Null);
        let mut new = old.clone();
        new.supervisor.drain_ms = 77;
        new.limits.assembly_timeout_ms = 55;
        new.default_stream.deadline_us = 4_000;
        new.rings.capacity = 64;
        new.infer.instances = 2;
        let merged = merge(&old, &new).unwrap();
        assert_eq!((merged.supervisor.drain_ms, merged.limits.assembly_timeout_ms), (77, 55));
        assert_eq!(merged.default_stream.deadline_us, 4_000);
        assert_eq!((merged.rings.capacity, merged.infer.instances), (old.rings.capacity, 1));
        assert!(config::diff(&new, &merged).applied.is_empty(), "every live difference was taken over");
        assert_eq!(config::diff(&old, &merged).needs_restart, Vec::<String>::new());
    }

    #[test]
    fn every_live_key_exists() {
        let json = as_json(&Pipeline::default_with(Engine::Null));
        for key in LIVE_KEYS {
            assert!(json.pointer(&format!("/{}", key.replace('.', "/"))).is_some(), "{key}");
        }
    }
}
