//! A reload under traffic: at no moment is the interface without a list.

use crate::interface::veth;
use crate::{compiled, frames, in_namespace, ip};
use acl::{AclAction, AclRule};
use ports::xdp::{Filter, Interface, Mode, Program};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LOCAL: &str = "10.0.0.2";
const ALLOWED: &str = "10.0.0.1";
const DENIED: &str = "10.0.0.66";
const PORT: u16 = 9000;
const RELOADS: usize = 40;

/// The list that denies `prefix` and allows the rest.
fn program(prefix: &str) -> Program {
    let rule = AclRule { source: Some(prefix.parse().expect("a prefix")), ..AclRule::all(AclAction::Deny) };
    let acl = compiled(&[rule], AclAction::Allow);
    let filter = Filter {
        mac: frames::OWN_MAC,
        addresses: vec![LOCAL.parse().expect("an address")],
        ports: vec![PORT],
        acl: &acl,
    };
    Program::load(&filter).unwrap_or_else(|error| panic!("{error}"))
}

/// In a namespace of its own: sends from both addresses, for as long as it lives.
fn send() -> ! {
    let wait = Duration::from_millis(5);
    let bind = |address: &str| loop {
        if let Ok(socket) = UdpSocket::bind((address, 0)) {
            return socket;
        }
        std::thread::sleep(wait);
    };
    // Once to wait for the addresses, and again when the interface is up: what is bound to the second address before that
    // sends from the first.
    let early = [bind(ALLOWED), bind(DENIED)];
    while early[0].send_to(b"", (LOCAL, 9)).is_err() {
        std::thread::sleep(wait);
    }
    let sockets = [bind(ALLOWED), bind(DENIED)];
    loop {
        for socket in &sockets {
            // Until both ends are up there is no route.
            if socket.send_to(b"a request", (LOCAL, PORT)).is_err() {
                std::thread::sleep(wait);
            }
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// The sender, killed when the test ends.
struct Sender(Child);

impl Sender {
    fn start() -> Self {
        let this = std::env::current_exe().expect("a test binary");
        let child = Command::new("unshare")
            .args(["--net", "--"])
            .arg(this)
            .args(["reload::a_reload_under_traffic_lets_nothing_through", "--exact"])
            .env("FLUMEWAY_XDP_SENDER", "1")
            .stdout(Stdio::null())
            .spawn()
            .expect("unshare");
        Self(child)
    }

    /// Gives it interface `far`. `unshare` becomes the sender, so that their process is one.
    fn connect(&self) {
        let pid = self.0.id();
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let deadline = Instant::now() + Duration::from_secs(10);
        while namespace(&pid.to_string()) == namespace("self") {
            assert!(Instant::now() < deadline, "the sender has no namespace");
            std::thread::sleep(Duration::from_millis(2));
        }
        ip(&format!("link set far netns {pid}"));
        let inside = |words: &str| {
            let enter = ["-t", &pid.to_string(), "--net", "ip"].map(str::to_owned);
            let status = Command::new("nsenter").args(enter).args(words.split_whitespace()).status();
            assert!(status.expect("nsenter (util-linux)").success(), "ip {words}");
        };
        inside(&format!("address add {ALLOWED}/24 dev far"));
        inside(&format!("address add {DENIED}/24 dev far"));
        inside("link set far up");
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_reload_under_traffic_lets_nothing_through() {
    if !in_namespace("reload::a_reload_under_traffic_lets_nothing_through") {
        return;
    }
    if std::env::var_os("FLUMEWAY_XDP_SENDER").is_some() {
        send();
    }
    veth();
    ip(&format!("address add {LOCAL}/24 dev near"));
    let sender = Sender::start();
    let index = Interface::find("near").unwrap_or_else(|error| panic!("{error}")).index;
    let mut attached = program("10.0.0.66/32").attach(index, Mode::Native).unwrap_or_else(|error| panic!("{error}"));
    let socket = UdpSocket::bind((LOCAL, PORT)).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    sender.connect();
    let mut bytes = [0; 64];
    // Neighbour discovery and link state take their time.
    let deadline = Instant::now() + Duration::from_secs(20);
    while socket.recv_from(&mut bytes).is_err() {
        assert!(Instant::now() < deadline, "nothing comes through");
    }
    socket.set_nonblocking(true).expect("a mode");
    let (mut old, mut received) = (Vec::new(), 0);
    for n in 0..RELOADS {
        let next = program(if n % 2 == 0 { "10.0.0.64/26" } else { "10.0.0.66/32" });
        old.push(attached.replace(next).unwrap_or_else(|error| panic!("{error}")));
        while let Ok((_, from)) = socket.recv_from(&mut bytes) {
            assert_eq!(from.ip().to_string(), ALLOWED, "reload {n}");
            received += 1;
        }
    }
    let denied: Vec<u64> = old.iter_mut().map(|program| program.counters().expect("counters").hits[0]).collect();
    assert!(received >= RELOADS, "{received} packets came");
    let idle = denied.iter().filter(|count| **count == 0).count();
    assert!(idle * 4 < RELOADS, "each list had something to deny: {denied:?}");
    // That there was something to see: without a rule for it, the packets come.
    socket.set_nonblocking(false).expect("a mode");
    drop(attached.replace(program("10.0.0.0/32")).unwrap_or_else(|error| panic!("{error}")));
    let mut froms = (0..2000).map_while(|_| socket.recv_from(&mut bytes).ok()).map(|(_, from)| from.ip().to_string());
    assert!(froms.any(|from| from == DENIED), "the denied sender does send");
}
