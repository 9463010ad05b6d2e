//! What `check` warns about: memory, hugepages, the socket's queue, large frames in small packets.

use crate::facts::MachineFacts;
use crate::ingress::Driver;
use crate::memory::Hugepages;
use crate::pipeline::Pipeline;
use crate::plan::{Level, Note, Plan, REGION_ALIGN_BYTES, jumbo_mtu, wants_hugepages};
use crate::topology::Topology;

pub(crate) fn notes(pipeline: &Pipeline, machine: &MachineFacts, topology: &Topology, plan: &Plan) -> Vec<Note> {
    let found = [
        memory(pipeline, machine, plan),
        hugepages(pipeline, machine, plan),
        crate::plan_ports::note(pipeline, machine, &plan.ports, plan.memory_bytes),
        receive_buffer(pipeline, plan),
        large_frames(pipeline, plan),
        cores(topology),
        access_list(pipeline),
    ];
    found.into_iter().flatten().collect()
}

fn memory(pipeline: &Pipeline, machine: &MachineFacts, plan: &Plan) -> Option<Note> {
    let enough_hugepages = machine.hugepages_free_2m * REGION_ALIGN_BYTES >= plan.memory_bytes;
    if (wants_hugepages(pipeline) && enough_hugepages) || machine.memory_available_bytes >= plan.memory_bytes {
        return None;
    }
    Some(Note {
        level: Level::Problem,
        message: format!(
            "the arena takes {} MiB, and {} MiB are available",
            mib(plan.memory_bytes),
            mib(machine.memory_available_bytes)
        ),
        remedy: "lower [arena] buffers or slots, or write [pipeline] profile = \"small\"".to_owned(),
    })
}

fn hugepages(pipeline: &Pipeline, machine: &MachineFacts, plan: &Plan) -> Option<Note> {
    let needed = plan.memory_bytes / REGION_ALIGN_BYTES;
    let free = machine.hugepages_free_2m;
    let level = match pipeline.arena.hugepages {
        Hugepages::Off => return None,
        _ if free >= needed => return None,
        Hugepages::Require => Level::Problem,
        Hugepages::Auto => Level::Advice,
    };
    Some(Note {
        level,
        message: format!("the arena wants {needed} hugepages of 2 MiB, and {free} are free"),
        remedy: more_hugepages(needed - free),
    })
}

/// How to get more pages of 2 MiB: `vm.nr_hugepages` counts those of the default size, which may be another. Pages in use by others
/// count too: the missing ones are added to what there is.
pub(crate) fn more_hugepages(missing: u64) -> String {
    const ALL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    format!("run: deploy/host-setup hugepages $(($(cat {ALL}) + {missing})) --apply")
}

fn receive_buffer(pipeline: &Pipeline, plan: &Plan) -> Option<Note> {
    let buffer = &plan.receive_buffer;
    let has_socket = pipeline.ingress.driver != Driver::Dpdk;
    (has_socket && buffer.granted_bytes < buffer.asked_bytes).then(|| Note {
        level: Level::Warning,
        message: format!(
            "the kernel grants {} of the {} bytes of [ingress] receive_buffer_bytes: above {} Mbit/s, packets are lost \
             while rx-gateway restarts (60 ms)",
            buffer.granted_bytes, buffer.asked_bytes, buffer.covered_mbit_per_s
        ),
        remedy: format!("run: sysctl -w net.core.rmem_max={}", buffer.asked_bytes),
    })
}

fn large_frames(pipeline: &Pipeline, plan: &Plan) -> Option<Note> {
    let jumbo = jumbo_mtu(pipeline);
    let at = |mtu| plan.frames.iter().rfind(|cost| cost.mtu == mtu);
    let (small, large) = (at(1500)?, at(jumbo)?);
    let unfit = small.buffers > u64::from(pipeline.arena.buffers);
    (jumbo > 1500).then(|| Note {
        level: Level::Advice,
        message: format!(
            "a {} frame takes {} buffers at MTU 1500{}, and {} at MTU {jumbo}",
            small.frame,
            small.buffers,
            if unfit { " (more than there are)" } else { "" },
            large.buffers,
        ),
        remedy: format!("for raw video, run on both machines: ip link set dev IFACE mtu {jumbo}"),
    })
}

fn cores(topology: &Topology) -> Option<Note> {
    let all_pinned = topology.instances.iter().all(|instance| instance.core.is_some());
    (topology.shares_cores && all_pinned).then(|| Note {
        level: Level::Advice,
        message: format!("the {} stages share cores, which costs latency", topology.instances.len()),
        remedy: format!("a machine with {} cores gives each its own", topology.instances.len() + 1),
    })
}

fn access_list(pipeline: &Pipeline) -> Option<Note> {
    crate::acl::changes_nothing(&pipeline.ingress.acl, pipeline.ingress.acl_policy).then(|| Note {
        level: Level::Warning,
        message: "the access list only allows, and what matches no rule is allowed too: it changes nothing".to_owned(),
        remedy: "write [ingress] acl_policy = \"deny\"".to_owned(),
    })
}

pub(crate) fn mib(bytes: u64) -> u64 {
    bytes >> 20
}
