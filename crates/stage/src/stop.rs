//! Why a stage stops, and the exit code that tells the supervisor.

use arena::launch::LaunchError;
use arena::ring::{Fault, Poison};

/// A reason to stop; the message tells cause and remedy.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// A ring or table holds what cannot be.
    #[error("{0}; the supervisor steps over it")]
    Poison(#[from] Poison),
    /// Not started by a supervisor, or by one of another release.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The configuration or the model cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// The machine or the kernel refuses something.
    #[error("{0}")]
    Environment(String),
    /// Another process of the same kind may succeed where this one did not.
    #[error("{0}")]
    Again(String),
}

impl Stop {
    /// A ring fault that is not back-pressure.
    pub fn from_fault(fault: Fault) -> Self {
        match fault {
            Fault::Poison(poison) => Self::Poison(poison),
            Fault::Full => Self::Environment("a ring that has room for everything was full".to_owned()),
        }
    }

    /// The process's exit code: 70 poison, 71 environment, 75 another try, 78 configuration (numbers of sysexits.h), 2 usage.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Poison(_) => 70,
            Self::Environment(_) => 71,
            Self::Again(_) => 75,
            Self::Launch(LaunchError::NotLaunched) => 2,
            Self::Configuration(_) | Self::Launch(_) => 78,
        }
    }
}
