//! Several rx-gateways: the kernel spreads the senders over them, each has its own buffers and books, and each may be killed.

use integration_tests::client::{Client, values};
use integration_tests::pipeline::{PATIENCE, Pipeline, wait_until};
use integration_tests::traffic::{assert_right, config, tensor_of};
use serde_json::{Value, json};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use wire::Status;

const GATEWAYS: [&str; 2] = ["rx-gateway.0", "rx-gateway.1"];
/// Buffers of the small profile.
const BUFFERS: u64 = 4096;
/// Senders: that all of them hash to one of two sockets happens once in 32 768 runs.
const CLIENTS: u32 = 16;
/// Frames that each client sends at least, and most that are unanswered, while gateways are killed.
const FRAMES: u64 = 150;
const WINDOW: usize = 16;
/// Elements of a tensor that takes several packets.
const WIDE: usize = 1_000;

fn two(more: &str) -> String {
    config("null", &format!("[rx_gateway]\ninstances = 2\n{more}"))
}

fn wide(id: u64) -> Vec<f32> {
    (0..WIDE).map(|i| (id % 1_000) as f32 + i as f32 / 1_024.0).collect()
}

fn clients(pipeline: &Pipeline) -> Vec<Client> {
    (0..CLIENTS).map(|stream| Client::new(pipeline.listen(), stream)).collect()
}

/// Each gateway's own part of the ledger, with nothing in flight: frames received by each.
fn shares(pipeline: &Pipeline) -> [u64; 2] {
    GATEWAYS.map(|name| {
        let share = pipeline.stage(name)["share"].clone();
        assert_eq!((&share["buffers"], &share["balanced"]), (&json!(BUFFERS / 2), &json!(true)), "{name}: {share}");
        assert_eq!((&share["in_flight"], &share["finished"]), (&json!(0), &share["received"]), "{name}: {share}");
        share["received"].as_u64().expect("a number")
    })
}

