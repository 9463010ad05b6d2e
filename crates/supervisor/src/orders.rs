//! Orders that take time: their answers are given when they are done, and the loop goes on meanwhile.

use crate::instance::{AfterDrain, Phase};
use crate::models::ModelOrder;
use crate::policy::RestartPolicy;
use crate::report::{error, ok};
use crate::start::Supervisor;
use crate::stop::Mode;
use crate::watch::READY_LIMIT_NS;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// A stage whose successor has not become active after this long is reported, and goes on trying.
const RESTART_LIMIT_NS: u64 = 130_000_000_000;

/// What an order waits for.
#[derive(Debug)]
pub(crate) enum Wait {
    /// No frame in flight.
    Drained {
        /// When waiting is given up.
        deadline_ns: u64,
    },
    /// A new incarnation of each of these units, one after the other.
    Restarted(Restart),
    /// A network in another's place, or beside it.
    Model(Box<ModelOrder>),
    /// The end; answered by the last act of the run loop.
    Stopped,
}

/// A restart that is under way.
#[derive(Debug)]
pub(crate) struct Restart {
    /// Units still to come.
    pub queue: VecDeque<usize>,
    /// The unit at hand, and its incarnation before.
    pub current: Option<(usize, u32)>,
    /// Those that are done.
    pub done: Vec<Value>,
    /// When it was ordered.
    pub began_ns: u64,
}

/// An order whose client waits for the answer.
#[derive(Debug)]
pub(crate) struct Order {
    /// Who asked.
    pub client: u64,
    /// What for.
    pub wait: Wait,
}

impl Supervisor {
    /// Answers the orders that are done.
    pub(crate) fn advance_orders(&mut self, now_ns: u64) {
        for mut order in std::mem::take(&mut self.orders) {
            let answer = match &mut order.wait {
                Wait::Drained { deadline_ns } => self.drain_answer(*deadline_ns, now_ns),
                Wait::Restarted(restart) => self.advance_restart(restart, now_ns),
                Wait::Model(order) => self.advance_model(order, now_ns),
                Wait::Stopped => None,
            };
            match answer {
                Some(answer) => self.control.answer(order.client, &answer),
                None => self.orders.push(order),
            }
        }
    }

    fn drain_answer(&self, deadline_ns: u64, now_ns: u64) -> Option<Value> {
        match self.mode {
            Mode::Drained => Some(ok(json!({ "state": "drained" }))),
            Mode::Running => Some(error("the drain was called off by a resume", true)),
            _ if now_ns >= deadline_ns => {
                let n = self.holdings.arena.frames_in_flight();
                Some(error(format!("{n} frames are still in flight; no new ones are taken until `resume`"), true))
            }
            _ => None,
        }
    }

    pub(crate) fn advance_restart(&mut self, restart: &mut Restart, now_ns: u64) -> Option<Value> {
        if self.mode.will_stop() {
            return Some(error("the pipeline stops", false));
        }
        if let Some((n, before)) = restart.current {
            let unit = &mut self.units[n];
            if let Some(failure) = unit.standby_failure.take() {
                let kept = "the process before it goes on";
                return Some(error(format!("{}: the successor failed, {kept}: {failure}", unit.name()), false));
            }
            if let Phase::Parked { reason } = &unit.phase {
                return Some(error(format!("{} is parked: {reason}", unit.name()), false));
            }
            if unit.incarnation > before && unit.phase == Phase::Active {
                let pid = unit.process.as_ref().map(|p| p.pid);
                restart.done.push(json!({ "stage": unit.name(), "incarnation": unit.incarnation, "pid": pid }));
                restart.current = None;
            } else if now_ns.saturating_sub(restart.began_ns) > RESTART_LIMIT_NS {
                return Some(error(format!("{} is {} still", unit.name(), unit.phase.name()), true));
            }
        }
        if restart.current.is_none() {
            let Some(&n) = restart.queue.front() else {
                let took_ms = (now_ns - restart.began_ns) / 1_000_000;
                return Some(ok(json!({ "restarted": restart.done, "took_ms": took_ms })));
            };
            let before = self.units[n].incarnation;
            match self.begin_restart(n, now_ns) {
                Ok(true) => {
                    restart.queue.pop_front();
                    restart.current = Some((n, before));
                }
                Ok(false) => {}
                Err(text) => return Some(error(text, true)),
            }
        }
        None
    }

    /// Begins to replace the process of a unit; false if that has to wait for what is under way there.
    fn begin_restart(&mut self, n: usize, now_ns: u64) -> Result<bool, String> {
        if self.is_in_repair(self.units[n].id) {
            return Ok(false);
        }
        let unit = &mut self.units[n];
        match &unit.phase {
            Phase::Starting | Phase::Repairing { .. } | Phase::Draining { then: AfterDrain::Replace, .. } => Ok(false),
            Phase::Active if unit.standby.is_some() => Ok(false),
            Phase::Active => {
                unit.standby_failure = None;
                let standby = self.holdings.spawn(unit.id, unit.instance, unit.core).map_err(|e| e.to_string())?;
                unit.ready_by_ns = Some(now_ns + READY_LIMIT_NS);
                unit.standby = Some(standby);
                Ok(true)
            }
            Phase::Parked { .. } | Phase::Backoff { .. } => {
                unit.policy = RestartPolicy::default();
                self.start_again(n, now_ns);
                Ok(true)
            }
            Phase::Stopped | Phase::Draining { .. } => Err(format!("{} is being stopped", unit.name())),
        }
    }

    /// The answers of those who wait for the end.
    pub(crate) fn answer_stopped(&mut self, answer: &Value) {
        for order in std::mem::take(&mut self.orders) {
            match order.wait {
                Wait::Stopped => self.control.answer(order.client, answer),
                _ => self.control.answer(order.client, &error("the pipeline has stopped", false)),
            }
        }
    }
}
