//! Repairs of damaged shared memory that need several stages dead at the same time.
//!
//! ```text
//! death, patrol --> plan: SIGKILL for everybody who must not live meanwhile
//!                     |  each of them: reaped, classified, its successor started, held back (Phase::Repairing)
//!                     v  all dead
//!                   rings made anew, words and roles put right (arena::survey), ledger settled
//!                     v
//!                   blame, sweep, activate, one by one, as after any death
//! ```
//!
//! A kill is what every stage can stand at any instruction, so it is what stops a stage whose memory cannot be trusted. What is
//! done and why is in `docs/decisions/0008-hostile-peer.md`.

use crate::bury::Successor;
use crate::death::{Cause, OurKill};
use crate::instance::{Phase, Unit};
use crate::start::Supervisor;
use arena::descriptor::{Fate, FateKind};
use arena::refill::{Taker, examine};
use arena::ring::RingId;
use arena::survey::{Crew, Instances, settle_ledger, straighten};
use arena::sync::Ordering;
use arena::{Me, OwnerId, now_ns};
use std::collections::VecDeque;
use std::fmt::Write as _;

/// Repairs within [`WINDOW_NS`]; after that damage counts as the stages' own doing, and they are parked in the end.
const REPAIRS_MAX: usize = 100;
const WINDOW_NS: u64 = 60_000_000_000;
/// An activation takes milliseconds; one that has not said after this that it is over will not say it.
const ADOPTION_NS: u64 = 5_000_000_000;

/// The repair that is under way, if one is, and the times of those before.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    stop: Instances,
    rings: Vec<RingId>,
    why: String,
    began_ns: VecDeque<u64>,
    /// Repairs carried out since the start.
    pub total: u64,
}

/// What the rings of a dead instance showed.
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    /// Rings that must be made anew, with everybody at their ends.
    rings: Vec<RingId>,
    stop: Instances,
    /// In words; empty if all was well.
    pub text: String,
}

impl Supervisor {
    /// Looks at every ring of a dead instance. What its own death suffices to repair is repaired here.
    pub(crate) fn inspect(&self, n: usize) -> Inspection {
        let arena = &self.holdings.arena;
        let dead = self.units[n].me();
        let me = Me { id: dead.id, incarnation: dead.incarnation + 1 };
        let taker = Taker { me, onward: &arena.rings_where(|s| s.from == dead.id && s.to != dead.id) };
        let mut inspection = Inspection::default();
        for spec in arena.layout().rings.iter().filter(|s| s.from == dead.id || s.to == dead.id) {
            let ring = arena.ring(spec.id);
            let takes = spec.to == dead.id;
            let finding = examine(&ring, arena.table(), takes.then_some(taker));
            if takes && finding.is_sound() || !takes && finding.is_sound_upstream() {
                continue;
            }
            let done = if takes && finding.is_one_entry() && ring.step_over(ring.cursors().0) {
                "an entry was stepped over"
            } else if spec.from == spec.to {
                ring.format(0);
                "made anew"
            } else {
                inspection.rings.push(spec.id);
                inspection.stop = inspection.stop.with(spec.from).with(spec.to);
                "to be made anew"
            };
            let _ = write!(inspection.text, "ring {}: {done}; ", spec.id.0);
            tracing::error!(ring = spec.id.0, ?finding, done, "a ring is damaged");
        }
        inspection
    }

    /// Plans what an inspection calls for; false if it calls for nothing more, or if there were too many repairs.
    pub(crate) fn plan_refill(&mut self, inspection: &Inspection, now_ns: u64) -> bool {
        !inspection.rings.is_empty() && self.plan_repair(inspection.stop, &inspection.rings, &inspection.text, now_ns)
    }

    /// Stops everybody in `stop`; when they are dead, `rings` are made anew and the words put right.
    pub(crate) fn plan_repair(&mut self, stop: Instances, rings: &[RingId], why: &str, now_ns: u64) -> bool {
        if self.mode.is_ending() {
            return false;
        }
        let repairs = &mut self.repairs;
        if repairs.stop.is_empty() {
            while repairs.began_ns.front().is_some_and(|t| now_ns.saturating_sub(*t) > WINDOW_NS) {
                repairs.began_ns.pop_front();
            }
            if repairs.began_ns.len() >= REPAIRS_MAX {
                tracing::error!(why, "{REPAIRS_MAX} repairs within a minute; no more are tried for now");
                return false;
            }
            repairs.began_ns.push_back(now_ns);
        }
        repairs.stop = repairs.stop.and(stop);
        repairs.rings.extend(rings);
        if !repairs.why.contains(why) {
            repairs.why.push_str(why);
        }
        for unit in self.units.iter_mut().filter(|u| stop.has(u.id)) {
            if let Some(process) = &mut unit.process {
                process.kill(OurKill::Repair);
            }
        }
        self.patrol.suspect(now_ns);
        true
    }

