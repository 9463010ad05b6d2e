//! A virtual device: its driver installed, and the kernel's interface below it there and up.

use super::error::DeviceError;
use super::leftover::{self, Owner};
use super::machine::{Machine, names_in};
use super::pci::without_orphans;
use config::{Dpdk, DpdkDevice};
use ports::xdp::Interface;
use std::net::IpAddr;
use std::path::PathBuf;

/// Drivers whose file is called otherwise than they are.
const FILES: [(&str, &str); 2] = [("net_virtio_user", "net_virtio"), ("net_bonding", "net_bond")];

/// Looks whether `device` can be made here; `own` are the addresses that the pipeline answers for.
pub(super) fn examine(machine: &Machine, device: &DpdkDevice, dpdk: &Dpdk, own: &[IpAddr]) -> Result<(), DeviceError> {
    examine_driver(machine, device, dpdk)?;
    let Some(name) = device.kernel_interface() else { return Ok(()) };
    let (device, interface) = (device.to_string(), name.to_owned());
    let Ok(found) = Interface::find(name) else { return Err(DeviceError::NoInterface { device, interface }) };
    if !found.is_up {
        return Err(DeviceError::Down { device, interface });
    }
    if let Some(address) = found.addresses.into_iter().find(|address| own.contains(address)) {
        return Err(DeviceError::KernelAnswers { device, interface, address });
    }
    let Some(there) = found.xdp.filter(|_| device.starts_with("net_af_xdp")) else { return Ok(()) };
    let owner = || leftover::owner(machine, found.index, there.program);
    // Stages whose supervisor was killed still hold theirs.
    without_orphans(machine, || !matches!(owner(), Owner::Process(_)));
    match owner() {
        Owner::Nobody => Ok(()),
        Owner::Process(holder) => Err(DeviceError::InUse { device, holder: Some(holder) }),
        Owner::Other => Err(DeviceError::Occupied { device, interface, program: there.program }),
    }
}

/// Whether the driver's file is where the library looks. A library with its drivers inside has no such folder.
fn examine_driver(machine: &Machine, device: &DpdkDevice, dpdk: &Dpdk) -> Result<(), DeviceError> {
    let Some(driver) = device.virtual_driver() else { return Ok(()) };
    let file = FILES.iter().find(|(name, _)| *name == driver).map_or(driver, |(_, file)| file);
    let library = format!("librte_{file}.so");
    let given = dpdk.eal_args.iter().skip_while(|argument| *argument != "-d").nth(1).map(PathBuf::from);
    if given.is_some() {
        return Ok(());
    }
    let folders = machine.driver_folders();
    let is_there = |folder: &PathBuf| names_in(folder).iter().any(|name| name.starts_with(&library));
    let Some(first) = folders.first().filter(|_| !folders.iter().any(is_there)) else { return Ok(()) };
    let of_virtual = |name: &String| {
        let driver = name.strip_prefix("librte_")?.strip_suffix(".so")?;
        let driver = FILES.iter().find(|(_, file)| *file == driver).map_or(driver, |(name, _)| name);
        VIRTUAL.contains(&driver).then(|| driver.to_owned())
    };
    let there: Vec<String> =
        folders.iter().flat_map(|folder| names_in(folder)).filter_map(|n| of_virtual(&n)).collect();
    Err(DeviceError::UnknownDriver {
        device: device.to_string(),
        folder: first.clone(),
        library,
        there: if there.is_empty() { "none of virtual devices".to_owned() } else { there.join(", ") },
    })
}

/// Drivers that need no hardware; all others are of PCI functions.
const VIRTUAL: [&str; 10] = [
    "net_af_packet",
    "net_af_xdp",
    "net_bonding",
    "net_failsafe",
    "net_memif",
    "net_null",
    "net_pcap",
    "net_ring",
    "net_tap",
    "net_virtio_user",
];
