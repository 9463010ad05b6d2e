//! What the control socket answers.

mod ledger;
mod status;

pub use ledger::{audit_json, ledger_json};
pub use status::status_json;

use serde_json::{Value, json};

/// An answer: `fields` (an object) with `"schema":1,"ok":true`.
pub(crate) fn ok(mut fields: Value) -> Value {
    fields["schema"] = json!(1);
    fields["ok"] = json!(true);
    fields
}

/// A refusal; `retry` says whether asking again later may help.
pub(crate) fn error(text: impl Into<String>, retry: bool) -> Value {
    json!({ "schema": 1, "ok": false, "error": text.into(), "retry": retry })
}

/// Milliseconds to three places.
pub(crate) fn milliseconds(ns: u64) -> f64 {
    (ns / 1_000) as f64 / 1_000.0
}

/// Microseconds to one place.
pub(crate) fn microseconds(ns: u64) -> f64 {
    (ns / 100) as f64 / 10.0
}
