//! Timers: heartbeats, start-up, draining, restart delays. Nothing here waits.

use crate::death::{Cause, OurKill, oom_kills};
use crate::instance::{AfterDrain, Phase, Unit};
use crate::orders::Wait;
use crate::policy::Decision;
use crate::start::Supervisor;
use crate::stop::Mode;
use arena::StageKind;
use arena::counters::InferCounter;
use arena::page::{Command, StagePage};
use arena::sync::Ordering;
use config::{Driver, Pipeline};

/// How often heartbeats are looked at: an idle supervisor wakes this often and no more.
const TICK_NS: u64 = 250_000_000;
/// A process that was ordered ACTIVE and does not show it may be loading a large model; after this long it hangs.
const START_LIMIT_NS: u64 = 120_000_000_000;
/// A heartbeat further ahead than this is none.
const FUTURE_NS: u64 = 1_000_000_000;
/// How often something that is under way is looked at.
const SOON_NS: u64 = 2_000_000;
/// How long after an activation its first work is looked for often.
const RECOVERY_WATCH_NS: u64 = 300_000_000;
/// How long a stage may take to start the port that it drives itself: cards train their links, virtual machines are slow.
pub(crate) const PORT_START_NS: u64 = 60_000_000_000;
/// How long a standby that does not say `ready` may load before the active process is drained all the same.
pub(crate) const READY_LIMIT_NS: u64 = 30_000_000_000;

impl Supervisor {
    /// Looks at every instance and at what is under way.
    pub(crate) fn tick(&mut self, now_ns: u64) {
        // If this process itself was kept from running, so were the stages: no verdict before their next turn.
        let late = now_ns.saturating_sub(self.ticked_ns) > 2 * TICK_NS;
        self.ticked_ns = now_ns;
        if self.oom.is_due(now_ns) {
            self.oom.look(now_ns, oom_kills());
        }
        for n in 0..self.units.len() {
            match self.units[n].phase.clone() {
                Phase::Starting => self.watch_start(n, now_ns),
                Phase::Active => {
                    if !late {
                        self.watch_heartbeat(n, now_ns);
                    }
                    self.watch_standby(n, now_ns);
                }
                Phase::Draining { deadline_ns, then } => self.watch_drain(n, deadline_ns, then, now_ns),
                Phase::Backoff { until_ns }
                    if now_ns >= until_ns && !self.mode.is_ending() && !self.is_in_repair(self.units[n].id) =>
                {
                    self.start_again(n, now_ns);
                }
                Phase::Backoff { .. } | Phase::Repairing { .. } | Phase::Parked { .. } | Phase::Stopped => {}
            }
            for process in &mut self.units[n].retiring {
                if process.kill_at_ns.is_some_and(|t| now_ns >= t) {
                    process.kill(OurKill::Unneeded);
                }
            }
        }
        self.open_queues();
        self.watch_neighbours(now_ns);
        if self.mode == Mode::Running && self.holdings.ingress.is_finished() && self.holdings.arena.is_empty_of_frames()
        {
            tracing::info!("the input is read to its end, and every frame is answered");
            self.stop(now_ns);
        }
        self.patrol(now_ns);
        for unit in &self.units {
            if let Some(page) = self.holdings.arena.page(unit.id) {
                self.records.complete(unit.id, page);
            }
        }
    }

    /// Lets frames go to the queues of rx-gateways that have filled them.
    fn open_queues(&mut self) {
        for unit in self.units.iter().filter(|u| u.kind() == StageKind::RxGateway && u.phase == Phase::Active) {
            let n = usize::from(unit.instance.number);
            let page = self.holdings.arena.page(unit.id).filter(|_| self.holdings.ingress.is_unserved(n));
            if page.is_some_and(|p| p.first_work_ns.load(Ordering::Acquire) >= unit.activated_ns) {
                self.holdings.ingress.serve(n);
            }
        }
    }

    fn watch_start(&mut self, n: usize, now_ns: u64) {
        let unit = &mut self.units[n];
        let Some(page) = self.holdings.arena.page(unit.id) else { return };
        // Either tells; both are words that somebody may have overwritten.
        let ticket = unit.process.as_ref().map(|p| p.ticket);
        let seen = page.incarnation.load(Ordering::Acquire) == unit.incarnation
            || ticket == Some(page.ticket.load(Ordering::Acquire));
        if seen && page.heartbeat_ns.load(Ordering::Acquire) >= unit.activated_ns {
            unit.phase = Phase::Active;
            tracing::info!(stage = unit.name(), incarnation = unit.incarnation, "active");
        } else if now_ns.saturating_sub(unit.activated_ns) > START_LIMIT_NS
            && let Some(process) = &mut unit.process
        {
            process.kill(OurKill::Start);
        }
    }

