//! The machine itself, without the pipeline: hugepages, both drivers, DPDK's own program receiving, and what the kernel does
//! with a device whose process is killed.

use crate::flood::Flood;
use integration_tests::report;
use integration_tests::vm::{Machine, RX, TX};
use serde_json::Value;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Kills per driver, each with both devices.
const ROUNDS: u64 = 5;

/// `dpdk-testpmd` on both cards, counting what it receives each second. It is the best-known program of its kind, and as good a
/// victim as any.
fn testpmd() -> String {
    format!(
        "dpdk-testpmd -l 0-1 --in-memory --no-telemetry -a {RX} -a {TX} -- --forward-mode=rxonly --stats-period 1 \
         --total-num-mbufs=2048 --no-mlockall"
    )
}

/// A device whose process is dead by SIGKILL can do no more DMA at the moment when its death can be seen, and is held by nobody:
/// what reclaiming a dead device's buffers rests on, with either driver.
#[test]
fn a_killed_process_leaves_devices_that_do_no_dma() {
    let Some(mut machine) = Machine::or_skip("binding") else { return };
    machine.must("reserve 256");
    let mut text = format!("booted in {:.1} s", machine.booted().as_secs_f64());
    let _flood = Flood::start(&machine.taps(), Duration::from_millis(2));
    for driver in ["vfio-pci", "uio_pci_generic"] {
        machine.must(&format!("bind {RX} {driver}; bind {TX} {driver}"));
        let began = Instant::now();
        let told = machine
            .must(&format!("\"$BIN/pci-release\" rounds {ROUNDS} {RX} {TX} -- {} 2>$SHARE/testpmd.log", testpmd()));
        let findings: Value = serde_json::from_str(told.trim()).unwrap_or_else(|e| panic!("{told}: {e}"));
        assert_eq!(findings["cases"], 2 * ROUNDS, "{findings}");
        assert_eq!(findings["released"], findings["cases"], "{findings}");
        assert_eq!(findings["holders"], serde_json::json!([]), "{findings}");
        let _ = write!(
            text,
            "; {driver}: {} of {} devices released at the death, pidfd readable after at most {} us, {:.1} s",
            findings["released"],
            findings["cases"],
            findings["slowest_us"],
            began.elapsed().as_secs_f64()
        );
    }
    report("vm-binding", &format!("{text}\n"));
}
