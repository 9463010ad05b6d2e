//! What the caller of the supervisor chooses and gets, beside the configuration.

use serde_json::Value;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Choices that are no part of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Take SIGTERM and SIGINT as the order to stop. They are blocked in the calling thread: set this only in a process
    /// that has no other threads yet, else leave it off and use a [`StopHandle`] or the control socket.
    pub signals: bool,
}

/// Asks a running supervisor to stop, from any thread: drain, then end. A second call ends it without draining.
#[derive(Clone, Debug)]
pub struct StopHandle(pub(crate) Arc<OwnedFd>);

impl StopHandle {
    /// Asks.
    pub fn stop(&self) {
        // A full counter means that it has been asked already.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

/// How a pipeline ended.
#[derive(Clone, Debug)]
pub struct Exit {
    /// Every frame was finished, every stage parked by itself, the ledger balances and the audit is sound.
    pub clean: bool,
    /// What was not clean; empty if `clean`.
    pub problems: Vec<String>,
    /// The last ledger, as on the control socket.
    pub ledger: Value,
    /// The last status, as on the control socket.
    pub status: Value,
    /// All recoveries kept, as on the control socket.
    pub recoveries: Value,
}
