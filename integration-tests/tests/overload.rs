//! A sender at twice the rate that infer can serve: what is answered is in time, what is not is dropped before inference,
//! and nothing grows.

use integration_tests::client::Client;
use integration_tests::pipeline::Pipeline;
use integration_tests::processes::{Probe, resident_kib};
use integration_tests::traffic::{assert_right, config, steady, tensor_of};
use std::time::{Duration, Instant};
use wire::{DropReason, Status};

/// What the engine takes for a frame.
const DELAY_US: u32 = 5_000;
/// Twice what it can serve.
const PER_S: u32 = 400;
/// Budget of each frame.
const DEADLINE_US: u32 = 50_000;
/// What infer leaves of the budget for the way out, less what that takes: a machine that wakes processes later than this
/// breaks deadlines by itself.
const LATE: Duration = Duration::from_micros(400);
/// Of all sleepers: a machine that wakes more of them late has no time for its processes.
const UNPUNCTUAL: f64 = 0.02;
/// How long it is waited for: others on its host leave it more in a while.
const PATIENCE: Duration = Duration::from_mins(10);
/// Frames until everything is as it stays, and frames that count.
const WARM: u64 = 600;
const MEASURED: u64 = 1_600;

/// As soon as the machine has time for its processes, and whether it has or not in the end.
fn twice_the_rate(name: &str, max_in_flight: u32, stream: &str) {
    let begun = Instant::now();
    while !attempt_at(name, max_in_flight, stream, begun.elapsed() > PATIENCE) {}
}

/// `false`: the machine had no time, and this is not the last attempt.
fn attempt_at(name: &str, max_in_flight: u32, stream: &str, is_last: bool) -> bool {
    let infer = format!("[infer]\ndelay_us = {DELAY_US}\nbusy = false\nmax_in_flight = {max_in_flight}\n");
    let text = config("delay", stream).replace("[infer]\n", &infer);
    let pipeline = Pipeline::start(name, &text);
    let probe = Probe::start(LATE);
    let mut client = Client::new(pipeline.listen(), 1);
    client.deadline_us = DEADLINE_US;
    let all = WARM + MEASURED;
    steady(&mut client, 0..WARM, PER_S, |_| {});
    let pids = pipeline.pids();
    let before: Vec<u64> = pids.iter().map(|pid| resident_kib(*pid)).collect();
    let begun = Instant::now();
    steady(&mut client, WARM..all, PER_S, |_| {});
    let took = begun.elapsed();
    for (pid, before) in pids.iter().zip(&before) {
        let grown = resident_kib(*pid).saturating_sub(*before);
        assert!(grown < 1024, "process {pid} grew by {grown} KiB from {before} KiB");
    }
    client.receive_until(all as usize);
    let unpunctual = probe.finish();
    if unpunctual > UNPUNCTUAL && !is_last {
        return false;
    }
    let ledger = pipeline.assert_whole();
    assert_eq!(pipeline.pids(), pids, "nobody died");

    let (mut ok, mut late, mut dropped, mut measured) = (0_u64, 0_u64, 0_u64, 0_u64);
    for id in 0..all {
        let answer = client.answer(id);
        match answer.status {
            Status::Ok => {
                assert_right(&client, id);
                ok += 1;
                measured += u64::from(id >= WARM);
                late += u64::from(answer.reply.header.times.total_ns > u64::from(DEADLINE_US) * 1_000);
            }
            Status::Dropped(DropReason::Deadline | DropReason::OverloadNewest | DropReason::OverloadOldest) => {
                dropped += 1;
            }
            other => panic!("frame {id}: {other}"),
        }
    }
    let busy = format!("the machine woke {:.1} % of all sleepers late", unpunctual * 100.0);
    eprintln!("{name}: {late} of {ok} answers missed their deadline; {busy}");
    if unpunctual > UNPUNCTUAL {
        eprintln!("SKIPPED: a machine with time for its processes is missing, deadlines are not judged: {busy}");
    } else {
        assert!(late * 100 <= ok, "{late} of {ok} answers missed their deadline; {busy}");
    }
    assert_eq!((ledger["received"].as_u64(), ledger["answered"].as_u64()), (Some(all), Some(ok)), "{ledger}");
    assert_eq!(pipeline.counter("infer.0", "frames"), ok, "what is dropped is dropped before inference: {ledger}");
    // The test would prove nothing without overload, and the engine must not stand idle because of it.
    let served_most = (took.as_micros() / u128::from(DELAY_US)) as u64;
    assert!(dropped > all / 5, "{dropped} of {all} dropped: {ledger}");
    assert!(measured * 2 > served_most, "{measured} answers in a time for {served_most}: {ledger}");

    client.deadline_us = 0;
    (all..all + 20).for_each(|id| client.send_tensor(id, &tensor_of(id)));
    client.receive_until(all as usize + 20);
    (all..all + 20).for_each(|id| assert_right(&client, id));
    pipeline.assert_whole();
    true
}

#[test]
fn of_a_synchronous_engine() {
    twice_the_rate("overload-sync", 1, "");
}

#[test]
fn of_an_engine_with_a_queue_and_a_stream_that_drops_its_oldest() {
    let stream = "[[stream]]\nid = \"default\"\npolicy = \"drop-oldest\"\nbacklog = 8\n";
    twice_the_rate("overload-queue", 4, stream);
}
