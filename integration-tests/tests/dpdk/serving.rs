//! The same answers as with every other driver, and nothing left when it stops.

use crate::{
    BUFFERS, Pmd, Wanted, both, came, client, files_of_the_library, judged, leftovers, started, two_ports,
    wrong_checksums,
};
use integration_tests::client::{Client, Frame, tensor, values};
use integration_tests::gate::number;
use integration_tests::netns::{Side, Switched};
use integration_tests::pipeline::{PATIENCE, Pipeline, folder};
use integration_tests::raw;
use integration_tests::traffic::{assert_right, steady, tensor_of};
use integration_tests::{report, root, shipped};
use serde_json::Value;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use wire::{BadRequestReason, Encoding, MacKey, Status};

/// Sends frames `ids` and expects the right answers, each once.
fn serve(client: &mut Client, ids: std::ops::Range<u64>) {
    let count = client.replies.len() + (ids.end - ids.start) as usize;
    // The client's kernel keeps only so many packets while it asks for a link address.
    client.send_tensor(ids.start, &tensor_of(ids.start));
    client.receive_until(count - (ids.end - ids.start) as usize + 1);
    let rest = ids.start + 1..ids.end;
    steady(client, rest, 1_000, |_| {});
    client.receive_until(count);
    for id in ids {
        assert_right(client, id);
        assert_eq!(client.replies[&id].len(), 1, "frame {id} is answered once");
    }
}

/// Nothing was lost on the way in or out, and every datagram was judged.
fn assert_nothing_lost(net: &Switched, pipeline: &Pipeline, datagrams: u64) -> Value {
    let ledger = pipeline.assert_whole();
    let packets = &ledger["packets"];
    let verdict = |name: &str| number(&packets[name]);
    let of_neighbours = verdict("link") + verdict("elsewhere") + verdict("link_limited");
    assert_eq!(judged(&ledger) - of_neighbours, datagrams, "{ledger}");
    // What came while the port started belongs to no datagram of the test's.
    assert!(judged(&ledger) <= came(net, pipeline, "rx-gateway", 0), "{ledger}");
    for counter in ["device_missed", "device_errors", "device_no_mbuf", "lost_in_device", "device_faults"] {
        assert_eq!(pipeline.counter("rx-gateway", counter), 0, "{counter}");
    }
    assert_eq!(pipeline.counter("tx", "send_errors"), 0);
    assert_eq!(pipeline.counter("tx", "sent_unconfirmed"), 0);
    ledger
}

/// What `ctl status` and `ctl ledger` say of the driver, in their texts too.
fn assert_shown(net: &Switched, pipeline: &Pipeline, pmd: Pmd) {
    let ingress = &pipeline.status()["ingress"];
    assert_eq!(ingress["driver"], "dpdk", "{ingress}");
    let (rx, tx) = (pmd.device(net.port(0)), pmd.device(net.port(1)));
    let copies = if pmd == Pmd::AfPacket { [1, 1] } else { [0, 1] };
    for (port, (process, device, copies)) in
        ingress["ports"].as_array().expect("ports").iter().zip([("rx-gateway", rx, copies[0]), ("tx", tx, copies[1])])
    {
        assert_eq!((&port["process"], &port["device"]), (&process.into(), &device.into()), "{port}");
        assert_eq!(port["driver_copies"], copies, "{port}");
    }
    for stage in ["rx-gateway", "tx"] {
        assert!(pipeline.counter(stage, "eal_init_us") > 0 && pipeline.counter(stage, "port_start_us") > 0, "{stage}");
    }
    let socket = pipeline.dir().join("control.sock");
    for (command, words) in [("status", &["dpdk", net.port(0), net.port(1), "copies"][..]), ("ledger", &["link"])] {
        let mut ctl = net.net().flumeway(Side::Pipeline, &["ctl", "--socket"]);
        let out = ctl.arg(&socket).arg(command).output().expect("run flumeway ctl");
        let text = String::from_utf8_lossy(&out.stdout);
        for word in words {
            assert!(text.contains(word), "ctl {command} does not show {word:?}:\n{text}");
        }
    }
}

fn stops_without_a_trace(net: &Switched, pipeline: Pipeline) {
    assert_eq!(files_of_the_library(), [] as [String; 0], "while it runs");
    let (code, last) = pipeline.stop();
    assert_eq!((code, leftovers(net)), (0, vec![]), "{last}");
}

fn small_frames(pmd: Pmd) {
    let Some(net) = two_ports("serving", pmd) else { return };
    let pipeline = Wanted::on(pmd).start(&net, "serving");
    let before = wrong_checksums(&net);
    for (stream, to) in both(&net).into_iter().enumerate() {
        serve(&mut client(&net, to, stream as u32), 0..300);
        // Tensors of one packet lie where infer reads them: aligned behind the headers of IPv4, which come first.
        let counted = ["copies", "tensors_in_place"].map(|c| pipeline.counter("preprocess.0", c));
        assert!(to.is_ipv6() || counted == [0, 300], "copies and tensors in place: {counted:?}");
    }
    assert_nothing_lost(&net, &pipeline, 600);
    assert_eq!(wrong_checksums(&net), before, "the client's kernel found checksums wrong");
    assert_shown(&net, &pipeline, pmd);
    stops_without_a_trace(&net, pipeline);
}

#[test]
fn small_frames_of_both_families_on_af_packet() {
    small_frames(Pmd::AfPacket);
}

#[test]
fn small_frames_of_both_families_on_af_xdp() {
    small_frames(Pmd::AfXdp);
}

