//! Files that cannot be used, what is passed over, speed, and the end.

use super::files::{Folder, capture, frame, frames, record};
use super::{Host, Options, ReplayRx, ReplayTx, RxOptions, Speed, free_buffers, inherit};
use arena::Me;
use arena::now_ns;
use arena::topology::RX;
use ports::conformance;
use ports::{PortError, RxPort, Standing};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const ME: Me = Me { id: RX, incarnation: 1 };
const S: u64 = 1_000_000_000;

fn local() -> SocketAddr {
    "10.0.0.1:9000".parse().expect("an address")
}

fn peer() -> SocketAddr {
    "10.0.0.2:4000".parse().expect("an address")
}

fn options(speed: Speed) -> RxOptions {
    RxOptions { speed, follow: false, listen: local(), burst: 64 }
}

/// Replays `records` to the end; returns each datagram with how long it took from the first on, and how far the host says it is.
fn replay(records: &[Vec<u8>], options: &RxOptions) -> (Vec<(Vec<u8>, Standing, Duration)>, ports::replay::Progress) {
    let folder = Folder::new();
    capture(&folder.path("in"), records);
    let host = Host::open(&Options { input: &folder.path("in"), output: &folder.path("out") }).expect("two files");
    let arena = conformance::arena();
    let mut port = ReplayRx::attach(inherit(host.rx_descriptors()), options, &arena, ME).expect("the descriptors");
    let mut free = free_buffers(&arena, ME, 64);
    let (mut seen, mut start) = (Vec::new(), None);
    while !host.is_finished() {
        port.offer(&arena, &mut free);
        let mut out = Vec::with_capacity(64);
        port.receive(&mut out, 64).expect("the driver receives");
        for packet in out {
            assert!(!host.is_finished(), "finished with packets that are not recorded");
            let passed = start.get_or_insert_with(Instant::now).elapsed();
            let (from, len) = (usize::from(packet.data.offset), usize::from(packet.data.len));
            seen.push((arena.packet(&packet.held)[from..from + len].to_vec(), packet.standing, passed));
            port.recorded(packet.position);
            free.push(packet.held);
        }
    }
    port.withdraw(&mut free).expect("the port gives them back");
    for held in free {
        let _ = held.release();
    }
    (seen, host.progress())
}

fn fails(input: &Path, output: &Path) -> PortError {
    Host::open(&Options { input, output }).expect_err("a file that cannot be used")
}

#[test]
fn files_that_cannot_be_used_say_what_to_do() {
    let folder = Folder::new();
    let path = |name: &str| folder.path(name);
    capture(&path("good"), &[]);
    std::fs::write(path("short"), b"1234").expect("a file");
    std::fs::write(path("text"), [b'x'; 100]).expect("a file");
    std::fs::write(path("kept"), b"precious").expect("a file");
    std::fs::hard_link(path("good"), path("link")).expect("a link");
    for (input, output, said) in [
        ("missing", "kept", "[replay] input"),
        ("short", "kept", "4 bytes"),
        ("text", "kept", "editcap"),
        (".", "kept", "[replay] input"),
        ("good", "missing/out", "[replay] output"),
        ("good", "link", "is the input"),
    ] {
        let text = fails(&path(input), &path(output)).to_string();
        assert!(text.contains(said), "{input} {output}: {text}");
    }
    let text = fails(&path("good"), Path::new("/dev/null")).to_string();
    assert!(text.contains("no ordinary file"), "{text}");
    assert_eq!(std::fs::read(path("kept")).expect("a file"), b"precious", "nothing was written");
    assert_eq!(std::fs::metadata(path("good")).expect("a file").len(), 24, "the input is untouched");
}

#[test]
fn frames_for_others_are_passed_over_and_counted() {
    let other: SocketAddr = "10.0.0.9:9000".parse().expect("an address");
    let another_port: SocketAddr = "10.0.0.1:9001".parse().expect("an address");
    let mut fragment = frame(peer(), local(), b"part");
    fragment[18 + 6] = 0x20; // more fragments follow
    fragment[18 + 10..18 + 12].fill(0);
    let sum = packet_checksum(&fragment[18..38]);
    fragment[18 + 10..18 + 12].copy_from_slice(&sum.to_be_bytes());
    let mut arp = vec![0; 60];
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let records = [
        record(S, &frame(peer(), other, b"not ours")),
        record(S, &frame(peer(), local(), b"one")),
        record(S, &arp),
        record(S, &fragment),
        record(S, &frame(peer(), another_port, b"not ours")),
        record(S, &vec![0; 4000]),
        record(S, &frame(peer(), local(), b"two")[..48]),
        record(S, &frame(peer(), local(), b"three")),
        record(S, &arp),
    ];
    let (seen, progress) = replay(&records, &options(Speed::Max));
    let seen: Vec<_> = seen.iter().map(|(bytes, standing, _)| (bytes.as_slice(), *standing)).collect();
    let expected = [
        (&b"one"[..], Standing::Unfiltered),
        (b"", Standing::Fragment),
        (b"", Standing::Malformed),
        (b"three", Standing::Unfiltered),
    ];
    assert_eq!(seen, expected);
    assert_eq!((progress.packets, progress.skipped, progress.dropped, progress.damaged_at), (4, 4, 1, None));
    let any = RxOptions { listen: "0.0.0.0:0".parse().expect("an address"), ..options(Speed::Max) };
    assert_eq!(replay(&records, &any).1.skipped, 2, "every address and port");
    let v6 = RxOptions { listen: "[::1]:9000".parse().expect("an address"), ..options(Speed::Max) };
    assert_eq!(replay(&records, &v6).1.skipped, 6, "none of them");
}

