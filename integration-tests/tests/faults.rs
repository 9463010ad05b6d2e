//! Faults and what they may cost: frames that crash a stage, a stage that hangs, restarts, a supervisor that is gone.

use integration_tests::client::{Client, Frame, tensor, values};
use integration_tests::impair::Impaired;
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::processes::{EndWithTest, is_alive, private_kib, signal};
use integration_tests::traffic::{assert_right, config, steady, steady_until, tensor_of};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use wire::{DropReason, Encoding, Status};

/// First element of a tensor that crashes the `abort` engine; `tensor_of` makes none such.
const ABORT_MARKER: f32 = 1234.5;

/// A longer one, for frames of several packets.
fn long_tensor_of(id: u64, elements: usize) -> Vec<f32> {
    (0..elements).map(|i| id as f32 + i as f32 / 1024.0).collect()
}

/// The supervisor's records of deaths of `stage`, oldest first.
fn deaths(pipeline: &Pipeline, stage: &str) -> Vec<Value> {
    let answer = pipeline.order(&json!({"command": "recoveries"}));
    let all = answer["recoveries"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|r| r["stage"] == stage).collect()
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(|e| Some(e.ok()?.path()));
    entries.filter(|p| p.extension().is_some_and(|e| e == extension)).collect()
}

#[test]
fn a_frame_that_crashes_infer_is_tried_twice_and_quarantined() {
    let stages = integration_tests::shipped();
    // Large enough for two packets, so that head and segment are written out.
    let text = config("abort", "[supervisor]\nmax_attempts = 2\n").replace("elements = 16", "elements = 40");
    let pipeline = Pipeline::start_with("abort", &text, &stages, &[("FLUMEWAY_TEST_ENGINES", "1")]);
    let mut client = Client::new(pipeline.listen(), 9);
    let mut poison = long_tensor_of(77, 40);
    poison[0] = ABORT_MARKER;
    let (before, poisoned, after) = (0..40, 40, 41..81);
    before.clone().for_each(|id| client.send_tensor(id, &long_tensor_of(id, 40)));
    client.datagram = wire::header_len(false) + 128;
    client.send_tensor(poisoned, &poison);
    client.datagram = 1472;
    after.clone().for_each(|id| client.send_tensor(id, &long_tensor_of(id, 40)));
    client.receive_until(81);
    for id in before.chain(after) {
        assert_eq!(values(&client.answer(id).bytes), long_tensor_of(id, 40), "frame {id}");
        assert_eq!((client.replies[&id].len(), client.answer(id).attempts), (1, 1), "frame {id} is innocent");
    }
    let answers = &client.replies[&poisoned];
    assert_eq!(answers.iter().map(|a| a.status).collect::<Vec<_>>(), [Status::Quarantined]);
    assert_eq!(answers[0].attempts, 2, "it was begun twice");

    let ledger = pipeline.assert_whole();
    let counts = ["received", "answered", "quarantined"].map(|k| ledger[k].as_u64());
    assert_eq!(counts, [Some(81), Some(80), Some(1)], "{ledger}");
    let deaths = deaths(&pipeline, "infer.0");
    let own: Vec<_> = deaths.iter().map(|d| (d["own_doing"].as_bool(), d["frame"]["frame"].as_u64())).collect();
    assert_eq!(own, [(Some(true), Some(poisoned)); 2], "{deaths:?}");
    assert_eq!(pipeline.stage("infer.0")["incarnation"], 3);
    for other in ["rx-gateway", "preprocess.0", "tx"] {
        assert_eq!(pipeline.stage(other)["incarnation"], 1, "{other} went on");
    }

    let dir = pipeline.dir().join("quarantine");
    wait_until("the frame to be written out", || files(&dir, "bin").len() == 1 && files(&dir, "json").len() == 1);
    assert_eq!(std::fs::read(&files(&dir, "bin")[0]).unwrap(), tensor(&poison), "the frame's own bytes");
    let meta: Value = serde_json::from_slice(&std::fs::read(&files(&dir, "json")[0]).unwrap()).unwrap();
    assert_eq!((&meta["stream"], &meta["frame"]), (&json!(9), &json!(poisoned)), "{meta}");
    assert_eq!((&meta["bytes"], &meta["attempts"], &meta["complete"]), (&json!(160), &json!(2), &json!(true)));

    // The pipeline is as good as new.
    (100..200).for_each(|id| client.send_tensor(id, &long_tensor_of(id, 40)));
    client.receive_until(81 + 100);
    pipeline.assert_whole();
}