    /// A heartbeat that stands still leads to SIGKILL and nothing else; the pidfd tells of the death.
    fn watch_heartbeat(&mut self, n: usize, now_ns: u64) {
        let unit = &mut self.units[n];
        let arena = &self.holdings.arena;
        let (Some(page), Some(control)) = (arena.page(unit.id), arena.control_word(unit.id)) else { return };
        let beat_ns = page.heartbeat_ns.load(Ordering::Acquire);
        if beat_ns < unit.activated_ns || beat_ns > now_ns.saturating_add(FUTURE_NS) {
            // Not its own any more: it was seen alive since then. One from the future would hide a hang for ever.
            page.heartbeat_ns.store(now_ns, Ordering::Release);
            return;
        }
        let age_ns = now_ns.saturating_sub(beat_ns);
        let timeout_ns = u64::from(self.pipeline.supervisor.heartbeat_timeout_ms) * 1_000_000;
        let starting_until_ns = port_starts_until_ns(&self.pipeline, unit, page);
        if age_ns <= timeout_ns.max(slow_engine_ns(unit.kind(), page)) || now_ns < starting_until_ns {
            return;
        }
        let armed = control.kill_point_armed.load(Ordering::Acquire);
        if armed != 0 && page.kill_point_hit.load(Ordering::Acquire) == armed {
            return; // It stopped where a test told it to, and the test kills it.
        }
        let name = unit.name();
        if let Some(process) = unit.process.as_mut().filter(|p| p.killed.is_none()) {
            tracing::error!(stage = name, age_ms = age_ns / 1_000_000, "no heartbeat; killed");
            process.kill(OurKill::Hang);
        }
    }

    /// The standby is ready, or has had its time: the active process is told to drain.
    fn watch_standby(&mut self, n: usize, now_ns: u64) {
        let unit = &mut self.units[n];
        let (Some(ready_by_ns), Some(standby)) = (unit.ready_by_ns, &unit.standby) else { return };
        if standby.is_ready() || now_ns >= ready_by_ns {
            self.order_drain(n, AfterDrain::Replace, now_ns);
        }
    }

    /// Tells the process of a unit to finish what it holds, to park and to end.
    pub(crate) fn order_drain(&mut self, n: usize, then: AfterDrain, now_ns: u64) {
        let unit = &mut self.units[n];
        let (Some(control), Some(process)) = (self.holdings.arena.control_word(unit.id), &unit.process) else { return };
        unit.ordered = Command::Drain { incarnation: unit.incarnation, ticket: process.ticket };
        control.order(unit.ordered);
        let drain_ns = u64::from(self.pipeline.supervisor.drain_ms) * 1_000_000;
        unit.phase = Phase::Draining { deadline_ns: now_ns + drain_ns, then };
        unit.ready_by_ns = None;
        self.holdings.bells.ring_always(unit.id);
    }

    fn watch_drain(&mut self, n: usize, deadline_ns: u64, then: AfterDrain, now_ns: u64) {
        let unit = &mut self.units[n];
        let Some(page) = self.holdings.arena.page(unit.id) else { return };
        let parked = page.parked.load(Ordering::Acquire) == unit.incarnation;
        let deadline_ns = deadline_ns.max(port_starts_until_ns(&self.pipeline, unit, page));
        if parked && then == AfterDrain::Replace {
            self.hand_over(n, now_ns);
        } else if now_ns >= deadline_ns
            && let Some(process) = &mut unit.process
        {
            process.kill(OurKill::Drain);
        }
    }

