//! What changes while frames flow: reload, drain and resume.

use integration_tests::client::Client;
use integration_tests::gate::{Stopped, fill, number, start};
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::traffic::{assert_right, steady_until, tensor_of};
use serde_json::{Value, json};
use wire::{DropReason, Status};

/// Orders a reload of the pipeline's configuration after `edit`, and waits until every stage has taken it over.
fn reload(pipeline: &Pipeline, edit: impl Fn(&str) -> String) -> Value {
    let text = std::fs::read_to_string(pipeline.dir().join("pipeline.toml")).expect("the configuration");
    let changed = pipeline.dir().join("changed.toml");
    std::fs::write(&changed, edit(&text)).expect("write the configuration");
    let mut answer = Value::Null;
    wait_until("the reload to be accepted", || {
        answer = pipeline.ask(&json!({"command": "reload", "config": changed}));
        assert!(answer["ok"] == true || answer["retry"] == true, "{answer}");
        answer["ok"] == true
    });
    wait_until("all stages to have taken it over", || {
        let stages = pipeline.status()["stages"].as_array().cloned().unwrap_or_default();
        stages.iter().all(|s| s["config_generation"] == answer["config_generation"])
    });
    answer
}

fn lines(answer: &Value, key: &str) -> Vec<String> {
    answer[key].as_array().into_iter().flatten().filter_map(|l| Some(l.as_str()?.to_owned())).collect()
}

#[test]
fn a_reload_changes_streams_without_a_gap_and_names_what_needs_a_restart() {
    let pipeline = start("reload", "[[stream]]\nid = 8\nreply_to = \"sender\"\n");
    let mut steady_client = Client::new(pipeline.listen(), 4);
    let mut other = Client::new(pipeline.listen(), 8);
    other.send_tensor(1, &tensor_of(1));
    other.receive_until(1);
    assert_right(&other, 1);
    let (work, working) = std::sync::mpsc::channel();
    let sent = std::thread::scope(|scope| {
        scope.spawn(|| {
            let _work = work;
            changes(&pipeline, &mut other);
        });
        steady_until(&mut steady_client, 1_000, &working)
    });
    steady_client.receive_until(sent as usize);
    for id in 0..sent {
        assert_right(&steady_client, id);
        assert_eq!(steady_client.replies[&id].len(), 1, "frame {id}");
    }
    let stages = pipeline.status()["stages"].clone();
    assert!(stages.as_array().unwrap().iter().all(|s| s["incarnation"] == 1), "nobody was restarted: {stages}");
    pipeline.assert_whole();
}

/// Three reloads: a deadline, a source, and something that cannot change.
fn changes(pipeline: &Pipeline, other: &mut Client) {
    let old = "id = 8\n";
    let answer = reload(pipeline, |t| t.replace(old, "id = 8\ndeadline_us = 1\npolicy = \"drop-oldest\"\n"));
    let applied = ["stream.8.deadline_us: 0 -> 1", "stream.8.policy: \"pause\" -> \"drop-oldest\""];
    let mut got = lines(&answer, "applied");
    got.sort();
    assert_eq!((got, lines(&answer, "needs_restart")), (applied.map(str::to_owned).to_vec(), vec![]));
    other.send_tensor(2, &tensor_of(2));
    other.receive_until(2);
    assert_eq!(other.answer(2).status, Status::Dropped(DropReason::Deadline), "nothing is done within 1 us");

    let refused = || number(&pipeline.ledger()["packets"]["refused_source"]);
    reload(pipeline, |t| t.replace(old, "id = 8\nsources = [\"10.0.0.0/8\"]\n"));
    other.send_tensor(3, &tensor_of(3));
    wait_until("the stranger to be refused", || refused() == 1);

    let capacity = "[rings]\ncapacity = 128\n[supervisor]\n";
    let answer = reload(pipeline, |t| t.replace("[supervisor]\n", capacity));
    assert_eq!(lines(&answer, "needs_restart"), ["rings.capacity: 1024 -> 128"], "{answer}");
    other.send_tensor(4, &tensor_of(4));
    other.receive_until(3);
    assert_right(other, 4);
    assert_eq!(refused(), 1, "what was taken back holds no longer");
}

#[test]
fn a_drained_pipeline_finishes_what_it_has_and_leaves_the_rest_until_resume() {
    let pipeline = start("drain", "");
    let mut client = Client::new(pipeline.listen(), 1);
    let stopped = Stopped::infer(&pipeline);
    fill(&pipeline, &mut client, 0..6);
    drop(stopped);
    assert_eq!(pipeline.order(&json!({"command": "drain"}))["state"], "drained");
    assert_eq!(pipeline.ledger()["in_flight"], 0);
    client.receive_until(6);
    (6..26).for_each(|id| client.send_tensor(id, &tensor_of(id)));
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!((pipeline.ledger()["received"].as_u64(), client.receive()), (Some(6), 0), "none is taken");
    assert_eq!(pipeline.status()["state"], "drained");
    assert_eq!(pipeline.order(&json!({"command": "resume"}))["state"], "running");
    client.receive_until(26);
    (0..26).for_each(|id| assert_right(&client, id));
    assert_eq!(pipeline.assert_whole()["answered"], 26);
}
