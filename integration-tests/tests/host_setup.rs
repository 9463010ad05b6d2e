//! `deploy/host-setup` on machines made of files: what it would do, what it does, and that it puts everything back.

use integration_tests::pipeline::folder;
use integration_tests::root;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

/// A machine with one way out (`0000:00:03.0`, eth0) and one spare function (`0000:00:05.0`, eth1).
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str) -> Self {
        let made = Self(folder(&format!("host-{name}")));
        made.file("proc/sys/vm/nr_hugepages", "64\n");
        made.file("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "60\n");
        made.file("sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "8\n");
        made.file("proc/net/route", "Iface\tDestination\tGateway\tFlags\neth0\t00000000\t0100000A\t0003\n");
        for (address, interface) in [("0000:00:03.0", "eth0"), ("0000:00:05.0", "eth1")] {
            made.file(&format!("sys/bus/pci/devices/{address}/class"), "0x020000\n");
            made.file(&format!("sys/bus/pci/devices/{address}/net/{interface}/mtu"), "1500\n");
            made.file(&format!("sys/bus/pci/devices/{address}/driver_override"), "(null)\n");
            made.link(&format!("sys/bus/pci/devices/{address}/driver"), "../../drivers/ixgbe");
            made.link(&format!("sys/bus/pci/devices/{address}/iommu_group"), "../../../../kernel/iommu_groups/7");
            made.file(&format!("addresses/{interface}"), &format!("192.0.2.{}/24\n", address.as_bytes()[9]));
        }
        made.file("sys/kernel/iommu_groups/7/type", "DMA\n");
        made.file("sys/bus/pci/drivers/ixgbe/unbind", "");
        made.file("sys/bus/pci/drivers_probe", "");
        made
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, to: &str) {
        symlink(to, self.0.join(path)).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap_or_default().trim().to_owned()
    }

    /// Exit code, and what it said on standard output and error.
    fn run(&self, words: &str, ssh: &str) -> (i32, String) {
        let mut script = Command::new("sh");
        script.arg(root().join("deploy/host-setup")).args(words.split_whitespace());
        script.env("FLUMEWAY_SYSROOT", &self.0).env_remove("SSH_CONNECTION");
        if !ssh.is_empty() {
            script.env("SSH_CONNECTION", ssh);
        }
        let out = script.output().expect("a shell");
        let said = [out.stdout, out.stderr].concat();
        (out.status.code().unwrap_or(-1), String::from_utf8(said).expect("text"))
    }

    fn does(&self, words: &str) -> String {
        let (code, said) = self.run(words, "");
        assert_eq!(code, 0, "{words}: {said}");
        said
    }

    /// All files with their contents, to compare.
    fn snapshot(&self) -> String {
        let listed = Command::new("sh")
            .args(["-c", "find . -type f | LC_ALL=C sort | xargs -d '\\n' md5sum"])
            .current_dir(&self.0)
            .output();
        String::from_utf8(listed.expect("find").stdout).expect("text")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn without_apply_nothing_changes_and_every_step_is_shown() {
    let machine = Machine::new("dry");
    let before = machine.snapshot();
    let said = machine.does("hugepages 512");
    assert_eq!(
        said,
        "write 512 to /proc/sys/vm/nr_hugepages (now 64)\n\
         write vm.nr_hugepages = 512 to /etc/sysctl.d/60-flumeway.conf, for the next boot\n(dry run: add --apply)\n"
    );
    let said = machine.does("hugepages 16 --node 1");
    assert!(
        said.starts_with(
            "write 16 to /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages (now 8)\n"
        )
    );
    let said = machine.does("bind 00:05.0");
    assert_eq!(
        said,
        "interface eth1 goes away\nload module vfio-pci\nbind 0000:00:05.0 to vfio-pci (now ixgbe)\n(dry run: add --apply)\n"
    );
    let said = machine.does("isolate 2-3");
    assert!(said.starts_with("kernel command line: isolcpus=2-3 nohz_full=2-3 rcu_nocbs=2-3\n"), "{said}");
    assert_eq!(machine.does("undo"), "nothing is noted\n(dry run: add --apply)\n");
    assert!(machine.does("status").contains("0000:00:05.0: driver ixgbe eth1"));
    assert_eq!(machine.snapshot(), before);
}

#[test]
fn hugepages_are_reserved_and_given_back() {
    let machine = Machine::new("pages");
    let before = machine.snapshot();
    machine.does("hugepages 512 --apply");
    assert_eq!(machine.text("proc/sys/vm/nr_hugepages"), "512");
    assert_eq!(machine.text("etc/sysctl.d/60-flumeway.conf"), "vm.nr_hugepages = 512");
    // A second time: what was there first is what undo puts back.
    machine.does("hugepages 600 --apply");
    machine.does("hugepages 16 --node 1 --apply");
    assert!(machine.text("etc/tmpfiles.d/flumeway-node1.conf").ends_with("- - - - 16"));
    assert!(machine.does("status").contains("undo would put back:\n  pages all 64\n"));
    let said = machine.does("undo");
    assert!(said.contains("write 64 to /proc/sys/vm/nr_hugepages (now 600)"), "{said}");
    assert_eq!(machine.text("proc/sys/vm/nr_hugepages"), "600", "that was a dry run");
    machine.does("undo --apply");
    assert_eq!(machine.snapshot(), before);
    assert_eq!(machine.does("undo --apply"), "nothing is noted\n");
}

#[test]
fn a_function_is_bound_and_given_back() {
    let machine = Machine::new("bind");
    machine.does("bind 0000:00:05.0 --driver uio_pci_generic --apply");
    let device = "sys/bus/pci/devices/0000:00:05.0";
    assert_eq!(machine.text(&format!("{device}/driver_override")), "uio_pci_generic");
    assert_eq!(machine.text("sys/bus/pci/drivers/ixgbe/unbind"), "0000:00:05.0");
    assert_eq!(machine.text("sys/bus/pci/drivers_probe"), "0000:00:05.0");
    assert_eq!(machine.text("var/lib/flumeway/host-setup/state"), "bound 0000:00:05.0 ixgbe");
    let said = machine.does("undo --apply");
    assert_eq!(said, "bind 0000:00:05.0 to ixgbe again (now ixgbe)\n");
    assert_eq!(machine.text(&format!("{device}/driver_override")), "", "the kernel chooses again");
    assert_eq!(machine.text("var/lib/flumeway/host-setup/state"), "");
}

#[test]
fn the_way_in_and_out_is_not_cut() {
    let machine = Machine::new("cut");
    let before = machine.snapshot();
    let (code, said) = machine.run("bind 00:03.0 --apply", "");
    assert_eq!(code, 3);
    assert!(said.contains("is eth0, which carries the default route") && said.contains("--force"), "{said}");
    let ssh = format!("198.51.100.7 50000 192.0.2.{} 22", b'5');
    let (code, said) = machine.run("bind 00:05.0 --apply", &ssh);
    assert!(code == 3 && said.contains("this ssh session"), "{code}: {said}");
    assert_eq!(machine.snapshot(), before);
    let (code, said) = machine.run("bind 00:05.0 --force", &ssh);
    assert!(code == 0 && said.contains("bind 0000:00:05.0 to vfio-pci"), "{said}");
}

#[test]
fn what_makes_no_sense_is_refused_with_what_to_write() {
    let machine = Machine::new("refused");
    for (words, code, said) in [
        ("hugepages", 2, "needs a number of pages"),
        ("hugepages many", 2, "needs a number of pages, not 'many'"),
        ("hugepages 4 --node 7", 3, "there is no node 7"),
        ("bind eth1", 2, "no PCI address"),
        ("bind 00:09.0", 3, "lspci -D shows them"),
        ("bind 00:05.0 --driver ixgbe", 2, "name vfio-pci or uio_pci_generic"),
        ("unbind 00:05.0", 3, "nothing is noted of it"),
        ("isolate all", 2, "cores such as 2-3"),
        ("permit 00:05.0 --user nobody", 3, "/dev/vfio/7 is missing"),
        ("permit 00:05.0", 2, "needs --user"),
        ("permit /dev/hugepages --user nobody", 3, "mount -t hugetlbfs"),
        ("reboot", 2, "usage: host-setup"),
        ("bind 00:05.0 --yes", 2, "--yes is not known"),
    ] {
        let (is, text) = machine.run(words, "");
        assert!(is == code && text.contains(said), "{words}: {is} {text}");
    }
}
