//! What happens when a process has ended: reap, classify, blame, sweep, activate the successor.
//!
//! Before all that every ring of the dead one is looked at: what is damaged there may need others dead too, see `repair.rs`.
//!
//! The order matters. The successor's process is started first, because starting takes longer than everything else, but it
//! touches nothing before it is ordered ACTIVE. The frame to blame is looked for and taken before the sweep hands the
//! dead one's frames on. Files are written after the activation, by the run loop.

use crate::blame::{self, Sentence};
use crate::death::{Cause, Ending, oom_kills};
use crate::instance::{AfterDrain, Phase};
use crate::policy::Decision;
use crate::process::Process;
use crate::quarantine::Evidence;
use crate::recovery::{Record, kill_point_hit, state_at_death};
use crate::start::Supervisor;
use arena::descriptor::{Fate, FateKind};
use arena::owner::INCARNATION_MAX;
use arena::page::Command;
use arena::reclaim::{Reclaimed, reclaim};
use arena::ring::{Poison, PoisonReason};
use arena::survey::{restore_roles, strike_line};
use arena::sync::Ordering;
use arena::topology::RingKind;
use arena::{Me, OwnerId, StageKind, now_ns};
use serde_json::{Value, json};

/// What is done after a death: when to restart, and, if at once, with which process.
pub(crate) type Successor = (Decision, Option<Process>);

impl Supervisor {
    /// The pidfd of the process with this ticket is readable.
    pub(crate) fn on_exit(&mut self, ticket: u32, died_ns: u64) {
        let Some(n) = self.units.iter().position(|u| u.processes().any(|p| p.ticket == ticket)) else { return };
        let unit = &mut self.units[n];
        let Some(process) = unit.processes_mut().find(|p| p.ticket == ticket) else { return };
        let Some(ending) = process.reap() else { return };
        if unit.process.as_ref().is_some_and(|p| p.ticket == ticket) {
            if let Some(process) = unit.process.take() {
                self.on_death(n, &process, ending, died_ns);
            }
        } else if unit.standby.as_ref().is_some_and(|p| p.ticket == ticket) {
            let cause = unit.standby.take().map(|p| Cause::of(ending, p.killed, false, false, p.last_words()));
            let cause = cause.map_or_else(String::new, |c| c.to_string());
            tracing::error!(stage = unit.name(), cause, "the successor ended before its turn");
            unit.ready_by_ns = None;
            unit.standby_failure = Some(cause);
        } else {
            unit.retiring.retain(|p| p.ticket != ticket);
        }
    }

    /// The active (or draining) process of a unit is gone.
    fn on_death(&mut self, n: usize, process: &Process, ending: Ending, died_ns: u64) {
        let dead = self.units[n].me();
        let Some(page) = self.holdings.arena.page(dead.id) else { return };
        self.records.complete(dead.id, page);
        let oom = matches!(ending, Ending::Signaled(libc::SIGKILL))
            && process.killed.is_none()
            && self.oom.killed(oom_kills());
        let unit = &self.units[n];
        let draining = matches!(unit.phase, Phase::Draining { .. });
        let never_active = page.incarnation.load(Ordering::Acquire) != dead.incarnation;
        let parked = page.parked.load(Ordering::Acquire) == dead.incarnation || draining && never_active;
        let cause = Cause::of(ending, process.killed, parked, oom, process.last_words());
        if self.mode.is_ending() || matches!(unit.phase, Phase::Draining { then: AfterDrain::Stop, .. }) {
            if cause != Cause::Parked {
                self.problems.push(format!("{}: {cause}", unit.name()));
            }
            self.sweep(dead, unit.kind());
            self.units[n].phase = Phase::Stopped;
            return;
        }
        if cause == Cause::Parked && matches!(self.units[n].phase, Phase::Draining { .. }) {
            // It parked and ended between two looks at its page.
            self.hand_over(n, died_ns);
            return;
        }
        self.recover(n, &cause, died_ns);
    }

    /// Repairs what a dead incarnation left, and starts the next one, now or later.
    pub(crate) fn recover(&mut self, n: usize, cause: &Cause, died_ns: u64) {
        let id = self.units[n].id;
        // Memory that somebody damaged is not this stage's own doing, unless that goes on and on.
        let suspicious = self.patrol.is_suspicious(died_ns) && !cause.is_permanent();
        let damaged = cause.is_poison() || cause.own_doing() && suspicious;
        let excused = damaged && self.units[n].policy.excuses(died_ns, &self.pipeline.supervisor);
        let successor = self.choose_successor(n, cause, excused, died_ns);
        if cause.is_poison() {
            self.patrol.suspect(died_ns);
        }
        let inspection = self.inspect(n);
        if self.plan_refill(&inspection, died_ns) || self.is_in_repair(id) {
            self.hold(n, cause.clone(), successor, died_ns);
            self.try_repair(died_ns);
            return;
        }
        let repair = Some(inspection.text).filter(|t| !t.is_empty());
        self.revive(n, cause, successor, died_ns, repair);
    }

