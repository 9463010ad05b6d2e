//! A pipeline without traffic leaves the machine to others.

use integration_tests::client::Client;
use integration_tests::pipeline::Pipeline;
use integration_tests::processes::cpu_ns;
use integration_tests::traffic::{config, steady};
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
