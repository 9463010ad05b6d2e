//! A pipeline without traffic leaves the machine to others, and a stage without work to the stage that has some.

use integration_tests::client::Client;
use integration_tests::gate::Stopped;
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::processes::cpu_ns;
use integration_tests::traffic::{config, steady, tensor_of};
use std::time::{Duration, Instant};

/// How long the pipeline is watched doing nothing.
const WATCHED: Duration = Duration::from_secs(3);

#[test]
fn idle_in_adaptive_mode_takes_less_than_one_percent_of_a_core() {
    let text = config("null", "").replace("[pipeline]\n", "[pipeline]\nwait = \"adaptive\"\n");
    let pipeline = Pipeline::start("idle", &text);
    // Also after work: whatever traffic has started must have stopped again.
    let mut client = Client::new(pipeline.listen(), 1);
    steady(&mut client, 0..500, 2_000, |_| {});
    client.receive_until(500);
    pipeline.assert_whole();
    let pids = pipeline.pids();
    assert_eq!(pids.len(), 5, "supervisor and four stages");
    std::thread::sleep(Duration::from_millis(300));
    let (begun, before) = (Instant::now(), pids.iter().map(|p| cpu_ns(*p)).collect::<Vec<_>>());
    std::thread::sleep(WATCHED);
    let spent: Vec<u64> = pids.iter().zip(&before).map(|(p, b)| cpu_ns(*p) - b).collect();
    let share = spent.iter().sum::<u64>() as f64 / begun.elapsed().as_nanos() as f64;
    assert!(before.iter().all(|ns| *ns > 0), "processor times are read: {before:?}");
    assert_eq!(pipeline.pids(), pids, "nobody died");
    eprintln!("idle: {:.3} % of a core, by process {spent:?} ns", share * 100.0);
    assert!(share < 0.01, "{:.3} % of a core, by process {spent:?} ns", share * 100.0);
}

#[test]
fn a_stage_that_waits_for_the_next_one_leaves_the_machine_to_it() {
    // As many slots as a ring has places: what stops preprocess is the high watermark of its ring to infer, 75 % of 64.
    let more =
        "[supervisor]\nheartbeat_timeout_ms = 60000\n[rings]\ncapacity = 64\n[[stream]]\nid = 1\npolicy = \"pause\"\n";
    let text = config("null", more).replace("[pipeline]\n", "[pipeline]\nwait = \"adaptive\"\n");
    let pipeline = Pipeline::start("behind", &text);
    let mut client = Client::new(pipeline.listen(), 1);
    let stopped = Stopped::infer(&pipeline);
    for id in 0..100 {
        client.send_tensor(id, &tensor_of(id));
    }
    let waiting = || pipeline.ledger()["audit"]["slots_attached"].clone();
    wait_until("preprocess to fill its ring", || waiting() == 48);
    let preprocess = pipeline.pid("preprocess.0");
    std::thread::sleep(Duration::from_millis(100));
    let (begun, before) = (Instant::now(), cpu_ns(preprocess));
    std::thread::sleep(Duration::from_millis(500));
    let share = (cpu_ns(preprocess) - before) as f64 / begun.elapsed().as_nanos() as f64;
    assert_eq!(waiting(), 48, "nothing moved meanwhile");
    assert!(share < 0.05, "preprocess takes {:.1} % of a core to wait for infer", share * 100.0);
    drop(stopped);
    client.receive_until(100);
    pipeline.assert_whole();
}
