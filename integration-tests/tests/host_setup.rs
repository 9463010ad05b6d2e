//! `deploy/host-setup` on machines made of files: what it would do, what it does, and that it puts everything back.

use integration_tests::pipeline::folder;
use integration_tests::root;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Pages of 2 MiB, whatever the default size is.
const PAGES: &str = "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
const CARD: &str = "sys/bus/pci/devices/0000:00:05.0";
const STATE: &str = "var/lib/flumeway/host-setup/state";

/// The kernel's answers to what is written: a function loses its driver, or gets that of its override, or its first one. A
/// driver with a file `refuses` takes none.
const KERNEL: &str = r#"#!/bin/sh
cd "$(dirname "$0")/sys/bus/pci" || exit 1
echo "$1 $2" >>../../../written
case $1 in
*/driver/unbind) rm "devices/$2/driver" ;;
*/drivers_probe)
    override=$(cat "devices/$2/driver_override")
    to=${override:-ixgbe}
    [ -e "devices/$2/driver" ] || [ ! -d "drivers/$to" ] || [ -e "drivers/$to/refuses" ] ||
        ln -s "../../drivers/$to" "devices/$2/driver"
    ;;
esac
"#;

/// A machine with one way out (`0000:00:03.0`, eth0) and one spare function (`0000:00:05.0`, eth1).
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str) -> Self {
        let made = Self(folder(&format!("host-{name}")));
        made.file("proc/sys/vm/nr_hugepages", "2\n");
        made.file(PAGES, "64\n");
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
        for driver in ["ixgbe", "vfio-pci", "uio_pci_generic"] {
            made.file(&format!("sys/bus/pci/drivers/{driver}/unbind"), "");
        }
        made.file("kernel", KERNEL);
        fs::set_permissions(made.0.join("kernel"), fs::Permissions::from_mode(0o755)).unwrap();
        made.file("sys/bus/pci/drivers_probe", "");
        made
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, to: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
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

    /// The same as an ordinary user; `None` if this test is not root, and cannot become one.
    fn run_as_nobody(&self, words: &str, has_root: bool) -> Option<(i32, String)> {
        let mut script = Command::new("setpriv");
        script.args("--reuid=65534 --regid=65534 --clear-groups sh -s --".split(' ')).args(words.split_whitespace());
        script.stdin(Stdio::from(fs::File::open(root().join("deploy/host-setup")).unwrap())).current_dir("/");
        if has_root {
            script.env("FLUMEWAY_SYSROOT", &self.0);
        }
        let out = script.output().ok()?;
        let said = String::from_utf8([out.stdout, out.stderr].concat()).expect("text");
        (!said.contains("setpriv:")).then(|| (out.status.code().unwrap_or(-1), said))
    }

    fn driver(&self) -> Option<String> {
        let link = fs::read_link(self.0.join(CARD).join("driver")).ok()?;
        Some(link.file_name()?.to_str()?.to_owned())
    }

    /// What was written to files of the kernel since the last time.
    fn written(&self) -> String {
        let written = self.text("written");
        let _ = fs::remove_file(self.0.join("written"));
        written
    }

    fn does(&self, words: &str) -> String {
        let (code, said) = self.run(words, "");
        assert_eq!(code, 0, "{words}: {said}");
        said
    }

    /// All files with their contents, to compare.
    fn snapshot(&self) -> String {
        let listed = Command::new("sh")
            .args(["-c", "find . -type f ! -path ./written | LC_ALL=C sort | xargs -d '\\n' md5sum"])
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
        "write 512 to /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages (now 64)\n\
         write it to /etc/tmpfiles.d/flumeway-hugepages.conf, for the next boot\n(dry run: add --apply)\n"
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
    assert_eq!(machine.text(PAGES), "512");
    assert_eq!(machine.text("proc/sys/vm/nr_hugepages"), "2", "pages of another size, perhaps");
    let conf = machine.text("etc/tmpfiles.d/flumeway-hugepages.conf");
    assert_eq!(conf, format!("w /{PAGES} - - - - 512"));
    // Fewer than there are only by force.
    let (code, said) = machine.run("hugepages 500 --apply", "");
    assert!(code == 3 && said.contains("512 pages are reserved") && said.contains("--force"), "{said}");
    assert_eq!(machine.text(PAGES), "512");
    machine.does("hugepages 500 --force --apply");
    assert_eq!(machine.text(PAGES), "500");
    // A second time: what was there first is what undo puts back.
    machine.does("hugepages 600 --apply");
    machine.does("hugepages 16 --node 1 --apply");
    assert!(machine.text("etc/tmpfiles.d/flumeway-hugepages-node1.conf").ends_with("- - - - 16"));
    assert!(machine.does("status").contains("undo would put back:\n  pages all 64\n"));
    let said = machine.does("undo");
    assert!(said.contains("write 64 to /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages (now 600)"), "{said}");
    assert_eq!(machine.text(PAGES), "600", "that was a dry run");
    machine.does("undo --apply");
    assert_eq!(machine.snapshot(), before);
    assert_eq!(machine.does("undo --apply"), "nothing is noted\n");
}

#[test]
fn a_function_is_bound_and_given_back() {
    let machine = Machine::new("bind");
    machine.does("bind 0000:00:05.0 --driver uio_pci_generic --apply");
    assert_eq!(machine.driver().as_deref(), Some("uio_pci_generic"));
    assert_eq!(machine.text("sys/bus/pci/drivers/ixgbe/unbind"), "0000:00:05.0");
    assert_eq!(machine.text("sys/bus/pci/drivers_probe"), "0000:00:05.0");
    assert_eq!(machine.text(STATE), "bound 0000:00:05.0 ixgbe");
    machine.does("bind 0000:00:05.0 --apply");
    assert_eq!(machine.text(STATE), "bound 0000:00:05.0 ixgbe", "the first driver is the one that counts");
    let said = machine.does("undo --apply");
    assert_eq!(said, "bind 0000:00:05.0 to ixgbe again (now vfio-pci)\n");
    assert_eq!(machine.driver().as_deref(), Some("ixgbe"));
    assert_eq!(machine.text(&format!("{CARD}/driver_override")), "", "the kernel chooses again");
    assert_eq!(machine.text(STATE), "");
}

#[test]
fn a_card_that_has_its_driver_is_left_alone() {
    let machine = Machine::new("boot");
    machine.does("bind 0000:00:05.0 --apply");
    // What a boot does.
    fs::remove_file(machine.0.join(CARD).join("driver")).unwrap();
    machine.link(&format!("{CARD}/driver"), "../../drivers/ixgbe");
    machine.written();
    assert_eq!(machine.does("undo --apply"), "leave 0000:00:05.0 to ixgbe, which has it\n");
    assert_eq!(machine.written(), "/sys/bus/pci/devices/0000:00:05.0/driver_override");
    assert_eq!(machine.text(STATE), "");
}

#[test]
fn what_cannot_be_given_back_stays_noted() {
    let machine = Machine::new("kept");
    machine.does("bind 0000:00:05.0 --apply");
    machine.file("sys/bus/pci/drivers/ixgbe/refuses", "");
    let (code, said) = machine.run("undo --apply", "");
    assert!(code == 3 && said.contains("has driver none and not ixgbe"), "{said}");
    assert_eq!(machine.text(STATE), "bound 0000:00:05.0 ixgbe");
    fs::remove_file(machine.0.join("sys/bus/pci/drivers/ixgbe/refuses")).unwrap();
    machine.does("unbind 0000:00:05.0 --apply");
    assert_eq!((machine.driver().as_deref(), machine.text(STATE).as_str()), (Some("ixgbe"), ""));

    // A file of the kernel that takes nothing is a failure too.
    machine.does("bind 0000:00:05.0 --apply");
    let probe = machine.0.join("sys/bus/pci/drivers_probe");
    fs::remove_file(&probe).unwrap();
    fs::create_dir(&probe).unwrap();
    let (code, said) = machine.run("undo --apply", "");
    assert!(code == 3 && said.contains("the note is kept"), "{said}");
    assert_eq!(machine.text(STATE), "bound 0000:00:05.0 ixgbe");
}

#[test]
fn a_driver_that_does_not_take_a_card_leaves_it_its_own() {
    let machine = Machine::new("untaken");
    machine.file("sys/bus/pci/drivers/vfio-pci/refuses", "");
    let (code, said) = machine.run("bind 0000:00:05.0 --apply", "");
    assert!(code == 3 && said.contains("did not take vfio-pci, and has driver ixgbe again"), "{said}");
    assert_eq!((machine.driver().as_deref(), machine.text(STATE).as_str()), (Some("ixgbe"), ""));
    machine.file("sys/bus/pci/drivers/ixgbe/refuses", "");
    let (_, said) = machine.run("bind 0000:00:05.0 --apply", "");
    assert!(said.contains("host-setup unbind 0000:00:05.0 --apply"), "{said}");
    assert_eq!(machine.text(STATE), "bound 0000:00:05.0 ixgbe");
}

#[test]
fn without_an_iommu_vfio_is_not_begun_with() {
    let machine = Machine::new("noiommu");
    fs::remove_file(machine.0.join(CARD).join("iommu_group")).unwrap();
    let before = machine.snapshot();
    let (code, said) = machine.run("bind 0000:00:05.0 --apply", "");
    assert!(code == 3 && said.contains("intel_iommu=on") && said.contains("uio_pci_generic"), "{said}");
    assert_eq!((machine.snapshot(), machine.driver().as_deref()), (before, Some("ixgbe")));
    machine.file("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    machine.does("bind 0000:00:05.0 --apply");
    assert_eq!(machine.driver().as_deref(), Some("vfio-pci"));
}

#[test]
fn a_card_in_use_is_not_taken_away() {
    let machine = Machine::new("used");
    machine.does("bind 0000:00:05.0 --apply");
    machine.file("proc/4711/comm", "dpdk-testpmd\n");
    machine.link("proc/4711/fd/12", "/dev/vfio/7");
    for words in ["unbind 00:05.0 --apply", "undo --apply", "bind 00:05.0 --driver uio_pci_generic --apply"] {
        let (code, said) = machine.run(words, "");
        assert!(code == 3 && said.contains("in use by process 4711 (dpdk-testpmd)"), "{words}: {said}");
        assert_eq!(machine.driver().as_deref(), Some("vfio-pci"), "{words}");
    }
    // Another group's file is another card's.
    fs::remove_file(machine.0.join("proc/4711/fd/12")).unwrap();
    machine.link("proc/4711/fd/12", "/dev/vfio/77");
    machine.does("undo --apply");

    machine.does("bind 0000:00:05.0 --driver uio_pci_generic --apply");
    machine.file(&format!("{CARD}/uio/uio0/name"), "uio_pci_generic\n");
    machine.link("proc/4711/fd/13", "/dev/uio0");
    let (code, said) = machine.run("undo --apply", "");
    assert!(code == 3 && said.contains("in use by process 4711"), "{said}");
}

#[test]
fn files_of_others_are_not_written_over() {
    let machine = Machine::new("others");
    for (file, words) in [
        ("etc/tmpfiles.d/flumeway-hugepages.conf", "hugepages 512 --apply"),
        ("etc/tmpfiles.d/flumeway-hugepages-node1.conf", "hugepages 16 --node 1 --apply"),
        ("etc/default/grub.d/60-flumeway.cfg", "isolate 2-3 --apply"),
    ] {
        machine.file(file, "somebody's\n");
        let before = machine.snapshot();
        let (code, said) = machine.run(words, "");
        assert!(code == 3 && said.contains(&format!("/{file} is there")), "{words}: {said}");
        assert_eq!(machine.snapshot(), before, "{words}");
    }
    fs::remove_file(machine.0.join("etc/default/grub.d/60-flumeway.cfg")).unwrap();
    machine.does("isolate 2-3 --apply");
    machine.does("isolate 2 --apply");
    let said = machine.does("undo --apply");
    assert!(said.contains("remove /etc/default/grub.d/60-flumeway.cfg\nthen run update-grub, and boot"), "{said}");
}

#[test]
fn an_ordinary_user_is_told_to_be_root() {
    let machine = Machine::new("nobody");
    machine.does("hugepages 512 --apply");
    let Some((code, said)) = machine.run_as_nobody("hugepages 512 --apply", false) else {
        println!("skipped: needs setpriv, and to be root");
        return;
    };
    assert!(code == 3 && said.contains("run as root"), "{said}");
    let (code, said) = machine.run_as_nobody("undo", true).unwrap();
    assert!(code == 3 && said.contains("run as root") && !said.contains("nothing is noted"), "{said}");
    let (code, said) = machine.run_as_nobody("status", true).unwrap();
    assert!(code == 0 && said.contains("what undo would put back is root's to read"), "{said}");
    let (code, said) = machine.run_as_nobody("hugepages 600", true).unwrap();
    assert!(code == 0 && said.contains("write 600"), "a dry run is everybody's: {said}");
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
fn what_stands_on_an_interface_is_not_cut_either() {
    let machine = Machine::new("upper");
    // A bond over eth1, a bridge over that, and a VLAN on it which the default route of IPv6 leaves by.
    machine.file("sys/class/net/eth1/upper_bond0/mtu", "");
    machine.file("sys/class/net/bond0/upper_br0/mtu", "");
    machine.file("sys/class/net/br0/upper_br0.7/mtu", "");
    machine.does("bind 00:05.0");
    let zeros = "0".repeat(32);
    let route = format!("{zeros} 00 {zeros} 00 fe80000000000000000000000000000{} 0 0 0 3 br0.7\n", 1);
    machine.file("proc/net/ipv6_route", &route);
    let (code, said) = machine.run("bind 00:05.0 --apply", "");
    assert!(code == 3 && said.contains("the default route of IPv6 (by br0.7 above it)"), "{said}");
    fs::remove_file(machine.0.join("proc/net/ipv6_route")).unwrap();

    // sudo forgets the session; the shell above it does not.
    let parent = std::process::id();
    machine.file(&format!("proc/{parent}/environ"), "HOME=/root\0");
    machine.file(&format!("proc/{parent}/status"), "Name:\tsudo\nPPid:\t4242\n");
    machine.file("proc/4242/environ", "TERM=xterm\0SSH_CONNECTION=198.51.100.7 50000 192.0.2.77 22\0");
    machine.does("bind 00:05.0");
    machine.file("addresses/br0", "192.0.2.77/24\n");
    let (code, said) = machine.run("bind 00:05.0 --apply", "");
    assert!(code == 3 && said.contains("this ssh session (by br0 above it)"), "{said}");
    assert_eq!(machine.driver().as_deref(), Some("ixgbe"));
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
        ("hugepages 8 --apply", 3, "64 pages are reserved"),
        ("reboot", 2, "usage: host-setup"),
        ("bind 00:05.0 --yes", 2, "--yes is not known"),
    ] {
        let (is, text) = machine.run(words, "");
        assert!(is == code && text.contains(said), "{words}: {is} {text}");
    }
    let mut script = Command::new("sh");
    script.arg(root().join("deploy/host-setup")).args(["permit", "/mnt/huge pages", "--user", "nobody"]);
    let out = script.env("FLUMEWAY_SYSROOT", &machine.0).output().expect("a shell");
    assert!(String::from_utf8_lossy(&out.stderr).contains("has a blank in it"), "{out:?}");
}
