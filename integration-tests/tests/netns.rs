//! The namespaces that other tests run in: they carry traffic as they should, and they go away, whatever happens to the
//! process that made them.

use integration_tests::client::Client;
use integration_tests::netns::{Net, Options, Side, skipped};
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::processes::{is_alive, signal};
use integration_tests::shipped;
use integration_tests::traffic::{assert_right, config, steady};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const BOTH: [Side; 2] = [Side::Pipeline, Side::Traffic];

fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

fn names(net: &Net) -> [String; 2] {
    BOTH.map(|side| net.name(side).to_owned())
}

/// One datagram from the traffic side to `to`, which must arrive as it was.
fn assert_carries(net: &Net, to: IpAddr) {
    let bind = || UdpSocket::bind((to, 0)).expect("a socket on an address of the pipeline's side");
    let receiver = net.inside(Side::Pipeline, bind).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let to = receiver.local_addr().unwrap();
    let any: SocketAddr = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }.parse().unwrap();
    let sender = net.inside(Side::Traffic, || UdpSocket::bind(any).unwrap()).unwrap();
    sender.send_to(b"hello", to).unwrap();
    let mut buffer = [0; 16];
    let (n, from) = receiver.recv_from(&mut buffer).unwrap_or_else(|e| panic!("nothing arrived at {to}: {e}"));
    assert_eq!(&buffer[..n], b"hello");
    assert_eq!(from.is_ipv6(), to.is_ipv6());
}

#[test]
fn traffic_passes_with_both_families() {
    let Some(net) = Net::or_skip("traffic", Options { queues: 2, mtu: 3000 }) else { return };
    let before = net.counters(Side::Pipeline);
    for to in [net.v4(Side::Pipeline), net.v6(Side::Pipeline)] {
        assert_carries(&net, to);
    }
    let after = net.counters(Side::Pipeline);
    assert!(after.rx_packets >= before.rx_packets + 2 && after.rx_bytes > before.rx_bytes, "{before:?} {after:?}");
    assert_eq!(net.attachments(Side::Pipeline), []);
    let shown = net.command_in(Side::Pipeline, "ls").arg("/sys/class/net").output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(net.interface(Side::Pipeline)) && !shown.contains(net.interface(Side::Traffic)), "{shown}");
    let queues = net.driver_counters(Side::Pipeline).into_keys().filter(|k| k.ends_with("xdp_packets")).count();
    assert!(queues >= 2, "a row of counters per queue: {:?}", net.driver_counters(Side::Pipeline));
}

#[test]
fn a_pipeline_in_one_namespace_answers_a_client_in_the_other() {
    let Some(net) = Net::or_skip("pipeline", Options::default()) else { return };
    for (family, at) in [("v4", net.v4(Side::Pipeline)), ("v6", net.v6(Side::Pipeline))] {
        let listen = SocketAddr::new(at, 9001);
        let text = config("null", &format!("[ingress]\nlisten = \"{listen}\"\n"));
        let pipeline = Pipeline::start_inside(&net, &format!("netns-{family}"), &text, &shipped(), &[]);
        assert_eq!(pipeline.listen(), listen);
        let mut client = Client::inside(&net, Side::Traffic, listen, 1);
        steady(&mut client, 0..100, 1000, |_| {});
        client.receive_until(100);
        (0..100).for_each(|id| assert_right(&client, id));
        assert_eq!(pipeline.assert_whole()["answered"], 100);
        assert_eq!(pipeline.stop().0, 0);
    }
}

#[test]
fn kernel_threads_receive_where_they_are_told_to() {
    let Some(net) = Net::or_skip("threads", Options { queues: 2, ..Options::default() }) else { return };
    assert_eq!(net.napi_threads(Side::Pipeline), [0_u32; 0]);
    net.threaded_napi(Side::Pipeline, true).unwrap();
    assert_eq!(net.napi_threads(Side::Pipeline).len(), 2, "one per queue");
    assert_eq!(net.napi_threads(Side::Traffic), [0_u32; 0], "only where they were asked for");
    net.pin_napi(Side::Pipeline, 0).unwrap();
    let before = net.napi_cpu_ns(Side::Pipeline);
    wait_until("the threads' processor time to grow", || {
        assert_carries(&net, net.v4(Side::Pipeline));
        net.napi_cpu_ns(Side::Pipeline) > before
    });
}

#[test]
fn a_net_is_gone_when_it_is_dropped_with_what_runs_in_it() {
    let Some(net) = Net::or_skip("drop", Options::default()) else { return };
    let mut inside = net.command_in(Side::Traffic, "sleep").arg("1000").spawn().unwrap();
    let names = names(&net);
    assert!(names.iter().all(|n| exists(n)));
    let other = Net::new("other").unwrap();
    drop(net);
    assert!(names.iter().all(|n| !exists(n)), "{names:?}");
    assert!(!inside.wait().unwrap().success(), "sleep was killed");
    assert!(BOTH.iter().all(|side| exists(other.name(*side))), "another net is left alone");
}

/// `hold-net`, and what it told.
fn holder() -> (Child, [String; 2], u32) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hold-net"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start hold-net");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let told: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("hold-net said {line}: {e}"));
    let name = |side: &str| told[side]["namespace"].as_str().unwrap().to_owned();
    (child, [name("pipeline"), name("traffic")], told["guard"].as_u64().unwrap() as u32)
}

/// A process in a namespace that nobody waits for; its id.
fn orphan(namespace: &str) -> u32 {
    let script = "sleep 1000 & echo $!";
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, "setsid", "sh", "-c", script]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.wait().unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn a_net_is_gone_when_its_process_is_killed_with_sigkill() {
    let Some(_net) = Net::or_skip("sigkill", Options::default()) else { return };
    let (mut child, names, _) = holder();
    assert!(names.iter().all(|n| exists(n)));
    let pid = orphan(&names[0]);
    assert!(is_alive(pid));
    signal(child.id(), Signal::KILL);
    child.wait().unwrap();
    wait_until("the guard to remove the namespaces", || names.iter().all(|n| !exists(n)));
    wait_until("what ran in them to end", || !is_alive(pid));
}

#[test]
fn what_a_killed_process_and_a_killed_guard_left_is_removed_by_the_next_net() {
    let Some(_net) = Net::or_skip("sweep", Options::default()) else { return };
    let (mut child, names, guard) = holder();
    signal(guard, Signal::KILL);
    wait_until("the guard to end", || !is_alive(guard));
    signal(child.id(), Signal::KILL);
    // Not yet collected: it counts as dead all the same.
    wait_until("hold-net to end", || !is_alive(child.id()));
    let next = Net::new("next").unwrap();
    assert!(names.iter().all(|n| !exists(n)), "{names:?}");
    assert!(BOTH.iter().all(|side| exists(next.name(*side))));
    child.wait().unwrap();
}

#[test]
fn what_is_missing_is_named() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hold-net"));
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let output = match command.stdin(Stdio::null()).output() {
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            skipped("missing", "another user may not read the folder of the binaries");
            return;
        }
        output => output.unwrap(),
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && said.contains("not root"), "{said}");

    let Some(_net) = Net::or_skip("missing", Options::default()) else { return };
    let output = Command::new(env!("CARGO_BIN_EXE_hold-net")).env("PATH", "/nowhere").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && said.contains("no `ip` in PATH"), "{said}");
}
