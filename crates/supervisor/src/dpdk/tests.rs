//! Machines as they may be found, made of files in a folder.

use super::error::DeviceError;
use super::machine::Machine;
use super::{examine_devices, pci, virtual_device};
use config::{DpdkDevice, Engine, Pipeline};
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
    let examine = |text: &str| virtual_device::examine(&made.machine(), &DpdkDevice::parse(text).unwrap(), &dpdk);
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
fn hugepages_are_counted_for_the_library_and_for_who_writes_the_arena() {
    let made = Made::new("pages");
    let mut pipeline = Pipeline::default_with(Engine::Null);
    pipeline.dpdk.rx = vec![DpdkDevice::parse("net_null0").unwrap()];
    pipeline.dpdk.tx = DpdkDevice::parse("net_null1");
    assert_eq!(examine_devices(&made.machine(), &pipeline, 5000), Ok(()), "the arena may lie in ordinary pages");
    made.function("0000:3b:00.0", Some("mlx5_core"));
    pipeline.dpdk.tx = DpdkDevice::parse("3b:00.0");
    let few = examine_devices(&made.machine(), &pipeline, 90).unwrap_err();
    assert_eq!(few, DeviceError::NoHugepages { needed: 106, free: 100, total: 126, arena: true });
    assert!(few.to_string().ends_with("run: deploy/host-setup hugepages 126 --apply"), "{few}");
    assert_eq!(examine_devices(&made.machine(), &pipeline, 84), Ok(()));
}
