//! Neighbours: nobody but the pipeline tells where it is, and it tells nothing about others.

use crate::{Pmd, Wanted, both, client, ip, two_ports, wait_back, wrong_checksums};
use integration_tests::gate::{Stopped, number};
use integration_tests::netns::{SWITCH, Side, Switched};
use integration_tests::pipeline::{PATIENCE, Pipeline, wait_until};
use integration_tests::raw;
use integration_tests::traffic::{assert_right, tensor_of};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::mpsc;
use std::time::Duration;

/// How long nothing is waited for.
const SILENCE: Duration = Duration::from_millis(300);

/// What the client has learned: state and link address of `to`.
fn learned(net: &Switched, to: IpAddr) -> (String, String) {
    let arguments = ["-j", "neigh", "show", "dev", SWITCH, "to", &to.to_string()];
    let out = net.net().command_in(Side::Traffic, "ip").args(arguments).output().unwrap();
    let entries: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&entries[0]["state"][0]), text(&entries[0]["lladdr"]))
}

fn mac_of_port(net: &Switched, n: usize) -> String {
    let path = format!("/sys/class/net/{}/address", net.port(n));
    let out = net.net().command_in(Side::Pipeline, "cat").arg(path).output().unwrap();
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

fn frame(net: &Switched, to: IpAddr, stream: u32) {
    let mut client = client(net, to, stream);
    client.send_tensor(0, &tensor_of(0));
    client.receive_until(1);
    assert_right(&client, 0);
}

fn verdict(pipeline: &Pipeline, name: &str) -> u64 {
    number(&pipeline.ledger()["packets"][name])
}

fn neighbours(pmd: Pmd) {
    let Some(net) = two_ports("neighbours", pmd) else { return };
    let pipeline = Wanted::on(pmd).start(&net, "neighbours");
    let before = wrong_checksums(&net);
    for (n, to) in both(&net).into_iter().enumerate() {
        // The first packet of all: ARP or a solicitation goes before it.
        frame(&net, to, n as u32);
        let (state, address) = learned(&net, to);
        assert!(state == "REACHABLE" || state == "DELAY" || state == "STALE", "{to}: {state}");
        assert_eq!(address, mac_of_port(&net, 0), "requests for {to} go to the port that receives");
        for data in [&b"hello"[..], &[], &[7; 1_400]] {
            assert!(raw::ping(net.net(), to, data, PATIENCE), "{to}: no echo of {} bytes", data.len());
        }
        // Asked again it says the same, to a question to it alone as well.
        net.forget_neighbours();
        assert!(raw::ping(net.net(), to, b"again", PATIENCE));
        assert_eq!(learned(&net, to).1, mac_of_port(&net, 0));
    }
    let answers = pipeline.counter("tx", "link_answers");
    assert!(answers >= 12, "{answers} answers");
    assert_eq!((verdict(&pipeline, "link"), pipeline.counter("tx", "link_refused")), (answers, 0));
    assert_eq!(wrong_checksums(&net), before);

    // Others on the link are not answered for. The client asks three times, and gives up.
    let strangers: [IpAddr; 2] = ["10.77.0.5".parse().unwrap(), "fd00:77::77".parse().unwrap()];
    ip(&net, Side::Traffic, &format!("route add 10.77.0.5 dev {SWITCH}"));
    for to in strangers {
        let elsewhere = verdict(&pipeline, "elsewhere");
        assert!(!raw::ping(net.net(), to, b"who", SILENCE), "{to} was answered for");
        wait_until("the question to be judged", || verdict(&pipeline, "elsewhere") > elsewhere);
    }
    // Other ports, and other protocols, are nobody's.
    let [v4, _] = both(&net);
    let elsewhere = verdict(&pipeline, "elsewhere");
    raw::datagram(net.net(), Side::Traffic, (v4, crate::PORT + 1), b"hello", true);
    wait_until("the datagram to be judged", || verdict(&pipeline, "elsewhere") > elsewhere);
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["received"], 2, "none of that is a frame: {ledger}");
    assert_eq!(pipeline.stop().0, 0);
}

#[test]
fn questions_and_echoes_on_af_packet() {
    neighbours(Pmd::AfPacket);
}

#[test]
fn questions_and_echoes_on_af_xdp() {
    neighbours(Pmd::AfXdp);
}

/// Nothing leaves tx for a while, so that answers to neighbours pile up however fast the machine is.
#[test]
fn a_flood_of_echo_requests_does_not_keep_frames_out() {
    let Some(net) = two_ports("flood", Pmd::AfPacket) else { return };
    let more = "[supervisor]\nheartbeat_timeout_ms = 60000\n";
    let pipeline = Wanted { more, ..Wanted::on(Pmd::AfPacket) }.start(&net, "flood");
    let [to, _] = both(&net);
    frame(&net, to, 1);
    let mut client = client(&net, to, 2);
    let (over, working) = mpsc::channel();
    let limited = || verdict(&pipeline, "link_limited");
    let requests = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let working = working;
            raw::flood(net.net(), to, &working)
        });
        let over = over;
        let stopped = Stopped::stage(&pipeline, "tx");
        wait_until("answers to be withheld", || limited() > 0);
        for id in 0..50 {
            client.send_tensor(id, &tensor_of(id));
        }
        wait_until("the frames to be admitted", || pipeline.ledger()["received"] == 51);
        drop(stopped);
        client.receive_until(50);
        drop(over);
        flood.join().expect("the flood")
    });
    (0..50).for_each(|id| assert_right(&client, id));
    // Two answers of ARP, beside those to the flood.
    wait_until("every request to be judged", || verdict(&pipeline, "link") + limited() >= requests);
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["answered"], 51, "{ledger}");
}

#[test]
fn neighbours_are_answered_by_every_incarnation() {
    for pmd in Pmd::ALL {
        let Some(net) = two_ports("incarnations", pmd) else { return };
        let pipeline = Wanted::on(pmd).start(&net, "incarnations");
        for stage in ["rx-gateway", "tx", "rx-gateway", "tx"] {
            let before = number(&pipeline.stage(stage)["incarnation"]);
            pipeline.kill_9(stage);
            wait_back(&pipeline, stage, before);
            net.forget_neighbours();
            for to in both(&net) {
                assert!(raw::ping(net.net(), to, b"hello", PATIENCE), "{pmd:?}: {to} after a death of {stage}");
            }
        }
        pipeline.assert_whole();
    }
}