#[test]
fn two_gateways_share_the_senders_and_the_buffers() {
    let pipeline = Pipeline::start("gateways", &two("[preprocess]\ninstances = 2\n"));
    let mut clients = clients(&pipeline);
    for id in 0..100 {
        for client in &mut clients {
            client.send_tensor(id, &tensor_of(id));
            client.receive();
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    for client in &mut clients {
        client.receive_until(100);
        for id in 0..100 {
            assert_eq!(client.replies[&id].len(), 1, "frame {id} of stream {} has one reply", client.stream);
            assert_right(client, id);
        }
    }
    let ledger = pipeline.assert_whole();
    let sent = u64::from(CLIENTS) * 100;
    assert_eq!((&ledger["received"], &ledger["answered"]), (&json!(sent), &json!(sent)), "{ledger}");
    assert_eq!(ledger["packets"]["fragment"], sent, "the verdicts of both are counted: {ledger}");
    let received = shares(&pipeline);
    assert!(received.iter().sum::<u64>() == sent && received.iter().all(|n| *n > 0), "{received:?}");
    // A sender's copies come to the gateway that has its history.
    for client in &mut clients {
        client.send_tensor(99, &tensor_of(99));
    }
    wait_until("copies to be counted", || pipeline.ledger()["packets"]["duplicate"] == CLIENTS);
    // Without a frame in flight a drain waits for both gateways and no longer.
    assert_eq!(pipeline.order(&json!({"command": "drain"}))["state"], "drained");
    pipeline.order(&json!({"command": "resume"}));
    clients[0].send_tensor(100, &tensor_of(100));
    clients[0].receive_until(101);
    let all = pipeline.order(&json!({"command": "restart", "stage": "rx-gateway"}));
    let restarted: Vec<_> = all["restarted"].as_array().into_iter().flatten().map(|s| s["stage"].clone()).collect();
    assert_eq!(restarted, GATEWAYS, "the name of the kind means all of them");
    for client in &mut clients {
        client.send_tensor(200, &tensor_of(200));
        client.receive_until(client.replies.len() + usize::from(!client.replies.contains_key(&200)));
        assert_right(client, 200);
    }
    pipeline.assert_whole();
    let (code, last) = pipeline.stop();
    assert_eq!(code, 0, "{last}");
}

/// All clients send in turn, each at most [`WINDOW`] frames ahead of its answers, until `FRAMES` are out and `done` says that the
/// killing is over; returns the frames of each.
fn send_until(clients: &mut [Client], done: &mpsc::Receiver<()>) -> u64 {
    let (mut id, mut over) = (0, false);
    while id < FRAMES || !over {
        for client in &mut *clients {
            let patience = Instant::now() + PATIENCE;
            while id as usize > client.replies.len() + WINDOW {
                if client.receive() == 0 {
                    assert!(Instant::now() < patience, "{} of {id} frames have replies", client.replies.len());
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
            client.send_tensor(id, &wide(id));
            client.receive();
        }
        id += 1;
        std::thread::sleep(Duration::from_millis(5));
        over |= !matches!(done.try_recv(), Err(mpsc::TryRecvError::Empty));
    }
    id
}

/// Every frame of every client is answered right, by count and by content; both gateways had some.
fn assert_all_answered(pipeline: &Pipeline, clients: &mut [Client], each: u64) {
    for client in &mut *clients {
        client.receive_until(each as usize);
        for (id, answer) in client.replies.iter().flat_map(|(id, all)| all.iter().map(move |answer| (*id, answer))) {
            assert_eq!(answer.status, Status::Ok, "frame {id} of stream {}", client.stream);
            assert_eq!(values(&answer.bytes), wide(id)[..16], "frame {id} of stream {}", client.stream);
        }
    }
    let ledger = pipeline.assert_whole();
    let sent = each * clients.len() as u64;
    assert_eq!((&ledger["received"], &ledger["answered"]), (&json!(sent), &json!(sent)), "{ledger}");
    let received = shares(pipeline);
    assert!(received.iter().sum::<u64>() == sent && received.iter().all(|n| *n > 0), "{received:?}");
}

fn wide_two(more: &str) -> String {
    two(more).replace("null_input_elements = 16", &format!("null_input_elements = {WIDE}"))
}

/// Traffic from all clients while `kill` does its work; then everything must be whole.
fn under_load(pipeline: &Pipeline, kill: impl FnOnce() + Send) {
    let mut clients = clients(pipeline);
    let (over, done) = mpsc::channel();
    let each = std::thread::scope(|scope| {
        scope.spawn(move || {
            let over = over;
            kill();
            let _ = over.send(());
        });
        send_until(&mut clients, &done)
    });
    assert_all_answered(pipeline, &mut clients, each);
}

#[test]
fn killing_either_gateway_loses_nothing() {
    let kills = std::env::var("FLUMEWAY_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(30_usize);
    let pipeline = Pipeline::start("gateways-kills", &wide_two(""));
    let stages = ["rx-gateway.0", "rx-gateway.1", "tx", "rx-gateway.1", "rx-gateway.0", "preprocess.0"];
    under_load(&pipeline, || {
        for n in 0..kills {
            let stage = stages[n % stages.len()];
            let before = pipeline.stage(stage)["incarnation"].as_u64().expect("an incarnation");
            pipeline.kill_9(stage);
            // Sometimes the next blow falls while the first is still being repaired: both gateways are dead then.
            if n % 3 > 0 {
                pipeline.wait_incarnation(stage, before);
            }
            std::thread::sleep(Duration::from_millis(7 * (n as u64 % 4)));
        }
    });
    for gateway in GATEWAYS {
        let restarts = pipeline.stage(gateway)["restarts"].as_u64().unwrap_or(0);
        assert!(restarts >= kills as u64 / 6, "{gateway} was restarted {restarts} times");
    }
    let (code, last) = pipeline.stop();
    assert_eq!(code, 0, "{last}");
}

/// Where a gateway can be stopped.
const POINTS: [&str; 9] = [
    "received-unrecorded",
    "assembling",
    "attaching-segments",
    "admitting",
    "committed-no-doorbell",
    "claimed-uncommitted",
    "going-home",
    "counted",
    "dissolving",
];

#[test]
fn each_gateway_is_killed_at_every_named_state() {
    let text = wide_two("[supervisor]\nheartbeat_timeout_ms = 60000\nmax_interruptions = 60000\n");
    let stages = integration_tests::with_kill_points();
    let pipeline = Pipeline::start_with("gateways-aimed", &text, &stages, &[]);
    under_load(&pipeline, || {
        for point in POINTS {
            for gateway in GATEWAYS {
                pipeline.order(&json!({"command": "killpoint", "stage": gateway, "point": point}));
                let mut entry = Value::Null;
                wait_until(&format!("{gateway} to reach {point}"), || {
                    entry = pipeline.stage(gateway);
                    entry["kill_point_hit"] == point
                });
                pipeline.kill_9(gateway);
                pipeline.wait_incarnation(gateway, entry["incarnation"].as_u64().unwrap_or(0));
            }
        }
    });
    for gateway in GATEWAYS {
        assert!(pipeline.stage(gateway)["restarts"].as_u64() >= Some(POINTS.len() as u64));
    }
}
