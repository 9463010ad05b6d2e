//! Ports of poll-mode drivers (`[dpdk]`), as far as they are the supervisor's: whether they can serve here, what rights
//! their stages keep, and what is cleared away after them. The stages alone drive them.

mod claim;
mod error;
mod leftover;
mod machine;
mod pci;
mod rights;
mod virtual_device;

pub(crate) use claim::Claims;
pub use error::DeviceError;
pub(crate) use leftover::clear;
pub(crate) use rights::kept;

use crate::ask;
use crate::error::StartError;
use config::{DpdkDevice, Hugepages, InstanceKind, Pipeline};
use machine::Machine;

/// Pages of 2 MiB that the library takes in each process, unless `[dpdk] eal_memory_mib` says otherwise.
const LIBRARY_PAGES: u64 = 8;

/// Looks whether executables, machine and devices can serve. `arena_pages` are those of 2 MiB that the arena takes. What is
/// returned keeps other pipelines away from the devices.
///
/// No device is driven here. The file of a VFIO group is opened for a moment, because nothing else tells whether somebody has
/// it: after the claim, so that it is never taken from a running pipeline's stage that is about to open it.
pub(crate) fn examine(pipeline: &Pipeline, arena_pages: u64) -> Result<Claims, StartError> {
    for kind in [InstanceKind::RxGateway, InstanceKind::Tx] {
        let path = pipeline.supervisor.bin_dir.join(kind.executable());
        if ask::dpdk_of(&path)?.is_none() {
            return Err(DeviceError::NotBuilt(path).into());
        }
    }
    Ok(claim_and_examine(&Machine::this(), pipeline, arena_pages)?)
}

fn claim_and_examine(machine: &Machine, pipeline: &Pipeline, arena_pages: u64) -> Result<Claims, DeviceError> {
    let claims = Claims::make(pipeline)?;
    examine_devices(machine, pipeline, arena_pages).map(|()| claims)
}

fn examine_devices(machine: &Machine, pipeline: &Pipeline, arena_pages: u64) -> Result<(), DeviceError> {
    let uid = pipeline.supervisor.stage_user.map_or_else(|| rustix::process::getuid().as_raw(), |user| user.uid);
    let gid = pipeline.supervisor.stage_user.map_or_else(|| rustix::process::getgid().as_raw(), |user| user.gid);
    let own = pipeline.dpdk.addresses(pipeline.ingress.listen.ip());
    for device in pipeline.dpdk.devices() {
        match device.pci() {
            Some(address) => pci::examine(machine, address, (uid, gid))?,
            None => virtual_device::examine(machine, device, &pipeline.dpdk, &own)?,
        }
        rights::examine(machine, device)?;
    }
    pci::examine_groups(machine, pipeline.dpdk.devices().filter_map(DpdkDevice::pci))?;
    hugepages(machine, pipeline, arena_pages)
}

/// Interfaces that killed stages leave a program on.
pub(crate) fn left_on(pipeline: &Pipeline) -> Vec<String> {
    let xdp = pipeline.dpdk.devices().filter(|device| device.virtual_driver() == Some("net_af_xdp"));
    xdp.filter_map(|device| device.kernel_interface().map(str::to_owned)).collect()
}

/// Whether a device reads and writes the arena itself, which must then lie in hugepages.
pub(crate) fn does_dma(pipeline: &Pipeline) -> bool {
    pipeline.dpdk.devices().any(|device| device.pci().is_some())
}

/// Whether there are hugepages for the arena beside those that the library needs.
pub(crate) fn leaves_room(pipeline: &Pipeline, arena_pages: u64) -> bool {
    Machine::this().free_hugepages() >= library_pages(pipeline) + arena_pages
}

fn library_pages(pipeline: &Pipeline) -> u64 {
    let each = u64::from(pipeline.dpdk.eal_memory_mib).div_ceil(2);
    let each = if each == 0 { LIBRARY_PAGES } else { each };
    // A stage that is restarted by order has its successor beside it.
    each * (pipeline.dpdk.devices().count() as u64 + 1)
}

/// The library takes no ordinary pages.
fn hugepages(machine: &Machine, pipeline: &Pipeline, arena_pages: u64) -> Result<(), DeviceError> {
    let arena = does_dma(pipeline) || pipeline.arena.hugepages == Hugepages::Require;
    let needed = library_pages(pipeline) + if arena { arena_pages } else { 0 };
    let free = machine.free_hugepages();
    if free >= needed {
        return Ok(());
    }
    let total = machine.all_hugepages() + needed - free;
    Err(DeviceError::NoHugepages { needed, free, total, arena })
}

/// The devices in a few words: `dpdk rx net_af_packet0,iface=eth1, tx 0000:00:05.0`.
pub(crate) fn describe(pipeline: &Pipeline) -> String {
    let rx: Vec<&str> = pipeline.dpdk.rx.iter().map(DpdkDevice::as_str).collect();
    let tx = pipeline.dpdk.tx.as_ref().map_or("", DpdkDevice::as_str);
    format!("dpdk rx {}, tx {tx}", rx.join(" and "))
}

#[cfg(test)]
mod tests;
