//! rx-gateway and tx die under load, and no packet is lost: the kernel goes on filling and sending meanwhile.

use crate::{Wanted, client, filter, judged};
use integration_tests::client::{Client, Frame, tensor, values};
use integration_tests::gate::number;
use integration_tests::netns::{Net, Options, Side};
use integration_tests::pipeline::{PATIENCE, Pipeline, wait_until};
use integration_tests::processes::{is_alive, signal};
use integration_tests::report;
use integration_tests::traffic::{assert_right, steady, tensor_of};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};
use wire::{Encoding, Status};

const FRAMES: u64 = 2_000;
const KILLS: usize = 40;
/// Frames that may be without an answer before the sender waits. Its packets fit the rings.
const WINDOW: usize = 200;
/// Elements of a frame of three packets.
pub const WIDE: usize = 1_000;
pub const PACKETS: u64 = 3;

pub fn wide(id: u64) -> Vec<f32> {
    (0..WIDE).map(|i| (id % 1_000) as f32 + i as f32 / 1_024.0).collect()
}

/// A pipeline for those frames that keeps half-assembled ones as long as a test may take.
pub fn wanted<'a>(outputs: usize) -> Wanted<'a> {
    Wanted { elements: (WIDE, outputs), more: "[limits]\nassembly_timeout_ms = 60000\n", ..Wanted::default() }
}

/// Every frame from 0 on is answered, right and once.
pub fn assert_answered_once(client: &Client, frames: u64, outputs: usize) {
    for id in 0..frames {
        let answers = &client.replies[&id];
        assert_eq!(answers.len(), 1, "frame {id} is answered once");
        assert_eq!(answers[0].status, Status::Ok, "frame {id}");
        assert_eq!(values(&answers[0].bytes), wide(id)[..outputs], "frame {id}");
    }
}

/// Each packet that was sent was given to a socket, and judged once.
pub fn assert_no_packet_lost(pipeline: &Pipeline, packets: u64) -> Value {
    let ledger = pipeline.assert_whole();
    assert_eq!((filter(pipeline, "redirected"), filter(pipeline, "no_socket")), (packets, 0), "{ledger}");
    assert_eq!(judged(&ledger), packets, "{ledger}");
    assert_eq!(ledger["packets"]["fragment"], packets, "{ledger}");
    assert_eq!(pipeline.counter("rx-gateway", "kernel_dropped_packets"), 0);
    ledger
}

fn kill(pipeline: &Pipeline, n: usize) {
    let stage = ["rx-gateway", "tx"][n % 2];
    let before = number(&pipeline.stage(stage)["incarnation"]);
    pipeline.kill_9(stage);
    // Sometimes the other one dies while this one is still away.
    if !n.is_multiple_of(4) {
        pipeline.wait_incarnation(stage, before);
    }
    std::thread::sleep(Duration::from_millis(7 * (n % 5) as u64));
}

#[test]
fn kills_under_load_lose_no_packet_and_answer_every_frame_once() {
    kills_under_load("hitless", 16);
}

#[test]
fn kills_under_load_amid_replies_of_several_packets() {
    kills_under_load("hitless-long", WIDE);
}

