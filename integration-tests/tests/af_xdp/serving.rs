//! Frames in and replies out, over both families, small and large.

use crate::{PORT, SECOND, Wanted, add_second, client, filter, judged, wrong_checksums};
use integration_tests::client::{Client, values};
use integration_tests::netns::{Net, Options, Side};
use integration_tests::pipeline::{Pipeline, folder, wait_until};
use integration_tests::raw;
use integration_tests::report;
use integration_tests::traffic::{assert_right, steady, tensor_of};
use std::os::unix::fs::PermissionsExt;
use wire::{BadRequestReason, MacKey, Status};

/// Sends frames `ids` and expects the right answers.
fn serve(client: &mut Client, ids: std::ops::Range<u64>) {
    let count = client.replies.len() + (ids.end - ids.start) as usize;
    steady(client, ids.clone(), 2_000, |_| {});
    client.receive_until(count);
    for id in ids {
        assert_right(client, id);
        assert_eq!(client.replies[&id].len(), 1, "frame {id} is answered once");
    }
}

/// All packets came by the sockets of the interface, none was lost on the way in.
fn assert_all_redirected(pipeline: &Pipeline, packets: u64) {
    let ledger = pipeline.assert_whole();
    assert_eq!(filter(pipeline, "redirected"), packets);
    assert_eq!(filter(pipeline, "no_socket"), 0);
    assert_eq!(judged(&ledger), packets, "{ledger}");
    assert_eq!(pipeline.counter("rx-gateway", "kernel_dropped_packets"), 0);
    assert_eq!(pipeline.counter("tx", "send_errors"), 0);
}

#[test]
fn both_families_and_every_address_with_right_checksums() {
    let Some(net) = Net::or_skip("xdp-serving", Options::default()) else { return };
    add_second(&net, net.interface(Side::Traffic));
    let pipeline = Wanted::default().start(&net, "serving");
    let ingress = &pipeline.status()["ingress"];
    assert_eq!(ingress["driver"], "af_xdp", "{ingress}");
    let described = ingress["described"].as_str().unwrap();
    assert!(described.ends_with("queues [0] (native, copy)"), "{described}");
    assert!(ingress["not_taken"].to_string().contains("zero copy"), "{ingress}");
    let attached = net.attachments(Side::Pipeline);
    assert!(attached.len() == 1 && attached[0].is_native, "{attached:?}");

    let before = wrong_checksums(&net);
    let addresses = [net.v4(Side::Pipeline), net.v6(Side::Pipeline), SECOND];
    for (stream, to) in addresses.into_iter().enumerate() {
        serve(&mut client(&net, to, stream as u32), 0..200);
    }
    assert_all_redirected(&pipeline, 600);
    assert_eq!(wrong_checksums(&net), before, "the client's kernel found checksums wrong");
    // It would have told.
    raw::datagram(&net, Side::Pipeline, (net.v4(Side::Traffic), PORT), b"hello", false);
    wait_until("the kernel to count the wrong checksum", || wrong_checksums(&net) == before + 1);
    let (code, last) = pipeline.stop();
    assert_eq!((code, net.attachments(Side::Pipeline)), (0, vec![]), "{last}");
}

/// Frames and results of `elements`, in datagrams as large as the MTU lets them be.
fn large(label: &str, mtu: u32, elements: usize, frames: u64) {
    let Some(net) = Net::or_skip(&format!("xdp-{label}"), Options { mtu, ..Options::default() }) else { return };
    let wanted =
        Wanted { elements: (elements, elements), more: "[limits]\nmax_reply_bytes = 1000000\n", ..Wanted::default() };
    let pipeline = wanted.start(&net, label);
    let before = wrong_checksums(&net);
    let (mut packets, mut replies) = (0, 0);
    for (stream, to) in [net.v4(Side::Pipeline), net.v6(Side::Pipeline)].into_iter().enumerate() {
        let mut client = client(&net, to, stream as u32);
        client.datagram = (mtu as usize - if to.is_ipv6() { 48 } else { 28 }).min(3328);
        for id in 0..frames {
            let tensor: Vec<f32> = (0..elements).map(|i| (id * 1000) as f32 + i as f32).collect();
            let bytes = integration_tests::client::tensor(&tensor);
            let frame = integration_tests::client::Frame {
                encoding: wire::Encoding::TensorF32,
                width: 0,
                height: 0,
                bytes: &bytes,
            };
            let datagrams = client.datagrams(id, &frame);
            packets += datagrams.len() as u64;
            for datagram in &datagrams {
                client.send_raw(datagram);
            }
            client.receive_until(id as usize + 1);
            assert!(values(&client.answer(id).bytes) == tensor, "frame {id} of {label}");
        }
        replies += pipeline.counter("tx", "datagrams");
    }
    assert!(replies > 3 * frames, "each reply takes several packets");
    assert_all_redirected(&pipeline, packets);
    assert_eq!(wrong_checksums(&net), before);
    report(&format!("xdp-{label}"), &format!("{packets} packets in, {replies} out for {} frames\n", 2 * frames));
}

