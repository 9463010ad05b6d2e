//! A pipeline on capture files, from the shipped binaries: every request of the input is answered once in the output, whoever is
//! killed meanwhile, and the pipeline ends by itself.

use integration_tests::client::{Client, Frame, tensor, values};
use integration_tests::pipeline::{Pipeline, folder, wait_until};
use integration_tests::traffic::{config, tensor_of};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use wire::packet::{self, Tag};
use wire::pcap::{FILE_HEADER_LEN, FileHeader, RECORD_HEADER_LEN, RecordHeader};
use wire::{Encoding, ReplyHeader, Status};

const FRAMES: u64 = 400;
const CAMERA: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Every third request carries this tag.
const VLAN: Tag = Tag::new(0x8100, 42);

/// A frame from the camera's port `port` to `to`.
fn frame(payload: &[u8], port: u16, to: &str, tag: Option<Tag>) -> Vec<u8> {
    let mut buffer = vec![0; 128 + payload.len()];
    buffer[128..].copy_from_slice(payload);
    let link = packet::Link { peer_mac: SERVER, local_mac: CAMERA, tags: [tag, None] };
    let from = format!("10.1.0.1:{port}").parse().expect("an address");
    let to = to.parse().expect("an address");
    let path = packet::Path { link, from, to, hops: 64, identification: 0 };
    let range: Range<usize> = packet::write_headers(&mut buffer, 128..128 + payload.len(), &path).expect("headers fit");
    buffer[range].to_vec()
}

/// Frame `id`'s requests, one a millisecond, and now and then a stranger's packet, which must be skipped.
fn capture(path: &Path) {
    let client = Client::new(([127, 0, 0, 1], 9).into(), 1);
    let header = FileHeader::new_ns();
    let mut file = header.to_bytes().to_vec();
    let mut push = |n: u64, frame: &[u8]| {
        let len = frame.len() as u32;
        let record = RecordHeader { time_ns: 1_000_000_000 + n * 1_000_000, captured_len: len, original_len: len };
        file.extend(record.to_bytes(&header).expect("a possible record"));
        file.extend(frame);
    };
    for id in 0..FRAMES {
        let bytes = tensor(&tensor_of(id));
        let datagrams =
            client.datagrams(id, &Frame { encoding: Encoding::TensorF32, width: 0, height: 0, bytes: &bytes });
        for datagram in datagrams {
            push(id, &frame(&datagram, 5000, "10.1.0.2:9000", (id % 3 == 0).then_some(VLAN)));
        }
        if id % 10 == 0 {
            push(id, &frame(b"for somebody else", 5000, "10.1.0.2:9001", None));
        }
    }
    std::fs::write(path, file).expect("write the capture");
}

/// How a frame was answered, with what, on which VLAN.
type Answer = (Status, Vec<f32>, Option<Tag>);

/// The replies in a capture, by frame, each as often as it stands there.
fn replies(path: &Path) -> BTreeMap<u64, Vec<Answer>> {
    let bytes = std::fs::read(path).expect("the output");
    let (head, mut rest) = bytes.split_first_chunk::<FILE_HEADER_LEN>().expect("a file header");
    let header = FileHeader::parse(head).expect("a file header");
    let mut found: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    while let Some((head, behind)) = rest.split_first_chunk::<RECORD_HEADER_LEN>() {
        let record = RecordHeader::parse(head, &header).expect("a record");
        let (frame, behind) = behind.split_at(record.captured_len as usize);
        rest = behind;
        let packet = packet::parse(frame).expect("a reply's headers");
        assert!(packet::verify_udp_checksum(frame, &packet), "its checksum");
        assert_eq!((packet.link.peer_mac, packet.link.local_mac), (SERVER, CAMERA), "from us to the camera");
        assert_eq!(
            (packet.source.to_string(), packet.destination.to_string()),
            ("10.1.0.2:9000".into(), "10.1.0.1:5000".into())
        );
        let reply = ReplyHeader::parse(&frame[packet.payload]).expect("a valid reply");
        let answer = (reply.header.status, values(reply.payload), packet.link.tags[0]);
        found.entry(reply.header.key.frame_id).or_default().push(answer);
    }
    assert!(rest.is_empty(), "half a record at the end");
    found
}

fn pipeline_of(dir: &Path, speed: &str, at_end: &str) -> String {
    let dir = dir.display();
    config(
        "null",
        &format!(
            "[ingress]\ndriver = \"replay\"\nlisten = \"10.1.0.2:9000\"\n[replay]\ninput = \"{dir}/in.pcap\"\n\
             output = \"{dir}/out.pcap\"\nspeed = {speed}\nat_end = \"{at_end}\"\n"
        ),
    )
}

fn assert_answered(dir: &Path) {
    let found = replies(&dir.join("out.pcap"));
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), (0..FRAMES).collect::<Vec<_>>());
    for (id, answers) in found {
        let tag = (id % 3 == 0).then_some(VLAN);
        assert_eq!(answers, [(Status::Ok, tensor_of(id).to_vec(), tag)], "frame {id}: once, right, on its VLAN");
    }
}

#[test]
fn a_capture_is_answered_and_the_pipeline_ends() {
    let dir = folder("replay");
    capture(&dir.join("in.pcap"));
    let path = dir.join("pipeline.toml");
    let supervisor = format!("[supervisor]\ncontrol_socket = \"{}/control.sock\"\n", dir.display());
    std::fs::write(&path, pipeline_of(&dir, "\"max\"", "stop") + &supervisor).expect("write the configuration");
    let flumeway = integration_tests::shipped().join("flumeway");
    let out = Command::new(flumeway).args(["run", "--json"]).arg(&path).output().expect("run flumeway");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let end: serde_json::Value = serde_json::from_slice(&out.stdout).expect("a line of JSON");
    assert_eq!(end["ledger"]["received"], FRAMES);
    assert_answered(&dir);
    std::fs::remove_dir_all(&dir).expect("remove the folder");
}

#[test]
fn both_ends_are_killed_and_each_reply_stands_there_once() {
    let dir = folder("replay-kills");
    capture(&dir.join("in.pcap"));
    let pipeline = Pipeline::start("replay-kills-run", &pipeline_of(&dir, "800", "wait"));
    let received = || pipeline.ledger()["received"].as_u64().unwrap_or(0);
    for round in 1..=8_u64 {
        wait_until("frames to come", || received() >= round * FRAMES / 10);
        pipeline.kill_9(if round % 2 == 0 { "tx" } else { "rx-gateway" });
    }
    wait_until("every frame to be answered", || pipeline.ledger()["answered"] == FRAMES);
    pipeline.assert_whole();
    let (code, _) = pipeline.stop();
    assert_eq!(code, 0);
    assert_answered(&dir);
    std::fs::remove_dir_all(&dir).expect("remove the folder");
}
