//! [`Plan`]: what a configuration comes to on this machine with this network. Printed by `flumeway check`.

use serde::Serialize;

use crate::error::ConfigError;
use crate::facts::{MachineFacts, ModelFacts};
use crate::general::{Profile, Wait};
use crate::ingress::REQUEST_HEADER_BYTES;
use crate::memory::{BUFFER_STRIDE_BYTES, Hugepages};
use crate::model::Network;
use crate::pipeline::Pipeline;
use crate::plan_ports::PlannedPort;
use crate::plan_rings::{Ring, rings};
use crate::post::PostKind;
use crate::stages::Engine;
use crate::topology::Topology;
use crate::value::{Auto, words};

/// Regions of the arena come in pages of this size.
pub const REGION_ALIGN_BYTES: u64 = 2 << 20;

/// How long a restart of rx-gateway may keep the socket unread, at worst: what its queue should absorb.
const RESTART_MS: u64 = 60;

// What the control region holds beside rings. The arena's own layout decides; these are for the estimate.
const STAGE_PAGES_BYTES: u64 = 20 << 10;
const STREAM_ROW_BYTES: u64 = 576;
const DESCRIPTOR_BYTES: u64 = 64;
const EXTENSION_BYTES: u64 = 256;

/// What a configuration comes to. `schema` is 1; fields may be added under it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Version of this form.
    pub schema: u32,
    /// The pipeline's name.
    pub name: String,
    /// The defaults in use.
    pub profile: Profile,
    /// What stages do while their rings are empty.
    pub wait: Wait,
    /// How long they spin before they sleep.
    pub spin_us: u32,
    /// The networks, the default one first.
    pub models: Vec<PlannedModel>,
    /// Supervisor and stages.
    pub processes: Vec<Process>,
    /// Rings between them.
    pub rings: Vec<Ring>,
    /// Tensor slots, `auto` resolved.
    pub slots: u32,
    /// Frames admitted at once, `auto` resolved.
    pub max_heads: u32,
    /// The arena's regions.
    pub memory: Vec<Region>,
    /// All regions together.
    pub memory_bytes: u64,
    /// Ports of poll-mode drivers, if a start may take them.
    pub ports: Vec<PlannedPort>,
    /// The socket's queue.
    pub receive_buffer: ReceiveBuffer,
    /// What frames of usual sizes take.
    pub frames: Vec<FrameCost>,
    /// What the user should know; problems keep the pipeline from starting.
    pub notes: Vec<Note>,
}

/// One network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedModel {
    /// What streams call it.
    pub name: String,
    /// What runs it.
    pub engine: Engine,
    /// What a reply holds.
    pub answers: PostKind,
    /// What it takes and gives.
    pub facts: ModelFacts,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// `supervisor`, or the instance's name.
    pub name: String,
    /// Its executable.
    pub executable: &'static str,
    /// The core it is pinned to, if any.
    pub core: Option<usize>,
}

/// One region of the arena.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Region {
    /// `control`, `packets`, `inputs`, `outputs`.
    pub name: &'static str,
    /// Its size, a multiple of 2 MiB.
    pub bytes: u64,
    /// What it holds.
    pub holds: String,
}

/// What the socket's queue takes while nobody reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReceiveBuffer {
    /// As configured.
    pub asked_bytes: u64,
    /// As granted by the kernel.
    pub granted_bytes: u64,
    /// The highest rate at which a restart of 60 ms loses nothing.
    pub covered_mbit_per_s: u64,
}

/// What one frame takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FrameCost {
    /// Size and encoding.
    pub frame: &'static str,
    /// Its bytes.
    pub bytes: u64,
    /// The interface's MTU.
    pub mtu: u32,
    /// Packets, and so buffers, that it takes.
    pub buffers: u64,
    /// Such frames that all buffers hold together.
    pub fit: u64,
}

words! {
    /// How much a note matters.
    Level {
        /// Could be better.
        Advice = "advice",
        /// Will cost frames or time.
        Warning = "warning",
        /// Keeps the pipeline from starting.
        Problem = "problem",
    }
}

/// Something the user should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// How much it matters.
    pub level: Level,
    /// What it is.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Plan {
    /// Whether the pipeline can start here.
    pub fn can_start(&self) -> bool {
        self.notes.iter().all(|note| note.level != Level::Problem)
    }
}

/// Bytes of one input and one output slot: the largest model's, or more where `[arena]` leaves room; multiples of 64.
pub fn slot_bytes(pipeline: &Pipeline, facts: &[ModelFacts]) -> (u64, u64) {
    let (input, output) = largest(facts);
    let sized = |configured: u64, needed: u64| configured.max(needed).max(1).next_multiple_of(64);
    (sized(pipeline.arena.max_input_bytes, input), sized(pipeline.arena.max_output_bytes, output))
}

