//! The machine's command line.

use super::{MACS, RX, TX};
use std::path::Path;
use std::process::Command;

/// For devices of the machine itself: behind the IOMMU like the cards.
const VIRTIO: &str = "iommu_platform=on,disable-legacy=on";
/// With `iommu=pt` one boot serves both drivers: a card under uio_pci_generic does DMA by physical address, one under vfio-pci
/// through mappings of its own. A timer that ticks late, as it does where the host is busy, is no reason to panic.
const KERNEL: &str = "console=ttyS0 quiet panic=-1 intel_iommu=on iommu=pt mitigations=off tsc=reliable no_timer_check random.trust_cpu=on";
/// MiB: hugepages of arena and EAL, and what the kernel's page cache takes.
const MEMORY_MIB: &str = "2560";

/// Everything after the program's name.
pub fn arguments(command: &mut Command, kernel: &Path, dir: &Path, taps: [&str; 2]) {
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.args(["-machine", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi", "-cpu", "max"]);
    command.args(["-smp", "2", "-m", MEMORY_MIB, "-device", "intel-iommu,intremap=on,aw-bits=48"]);
    command.arg("-kernel").arg(kernel.join("vmlinuz")).arg("-initrd").arg(kernel.join("initramfs.cpio"));
    command.args(["-append", KERNEL, "-serial", &format!("file:{}", dir.join("console").display())]);
    command.args(["-chardev", &format!("socket,id=orders,path={}", dir.join("orders").display())]);
    command.args([
        "-device",
        &format!("virtio-serial-pci,{VIRTIO}"),
        "-device",
        "virtserialport,chardev=orders,name=orders",
    ]);
    let (programs, source, share) = (crate::shipped(), crate::root(), dir.join("share"));
    let folders =
        [("host", Path::new("/"), "on"), ("bin", &programs, "on"), ("source", &source, "on"), ("share", &share, "off")];
    for (tag, path, readonly) in folders {
        // The host's root holds several file systems, whose inode numbers must not meet.
        let fs =
            format!("local,id={tag},path={},security_model=none,multidevs=remap,readonly={readonly}", path.display());
        command.args(["-fsdev", &fs, "-device", &format!("virtio-9p-pci,fsdev={tag},mount_tag={tag},{VIRTIO}")]);
    }
    for ((address, mac), tap) in [RX, TX].into_iter().zip(MACS).zip(taps) {
        let slot = address.trim_start_matches("0000:00:");
        command.args(["-netdev", &format!("tap,id={tap},ifname={tap},script=no,downscript=no")]);
        command.args(["-device", &format!("e1000e,netdev={tap},mac={mac},addr={slot},romfile=")]);
    }
}