/// `outputs`: elements of a result.
fn kills_under_load(name: &str, outputs: usize) {
    let Some(net) = Net::or_skip(&format!("xdp-{name}"), Options::default()) else { return };
    let pipeline = wanted(outputs).start(&net, name);
    let mut client = client(&net, net.v4(Side::Pipeline), 1);
    let (over, done) = mpsc::channel::<()>();
    let sent = std::thread::scope(|scope| {
        let pipeline = &pipeline;
        scope.spawn(move || {
            let over = over;
            (0..KILLS).for_each(|n| kill(pipeline, n));
            drop(over);
        });
        let (start, mut id) = (Instant::now(), 0);
        while id < FRAMES || done.try_recv() != Err(TryRecvError::Disconnected) {
            let (due, patience) = (start + Duration::from_millis(id), Instant::now() + PATIENCE);
            while Instant::now() < due || id as usize > client.replies.len() + WINDOW {
                if client.receive() == 0 {
                    assert!(Instant::now() < patience, "{} of {id} frames have replies", client.replies.len());
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
            client.send_tensor(id, &wide(id));
            id += 1;
        }
        id
    });
    client.receive_until(sent as usize);
    assert_answered_once(&client, sent, outputs);
    let ledger = assert_no_packet_lost(&pipeline, PACKETS * sent);
    assert_eq!((&ledger["received"], &ledger["answered"]), (&sent.into(), &sent.into()), "{ledger}");
    let records = pipeline.order(&json!({"command": "recoveries"}));
    let deaths = records["recoveries"].as_array().map_or(0, Vec::len);
    assert!(deaths >= KILLS * 3 / 4, "{deaths} recoveries for {KILLS} kills");
    let (refound, found) = (pipeline.counter("rx-gateway", "refound_packets"), pipeline.counter("tx", "found_sent"));
    report(
        &format!("xdp-{name}"),
        &format!(
            "{sent} frames of {PACKETS} packets, {deaths} deaths, {refound} packets refound, {found} found sent\n"
        ),
    );
    assert_eq!(pipeline.stop().0, 0);
}

#[test]
fn what_arrives_while_nobody_receives_waits_in_the_ring() {
    let Some(net) = Net::or_skip("xdp-waits", Options::default()) else { return };
    let more = "[supervisor]\nheartbeat_timeout_ms = 60000\n[limits]\nassembly_timeout_ms = 60000\n";
    let pipeline = Wanted { more, ..wanted(16) }.start(&net, "waits");
    let mut client = client(&net, net.v4(Side::Pipeline), 1);
    // The sender's kernel drops some of what it holds until it knows the link address.
    client.send_tensor(0, &wide(0));
    client.receive_until(1);
    for (n, stage) in ["rx-gateway", "tx"].into_iter().enumerate() {
        let (pid, incarnation) = (pipeline.pid(stage), number(&pipeline.stage(stage)["incarnation"]));
        signal(pid, Signal::STOP);
        let ids = 1 + 60 * n as u64..1 + 60 * (n as u64 + 1);
        ids.clone().for_each(|id| client.send_tensor(id, &wide(id)));
        wait_until("packets to arrive", || filter(&pipeline, "redirected") == PACKETS * ids.end);
        assert_eq!(client.replies.len() as u64, ids.start, "{stage} is stopped");
        pipeline.kill_9(stage);
        pipeline.wait_incarnation(stage, incarnation);
        client.receive_until(ids.end as usize);
    }
    assert_answered_once(&client, 121, 16);
    assert_no_packet_lost(&pipeline, PACKETS * 121);
}

#[test]
fn half_assembled_frames_are_resumed() {
    let Some(net) = Net::or_skip("xdp-resumed", Options::default()) else { return };
    let pipeline = wanted(16).start(&net, "resumed");
    let mut client = client(&net, net.v4(Side::Pipeline), 1);
    for id in 0..12 {
        let bytes = tensor(&wide(id));
        let frame = Frame { encoding: Encoding::TensorF32, width: 0, height: 0, bytes: &bytes };
        let datagrams = client.datagrams(id, &frame);
        assert_eq!(datagrams.len() as u64, PACKETS);
        // One packet before the death, or two, and any of the three is the one that comes afterwards.
        let (early, late) = datagrams.split_at(1 + (id % 2) as usize);
        for datagram in early {
            client.send_raw(datagram);
        }
        wait_until("the first packets to be recorded", || {
            pipeline.ledger()["audit"]["assembling"] == early.len() as u64
        });
        let before = number(&pipeline.stage("rx-gateway")["incarnation"]);
        pipeline.kill_9("rx-gateway");
        if id % 3 == 0 {
            pipeline.wait_incarnation("rx-gateway", before);
        }
        for datagram in late.iter().rev() {
            client.send_raw(datagram);
        }
        client.receive_until(id as usize + 1);
        pipeline.wait_incarnation("rx-gateway", before);
    }
    assert_answered_once(&client, 12, 16);
    assert_no_packet_lost(&pipeline, PACKETS * 12);
}

#[test]
fn a_killed_supervisor_leaves_nothing_attached_and_the_next_one_starts() {
    let Some(net) = Net::or_skip("xdp-supervisor", Options::default()) else { return };
    for n in 0..3 {
        let pipeline = Wanted::default().start(&net, &format!("supervisor-{n}"));
        assert_eq!(net.attachments(Side::Pipeline).len(), 1);
        let mut client = client(&net, net.v4(Side::Pipeline), 1);
        steady(&mut client, 0..100, 2_000, |_| {});
        client.receive_until(100);
        (0..100).for_each(|id| assert_right(&client, id));
        let status = pipeline.status();
        let stages = status["stages"].as_array().unwrap().iter().map(|s| number(&s["pid"]) as u32);
        let stages: Vec<u32> = stages.collect();
        client.send_tensor(100, &tensor_of(100));
        signal(number(&status["pid"]) as u32, Signal::KILL);
        // The link goes with the supervisor, the sockets with the last stage: they finish what they have first.
        wait_until("the program to be detached", || net.attachments(Side::Pipeline).is_empty());
        let began = Instant::now();
        wait_until("the stages to end", || !stages.iter().any(|pid| is_alive(*pid)));
        report("xdp-supervisor", &format!("the stages ended {} ms later\n", began.elapsed().as_millis()));
    }
}

#[test]
fn nothing_is_attached_when_stop_answers() {
    let Some(net) = Net::or_skip("xdp-stop", Options::default()) else { return };
    let pipeline = Wanted::default().start(&net, "stop");
    assert_eq!(net.attachments(Side::Pipeline).len(), 1);
    let answer = pipeline.order(&serde_json::json!({"command": "stop"}));
    // No waiting here: whoever was told may use the interface for something else.
    assert_eq!(net.attachments(Side::Pipeline), [], "{answer}");
    assert_eq!(answer["clean"], true, "{answer}");
}
