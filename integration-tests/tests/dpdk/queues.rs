//! Several queues of a port, and several gateways with a port each.

use crate::{Pmd, Wanted, both, client, judged, switched, wait_back};
use integration_tests::client::Client;
use integration_tests::gate::number;
use integration_tests::netns::{Options, Side, Switched};
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::report;
use integration_tests::traffic::{assert_right, tensor_of};
use std::time::Duration;

const CLIENTS: u32 = 16;
const GATEWAYS: [&str; 2] = ["rx-gateway.0", "rx-gateway.1"];

/// Clients of many ports, so that their frames are spread.
fn clients(net: &Switched) -> Vec<Client> {
    let [v4, v6] = both(net);
    (0..CLIENTS).map(|stream| client(net, if stream % 2 == 0 { v4 } else { v6 }, stream)).collect()
}

/// Each client sends frames `ids`, and takes what comes.
fn round(clients: &mut [Client], ids: std::ops::Range<u64>) {
    for id in ids {
        for client in &mut *clients {
            client.send_tensor(id, &tensor_of(id));
            client.receive();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn assert_each_answered_once(clients: &mut [Client], frames: u64) {
    for client in clients {
        client.receive_until(frames as usize);
        for id in 0..frames {
            assert_right(client, id);
            assert_eq!(client.replies[&id].len(), 1, "stream {} frame {id}", client.stream);
        }
    }
}

#[test]
fn one_gateway_polls_two_queues() {
    let Some(net) = switched("dpdk-queues", 2, Options { queues: 2, ..Options::default() }) else { return };
    let wanted =
        Wanted { dpdk: "queues = 2\nrx_descriptors = 512", arguments: ",qpairs=2", ..Wanted::on(Pmd::AfPacket) };
    let pipeline = wanted.start(&net, "queues");
    let mut clients = clients(&net);
    round(&mut clients, 0..40);
    assert_each_answered_once(&mut clients, 40);
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["answered"], 40 * u64::from(CLIENTS), "{ledger}");
    let before = number(&pipeline.stage("rx-gateway")["incarnation"]);
    pipeline.kill_9("rx-gateway");
    wait_back(&pipeline, "rx-gateway", before);
    round(&mut clients, 40..60);
    assert_each_answered_once(&mut clients, 60);
    pipeline.assert_whole();
    assert_eq!(pipeline.stop().0, 0);
}

fn received(pipeline: &Pipeline, gateway: &str) -> u64 {
    number(&pipeline.stage(gateway)["share"]["received"])
}

/// Each gateway has a port, so each has a hardware address; which of them a client sends to is what ARP has told it. The first
/// answer that comes decides; here the client is told, by what a router would do.
#[test]
fn two_gateways_have_a_port_each_and_each_may_die() {
    let Some(net) = switched("dpdk-gateways", 3, Options::default()) else { return };
    let pipeline = Wanted { gateways: 2, ..Wanted::on(Pmd::AfPacket) }.start(&net, "gateways");
    let [v4, _] = both(&net);
    let mut clients: Vec<Client> = (0..4).map(|stream| client(&net, v4, stream)).collect();
    let mac = |n: usize| {
        let path = format!("/sys/class/net/{}/address", net.port(n));
        let out = net.net().command_in(Side::Pipeline, "cat").arg(path).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    };
    let mut sent = 0;
    for (n, gateway) in [(0, GATEWAYS[0]), (1, GATEWAYS[1]), (0, GATEWAYS[0])] {
        let arguments =
            format!("neigh replace {v4} lladdr {} dev {} nud reachable", mac(n), integration_tests::netns::SWITCH);
        crate::ip(&net, Side::Traffic, &arguments);
        let before = received(&pipeline, gateway);
        round(&mut clients, sent..sent + 40);
        sent += 40;
        assert_each_answered_once(&mut clients, sent);
        assert_eq!(received(&pipeline, gateway), before + 160, "{gateway}");
        // One of them dies, and the other serves on.
        let victim = GATEWAYS[1 - n];
        let incarnation = number(&pipeline.stage(victim)["incarnation"]);
        pipeline.kill_9(victim);
        round(&mut clients, sent..sent + 20);
        sent += 20;
        assert_each_answered_once(&mut clients, sent);
        wait_back(&pipeline, victim, incarnation);
    }
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["answered"], 4 * sent, "{ledger}");
    let shares = GATEWAYS.map(|g| received(&pipeline, g));
    report(
        "dpdk-gateways",
        &format!("{} frames, {shares:?} by gateway, {} packets judged\n", 4 * sent, judged(&ledger)),
    );
    wait_until("tx to have sent everything", || pipeline.ledger()["in_flight"] == 0);
    assert_eq!(pipeline.stop().0, 0);
}
