//! What gives when frames come faster than they are inferred, and who is told.

use integration_tests::client::Client;
use integration_tests::gate::{Stopped, fill, number, start};
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::traffic::{ELEMENTS, assert_right, config, tensor_of};
use serde_json::json;
use wire::{DropReason, Status};

/// More than all rings and queues in front of a stopped infer take.
const MANY: u64 = 120;
/// Frames of a stream that wait at the gateway.
const BACKLOG: u64 = 6;

/// Which of `0..MANY` were answered, after checking that the others were dropped for `reason` and nothing was both.
fn answered(client: &Client, reason: DropReason) -> Vec<u64> {
    (0..MANY)
        .filter(|id| {
            assert_eq!(client.replies[id].len(), 1, "frame {id} has one reply");
            match client.answer(*id).status {
                Status::Ok => assert_right(client, *id),
                status => assert_eq!(status, Status::Dropped(reason), "frame {id}"),
            }
            client.answer(*id).status == Status::Ok
        })
        .collect()
}

#[test]
fn drop_newest_keeps_the_first_frames() {
    let streams = format!("[[stream]]\nid = 1\npolicy = \"drop-newest\"\nbacklog = {BACKLOG}\n");
    let pipeline = start("newest", &streams);
    let mut client = Client::new(pipeline.listen(), 1);
    let stopped = Stopped::infer(&pipeline);
    fill(&pipeline, &mut client, 0..MANY);
    drop(stopped);
    client.receive_until(MANY as usize);
    let kept = answered(&client, DropReason::OverloadNewest);
    assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>(), "those that came first");
    assert!(kept.len() as u64 > BACKLOG && kept.len() < MANY as usize);
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["dropped"], json!({"overload-newest": MANY - kept.len() as u64}), "{ledger}");
}

#[test]
fn drop_oldest_keeps_the_last_frames_of_the_backlog() {
    let streams = format!("[[stream]]\nid = 1\npolicy = \"drop-oldest\"\nbacklog = {BACKLOG}\n");
    let pipeline = start("oldest", &streams);
    let mut client = Client::new(pipeline.listen(), 1);
    let stopped = Stopped::infer(&pipeline);
    fill(&pipeline, &mut client, 0..MANY);
    drop(stopped);
    client.receive_until(MANY as usize);
    let kept = answered(&client, DropReason::OverloadOldest);
    // What had left the gateway stays; of what waited there, the newest.
    let in_rings = kept.len() as u64 - BACKLOG;
    assert_eq!(kept, (0..in_rings).chain(MANY - BACKLOG..MANY).collect::<Vec<_>>());
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["dropped"], json!({"overload-oldest": MANY - kept.len() as u64}), "{ledger}");
}

#[test]
fn pause_drops_nothing_and_leaves_the_rest_in_the_socket() {
    let streams = format!("[[stream]]\nid = 1\npolicy = \"pause\"\nbacklog = {BACKLOG}\n");
    // A ring of preprocess's that is as short as can be.
    let pipeline = start("pause", &format!("[rings]\ncapacity = 64\n{streams}"));
    let mut client = Client::new(pipeline.listen(), 1);
    let stopped = Stopped::infer(&pipeline);
    fill(&pipeline, &mut client, 0..MANY);
    wait_until("the gateway to stop reading", || pipeline.counter("rx-gateway", "paused") > 0);
    let received = number(&pipeline.ledger()["received"]);
    assert!((BACKLOG..MANY).contains(&received), "{received} of {MANY} were taken from the socket");
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(pipeline.ledger()["received"], received, "the gateway reads no more");
    assert_eq!(client.receive(), 0, "and drops nothing");
    drop(stopped);
    client.receive_until(MANY as usize);
    (0..MANY).for_each(|id| assert_right(&client, id));
    let ledger = pipeline.assert_whole();
    assert_eq!((&ledger["answered"], &ledger["dropped"]), (&json!(MANY), &json!({})), "{ledger}");
}

#[test]
fn one_stream_that_drops_costs_the_others_nothing() {
    let streams = format!("[[stream]]\nid = 1\npolicy = \"drop-newest\"\nbacklog = {BACKLOG}\n");
    let pipeline = start("fair", &streams);
    let (mut loud, mut quiet) = (Client::new(pipeline.listen(), 1), Client::new(pipeline.listen(), 2));
    let stopped = Stopped::infer(&pipeline);
    fill(&pipeline, &mut loud, 0..MANY);
    fill(&pipeline, &mut quiet, 0..20);
    drop(stopped);
    quiet.receive_until(20);
    (0..20).for_each(|id| assert_right(&quiet, id));
    loud.receive_until(MANY as usize);
    assert!(answered(&loud, DropReason::OverloadNewest).len() < MANY as usize);
    pipeline.assert_whole();
}

