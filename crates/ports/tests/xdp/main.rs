//! The XDP program: what it does with each kind of frame, against the matcher in software, and at an interface.
//!
//! Most tests run it on frames in memory (BPF_PROG_TEST_RUN), which takes CAP_BPF and CAP_NET_ADMIN; those at interfaces
//! start themselves again in a network namespace that ends with them.

mod agree;
mod filter;
mod frames;
mod interface;
mod object;
#[path = "../../../acl/tests/random/mod.rs"]
mod random;
mod reload;
#[path = "../common/skip.rs"]
mod skip;

use acl::{AclAction, AclRule, Compiled};
use ports::xdp::{Filter, Program, XdpError};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use skip::skipped;
use std::os::fd::OwnedFd;
use std::process::Command;

/// Loads the program, or says why the test is skipped.
fn load(filter: &Filter<'_>) -> Option<Program> {
    match Program::load(filter) {
        Ok(program) => Some(program),
        Err(XdpError::NotPermitted(what)) => {
            skipped(&format!("{what} takes CAP_BPF and CAP_NET_ADMIN"));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn compiled(rules: &[AclRule], policy: AclAction) -> Compiled {
    Compiled::new(rules, policy).expect("few rules")
}

/// A socket that may be put into the program's map: binding it is not needed for that.
fn xdp_socket() -> OwnedFd {
    rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None).expect("an AF_XDP socket")
}

/// Runs the test `name` again, alone, in a network namespace of its own, and is `true` in there. The namespace has no name:
/// it ends with the process, however that ends.
fn in_namespace(name: &str) -> bool {
    const INSIDE: &str = "FLUMEWAY_XDP_NAMESPACE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let this = std::env::current_exe().expect("a test binary");
    let probe = Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        skipped("making a network namespace takes root, unshare (util-linux) and ip (iproute2)");
        return false;
    }
    let test = Command::new("unshare")
        .args(["--net", "--mount", "--kill-child"])
        // sysfs shows the namespace in which it was mounted.
        .args(["sh", "-c", "mount -t sysfs sysfs /sys && exec \"$@\"", "sh"])
        .arg(this)
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare");
    let (out, err) = (String::from_utf8_lossy(&test.stdout), String::from_utf8_lossy(&test.stderr));
    assert!(test.status.success(), "in the namespace:\n{out}\n{err}");
    assert!(out.contains("1 passed"), "the test {name} did not run:\n{out}");
    for line in out.lines().filter_map(|line| line.find("SKIPPED: ").map(|at| &line[at..])) {
        println!("{line}");
    }
    false
}

/// Runs `ip` with these words.
fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output().expect("ip (iproute2)");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}
