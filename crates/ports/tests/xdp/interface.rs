//! At an interface: what is found out of it, attaching, replacing, and that nothing is left.

use crate::frames::{self, OWN_MAC};
use crate::skip::skipped;
use crate::{compiled, in_namespace, ip, xdp_socket};
use acl::AclAction;
use ports::xdp::{Action, Filter, Interface, Mode, Program, Queue, XdpError};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// A pair of interfaces, `near` and `far`, both up, with two queues each.
pub fn veth() {
    ip("link add near numrxqueues 2 numtxqueues 2 address 02:00:00:11:22:33 type veth peer name far numrxqueues 2");
    ip("link set near up");
    ip("link set far up");
}

fn find(name: &str) -> Interface {
    Interface::find(name).unwrap_or_else(|error| panic!("{error}"))
}

fn program() -> Program {
    let acl = compiled(&[], AclAction::Allow);
    let filter =
        Filter { mac: OWN_MAC, addresses: vec!["10.0.0.2".parse().expect("an address")], ports: vec![9000], acl: &acl };
    Program::load(&filter).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn facts_of_an_interface() {
    if !in_namespace("interface::facts_of_an_interface") {
        return;
    }
    veth();
    ip("address add 10.0.0.2/24 dev near");
    ip("address add fd00::2/64 dev near nodad");
    ip("link set near mtu 3000");
    let a = find("near");
    assert_eq!((a.mac, a.mtu, a.rx_queues, a.is_up, a.xdp), (OWN_MAC, 3000, 2, true, None));
    assert_eq!(a.driver, "veth");
    assert!(!a.strips_vlan_tags || a.driver == "veth", "veth may leave tags beside the frame");
    for address in ["10.0.0.2", "fd00::2"] {
        assert!(a.addresses.contains(&address.parse().expect("an address")), "{address} in {:?}", a.addresses);
    }
    assert_eq!(a.addresses.len(), 3, "with the link-local one: {:?}", a.addresses);
    ip("link set far down");
    assert!(!find("far").is_up);
    let error = Interface::find("eth7").expect_err("there is none");
    assert_eq!(error.to_string(), "there is no interface \"eth7\"; write one of those that `ip link` shows");
    assert!(matches!(Interface::find(""), Err(XdpError::NoInterface(_))));
}

#[test]
fn attach_replace_detach_leaves_nothing() {
    if !in_namespace("interface::attach_replace_detach_leaves_nothing") {
        return;
    }
    veth();
    let index = find("near").index;
    for (mode, number) in [(Mode::Native, 1), (Mode::Generic, 2)] {
        let mut attached = program().attach(index, mode).unwrap_or_else(|error| panic!("{error}"));
        let first = find("near").xdp.expect("a program");
        assert_eq!(first.mode, number);
        let old = attached.replace(program()).unwrap_or_else(|error| panic!("{error}"));
        let second = find("near").xdp.expect("a program");
        assert_ne!(first.program, second.program);
        assert_eq!((attached.ifindex(), attached.mode()), (index, mode));
        attached.counters().expect("counters");
        drop(old);
        assert_eq!(find("near").xdp, Some(second), "the old program's end is not the new one's");
        drop(attached);
        assert_eq!(find("near").xdp, None);
    }
}

#[test]
fn each_queue_has_its_socket() {
    if !in_namespace("interface::each_queue_has_its_socket") {
        return;
    }
    veth();
    let ifindex = find("near").index;
    let mut program = program();
    let socket = xdp_socket();
    program.set_socket(1, socket.as_fd()).unwrap_or_else(|error| panic!("{error}"));
    // Queues of a veth pair have what trial runs need once a program is attached.
    let mut attached = program.attach(ifindex, Mode::Native).unwrap_or_else(|error| panic!("{error}"));
    let payload = frames::udp(5000, 9000, b"");
    let packet = frames::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 5, 0, frames::UDP, &payload);
    let frame = frames::ethernet(OWN_MAC, &[], frames::IPV4, &packet);
    let mut at = |index| attached.program().test_run(&frame, 1, Some(Queue { ifindex, index }));
    assert_eq!(at(0).expect("a trial run"), Action::Pass);
    assert_eq!(at(1).expect("a trial run"), Action::Redirect);
    assert!(matches!(at(7), Err(XdpError::TestRun(_))), "there is no such queue");
}

#[test]
fn another_program_is_named_with_its_remedy() {
    if !in_namespace("interface::another_program_is_named_with_its_remedy") {
        return;
    }
    veth();
    let index = find("near").index;
    let held = program().attach(index, Mode::Native).unwrap_or_else(|error| panic!("{error}"));
    let error = program().attach(index, Mode::Native).expect_err("taken").to_string();
    let id = find("near").xdp.expect("a program").program;
    assert!(error.contains(&format!("id {id}, native; run: bpftool link detach id ")), "{error}");
    let error = program().attach(index, Mode::Generic).expect_err("taken, in the other mode").to_string();
    assert!(error.contains(&format!("id {id}, native")), "{error}");
    drop(held);
    // One that stays when its process ends, as `ip` attaches it.
    let object = concat!(env!("CARGO_MANIFEST_DIR"), "/src/xdp/flumeway.bpf.o");
    let put =
        Command::new("ip").args(["link", "set", "dev", "near", "xdpgeneric", "obj", object, "sec", "xdp"]).output();
    if put.is_ok_and(|output| output.status.success()) {
        let error = program().attach(index, Mode::Generic).expect_err("taken").to_string();
        assert!(error.ends_with("generic; run: ip link set dev near xdpgeneric off"), "{error}");
        ip("link set dev near xdpgeneric off");
    } else {
        skipped("this ip cannot load XDP programs (it was built without libbpf)");
    }
    drop(program().attach(index, Mode::Native).unwrap_or_else(|error| panic!("{error}")));
    assert_eq!(find("near").xdp, None);
}

#[test]
fn a_refusal_says_what_helps() {
    if !in_namespace("interface::a_refusal_says_what_helps") {
        return;
    }
    veth();
    let loopback = find("lo").index;
    let error = program().attach(loopback, Mode::Native).expect_err("no native XDP");
    assert!(matches!(error, XdpError::NoNative(ref name) if name == "lo"), "{error}");
    ip("link set near mtu 9000");
    ip("link set far mtu 9000");
    let error = program().attach(find("near").index, Mode::Native).expect_err("a large MTU").to_string();
    assert!(error.contains("takes no XDP program in native mode") && error.contains("smaller MTU"), "{error}");
    let error = program().attach(0x7fff_fff0, Mode::Native).expect_err("no such interface").to_string();
    assert!(error.starts_with("there is no interface"), "{error}");
}

/// Set in the process that holds the link.
const HOLD: &str = "FLUMEWAY_XDP_HOLD";

#[test]
fn the_death_of_the_holder_detaches() {
    if !in_namespace("interface::the_death_of_the_holder_detaches") {
        return;
    }
    if std::env::var_os(HOLD).is_some() {
        let _held = program().attach(find("near").index, Mode::Native).unwrap_or_else(|error| panic!("{error}"));
        loop {
            std::thread::park();
        }
    }
    veth();
    let this = std::env::current_exe().expect("a test binary");
    let mut holder = Command::new(this)
        .args(["interface::the_death_of_the_holder_detaches", "--exact"])
        .env(HOLD, "1")
        .stdout(Stdio::null())
        .spawn()
        .expect("a process");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while find("near").xdp.is_none() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(find("near").xdp.is_some(), "attached");
    holder.kill().expect("it lives");
    holder.wait().expect("it ends");
    assert_eq!(find("near").xdp, None);
}
