//! Random words and flipped bits in the control region of the shipped binaries under load: the result is poison and a restart.
//!
//! Never a crash of the supervisor, never an access outside the regions, and no wrong answer but for frames whose own record was
//! hit. When the damage stops, the pipeline is whole again by itself.

mod damage;

use damage::{Control, Random, Target};
use integration_tests::client::{Client, values};
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::processes::is_alive;
use integration_tests::traffic::{config, steady, tensor_of};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use wire::Status;

const FRAMES_PER_S: u32 = 500;
/// Frames sent after the damage, all of which must be answered.
const FRESH: u64 = 300;
const FRESH_FROM: u64 = 1 << 32;

fn number(variable: &str, or: u64) -> u64 {
    std::env::var(variable).ok().and_then(|n| n.parse().ok()).unwrap_or(or)
}

fn records(pipeline: &Pipeline) -> Vec<Value> {
    pipeline.order(&json!({"command": "recoveries"}))["recoveries"].as_array().cloned().unwrap_or_default()
}

/// Every stage at work, nothing in flight, every buffer where it belongs, and no further repair for a while: longer than two
/// surveys take.
fn wait_whole(pipeline: &Pipeline) {
    let (mut since, mut seen) = (Instant::now(), (0, 0));
    wait_until("the pipeline to be whole again", || {
        let (status, ledger) = (pipeline.status(), pipeline.ledger());
        let stages = status["stages"].as_array().expect("stages");
        for stage in stages {
            assert_ne!(stage["state"], "parked", "{stage}");
        }
        let a = &ledger["audit"];
        let now = (records(pipeline).len(), status["repairs"]["carried_out"].as_u64().expect("a number") as usize);
        let whole = stages.iter().all(|s| s["state"] == "active")
            && a["sound"] == true
            && ledger["in_flight"] == 0
            && a["assembling"] == 0
            && a["slots_attached"] == 0;
        if !whole || now != seen {
            (since, seen) = (Instant::now(), now);
        }
        whole && since.elapsed() > Duration::from_secs(2)
    });
}

fn report(
    pipeline: &Pipeline,
    name: &str,
    seed: u64,
    blows: &BTreeMap<Target, u32>,
    sent: u64,
    client: &Client,
) -> Told {
    let records = records(pipeline);
    let mut causes: BTreeMap<String, u32> = BTreeMap::new();
    for r in &records {
        let cause = r["cause"].as_str().unwrap_or("?");
        let cause = cause.split(&[':', '('][..]).next().unwrap_or(cause).trim().to_owned();
        *causes.entry(format!("{} {cause}", r["stage"].as_str().unwrap_or("?"))).or_default() += 1;
    }
    let status = pipeline.status();
    let poisons = records.iter().filter(|r| !r["poison"].is_null()).count();
    let mut text = format!(
        "seed {seed}, {} blows, {sent} frames under them, {} of those answered, {} deaths, {} with poison, repairs {}\n",
        blows.values().sum::<u32>(),
        client.replies.keys().filter(|id| **id < FRESH_FROM).count(),
        records.len(),
        poisons,
        status["repairs"],
    );
    for (cause, n) in causes {
        let _ = writeln!(text, "  {n:4} {cause}");
    }
    integration_tests::report(name, &text);
    for r in &records {
        let cause = r["cause"].as_str().unwrap_or_default();
        assert!(
            !["SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGSYS", "SIGABRT"].iter().any(|s| cause.contains(s)),
            "{r}"
        );
    }
    let count = |key: &str| status["repairs"][key].as_u64().expect("a number");
    Told { poisons, repairs: count("carried_out"), restored: count("words_restored") }
}

/// What the pipeline says of the damage.
struct Told {
    poisons: usize,
    repairs: u64,
    restored: u64,
}

/// Sends until the other side hangs up; frames may be lost.
fn send(client: &mut Client, over: &mpsc::Receiver<()>) -> u64 {
    let mut sent = 0;
    while over.try_recv() == Err(mpsc::TryRecvError::Empty) {
        steady(client, sent..sent + 20, FRAMES_PER_S, |_| {});
        sent += 20;
    }
    sent
}

