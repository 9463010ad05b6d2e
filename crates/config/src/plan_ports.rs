//! The ports of poll-mode drivers in a [`crate::Plan`]: who drives them, what they hold, and what memory their library takes.

use serde::Serialize;

use crate::dpdk_device::DpdkDevice;
use crate::facts::MachineFacts;
use crate::ingress::Driver;
use crate::memory::Hugepages;
use crate::pipeline::Pipeline;
use crate::plan::{Level, Note, REGION_ALIGN_BYTES};
use crate::plan_notes::more_hugepages;
use crate::topology::{InstanceKind, Topology};

/// What the library takes in each process without being told: heap, queues, the pool of headers. An estimate.
const LIBRARY_BYTES: u64 = 16 << 20;

/// One port of `[dpdk]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedPort {
    /// The process that drives it.
    pub process: String,
    /// The device with its arguments.
    pub device: DpdkDevice,
    /// Queues in the process's direction.
    pub queues: u32,
    /// Entries of each of them.
    pub descriptors: u32,
    /// Buffers of the process's own that wait in the port and its pool, at most.
    pub buffers_held: u32,
    /// Buffers that the process has.
    pub buffers: u32,
    /// Copies of a packet's bytes that the driver makes in this direction; `None` if that is not known.
    pub driver_copies: Option<u32>,
    /// Memory that the library takes for itself, in hugepages of its own.
    pub library_bytes: u64,
}

/// The ports that a start may take, rx-gateways' first; none if it takes another driver.
pub(crate) fn ports(pipeline: &Pipeline, topology: &Topology) -> Vec<PlannedPort> {
    let dpdk = &pipeline.dpdk;
    if !dpdk.may_serve(pipeline.ingress.driver) {
        return Vec::new();
    }
    let asked = u64::from(dpdk.eal_memory_mib) << 20;
    let library_bytes = if asked == 0 { LIBRARY_BYTES } else { asked.next_multiple_of(REGION_ALIGN_BYTES) };
    let gateways = topology.of_kind(InstanceKind::RxGateway).zip(&dpdk.rx).map(|(gateway, device)| PlannedPort {
        process: gateway.name.clone(),
        queues: dpdk.queues,
        descriptors: dpdk.rx_descriptors,
        buffers_held: dpdk.buffers_held(),
        buffers: pipeline.arena.buffers / pipeline.rx_gateway.instances,
        driver_copies: device.driver_copies().map(|(rx, _)| rx),
        device: device.clone(),
        library_bytes,
    });
    let tx = topology.of_kind(InstanceKind::Tx).zip(&dpdk.tx).map(|(tx, device)| PlannedPort {
        process: tx.name.clone(),
        queues: 1,
        descriptors: dpdk.tx_descriptors,
        // Replies leave in the buffers that their requests came in.
        buffers_held: 0,
        buffers: 0,
        driver_copies: device.driver_copies().map(|(_, tx)| tx),
        device: device.clone(),
        library_bytes,
    });
    gateways.chain(tx).collect()
}

/// The library has no ordinary pages, and a device that does DMA needs the arena in huge ones too.
pub(crate) fn note(
    pipeline: &Pipeline,
    machine: &MachineFacts,
    ports: &[PlannedPort],
    arena_bytes: u64,
) -> Option<Note> {
    // A stage that is restarted by order has its successor beside it.
    let successor = ports.first().map_or(0, |port| port.library_bytes);
    let library = ports.iter().map(|port| port.library_bytes).sum::<u64>() + successor;
    let needs_arena =
        ports.iter().any(|port| port.device.pci().is_some()) || pipeline.arena.hugepages == Hugepages::Require;
    let needed = (library + if needs_arena { arena_bytes } else { 0 }) / REGION_ALIGN_BYTES;
    let free = machine.hugepages_free_2m;
    if ports.is_empty() || free >= needed {
        return None;
    }
    let what = if needs_arena { "the arena and DPDK's library" } else { "DPDK's library" };
    Some(Note {
        // `auto` takes another driver then.
        level: if pipeline.ingress.driver == Driver::Dpdk { Level::Problem } else { Level::Advice },
        message: format!("{what} need {needed} hugepages of 2 MiB, and {free} are free"),
        remedy: more_hugepages(needed - free),
    })
}
