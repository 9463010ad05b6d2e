//! Rules that a port takes over: `net_tap` has the kernel drop packets, which takes more of the kernel than most are built with.

use integration_tests::report;
use integration_tests::vm::Machine;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The test of a single port: `make test-vm` builds it.
const PROGRAM: &str = "dpdk_flow";
const TEST: &str = "net_tap_drops_what_the_list_begins_by_denying";

/// The program as it was built last, beside this one.
fn program() -> Option<PathBuf> {
    let own = std::env::current_exe().expect("this program");
    let built = |path: &Path| -> Option<SystemTime> {
        let name = path.file_name()?.to_str()?;
        let is_it = name.strip_prefix(PROGRAM)?.starts_with('-') && path.extension().is_none();
        is_it.then(|| path.metadata().ok()?.modified().ok())?
    };
    let beside = own.parent()?.read_dir().ok()?.flatten().map(|entry| entry.path());
    beside.filter_map(|path| Some((built(&path)?, path))).max().map(|(_, path)| path)
}

#[test]
fn a_port_drops_what_the_list_begins_by_denying() {
    if !crate::pipeline::is_built_in("vm-flow") {
        return;
    }
    let Some(mut machine) = Machine::or_skip("vm-flow") else { return };
    let program = program().expect("the test of a port: cargo test -p ports --features dpdk --test dpdk_flow --no-run");
    std::fs::copy(program, machine.share().join(PROGRAM)).expect("a copy for the machine");
    machine.must("reserve 128");
    let told = machine.must(&format!("FLUMEWAY_NO_SKIPS=1 \"$SHARE/{PROGRAM}\" --nocapture --exact {TEST} 2>&1"));
    assert!(told.contains("1 passed"), "{told}");
    let taken = told.lines().find(|line| line.contains("the port drops")).unwrap_or("taken").trim();
    report("vm-flow", &format!("net_tap: {taken}\n"));
}
