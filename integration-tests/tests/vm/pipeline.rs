//! The pipeline on PCI devices: neighbours learn its addresses from itself, frames are answered, and kill -9 of the stages that
//! drive the devices costs the frames of the gap and nothing else.

use crate::guest::{Guest, PATIENCE};
use integration_tests::client::Client;
use integration_tests::netns::{Taps, skipped};
use integration_tests::report;
use integration_tests::traffic::{self, assert_right, steady};
use integration_tests::vm::{MACS, Machine, RX, TX};
use serde_json::Value;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

const PORT: u16 = 9000;
/// The pipeline's host number in the addresses of the namespace.
const HOST: u8 = 1;
/// Frames a second: software emulation, and others on the machine.
const RATE: u32 = 100;
/// Times are noted outside the machine; what happens inside is seen a little later or earlier.
const SLACK: Duration = Duration::from_millis(500);

pub fn config(taps: &Taps) -> String {
    let dpdk = format!(
        "[ingress]\ndriver = \"dpdk\"\nlisten = \"[::]:{PORT}\"\n\
         [dpdk]\nrx = [\"{RX}\"]\ntx = \"{TX}\"\naddresses = [\"{}\", \"{}\"]\nrx_descriptors = 512\ntx_descriptors = 512\n",
        taps.v4(HOST),
        taps.v6(HOST)
    );
    traffic::config("null", &dpdk)
}

/// Whether the stages have DPDK; says so aloud if not.
pub fn is_built_in(label: &str) -> bool {
    let rx_gateway = integration_tests::shipped().join("flumeway-rx-gateway");
    let output = Command::new(rx_gateway).arg("--drivers").output().expect("run rx-gateway");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if told["dpdk"].is_null() {
        skipped(label, "the stages are built without DPDK: make build with libdpdk-dev (Debian) builds it in");
    }
    !told["dpdk"].is_null()
}

fn client(taps: &Taps, to: IpAddr, stream: u32) -> Client {
    let to = SocketAddr::new(to, PORT);
    let any: SocketAddr = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }.parse().unwrap();
    let socket = taps.inside(|| UdpSocket::bind(any)).flatten().expect("a socket in the namespace");
    Client::with_socket(socket, to, stream)
}

/// Frames that the shipped client sends are all answered.
pub fn assert_served(taps: &Taps, frames: u32) {
    let mut send = taps.command(integration_tests::shipped().join("flumeway"));
    let to = SocketAddr::new(taps.v4(HOST), PORT);
    send.args(["send", "--json", "--tensor", "16", "--timeout-ms", "20000", "--window", "32", "--to", &to.to_string()]);
    send.args(["--rate", &RATE.to_string(), "--count", &frames.to_string()]);
    let output = send.output().expect("run flumeway send");
    let told = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(told.trim()).unwrap_or_default();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(report["answered"], frames, "{report}");
}

/// The clients' kernel has no entry but those that it asks for.
pub fn assert_introduces_itself(taps: &Taps) {
    taps.forget_neighbours();
    for (stream, to) in [taps.v4(HOST), taps.v6(HOST)].into_iter().enumerate() {
        let mut client = client(taps, to, 100 + stream as u32);
        // A link takes seconds to come up, and what is sent before is lost.
        let until = Instant::now() + PATIENCE;
        for id in 0.. {
            assert!(Instant::now() < until, "{to} does not answer; neighbours:\n{}", taps.neighbours());
            client.send_tensor(id, &traffic::tensor_of(id));
            let pause = Instant::now() + Duration::from_millis(500);
            while client.replies.is_empty() && Instant::now() < pause {
                client.receive();
                std::thread::sleep(Duration::from_millis(2));
            }
            if !client.replies.is_empty() {
                break;
            }
        }
        client.replies.keys().for_each(|id| assert_right(&client, *id));
        let known = taps.neighbours();
        let learnt = known.lines().find(|l| l.starts_with(&format!("{to} "))).unwrap_or_default();
        assert!(learnt.contains(MACS[0]) && !learnt.contains("PERMANENT"), "{to}: {known}");
    }
}

/// Steady frames until the other end of `working` is gone; when each was sent.
fn send_until(client: &mut Client, working: &Receiver<()>) -> Vec<Instant> {
    let mut sent = Vec::new();
    while working.try_recv() == Err(TryRecvError::Empty) {
        let first = sent.len() as u64;
        steady(client, first..first + 10, RATE, |_| sent.push(Instant::now()));
    }
    sent
}

/// Waits until a frame is answered: one is sent after the other, by a client of its own, which is returned.
fn wait_served(taps: &Taps, stream: u32) -> Client {
    let mut client = client(taps, taps.v4(HOST), stream);
    let until = Instant::now() + PATIENCE;
    for id in 0.. {
        assert!(Instant::now() < until, "no frame is answered again; neighbours:\n{}", taps.neighbours());
        client.send_tensor(id, &traffic::tensor_of(id));
        let pause = Instant::now() + Duration::from_millis(100);
        while client.replies.is_empty() && Instant::now() < pause {
            client.receive();
            std::thread::sleep(Duration::from_millis(2));
        }
        if !client.replies.is_empty() {
            break;
        }
    }
    client
}

