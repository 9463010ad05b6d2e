//! Stages that drive ports are replaced by order under traffic: what was received is answered once, and only what waited in a
//! port that was given up, or came while there was none, is lost, and counted.

use crate::kills::assert_losses;
use crate::{Pmd, Wanted, both, client, leftovers, two_ports, wait_back};
use integration_tests::client::Client;
use integration_tests::gate::number;
use integration_tests::netns::Switched;
use integration_tests::pipeline::{PATIENCE, Pipeline, wait_until};
use integration_tests::traffic::{assert_right, steady_until, tensor_of};
use integration_tests::{raw, report};
use serde_json::{Value, json};
use std::sync::mpsc;
use std::time::Duration;

const RESTARTS: u64 = 8;
/// Frames per second.
const PER_S: u32 = 400;

/// Hands over to a fresh process, and waits until its port has started.
fn restart(pipeline: &Pipeline, stage: &str) {
    let before = number(&pipeline.stage(stage)["incarnation"]);
    let answer = pipeline.order(&json!({"command": "restart", "stage": stage}));
    assert_eq!(answer["restarted"].as_array().map(Vec::len), Some(1), "{answer}");
    wait_back(pipeline, stage, before);
}

/// Deaths of a stage that nobody ordered. A process whose port of `net_af_packet` collides with another one's goes by itself,
/// and the next one takes its place: that is none.
fn deaths(pipeline: &Pipeline, stage: &str) -> Vec<Value> {
    let records = pipeline.order(&json!({"command": "recoveries"}));
    let all = records["recoveries"].as_array().cloned().unwrap_or_default();
    all.into_iter()
        .filter(|r| r["stage"] == stage && !r["cause"].as_str().unwrap_or_default().starts_with("exit code 75"))
        .collect()
}

/// Restarts `stage` while frames come; how many were sent.
fn restarts_under_traffic(pipeline: &Pipeline, client: &mut Client, stage: &str) -> u64 {
    let (over, working) = mpsc::channel();
    let sent = std::thread::scope(|scope| {
        scope.spawn(move || {
            let _over = over;
            for n in 0..RESTARTS {
                restart(pipeline, stage);
                std::thread::sleep(Duration::from_millis(n % 5));
            }
        });
        steady_until(client, PER_S, &working)
    });
    // One more, when the port is there: what came before it has been judged when it is answered.
    client.send_tensor(sent, &tensor_of(sent));
    wait_until("the last frame to be answered", || {
        client.receive();
        client.replies.contains_key(&sent)
    });
    pipeline.settle();
    wait_until("the replies to arrive", || {
        client.receive();
        client.replies.len() as u64 >= number(&pipeline.ledger()["answered"])
    });
    sent + 1
}

/// Every frame that was received is answered, and its one reply is here.
fn assert_received_is_answered(pipeline: &Pipeline, client: &Client) -> Value {
    let ledger = pipeline.assert_whole();
    for (id, answers) in &client.replies {
        assert_eq!(answers.len(), 1, "frame {id} is answered once");
        assert_right(client, *id);
    }
    let here = client.replies.len() as u64;
    assert_eq!((&ledger["received"], &ledger["answered"]), (&here.into(), &here.into()), "{here} replies: {ledger}");
    for counter in ["sent_unconfirmed", "send_errors", "device_faults"] {
        assert_eq!(pipeline.counter("tx", counter), 0, "{counter}");
    }
    ledger
}

fn prepared(pmd: Pmd, stage: &str) -> Option<(Switched, Pipeline, Client)> {
    let name = format!("restart-{stage}");
    let net = two_ports(&name, pmd)?;
    let pipeline = Wanted::on(pmd).start(&net, &name);
    let [to, _] = both(&net);
    // The client's kernel keeps only so many packets while it asks for a link address.
    assert!(raw::ping(net.net(), to, b"hello", PATIENCE));
    let client = client(&net, to, 1);
    Some((net, pipeline, client))
}

fn end(net: &Switched, pipeline: Pipeline) {
    let (code, last) = pipeline.stop();
    assert_eq!((code, leftovers(net)), (0, vec![]), "{last}");
}

fn of_tx(pmd: Pmd) {
    let Some((net, pipeline, mut client)) = prepared(pmd, "tx") else { return };
    let sent = restarts_under_traffic(&pipeline, &mut client, "tx");
    let ledger = assert_received_is_answered(&pipeline, &client);
    // Nobody gave up a port that receives.
    assert_eq!(ledger["received"], sent, "{ledger}");
    let text = format!("{RESTARTS} restarts amid {sent} frames: none lost\n");
    report(&format!("dpdk-restart-tx-{}", pmd.word()), &text);
    assert_eq!(deaths(&pipeline, "tx"), [] as [Value; 0], "it gave way by itself");
    end(&net, pipeline);
}

fn of_rx_gateway(pmd: Pmd) {
    let Some((net, pipeline, mut client)) = prepared(pmd, "rx-gateway") else { return };
    let before = net.arrived(0);
    let sent = restarts_under_traffic(&pipeline, &mut client, "rx-gateway");
    // What never came to the interface is the network's: the interface's own count says.
    let underway = sent.saturating_sub(net.arrived(0) - before);
    let received = number(&assert_received_is_answered(&pipeline, &client)["received"]);
    assert_eq!(deaths(&pipeline, "rx-gateway"), [] as [Value; 0], "it gave way by itself");
    let lost = assert_losses(&net, &pipeline, sent);
    // Frames of one packet: what the books call lost covers what is missing. The network's own packets may be among them. Now and then
    // a packet is judged to be a copy that was sent once: it is in the books as that.
    let copies = number(&pipeline.ledger()["packets"]["duplicate"]);
    assert!(
        received + lost + copies + underway >= sent,
        "{sent} sent, {received} received, {lost} lost, {copies} copies, {underway} before the interface"
    );
    let text =
        format!("{RESTARTS} restarts amid {sent} frames: {received} received, {lost} packets lost, {copies} copies\n");
    report(&format!("dpdk-restart-rx-gateway-{}", pmd.word()), &text);
    end(&net, pipeline);
}

#[test]
fn of_tx_on_af_packet_lose_nothing() {
    of_tx(Pmd::AfPacket);
}

#[test]
fn of_tx_on_af_xdp_lose_nothing() {
    of_tx(Pmd::AfXdp);
}

#[test]
fn of_rx_gateway_on_af_packet_lose_what_the_books_say() {
    of_rx_gateway(Pmd::AfPacket);
}

#[test]
fn of_rx_gateway_on_af_xdp_lose_what_the_books_say() {
    of_rx_gateway(Pmd::AfXdp);
}
