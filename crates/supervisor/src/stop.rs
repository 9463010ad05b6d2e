//! Draining the pipeline, and stopping it in order.
//!
//! ```text
//! Running --drain--> Draining --nothing in flight--> Drained --stop--> Stopping(kind by kind) --> Stopped
//!    ^                   |                              |
//!    +------resume-------+------------------------------+
//! ```

use crate::death::OurKill;
use crate::instance::{AfterDrain, Phase};
use crate::start::Supervisor;
use arena::StageKind;
use arena::sync::Ordering;

/// Upstream first: whoever drains finds everything already there that will ever come.
const ORDER: [StageKind; 4] = [StageKind::RxGateway, StageKind::Preprocess, StageKind::Infer, StageKind::Tx];

/// What the whole pipeline is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Taking frames.
    Running,
    /// Taking none; waiting until those in flight are finished.
    Draining {
        /// When that is given up.
        deadline_ns: u64,
        /// The pipeline stops afterwards.
        then_stop: bool,
    },
    /// Taking none, and none is in flight.
    Drained,
    /// Stages are told to end, one kind after the other.
    Stopping {
        /// Position in [`ORDER`].
        step: usize,
    },
    /// No process is left.
    Stopped,
}

impl Mode {
    /// Its name on the control socket.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Draining { then_stop: false, .. } => "draining",
            Self::Drained => "drained",
            Self::Draining { then_stop: true, .. } | Self::Stopping { .. } | Self::Stopped => "stopping",
        }
    }

    /// Processes that end are not started again.
    pub(crate) fn is_ending(self) -> bool {
        matches!(self, Self::Stopping { .. } | Self::Stopped)
    }

    /// Something is waited for that no descriptor announces, and it is expected soon.
    pub(crate) fn is_waiting(self) -> bool {
        match self {
            Self::Draining { deadline_ns, .. } => deadline_ns != u64::MAX,
            Self::Stopping { .. } => true,
            Self::Running | Self::Drained | Self::Stopped => false,
        }
    }

    /// The pipeline will end.
    pub(crate) fn will_stop(self) -> bool {
        self.is_ending() || matches!(self, Self::Draining { then_stop: true, .. })
    }
}

impl Supervisor {
    fn pause_ingress(&mut self, paused: bool) {
        self.ingress_paused = paused;
        self.holdings.arena.supervisor().ingress_paused.store(paused.into(), Ordering::Release);
        for id in self.holdings.arena.geometry().gateway_ids() {
            self.holdings.bells.ring_always(id);
        }
    }

    /// Takes no new frames and waits for those in flight.
    pub(crate) fn begin_drain(&mut self, then_stop: bool, now_ns: u64) {
        self.pause_ingress(true);
        self.paused_ns = arena::now_ns();
        let drain_ns = u64::from(self.pipeline.supervisor.drain_ms) * 1_000_000;
        self.mode = Mode::Draining { deadline_ns: now_ns + drain_ns, then_stop };
        tracing::info!(then_stop, "draining");
    }

    /// Takes frames again.
    pub(crate) fn resume(&mut self) {
        self.pause_ingress(false);
        self.mode = Mode::Running;
    }

    /// Drains and ends; asked a second time, ends at once.
    pub(crate) fn stop(&mut self, now_ns: u64) {
        match self.mode {
            Mode::Running | Mode::Draining { then_stop: false, .. } => self.begin_drain(true, now_ns),
            Mode::Drained => self.begin_stop(now_ns),
            Mode::Draining { then_stop: true, .. } | Mode::Stopping { .. } => {
                self.problems.push("stopped at once, as ordered".to_owned());
                self.mode = Mode::Stopping { step: ORDER.len() };
                for process in self.units.iter_mut().flat_map(crate::instance::Unit::processes_mut) {
                    process.kill(OurKill::Unneeded);
                }
            }
            Mode::Stopped => {}
        }
    }

    /// Whether no frame is in flight or half assembled.
    pub(crate) fn is_drained(&self) -> bool {
        self.has_seen_pause()
            && self.holdings.arena.frames_in_flight() == 0
            && self.holdings.arena.audit().assembling == 0
    }

    /// Whether each rx-gateway has begun a turn since it was told to pause. In the turn before, packets may be in its hands
    /// that are in no frame yet.
    fn has_seen_pause(&self) -> bool {
        let mut living = self.units.iter().filter(|u| u.kind() == StageKind::RxGateway && u.process.is_some());
        living.all(|unit| {
            let page = self.holdings.arena.page(unit.id);
            page.is_none_or(|page| page.heartbeat_ns.load(Ordering::Acquire) > self.paused_ns)
        })
    }

    /// Goes on with a drain or a stop.
    pub(crate) fn advance_mode(&mut self, now_ns: u64) {
        match self.mode {
            Mode::Draining { deadline_ns, then_stop } => {
                let drained = self.is_drained();
                match (drained || now_ns >= deadline_ns, then_stop) {
                    (false, _) => {}
                    (true, true) => {
                        if !drained {
                            let n = self.holdings.arena.frames_in_flight();
                            self.problems.push(format!("{n} frames were not finished within drain_ms"));
                        }
                        self.begin_stop(now_ns);
                    }
                    (true, false) if drained => self.mode = Mode::Drained,
                    // Whoever asked has been told; a parked stage may be repaired later, and then it drains.
                    (true, false) => self.mode = Mode::Draining { deadline_ns: u64::MAX, then_stop },
                }
            }
            Mode::Stopping { step } => self.advance_stop(step, now_ns),
            Mode::Running | Mode::Drained | Mode::Stopped => {}
        }
    }

    fn begin_stop(&mut self, now_ns: u64) {
        self.mode = Mode::Stopping { step: 0 };
        for unit in &mut self.units {
            unit.ready_by_ns = None;
            if let Some(mut standby) = unit.standby.take() {
                standby.kill(OurKill::Unneeded);
                unit.retiring.push(standby);
            }
            if matches!(unit.phase, Phase::Backoff { .. } | Phase::Parked { .. }) {
                self.problems.push(format!("{} was {} when the pipeline stopped", unit.name(), unit.phase.name()));
                unit.phase = Phase::Stopped;
            }
        }
        self.end_repair();
        self.drain_kind(0, now_ns);
    }

    fn drain_kind(&mut self, step: usize, now_ns: u64) {
        let Some(kind) = ORDER.get(step) else { return };
        for n in 0..self.units.len() {
            if self.units[n].kind() == *kind && self.units[n].process.is_some() {
                self.order_drain(n, AfterDrain::Stop, now_ns);
            }
        }
    }

    fn advance_stop(&mut self, step: usize, now_ns: u64) {
        let done = |kind: Option<&StageKind>| {
            self.units.iter().filter(|u| kind.is_none_or(|k| u.kind() == *k)).all(|u| match kind {
                Some(_) => u.process.is_none(),
                None => u.processes().next().is_none(),
            })
        };
        if !done(ORDER.get(step)) {
            return;
        }
        if step >= ORDER.len() {
            self.mode = Mode::Stopped;
            return;
        }
        self.mode = Mode::Stopping { step: step + 1 };
        if step + 1 < ORDER.len() {
            self.drain_kind(step + 1, now_ns);
        } else {
            for process in self.units.iter_mut().flat_map(|u| &mut u.retiring) {
                process.kill(OurKill::Unneeded);
            }
        }
    }
}
