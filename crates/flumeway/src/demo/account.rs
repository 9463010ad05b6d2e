//! What the demonstration showed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use supervisor::Exit;

use super::VICTIM;
use crate::client::{Percentiles, SendReport};

/// A distribution in the numbers that the account names, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stage {
    /// Median.
    pub p50: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// The account of a demonstration; as JSON the one line of `flumeway demo --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    /// Version of this account's form.
    pub schema: u32,
    /// Frames sent.
    pub sent: u64,
    /// Frames answered with a result.
    pub answered: u64,
    /// Of those, with the right class.
    pub correct: u64,
    /// Frames sent that have no result.
    pub lost: u64,
    /// Second replies.
    pub duplicates: u64,
    /// Processes started again, all stages.
    pub restarts: u64,
    /// From the death of the killed stage until its successor worked; null if that was not seen.
    pub recovery_ms: Option<f64>,
    /// From the time at which a frame was due until its answer.
    pub latency_us: Stage,
    /// The parts of that time inside the pipeline, microseconds.
    pub stages: BTreeMap<String, Stage>,
    /// Passes over a frame that only moved its bytes, on the way from packet to engine.
    pub copies_per_frame: f64,
    /// The pipeline's last ledger.
    pub ledger: Value,
    /// What the supervisor found wrong at the end; not part of the JSON.
    #[serde(skip)]
    pub problems: Vec<String>,
}

impl Account {
    pub(super) fn new(report: &SendReport, exit: &Exit) -> Self {
        let stages = report.stages.parts().map(|(name, part)| (name.replace(' ', "_"), Stage::from(part)));
        Self {
            schema: 1,
            sent: report.sent,
            answered: report.ok,
            correct: report.correct.unwrap_or(0),
            lost: report.planned - report.ok,
            duplicates: report.duplicates,
            restarts: restarts(&exit.status),
            recovery_ms: recovery_ms(&exit.recoveries),
            latency_us: report.latency_us.into(),
            stages: stages.into_iter().collect(),
            copies_per_frame: copies_per_frame(&exit.status),
            ledger: exit.ledger.clone(),
            problems: exit.problems.clone(),
        }
    }

    /// Whether everything went as promised: every frame answered, a stage killed and restarted, the ledger balanced.
    pub fn is_passed(&self) -> bool {
        self.sent > 0
            && self.lost == 0
            && self.answered == self.sent
            && self.restarts >= 1
            && self.ledger["balanced"] == Value::Bool(true)
            && self.problems.is_empty()
    }
}

impl From<Percentiles> for Stage {
    fn from(percentiles: Percentiles) -> Self {
        Self { p50: percentiles.p50, p99: percentiles.p99, max: percentiles.max }
    }
}

fn stages(status: &Value) -> impl Iterator<Item = &Value> {
    status["stages"].as_array().into_iter().flatten()
}

fn restarts(status: &Value) -> u64 {
    stages(status).filter_map(|stage| stage["restarts"].as_u64()).sum()
}

/// The longest, should the stage have died more than once.
fn recovery_ms(recoveries: &Value) -> Option<f64> {
    let all = recoveries["recoveries"].as_array()?;
    let of_victim = all.iter().filter(|recovery| recovery["stage"] == VICTIM);
    of_victim.filter_map(|recovery| recovery["recovery_ms"].as_f64()).reduce(f64::max)
}

fn copies_per_frame(status: &Value) -> f64 {
    let count = |name: &str| -> u64 {
        let preprocess =
            stages(status).filter(|stage| stage["name"].as_str().is_some_and(|name| name.starts_with("preprocess")));
        preprocess.filter_map(|stage| stage["counters"][name].as_u64()).sum()
    };
    let frames = count("frames");
    if frames == 0 { 0.0 } else { (count("copies") as f64 / frames as f64 * 100.0).round() / 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status() -> Value {
        json!({"stages": [
            {"name": "preprocess.0", "restarts": 0, "counters": {"frames": 300, "copies": 300}},
            {"name": "preprocess.1", "restarts": 0, "counters": {"frames": 100, "copies": 0}},
            {"name": "infer.0", "restarts": 1, "counters": {"frames": 400}}]})
    }

    #[test]
    fn numbers_come_from_the_supervisor() {
        assert_eq!((restarts(&status()), copies_per_frame(&status())), (1, 0.75));
        assert_eq!((restarts(&json!(null)), copies_per_frame(&json!(null))), (0, 0.0));
        let recoveries =
            json!({"recoveries": [{"stage": "tx", "recovery_ms": 900.0}, {"stage": "infer.0", "recovery_ms": 80.5}]});
        assert_eq!(recovery_ms(&recoveries), Some(80.5));
        assert_eq!(recovery_ms(&json!({"recoveries": [{"stage": "infer.0", "recovery_ms": null}]})), None);
    }

    fn passed() -> Account {
        let stage = Stage { p50: 0.0, p99: 0.0, max: 0.0 };
        Account {
            schema: 1,
            sent: 4,
            answered: 4,
            correct: 4,
            lost: 0,
            duplicates: 0,
            restarts: 1,
            recovery_ms: Some(1.0),
            latency_us: stage,
            stages: BTreeMap::new(),
            copies_per_frame: 1.0,
            ledger: json!({"balanced": true}),
            problems: Vec::new(),
        }
    }

    #[test]
    fn every_promise_is_needed_to_pass() {
        assert!(passed().is_passed());
        let spoil: [fn(&mut Account); 6] = [
            |account| account.lost = 1,
            |account| account.answered = 3,
            |account| account.restarts = 0,
            |account| account.ledger = json!({"balanced": false}),
            |account| account.ledger = json!({}),
            |account| account.problems.push("unsound".to_owned()),
        ];
        for spoil in spoil {
            let mut account = passed();
            spoil(&mut account);
            assert!(!account.is_passed(), "{account:?}");
        }
    }

    #[test]
    fn the_json_has_exactly_the_documented_keys() {
        let value = serde_json::to_value(passed()).unwrap();
        let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        let expected = [
            "answered",
            "copies_per_frame",
            "correct",
            "duplicates",
            "latency_us",
            "ledger",
            "lost",
            "recovery_ms",
            "restarts",
            "schema",
            "sent",
            "stages",
        ];
        assert_eq!(keys, expected);
    }
}