/// Most bytes that any model takes, and gives.
fn largest(facts: &[ModelFacts]) -> (u64, u64) {
    let most = |bytes: fn(&ModelFacts) -> u64| facts.iter().map(bytes).max().unwrap_or(0);
    (most(|facts| facts.input_bytes), most(|facts| facts.output_bytes))
}

/// The number of slots. `auto` is what 64 MiB hold (16 MiB in the small profile), at least 32 (8) and at most 8192, and
/// never more than a ring's entries or the buffers.
pub fn resolve_slots(pipeline: &Pipeline, facts: &[ModelFacts]) -> u32 {
    if let Auto::Fixed(slots) = pipeline.arena.slots {
        return slots;
    }
    let (budget, least) = match pipeline.general.profile {
        Profile::Default => (64 << 20, 32),
        Profile::Small => (16 << 20, 8),
    };
    let (input, output) = slot_bytes(pipeline, facts);
    let fitting = (budget / (input + output)).clamp(least, 8192) as u32;
    fitting.min(pipeline.rings.capacity).min(pipeline.arena.buffers)
}

impl Pipeline {
    /// Puts numbers in place of every `auto` that depends on machine or models, so that all processes see the same. `facts`: of each of
    /// [`Self::all_models`]. `listen`, cores and engine stay as they are.
    ///
    /// Errors: slots too small for the model, fewer slots than `[limits] max_heads`, or fewer heads than rx-gateways.
    pub fn resolve(&mut self, topology: &Topology, facts: &[ModelFacts]) -> Result<(), ConfigError> {
        let slots = resolve_slots(self, facts);
        let heads = check_model(self, facts, slots)?;
        let (input, output) = slot_bytes(self, facts);
        self.arena.slots = Auto::Fixed(slots);
        self.limits.max_heads = Auto::Fixed(heads);
        self.arena.max_input_bytes = input;
        self.arena.max_output_bytes = output;
        self.general.spin_us = Auto::Fixed(topology.spin_us);
        self.set_networks(facts);
        Ok(())
    }

    /// Fills in [`Self::networks`], with what tensors tell settled.
    pub fn set_networks(&mut self, facts: &[ModelFacts]) {
        let resolved = self.all_models().into_iter().zip(facts).map(|(mut model, facts)| {
            model.resolve(facts);
            Network { model, facts: facts.clone() }
        });
        self.networks = resolved.collect();
    }
}

/// Checks what depends on the model; gives the number of heads.
fn check_model(pipeline: &Pipeline, facts: &[ModelFacts], slots: u32) -> Result<u32, ConfigError> {
    let arena = &pipeline.arena;
    let (input_bytes, output_bytes) = largest(facts);
    for (key, configured, needed, what) in [
        ("arena.max_input_bytes", arena.max_input_bytes, input_bytes, "inputs"),
        ("arena.max_output_bytes", arena.max_output_bytes, output_bytes, "outputs"),
    ] {
        if configured != 0 && configured < needed {
            return Err(pipeline.error_at(
                key,
                &format!("= {configured} is less than the {needed} bytes of the model's {what}"),
                format!("write {needed} or more, or 0 to take the model's"),
            ));
        }
    }
    let heads = pipeline.limits.max_heads.unwrap_or(slots);
    if heads > slots {
        return Err(pipeline.error_at(
            "limits.max_heads",
            &format!("= {heads} is more than the {slots} slots"),
            format!("write at most {slots}, or [arena] slots = {heads}: every admitted frame needs a slot"),
        ));
    }
    let gateways = pipeline.rx_gateway.instances;
    if heads < gateways {
        return Err(pipeline.error_at(
            "rx_gateway.instances",
            &format!("= {gateways} is more than the {heads} frames that may be admitted at once"),
            format!(
                "write at most {heads}, or raise [arena] slots and [limits] max_heads: each admits its share of them"
            ),
        ));
    }
    Ok(heads)
}

/// Works out what `pipeline` comes to on `machine` with `model`.
///
/// Errors: those of [`Topology::new`] and [`Pipeline::resolve`]. What the machine lacks is no error of the configuration:
/// it stands in [`Plan::notes`].
pub fn plan(pipeline: &Pipeline, machine: &MachineFacts, facts: &[ModelFacts]) -> Result<Plan, ConfigError> {
    let topology = Topology::new(pipeline, &machine.cpus)?;
    let slots = resolve_slots(pipeline, facts);
    let heads = check_model(pipeline, facts, slots)?;
    let rings = rings(pipeline, &topology, slots);
    let memory = memory(pipeline, facts, &topology, &rings, slots);
    let stages = topology.instances.iter().map(|instance| Process {
        name: instance.name.clone(),
        executable: instance.kind.executable(),
        core: instance.core,
    });
    let supervisor = Process { name: "supervisor".to_owned(), executable: "flumeway", core: topology.supervisor_core };
    let mut plan = Plan {
        schema: 1,
        name: pipeline.general.name.clone(),
        profile: pipeline.general.profile,
        wait: pipeline.general.wait,
        spin_us: topology.spin_us,
        models: planned_models(pipeline, facts),
        processes: std::iter::once(supervisor).chain(stages).collect(),
        rings,
        slots,
        max_heads: heads,
        memory_bytes: memory.iter().map(|region| region.bytes).sum(),
        memory,
        ports: crate::plan_ports::ports(pipeline, &topology),
        receive_buffer: receive_buffer(pipeline, machine),
        frames: frame_costs(pipeline),
        notes: Vec::new(),
    };
    plan.notes = crate::plan_notes::notes(pipeline, machine, &topology, &plan);
    Ok(plan)
}

