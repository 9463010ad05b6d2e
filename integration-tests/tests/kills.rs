//! kill -9 loses nothing: every frame is answered, the ledger balances by count, nothing leaks.
//!
//! The random kills go to the binaries that users run. The aimed ones go to a build whose processes stop at named points
//! of the ownership protocol; each named state is hit at least three times.

use integration_tests::client::{Client, values};
use integration_tests::pipeline::{PATIENCE, Pipeline, wait_until};
use integration_tests::traffic::config;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use wire::Status;

const FRAMES: u64 = 2_000;
const WINDOW: usize = 200;
const STAGES: [&str; 4] = ["rx-gateway", "preprocess.0", "infer.0", "tx"];

/// Where each stage can be stopped.
const AIMS: [(&str, &[&str]); 4] = [
    (
        "rx-gateway",
        &[
            "received-unrecorded",
            "assembling",
            "attaching-segments",
            "admitting",
            "committed-no-doorbell",
            "claimed-uncommitted",
            "going-home",
            "counted",
            "dissolving",
        ],
    ),
    ("preprocess.0", &["in-hand", "claimed-uncommitted", "slot-named", "attached", "committed-no-doorbell"]),
    ("infer.0", &["in-hand", "claimed-uncommitted", "committed-no-doorbell"]),
    ("tx", &["in-hand", "claimed-uncommitted", "posted", "sent-unrecorded", "fate-recorded", "committed-no-doorbell"]),
];
const HITS_EACH: usize = 5;

/// xorshift64*: the same kills in every run, as far as the machine lets them.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % n
    }
}

