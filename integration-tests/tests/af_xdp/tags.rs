//! VLAN tags, on frames written whole: the machine needs no VLAN interface, and each tag is seen as it lies on the link.

use crate::access::hits;
use crate::{PORT, Wanted, client, filter};
use integration_tests::client::{Frame, tensor, values};
use integration_tests::netns::{Net, Options, Side};
use integration_tests::pipeline::{PATIENCE, Pipeline, wait_until};
use integration_tests::traffic::tensor_of;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use wire::packet::{self, DEFAULT_HOPS, Link, Path, Tag, UdpPacket};
use wire::{Encoding, ReplyHeader, Status};

/// Nobody's address but the sender's of these frames: the kernel does not know it, so no reply goes by what the kernel knows.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0x7a, 0x91];
const SENDERS_PORT: u16 = 4_000;

type Tags = [Option<Tag>; 2];

const NONE: Tags = [None; 2];
const SEVEN: Tags = [Some(customer(7)), None];
const EIGHT: Tags = [Some(customer(8)), None];
/// VLAN 7, priority 5, drop eligible.
const URGENT: Tags = [Some(customer(0xb007)), None];
/// A priority alone, and no VLAN.
const PRIORITY: Tags = [Some(customer(0xe000)), None];
const SEVEN_IN_FIVE: Tags = [Some(service(5)), Some(customer(7))];
const FIVE_IN_SEVEN: Tags = [Some(service(7)), Some(customer(5))];

const fn customer(tci: u16) -> Tag {
    Tag::new(0x8100, tci)
}

const fn service(tci: u16) -> Tag {
    Tag::new(0x88a8, tci)
}

/// The traffic side's end of the link, frame by frame.
struct Wire {
    child: Child,
    to: ChildStdin,
    from: Receiver<String>,
    pipelines_mac: [u8; 6],
}