/// What the kills cost.
struct Cost {
    sent: usize,
    lost: usize,
    unconfirmed: u64,
    longest_gap: Duration,
}

/// Kills rx-gateway and tx in turn under traffic. Lost are frames of the gaps alone, and the ledger knows of all that were
/// received.
fn assert_survives(guest: &mut Guest<'_>, taps: &Taps, kills: usize) -> Cost {
    let before = guest.whole();
    let mut client = client(taps, taps.v4(HOST), 7);
    let (mut gaps, mut others) = (Vec::new(), Vec::new());
    let (over, working) = channel::<()>();
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let working = working;
            send_until(&mut client, &working)
        });
        let over = over;
        for n in 0..kills {
            let (stage, device) = [("rx-gateway", RX), ("tx", TX)][n % 2];
            std::thread::sleep(Duration::from_millis(700));
            let killed = Instant::now();
            guest.kill_9(stage, device);
            // The gap ends when a frame that was sent afterwards is answered: a link may come up later than its port.
            others.push(wait_served(taps, 1_000 + n as u32));
            gaps.push((killed, Instant::now()));
        }
        std::thread::sleep(Duration::from_secs(1));
        drop(over);
        sender.join().expect("the sender")
    });
    let after = guest.whole();
    others.iter_mut().chain([&mut client]).for_each(|client| while client.receive() > 0 {});
    let lost: Vec<usize> = (0..sent.len()).filter(|id| !client.replies.contains_key(&(*id as u64))).collect();
    for id in &lost {
        let at = sent[*id];
        let is_in_gap = gaps.iter().any(|(from, to)| at + SLACK > *from && at < *to + SLACK);
        assert!(is_in_gap, "frame {id} of {} was lost, and no stage was dead then; {after}", sent.len());
    }
    for (id, replies) in &client.replies {
        assert_eq!(replies.len(), 1, "frame {id} is answered once");
        assert_right(&client, *id);
    }
    let grown = |key: &str| after[key].as_u64().unwrap_or(0) - before[key].as_u64().unwrap_or(0);
    let unconfirmed = guest.counter("tx", "sent_unconfirmed");
    assert_eq!(grown("received"), grown("answered"), "{after}");
    // What was received is answered, but for replies that were with a device when it was taken from a dead stage.
    let seen: usize = others.iter().chain([&client]).map(|client| client.replies.len()).sum();
    let unseen = grown("answered") - seen as u64;
    assert!(unseen <= unconfirmed, "{unseen} replies did not arrive, {unconfirmed} are unconfirmed: {after}");
    let longest_gap = gaps.iter().map(|(from, to)| to.duration_since(*from)).max().unwrap_or_default();
    Cost { sent: sent.len(), lost: lost.len(), unconfirmed, longest_gap }
}

/// What the uses of one driver differ in.
struct Use<'a> {
    driver: &'a str,
    /// Whose the stages are.
    uid: u32,
    /// Done in the machine before the start.
    prepare: &'a str,
    frames: u32,
    kills: usize,
}

fn serves_and_survives(label: &str, of: &Use<'_>) {
    let Use { driver, uid, prepare, frames, kills } = *of;
    if !is_built_in(label) {
        return;
    }
    let Some(mut machine) = Machine::or_skip(label) else { return };
    let began = Instant::now();
    machine.must(&format!("reserve 400; bind {RX} {driver}; bind {TX} {driver}; {prepare}"));
    let mut text = format!("booted in {:.1} s", machine.booted().as_secs_f64());
    let taps = machine.taps();
    let user = format!("stage_user = {{ uid = {uid}, gid = {uid} }}\n");
    let mut guest = Guest::start(&mut machine, &config(&taps), &user);
    for stage in ["rx-gateway", "tx"] {
        assert!(guest.process(stage).contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "{stage} is another's");
    }
    let _ = write!(text, ", frames after {:.1} s", began.elapsed().as_secs_f64());
    assert_introduces_itself(&taps);
    assert_served(&taps, frames);
    let cost = assert_survives(&mut guest, &taps, kills);
    assert_served(&taps, frames);
    guest.whole();
    guest.stop();
    let Cost { sent, lost, unconfirmed, longest_gap } = cost;
    report(
        label,
        &format!(
            "{text}; {kills} kills amid {sent} frames: {lost} lost in the gaps, {unconfirmed} unconfirmed, longest gap {:.1} s; \
             {:.1} s in all\n",
            longest_gap.as_secs_f64(),
            began.elapsed().as_secs_f64()
        ),
    );
}

/// With an IOMMU, the stages need no rights but to the devices' groups: they are nobody's.
#[test]
fn the_pipeline_serves_and_survives_on_vfio_pci() {
    let permit = [RX, TX].map(|device| format!("\"$SOURCE/deploy/host-setup\" permit {device} --user nobody --apply"));
    let of = Use { driver: "vfio-pci", uid: 65534, prepare: &permit.join("; "), frames: 300, kills: 6 };
    serves_and_survives("vm-vfio", &of);
}

/// Physical addresses are root's to know.
#[test]
fn the_pipeline_serves_and_survives_on_uio_pci_generic() {
    let of = Use { driver: "uio_pci_generic", uid: 0, prepare: "", frames: 100, kills: 2 };
    serves_and_survives("vm-uio", &of);
}