fn planned_models(pipeline: &Pipeline, facts: &[ModelFacts]) -> Vec<PlannedModel> {
    let planned = pipeline.all_models().into_iter().zip(facts).map(|(mut model, facts)| {
        model.resolve(facts);
        PlannedModel { name: model.name, engine: model.engine, answers: model.post.kind, facts: facts.clone() }
    });
    planned.collect()
}

fn memory(pipeline: &Pipeline, facts: &[ModelFacts], topology: &Topology, rings: &[Ring], slots: u32) -> Vec<Region> {
    let (input, output) = slot_bytes(pipeline, facts);
    let buffers = u64::from(pipeline.arena.buffers);
    let slots = u64::from(slots);
    let ring_bytes: u64 = rings.iter().map(Ring::bytes).sum();
    let stages = topology.instances.len() as u64;
    let descriptors = (buffers + slots) * DESCRIPTOR_BYTES + buffers * EXTENSION_BYTES;
    let gateways = u64::from(pipeline.rx_gateway.instances);
    let streams = gateways * u64::from(pipeline.limits.max_streams) * STREAM_ROW_BYTES;
    let control = ring_bytes + descriptors + streams + (stages + 1 + gateways) * STAGE_PAGES_BYTES;
    let region = |name, bytes: u64, holds: String| Region {
        name,
        bytes: bytes.max(1).next_multiple_of(REGION_ALIGN_BYTES),
        holds,
    };
    vec![
        region("control", control, "rings, descriptors, counters (estimate)".to_owned()),
        region("packets", buffers * BUFFER_STRIDE_BYTES, format!("{buffers} buffers of {BUFFER_STRIDE_BYTES} bytes")),
        region("inputs", slots * input, format!("{slots} slots of {input} bytes")),
        region("outputs", slots * output, format!("{slots} slots of {output} bytes")),
    ]
}

fn receive_buffer(pipeline: &Pipeline, machine: &MachineFacts) -> ReceiveBuffer {
    let asked_bytes = u64::from(pipeline.ingress.receive_buffer_bytes);
    let granted_bytes = asked_bytes.min(machine.rmem_max_bytes);
    ReceiveBuffer { asked_bytes, granted_bytes, covered_mbit_per_s: granted_bytes * 8 / RESTART_MS / 1000 }
}

/// The smallest MTU at which a packet fills a buffer.
pub(crate) fn jumbo_mtu(pipeline: &Pipeline) -> u32 {
    pipeline.ingress.max_datagram_bytes + ip_and_udp_bytes(pipeline)
}

fn ip_and_udp_bytes(pipeline: &Pipeline) -> u32 {
    if pipeline.ingress.listen.is_ipv6() { 48 } else { 28 }
}

fn frame_costs(pipeline: &Pipeline) -> Vec<FrameCost> {
    let cost = |frame, bytes: u64, mtu: u32| {
        let datagram = (mtu - ip_and_udp_bytes(pipeline)).min(pipeline.ingress.max_datagram_bytes);
        // Senders keep offsets in a frame at multiples of 64, so that a fragment is aligned where it lands.
        let payload = (datagram - REQUEST_HEADER_BYTES) / 64 * 64;
        let buffers = bytes.div_ceil(u64::from(payload));
        // No frame spreads over the buffers of two rx-gateways.
        let gateways = pipeline.rx_gateway.instances;
        let fit = u64::from(pipeline.arena.buffers / gateways) / buffers * u64::from(gateways);
        FrameCost { frame, bytes, mtu, buffers, fit }
    };
    let mut mtus = [1500, jumbo_mtu(pipeline)];
    mtus.sort_unstable();
    let sizes = [("1280x720 rgb8", 1280 * 720 * 3), ("1920x1080 rgb8", 1920 * 1080 * 3)];
    sizes.iter().flat_map(|(frame, bytes)| mtus.iter().map(move |mtu| cost(frame, *bytes, *mtu))).collect()
}

/// Whether `pipeline` insists on hugepages, would take them, or not.
pub(crate) fn wants_hugepages(pipeline: &Pipeline) -> bool {
    pipeline.arena.hugepages != Hugepages::Off
}
