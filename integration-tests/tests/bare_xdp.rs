//! The yardsticks of `make bench-xdp` do what they say: no packet lost, none counted twice, nothing left attached.

use integration_tests::bare::{Bare, PORT, as_frames, generate, wait_detached};
use integration_tests::gate::number;
use integration_tests::netns::{Net, Options, Side};
use integration_tests::pipeline::wait_until;
use integration_tests::report;
use serde_json::Value;
use std::net::UdpSocket;

fn net(label: &str) -> Option<Net> {
    Net::or_skip(label, Options::default())
}

fn text(result: &Value) -> String {
    format!(
        "{} replies, round trip p50 {} ns, p99 {} ns\n",
        result["received"], result["rtt"]["p50_ns"], result["rtt"]["p99_ns"]
    )
}

#[test]
fn the_echo_answers_every_packet() {
    let Some(net) = net("bare-echo") else { return };
    let frames = as_frames(&net);
    let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
    let mut sent = 0;
    let echo = Bare::start(&net, "bare_echo", &["-w", "poll"]).unwrap();
    let attached = net.attachments(Side::Pipeline);
    assert!(attached.len() == 1 && attached[0].is_native, "{attached:?}");
    assert_eq!(attached[0].interface, net.interface(Side::Pipeline));
    let closed = ["-W", "1", "-d", "0.5", "-u", "0", "-w", "poll"];
    let paced = ["-r", "5000", "-d", "0.5", "-u", "0", "-w", "poll", "-l", "1000", "-H"];
    for (name, options) in [("closed", closed.to_vec()), ("paced", paced.to_vec())] {
        for way in [&[][..], &frames[..]] {
            let result = generate(&net, PORT, &[options.as_slice(), way].concat()).unwrap();
            let n = number(&result["sent"]);
            assert!(n > 0 && result["received"] == n && result["rtt"]["count"] == n, "{name}: {result}");
            assert!(result["lost"] == 0 && result["unmatched"] == 0, "{name}: {result}");
            sent += n;
            report(&format!("bare-echo-{name}"), &text(&result));
        }
    }
    let counted = echo.stop();
    assert_eq!(counted["packets"], sent, "{counted}");
    wait_detached(&net);
}

#[test]
fn the_drop_counts_every_packet_and_leaves_other_ports_alone() {
    let Some(net) = net("bare-drop") else { return };
    let drop = Bare::start(&net, "bare_drop", &["-w", "poll"]).unwrap();
    let other = net.inside(Side::Pipeline, || UdpSocket::bind((net.v4(Side::Pipeline), PORT + 1)).unwrap()).unwrap();
    other.set_nonblocking(true).unwrap();
    let one_way = |port| generate(&net, port, &["-r", "10000", "-d", "0.3", "-x", "-w", "poll"]).unwrap();
    let (dropped, passed) = (one_way(PORT), one_way(PORT + 1));
    let mut buffer = [0; 2048];
    wait_until("a packet for another port", || other.recv(&mut buffer).is_ok());
    assert!(number(&passed["sent"]) > 0, "{passed}");
    let counted = drop.stop();
    assert_eq!(counted["packets"], dropped["sent"], "{counted} {dropped}");
}

#[test]
fn a_second_program_is_refused_and_the_first_goes_on() {
    let Some(net) = net("bare-second") else { return };
    let first = Bare::start(&net, "bare_echo", &["-w", "poll"]).unwrap();
    let refused = Bare::start(&net, "bare_drop", &["-w", "poll"]).unwrap_err();
    assert!(refused.contains("taken"), "{refused}");
    let result = generate(&net, PORT, &["-W", "1", "-d", "0.2", "-w", "poll"]).unwrap();
    assert!(number(&result["received"]) > 0 && result["lost"] == 0, "{result}");
    drop(first);
    wait_detached(&net);
}
