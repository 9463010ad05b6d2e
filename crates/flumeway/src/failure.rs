//! How commands end.

use std::fmt;

use crate::client::RunError;
use crate::control::ControlError;

/// Exit codes of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// Done, and the result is good.
    Success = 0,
    /// Done, and the result is bad: frames without answer, a ledger that does not balance, a refused request.
    Verdict = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The machine lacks something: a file, memory, a port, a running pipeline.
    Environment = 3,
}

/// A command that ended before it had a result.
#[derive(Debug)]
pub struct Failure {
    /// Exit code.
    pub status: ExitStatus,
    /// Cause and remedy, for one or two lines on the terminal.
    pub message: String,
}

impl Failure {
    /// The command line or the configuration is wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { status: ExitStatus::Usage, message: message.to_string() }
    }

    /// The machine lacks something.
    pub fn environment(message: impl fmt::Display) -> Self {
        Self { status: ExitStatus::Environment, message: message.to_string() }
    }

    /// The command was carried out and its result is bad.
    pub fn verdict(message: impl fmt::Display) -> Self {
        Self { status: ExitStatus::Verdict, message: message.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<config::ConfigError> for Failure {
    fn from(error: config::ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Plan(_) => Self::usage(error),
            RunError::Socket { .. } | RunError::NobodyListens { .. } => Self::environment(error),
        }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Refused { message, retry: true } => Self::verdict(format!("{message} (try again later)")),
            ControlError::Refused { .. } => Self::verdict(error),
            _ => Self::environment(error),
        }
    }
}

impl From<supervisor::StartError> for Failure {
    fn from(error: supervisor::StartError) -> Self {
        if error.exit_code() == ExitStatus::Usage as u8 { Self::usage(error) } else { Self::environment(error) }
    }
}
