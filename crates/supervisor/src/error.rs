//! Why a pipeline does not start, or cannot be supervised any more.

use std::path::PathBuf;
use std::time::Duration;

/// Why a pipeline does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts the machine or the model.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    /// The engine refuses the model.
    #[error("{said}")]
    Model {
        /// Which network: its place in [`config::Pipeline::all_models`].
        number: usize,
        /// The engine's words.
        said: String,
    },
    /// The description of the model is unusable.
    #[error(transparent)]
    Describe(#[from] config::DescribeError),
    /// A stage's executable cannot be run.
    #[error(
        "{path} cannot be run: {source}; install Flumeway's executables in one folder, or set [supervisor] bin_dir"
    )]
    Binary {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A stage's executable does not answer.
    #[error("{path} {question} gave no answer within {} s; run it by hand to see why", limit.as_secs())]
    Silent {
        /// Which.
        path: PathBuf,
        /// What it was asked.
        question: &'static str,
        /// How long we waited.
        limit: Duration,
    },
    /// A stage's executable answers something else.
    #[error("{path} {question} answered {answer:?}; it is no stage of this release: replace it")]
    Answer {
        /// Which.
        path: PathBuf,
        /// What it was asked.
        question: &'static str,
        /// The beginning of what it said.
        answer: String,
    },
    /// A stage's executable has another layout of the shared memory.
    #[error("{path} has memory layout {theirs}, this supervisor {ours}; install all executables from one release")]
    Layout {
        /// Which.
        path: PathBuf,
        /// `version (hash)`.
        theirs: String,
        /// `version (hash)`.
        ours: String,
    },
    /// A stage's executable cannot be loaded: a shared library is not there.
    #[error(
        "{path} cannot be loaded: {said} (the library is missing, or of another version than at build); apt install dpdk, or install \
         executables that are built for what is there"
    )]
    Library {
        /// Which.
        path: PathBuf,
        /// What the loader says.
        said: String,
    },
    /// A stage cannot start its port.
    #[error("{stage} cannot start: {said}")]
    Stage {
        /// Which.
        stage: String,
        /// Its own words.
        said: String,
    },
    /// A port of poll-mode drivers cannot serve.
    #[error(transparent)]
    Device(#[from] crate::dpdk::DeviceError),
    /// The arena cannot be had.
    #[error(transparent)]
    Arena(#[from] arena::ArenaError),
    /// The sockets cannot be had.
    #[error(transparent)]
    Port(#[from] ports::PortError),
    /// The access list cannot be made.
    #[error(transparent)]
    AccessList(#[from] acl::AclError),
    /// Another supervisor answers on the control socket.
    #[error(
        "{0} belongs to a running pipeline; stop it (`flumeway ctl stop`), or use another [pipeline] name or \
             [supervisor] control_socket"
    )]
    ControlSocketInUse(PathBuf),
    /// Something else lies where the control socket should be.
    #[error("{0} exists and is no socket; remove it, or set [supervisor] control_socket to another path")]
    NotASocket(PathBuf),
    /// The control socket cannot be made.
    #[error(
        "the control socket {path} cannot be made: {source}; set [supervisor] control_socket to a path in a folder you own"
    )]
    ControlSocket {
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A system call failed.
    #[error("{call} failed: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

impl StartError {
    /// Exit code of a command that ends with this: 2 usage or configuration, 3 environment.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Model { .. } | Self::Arena(arena::ArenaError::Geometry(_)) => 2,
            _ => 3,
        }
    }

    pub(crate) fn system<E: Into<std::io::Error>>(call: &'static str) -> impl Fn(E) -> Self {
        move |source| Self::System { call, source: source.into() }
    }
}

/// Why supervising ended without an order. The stages see their supervisor's socket hang up, drain and end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The poll loop's own call failed.
    #[error("poll failed: {0}; the pipeline is stopped")]
    Poll(std::io::Error),
}