    /// The rest of [`Self::recover`], with every ring in order.
    pub(crate) fn revive(
        &mut self,
        n: usize,
        cause: &Cause,
        (decision, successor): Successor,
        died_ns: u64,
        repair: Option<String>,
    ) {
        let (dead, kind, name) = (self.units[n].me(), self.units[n].kind(), self.units[n].name());
        let Some(page) = self.holdings.arena.page(dead.id) else { return };
        let mut record = Record {
            repair,
            stage: name.clone(),
            owner: dead.id.0,
            incarnation: dead.incarnation,
            cause: cause.to_string(),
            own_doing: cause.own_doing(),
            state: state_at_death(&self.holdings.arena, dead),
            kill_point: kill_point_hit(page),
            died_ns,
            ..Record::default()
        };
        let poison = self.poison_met(dead);
        record.poison = poison.map(|p| p.to_string());
        let broken_frame = poison.is_some_and(|p| p.reason == PoisonReason::Segments);
        record.frame = self.blame(dead, &name, cause, broken_frame);
        record.swept = self.sweep(dead, kind);
        self.clean_page(dead.id);
        match (successor, decision) {
            (Some(process), _) => {
                self.activate(n, process);
                record.activated_ns = self.units[n].activated_ns;
            }
            (None, Decision::Restart { delay_ns }) => {
                self.units[n].phase = Phase::Backoff { until_ns: died_ns + delay_ns };
            }
            (None, Decision::Park) => self.park(n, cause),
        }
        self.holdings.ring_all();
        tracing::warn!(
            stage = name,
            incarnation = dead.incarnation,
            cause = record.cause,
            state = record.state,
            heads = record.swept.heads,
            slots = record.swept.slots,
            "a stage died"
        );
        let unit = &mut self.units[n];
        unit.last_death = Some(record.cause.clone());
        unit.ready_by_ns = None;
        unit.interruptions += u64::from(!cause.own_doing() && *cause != Cause::Parked);
        self.records.push(record);
    }

    /// Decides when to restart; if at once, with which process: the standby if there is one.
    fn choose_successor(&mut self, n: usize, cause: &Cause, excused: bool, now_ns: u64) -> Successor {
        let limits = &self.pipeline.supervisor;
        let unit = &mut self.units[n];
        let mut decision = unit.policy.on_death(now_ns, cause.own_doing() && !excused, cause.is_permanent(), limits);
        if decision == (Decision::Restart { delay_ns: 0 }) {
            if let Some(standby) = unit.standby.take() {
                return (decision, Some(standby));
            }
            match self.holdings.spawn(unit.id, unit.instance, unit.core) {
                Ok(process) => return (decision, Some(process)),
                Err(error) => {
                    tracing::error!(stage = unit.name(), %error, "the successor cannot be started");
                    decision = unit.policy.on_death(now_ns, true, true, limits);
                    unit.last_death = Some(error.to_string());
                }
            }
        }
        // Whoever was waiting was started for a hand-over that no longer takes place.
        if let Some(mut standby) = unit.standby.take() {
            standby.kill(crate::death::OurKill::Unneeded);
            unit.retiring.push(standby);
        }
        if decision == (Decision::Restart { delay_ns: 0 }) {
            decision = Decision::Restart { delay_ns: 1_000_000 };
        }
        (decision, None)
    }

    fn park(&mut self, n: usize, cause: &Cause) {
        let window_s = self.pipeline.supervisor.restart_window_s;
        let unit = &mut self.units[n];
        let reason = format!("{} deaths of its own doing within {window_s} s; the last: {cause}", unit.policy.deaths());
        tracing::error!(stage = unit.name(), reason, "parked; repair the cause, then `flumeway ctl restart`");
        unit.phase = Phase::Parked { reason };
    }

    /// Makes `process` the next incarnation. Precondition: the one before is dead or parked, and swept.
    pub(crate) fn activate(&mut self, n: usize, process: Process) {
        let unit = &mut self.units[n];
        let Some(control) = self.holdings.arena.control_word(unit.id) else { return };
        if unit.incarnation == INCARNATION_MAX {
            let reason = "all incarnation numbers of this arena are used up; restart the pipeline".to_owned();
            unit.phase = Phase::Parked { reason };
            return;
        }
        unit.incarnation += 1;
        unit.activated_ns = now_ns();
        unit.ordered = Command::Active { incarnation: unit.incarnation, ticket: process.ticket };
        control.order(unit.ordered);
        unit.process = Some(process);
        unit.phase = Phase::Starting;
        unit.ready_by_ns = None;
    }