/// RFC 1071.
fn packet_checksum(header: &[u8]) -> u16 {
    wire::packet::internet_checksum(header)
}

#[test]
fn what_makes_no_sense_ends_the_input() {
    let good = record(S, &frame(peer(), local(), b"good"));
    let mut wrong = good.clone();
    wrong[4..8].fill(0xff); // a fraction of more than a second
    let at = Some(24 + good.len() as u64);
    for second in [wrong, good[..good.len() - 1].to_vec(), good[..10].to_vec()] {
        let (seen, progress) = replay(&[good.clone(), second], &options(Speed::Max));
        assert_eq!((seen.len(), progress.damaged_at), (1, at));
    }
}

#[test]
fn packets_come_when_they_are_due() {
    let datagram = frame(peer(), local(), b"tick");
    let records: Vec<_> = (0..4).map(|n| record(S + n * 30_000_000, &datagram)).collect();
    let ms = |options| -> Vec<u128> {
        replay(&records, &options).0.iter().map(|(_, _, passed)| passed.as_millis()).collect()
    };
    let early = |is: &[u128], due: [u128; 4]| is.iter().zip(due).any(|(is, due)| *is + 1 < due);
    let recorded = ms(options(Speed::Recorded));
    assert!(!early(&recorded, [0, 30, 60, 90]), "{recorded:?}");
    let even = ms(options(Speed::PerSecond(20)));
    assert!(!early(&even, [0, 50, 100, 150]), "{even:?}");
    let max = ms(options(Speed::Max));
    assert!(max[3] < 90, "{max:?}");
}

#[test]
fn the_port_sleeps_until_a_packet_is_due() {
    use rustix::event::{PollFd, PollFlags, poll};
    let folder = Folder::new();
    let datagram = frame(peer(), local(), b"tick");
    capture(&folder.path("in"), &[record(S, &datagram), record(S + 50_000_000, &datagram)]);
    let host = Host::open(&Options { input: &folder.path("in"), output: &folder.path("out") }).expect("two files");
    let arena = conformance::arena();
    let fds = inherit(host.rx_descriptors());
    let mut port = ReplayRx::attach(fds, &options(Speed::Recorded), &arena, ME).expect("the descriptors");
    let mut free = free_buffers(&arena, ME, 4);
    port.offer(&arena, &mut free);
    let began_ns = now_ns();
    for due_ms in [0, 45] {
        poll(&mut [PollFd::from_borrowed_fd(port.readable(), PollFlags::IN)], None).expect("poll");
        assert!(now_ns() - began_ns >= due_ms * 1_000_000, "too early");
        let mut out = Vec::with_capacity(4);
        assert_eq!(port.receive(&mut out, 4).expect("the driver receives"), 1);
        for packet in out {
            port.recorded(packet.position);
            free.push(packet.held);
        }
    }
    port.withdraw(&mut free).expect("the port gives them back");
    for held in free {
        let _ = held.release();
    }
}

#[test]
fn what_was_written_and_not_committed_is_cut_off() {
    let folder = Folder::new();
    capture(&folder.path("in"), &[]);
    let host = Host::open(&Options { input: &folder.path("in"), output: &folder.path("out") }).expect("two files");
    let torn = || std::fs::OpenOptions::new().append(true).open(folder.path("out")).expect("the output");
    std::io::Write::write_all(&mut torn(), &[7; 100]).expect("the output");
    drop(ReplayTx::attach(inherit(host.tx_descriptors())).expect("the descriptors"));
    assert_eq!(frames(&folder.path("out")), []);
    std::io::Write::write_all(&mut torn(), &[7; 100]).expect("the output");
    host.close().expect("the output");
    assert_eq!(frames(&folder.path("out")), []);
}

#[test]
fn descriptors_of_another_release_are_refused() {
    let folder = Folder::new();
    capture(&folder.path("in"), &[]);
    let host = Host::open(&Options { input: &folder.path("in"), output: &folder.path("out") }).expect("two files");
    let mut two = inherit(host.tx_descriptors());
    two.pop();
    assert!(matches!(ReplayTx::attach(two), Err(PortError::Descriptors { is: 2, want: 3 })));
    let [input, changes, cursors] = host.rx_descriptors();
    let swapped = inherit([cursors, changes, input]);
    let error = ReplayRx::attach(swapped, &options(Speed::Max), &conformance::arena(), ME).expect_err("a file");
    assert!(matches!(error, PortError::Region(_)), "{error:?}");
}
