//! The rings between the processes of a pipeline: who feeds whom, and how much fits.

use serde::Serialize;

use crate::pipeline::Pipeline;
use crate::topology::{InstanceKind, Topology};
use crate::value::words;

words! {
    /// What a ring carries.
    Carries {
        /// Heads of frames on their way.
        Frames = "frames",
        /// Heads of frames that are answered with a status.
        Status = "status",
        /// Frames that are done, back to where their buffers are freed.
        Home = "home",
        /// Free tensor slots.
        Slots = "slots",
        /// What a dead incarnation held, for its successor.
        Recovery = "recovery",
    }
}

/// A single-producer, single-consumer ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ring {
    /// Name of the producing process.
    pub from: String,
    /// Name of the consuming process.
    pub to: String,
    /// What it carries.
    pub carries: Carries,
    /// Entries, a power of two.
    pub capacity: u32,
    /// At this fill its producer stops taking input; `None` where the ring has room for all there is.
    pub high_watermark: Option<u32>,
    /// Below this fill its producer goes on.
    pub low_watermark: Option<u32>,
}

impl Ring {
    /// Bytes in the control region: entries of 8 bytes, each end's cursor on a page of its own.
    pub fn bytes(&self) -> u64 {
        u64::from(self.capacity) * 8 + 2 * 4096
    }
}

/// All rings of a pipeline with `slots` slots.
pub fn rings(pipeline: &Pipeline, topology: &Topology, slots: u32) -> Vec<Ring> {
    let config = &pipeline.rings;
    let all_there_is = pipeline.arena.buffers.saturating_add(slots).next_power_of_two();
    let ring = |from: &str, to: &str, carries| {
        // A push onto most rings cannot fail, since they hold all that there can be.
        let (capacity, watermarks) = match carries {
            Carries::Slots => (slots.next_power_of_two(), false),
            Carries::Status | Carries::Home | Carries::Recovery => (all_there_is, false),
            Carries::Frames => (config.capacity, true),
        };
        Ring {
            from: from.to_owned(),
            to: to.to_owned(),
            carries,
            capacity,
            high_watermark: watermarks.then(|| config.high_watermark(capacity)),
            low_watermark: watermarks.then(|| config.low_watermark(capacity)),
        }
    };
    let names = |kind| topology.of_kind(kind).map(|instance| instance.name.as_str()).collect::<Vec<_>>();
    let (preprocesses, infers) = (names(InstanceKind::Preprocess), names(InstanceKind::Infer));
    let gateways = names(InstanceKind::RxGateway);
    let mut rings = Vec::new();
    for preprocess in &preprocesses {
        rings.extend(gateways.iter().map(|gateway| ring(gateway, preprocess, Carries::Frames)));
        rings.extend(infers.iter().map(|infer| ring(preprocess, infer, Carries::Frames)));
    }
    rings.extend(infers.iter().map(|infer| ring(infer, "tx", Carries::Frames)));
    rings.extend(gateways.iter().map(|gateway| ring("tx", gateway, Carries::Home)));
    for gateway in &gateways {
        rings.extend(preprocesses.iter().map(|preprocess| ring(gateway, preprocess, Carries::Slots)));
    }
    let refusing = gateways.iter().chain(&preprocesses).copied().chain(["supervisor"]);
    rings.extend(refusing.map(|from| ring(from, "tx", Carries::Status)));
    let all = topology.instances.iter();
    rings.extend(all.map(|instance| ring("supervisor", &instance.name, Carries::Recovery)));
    rings
}