    /// What the dead one says that it met. Its rings have been examined by the same rule; what it says is reported and no more.
    fn poison_met(&self, dead: Me) -> Option<Poison> {
        let arena = &self.holdings.arena;
        let page = arena.page(dead.id)?;
        let poison = page.poison()?;
        page.clear_poison();
        // The page was written by a stage: the ring must exist, and be one that this stage consumed.
        arena.layout().rings.get(usize::from(poison.ring.0)).filter(|s| s.to == dead.id || s.from == dead.id)?;
        tracing::error!(%poison, "poison");
        Some(poison)
    }

    /// Lays the death to the frame that was in hand, if there was one; ends the frame if it is one too many.
    fn blame(&mut self, dead: Me, stage: &str, cause: &Cause, broken_frame: bool) -> Option<Value> {
        let arena = &self.holdings.arena;
        let head = blame::suspect(arena, dead)?;
        let d = arena.table().get(head)?;
        let sentence = blame::charge(d, cause.blames_frame() || broken_frame, &self.pipeline.supervisor);
        // `null`: its record does not match its checksum.
        let meta = arena.frame_meta(head).ok();
        let (stream, frame) = (meta.map(|m| m.stream), meta.map(|m| m.frame));
        let told = json!({
            "head": head, "stream": stream, "frame": frame,
            "attempts": d.attempts.load(Ordering::Relaxed), "interruptions": d.interruptions.load(Ordering::Relaxed),
            "sentence": match sentence {
                Sentence::Replay => "replay", Sentence::Quarantine => "quarantine", Sentence::GiveUp => "give-up",
            },
        });
        let fate = match sentence {
            Sentence::Replay => return Some(told),
            Sentence::Quarantine => {
                if let Some(evidence) = Evidence::gather(arena, head, stage, &cause.to_string()) {
                    self.quarantine.keep(evidence);
                }
                Fate { kind: FateKind::Quarantined, reason: dead.id.0 - OwnerId::FIRST_STAGE }
            }
            Sentence::GiveUp => Fate { kind: FateKind::Dropped, reason: wire::DropReason::InterruptedTooOften.code() },
        };
        tracing::error!(stage, head, stream, frame, ?sentence, "a frame is taken out");
        self.status_path.end(arena, head, fate);
        Some(told)
    }

    /// Hands what `dead` held to its successor.
    pub(crate) fn sweep(&mut self, dead: Me, kind: StageKind) -> Reclaimed {
        let arena = &self.holdings.arena;
        let wrong = restore_roles(arena, dead) + u32::from(strike_line(arena, dead.id));
        if wrong > 0 {
            tracing::error!(wrong, "roles, or a line of the journal, were damaged");
            self.patrol.suspect(now_ns());
        }
        let rings = arena.rings_of(dead.id);
        let own = arena.rings_where(|s| s.kind == RingKind::Recovery && s.to == dead.id);
        let Some(recovery) = own.first() else { return Reclaimed::default() };
        // Slots are preprocess's; a rx-gateway's successor adopts them, and with anybody else they are damage.
        let adopts_slots = kind != StageKind::Preprocess;
        let mut again = || reclaim(arena.table(), dead, &rings, recovery, adopts_slots, &mut self.marks);
        again().unwrap_or_else(|fault| {
            // Both ends of this ring are the dead one's and ours. Emptied, it is filled again from the words.
            tracing::error!(%fault, "the recovery ring is unusable; it is made anew");
            recovery.format(0);
            again().unwrap_or_else(|fault| {
                tracing::error!(%fault, "the sweep failed");
                Reclaimed::default()
            })
        })
    }

    /// Forgets what a dead or parked incarnation said of itself.
    pub(crate) fn clean_page(&mut self, id: OwnerId) {
        if let Some(unit) = self.units.iter_mut().find(|u| u.id == id) {
            unit.armed = 0;
        }
        let arena = &self.holdings.arena;
        let (Some(page), Some(control)) = (arena.page(id), arena.control_word(id)) else { return };
        page.clear_current();
        page.clear_poison();
        for cell in [&page.heartbeat_ns, &page.held_buffers, &page.held_slots] {
            cell.store(0, Ordering::Release);
        }
        page.sleeping.store(0, Ordering::Release);
        // The successor would stop at the same point.
        control.kill_point_armed.store(0, Ordering::Release);
        page.kill_point_hit.store(0, Ordering::Release);
    }
}
