//! rx-gateway and tx are killed again and again while frames come: all are answered, and no packet is lost.

use crate::subject::Placement;
use anyhow::Result;
use benches::figures::{Figure, Required};
use benches::statistics::quantile;
use integration_tests::client::Client;
use integration_tests::gate::number;
use integration_tests::netns::{Net, Side};
use integration_tests::parts::Part;
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::traffic::{assert_right, steady};
use serde_json::json;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

const FRAMES: u64 = 10_000;
/// Frames a second: what comes during a gap of a second fits the rings.
const RATE_PER_S: u32 = 2_000;
/// Frames between two looks at the killing.
const CHUNK: u64 = 100;
const KILLS: usize = 100;
const KILLED: [&str; 2] = ["rx-gateway", "tx"];
/// From a recovery to the next kill.
const PAUSE: Duration = Duration::from_millis(20);
/// Bounds of counts, which are whole numbers.
const NONE: Required = Required::AtMost(0.0);

/// Kills each in turn, and waits until it is back.
fn kill(pipeline: &Pipeline) {
    for n in 0..KILLS {
        let stage = KILLED[n % KILLED.len()];
        let before = number(&pipeline.stage(stage)["incarnation"]);
        pipeline.order(&json!({"command": "kill", "stage": stage, "signal": 9}));
        pipeline.wait_incarnation(stage, before);
        thread::sleep(PAUSE);
    }
}

/// Sends until all frames are out and the killing is over; how many.
fn send(client: &mut Client, killing: &Receiver<()>) -> u64 {
    let (mut sent, mut over) = (0, false);
    while sent < FRAMES || !over {
        steady(client, sent..sent + CHUNK, RATE_PER_S, |_| {});
        sent += CHUNK;
        over |= killing.try_recv() != Err(TryRecvError::Empty);
    }
    sent
}

fn recoveries_ms(pipeline: &Pipeline) -> Vec<f64> {
    let answer = pipeline.order(&json!({"command": "recoveries"}));
    let records = answer["recoveries"].as_array().cloned().unwrap_or_default();
    records.iter().filter_map(|r| r["recovery_ms"].as_f64()).collect()
}

pub fn measure(place: &Placement) -> Result<Part> {
    let net = Net::new("bench-hitless")?;
    let pipeline = place.pipeline(&net, "af_xdp");
    let mut client = Client::inside(&net, Side::Traffic, pipeline.listen(), 1);
    eprintln!("hitless: {KILLS} kills");
    let (working, killing) = channel();
    let pipeline_ref = &pipeline;
    let sent = thread::scope(|scope| {
        scope.spawn(move || {
            let _working = working;
            kill(pipeline_ref);
        });
        send(&mut client, &killing)
    });
    wait_until("every frame to be answered", || {
        client.receive();
        client.replies.len() as u64 == sent || number(&pipeline.ledger()["in_flight"]) == 0
    });
    let ledger = pipeline.settle();
    client.receive();
    client.replies.keys().for_each(|id| assert_right(&client, *id));
    let recoveries = recoveries_ms(&pipeline);
    let status = pipeline.status();
    let filter = &status["ingress"]["filter"];
    let judged: u64 = ledger["packets"].as_object().into_iter().flatten().map(|(_, n)| number(n)).sum();
    let lost = |have: u64| sent as f64 - have as f64;
    let doubled = client.replies.values().filter(|r| r.len() > 1).count();
    let mut part = Part::default();
    let mut figure = |name: &str, value: f64, required| part.figures.push(Figure::new(name, Ok(value), required));
    figure("hitless.kills", recoveries.len() as f64, Required::AtLeast(KILLS as f64));
    figure("hitless.frames", sent as f64, Required::AtLeast(FRAMES as f64));
    figure("hitless.unanswered", lost(client.replies.len() as u64), NONE);
    figure("hitless.packets_not_redirected", lost(number(&filter["redirected"])), NONE);
    figure("hitless.packets_not_judged", lost(judged), NONE);
    figure("hitless.not_in_ledger", lost(number(&ledger["answered"])), NONE);
    figure("hitless.ledger_unbalanced", f64::from(u8::from(ledger["balanced"] != true)), NONE);
    figure("hitless.answered_twice", doubled as f64, Required::Nothing);
    figure("hitless.recovery_p50_ms", quantile(&recoveries, 0.5), Required::Nothing);
    figure("hitless.recovery_p99_ms", quantile(&recoveries, 0.99), Required::Nothing);
    part.raw = json!({"ledger": ledger, "filter": filter, "recoveries_ms": recoveries, "rate_per_s": RATE_PER_S});
    Ok(part)
}
