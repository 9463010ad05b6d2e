//! Captures that a test writes and reads.

use arena::meta::Link;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use wire::packet::{self, DEFAULT_HOPS, Tag};
use wire::pcap::{FILE_HEADER_LEN, FileHeader, RECORD_HEADER_LEN, RecordHeader};

/// How replies go out; requests come by the same link, tagged.
pub const LINK: Link =
    Link { peer_mac: [2, 0, 0, 0, 0, 2], local_mac: [2, 0, 0, 0, 0, 1], tags: [0x8100_0007, 0], queue: 0 };

/// A folder that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: std::sync::Mutex<u32> = std::sync::Mutex::new(0);
        let mut next = NEXT.lock().expect("no test panics here");
        *next += 1;
        let path = std::env::temp_dir().join(format!("flumeway-replay-{}-{next}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A frame by [`LINK`], from the one to the other.
pub fn frame(from: SocketAddr, to: SocketAddr, datagram: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0; 128 + datagram.len()];
    buffer[128..].copy_from_slice(datagram);
    let tag = Some(Tag::new(0x8100, 7));
    let link = packet::Link { peer_mac: LINK.local_mac, local_mac: LINK.peer_mac, tags: [tag, None] };
    let path = packet::Path { link, from, to, hops: DEFAULT_HOPS, identification: 0 };
    let range = packet::write_headers(&mut buffer, 128..128 + datagram.len(), &path).expect("headers");
    buffer[range].to_vec()
}

/// A record with its frame.
pub fn record(time_ns: u64, frame: &[u8]) -> Vec<u8> {
    let len = frame.len() as u32;
    let header = RecordHeader { time_ns, captured_len: len, original_len: len };
    [&header.to_bytes(&FileHeader::new_ns()).expect("a record")[..], frame].concat()
}

/// A new capture with these records.
pub fn capture(path: &Path, records: &[Vec<u8>]) {
    std::fs::write(path, [&FileHeader::new_ns().to_bytes()[..], &records.concat()].concat()).expect("a capture");
}

/// The frames of a capture, and their times; the whole of it must make sense.
pub fn frames(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let bytes = std::fs::read(path).expect("the capture");
    let header = FileHeader::parse(bytes.first_chunk().expect("a header")).expect("a header");
    let (mut at, mut found) = (FILE_HEADER_LEN, Vec::new());
    while at < bytes.len() {
        let record = RecordHeader::parse(bytes[at..].first_chunk().expect("a header"), &header).expect("a record");
        let from = at + RECORD_HEADER_LEN;
        at = from + record.captured_len as usize;
        found.push((record.time_ns, bytes[from..at].to_vec()));
    }
    found
}

/// Somebody who appends requests and reads replies.
pub struct Traffic {
    pub local: SocketAddr,
    pub peer: SocketAddr,
    input: (File, u64),
    output: (PathBuf, u64),
}

impl Traffic {
    pub fn new(folder: &Folder, local: SocketAddr, peer: SocketAddr) -> Self {
        let path = folder.path("in.pcap");
        capture(&path, &[]);
        let input = File::options().write(true).open(&path).expect("the input");
        let output = (folder.path("out.pcap"), FILE_HEADER_LEN as u64);
        Self { local, peer, input: (input, FILE_HEADER_LEN as u64), output }
    }

    pub fn send(&mut self, datagram: &[u8]) {
        let (file, at) = &mut self.input;
        let record = record(1_700_000_000_000_000_000 + *at, &frame(self.peer, self.local, datagram));
        file.write_all_at(&record, *at).expect("the input");
        *at += record.len() as u64;
    }

    /// The next reply before `end`: its datagram, and where it comes from.
    pub fn receive(&mut self, end: u64) -> Option<(Vec<u8>, SocketAddr)> {
        let (path, at) = &mut self.output;
        if *at >= end {
            return None;
        }
        let file = File::open(path).expect("the output");
        let mut bytes = [0; RECORD_HEADER_LEN];
        file.read_exact_at(&mut bytes, *at).expect("a record");
        let record = RecordHeader::parse(&bytes, &FileHeader::new_ns()).expect("a record");
        let mut frame = vec![0; record.captured_len as usize];
        file.read_exact_at(&mut frame, *at + RECORD_HEADER_LEN as u64).expect("a frame");
        *at += (RECORD_HEADER_LEN + frame.len()) as u64;
        let packet = packet::parse(&frame).expect("a datagram");
        assert!(packet::verify_udp_checksum(&frame, &packet));
        assert_eq!((packet.link.peer_mac, packet.link.local_mac), (LINK.local_mac, LINK.peer_mac));
        assert_eq!(packet.link.tags[0], Some(Tag::new(0x8100, 7)), "replies keep the VLAN");
        assert_eq!(SocketAddr::from(packet.destination), self.peer);
        Some((frame[packet.payload].to_vec(), packet.source.into()))
    }
}
