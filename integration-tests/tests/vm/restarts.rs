//! Stages that drive PCI devices are replaced by order: the pipeline serves on, and the ledger balances.

use crate::guest::Guest;
use crate::pipeline::{assert_introduces_itself, assert_served, config, is_built_in};
use integration_tests::report;
use integration_tests::vm::{Machine, RX, TX};
use std::time::Instant;

/// Frames after each restart.
const FRAMES: u32 = 50;

fn restarts(label: &str, driver: &str) {
    if !is_built_in(label) {
        return;
    }
    let Some(mut machine) = Machine::or_skip(label) else { return };
    machine.must(&format!("reserve 400; bind {RX} {driver}; bind {TX} {driver}"));
    let (taps, began) = (machine.taps(), Instant::now());
    let mut guest = Guest::start(&mut machine, &config(&taps), "");
    assert_introduces_itself(&taps);
    for stage in ["rx-gateway", "tx", "tx", "rx-gateway"] {
        guest.restart(stage);
        // A link takes seconds to come up again: frames are sent until one is answered.
        assert_introduces_itself(&taps);
        assert_served(&taps, FRAMES);
        let ledger = guest.whole();
        assert_eq!(ledger["received"], ledger["answered"], "after a restart of {stage}: {ledger}");
    }
    assert_eq!(guest.counter("tx", "sent_unconfirmed"), 0, "nothing was with a device that was given up");
    guest.stop();
    report(label, &format!("4 restarts, {:.1} s in all\n", began.elapsed().as_secs_f64()));
}

#[test]
fn stages_are_replaced_on_vfio_pci() {
    restarts("vm-restarts-vfio", "vfio-pci");
}

#[test]
fn stages_are_replaced_on_uio_pci_generic() {
    restarts("vm-restarts-uio", "uio_pci_generic");
}