#[test]
fn frames_and_replies_of_hundreds_of_packets() {
    large("hundreds", 1500, 100_000, 4);
}

#[test]
fn jumbo_frames_in_and_out() {
    large("jumbo", 3506, 30_000, 10);
}

#[test]
fn signed_streams_and_status_replies() {
    let Some(net) = Net::or_skip("xdp-signed", Options::default()) else { return };
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let dir = folder("xdp-key");
    let file = dir.join("key");
    std::fs::write(&file, key).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let more = format!("[[stream]]\nid = 6\nmac_key_file = {file:?}\n");
    let pipeline = Wanted { more: &more, ..Wanted::default() }.start(&net, "signed");
    let (v4, v6) = (net.v4(Side::Pipeline), net.v6(Side::Pipeline));
    let mut unsigned = client(&net, v4, 6);
    unsigned.session += 1;
    unsigned.send_tensor(1, &tensor_of(1));
    for to in [v4, v6] {
        let mut signed = client(&net, to, 6);
        signed.key = Some(MacKey::from_hex(key).unwrap());
        serve(&mut signed, 0..100);
        signed.send_tensor(100, &[1.0; 3]);
        signed.receive_until(101);
        assert_eq!(signed.answer(100).status, Status::BadRequest(BadRequestReason::WrongSize));
    }
    assert_eq!(unsigned.receive(), 0, "what is not signed gets no answer");
    let ledger = pipeline.assert_whole();
    assert_eq!((&ledger["packets"]["refused_mac"], &ledger["answered"]), (&1.into(), &200.into()), "{ledger}");
    assert_eq!(pipeline.counter("tx", "statuses"), 2);
    let _ = std::fs::remove_dir_all(dir);
}

#[test]
fn generic_mode_serves_too() {
    let Some(net) = Net::or_skip("xdp-generic", Options::default()) else { return };
    let pipeline = Wanted { af_xdp: "mode = \"generic\"", ..Wanted::default() }.start(&net, "generic");
    let described = pipeline.status()["ingress"]["described"].to_string();
    assert!(described.contains("(generic, copy)"), "{described}");
    let attached = net.attachments(Side::Pipeline);
    assert!(attached.len() == 1 && !attached[0].is_native, "{attached:?}");
    let before = wrong_checksums(&net);
    serve(&mut client(&net, net.v4(Side::Pipeline), 1), 0..100);
    serve(&mut client(&net, net.v6(Side::Pipeline), 2), 0..100);
    assert_all_redirected(&pipeline, 200);
    assert_eq!(wrong_checksums(&net), before);
}

#[test]
fn busy_polling_and_rings_without_wakeup_serve_as_well() {
    let Some(net) = Net::or_skip("xdp-busy", Options::default()) else { return };
    for (name, af_xdp) in
        [("busy", "busy_poll_us = 20\nbusy_poll_budget = 8"), ("awake", "need_wakeup = false\nring_size = 64")]
    {
        let pipeline = Wanted { af_xdp, ..Wanted::default() }.start(&net, name);
        serve(&mut client(&net, net.v4(Side::Pipeline), 1), 0..200);
        assert_all_redirected(&pipeline, 200);
        assert_eq!(pipeline.stop().0, 0);
    }
}

#[test]
fn wrong_checksums_of_requests_are_found_where_that_is_wanted() {
    let Some(net) = Net::or_skip("xdp-checksums", Options::default()) else { return };
    let pipeline = Wanted { af_xdp: "verify_checksums = true", ..Wanted::default() }.start(&net, "checksums");
    let to = (net.v4(Side::Pipeline), PORT);
    let mut client = client(&net, to.0, 1);
    serve(&mut client, 0..20);
    for is_right in [false, true] {
        raw::datagram(&net, Side::Traffic, to, b"no frame", is_right);
    }
    wait_until("both to be judged", || judged(&pipeline.ledger()) == 22);
    let packets = &pipeline.assert_whole()["packets"];
    assert_eq!((&packets["bad_headers"], &packets["malformed"]), (&1.into(), &1.into()), "{packets}");
    assert_eq!(net.kernel_counter(Side::Pipeline, "Udp.InDatagrams"), 0, "the kernel's socket saw none of it");
}