#[test]
fn a_stage_that_hangs_is_killed_and_replaced() {
    let pipeline = Pipeline::start("hang", &config("null", "[supervisor]\nheartbeat_timeout_ms = 500\n"));
    let mut client = Client::new(pipeline.listen(), 2);
    let pid = pipeline.pid("infer.0");
    steady(&mut client, 0..600, 500, |id| {
        if id == 100 {
            signal(pid, Signal::STOP);
        }
    });
    client.receive_until(600);
    (0..600).for_each(|id| assert_right(&client, id));
    let deaths = deaths(&pipeline, "infer.0");
    assert!(deaths.iter().any(|d| d["cause"] == "hung, killed by the supervisor"), "{deaths:?}");
    assert!(!is_alive(pid) && pipeline.pid("infer.0") != pid);
    assert_eq!(pipeline.assert_whole()["answered"], 600);
}

#[test]
fn restarts_under_traffic_lose_and_double_nothing() {
    let pipeline = Pipeline::start("restart", &config("null", ""));
    let mut client = Client::new(pipeline.listen(), 3);
    let stages = ["rx-gateway", "preprocess.0", "infer.0", "tx"];
    let (work, working) = std::sync::mpsc::channel();
    let sent = std::thread::scope(|scope| {
        scope.spawn(|| {
            let _work = work;
            for stage in stages.iter().cycle().take(8) {
                let answer = pipeline.order(&json!({"command": "restart", "stage": stage}));
                assert_eq!(answer["restarted"].as_array().map(Vec::len), Some(1), "{answer}");
            }
        });
        steady_until(&mut client, 1_000, &working)
    });
    client.receive_until(sent as usize);
    for id in 0..sent {
        assert_right(&client, id);
        assert_eq!(client.replies[&id].len(), 1, "frame {id} has one reply");
    }
    for stage in stages {
        assert_eq!(pipeline.stage(stage)["incarnation"], 3, "{stage} was replaced twice");
        assert_eq!(deaths(&pipeline, stage).len(), 0, "{stage} parked by itself");
    }
    let ledger = pipeline.assert_whole();
    assert_eq!((&ledger["received"], &ledger["answered"]), (&json!(sent), &json!(sent)), "{ledger}");
}

#[test]
fn stages_without_a_supervisor_finish_their_frames_and_end() {
    let text = config("delay", "").replace("[infer]\n", "[infer]\ndelay_us = 5000\n");
    let pipeline = Pipeline::start("orphans", &text);
    let supervisor = pipeline.status()["pid"].as_u64().expect("a pid") as u32;
    let stages: Vec<u32> = pipeline.pids().into_iter().filter(|p| *p != supervisor).collect();
    assert_eq!(stages.len(), 4);
    let _cleanup = EndWithTest(stages.clone());
    let mut client = Client::new(pipeline.listen(), 4);
    for id in 0..60 {
        client.send_tensor(id, &tensor_of(id));
    }
    wait_until("all frames to be admitted", || pipeline.ledger()["received"] == 60);
    signal(supervisor, Signal::KILL);
    client.receive_until(60);
    (0..60).for_each(|id| assert_right(&client, id));
    wait_until("the stages to end by themselves", || !stages.iter().any(|pid| is_alive(*pid)));
    assert!(!is_alive(supervisor));
}

/// 3 120 bytes: one packet of 3 328 bytes, or 3 of 1 472, or 9 of 512.
const LONG: usize = 780;

fn long_config() -> String {
    config("null", "").replace("elements = 16", &format!("elements = {LONG}"))
}

