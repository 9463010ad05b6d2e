//! `flumeway demo --json`: what the first command of the README promises, read as a program would read it.

use serde_json::Value;
use std::process::{Command, Stdio};

/// Frames that the demo is asked for; half of them are sent after the kill.
const FRAMES: u64 = 240;

fn number(account: &Value, key: &str) -> f64 {
    account[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {account}"))
}

fn assert_distribution(of: &Value, what: &str) {
    let [p50, p99, max] = ["p50", "p99", "max"].map(|key| number(of, key));
    assert!(0.0 <= p50 && p50 <= p99 && p99 <= max && max.is_finite(), "{what}: {of}");
}

#[test]
fn the_demo_survives_its_own_kill_and_accounts_for_every_frame() {
    let out = Command::new(integration_tests::shipped().join("flumeway"))
        .args(["demo", "--json", "--frames", &FRAMES.to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("start flumeway");
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.code(), Some(0), "{stdout}\n{stderr}");
    assert_eq!(stdout.lines().count(), 1, "one line and nothing else: {stdout}");
    assert!(!stderr.contains('\u{1b}') && !stderr.contains('\r'), "no progress bar in a pipe: {stderr}");

    let account: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(account["schema"], 1);
    let count = |key: &str| account[key].as_u64().unwrap_or_else(|| panic!("{key} is no count in {account}"));
    assert_eq!((count("sent"), count("answered"), count("lost")), (FRAMES, FRAMES, 0), "{account}");
    assert!(count("correct") * 100 >= FRAMES * 95, "{account}");
    assert!(count("restarts") >= 1, "{account}");
    assert_eq!(count("duplicates"), 0, "infer was killed, and only tx can answer twice: {account}");
    assert!(number(&account, "recovery_ms") > 0.0);
    assert_distribution(&account["latency_us"], "latency_us");
    for stage in ["assemble", "preprocess_wait", "preprocess", "infer_wait", "infer", "tx_wait", "tx", "total"] {
        assert_distribution(&account["stages"][stage], stage);
    }
    assert!(number(&account["stages"]["infer"], "p50") > 0.0, "inference takes time");
    assert!((0.0..=1.0).contains(&number(&account, "copies_per_frame")), "{account}");

    let ledger = &account["ledger"];
    assert_eq!((&ledger["balanced"], &ledger["in_flight"]), (&true.into(), &0.into()), "{ledger}");
    assert_eq!((&ledger["received"], &ledger["answered"]), (&FRAMES.into(), &FRAMES.into()), "{ledger}");
    assert_eq!(ledger["audit"]["free"], ledger["audit"]["buffers"], "{ledger}");
    assert_eq!(ledger["audit"]["slots_free"], ledger["audit"]["slots"], "{ledger}");
}
