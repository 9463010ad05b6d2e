//! `deploy/host-setup` on a machine with PCI cards: what it shows, does and undoes.

use integration_tests::vm::{Machine, RX, TX};

const RUN: &str = "\"$SOURCE/deploy/host-setup\"";

/// What the script could change: hugepages, drivers of the cards, its files.
fn state(machine: &mut Machine) -> String {
    machine.must(&format!(
        "cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
         for device in {RX} {TX}; do readlink /sys/bus/pci/devices/$device/driver; cat /sys/bus/pci/devices/$device/driver_override; done
         ls /etc/tmpfiles.d"
    ))
}

#[test]
fn what_host_setup_does_it_undoes() {
    let Some(mut machine) = Machine::or_skip("vm-host-setup") else { return };
    let before = state(&mut machine);
    assert!(before.contains("e1000e"), "the cards begin with the kernel's driver: {before}");
    let shown = machine.must(&format!("{RUN} hugepages 64; {RUN} bind {RX}; {RUN} bind {TX} --driver uio_pci_generic"));
    assert_eq!(shown.matches("dry run").count(), 3, "{shown}");
    assert_eq!(state(&mut machine), before, "a dry run changes something");

    // The card that leads away is kept.
    machine.must("ip addr add 10.79.0.1/24 dev eth0; ip link set eth0 up; ip route add default via 10.79.0.2 dev eth0");
    let refused = machine.run(&format!("{RUN} bind {RX} --apply"));
    assert!(refused.status != 0 && refused.text.contains("the default route"), "{}", refused.text);
    assert_eq!(state(&mut machine), before, "a refusal changes something");
    machine.must("ip route del default");

    machine.must(&format!(
        "{RUN} hugepages 64 --apply; {RUN} bind {RX} --apply; {RUN} bind {TX} --driver uio_pci_generic --apply
         {RUN} permit {RX} --user nobody --apply"
    ));
    let prepared = state(&mut machine);
    for part in ["64\n", "/vfio-pci\n", "/uio_pci_generic\n", "flumeway-hugepages.conf"] {
        assert!(prepared.contains(part), "{part:?} is not in {prepared}");
    }
    let owner = machine.must("stat -c %U /dev/vfio/[0-9]*");
    assert_eq!(owner.trim(), "nobody");

    machine.must(&format!("{RUN} undo --apply"));
    let after = state(&mut machine);
    assert_eq!(after, before);
    assert!(machine.must("ls /sys/class/net").contains("eth"), "the cards are the kernel's again");
}
