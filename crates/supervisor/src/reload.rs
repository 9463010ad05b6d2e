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
        self.take_over(|_| Pipeline::load(path).map_err(|e| e.to_string()), now_ns)
    }

    /// Applies the access list of the file, and nothing else of it.
    pub(crate) fn reload_access_list(&mut self, path: Option<&Path>, now_ns: u64) -> Value {
        let load = |supervisor: &Self| {
            let started_with = supervisor.source.file().map(Path::new);
            let path = path.or(started_with).ok_or("the pipeline was started without a file; name one")?;
            let file = Pipeline::load(path).map_err(|e| e.to_string())?;
            let mut new = supervisor.source.clone();
            (new.ingress.acl, new.ingress.acl_policy) = (file.ingress.acl, file.ingress.acl_policy);
            Ok(new)
        };
        self.take_over(load, now_ns)
    }

    fn take_over(&mut self, load: impl FnOnce(&Self) -> Result<Pipeline, String>, now_ns: u64) -> Value {
        if !self.may_publish(now_ns) {
            return error("the last reload is still being taken over", true);
        }
        match load(self).and_then(|new| self.try_reload(&new, now_ns)) {
            Ok(answer) => ok(answer),
            Err(text) => error(text, false),
        }
    }

    /// Whether every stage has had the time to take over the last document.
    pub(crate) fn may_publish(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.reloaded_ns) >= APART_NS
    }

    /// Tells the stages of the configuration in use; [`Self::may_publish`] must have said so.
    pub(crate) fn publish_document(&mut self, now_ns: u64) -> std::io::Result<()> {
        self.holdings.publish(self.generation + 1, &self.pipeline)?;
        self.generation += 1;
        self.reloaded_ns = now_ns;
        Ok(())
    }

    fn try_reload(&mut self, new: &Pipeline, now_ns: u64) -> Result<Value, String> {
        let changes = config::diff(&self.source, new);
        let source = merge(&self.source, new).map_err(|e| e.to_string())?;
        let mut resolved = source.clone();
        for (number, network) in self.pipeline.networks.iter().enumerate() {
            resolved.set_engine(number, network.model.engine);
        }
        resolved.resolve(&self.topology, &self.facts).map_err(|e| e.to_string())?;
        // What the machine decided at the start stays decided.
        (resolved.ingress.driver, resolved.ingress.listen) =
            (self.pipeline.ingress.driver, self.pipeline.ingress.listen);
        resolved.device.clone_from(&self.pipeline.device);
        let filtered = access_list(&resolved) != access_list(&self.pipeline);
        if filtered {
            // The filter first: were it refused, nothing would have changed.
            self.holdings.ingress.replace_access_list(&self.pipeline, &resolved)?;
        }
        let old = std::mem::replace(&mut self.pipeline, resolved);
        if let Err(error) = self.publish_document(now_ns) {
            let refused = std::mem::replace(&mut self.pipeline, old);
            // Filter and stages must not go by different lists.
            if filtered && let Err(error) = self.holdings.ingress.replace_access_list(&refused, &self.pipeline) {
                tracing::error!(
                    error,
                    "the filter has the new access list, and the stages have the old one: reload again"
                );
            }
            return Err(format!("the document cannot be written: {error}"));
        }
        self.source = source;
        for line in &changes.applied {
            tracing::info!("reloaded {line}");
        }
        Ok(json!({
            "config_generation": self.generation, "applied": changes.applied, "needs_restart": changes.needs_restart,
        }))
    }
}

fn access_list(pipeline: &Pipeline) -> (&[config::AclRule], config::AclAction) {
    (&pipeline.ingress.acl, pipeline.ingress.acl_policy)
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
    let mut merged = Pipeline::from_json(merged.to_string().as_bytes())?;
    merged.origin = old.origin.clone();
    Ok(merged)
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