    /// The active process has parked: sweep, and make the standby active. The old one, if it lives, may take its time to end.
    pub(crate) fn hand_over(&mut self, n: usize, now_ns: u64) {
        let unit = &mut self.units[n];
        let (old, kind) = (unit.me(), unit.kind());
        let drain_ns = u64::from(self.pipeline.supervisor.drain_ms) * 1_000_000;
        if let Some(mut process) = unit.process.take() {
            process.kill_at_ns = Some(now_ns + drain_ns);
            unit.retiring.push(process);
        }
        let standby = match unit.standby.take() {
            Some(standby) => Ok(standby),
            None => self.holdings.spawn(unit.id, unit.instance, unit.core),
        };
        match standby {
            Ok(process) => {
                let inspection = self.inspect(n);
                if self.plan_refill(&inspection, now_ns) || self.is_in_repair(old.id) {
                    self.hold(n, Cause::Parked, (Decision::Restart { delay_ns: 0 }, Some(process)), now_ns);
                    self.try_repair(now_ns);
                    return;
                }
                self.sweep(old, kind);
                self.clean_page(old.id);
                self.activate(n, process);
                self.holdings.ring_all();
            }
            Err(error) => self.recover(n, &Cause::NotStarted(error.to_string()), now_ns),
        }
    }

    /// Starts a process for a unit that is dead and swept, and makes it active.
    pub(crate) fn start_again(&mut self, n: usize, now_ns: u64) {
        let unit = &self.units[n];
        match self.holdings.spawn(unit.id, unit.instance, unit.core) {
            Ok(process) => {
                let id = unit.id;
                self.activate(n, process);
                let activated_ns = self.units[n].activated_ns;
                if let Some(record) = self.records.last_of(id).filter(|r| r.activated_ns == 0) {
                    record.activated_ns = activated_ns;
                }
                self.holdings.ring_all();
            }
            Err(error) => self.recover(n, &Cause::NotStarted(error.to_string()), now_ns),
        }
    }

    /// When there is something to look at next, CLOCK_MONOTONIC ns.
    pub(crate) fn next_due_ns(&self, now_ns: u64) -> u64 {
        let mut due = now_ns + TICK_NS;
        for unit in &self.units {
            due = due.min(match &unit.phase {
                // A model takes long to load; there is no hurry after the first second.
                Phase::Starting if now_ns.saturating_sub(unit.activated_ns) < 1_000_000_000 => now_ns + 2 * SOON_NS,
                Phase::Starting => now_ns + 10 * SOON_NS,
                Phase::Draining { .. } => now_ns + SOON_NS,
                Phase::Active if unit.ready_by_ns.is_some() => now_ns + 2 * SOON_NS,
                Phase::Active
                    if unit.kind() == StageKind::RxGateway
                        && self.holdings.ingress.is_unserved(unit.instance.number.into()) =>
                {
                    now_ns + SOON_NS
                }
                Phase::Backoff { until_ns } => *until_ns,
                // Its death, or those that it waits for, are readable pidfds.
                Phase::Active | Phase::Repairing { .. } | Phase::Parked { .. } | Phase::Stopped => due,
            });
        }
        if self.orders.iter().any(|order| matches!(order.wait, Wait::Model(_))) {
            due = due.min(now_ns + 2 * SOON_NS);
        }
        if self.records.pending(now_ns.saturating_sub(RECOVERY_WATCH_NS)) || self.mode.is_waiting() {
            due = due.min(now_ns + SOON_NS);
        }
        due
    }
}

/// Until when a stage that drives its port itself is believed to be starting it, CLOCK_MONOTONIC ns; 0 for all others, and once
/// it has taken its first turn. What its page says is an allegation: there is a limit to it.
fn port_starts_until_ns(pipeline: &Pipeline, unit: &Unit, page: &StagePage) -> u64 {
    let drives_port = matches!(unit.kind(), StageKind::RxGateway | StageKind::Tx);
    let has_begun = page.first_work_ns.load(Ordering::Acquire) >= unit.activated_ns;
    if pipeline.ingress.driver != Driver::Dpdk || !drives_port || has_begun {
        return 0;
    }
    unit.activated_ns.saturating_add(PORT_START_NS)
}

/// A synchronous engine gives no sign of life while it works: silence of up to four times what it takes is no hang. What its
/// page says is an allegation: no more than ten minutes are believed.
fn slow_engine_ns(kind: StageKind, page: &StagePage) -> u64 {
    if kind != StageKind::Infer {
        return 0;
    }
    let timed_ns = page.counter(InferCounter::ExpectedNs as usize);
    let one_ns = if timed_ns > 0 { timed_ns } else { page.counter(InferCounter::WarmUpNs as usize) };
    one_ns.saturating_mul(4).min(600_000_000_000)
}
