//! What the supervisor looks at although nobody has died: damage that no stage meets, or that would stop it for ever.
//!
//! | what | how often | what is done |
//! |---|---|---|
//! | header, control words, generation, pause | each turn of the loop | written again: the supervisor is their only writer and knows them |
//! | rings that stand still | 4 times a second | both ends stop and the ring is refilled, if two looks agree |
//! | words and roles | every 10 s; twice a second after signs of damage | whoever may hold the buffer stops, if two surveys agree |
//! | the ledgers, after signs of damage | with the words | their rx-gateways stop, and they are settled |

use crate::instance::Phase;
use crate::quarantine::INCARNATION;
use crate::start::Supervisor;
use arena::Arena;
use arena::refill::stands_wrong;
use arena::survey::{Instances, Sightings, survey};
use arena::sync::Ordering;

/// Between two looks at the rings.
const RINGS_NS: u64 = 250_000_000;
/// Between two surveys, without and with signs of damage.
const SURVEY_NS: u64 = 10_000_000_000;
const SURVEY_SOON_NS: u64 = 500_000_000;
/// How long a sign of damage counts.
const SUSPICION_NS: u64 = 10_000_000_000;
/// Surveys after which what rests with rx-gateway, while nothing moves, is lost; besides the time that fragments may take.
const PATIENCE: u32 = 4;

/// What was seen, and when to look again.
#[derive(Debug)]
pub(crate) struct Patrol {
    /// When the arena was created; the header may be damaged.
    epoch: u64,
    suspicious_until_ns: u64,
    rings_due_ns: u64,
    survey_due_ns: u64,
    doubts: Vec<Option<u64>>,
    sightings: Sightings,
    /// By how much each rx-gateway's ledger was off at the last survey.
    ledgers_off: Vec<u64>,
    /// Words that were written again.
    pub restored: u64,
}

impl Patrol {
    /// For a fresh arena.
    pub(crate) fn new(arena: &Arena, now_ns: u64) -> Self {
        Self {
            epoch: arena.epoch(),
            suspicious_until_ns: 0,
            rings_due_ns: now_ns + RINGS_NS,
            survey_due_ns: now_ns + SURVEY_NS,
            doubts: vec![None; arena.layout().rings.len()],
            sightings: Sightings::new(arena.table().len()),
            ledgers_off: vec![0; arena.geometry().gateways.into()],
            restored: 0,
        }
    }

    /// There are signs of damage: look closer for a while.
    pub(crate) fn suspect(&mut self, now_ns: u64) {
        self.suspicious_until_ns = now_ns + SUSPICION_NS;
        self.survey_due_ns = self.survey_due_ns.min(now_ns + SURVEY_SOON_NS);
    }

    /// Whether there were signs of damage lately.
    pub(crate) fn is_suspicious(&self, now_ns: u64) -> bool {
        now_ns < self.suspicious_until_ns
    }

    /// What surveys saw.
    pub(crate) fn sightings(&mut self) -> &mut Sightings {
        &mut self.sightings
    }
}

impl Supervisor {
    /// One round; nothing here waits.
    pub(crate) fn patrol(&mut self, now_ns: u64) {
        if self.restore_orders() {
            self.patrol.restored += 1;
            self.patrol.suspect(now_ns);
            self.holdings.ring_all();
        }
        if self.mode.is_ending() || self.is_repairing() {
            return;
        }
        if now_ns >= self.patrol.rings_due_ns {
            self.patrol.rings_due_ns = now_ns + RINGS_NS;
            self.patrol_rings(now_ns);
        }
        if now_ns >= self.patrol.survey_due_ns {
            self.patrol_words(now_ns);
        }
    }

