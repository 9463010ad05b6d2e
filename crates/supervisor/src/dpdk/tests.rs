//! Machines as they may be found, made of files in a folder.

use super::error::DeviceError;
use super::leftover::{self, Owner};
use super::machine::Machine;
use super::{examine_devices, pci, virtual_device};
use config::{DpdkDevice, Engine, Hugepages, Pipeline};
use ports::xdp::Foreign;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

/// A machine in a folder, removed when dropped.
struct Made(PathBuf);

impl Made {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("flumeway-machine-{name}-{}", std::process::id()));
        let made = Self(root);
        made.file("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "100");
        made.file("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "120");
        made
    }

    fn machine(&self) -> Machine {
        Machine::at(&self.0)
    }

    fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn link(&self, path: &str, to: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
    }

    /// A network function, bound to `driver` if there is one.
    fn function(&self, address: &str, driver: Option<&str>) {
        self.file(&format!("sys/bus/pci/devices/{address}/class"), "0x020000\n");
        if let Some(driver) = driver {
            self.link(&format!("sys/bus/pci/devices/{address}/driver"), &format!("../../../bus/pci/drivers/{driver}"));
        }
    }

    /// Puts a function into a group that vfio has opened.
    fn group(&self, address: &str, group: &str) {
        self.link(
            &format!("sys/bus/pci/devices/{address}/iommu_group"),
            &format!("../../../kernel/iommu_groups/{group}"),
        );
        self.file(&format!("sys/kernel/iommu_groups/{group}/devices/{address}"), "");
    }

    fn node(&self, path: &str, mode: u32) {
        let file = self.file(path, "");
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn examine(&self, address: &str) -> Result<(), DeviceError> {
        pci::examine(&self.machine(), address, (1000, 1000))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn functions_that_nobody_may_have_are_named_with_what_to_do() {
    let made = Made::new("functions");
    made.function("0000:00:03.0", Some("virtio-pci"));
    made.function("0000:00:04.0", None);
    made.function("0000:3b:00.0", Some("mlx5_core"));
    let unknown = made.examine("0000:00:09.0").unwrap_err().to_string();
    assert!(
        unknown
            .starts_with("there is no PCI device 0000:00:09.0; network devices here are 0000:00:03.0 (virtio-pci), ")
    );
    let bound = made.examine("0000:00:03.0").unwrap_err().to_string();
    assert!(bound.contains("kernel's driver virtio-pci; run: deploy/host-setup bind 0000:00:03.0 --apply"), "{bound}");
    assert_eq!(made.examine("0000:00:04.0"), Err(DeviceError::Unbound("0000:00:04.0".to_owned())));
    assert_eq!(made.examine("0000:3b:00.0"), Ok(()), "its driver leaves room beside it");
}

#[test]
fn vfio_needs_a_group_that_the_stages_may_open() {
    let made = Made::new("vfio");
    made.function("0000:00:05.0", Some("vfio-pci"));
    assert!(matches!(made.examine("0000:00:05.0"), Err(DeviceError::NoNode { .. })), "no IOMMU, no group");
    made.group("0000:00:05.0", "7");
    made.node("dev/vfio/vfio", 0o660);
    let refused = made.examine("0000:00:05.0").unwrap_err().to_string();
    assert!(refused.contains("run: chmod 0666 /dev/vfio/vfio"), "{refused}");
    made.node("dev/vfio/vfio", 0o666);
    let missing = made.examine("0000:00:05.0").unwrap_err().to_string();
    assert!(missing.contains("/dev/vfio/7 is missing; run: modprobe vfio-pci"), "{missing}");
    made.node("dev/vfio/7", 0o600);
    let refused = made.examine("0000:00:05.0").unwrap_err().to_string();
    assert!(refused.contains("host-setup permit 0000:00:05.0 --user 1000 --apply"), "{refused}");
    made.node("dev/vfio/7", 0o606);
    assert_eq!(made.examine("0000:00:05.0"), Ok(()));

    // Bridges may stay with the kernel, others not.
    made.function("0000:00:01.0", Some("pcieport"));
    made.group("0000:00:01.0", "7");
    assert_eq!(made.examine("0000:00:05.0"), Ok(()));
    made.function("0000:00:05.1", Some("snd_hda_intel"));
    made.group("0000:00:05.1", "7");
    let shared = made.examine("0000:00:05.0").unwrap_err().to_string();
    assert!(shared.contains("shares IOMMU group 7 with 0000:00:05.1 (snd_hda_intel)"), "{shared}");
}

#[test]
fn without_an_iommu_the_groups_file_has_another_name() {
    let made = Made::new("noiommu");
    made.function("0000:00:05.0", Some("vfio-pci"));
    made.group("0000:00:05.0", "0");
    made.file("sys/kernel/iommu_groups/0/name", "vfio-noiommu\n");
    made.node("dev/vfio/vfio", 0o666);
    made.node("dev/vfio/noiommu-0", 0o666);
    assert_eq!(pci::access(&made.machine(), "0000:00:05.0"), Some(pci::Access::VfioNoIommu));
    assert_eq!(made.examine("0000:00:05.0"), Ok(()));
}

#[test]
fn a_uio_device_in_use_is_told_with_its_process() {
    let made = Made::new("uio");
    made.function("0000:00:06.0", Some("uio_pci_generic"));
    assert!(matches!(made.examine("0000:00:06.0"), Err(DeviceError::NoNode { .. })));
    made.file("sys/bus/pci/devices/0000:00:06.0/uio/uio0/name", "uio_pci_generic");
    made.node("dev/uio0", 0o600);
    assert_eq!(made.examine("0000:00:06.0"), Ok(()));
    made.file("proc/4711/comm", "dpdk-testpmd\n");
    made.link("proc/4711/fd/9", "/dev/uio0");
    let used = made.examine("0000:00:06.0").unwrap_err().to_string();
    assert!(used.starts_with("0000:00:06.0 is in use by process 4711 (dpdk-testpmd); stop that program"), "{used}");
}

#[test]
fn virtual_devices_need_their_driver_and_their_interface() {
    let made = Made::new("virtual");
    let dpdk = Pipeline::default_with(Engine::Null).dpdk;
    let examine = |text: &str| virtual_device::examine(&made.machine(), &DpdkDevice::parse(text).unwrap(), &dpdk, &[]);
    assert_eq!(examine("net_null0"), Ok(()), "no folder of drivers: they may be in the library itself");
    for driver in ["net_null", "net_af_packet", "net_ixgbe", "net_bond"] {
        made.file(&format!("usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_{driver}.so"), "");
    }
    assert_eq!((examine("net_null0"), examine("net_bonding0")), (Ok(()), Ok(())));
    let unknown = examine("net_memif0").unwrap_err().to_string();
    assert!(unknown.contains("has no librte_net_memif.so; it has net_af_packet, net_bonding, net_null;"), "{unknown}");
    assert_eq!(examine("net_af_packet0,iface=lo"), Ok(()));
    let missing = examine("net_af_packet0,iface=no-such").unwrap_err().to_string();
    assert_eq!(
        missing,
        "net_af_packet0,iface=no-such: there is no interface no-such; write one of those that `ip link` shows"
    );
}

#[test]
fn an_interface_must_not_answer_for_the_pipeline() {
    let made = Made::new("answers");
    let dpdk = Pipeline::default_with(Engine::Null).dpdk;
    let (device, own) = (DpdkDevice::parse("net_af_packet0,iface=lo").unwrap(), "127.0.0.1".parse().unwrap());
    let examine = |own: &[_]| virtual_device::examine(&made.machine(), &device, &dpdk, own);
    assert_eq!(examine(&["192.0.2.1".parse().unwrap()]), Ok(()));
    let refused = examine(&[own]).unwrap_err().to_string();
    assert!(refused.contains("lo has the address 127.0.0.1 itself"), "{refused}");
    assert!(refused.ends_with("run: ip addr flush dev lo to 127.0.0.1"), "{refused}");
}

#[test]
fn one_group_does_not_serve_two_ports() {
    let made = Made::new("groups");
    let functions = ["0000:00:05.0", "0000:00:05.1", "0000:00:06.0"];
    for (address, group) in functions.into_iter().zip(["7", "7", "8"]) {
        made.function(address, Some("vfio-pci"));
        made.group(address, group);
    }
    let examine = |a: usize, b: usize| pci::examine_groups(&made.machine(), [functions[a], functions[b]].into_iter());
    assert_eq!(examine(0, 2), Ok(()));
    let shared = examine(0, 1).unwrap_err().to_string();
    assert!(shared.starts_with("0000:00:05.0 and 0000:00:05.1 are both in IOMMU group 7"), "{shared}");
    assert!(shared.contains("virtual functions") && shared.contains("af_xdp"), "{shared}");
    // A function that the kernel keeps opens no group.
    made.function("0000:3b:00.0", Some("mlx5_core"));
    made.group("0000:3b:00.0", "7");
    let beside = [functions[0], "0000:3b:00.0"].into_iter();
    assert_eq!(pci::examine_groups(&made.machine(), beside), Ok(()));
}

#[test]
fn a_program_that_somebody_holds_is_no_leftover() {
    let made = Made::new("leftover");
    let of = |name: &str, id, maps: &[u32]| Foreign { name: name.to_owned(), id, maps: maps.to_vec() };
    let judge = |found: &Foreign, called: &[Foreign]| leftover::judge(&made.machine(), found, called);
    let direct = of("xsk_def_prog", 40, &[90, 91]);
    assert_eq!(judge(&direct, &[]), Owner::Nobody, "no process lives");
    // Descriptors of other programs and maps, and numbers that only begin alike.
    made.file("proc/17/comm", "other\n");
    made.link("proc/17/fd/3", "anon_inode:bpf-map");
    made.file("proc/17/fdinfo/3", "pos:\t0\nmap_type:\t17\nmap_id:\t900\n");
    made.link("proc/17/fd/4", "anon_inode:bpf-prog");
    made.file("proc/17/fdinfo/4", "prog_id:\t90\n");
    assert_eq!(judge(&direct, &[]), Owner::Nobody);
    made.file("proc/4711/comm", "dpdk-testpmd\n");
    made.link("proc/4711/fd/9", "anon_inode:bpf-map");
    made.file("proc/4711/fdinfo/9", "map_id:\t91\n");
    let testpmd = Owner::Process("process 4711 (dpdk-testpmd)".to_owned());
    assert_eq!(judge(&direct, &[]), testpmd, "by a map alone");
    assert_eq!(judge(&of("xsk_def_prog", 90, &[]), &[]), Owner::Process("process 17 (other)".to_owned()));

    // Behind a dispatcher, it is those that are called who count.
    let dispatcher = of("xdp_dispatcher", 50, &[]);
    assert_eq!(judge(&dispatcher, std::slice::from_ref(&direct)), testpmd);
    assert_eq!(judge(&dispatcher, &[of("xsk_def_xdp_pro", 41, &[])]), Owner::Nobody);
    assert_eq!(judge(&dispatcher, &[of("xsk_def_prog", 41, &[]), of("xdp_filter", 42, &[])]), Owner::Other);
    assert_eq!(judge(&dispatcher, &[]), Owner::Other, "nothing is known of it");
    assert_eq!(judge(&of("firewall", 60, &[]), &[]), Owner::Other);
}

#[test]
fn devices_are_claimed_before_they_are_looked_at() {
    let made = Made::new("claims");
    let mut pipeline = Pipeline::default_with(Engine::Null);
    let name = format!("net_af_packet0,iface=x{}", std::process::id() % 100_000);
    pipeline.dpdk.rx = DpdkDevice::parse(&name).into_iter().collect();
    pipeline.dpdk.tx = DpdkDevice::parse("net_null0");
    let examine = || super::claim_and_examine(&made.machine(), &pipeline, 0).map(drop);
    assert!(matches!(examine(), Err(DeviceError::NoInterface { .. })), "the claim goes with the refusal");
    let running = super::Claims::make(&pipeline).unwrap();
    assert!(matches!(examine(), Err(DeviceError::InUse { .. })), "not looked at");
    drop(running);
}

#[test]
fn hugepages_are_counted_for_the_library_and_for_who_needs_the_arena_in_them() {
    let made = Made::new("pages");
    let mut pipeline = Pipeline::default_with(Engine::Null);
    pipeline.dpdk.rx = vec![DpdkDevice::parse("net_null0").unwrap()];
    pipeline.dpdk.tx = DpdkDevice::parse("net_null1");
    assert_eq!(examine_devices(&made.machine(), &pipeline, 5000), Ok(()), "the arena may lie in ordinary pages");
    // Two ports, and the successor of one of them.
    let library = 3 * 8;
    pipeline.arena.hugepages = Hugepages::Require;
    let required = examine_devices(&made.machine(), &pipeline, 90).unwrap_err();
    assert_eq!(required, DeviceError::NoHugepages { needed: 90 + library, free: 100, total: 134, arena: true });
    pipeline.arena.hugepages = Hugepages::Auto;
    made.function("0000:3b:00.0", Some("mlx5_core"));
    pipeline.dpdk.tx = DpdkDevice::parse("3b:00.0");
    let few = examine_devices(&made.machine(), &pipeline, 90).unwrap_err();
    assert_eq!(few, DeviceError::NoHugepages { needed: 90 + library, free: 100, total: 134, arena: true });
    assert!(few.to_string().ends_with("run: deploy/host-setup hugepages 134 --apply"), "{few}");
    assert_eq!(examine_devices(&made.machine(), &pipeline, 76), Ok(()));
}
