//! What `[dpdk]` sets of a port is in effect: whose frames are taken in, whose checksums are believed, how long packets are.

use crate::{PORT, Pmd, Wanted, both, client, started, two_ports};
use integration_tests::client::{Client, Frame, tensor, values};
use integration_tests::gate::number;
use integration_tests::netns::{SWITCH, Side, Switched};
use integration_tests::pipeline::{PATIENCE, Pipeline, wait_until};
use integration_tests::traffic::{assert_right, tensor_of};
use integration_tests::{raw, shipped};
use std::net::{IpAddr, SocketAddr};
use wire::Encoding;
use wire::packet::{DEFAULT_HOPS, Link, MAX_HEADER_LEN, write_headers};

/// A hardware address that no station has.
const NOBODY: [u8; 6] = [2, 0, 0, 0, 0x7a, 0x92];
/// One frame, hexadecimal, by an interface.
const SEND: &str = "import socket, sys
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind((sys.argv[1], 0))
link.send(bytes.fromhex(sys.argv[2]))";

fn verdict(pipeline: &Pipeline, name: &str) -> u64 {
    number(&pipeline.ledger()["packets"][name])
}

/// A frame's one datagram.
fn datagram(client: &Client, id: u64) -> Vec<u8> {
    let bytes = tensor(&tensor_of(id));
    client.datagrams(id, &Frame { encoding: Encoding::TensorF32, width: 0, height: 0, bytes: &bytes }).remove(0)
}

/// Sends a request's datagram to a hardware address that is nobody's: the switch does not know it, so it reaches every port. All
/// else is as the client's kernel would write it.
fn send_astray(net: &Switched, from: &Client, to: IpAddr, datagram: &[u8]) {
    let path = format!("/sys/class/net/{SWITCH}/address");
    let out = net.net().command_in(Side::Traffic, "cat").arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let bytes: Vec<u8> = text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a byte")).collect();
    let link = Link { peer_mac: NOBODY, local_mac: bytes.try_into().expect("six bytes"), tags: [None; 2] };
    let from = SocketAddr::new(net.net().v4(Side::Traffic), from.addr().port());
    let path = wire::packet::Path { link, from, to: SocketAddr::new(to, PORT), hops: DEFAULT_HOPS, identification: 0 };
    let mut buffer = vec![0; MAX_HEADER_LEN];
    buffer.extend_from_slice(datagram);
    let payload = MAX_HEADER_LEN..buffer.len();
    let at = write_headers(&mut buffer, payload, &path).expect("a frame");
    let frame = buffer[at].iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let mut python = net.net().command_in(Side::Traffic, "python3");
    let sent = python.args(["-c", SEND, SWITCH, &frame]).status().expect("python3 (Debian package python3-minimal)");
    assert!(sent.success(), "python3: {sent}");
}

fn hardware_addresses(pmd: Pmd) {
    let Some(net) = two_ports("promiscuous", pmd) else { return };
    let [to, _] = both(&net);
    for is_promiscuous in [false, true] {
        net.forget_neighbours();
        let dpdk = format!("promiscuous = {is_promiscuous}");
        let pipeline = Wanted { dpdk: &dpdk, ..Wanted::on(pmd) }.start(&net, &format!("promiscuous-{is_promiscuous}"));
        assert!(raw::ping(net.net(), to, b"hello", PATIENCE));
        let mut client = client(&net, to, 1);
        client.send_tensor(0, &tensor_of(0));
        client.receive_until(1);
        let elsewhere = verdict(&pipeline, "elsewhere");
        send_astray(&net, &client, to, &datagram(&client, 1));
        if is_promiscuous {
            client.receive_until(2);
            assert_right(&client, 1);
        } else {
            wait_until("the frame to be judged", || verdict(&pipeline, "elsewhere") > elsewhere);
            assert_eq!(verdict(&pipeline, "fragment"), 1, "a frame for another station is no request");
        }
        client.send_tensor(2, &tensor_of(2));
        client.receive_until(2 + usize::from(is_promiscuous));
        assert_right(&client, 2);
        let ledger = pipeline.assert_whole();
        assert_eq!(ledger["answered"], 2 + u64::from(is_promiscuous), "{ledger}");
        assert_eq!(pipeline.stop().0, 0);
    }
}