    /// Writes again what the supervisor alone writes, where it does not say what was ordered.
    fn restore_orders(&self) -> bool {
        let arena = &self.holdings.arena;
        let mut wrong = arena.mend_header(self.patrol.epoch);
        for unit in &self.units {
            let Some(control) = arena.control_word(unit.id) else { continue };
            if control.command() != unit.ordered {
                tracing::error!(stage = unit.name(), is = ?control.command(), ordered = ?unit.ordered, "a control word was damaged");
                control.order(unit.ordered);
                wrong = true;
            }
            if control.kill_point_armed.load(Ordering::Acquire) != unit.armed {
                control.kill_point_armed.store(unit.armed, Ordering::Release);
                wrong = true;
            }
        }
        let page = arena.supervisor();
        if page.config_generation.load(Ordering::Acquire) != self.generation {
            page.config_generation.store(self.generation, Ordering::Release);
            wrong = true;
        }
        for (cell, value) in [(&page.ingress_paused, u32::from(self.ingress_paused)), (&page.incarnation, INCARNATION)]
        {
            if cell.load(Ordering::Acquire) != value {
                cell.store(value, Ordering::Release);
                wrong = true;
            }
        }
        wrong
    }

    /// Rings between two living ends that cannot go on by themselves.
    fn patrol_rings(&mut self, now_ns: u64) {
        let arena = &self.holdings.arena;
        let active = self.crew().active;
        // The supervisor's own end lives as long as this runs.
        let lives = |id: arena::OwnerId| id == arena::OwnerId::SUPERVISOR || active.has(id);
        let (mut stop, mut rings) = (Instances::NONE, Vec::new());
        for (spec, doubt) in arena.layout().rings.iter().zip(&mut self.patrol.doubts) {
            let wrong = if lives(spec.from) && lives(spec.to) { stands_wrong(&arena.ring(spec.id)) } else { None };
            if wrong.is_some() && wrong == *doubt {
                stop = stop.with(spec.from).with(spec.to);
                rings.push(spec.id);
            }
            *doubt = wrong;
        }
        if !rings.is_empty() {
            let why = format!("rings {:?} stood still; ", rings.iter().map(|r| r.0).collect::<Vec<_>>());
            tracing::error!(why, "damaged rings");
            self.plan_repair(stop, &rings, &why, now_ns);
            self.try_repair(now_ns);
        }
    }

    /// Buffers that nobody can come back to.
    fn patrol_words(&mut self, now_ns: u64) {
        let suspicious = self.patrol.is_suspicious(now_ns);
        self.patrol.survey_due_ns = now_ns + if suspicious { SURVEY_SOON_NS } else { SURVEY_NS };
        // While somebody starts or ends, buffers change hands without a stage's doing.
        if !self.units.iter().all(|u| matches!(u.phase, Phase::Active | Phase::Parked { .. })) {
            return;
        }
        let patience =
            PATIENCE + (u64::from(self.pipeline.limits.assembly_timeout_ms) * 1_000_000 / SURVEY_SOON_NS) as u32;
        let crew = self.crew();
        let found = survey(&self.holdings.arena, &crew, &mut self.patrol.sightings, &mut self.marks, patience);
        if found.lost > 0 {
            self.patrol.suspect(now_ns);
        } else if found.suspected > 0 {
            // Most are on their way; the next look tells.
            self.patrol.survey_due_ns = now_ns + SURVEY_SOON_NS;
        }
        let mut stop = found.stop;
        let mut why = String::new();
        if !stop.is_empty() {
            why = format!("{} buffers or slots that nobody can come back to; ", found.lost);
        }
        if suspicious {
            let off = self.ledgers_off();
            if !off.is_empty() {
                stop = stop.and(off);
                why.push_str("the ledger did not balance; ");
            }
        }
        if !stop.is_empty() {
            tracing::error!(why, ?found, "damaged words");
            self.plan_repair(stop, &[], &why, now_ns);
            self.try_repair(now_ns);
        }
    }

    /// The rx-gateways whose ledgers are off by the same number as at the last survey.
    fn ledgers_off(&mut self) -> Instances {
        let active = self.crew().active;
        let arena = &self.holdings.arena;
        let mut wrong = Instances::NONE;
        for (id, before) in arena.geometry().gateway_ids().zip(&mut self.patrol.ledgers_off) {
            let at_work = active.has(id) && arena.gateway(id).is_some_and(|page| page.journal.pending().is_none());
            let ledger = arena.ledger_of(id, 4);
            let known = ledger.finished().wrapping_add(ledger.in_flight);
            let off = if at_work && ledger.settled { ledger.received.wrapping_sub(known) } else { 0 };
            if off != 0 && off == *before {
                wrong = wrong.with(id);
            }
            *before = off;
        }
        wrong
    }
}
