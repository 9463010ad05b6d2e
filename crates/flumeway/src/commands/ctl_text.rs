//! `flumeway ctl`: answers as text.

use serde_json::{Map, Value};

use crate::output::{cell, duration, table};

/// Stages, their latencies, rings and memory.
pub(crate) fn status(answer: &Value) -> String {
    let uptime = answer["uptime_ms"].as_f64().unwrap_or(0.0) * 1e3;
    let head = format!(
        "pipeline {}: {}, listening on {}, supervisor {}, up {}",
        cell(&answer["name"]),
        cell(&answer["state"]),
        cell(&answer["listen"]),
        cell(&answer["pid"]),
        duration(uptime)
    );
    let stages: Vec<Vec<String>> = list(&answer["stages"]).iter().map(stage_row).collect();
    let columns = [
        "stage",
        "pid",
        "core",
        "state",
        "incarnation",
        "restarts",
        "interrupted",
        "heartbeat",
        "work p50",
        "p99",
        "last death",
    ];
    let rings: Vec<Vec<String>> = list(&answer["rings"])
        .iter()
        .map(|ring| {
            let place = format!("{} -> {}", cell(&ring["from"]), cell(&ring["to"]));
            vec![place, cell(&ring["kind"]), cell(&ring["depth"]), cell(&ring["capacity"])]
        })
        .collect();
    let parked = list(&answer["stages"]).iter().filter_map(|stage| {
        let reason = stage["parked_reason"].as_str()?;
        let name = cell(&stage["name"]);
        Some(format!("{name} is parked: {reason}; `flumeway ctl restart {name}` tries again"))
    });
    let mut parts = vec![
        head,
        ingress(&answer["ingress"]),
        table(&columns, &stages),
        table(&["ring", "kind", "depth", "capacity"], &rings),
    ];
    parts.extend(parked);
    parts.join("\n\n")
}

/// How packets come in, and why not better; what the filter has done.
fn ingress(answer: &Value) -> String {
    let reasons: Vec<String> = list(&answer["not_taken"]).iter().map(cell).collect();
    let mut lines = vec![format!("packets by {}", cell(&answer["described"]))];
    lines.extend(reasons.iter().map(|reason| format!("  because {reason}")));
    for port in list(&answer["ports"]) {
        let copies = port["driver_copies"].as_u64().map_or_else(|| "?".to_owned(), |copies| copies.to_string());
        let speed = port["link_mbps"].as_u64().map(|mbps| format!(" at {mbps} Mbit/s")).unwrap_or_default();
        let link = port["link"].as_str().map(|link| format!(", link {link}{speed}")).unwrap_or_default();
        let counted = port["counters"].as_object().map(pairs).unwrap_or_default();
        let (process, device) = (cell(&port["process"]), cell(&port["device"]));
        lines.push(format!("port {device} of {process}: {copies} copies by its driver{link}; {counted}"));
    }
    if let Some(filter) = answer["filter"].as_object() {
        lines.push(format!("filter: {}", pairs(filter)));
    }
    lines.join("\n")
}

/// The networks, and what is tried beside them.
pub(crate) fn models(answer: &Value) -> String {
    let row = |model: &Value| {
        let digest: String = cell(&model["sha256"]).chars().take(12).collect();
        let digest = if digest.is_empty() { "-".to_owned() } else { digest };
        let shadow = &model["shadow"];
        let compared = if shadow.is_null() {
            "-".to_owned()
        } else {
            format!(
                "{} ({} %): {} frames, {} differ, {} with another best, {} failed",
                cell(&shadow["file"]),
                cell(&shadow["percent"]),
                cell(&shadow["frames"]),
                cell(&shadow["differs"]),
                cell(&shadow["other_best"]),
                cell(&shadow["errors"])
            )
        };
        vec![
            cell(&model["name"]),
            cell(&model["engine"]),
            cell(&model["file"]),
            digest,
            cell(&model["previous"]),
            compared,
        ]
    };
    let rows: Vec<Vec<String>> = list(&answer["models"]).iter().map(row).collect();
    table(&["model", "engine", "file", "sha256", "before", "shadow"], &rows)
}

/// What runs now.
pub(crate) fn model(answer: &Value) -> String {
    format!(
        "{} runs {} on {}, after {} ms; no frame was lost",
        cell(&answer["model"]),
        cell(&answer["file"]),
        cell(&answer["engine"]),
        cell(&answer["took_ms"])
    )
}

/// Rules with their hits.
pub(crate) fn access_list(answer: &Value) -> String {
    let row = |(n, rule): (usize, &Value)| vec![(n + 1).to_string(), cell(&rule["rule"]), cell(&rule["hits"])];
    let mut rows: Vec<Vec<String>> = list(&answer["access_list"]).iter().enumerate().map(row).collect();
    rows.push(vec![
        "-".to_owned(),
        format!("{} the rest (acl_policy)", cell(&answer["policy"])),
        cell(&answer["policy_hits"]),
    ]);
    table(&["rule", "", "packets"], &rows)
}

fn stage_row(stage: &Value) -> Vec<String> {
    let work = &stage["latency_us"]["work"];
    let time = |value: &Value| value.as_f64().map_or_else(|| "-".to_owned(), duration);
    let heartbeat = stage["heartbeat_age_ms"].as_f64().map(|age_ms| age_ms * 1e3);
    vec![
        cell(&stage["name"]),
        cell(&stage["pid"]),
        cell(&stage["core"]),
        cell(&stage["state"]),
        cell(&stage["incarnation"]),
        cell(&stage["restarts"]),
        cell(&stage["interruptions"]),
        heartbeat.map_or_else(|| "-".to_owned(), duration),
        time(&work["p50"]),
        time(&work["p99"]),
        cell(&stage["last_death"]),
    ]
}

