//! What AF_XDP cannot do here: each case is a clear error that names cause and remedy, and leaves nothing attached.

use crate::{PORT, Wanted, client, ip};
use arena::region::{ALIGN, HugePages, Mapping, Region};
use integration_tests::bare::{Bare, wait_detached};
use integration_tests::netns::{Net, Options, Side, skipped};
use integration_tests::pipeline::{PATIENCE, folder};
use integration_tests::traffic::{assert_right, steady};
use ports::af_xdp::{Pair, Wanted as Sockets};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

/// Exit code.
const ENVIRONMENT: i32 = 3;

/// Runs the command, and kills it if, against expectation, it goes on.
fn ended(mut command: Command) -> Option<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start flumeway");
    let until = Instant::now() + PATIENCE;
    while child.try_wait().expect("wait").is_none() {
        if Instant::now() > until {
            let _ = child.kill();
            panic!("flumeway did not end");
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.wait_with_output().ok()
}

/// `flumeway run` with this configuration in the pipeline's namespace, behind `prefix`; checks that it is refused with a
/// message that has all of `words`.
fn refused(net: &Net, prefix: &[&str], text: &str, words: &[&str]) {
    let dir = folder(&format!("xdp-wrong-{}", net.name(Side::Pipeline)));
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).unwrap();
    let (config, flumeway) = (dir.join("pipeline.toml"), integration_tests::shipped().join("flumeway"));
    let places = format!("control_socket = \"{0}/control.sock\"\nquarantine_dir = \"{0}/quarantine\"\n", dir.display());
    std::fs::write(&config, format!("{text}\n[supervisor]\n{places}")).unwrap();
    let mut command = net.command_in(Side::Pipeline, prefix.first().map_or(flumeway.as_os_str(), |p| p.as_ref()));
    if let [_, more @ ..] = prefix {
        command.args(more).arg(&flumeway);
    }
    command.args(["run", "--json"]).arg(&config).current_dir("/");
    let out = ended(command).expect("its output");
    let _ = std::fs::remove_dir_all(&dir);
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let message =
        stderr.lines().find_map(|l| l.strip_prefix("error: ")).unwrap_or_else(|| panic!("no error: {stderr}"));
    println!("{message}");
    assert_eq!(out.status.code(), Some(ENVIRONMENT), "{message}");
    for word in words {
        assert!(message.contains(word), "the message lacks {word:?}: {message}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {stdout}"));
    assert_eq!((&answer["ok"], &answer["error"]), (&json!(false), &json!(message)));
}

/// The same without a prefix, and nothing is attached afterwards.
fn refused_cleanly(net: &Net, interface: &str, wanted: Wanted<'_>, words: &[&str]) {
    refused(net, &[], &wanted.text(interface), words);
    assert_eq!(net.attachments(Side::Pipeline), [], "{words:?}");
}

#[test]
fn interfaces_that_cannot_serve() {
    let Some(net) = Net::or_skip("xdp-interfaces", Options::default()) else { return };
    let (veth, plain) = (net.interface(Side::Pipeline).to_owned(), Wanted::default());
    refused_cleanly(&net, "nope0", plain, &["no interface \"nope0\"", "ip link"]);
    ip(&net, Side::Pipeline, "link add down0 type bridge");
    ip(&net, Side::Pipeline, "addr add 10.79.0.1/24 dev down0");
    refused_cleanly(&net, "down0", plain, &["down0 is down", "ip link set dev down0 up"]);
    let with = |af_xdp| Wanted { af_xdp, ..plain };
    refused_cleanly(&net, &veth, with("queues = [0, 5]"), &[&veth, "no queue 5", "ethtool -l", "[af_xdp] queues"]);
    let listen = SocketAddr::from(([127, 0, 0, 1], PORT));
    let words = [&veth, "no address for", "127.0.0.1:9000", "ip address show"];
    refused_cleanly(&net, &veth, Wanted { listen, ..plain }, &words);
    let words = ["no zero copy", "zero_copy = \"auto\""];
    refused_cleanly(&net, &veth, with("zero_copy = \"require\""), &words);
    // A bridge is a device without native XDP.
    ip(&net, Side::Pipeline, "link set down0 up");
    let words = ["no native XDP", "mode = \"auto\"", "driver = \"udp\""];
    refused_cleanly(&net, "down0", with("mode = \"native\""), &words);
    assert_eq!(net.attachments(Side::Pipeline), []);
}

#[test]
fn an_mtu_above_what_a_buffer_or_the_driver_takes() {
    let Some(net) = Net::or_skip("xdp-mtu", Options { mtu: 9000, ..Options::default() }) else { return };
    let veth = net.interface(Side::Pipeline).to_owned();
    let set = |mtu| {
        ip(&net, Side::Pipeline, &format!("link set dev {veth} mtu {mtu}"));
        ip(&net, Side::Traffic, &format!("link set dev {} mtu {mtu}", net.interface(Side::Traffic)));
    };
    let words = [&veth, "MTU 9000", "3648", "ip link set dev", "mtu 3626", "driver = \"udp\""];
    refused_cleanly(&net, &veth, Wanted::default(), &words);
    // Fits a buffer, and the driver's native hook refuses it.
    set(3600);
    let native = Wanted { af_xdp: "mode = \"native\"", ..Wanted::default() };
    refused_cleanly(&net, &veth, native, &["native", "smaller MTU", "ip link"]);
    let pipeline = Wanted::default().start(&net, "mtu");
    let ingress = &pipeline.status()["ingress"];
    assert!(ingress["described"].as_str().unwrap().ends_with("(generic, copy)"), "{ingress}");
    assert!(ingress["not_taken"].to_string().contains("smaller MTU"), "{ingress}");
    let mut client = client(&net, net.v4(Side::Pipeline), 1);
    steady(&mut client, 0..50, 2_000, |_| {});
    client.receive_until(50);
    (0..50).for_each(|id| assert_right(&client, id));
    assert_eq!(pipeline.stop().0, 0);
    assert_eq!(net.attachments(Side::Pipeline), []);
}