/// Sends at a steady rate, at most `WINDOW` frames ahead of the answers, until at least `FRAMES` are out and `done` says that the killing is over.
fn send_until(
    client: &mut Client,
    per_s: u32,
    done: &mpsc::Receiver<()>,
    mut send: impl FnMut(&mut Client, u64),
) -> u64 {
    let (start, mut id, mut over) = (Instant::now(), 0_u64, false);
    while id < FRAMES || !over {
        let due = start + Duration::from_secs(1) / per_s * id as u32;
        // A machine busy with other things gets a window, so that the socket's buffer never decides the test.
        let patience = Instant::now() + PATIENCE;
        while Instant::now() < due || id as usize > client.replies.len() + WINDOW {
            if client.receive() == 0 {
                assert!(Instant::now() < patience, "{} of {id} frames have replies", client.replies.len());
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        send(client, id);
        id += 1;
        over |= !matches!(done.try_recv(), Err(mpsc::TryRecvError::Empty));
    }
    id
}

/// Prints what the kills did; a few blows may have fallen on a process that was dying already.
fn report(name: &str, pipeline: &Pipeline, kills: usize, sent: u64, client: &Client) {
    let records = pipeline.order(&json!({"command": "recoveries"}));
    let records = records["recoveries"].as_array().cloned().unwrap_or_default();
    let mut states: BTreeMap<String, u32> = BTreeMap::new();
    let mut took: Vec<f64> = Vec::new();
    for r in &records {
        let state = r["kill_point"].as_str().or(r["current_stage_state"].as_str()).or(r["state"].as_str());
        *states.entry(format!("{} {}", r["stage"].as_str().unwrap_or("?"), state.unwrap_or("?"))).or_default() += 1;
        took.extend(r["recovery_ms"].as_f64());
    }
    took.sort_by(f64::total_cmp);
    let at =
        |q: f64| took.get(((took.len() as f64 * q) as usize).min(took.len().saturating_sub(1))).copied().unwrap_or(0.0);
    let doubled = client.replies.values().filter(|r| r.len() > 1).count();
    let mut text = format!(
        "{kills} kills, {sent} frames, {doubled} answered twice; recovery ms p50 {:.1} p99 {:.1} max {:.1}; state at death:\n",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    for (state, n) in states {
        let _ = writeln!(text, "  {n:4} {state}");
    }
    integration_tests::report(name, &text);
    assert!(records.len() >= (kills * 3 / 4).min(1_000), "{} recoveries for {kills} kills", records.len());
}

fn assert_all_answered(pipeline: &Pipeline, client: &mut Client, sent: u64) -> Value {
    client.receive_until(sent as usize);
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["received"], sent, "{ledger}");
    assert_eq!(ledger["answered"], sent, "{ledger}");
    ledger
}

/// Frames of several packets, so that assembling and attaching happen.
const WIDE: usize = 1_000;

fn wide(id: u64) -> Vec<f32> {
    (0..WIDE).map(|i| (id % 1_000) as f32 + i as f32 / 1_024.0).collect()
}

fn wide_config(more: &str) -> String {
    config("null", more).replace("null_input_elements = 16", &format!("null_input_elements = {WIDE}"))
}

fn assert_right(client: &Client) {
    for (id, answers) in &client.replies {
        for answer in answers {
            assert_eq!(answer.status, Status::Ok, "frame {id}");
            assert_eq!(values(&answer.bytes), wide(*id)[..16], "frame {id}");
        }
    }
}

#[test]
fn random_kills_of_the_shipped_binaries() {
    // More for a longer soak.
    let kills = std::env::var("FLUMEWAY_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let pipeline = Pipeline::start(
        "kills-random",
        &wide_config("").replace("engine = \"null\"", "engine = \"delay\"\ndelay_us = 700\nbusy = true"),
    );
    let mut client = Client::new(pipeline.listen(), 1);
    let (over, done) = mpsc::channel();
    let sent = std::thread::scope(|scope| {
        scope.spawn(|| {
            let over = over;
            let seed = std::env::var("FLUMEWAY_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0x1234_5678);
            let mut random = Random(seed);
            for _ in 0..kills {
                let stage = STAGES[random.below(4) as usize];
                let before = pipeline.stage(stage)["incarnation"].as_u64().expect("an incarnation");
                pipeline.kill_9(stage);
                // Sometimes the next blow falls while the first is still being repaired.
                if random.below(3) > 0 {
                    pipeline.wait_incarnation(stage, before);
                }
                std::thread::sleep(Duration::from_micros(random.below(20_000)));
            }
            let _ = over.send(());
        });
        send_until(&mut client, 1_000, &done, |c, id| c.send_tensor(id, &wide(id)))
    });
    assert_all_answered(&pipeline, &mut client, sent);
    assert_right(&client);
    report("kills-random", &pipeline, kills, sent, &client);
    let (code, last) = pipeline.stop();
    assert_eq!(code, 0, "{last}");
}

fn hunt(pipeline: &Pipeline) -> BTreeMap<(&'static str, &'static str), usize> {
    let mut hits = BTreeMap::new();
    for _ in 0..HITS_EACH {
        for (stage, points) in AIMS {
            for point in points {
                pipeline.order(&json!({"command": "killpoint", "stage": stage, "point": point}));
                let mut entry = Value::Null;
                wait_until(&format!("{stage} to reach {point}: {}", pipeline.status()), || {
                    entry = pipeline.stage(stage);
                    entry["kill_point_hit"] == *point
                });
                pipeline.kill_9(stage);
                pipeline.wait_incarnation(stage, entry["incarnation"].as_u64().unwrap_or(0));
                *hits.entry((stage, *point)).or_default() += 1;
            }
        }
    }
    hits
}

#[test]
fn aimed_kills_at_every_named_state() {
    let text = wide_config("[supervisor]\nheartbeat_timeout_ms = 60000\nmax_interruptions = 60000\n");
    let pipeline = Pipeline::start_with("kills-aimed", &text, &integration_tests::with_kill_points(), &[]);
    let mut client = Client::new(pipeline.listen(), 1);
    let (over, done) = mpsc::channel();
    let (sent, hits) = std::thread::scope(|scope| {
        let hunter = scope.spawn(|| {
            let over = over;
            let hits = hunt(&pipeline);
            let _ = over.send(());
            hits
        });
        let sent = send_until(&mut client, 300, &done, |c, id| c.send_tensor(id, &wide(id)));
        (sent, hunter.join())
    });
    let hits = hits.unwrap_or_else(|_| panic!("the hunt failed; log:\n{}", pipeline.log()));
    assert_all_answered(&pipeline, &mut client, sent);
    assert_right(&client);
    report("kills-aimed", &pipeline, hits.values().sum(), sent, &client);
    for ((stage, point), n) in &hits {
        assert!(*n >= 3, "{stage} was killed only {n} times at {point}");
    }
    assert!(hits.values().sum::<usize>() >= 100);
}