/// The equation of the ledger, then its parts.
pub(crate) fn ledger(answer: &Value) -> String {
    let sum = |key: &str| match &answer[key] {
        Value::Object(counts) => counts.values().filter_map(Value::as_u64).sum::<u64>(),
        other => other.as_u64().unwrap_or(0),
    };
    let verdict = if answer["balanced"] == Value::Bool(true) { "balanced" } else { "NOT BALANCED" };
    let mut lines = vec![format!(
        "{} received = {} answered + {} dropped + {} refused + {} quarantined + {} in flight: {verdict}",
        sum("received"),
        sum("answered"),
        sum("dropped"),
        sum("bad_request"),
        sum("quarantined"),
        sum("in_flight")
    )];
    for (key, title) in [("dropped", "dropped"), ("bad_request", "refused"), ("packets", "packets")] {
        let counts = answer[key].as_object().into_iter().flatten().filter(|(_, count)| count.as_u64() != Some(0));
        let counts: Map<String, Value> = counts.map(|(name, count)| (name.clone(), count.clone())).collect();
        if !counts.is_empty() {
            lines.push(format!("{title}: {}", pairs(&counts)));
        }
    }
    if answer["audit"].is_object() {
        lines.push(audit(&answer["audit"]));
    }
    lines.join("\n")
}

/// Where buffers and slots are.
pub(crate) fn audit(answer: &Value) -> String {
    let audit = if answer["audit"].is_object() { &answer["audit"] } else { answer };
    let verdict = if audit["sound"] == Value::Bool(true) { "sound" } else { "NOT SOUND" };
    let counts: Map<String, Value> = audit
        .as_object()
        .map(|fields| {
            fields.iter().filter(|(_, value)| value.is_u64()).map(|(key, value)| (key.clone(), value.clone()))
        })
        .into_iter()
        .flatten()
        .filter(|(key, _)| key != "schema")
        .collect();
    format!("buffers and slots: {verdict}; {}", pairs(&counts))
}

/// One line per death.
pub(crate) fn recoveries(answer: &Value) -> String {
    let rows: Vec<Vec<String>> = list(&answer["recoveries"])
        .iter()
        .map(|recovery| {
            let time = recovery["recovery_ms"].as_f64().map_or_else(|| "-".to_owned(), |ms| duration(ms * 1e3));
            vec![
                cell(&recovery["stage"]),
                cell(&recovery["cause"]),
                time,
                cell(&recovery["heads"]),
                cell(&recovery["slots"]),
                cell(&recovery["current_stage_state"]),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "no stage has died".to_owned();
    }
    table(&["stage", "cause", "recovery", "frames", "slots", "state at death"], &rows)
}

/// What was applied, and what was not.
pub(crate) fn reload(answer: &Value) -> String {
    let keys = |key: &str| list(&answer[key]).iter().map(cell).collect::<Vec<_>>().join(", ");
    match (keys("applied"), keys("needs_restart")) {
        (applied, rest) if applied.is_empty() && rest.is_empty() => "nothing has changed".to_owned(),
        (applied, rest) if rest.is_empty() => format!("applied: {applied}"),
        (applied, rest) if applied.is_empty() => {
            format!("nothing applied; a restart of the pipeline is needed for: {rest}")
        }
        (applied, rest) => format!("applied: {applied}\na restart of the pipeline is needed for: {rest}"),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn pairs(counts: &Map<String, Value>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {}", cell(count))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_ledger_is_an_equation() {
        let answer = json!({"received": 10, "answered": 7, "dropped": {"deadline": 2}, "bad_request": {}, "quarantined": 0,
            "in_flight": 1, "balanced": true, "packets": {"fragment": 40, "malformed": 0},
            "audit": {"free": 5, "sound": true}});
        let expected = "10 received = 7 answered + 2 dropped + 0 refused + 0 quarantined + 1 in flight: balanced\n\
            dropped: deadline 2\npackets: fragment 40\nbuffers and slots: sound; free 5";
        assert_eq!(ledger(&answer), expected);
        assert!(ledger(&json!({"balanced": false})).contains("NOT BALANCED"));
    }

    #[test]
    fn status_shows_stages_and_why_one_is_parked() {
        let answer = json!({"name": "a", "state": "running", "listen": "127.0.0.1:9000", "pid": 1, "uptime_ms": 5000,
            "stages": [{"name": "infer.0", "pid": 7, "state": "active", "latency_us": {"work": {"p50": 1200, "p99": 2000}}},
                {"name": "tx", "pid": null, "state": "parked", "parked_reason": "11 deaths in 30 s"}],
            "rings": [{"kind": "heads", "from": "rx-gateway", "to": "preprocess.0", "depth": 3, "capacity": 64}]});
        let text = status(&answer);
        for part in [
            "up 5.00 s",
            "infer.0",
            "1.20 ms",
            "rx-gateway -> preprocess.0",
            "tx is parked: 11 deaths",
            "ctl restart tx",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn odd_answers_are_no_panic() {
        for answer in [json!(null), json!([]), json!({"stages": 1, "rings": {}}), json!({"stages": [null]})] {
            let _ = (status(&answer), ledger(&answer), audit(&answer), recoveries(&answer), reload(&answer));
        }
        assert_eq!(recoveries(&json!({})), "no stage has died");
    }

    #[test]
    fn reload_names_what_needs_a_restart() {
        let answer = json!({"applied": ["stream.7.policy"], "needs_restart": ["rings.capacity"]});
        assert_eq!(
            reload(&answer),
            "applied: stream.7.policy\na restart of the pipeline is needed for: rings.capacity"
        );
        assert_eq!(reload(&json!({"applied": [], "needs_restart": []})), "nothing has changed");
    }
}