#[test]
fn another_program_on_the_interface() {
    let Some(net) = Net::or_skip("xdp-attached", Options { queues: 2, ..Options::default() }) else { return };
    let veth = net.interface(Side::Pipeline).to_owned();
    for mode in [&[][..], &["-g"]] {
        let echo = Bare::start(&net, "bare_echo", &[&["-w", "poll"], mode].concat()).unwrap();
        let theirs = net.attachments(Side::Pipeline);
        assert_eq!((theirs.len(), theirs[0].is_native), (1, mode.is_empty()));
        let id = theirs[0].program_id.to_string();
        // Whatever the queues: there is one program for all of them.
        for af_xdp in ["", "queues = [1]"] {
            let text = Wanted { af_xdp, ..Wanted::default() }.text(&veth);
            refused(&net, &[], &text, &[&veth, "XDP program already", &id, "run: "]);
        }
        assert_eq!(net.attachments(Side::Pipeline), theirs, "the other program goes on");
        drop(echo);
        wait_detached(&net);
    }
    // With nothing in the way it starts.
    let pipeline = Wanted::default().start(&net, "attached");
    assert_eq!(pipeline.status()["ingress"]["driver"], "af_xdp");
}

/// AF_XDP sockets on queue 0 of the pipeline's interface, and no program.
fn hold_queue(net: &Net) -> Vec<Pair> {
    let open = || {
        let interface = net.interface(Side::Pipeline);
        let ifindex = ports::xdp::Interface::find(interface).expect("the interface").index;
        let sockets =
            Sockets { interface, ifindex, ring_size: 64, zero_copy: false, need_wakeup: true, busy_poll: None };
        let region = Region::create("packets", ALIGN, HugePages::Off).expect("a region");
        let packets = Mapping::map("packets", region.rw.as_fd(), ALIGN, true).expect("its mapping");
        sockets.open(&[0], &packets).expect("sockets on the queue")
    };
    net.inside(Side::Pipeline, open).unwrap()
}

#[test]
fn a_queue_that_others_have_taken() {
    let Some(net) = Net::or_skip("xdp-taken", Options { queues: 2, ..Options::default() }) else { return };
    let veth = net.interface(Side::Pipeline).to_owned();
    let theirs = hold_queue(&net);
    let words = ["queue 0", &veth, "taken", "ss --xdp", "[af_xdp] queues"];
    refused_cleanly(&net, &veth, Wanted::default(), &words);
    // The other queue is free, and who has the first keeps it.
    let pipeline = Wanted { af_xdp: "queues = [1]", ..Wanted::default() }.start(&net, "other-queue");
    assert_eq!(pipeline.status()["ingress"]["device"]["queues"], json!([1]));
    assert_eq!(pipeline.stop().0, 0);
    refused_cleanly(&net, &veth, Wanted::default(), &words);
    drop(theirs);
    let pipeline = Wanted::default().start(&net, "taken");
    assert_eq!(pipeline.status()["ingress"]["driver"], "af_xdp");
}

#[test]
fn a_user_without_privilege() {
    let Some(net) = Net::or_skip("xdp-nobody", Options::default()) else { return };
    let as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let mut test = net.command_in(Side::Pipeline, as_nobody[0]);
    test.args(&as_nobody[1..]).arg(integration_tests::shipped().join("flumeway")).arg("--version");
    if !test.output().is_ok_and(|o| o.status.success()) {
        skipped("xdp-nobody", "no `setpriv`, or another user may not read the folder of the binaries");
        return;
    }
    let text = Wanted::default().text(net.interface(Side::Pipeline));
    refused(&net, &as_nobody, &text, &["CAP_NET_ADMIN", "root", "driver = \"udp\""]);
    assert_eq!(net.attachments(Side::Pipeline), []);
}

#[test]
fn auto_takes_udp_where_af_xdp_cannot_and_says_why() {
    let Some(net) = Net::or_skip("xdp-auto", Options { mtu: 9000, ..Options::default() }) else { return };
    let auto = Wanted { driver: "auto", ..Wanted::default() };
    for (n, (interface, reason)) in
        [(net.interface(Side::Pipeline), "MTU 9000"), ("nope0", "no interface")].into_iter().enumerate()
    {
        let text = auto.text(interface);
        let name = format!("xdp-auto-{n}");
        let pipeline =
            integration_tests::pipeline::Pipeline::start_inside(&net, &name, &text, &integration_tests::shipped(), &[]);
        let ingress = &pipeline.status()["ingress"];
        assert_eq!((&ingress["driver"], &ingress["described"]), (&json!("udp"), &json!("udp")), "{ingress}");
        assert!(ingress["not_taken"].to_string().contains(reason), "{ingress}");
        assert_eq!(net.attachments(Side::Pipeline), []);
        let mut client = client(&net, net.v4(Side::Pipeline), 1);
        steady(&mut client, 0..20, 2_000, |_| {});
        client.receive_until(20);
        assert_eq!(pipeline.stop().0, 0);
    }
    let Some(net) = Net::or_skip("xdp-auto-can", Options::default()) else { return };
    let pipeline = auto.start(&net, "auto-can");
    assert_eq!(pipeline.status()["ingress"]["driver"], "af_xdp", "and af_xdp where it can");
}
