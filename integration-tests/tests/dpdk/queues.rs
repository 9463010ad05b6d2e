//! Several queues of a port, and several gateways with a port each.

use crate::{Pmd, Wanted, both, client, judged, switched, wait_back};
use integration_tests::client::Client;
use integration_tests::gate::number;
use integration_tests::netns::{Options, Switched};
use integration_tests::pipeline::{PATIENCE, Pipeline, wait_until};
use integration_tests::traffic::{assert_right, tensor_of};
use integration_tests::{raw, report};
use std::ops::Range;
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

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
    let gap = kill_amid_a_round(&pipeline, "rx-gateway", &mut clients, 40);
    let frames = gap.end + 20;
    round(&mut clients, gap.end..frames);
    let kept = assert_answered_but_for(&mut clients, std::slice::from_ref(&gap), frames);
    let ledger = pipeline.assert_whole();
    assert_eq!((&ledger["received"], &ledger["answered"]), (&kept.into(), &kept.into()), "{ledger}");
    assert_eq!(pipeline.stop().0, 0);
}

/// Kills a stage that frames are coming to, from `first` on, until it is back; the frames that were sent meanwhile.
fn kill_amid_a_round(pipeline: &Pipeline, stage: &str, clients: &mut [Client], first: u64) -> Range<u64> {
    let before = number(&pipeline.stage(stage)["incarnation"]);
    let (over, working) = mpsc::channel::<()>();
    let end = std::thread::scope(|scope| {
        scope.spawn(move || {
            let _over = over;
            pipeline.kill_9(stage);
            wait_back(pipeline, stage, before);
        });
        let mut id = first;
        while working.try_recv() == Err(TryRecvError::Empty) {
            round(clients, id..id + 1);
            id += 1;
        }
        id
    });
    first..end
}

/// Every frame below `frames` is answered once, but those of the gaps, of which some may be lost; how many replies there are.
fn assert_answered_but_for(clients: &mut [Client], gaps: &[Range<u64>], frames: u64) -> u64 {
    for client in &mut *clients {
        let due: Vec<u64> = (0..frames).filter(|id| !gaps.iter().any(|gap| gap.contains(id))).collect();
        let until = Instant::now() + PATIENCE;
        loop {
            client.receive();
            let missing: Vec<u64> = due.iter().copied().filter(|id| !client.replies.contains_key(id)).collect();
            if missing.is_empty() {
                break;
            }
            assert!(Instant::now() < until, "stream {}: no answer to {missing:?}, gaps {gaps:?}", client.stream);
            std::thread::sleep(Duration::from_millis(2));
        }
        for (id, answers) in &client.replies {
            assert_right(client, *id);
            assert_eq!(answers.len(), 1, "stream {} frame {id}", client.stream);
        }
    }
    clients.iter().map(|client| client.replies.len() as u64).sum()
}

fn received(pipeline: &Pipeline, gateway: &str) -> u64 {
    number(&pipeline.stage(gateway)["share"]["received"])
}

/// Each gateway has a port, so each has a hardware address; which of them a client sends to is what it was told when it
/// asked. Here the first one is there alone when the client asks for the address of IPv4, and the second for that of IPv6.
#[test]
fn two_gateways_have_a_port_each_and_each_may_die() {
    let Some(net) = switched("dpdk-gateways", 3, Options::default()) else { return };
    let pipeline = Wanted { gateways: 2, ..Wanted::on(Pmd::AfPacket) }.start(&net, "gateways");
    let mut clients = both(&net).map(|to| {
        // The other gateway would answer as well, and the first answer decides.
        net.without(usize::from(to.is_ipv4()), || assert!(raw::ping(net.net(), to, b"hello", PATIENCE), "{to}"));
        let first = if to.is_ipv6() { 4 } else { 0 };
        (first..first + 4).map(|stream| client(&net, to, stream)).collect::<Vec<Client>>()
    });
    let (mut sent, mut gaps) = ([0; 2], [const { Vec::new() }; 2]);
    for n in [0, 1, 0] {
        let before = GATEWAYS.map(|gateway| received(&pipeline, gateway));
        for (clients, sent) in clients.iter_mut().zip(&mut sent) {
            round(clients, *sent..*sent + 40);
            *sent += 40;
        }
        for (n, gateway) in GATEWAYS.into_iter().enumerate() {
            wait_until("its own clients' frames to come to it", || received(&pipeline, gateway) == before[n] + 160);
        }
        // One of them dies amid its frames; the other one's clients lose nothing meanwhile.
        let [first, second] = &mut clients;
        let (victims, others) = if n == 0 { (first, second) } else { (second, first) };
        let of_others = sent[1 - n];
        let gap = std::thread::scope(|scope| {
            let serving = scope.spawn(move || round(others, of_others..of_others + 20));
            let gap = kill_amid_a_round(&pipeline, GATEWAYS[n], victims, sent[n]);
            serving.join().expect("the other clients");
            gap
        });
        sent[1 - n] += 20;
        sent[n] = gap.end;
        gaps[n].push(gap);
    }
    let mut kept = 0;
    for (n, clients) in clients.iter_mut().enumerate() {
        round(clients, sent[n]..sent[n] + 20);
        kept += assert_answered_but_for(clients, &gaps[n], sent[n] + 20);
    }
    let ledger = pipeline.assert_whole();
    assert_eq!((&ledger["received"], &ledger["answered"]), (&kept.into(), &kept.into()), "{ledger}");
    let shares = GATEWAYS.map(|g| received(&pipeline, g));
    report("dpdk-gateways", &format!("{kept} frames, {shares:?} by gateway, {} packets judged\n", judged(&ledger)));
    assert_eq!(pipeline.stop().0, 0);
}