#[test]
fn a_stream_that_pauses_keeps_to_its_backlog_behind_one_that_drops() {
    let stream = |id, policy| format!("[[stream]]\nid = {id}\npolicy = \"{policy}\"\nbacklog = {BACKLOG}\n");
    let pipeline = start("behind", &(stream(1, "drop-newest") + &stream(2, "pause")));
    let (mut drops, mut pauses) = (Client::new(pipeline.listen(), 1), Client::new(pipeline.listen(), 2));
    let stopped = Stopped::infer(&pipeline);
    fill(&pipeline, &mut drops, 0..MANY);
    let before = number(&pipeline.ledger()["received"]);
    fill(&pipeline, &mut pauses, 0..MANY);
    let taken = number(&pipeline.ledger()["received"]) - before;
    assert_eq!(taken, BACKLOG, "the rest waits in the socket");
    drop(stopped);
    pauses.receive_until(MANY as usize);
    (0..MANY).for_each(|id| assert_right(&pauses, id));
    drops.receive_until(MANY as usize);
    answered(&drops, DropReason::OverloadNewest);
    pipeline.assert_whole();
}

#[test]
fn statuses_go_out_when_wanted_and_no_more_than_allowed() {
    let stream = |id, more: &str| format!("[[stream]]\nid = {id}\npolicy = \"drop-newest\"\nbacklog = 1\n{more}\n");
    let streams = stream(1, "reply_on_drop = false") + &stream(2, "reply_on_drop_per_s = 5");
    let pipeline = start("statuses", &streams);
    let mut clients = [1, 2].map(|s| Client::new(pipeline.listen(), s));
    let stopped = Stopped::infer(&pipeline);
    // Streams share the rings: the first fills them.
    fill(&pipeline, &mut clients[0], 0..MANY);
    fill(&pipeline, &mut clients[1], 0..1);
    for id in 1..MANY {
        clients[1].send_tensor(id, &tensor_of(id));
    }
    wait_until("all frames to be admitted", || pipeline.ledger()["received"] == 2 * MANY);
    drop(stopped);
    let ledger = pipeline.assert_whole();
    let dropped = number(&ledger["dropped"]["overload-newest"]);
    let answered = number(&ledger["answered"]);
    assert_eq!(dropped + answered, 2 * MANY, "{ledger}");
    let statuses = number(&json!(pipeline.counter("tx", "statuses")));
    for client in &mut clients {
        client.receive();
    }
    let got = |c: &Client, ok: bool| c.replies.values().filter(|r| (r[0].status == Status::Ok) == ok).count() as u64;
    assert_eq!(got(&clients[0], true) + got(&clients[1], true), answered, "{ledger}");
    assert_eq!(got(&clients[0], false), 0, "this stream wants no statuses");
    // Five per second; the drops may stretch over a few seconds of a busy machine.
    let limited = got(&clients[1], false);
    assert!((5..=25).contains(&limited) && limited == statuses, "{limited} of {dropped}, {statuses} sent");
    assert_eq!(pipeline.counter("tx", "statuses_withheld"), dropped - limited);
}

#[test]
fn replies_go_to_the_sender_elsewhere_or_nowhere() {
    let nowhere: std::net::SocketAddr = ([127, 0, 0, 1], 9).into();
    let mut elsewhere = Client::new(nowhere, 2);
    let streams =
        format!("[[stream]]\nid = 2\nreply_to = \"{}\"\n[[stream]]\nid = 3\nreply_to = \"none\"\n", elsewhere.addr());
    let pipeline = start("reply-to", &streams);
    let mut clients = [1, 2, 3].map(|s| Client::new(pipeline.listen(), s));
    for id in 0..50 {
        for client in &mut clients {
            client.send_tensor(id, &tensor_of(id));
        }
        clients[0].receive_until(id as usize + 1);
    }
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["answered"], 150, "{ledger}");
    elsewhere.receive_until(50);
    (0..50).for_each(|id| assert_right(&elsewhere, id));
    assert!((0..50).all(|id| clients[0].replies[&id].len() == 1));
    assert_eq!(clients[1].receive() + clients[2].receive(), 0);
    assert_eq!(pipeline.counter("tx", "silent"), 50);
}

#[test]
fn a_result_that_is_too_long_is_a_status() {
    let text = config("null", "[limits]\nmax_reply_bytes = 512\n")
        .replace("null_output_elements = 16", "null_output_elements = 200");
    let pipeline = Pipeline::start("too-long", &text);
    let mut client = Client::new(pipeline.listen(), 1);
    client.send_tensor(1, &[1.0; ELEMENTS]);
    client.receive_until(1);
    assert_eq!(client.answer(1).status, Status::Dropped(DropReason::ResultTooLarge));
    assert!(client.answer(1).bytes.is_empty());
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["dropped"]["result-too-large"], 1, "{ledger}");
}
