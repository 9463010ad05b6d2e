//! [`diff`]: what of a changed configuration a running pipeline can take over, and what needs a restart.

use serde::Serialize;
use serde_json::Value;

use crate::pipeline::Pipeline;
use crate::stream::Stream;

/// Keys besides those of `[[stream]]` that rx-gateway or the supervisor take over while they run. All others shape
/// memory, processes or sockets, or are read once by a stage when it starts.
pub const LIVE_KEYS: &[&str] = &[
    "ingress.acl",
    "ingress.acl_policy",
    "limits.assembly_timeout_ms",
    "supervisor.heartbeat_timeout_ms",
    "supervisor.drain_ms",
    "supervisor.max_attempts",
    "supervisor.max_interruptions",
    "supervisor.restart_delay_ms",
    "supervisor.restart_delay_max_ms",
    "supervisor.restart_limit",
    "supervisor.restart_window_s",
];

/// Longer values than this are not shown.
const LONGEST_SHOWN: usize = 60;

/// The differences between two configurations, one line each: `stream.7.deadline_us: 0 -> 5000`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reload {
    /// What takes effect without a restart.
    pub applied: Vec<String>,
    /// What does not.
    pub needs_restart: Vec<String>,
}

impl Reload {
    /// Whether the configurations are equal.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.needs_restart.is_empty()
    }
}

/// Compares the configuration in use with a new one. Both must have been loaded the same way: [`Pipeline::resolve`]
/// turns `auto` into numbers, which then differ from `auto`.
pub fn diff(old: &Pipeline, new: &Pipeline) -> Reload {
    let mut reload = Reload::default();
    let (Ok(Value::Object(before)), Ok(Value::Object(after))) = (serde_json::to_value(old), serde_json::to_value(new))
    else {
        // Only a path that is not UTF-8 has no JSON form. Better a restart too much than a change overlooked.
        reload
            .needs_restart
            .push("everything: a path is not UTF-8, so the configurations cannot be compared".to_owned());
        return reload;
    };
    let sections = after.iter().filter(|(section, _)| !matches!(section.as_str(), "default_stream" | "streams"));
    for (section, after) in sections {
        compare(section, before.get(section).unwrap_or(&Value::Null), after, &mut reload);
    }
    if old.models != new.models {
        reload.needs_restart.push(
            "model: changed (`flumeway ctl model load` puts another file in a running network's place)".to_owned(),
        );
    }
    stream(&old.default_stream, &new.default_stream, &mut reload);
    for after in &new.streams {
        match old.streams.iter().find(|before| before.id == after.id) {
            Some(before) => stream(before, after, &mut reload),
            None => reload.applied.push(format!("stream.{}: added", after.id)),
        }
    }
    let gone = old.streams.iter().filter(|before| new.streams.iter().all(|after| after.id != before.id));
    reload.applied.extend(gone.map(|before| format!("stream.{}: removed, the default entry holds", before.id)));
    reload
}

fn stream(before: &Stream, after: &Stream, reload: &mut Reload) {
    if let (Ok(before), Ok(after_value)) = (serde_json::to_value(before), serde_json::to_value(after)) {
        compare(&format!("stream.{}", after.id), &before, &after_value, reload);
    }
}

/// Compares one section, key by key.
fn compare(section: &str, before: &Value, after: &Value, reload: &mut Reload) {
    let Value::Object(entries) = after else {
        return;
    };
    for (key, after) in entries {
        let before = before.get(key).unwrap_or(&Value::Null);
        if before == after {
            continue;
        }
        if key == "picture" {
            // Its keys stand in the section itself.
            compare(section, before, after, reload);
            continue;
        }
        let path = format!("{section}.{key}");
        let (old, new) = (before.to_string(), after.to_string());
        // A key for message authentication is a secret, in any length.
        let line = if key == "mac_key" || old.len() > LONGEST_SHOWN || new.len() > LONGEST_SHOWN {
            format!("{path}: changed")
        } else {
            format!("{path}: {old} -> {new}")
        };
        if section.starts_with("stream.") || LIVE_KEYS.contains(&path.as_str()) {
            reload.applied.push(line);
        } else {
            reload.needs_restart.push(line);
        }
    }
}
