//! A PCI function: bound to a driver that gives it away, reachable by the stages' user, and in nobody else's hands.

use super::error::DeviceError;
use super::machine::Machine;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Drivers of the kernel beside which a poll-mode driver works (bifurcated): the function stays with them.
const BIFURCATED: [&str; 3] = ["mlx4_core", "mlx5_core", "mana"];
/// Drivers that map a function's registers for a process, without an IOMMU.
const UIO: [&str; 2] = ["uio_pci_generic", "igb_uio"];
const VFIO: &str = "vfio-pci";
/// Stages whose supervisor was killed hold their devices for half a second.
const ORPHANS_GO_WITHIN: Duration = Duration::from_secs(1);

/// How a function is given to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// By `vfio-pci` behind an IOMMU.
    Vfio,
    /// By `vfio-pci` without an IOMMU.
    VfioNoIommu,
    /// By a UIO driver.
    Uio,
    /// Beside the kernel's own driver.
    Bifurcated,
}

/// How the function at `address` is given to a process; `None` if it is not.
pub(super) fn access(machine: &Machine, address: &str) -> Option<Access> {
    let driver = machine.link_name(&format!("sys/bus/pci/devices/{address}/driver"))?;
    match driver.as_str() {
        VFIO if no_iommu(machine, address) => Some(Access::VfioNoIommu),
        VFIO => Some(Access::Vfio),
        driver if UIO.contains(&driver) => Some(Access::Uio),
        driver if BIFURCATED.contains(&driver) => Some(Access::Bifurcated),
        _ => None,
    }
}

/// Whether two of these functions are of one IOMMU group, which one process alone can have.
pub(super) fn examine_groups<'a>(
    machine: &Machine,
    addresses: impl Iterator<Item = &'a str>,
) -> Result<(), DeviceError> {
    let mut seen: Vec<(&str, String)> = Vec::new();
    for address in addresses.filter(|address| access(machine, address) == Some(Access::Vfio)) {
        let Some(group) = machine.link_name(&format!("sys/bus/pci/devices/{address}/iommu_group")) else { continue };
        if let Some((other, _)) = seen.iter().find(|(_, of)| *of == group) {
            return Err(DeviceError::SameGroup { address: address.to_owned(), other: (*other).to_owned(), group });
        }
        seen.push((address, group));
    }
    Ok(())
}

/// Whether the group was made up by vfio itself, there being no IOMMU.
fn no_iommu(machine: &Machine, address: &str) -> bool {
    let Some(group) = machine.link_name(&format!("sys/bus/pci/devices/{address}/iommu_group")) else { return false };
    machine.text(&format!("sys/kernel/iommu_groups/{group}/name")).as_deref() == Some("vfio-noiommu")
}

/// Looks whether stages of user and group `of` can drive the function at `address`.
pub(super) fn examine(machine: &Machine, address: &str, of: (u32, u32)) -> Result<(), DeviceError> {
    let folder = format!("sys/bus/pci/devices/{address}");
    if !machine.path(&folder).exists() {
        return Err(DeviceError::UnknownPci { address: address.to_owned(), there: network_functions(machine) });
    }
    let Some(driver) = machine.link_name(&format!("{folder}/driver")) else {
        return Err(DeviceError::Unbound(address.to_owned()));
    };
    match access(machine, address) {
        None => Err(DeviceError::Bound { address: address.to_owned(), driver }),
        Some(Access::Bifurcated) => Ok(()),
        Some(Access::Uio) => examine_uio(machine, address, &driver),
        Some(Access::Vfio | Access::VfioNoIommu) => examine_vfio(machine, address, of),
    }
}

/// Network functions with their drivers: `0000:00:03.0 (virtio-pci)`.
fn network_functions(machine: &Machine) -> Vec<String> {
    let is_network = |address: &String| {
        // The upper byte of the class code: 02 is a network controller (PCI Code and ID Assignment Specification).
        machine.text(&format!("sys/bus/pci/devices/{address}/class")).is_some_and(|class| class.starts_with("0x02"))
    };
    let functions = machine.names("sys/bus/pci/devices").into_iter().filter(is_network);
    let with_driver = |address: String| {
        let driver = machine.link_name(&format!("sys/bus/pci/devices/{address}/driver"));
        format!("{address} ({})", driver.as_deref().unwrap_or("no driver"))
    };
    functions.map(with_driver).collect()
}

