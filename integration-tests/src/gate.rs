//! Overload without a clock: infer is stopped with SIGSTOP, so that nothing leaves, and goes on when the test says so.

use crate::client::Client;
use crate::pipeline::{Pipeline, wait_until};
use crate::processes::signal;
use crate::traffic::{config, tensor_of};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A pipeline with few slots whose supervisor does not mind a stopped stage.
pub fn start(name: &str, streams: &str) -> Pipeline {
    let patient = "[supervisor]\nheartbeat_timeout_ms = 60000\n";
    let text = config("null", &format!("{patient}{streams}")).replace("slots = 64", "slots = 8");
    Pipeline::start(name, &text)
}

/// A value that must be a number.
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Stops a stage until the handle is dropped.
#[derive(Debug)]
pub struct Stopped(u32);

impl Stopped {
    /// Infer, from now on.
    pub fn infer(pipeline: &Pipeline) -> Self {
        Self::stage(pipeline, "infer.0")
    }

    /// Any stage, from now on.
    pub fn stage(pipeline: &Pipeline, name: &str) -> Self {
        let pid = pipeline.pid(name);
        signal(pid, Signal::STOP);
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(self.0, Signal::CONT);
    }
}

/// Sends frames one by one, each when preprocess has taken all it can of those before: where a frame ends up then depends
/// on the policy alone. Stops early when the gateway has stopped reading.
pub fn fill(pipeline: &Pipeline, client: &mut Client, ids: std::ops::Range<u64>) {
    let before = number(&pipeline.ledger()["received"]);
    let paused = || pipeline.counter("rx-gateway", "paused") > 0;
    for (n, id) in ids.enumerate() {
        client.send_tensor(id, &tensor_of(id));
        wait_until("the frame to be admitted", || {
            number(&pipeline.ledger()["received"]) == before + n as u64 + 1 || paused()
        });
        wait_until("preprocess to have taken what it can", || {
            let (status, audit) = (pipeline.status(), pipeline.ledger()["audit"].clone());
            let rings = status["rings"].as_array().cloned().unwrap_or_default();
            let waiting =
                rings.iter().find(|r| r["kind"] == "forward" && r["to"] == "preprocess.0").map(|r| r["depth"].clone());
            waiting == Some(json!(0)) || audit["slots_attached"] == audit["slots"]
        });
    }
}