    /// Whether a repair is under way that this instance must be dead for.
    pub(crate) fn is_in_repair(&self, id: OwnerId) -> bool {
        self.repairs.stop.has(id)
    }

    /// Whether a repair is under way.
    pub(crate) fn is_repairing(&self) -> bool {
        !self.repairs.stop.is_empty()
    }

    /// A dead instance whose recovery has to wait for the deaths of others.
    pub(crate) fn hold(&mut self, n: usize, cause: Cause, (decision, successor): Successor, died_ns: u64) {
        let unit = &mut self.units[n];
        if let Some(successor) = successor {
            unit.standby = Some(successor);
        }
        unit.ready_by_ns = None;
        unit.phase = Phase::Repairing { cause, decision, died_ns };
    }

    /// Everybody at the last activation, and who is at work.
    pub(crate) fn crew(&self) -> Crew {
        // Until it has adopted what is its own, an activated stage's words say nothing: it notes the end of that.
        let adopted = |u: &&Unit| {
            let page = self.holdings.arena.page(u.id);
            page.is_some_and(|p| p.first_work_ns.load(Ordering::Acquire) >= u.activated_ns)
                || now_ns().saturating_sub(u.activated_ns) > ADOPTION_NS
        };
        let active = self.units.iter().filter(|u| u.phase == Phase::Active).filter(adopted);
        Crew {
            incarnations: self.units.iter().map(|u| u.incarnation).collect(),
            active: active.fold(Instances::NONE, |all, u| all.with(u.id)),
            queues: self.holdings.ingress.queue_mask(),
        }
    }

    /// Carries the repair out, if everybody who must be is dead.
    pub(crate) fn try_repair(&mut self, now_ns: u64) {
        let stop = self.repairs.stop;
        if stop.is_empty() || self.units.iter().any(|u| stop.has(u.id) && u.process.is_some()) {
            return;
        }
        let why = std::mem::take(&mut self.repairs.why);
        let mut rings = std::mem::take(&mut self.repairs.rings);
        self.repairs.stop = Instances::NONE;
        self.repairs.total += 1;
        let text = format!("{why}{}", self.put_right(stop, &mut rings));
        tracing::warn!(repair = text, "damaged memory was repaired");
        for n in (0..self.units.len()).filter(|n| stop.has(self.units[*n].id)).collect::<Vec<_>>() {
            if let Phase::Repairing { cause, decision, died_ns } = self.units[n].phase.clone() {
                let successor = self.units[n].standby.take();
                self.revive(n, &cause, (decision, successor), died_ns, Some(text.clone()));
            } else {
                // Dead and swept before: what stood in its rings is in none now.
                let (dead, kind) = (self.units[n].me(), self.units[n].kind());
                self.sweep(dead, kind);
            }
        }
        self.patrol.suspect(now_ns);
        self.holdings.ring_all();
    }

    /// The pipeline stops: nobody waits for a repair any more.
    pub(crate) fn end_repair(&mut self) {
        self.repairs.stop = Instances::NONE;
        for n in 0..self.units.len() {
            let unit = &mut self.units[n];
            if matches!(unit.phase, Phase::Repairing { .. }) {
                self.problems.push(format!("{} was being repaired when the pipeline stopped", unit.name()));
                unit.phase = Phase::Stopped;
                unit.retiring.extend(unit.standby.take());
                let (dead, kind) = (unit.me(), unit.kind());
                self.sweep(dead, kind);
            }
        }
    }

    fn put_right(&mut self, stop: Instances, rings: &mut Vec<RingId>) -> String {
        let crew = self.crew();
        let arena = &self.holdings.arena;
        if self.units.iter().all(|u| stop.has(u.id)) {
            // Nobody lives: all that the words say is said by them alone.
            *rings = arena.layout().rings.iter().map(|s| s.id).collect();
        }
        for id in rings.iter() {
            arena.ring(*id).format(0);
        }
        let done = straighten(arena, &crew, stop, self.patrol.sightings());
        let ours = |id: &RingId| arena.layout().rings.iter().any(|s| s.id == *id && s.from == OwnerId::SUPERVISOR);
        if rings.iter().any(ours) {
            self.status_path.reopen(arena);
        }
        let lost = Fate { kind: FateKind::Dropped, reason: wire::DropReason::Other.code() };
        for head in &done.heads {
            self.status_path.end(arena, *head, lost);
        }
        let stopped = arena.geometry().gateway_ids().filter(|id| stop.has(*id));
        let frames: u64 = stopped.map(|id| settle_ledger(arena, id, lost.cell())).fold(0, u64::saturating_add);
        format!(
            "{} rings made anew, {} words or roles put right, {} heads without an owner dropped, {}{frames} frames counted as lost",
            rings.len(),
            done.words,
            done.heads.len(),
            if done.journal { "a line of the journal struck out, " } else { "" },
        )
    }
}
