//! What capabilities a stage keeps for its device: what that needs, and nothing for anybody else.

use super::error::DeviceError;
use super::machine::Machine;
use super::pci::{self, Access};
use config::{DpdkDevice, Driver, Pipeline};
use rustix::thread::{CapabilitySet, capabilities};

const NAMES: [(CapabilitySet, &str); 6] = [
    (CapabilitySet::NET_RAW, "CAP_NET_RAW"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    (CapabilitySet::SYS_RAWIO, "CAP_SYS_RAWIO"),
    (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
    (CapabilitySet::IPC_LOCK, "CAP_IPC_LOCK"),
];

/// What the driver of `device` needs.
fn needed(machine: &Machine, device: &DpdkDevice) -> CapabilitySet {
    match device.virtual_driver() {
        Some("net_pcap") => CapabilitySet::NET_RAW,
        // Starting a port writes the interface's hardware address and promiscuous mode, also where they stay as they are.
        Some("net_af_packet" | "net_tap") => CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW,
        // libxdp looks its program up by number, for which CAP_BPF is not enough; umem is locked memory.
        Some("net_af_xdp") => {
            CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN | CapabilitySet::IPC_LOCK
        }
        Some(_) if device.kernel_interface().is_some() => CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN,
        Some(_) => CapabilitySet::empty(),
        None => match device.pci().and_then(|address| pci::access(machine, address)) {
            Some(Access::Vfio) => CapabilitySet::IPC_LOCK,
            // Without an IOMMU the device is told physical addresses, which the kernel shows to CAP_SYS_ADMIN alone.
            Some(Access::VfioNoIommu) => CapabilitySet::IPC_LOCK | CapabilitySet::SYS_RAWIO | CapabilitySet::SYS_ADMIN,
            // Registers are files of root's, and ports of the processor; addresses as above.
            Some(Access::Uio) => {
                CapabilitySet::IPC_LOCK
                    | CapabilitySet::SYS_RAWIO
                    | CapabilitySet::SYS_ADMIN
                    | CapabilitySet::DAC_OVERRIDE
            }
            Some(Access::Bifurcated) => CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN | CapabilitySet::IPC_LOCK,
            None => CapabilitySet::empty(),
        },
    }
}

/// What the stage that drives `device` keeps; nothing with another driver.
pub(crate) fn kept(pipeline: &Pipeline, device: Option<&DpdkDevice>) -> CapabilitySet {
    match device {
        Some(device) if pipeline.ingress.driver == Driver::Dpdk => needed(&Machine::this(), device),
        _ => CapabilitySet::empty(),
    }
}

/// Nobody can hand on what he has not.
pub(super) fn examine(machine: &Machine, device: &DpdkDevice) -> Result<(), DeviceError> {
    let own = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    match needed(machine, device) - own {
        missing if missing.is_empty() => Ok(()),
        missing => Err(DeviceError::Rights { device: device.to_string(), missing: names(missing).join(", ") }),
    }
}

/// Names of capabilities, as the kernel's documentation has them.
fn names(set: CapabilitySet) -> Vec<&'static str> {
    NAMES.iter().filter(|(one, _)| set.contains(*one)).map(|(_, name)| *name).collect()
}