#[test]
fn frames_to_other_hardware_addresses_are_elsewhere_unless_promiscuous() {
    Pmd::ALL.into_iter().for_each(hardware_addresses);
}

fn checksums(pmd: Pmd) {
    let Some(net) = two_ports("checksums", pmd) else { return };
    let [to, _] = both(&net);
    for verifies in [false, true] {
        net.forget_neighbours();
        let dpdk = format!("verify_checksums = {verifies}");
        let pipeline = Wanted { dpdk: &dpdk, ..Wanted::on(pmd) }.start(&net, &format!("checksums-{verifies}"));
        assert!(raw::ping(net.net(), to, b"hello", PATIENCE));
        let asks = client(&net, to, 1);
        for (id, is_right) in [(0, true), (1, false)] {
            raw::datagram(net.net(), Side::Traffic, (to, PORT), &datagram(&asks, id), is_right);
        }
        // A damaged checksum is a damaged header: that of UDP, not Flumeway's own.
        let refused = u64::from(verifies);
        wait_until("both to be judged", || verdict(&pipeline, "fragment") + verdict(&pipeline, "bad_headers") == 2);
        let ledger = pipeline.assert_whole();
        assert_eq!((&ledger["packets"]["bad_headers"], &ledger["received"]), (&refused.into(), &(2 - refused).into()));
        assert_eq!(pipeline.stop().0, 0);
    }
}

#[test]
fn damaged_udp_checksums_are_refused_where_they_are_verified() {
    Pmd::ALL.into_iter().for_each(checksums);
}

/// Elements of frames and results of several packets.
const LONG: usize = 1_000;

/// Datagrams of a reply; what the interfaces of the ports say their MTU is.
fn with_mtu(pmd: Pmd, net: &Switched, mtu: Option<u32>) -> (u64, [u32; 2]) {
    net.forget_neighbours();
    let dpdk = mtu.map(|mtu| format!("mtu = {mtu}")).unwrap_or_default();
    let wanted =
        Wanted { dpdk: &dpdk, elements: (LONG, LONG), more: "[limits]\nmax_reply_bytes = 100000\n", ..Wanted::on(pmd) };
    let pipeline = started(net, &format!("dpdk-mtu-{}", pmd.word()), &wanted.text(net), &shipped());
    let [to, _] = both(net);
    assert!(raw::ping(net.net(), to, b"hello", PATIENCE));
    let mut client = client(net, to, 1);
    client.datagram = mtu.map_or(1_500, |mtu| mtu as usize) - 28;
    let sent: Vec<f32> = (0..LONG).map(|i| i as f32).collect();
    client.send(0, &Frame { encoding: Encoding::TensorF32, width: 0, height: 0, bytes: &tensor(&sent) });
    client.receive_until(1);
    assert_eq!(values(&client.answer(0).bytes), sent);
    pipeline.assert_whole();
    let datagrams = pipeline.counter("tx", "datagrams");
    let interfaces = [0, 1].map(|n| {
        let path = format!("/sys/class/net/{}/mtu", net.port(n));
        let out = net.net().command_in(Side::Pipeline, "cat").arg(path).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim().parse().expect("a number")
    });
    assert_eq!(pipeline.stop().0, 0);
    (datagrams, interfaces)
}

#[test]
fn the_mtu_that_is_set_is_in_effect() {
    for pmd in Pmd::ALL {
        let Some(net) = two_ports("mtu", pmd) else { return };
        // 4 000 bytes and a header in each, of datagrams of 1 472 and of 972.
        assert_eq!(with_mtu(pmd, &net, None), (3, [1_500; 2]), "{pmd:?}");
        assert_eq!(with_mtu(pmd, &net, Some(1_000)), (5, [1_000; 2]), "{pmd:?}");
    }
}
