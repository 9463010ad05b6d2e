//! The record of each death and of what was done about it.

use arena::killpoint::KillPoint;
use arena::page::StagePage;
use arena::reclaim::Reclaimed;
use arena::sync::Ordering;
use arena::{Arena, Me, OwnerId};
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Records kept.
const KEPT: usize = 1024;

/// One death and its recovery. Times are CLOCK_MONOTONIC ns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// Name of the instance.
    pub stage: String,
    /// Its owner id.
    pub owner: u8,
    /// The incarnation that died.
    pub incarnation: u32,
    /// What the death was.
    pub cause: String,
    /// Whether it counts as the stage's own doing.
    pub own_doing: bool,
    /// What the stage was at: see [`state_at_death`].
    pub state: &'static str,
    /// Kill point it had stopped at (test builds).
    pub kill_point: Option<&'static str>,
    /// The poison it had met, in words.
    pub poison: Option<String>,
    /// What was damaged besides, and how it was repaired.
    pub repair: Option<String>,
    /// Head, stream and frame that the death was laid to, and what became of it.
    pub frame: Option<Value>,
    /// When its pidfd was readable.
    pub died_ns: u64,
    /// When the next incarnation was ordered ACTIVE; 0 while that has not happened.
    pub activated_ns: u64,
    /// When that took its first work.
    pub first_work_ns: Option<u64>,
    /// When that was first seen alive: the fallback where there is no work.
    pub first_heartbeat_ns: Option<u64>,
    /// What the sweep did.
    pub swept: Reclaimed,
}

impl Record {
    /// Death to first work (or to the first sign of life), ns.
    pub(crate) fn recovery_ns(&self) -> Option<u64> {
        let back = self.first_work_ns.or(self.first_heartbeat_ns)?;
        Some(back.saturating_sub(self.died_ns))
    }

    fn to_json(&self) -> Value {
        json!({
            "stage": self.stage, "owner": self.owner, "incarnation": self.incarnation, "cause": self.cause,
            "own_doing": self.own_doing, "current_stage_state": self.state, "kill_point": self.kill_point,
            "poison": self.poison, "repair": self.repair, "frame": self.frame, "died_ns": self.died_ns,
            "activated_ns": (self.activated_ns > 0).then_some(self.activated_ns),
            "first_work_ns": self.first_work_ns,
            "recovery_ms": self.recovery_ns().map(crate::report::milliseconds),
            "heads": self.swept.heads, "slots": self.swept.slots, "adoptable": self.swept.adoptable,
            "in_rings": self.swept.in_rings,
        })
    }
}

/// The last records, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Records {
    kept: VecDeque<Record>,
    total: u64,
}

impl Records {
    /// Keeps one.
    pub(crate) fn push(&mut self, record: Record) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(record);
        self.total += 1;
    }

    /// The last record of an instance.
    pub(crate) fn last_of(&mut self, id: OwnerId) -> Option<&mut Record> {
        self.kept.iter_mut().rev().find(|r| r.owner == id.0)
    }

    /// Fills in when the incarnation that follows the last death of `id` took up work. The page shows only the
    /// latest, so this is asked before the next activation and while somebody may be waiting for the answer.
    pub(crate) fn complete(&mut self, id: OwnerId, page: &StagePage) {
        let Some(record) = self.last_of(id).filter(|r| r.activated_ns > 0) else { return };
        let since = |ns: u64| (ns >= record.activated_ns).then_some(ns);
        if record.first_work_ns.is_none() {
            record.first_work_ns = since(page.first_work_ns.load(Ordering::Acquire));
        }
        if record.first_heartbeat_ns.is_none() {
            record.first_heartbeat_ns = since(page.heartbeat_ns.load(Ordering::Acquire));
        }
    }

    /// Whether a recovery ordered since `since_ns` has not shown work yet.
    pub(crate) fn pending(&self, since_ns: u64) -> bool {
        self.kept.iter().rev().take(64).any(|r| r.activated_ns > since_ns && r.first_work_ns.is_none())
    }

    /// `{"total":..,"recoveries":[..]}`.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "total": self.total,
            "recoveries": self.kept.iter().map(Record::to_json).collect::<Vec<_>>(),
        })
    }
}

/// What a dead incarnation was at, by what it left behind, before the sweep.
pub(crate) fn state_at_death(arena: &Arena, dead: Me) -> &'static str {
    let Some(page) = arena.page(dead.id) else { return "unknown" };
    if page.incarnation.load(Ordering::Acquire) != dead.incarnation {
        "starting"
    } else if page.current().is_some() {
        "working"
    } else if page.sleeping.load(Ordering::Acquire) != 0 {
        "asleep"
    } else if page.held_buffers.load(Ordering::Relaxed) > 0 && !arena.geometry().is_gateway(dead.id) {
        // A rx-gateway holds its free buffers at all times, which says nothing.
        "holding"
    } else {
        "polling"
    }
}

/// The kill point that a test build had stopped at.
pub(crate) fn kill_point_hit(page: &StagePage) -> Option<&'static str> {
    let hit = page.kill_point_hit.load(Ordering::Acquire);
    KillPoint::ALL.iter().find(|k| **k as u32 == hit).map(|k| k.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::arena;

    #[test]
    fn the_first_work_after_the_activation_counts() {
        let arena = arena();
        let id = arena.geometry().infer_id(0);
        let page = arena.page(id).unwrap();
        let mut records = Records::default();
        records.push(Record { owner: id.0, died_ns: 100, activated_ns: 250, ..Record::default() });
        page.first_work_ns.store(90, Ordering::Release);
        page.heartbeat_ns.store(99, Ordering::Release);
        records.complete(id, page);
        assert_eq!(records.last_of(id).unwrap().recovery_ns(), None, "both are the predecessor's");
        assert!(records.pending(200) && !records.pending(250));
        page.heartbeat_ns.store(400, Ordering::Release);
        records.complete(id, page);
        assert_eq!(records.last_of(id).unwrap().recovery_ns(), Some(300));
        page.first_work_ns.store(350, Ordering::Release);
        page.heartbeat_ns.store(900, Ordering::Release);
        records.complete(id, page);
        assert_eq!(records.last_of(id).unwrap().recovery_ns(), Some(250));
        assert!(!records.pending(200));
    }

    #[test]
    fn the_oldest_records_go() {
        let mut records = Records::default();
        for n in 0..KEPT as u32 + 5 {
            records.push(Record { incarnation: n, ..Record::default() });
        }
        let json = records.to_json();
        assert_eq!(json["total"], json!(KEPT + 5));
        assert_eq!(json["recoveries"].as_array().unwrap().len(), KEPT);
        assert_eq!(json["recoveries"][0]["incarnation"], json!(5));
    }
}