/// Frames and replies of `elements`, one by one; (packets in, datagrams out).
fn large(pmd: Pmd, elements: usize, frames: u64) {
    let Some(net) = two_ports(&format!("large-{elements}"), pmd) else { return };
    let more = "[limits]\nmax_reply_bytes = 1000000\n";
    let pipeline =
        Wanted { elements: (elements, elements), more, ..Wanted::on(pmd) }.start(&net, &format!("large-{elements}"));
    let (before, mut packets) = (wrong_checksums(&net), 0);
    for (stream, to) in both(&net).into_iter().enumerate() {
        let mut client = client(&net, to, stream as u32);
        client.datagram = if to.is_ipv6() { 1452 } else { 1472 };
        // The client's kernel keeps only so many packets while it asks for a link address.
        assert!(raw::ping(net.net(), to, b"hello", PATIENCE));
        for id in 0..frames {
            let sent: Vec<f32> = (0..elements).map(|i| (id * 1000) as f32 + i as f32).collect();
            let frame = Frame { encoding: Encoding::TensorF32, width: 0, height: 0, bytes: &tensor(&sent) };
            for datagram in client.datagrams(id, &frame) {
                client.send_raw(&datagram);
                packets += 1;
            }
            client.receive_until(id as usize + 1);
            assert!(values(&client.answer(id).bytes) == sent, "frame {id}");
            assert_eq!(client.replies[&id].len(), 1);
        }
    }
    assert_nothing_lost(&net, &pipeline, packets);
    assert_eq!(wrong_checksums(&net), before);
    let out = pipeline.counter("tx", "datagrams");
    assert!(out >= packets, "replies take as many packets as requests: {out} and {packets}");
    report(&format!("dpdk-large-{elements}-{}", pmd.word()), &format!("{packets} packets in, {out} out\n"));
    assert_eq!(pipeline.stop().0, 0);
}

#[test]
fn frames_and_replies_of_several_packets() {
    for pmd in Pmd::ALL {
        large(pmd, 1_000, 40);
    }
}

#[test]
fn frames_and_replies_of_hundreds_of_packets() {
    for pmd in Pmd::ALL {
        large(pmd, 60_000, 3);
    }
}

/// Pictures of one packet and of many; the classes that the bundled network sees, by the driver's own way in.
fn classes(client: &mut Client) -> Vec<Vec<u8>> {
    // As much as a packet over IPv6 holds.
    client.datagram = 1452;
    for (id, (width, height)) in [(20_u16, 20_u16), (64, 48)].into_iter().enumerate() {
        let bytes: Vec<u8> = (0..usize::from(width) * usize::from(height) * 3).map(|n| (n * 7 % 251) as u8).collect();
        client.send(id as u64, &Frame { encoding: Encoding::Rgb8, width, height, bytes: &bytes });
        client.receive_until(id + 1);
        assert_eq!(client.answer(id as u64).status, Status::Ok);
    }
    (0..2).map(|id| client.answer(id).bytes.clone()).collect()
}

#[test]
fn pictures_get_the_answers_that_they_get_over_udp() {
    let models = root().join("models");
    let engine = format!(
        "[pipeline]\nprofile = \"small\"\n[arena]\nbuffers = {BUFFERS}\n[infer]\nengine = \"rten\"\nmodel = {:?}\n[post]\nlabels = {:?}\n",
        models.join("roadside.onnx"),
        models.join("roadside.labels")
    );
    let expected = {
        let udp = Pipeline::start("dpdk-pictures-udp", &engine);
        classes(&mut Client::new(udp.listen(), 1))
    };
    for pmd in Pmd::ALL {
        let Some(net) = two_ports("pictures", pmd) else { return };
        let text = format!("{engine}{}", Wanted::on(pmd).tables(&net));
        let pipeline = started(&net, &format!("dpdk-pictures-{}", pmd.word()), &text, &shipped());
        for (stream, to) in both(&net).into_iter().enumerate() {
            assert_eq!(classes(&mut client(&net, to, stream as u32)), expected, "{pmd:?} {to}");
        }
        assert_eq!(pipeline.counter("preprocess.0", "copies"), 0, "raw pixels are never only moved");
        pipeline.assert_whole();
    }
}

fn signed(pmd: Pmd, key: &str, stream_table: &str) {
    let Some(net) = two_ports("signed", pmd) else { return };
    let pipeline = Wanted { more: stream_table, ..Wanted::on(pmd) }.start(&net, "signed");
    let [v4, v6] = both(&net);
    let mut unsigned = client(&net, v4, 6);
    unsigned.session += 1;
    unsigned.send_tensor(1, &tensor_of(1));
    let of = |to: IpAddr| {
        let mut signed = client(&net, to, 6);
        signed.key = Some(MacKey::from_hex(key).unwrap());
        signed
    };
    for mut signed in [v4, v6].map(of) {
        serve(&mut signed, 0..100);
        signed.send_tensor(100, &[1.0; 3]);
        signed.receive_until(101);
        assert_eq!(signed.answer(100).status, Status::BadRequest(BadRequestReason::WrongSize));
    }
    assert_eq!(unsigned.receive(), 0, "what is not signed gets no answer");
    let ledger = assert_nothing_lost(&net, &pipeline, 203);
    assert_eq!((&ledger["packets"]["refused_mac"], &ledger["answered"]), (&1.into(), &200.into()), "{ledger}");
    assert_eq!(pipeline.counter("tx", "statuses"), 2);
}

#[test]
fn signed_streams_and_status_replies() {
    let dir = folder("dpdk-key");
    let (key, file) = ("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", dir.join("key"));
    std::fs::write(&file, key).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let table = format!("[[stream]]\nid = 6\nmac_key_file = {file:?}\n");
    for pmd in Pmd::ALL {
        signed(pmd, key, &table);
    }
    let _ = std::fs::remove_dir_all(dir);
}