fn examine_uio(machine: &Machine, address: &str, driver: &str) -> Result<(), DeviceError> {
    let names = machine.names(&format!("sys/bus/pci/devices/{address}/uio"));
    let missing = |path: PathBuf| DeviceError::NoNode {
        address: address.to_owned(),
        driver: driver.to_owned(),
        path,
        module: "uio_pci_generic",
    };
    let Some(name) = names.first() else { return Err(missing(PathBuf::from("/dev/uio*"))) };
    let (node, shown) = (machine.path(&format!("dev/{name}")), PathBuf::from(format!("/dev/{name}")));
    if !node.exists() {
        return Err(missing(shown));
    }
    // Whose file it is does not matter: CAP_DAC_OVERRIDE, which the stage keeps, opens it and those of the registers.
    let holder = || machine.holder(&shown);
    if without_orphans(machine, || holder().is_none()) {
        return Ok(());
    }
    Err(DeviceError::InUse { device: address.to_owned(), holder: holder() })
}

fn examine_vfio(machine: &Machine, address: &str, of: (u32, u32)) -> Result<(), DeviceError> {
    let missing = |path: PathBuf| DeviceError::NoNode {
        address: address.to_owned(),
        driver: VFIO.to_owned(),
        path,
        module: "vfio-pci",
    };
    let Some(group) = machine.link_name(&format!("sys/bus/pci/devices/{address}/iommu_group")) else {
        return Err(missing(PathBuf::from(format!("/sys/bus/pci/devices/{address}/iommu_group"))));
    };
    let name = if no_iommu(machine, address) { format!("noiommu-{group}") } else { group.clone() };
    for file in ["vfio".to_owned(), name.clone()] {
        let (node, shown) = (machine.path(&format!("dev/vfio/{file}")), PathBuf::from(format!("/dev/vfio/{file}")));
        let Ok(found) = fs::metadata(&node) else { return Err(missing(shown)) };
        if !may_use(found.mode(), (found.uid(), found.gid()), of) {
            if file == "vfio" {
                return Err(DeviceError::VfioNotPermitted { path: shown, uid: of.0 });
            }
            return Err(DeviceError::NotPermitted { address: address.to_owned(), path: shown, uid: of.0 });
        }
    }
    let others = kernels_of(machine, &group, address);
    if !others.is_empty() {
        return Err(DeviceError::Group { address: address.to_owned(), group, others: others.join(", ") });
    }
    let node = machine.path(&format!("dev/vfio/{name}"));
    if without_orphans(machine, || !is_busy(&node)) {
        return Ok(());
    }
    let holder = machine.holder(&PathBuf::from(format!("/dev/vfio/{name}")));
    Err(DeviceError::InUse { device: address.to_owned(), holder })
}

/// A group is opened by one process at a time; this one closes it again.
fn is_busy(node: &Path) -> bool {
    let opened = fs::OpenOptions::new().read(true).write(true).open(node);
    opened.is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY))
}

/// Others of the group that the kernel drives; bridges may stay with it.
fn kernels_of(machine: &Machine, group: &str, address: &str) -> Vec<String> {
    let members = machine.names(&format!("sys/kernel/iommu_groups/{group}/devices"));
    let driven = |other: String| {
        let driver = machine.link_name(&format!("sys/bus/pci/devices/{other}/driver"))?;
        let is_kernels = !matches!(driver.as_str(), VFIO | "pcieport" | "pci-stub");
        is_kernels.then(|| format!("{other} ({driver})"))
    };
    members.into_iter().filter(|other| other != address).filter_map(driven).collect()
}

/// Whether `test` holds, now or once those who are about to go have gone.
pub(super) fn without_orphans(machine: &Machine, test: impl Fn() -> bool) -> bool {
    let until = Instant::now() + ORPHANS_GO_WITHIN;
    loop {
        if test() {
            return true;
        }
        if !machine.is_this() || Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a file with this mode, owner and group can be read and written by user and group `of`, without privilege.
fn may_use(mode: u32, owner: (u32, u32), of: (u32, u32)) -> bool {
    let shift = match (owner.0 == of.0, owner.1 == of.1) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    mode >> shift & 0o6 == 0o6
}