impl Wire {
    fn open(net: &Net) -> Self {
        let script = integration_tests::root().join("integration-tests/tests/af_xdp/link.py");
        let mut command = net.command_in(Side::Traffic, "python3");
        command.arg(script).arg(net.interface(Side::Traffic)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("ip netns exec python3");
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (lines, received) = mpsc::channel();
        std::thread::spawn(move || BufReader::new(from).lines().map_while(Result::ok).try_for_each(|l| lines.send(l)));
        let ready =
            received.recv_timeout(PATIENCE).expect("python3 runs (Debian package python3-minimal: `make deps`)");
        assert_eq!(ready, "ready");
        let mac = bytes_of(&net.mac(Side::Pipeline).replace(':', ""));
        Self { child, to, from: received, pipelines_mac: mac.try_into().expect("six bytes") }
    }

    fn send(&mut self, frame: &[u8]) {
        for byte in frame {
            write!(self.to, "{byte:02x}").expect("the script reads");
        }
        writeln!(self.to).expect("the script reads");
    }

    /// The next frame to [`SENDER`]; other traffic of the link is passed over.
    fn receive(&self) -> (Vec<u8>, UdpPacket) {
        loop {
            let line = self.from.recv_timeout(PATIENCE).expect("a frame in time");
            let frame = bytes_of(&line);
            if frame.get(..6) == Some(&SENDER[..]) {
                let packet = packet::parse(&frame).unwrap_or_else(|e| panic!("{line}: {e}"));
                return (frame, packet);
            }
        }
    }

    /// Sends one request in a frame with these tags.
    fn request(&mut self, net: &Net, way: (IpAddr, IpAddr), tags: Tags, id: u64) {
        // It gives the datagram, and sends nothing itself.
        let client = client(net, way.1, 1);
        let bytes = tensor(&tensor_of(id));
        let frame = Frame { encoding: Encoding::TensorF32, width: 0, height: 0, bytes: &bytes };
        let datagram = client.datagrams(id, &frame).remove(0);
        let link = Link { peer_mac: self.pipelines_mac, local_mac: SENDER, tags };
        let (from, to) = (SocketAddr::new(way.0, SENDERS_PORT), SocketAddr::new(way.1, PORT));
        let path = Path { link, from, to, hops: DEFAULT_HOPS, identification: 0 };
        let mut buffer = vec![0; packet::MAX_HEADER_LEN];
        buffer.extend_from_slice(&datagram);
        let payload = packet::MAX_HEADER_LEN..buffer.len();
        let at = packet::write_headers(&mut buffer, payload, &path).expect("a frame");
        self.send(&buffer[at]);
    }

    /// Takes a reply, which must be right in every header; which frame it answers.
    fn reply(&self, way: (IpAddr, IpAddr), tags: Tags) -> u64 {
        let (frame, packet) = self.receive();
        assert_eq!(packet.link, Link { peer_mac: self.pipelines_mac, local_mac: SENDER, tags });
        let (from, to) = (SocketAddr::new(way.1, PORT), SocketAddr::new(way.0, SENDERS_PORT));
        assert_eq!((packet.source, packet.destination), (from.into(), to.into()));
        let sum = &frame[packet.payload.start - 2..packet.payload.start];
        assert!(sum != [0, 0] && packet::verify_udp_checksum(&frame, &packet), "{frame:02x?}");
        let reply = ReplyHeader::parse(&frame[packet.payload]).expect("a reply");
        let id = reply.header.key.frame_id;
        assert_eq!((reply.header.status, values(reply.payload)), (Status::Ok, tensor_of(id).to_vec()));
        id
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap_or_else(|e| panic!("{hexadecimal}: {e}"));
    (0..hexadecimal.len()).step_by(2).map(byte).collect()
}

fn ways(net: &Net) -> [(IpAddr, IpAddr); 2] {
    [(net.v4(Side::Traffic), net.v4(Side::Pipeline)), (net.v6(Side::Traffic), net.v6(Side::Pipeline))]
}

fn kept(mode: &str, all: &[Tags]) {
    let Some(net) = Net::or_skip(&format!("xdp-tags-{mode}"), Options::default()) else { return };
    let af_xdp = format!("mode = \"{mode}\"");
    let pipeline = Wanted { af_xdp: &af_xdp, ..Wanted::default() }.start(&net, &format!("tags-{mode}"));
    let (mut wire, mut id) = (Wire::open(&net), 0);
    for way in ways(&net) {
        for &tags in all {
            for _ in 0..10 {
                wire.request(&net, way, tags, id);
                assert_eq!(wire.reply(way, tags), id, "{tags:?}");
                id += 1;
            }
        }
    }
    let ledger = pipeline.assert_whole();
    assert_eq!((filter(&pipeline, "redirected"), &ledger["answered"]), (id, &id.into()), "{ledger}");
    assert_eq!(pipeline.counter("tx", "send_errors"), 0);
    for counter in ["Udp.InDatagrams", "Udp.OutDatagrams", "Udp6InDatagrams", "Udp6OutDatagrams"] {
        assert_eq!(net.kernel_counter(Side::Pipeline, counter), 0, "{counter}: the kernel's socket had a part in it");
    }
}

#[test]
fn tags_are_kept() {
    kept("native", &[NONE, SEVEN, URGENT, PRIORITY, SEVEN_IN_FIVE, FIVE_IN_SEVEN]);
}

#[test]
fn tags_are_kept_behind_the_driver_too() {
    kept("generic", &[NONE, SEVEN, URGENT, SEVEN_IN_FIVE]);
}

/// Ten frames of each, of both families: those of `served` are answered, those of `denied` are not.
fn judge(label: &str, rule: &str, served: &[Tags], denied: &[Tags]) {
    let Some(net) = Net::or_skip(&format!("xdp-{label}"), Options::default()) else { return };
    let list = format!("[[ingress.acl]]\naction = \"deny\"\n{rule}\n");
    let pipeline: Pipeline = Wanted { ingress: &list, ..Wanted::default() }.start(&net, label);
    let (mut wire, mut id) = (Wire::open(&net), 0);
    let of = |all: &[Tags]| 20 * all.len() as u64;
    for way in ways(&net) {
        for _ in 0..10 {
            for tags in denied {
                wire.request(&net, way, *tags, u64::MAX);
            }
            for &tags in served {
                wire.request(&net, way, tags, id);
                // The link keeps the order: a denied frame that was answered all the same comes first.
                assert_eq!(wire.reply(way, tags), id, "{rule} {tags:?}");
                id += 1;
            }
        }
    }
    wait_until("the rule to be counted", || hits(&net, &pipeline).0 == [of(denied)]);
    let ledger = pipeline.assert_whole();
    assert_eq!((id, &ledger["answered"]), (of(served), &id.into()), "{ledger}");
    assert_eq!((filter(&pipeline, "denied"), filter(&pipeline, "redirected")), (of(denied), id), "{rule}");
}

#[test]
fn a_rule_names_the_outer_vlan() {
    judge("vlan-7", "vlan = 7", &[NONE, EIGHT, PRIORITY, SEVEN_IN_FIVE], &[SEVEN, URGENT, FIVE_IN_SEVEN]);
}

#[test]
fn a_rule_names_what_is_in_no_vlan() {
    judge("vlan-0", "vlan = 0", &[SEVEN, URGENT, SEVEN_IN_FIVE, FIVE_IN_SEVEN], &[NONE, PRIORITY]);
}
