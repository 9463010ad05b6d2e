//! Without traffic the ports leave the machine to others; with too much, the books say what was not taken.

use crate::{Pmd, Wanted, both, came, client, judged, not_brought, started, two_ports, wait_back};
use integration_tests::gate::{Stopped, number};
use integration_tests::pipeline::wait_until;
use integration_tests::processes::{cpu_ns, sleeps};
use integration_tests::report;
use integration_tests::traffic::{assert_right, steady, tensor_of};
use std::time::{Duration, Instant};

/// How long the pipeline is watched doing nothing.
const WATCHED: Duration = Duration::from_secs(2);
/// How often it is: other tests make the kernel do work in these processes' time.
const WINDOWS: usize = 3;

/// Percent of a core that each process takes.
fn shares(pids: &[u32]) -> Vec<f64> {
    let (begun, before) = (Instant::now(), pids.iter().map(|p| cpu_ns(*p)).collect::<Vec<_>>());
    std::thread::sleep(WATCHED);
    let took = begun.elapsed().as_nanos() as f64;
    pids.iter().zip(&before).map(|(p, b)| (cpu_ns(*p) - b) as f64 / took * 100.0).collect()
}

fn idle(pmd: Pmd) {
    let Some(net) = two_ports("idle", pmd) else { return };
    let text = Wanted::on(pmd).text(&net).replace("[pipeline]\n", "[pipeline]\nwait = \"adaptive\"\n");
    let name = format!("dpdk-idle-{}", pmd.word());
    let pipeline = started(&net, &name, &text, &integration_tests::shipped());
    let mut client = client(&net, both(&net)[0], 1);
    steady(&mut client, 0..200, 1_000, |_| {});
    client.receive_until(200);
    pipeline.assert_whole();
    let pids = pipeline.pids();
    std::thread::sleep(Duration::from_millis(500));
    let is_quiet = |shares: &Vec<f64>| shares.iter().all(|share| *share < 1.0);
    let mut windows = Vec::with_capacity(WINDOWS);
    let rx_gateway = pipeline.pid("rx-gateway");
    let (begun, before) = (Instant::now(), sleeps(rx_gateway));
    while windows.len() < WINDOWS && !windows.last().is_some_and(is_quiet) {
        windows.push(shares(&pids));
    }
    // The port is looked at every 2 ms, however fast the machine is; besides, the stage wakes every 100 ms.
    let (looks, most) = (sleeps(rx_gateway) - before, begun.elapsed().as_millis() as u64 * 11 / 20);
    assert!(looks > 0 && looks <= most, "rx-gateway went to sleep {looks} times where {most} are enough");
    assert_eq!(pipeline.pids(), pids, "nobody died");
    report(&name, &format!("percent of a core, stages and supervisor: {windows:.2?}\n"));
    assert!(windows.last().is_some_and(is_quiet), "percent of a core by process: {windows:.2?}");
    // Awake at once when something comes.
    client.send_tensor(200, &tensor_of(200));
    client.receive_until(201);
    assert_right(&client, 200);
}

#[test]
fn idle_on_af_packet_takes_less_than_one_percent_of_a_core() {
    idle(Pmd::AfPacket);
}

#[test]
fn idle_on_af_xdp_takes_less_than_one_percent_of_a_core() {
    idle(Pmd::AfXdp);
}

/// Nothing leaves infer, so that slots and rings fill and rx-gateway stops reading: what the port then cannot hold is told.
fn overload(pmd: Pmd) {
    let Some(net) = two_ports("overload", pmd) else { return };
    let more = "[supervisor]\nheartbeat_timeout_ms = 60000\n[[stream]]\nid = \"default\"\npolicy = \"pause\"\n";
    let pipeline = Wanted { more, ..Wanted::on(pmd) }.start(&net, "overload");
    let mut client = client(&net, both(&net)[0], 1);
    client.send_tensor(0, &tensor_of(0));
    client.receive_until(1);
    let stopped = Stopped::infer(&pipeline);
    let sent = 8_000;
    for id in 1..sent {
        client.send_tensor(id, &tensor_of(id));
    }
    wait_until("everything to reach the port", || net.arrived(0) >= sent);
    drop(stopped);
    // The client's own socket holds fewer replies than the pipeline has frames.
    wait_until("the pipeline to have answered what it had", || {
        client.receive();
        pipeline.ledger()["in_flight"] == 0
    });
    pipeline.settle();
    let missed = || pipeline.counter("rx-gateway", "device_missed") + pipeline.counter("rx-gateway", "device_no_mbuf");
    // A new incarnation reckons up what no counter of the port's has told.
    let before = number(&pipeline.stage("rx-gateway")["incarnation"]);
    // The release of `net_af_packet` that Debian has does not tell what its socket dropped: there the books alone reckon it up.
    if pmd == Pmd::AfXdp {
        wait_until("the port to tell of packets that it dropped", || missed() > 0);
    }
    let told = missed();
    pipeline.kill_9("rx-gateway");
    wait_back(&pipeline, "rx-gateway", before);
    let mut ledger = pipeline.assert_whole();
    let lost = || not_brought(&pipeline, "rx-gateway");
    wait_until(
        &format!(
            "{} packets to be judged or counted: {ledger}, {} lost",
            came(&net, &pipeline, "rx-gateway", 0),
            lost()
        ),
        || {
            ledger = pipeline.ledger();
            judged(&ledger) + lost() == came(&net, &pipeline, "rx-gateway", 0)
        },
    );
    let received = number(&ledger["received"]);
    if pmd == Pmd::AfPacket {
        client.receive_until(received as usize);
    } else {
        // Replies leave in longer bursts than the client's kernel has room for (`net.core.netdev_max_backlog`).
        while client.receive() > 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let replies = client.replies.len();
    report(
        &format!("dpdk-overload-{}", pmd.word()),
        &format!("{sent} sent at once: {received} received, {told} told by the port, {} lost\n", lost()),
    );
    assert!(received < sent, "no overload: {ledger}");
    assert!(received + lost() >= sent, "{ledger}");
    for id in sent..sent + 20 {
        client.send_tensor(id, &tensor_of(id));
        client.receive_until(replies + 1 + (id - sent) as usize);
        assert_right(&client, id);
    }
    pipeline.assert_whole();
}

#[test]
fn overload_is_counted_on_af_packet() {
    overload(Pmd::AfPacket);
}

#[test]
fn overload_is_counted_and_told_on_af_xdp() {
    overload(Pmd::AfXdp);
}
