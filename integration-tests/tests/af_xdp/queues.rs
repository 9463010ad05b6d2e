//! Several receive queues: those without a socket are the kernel's, several gateways share the others.

use crate::{Wanted, client, filter, judged, keep_up};
use integration_tests::client::Client;
use integration_tests::gate::number;
use integration_tests::netns::{Net, Options, Side};
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::report;
use integration_tests::traffic::{assert_right, tensor_of};
use std::time::Duration;

const CLIENTS: u32 = 24;

fn two_queues(label: &str) -> Option<Net> {
    Net::or_skip(label, Options { queues: 2, ..Options::default() })
}

/// Clients of many ports, so that their frames are spread over the queues.
fn clients(net: &Net) -> Vec<Client> {
    let (v4, v6) = (net.v4(Side::Pipeline), net.v6(Side::Pipeline));
    (0..CLIENTS).map(|stream| client(net, if stream % 2 == 0 { v4 } else { v6 }, stream)).collect()
}

/// Each client sends frames `ids`; `each` is called before each round.
fn round(clients: &mut [Client], ids: std::ops::Range<u64>, mut each: impl FnMut(u64)) {
    for id in ids {
        each(id);
        for client in &mut *clients {
            client.send_tensor(id, &tensor_of(id));
            keep_up(client, id, 10);
        }
        std::thread::sleep(Duration::from_millis(1));
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
fn a_queue_without_a_socket_is_served_by_the_kernel() {
    let Some(net) = two_queues("xdp-one-of-two") else { return };
    let pipeline = Wanted { af_xdp: "queues = [0]", ..Wanted::default() }.start(&net, "one-of-two");
    let mut clients = clients(&net);
    round(&mut clients, 0..20, |_| {});
    assert_each_answered_once(&mut clients, 20);
    let ledger = pipeline.assert_whole();
    let (redirected, left) = (filter(&pipeline, "redirected"), filter(&pipeline, "no_socket"));
    report("xdp-one-of-two", &format!("{redirected} packets to the socket, {left} to the kernel\n"));
    assert!(redirected > 0 && left > 0, "{redirected} and {left}: not spread");
    assert_eq!(redirected + left, 20 * u64::from(CLIENTS));
    assert_eq!(judged(&ledger), redirected + left, "{ledger}");
}

const GATEWAYS: [&str; 2] = ["rx-gateway.0", "rx-gateway.1"];

fn received(pipeline: &Pipeline, gateway: &str) -> u64 {
    number(&pipeline.stage(gateway)["share"]["received"])
}

#[test]
fn two_gateways_share_two_queues_and_each_may_die() {
    let Some(net) = two_queues("xdp-two-gateways") else { return };
    let pipeline = Wanted { more: "[rx_gateway]\ninstances = 2\n", ..Wanted::default() }.start(&net, "two-gateways");
    let mut clients = clients(&net);
    round(&mut clients, 0..10, |_| {});
    wait_until("both gateways to receive", || GATEWAYS.iter().all(|g| received(&pipeline, g) > 0));
    let before = GATEWAYS.map(|g| number(&pipeline.stage(g)["incarnation"]));
    // Every other round one of the gateways, or tx, dies under load.
    round(&mut clients, 10..130, |id| {
        if id % 10 == 0 {
            pipeline.kill_9([GATEWAYS[0], "tx", GATEWAYS[1]][(id / 10 % 3) as usize]);
        }
    });
    assert_each_answered_once(&mut clients, 130);
    let ledger = pipeline.assert_whole();
    let sent = 130 * u64::from(CLIENTS);
    assert_eq!(ledger["answered"], sent, "{ledger}");
    assert_eq!((filter(&pipeline, "redirected"), filter(&pipeline, "no_socket")), (sent, 0));
    assert_eq!(judged(&ledger), sent, "{ledger}");
    let shares = GATEWAYS.map(|g| received(&pipeline, g));
    assert!(shares.iter().all(|n| *n > 0) && shares.iter().sum::<u64>() == sent, "{shares:?}");
    for (gateway, before) in GATEWAYS.iter().zip(before) {
        assert!(number(&pipeline.stage(gateway)["incarnation"]) > before, "{gateway} was not killed");
    }
    report("xdp-two-gateways", &format!("{sent} frames, {shares:?} by gateway\n"));
}