#[test]
fn loss_reordering_and_duplication_cost_only_the_frames_they_hit() {
    let pipeline = Pipeline::start("impaired", &long_config());
    let mut client = Client::new(pipeline.listen(), 5);
    let sizes = [3_328, 1_472, 512];
    let mut frames = Vec::new();
    for id in 0..1_200 {
        client.datagram = sizes[id as usize % sizes.len()];
        let bytes = tensor(&long_tensor_of(id, LONG));
        let frame = Frame { encoding: Encoding::TensorF32, width: 0, height: 0, bytes: &bytes };
        frames.push((id, client.datagrams(id, &frame)));
    }
    let pids = pipeline.pids();
    let warm = Impaired::new(&frames[..300], 20, 41);
    let network = Impaired::new(&frames[300..], 20, 42);
    warm.send(&mut client, 3_000);
    pipeline.settle();
    let before: Vec<u64> = pids.iter().map(|p| private_kib(*p)).collect();
    network.send(&mut client, 3_000);
    let seen = warm.arrived.len() + network.arrived.len();
    client.receive_until(seen);
    let ledger = pipeline.assert_whole();
    assert_eq!(pipeline.pids(), pids, "nobody died");
    let mut incomplete = 0;
    for (id, datagrams) in &frames {
        let part = if *id < 300 { &warm } else { &network };
        let Some(answers) = client.replies.get(id) else {
            assert!(!part.is_seen(*id), "frame {id} was seen and has no reply");
            continue;
        };
        assert_eq!(answers.len(), 1, "frame {id}");
        let gave_up = matches!(answers[0].status, Status::Dropped(DropReason::Incomplete | DropReason::Evicted));
        incomplete += u64::from(gave_up);
        if answers[0].status == Status::Ok {
            assert!(part.is_complete(*id), "frame {id} cannot have been answered");
            assert_eq!(values(&answers[0].bytes), long_tensor_of(*id, LONG), "frame {id}");
        } else {
            // A complete frame may have lost its place to newer ones while its last part was late.
            assert!(gave_up && datagrams.len() > 1, "frame {id}: {:?}", answers[0].status);
        }
    }
    assert!(incomplete > 200, "{incomplete} of 800 frames of several packets lost parts");
    let counted = ["incomplete", "evicted"].map(|r| ledger["dropped"][r].as_u64().unwrap_or(0));
    assert_eq!(counted.iter().sum::<u64>(), incomplete, "{ledger}");
    assert_eq!(ledger["received"], seen as u64, "each frame is counted once, copies and late parts never");
    assert!(ledger["packets"]["duplicate"].as_u64() >= Some(warm.copies.midpoint(network.copies)), "{ledger}");
    for (pid, before) in pids.iter().zip(before) {
        let grown = private_kib(*pid).saturating_sub(before);
        assert!(grown < 1024, "process {pid} grew by {grown} KiB from {before} KiB");
    }
}

#[test]
fn the_shipped_sender_sees_the_same_through_a_bad_network() {
    let pipeline = Pipeline::start("bad-network", &long_config());
    let out = std::process::Command::new(integration_tests::shipped().join("flumeway"))
        .args(["send", "--to", &pipeline.listen().to_string(), "--tensor", &LONG.to_string(), "--mtu", "1472"])
        .args(["--count", "900", "--rate", "600", "--streams", "3", "--seed", "7", "--timeout-ms", "3000"])
        .args(["--loss", "20", "--reorder", "20", "--duplicate", "20", "--allow-drops", "--json"])
        .output()
        .expect("start flumeway send");
    let report: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
    assert!(out.status.success(), "{report} {}", String::from_utf8_lossy(&out.stderr));
    let n = |k: &str| report[k].as_u64().unwrap_or_else(|| panic!("no {k} in {report}"));
    let dropped: u64 = report["dropped"].as_object().into_iter().flatten().filter_map(|(_, v)| v.as_u64()).sum();
    assert_eq!((n("sent"), n("bad_replies"), n("duplicates")), (900, 0, 0), "{report}");
    assert_eq!(n("ok") + dropped + n("unanswered"), 900, "{report}");
    // Three packets of which each is lost with 20 %: all arrive with 51 %, none with 0.8 %.
    assert!((360..540).contains(&n("ok")) && n("unanswered") < 30, "{report}");
    assert!(report["simulated"]["lost"].as_u64() > Some(400), "{report}");
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["answered"], n("ok"), "{ledger}");
    let counted = ["incomplete", "evicted"].map(|r| ledger["dropped"][r].as_u64().unwrap_or(0));
    assert_eq!(counted.iter().sum::<u64>(), dropped, "{ledger}");
}