fn assert_right(client: &Client, hit: &[u64]) {
    for (id, answers) in client.replies.iter().filter(|(id, _)| !hit.contains(id)) {
        for answer in answers.iter().filter(|a| a.status == Status::Ok) {
            assert_eq!(values(&answer.bytes), tensor_of(*id), "frame {id}");
        }
    }
}

fn suffer(name: &str, targets: &[Target], rounds: u64) -> Told {
    suffer_with(name, "", targets, rounds)
}

fn suffer_with(name: &str, more: &str, targets: &[Target], rounds: u64) -> Told {
    let seed = number("FLUMEWAY_SEED", 0x00c0_ffee);
    let rounds = number("FLUMEWAY_ROUNDS", rounds);
    // Slow enough for frames to be everywhere at each blow; without huge pages, since those cannot be written through a file.
    let text = config("delay\"\ndelay_us = \"1700", more).replace("\"1700\"", "1700");
    let text = text.replace("[arena]\n", "[arena]\nhugepages = \"off\"\n");
    let pipeline = Pipeline::start(name, &text);
    let supervisor = pipeline.status()["pid"].as_u64().expect("a pid") as u32;
    let mut control = Control::of(supervisor);
    let mut client = Client::new(pipeline.listen(), 1);
    let (working, over) = mpsc::channel();
    let mut blows = BTreeMap::new();
    let sent = std::thread::scope(|scope| {
        scope.spawn(|| {
            let _working = working;
            let mut random = Random(seed);
            for round in 0..rounds {
                let target = targets[(round % targets.len() as u64) as usize];
                let told = control.strike(target, &mut random);
                *blows.entry(target).or_insert(0) += 1;
                eprintln!("{name}: seed {seed} round {round}: {told}");
                std::thread::sleep(Duration::from_millis(20 + random.below(150)));
                assert!(is_alive(supervisor), "the supervisor died of {told}; log:\n{}", pipeline.log());
            }
        });
        send(&mut client, &over)
    });
    wait_whole(&pipeline);
    client.receive();
    steady(&mut client, FRESH_FROM..FRESH_FROM + FRESH, FRAMES_PER_S, |_| {});
    wait_until("answers to all fresh frames", || {
        client.receive();
        (FRESH_FROM..FRESH_FROM + FRESH).all(|id| client.replies.contains_key(&id))
    });
    let told = report(&pipeline, name, seed, &blows, sent, &client);
    assert_right(&client, &control.hit);
    for id in FRESH_FROM..FRESH_FROM + FRESH {
        assert_eq!(client.answer(id).status, Status::Ok, "fresh frame {id}");
        assert_eq!(values(&client.answer(id).bytes), tensor_of(id), "fresh frame {id}");
    }
    let ledger = pipeline.settle();
    assert_eq!((&ledger["balanced"], &ledger["audit"]["sound"]), (&json!(true), &json!(true)), "{ledger}");
    assert!(is_alive(supervisor));
    told
}

#[test]
fn rings() {
    let told = suffer("hostile-rings", &[Target::Entry, Target::Stretch, Target::Head, Target::Tail], 80);
    assert!(told.poisons > 0 && told.repairs > 0);
}

#[test]
fn words() {
    let told = suffer("hostile-words", &[Target::Owner, Target::Descriptor, Target::Line, Target::Record], 80);
    assert!(told.poisons > 0 && told.repairs > 0);
}

#[test]
fn pages() {
    let targets = [Target::Page, Target::Orders, Target::Journal, Target::Streams, Target::Header];
    let told = suffer("hostile-pages", &targets, 80);
    assert!(told.restored > 0);
}

#[test]
fn everything() {
    let told = suffer("hostile-everything", &Target::ALL, 140);
    assert!(told.poisons > 0 && told.repairs > 0 && told.restored > 0);
}

/// With a second rx-gateway there are words that name a gateway which is not the buffer's own.
#[test]
fn everything_with_two_gateways() {
    let told = suffer_with("hostile-gateways", "[rx_gateway]\ninstances = 2\n", &Target::ALL, 140);
    assert!(told.poisons > 0 && told.repairs > 0 && told.restored > 0);
}

#[test]
fn the_view_of_one_stage() {
    let told = suffer("hostile-view", &[Target::View], 30);
    assert!(told.poisons > 0 && told.repairs > 0);
}
