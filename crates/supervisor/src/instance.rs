//! One stage instance: which process it is at the moment, and what is being done with it.

use crate::death::Cause;
use crate::policy::{Decision, RestartPolicy};
use crate::process::Process;
use arena::page::Command;
use arena::{Instance, Me, OwnerId, StageKind};

/// What follows when an instance has drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterDrain {
    /// The standby becomes active.
    Replace,
    /// Nothing: the pipeline stops.
    Stop,
}

/// Where an instance is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Ordered ACTIVE; its page does not show it yet.
    Starting,
    /// Working.
    Active,
    /// Ordered to drain.
    Draining {
        /// When it is killed.
        deadline_ns: u64,
        /// What follows.
        then: AfterDrain,
    },
    /// Dead; the next incarnation starts later.
    Backoff {
        /// When.
        until_ns: u64,
    },
    /// Dead, and it stays so until somebody orders otherwise.
    Parked {
        /// Why.
        reason: String,
    },
    /// Dead, and not swept: others must die before what it left can be repaired.
    Repairing {
        /// What its death was.
        cause: Cause,
        /// What is to be done afterwards.
        decision: Decision,
        /// When it died, CLOCK_MONOTONIC ns.
        died_ns: u64,
    },
    /// Dead, because the pipeline stops.
    Stopped,
}

impl Phase {
    /// Its name on the control socket.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Active => "active",
            Self::Draining { .. } => "draining",
            Self::Backoff { .. } => "backoff",
            Self::Parked { .. } => "parked",
            Self::Repairing { .. } => "repairing",
            Self::Stopped => "stopped",
        }
    }
}

/// One stage instance.
#[derive(Debug)]
pub(crate) struct Unit {
    /// Its owner id.
    pub id: OwnerId,
    /// Which kind and number.
    pub instance: Instance,
    name: String,
    /// Core that its processes pin to.
    pub core: Option<usize>,
    /// Number of the last activation; never used again.
    pub incarnation: u32,
    /// When that was ordered, CLOCK_MONOTONIC ns.
    pub activated_ns: u64,
    /// What its control word must say; the word itself may be damaged.
    pub ordered: Command,
    /// Kill point that is armed (test builds); likewise.
    pub armed: u32,
    /// Where it is in its life.
    pub phase: Phase,
    /// The process that was ordered to be active.
    pub process: Option<Process>,
    /// Its successor, started and waiting.
    pub standby: Option<Process>,
    /// Until when the standby may take to get ready before the active one is drained.
    pub ready_by_ns: Option<u64>,
    /// Processes that have parked and not ended yet.
    pub retiring: Vec<Process>,
    /// Restart delays and limits.
    pub policy: RestartPolicy,
    /// Deaths from outside.
    pub interruptions: u64,
    /// Why the last standby ended before its turn.
    pub standby_failure: Option<String>,
    /// What the last death was.
    pub last_death: Option<String>,
}

impl Unit {
    /// An instance that has never run.
    pub(crate) fn new(id: OwnerId, instance: Instance, name: String, core: Option<usize>) -> Self {
        Self {
            id,
            instance,
            name,
            core,
            incarnation: 0,
            activated_ns: 0,
            ordered: Command::Wait,
            armed: 0,
            phase: Phase::Stopped,
            process: None,
            standby: None,
            ready_by_ns: None,
            retiring: Vec::new(),
            policy: RestartPolicy::default(),
            interruptions: 0,
            standby_failure: None,
            last_death: None,
        }
    }

    /// Its kind.
    pub(crate) fn kind(&self) -> StageKind {
        self.instance.kind
    }

    /// `rx-gateway`, `infer.0`.
    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }

    /// Its last activation.
    pub(crate) fn me(&self) -> Me {
        Me { id: self.id, incarnation: self.incarnation }
    }

    /// All its processes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.process.iter().chain(&self.standby).chain(&self.retiring)
    }

    /// All its processes.
    pub(crate) fn processes_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        self.process.iter_mut().chain(&mut self.standby).chain(&mut self.retiring)
    }
}
