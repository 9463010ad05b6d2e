//! Cards that cannot be driven, through the command line: what is wrong and what to do is said, and nothing is left behind.

use crate::guest::Guest;
use crate::pipeline::{config, is_built_in};
use integration_tests::vm::{Machine, RX, TX};

/// Exit status of what the machine lacks.
const ENVIRONMENT: i32 = 3;

/// Both commands refuse the configuration, with these words.
fn refused(machine: &mut Machine, text: &str, words: &[&str]) {
    std::fs::write(machine.share().join("refused.toml"), text).expect("write the configuration");
    for command in ["check", "run"] {
        let outcome = machine.run(&format!("\"$BIN/flumeway\" {command} \"$SHARE/refused.toml\""));
        assert_eq!(outcome.status, ENVIRONMENT, "{command}: {}", outcome.text);
        for word in words {
            assert!(outcome.text.contains(word), "{command}: no {word:?} in {}", outcome.text);
        }
        let left = machine.must("ls /var/run/dpdk 2>/dev/null || true; grep -ls flumeway /proc/[0-9]*/comm || true");
        assert_eq!(left.trim(), "", "{command} leaves something behind");
    }
}

#[test]
fn cards_that_are_the_kernels_nobodys_or_anothers_are_refused() {
    if !is_built_in("vm-wrong-input") {
        return;
    }
    let Some(mut machine) = Machine::or_skip("vm-wrong-input") else { return };
    let taps = machine.taps();
    let own = "[supervisor]\ncontrol_socket = \"/tmp/second.sock\"\nquarantine_dir = \"/tmp/second\"\n";
    let good = format!("{}{own}", config(&taps));
    machine.must(&format!("reserve 512; bind {TX} vfio-pci"));
    refused(&mut machine, &good, &[RX, "e1000e", "deploy/host-setup bind"]);
    machine.must(&format!("echo {RX} >/sys/bus/pci/devices/{RX}/driver/unbind"));
    refused(&mut machine, &good, &[RX, "deploy/host-setup bind"]);
    refused(&mut machine, &good.replace(RX, "0000:00:1d.7"), &["no PCI device 0000:00:1d.7"]);
    // What was refused can be driven as soon as it is bound, and is in use then.
    machine.must(&format!("bind {RX} vfio-pci"));
    let mut guest = Guest::start(&mut machine, &config(&taps), "");
    guest.refuses_another(&good, &[RX, "in use"]);
    guest.stop();
}
