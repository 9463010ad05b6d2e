//! [`Topology`]: which processes a pipeline consists of, and on which core each runs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;
use crate::general::{Cores, PinnedCores, Wait};
use crate::pipeline::Pipeline;
use crate::value::words;

/// How long an adaptive stage spins by default on a core of its own. A sleeping neighbour takes 26 us to wake on another
/// core, so a shorter spin would often pay for both.
const SPIN_US: u32 = 50;

words! {
    /// The kinds of stages, in the order that a frame meets them.
    InstanceKind {
        /// Receives packets and assembles frames.
        RxGateway = "rx-gateway",
        /// Turns pictures into tensors.
        Preprocess = "preprocess",
        /// Runs the network.
        Infer = "infer",
        /// Makes and sends the answers.
        Tx = "tx",
    }
}

impl InstanceKind {
    /// Name of the stage's executable.
    pub const fn executable(self) -> &'static str {
        match self {
            Self::RxGateway => "flumeway-rx-gateway",
            Self::Preprocess => "flumeway-preprocess",
            Self::Infer => "flumeway-infer",
            Self::Tx => "flumeway-tx",
        }
    }

    /// Name of instance `number` of `count` of this kind.
    fn name_of(self, number: u32, count: u32) -> String {
        let is_numbered = match self {
            Self::Preprocess | Self::Infer => true,
            Self::RxGateway => count > 1,
            Self::Tx => false,
        };
        if is_numbered { format!("{self}.{number}") } else { self.to_string() }
    }
}

/// One process of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// What it does.
    pub kind: InstanceKind,
    /// Its number among its kind, from 0.
    pub number: u32,
    /// `rx-gateway` (`rx-gateway.0` where there are several), `preprocess.0`, `infer.1`, `tx`.
    pub name: String,
    /// The core it is pinned to; `None` leaves it to the scheduler.
    pub core: Option<usize>,
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

/// The processes of a pipeline and their cores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// rx-gateways, preprocess.0.., infer.0.., tx: in this order.
    pub instances: Vec<Instance>,
    /// The supervisor's core.
    pub supervisor_core: Option<usize>,
    /// Whether a stage may meet another one on its core.
    pub shares_cores: bool,
    /// How long stages spin before they sleep under `wait = "adaptive"`.
    pub spin_us: u32,
}

impl Topology {
    /// Lays the processes of `pipeline` onto the cores `cpus`.
    ///
    /// `cores = "auto"`: with a core for each stage and one more, the supervisor has the first and each stage one of the
    /// others. With fewer, supervisor, the first rx-gateway and tx share the first core, and each further rx-gateway, then each
    /// infer, then each preprocess, takes the core where the least work is. An infer with several threads is not pinned: they would share the core.
    ///
    /// Errors: a pinned core that is not in `cpus`; `wait = "spin"` or `"spin-pause"` where stages share cores, since a
    /// spinning stage would keep its neighbour from working.
    pub fn new(pipeline: &Pipeline, cpus: &[usize]) -> Result<Self, ConfigError> {
        let mut instances = instances(pipeline);
        let supervisor_core = match &pipeline.general.cores {
            Cores::None => None,
            Cores::Pinned(pinned) => {
                pin(&mut instances, pinned);
                Some(pinned.supervisor)
            }
            Cores::Auto => {
                spread(&mut instances, cpus);
                if pipeline.infer.threads > 1 {
                    let infers = instances.iter_mut().filter(|instance| instance.kind == InstanceKind::Infer);
                    infers.for_each(|instance| instance.core = None);
                }
                cpus.first().copied()
            }
        };
        let mut cores: Vec<usize> = instances.iter().filter_map(|instance| instance.core).collect();
        for core in cores.iter().copied().chain(supervisor_core) {
            if !cpus.contains(&core) {
                return Err(pipeline.error_at(
                    "pipeline.cores",
                    &format!("names core {core}, which this process may not use"),
                    format!("write cores out of {}, or \"auto\"", ranges(cpus)),
                ));
            }
        }
        cores.sort_unstable();
        cores.dedup();
        let shares_cores = cores.len() < instances.len();
        if shares_cores && pipeline.general.wait != Wait::Adaptive {
            return Err(pipeline.error_at(
                "pipeline.wait",
                &format!(
                    "= \"{}\" needs a core for each of the {} stages, and here stages share cores (available: {})",
                    pipeline.general.wait,
                    instances.len(),
                    ranges(cpus)
                ),
                "write \"adaptive\", or give each stage a core of its own in [pipeline] cores",
            ));
        }
        let spin_us = pipeline.general.spin_us.unwrap_or(if shares_cores { 0 } else { SPIN_US });
        Ok(Self { instances, supervisor_core, shares_cores, spin_us })
    }

    /// The instances of one kind, in the order of their numbers.
    pub fn of_kind(&self, kind: InstanceKind) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(move |instance| instance.kind == kind)
    }
}

fn instances(pipeline: &Pipeline) -> Vec<Instance> {
    let number_of = |kind| match kind {
        InstanceKind::Preprocess => pipeline.preprocess.instances,
        InstanceKind::Infer => pipeline.infer.instances,
        InstanceKind::RxGateway => pipeline.rx_gateway.instances,
        InstanceKind::Tx => 1,
    };
    let named =
        |kind: InstanceKind, number| Instance { kind, number, name: kind.name_of(number, number_of(kind)), core: None };
    let kinds = InstanceKind::ALL.iter().copied();
    kinds.flat_map(|kind| (0..number_of(kind)).map(move |number| named(kind, number))).collect()
}

fn pin(instances: &mut [Instance], cores: &PinnedCores) {
    for instance in instances {
        let number = instance.number as usize;
        instance.core = match instance.kind {
            InstanceKind::RxGateway => cores.rx_gateway.get(number).copied(),
            InstanceKind::Preprocess => cores.preprocess.get(number).copied(),
            InstanceKind::Infer => cores.infer.get(number).copied(),
            InstanceKind::Tx => Some(cores.tx),
        };
    }
}

fn spread(instances: &mut [Instance], cpus: &[usize]) {
    if cpus.len() > instances.len() {
        for (instance, cpu) in instances.iter_mut().zip(&cpus[1..]) {
            instance.core = Some(*cpu);
        }
        return;
    }
    if cpus.is_empty() {
        return;
    }
    // Rough shares of a frame's work; only their order matters.
    let weight = |kind| match kind {
        InstanceKind::RxGateway | InstanceKind::Tx => 1u32,
        InstanceKind::Preprocess => 4,
        InstanceKind::Infer => 16,
    };
    let mut load = vec![0; cpus.len()];
    for kind in [InstanceKind::RxGateway, InstanceKind::Tx, InstanceKind::Infer, InstanceKind::Preprocess] {
        for instance in instances.iter_mut().filter(|instance| instance.kind == kind) {
            let slot = match kind {
                InstanceKind::RxGateway if instance.number > 0 => {
                    (0..load.len()).min_by_key(|slot| load[*slot]).unwrap_or(0)
                }
                InstanceKind::RxGateway | InstanceKind::Tx => 0,
                // From the far end, so that the cores next to rx-gateway's stay free for preprocess.
                InstanceKind::Infer => (0..load.len()).rev().min_by_key(|slot| load[*slot]).unwrap_or(0),
                InstanceKind::Preprocess => (0..load.len()).min_by_key(|slot| load[*slot]).unwrap_or(0),
            };
            load[slot] += weight(kind);
            instance.core = Some(cpus[slot]);
        }
    }
}

/// `0-3, 6`.
fn ranges(cpus: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for cpu in cpus.iter().copied() {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    let shown =
        runs.iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::Engine;
    use crate::value::Auto;

    fn layout(pipeline: &Pipeline, cpus: usize) -> (Vec<Option<usize>>, bool, u32) {
        let cpus: Vec<usize> = (0..cpus).collect();
        let topology = Topology::new(pipeline, &cpus).unwrap();
        (topology.instances.iter().map(|i| i.core).collect(), topology.shares_cores, topology.spin_us)
    }

    #[test]
    fn four_stages_on_one_to_eight_cores() {
        let pipeline = Pipeline::default_with(Engine::Null);
        let cases: [(usize, [usize; 4], bool); 7] = [
            (1, [0, 0, 0, 0], true),
            (2, [0, 0, 1, 0], true),
            (3, [0, 1, 2, 0], true),
            (4, [0, 1, 3, 0], true),
            (5, [1, 2, 3, 4], false),
            (6, [1, 2, 3, 4], false),
            (8, [1, 2, 3, 4], false),
        ];
        for (cpus, cores, shared) in cases {
            let spin_us = if shared { 0 } else { 50 };
            assert_eq!(layout(&pipeline, cpus), (cores.map(Some).to_vec(), shared, spin_us), "{cpus} cores");
        }
        assert_eq!(Topology::new(&pipeline, &[4, 5, 6, 7, 9]).unwrap().supervisor_core, Some(4));
    }

    #[test]
    fn several_instances_have_names_and_cores() {
        let mut pipeline = Pipeline::default_with(Engine::Null);
        pipeline.preprocess.instances = 2;
        pipeline.infer.instances = 2;
        let topology = Topology::new(&pipeline, &[0, 1, 2, 3]).unwrap();
        let named: Vec<_> = topology.instances.iter().map(|i| (i.name.as_str(), i.core)).collect();
        let expected = [
            ("rx-gateway", Some(0)),
            ("preprocess.0", Some(1)),
            ("preprocess.1", Some(0)),
            ("infer.0", Some(3)),
            ("infer.1", Some(2)),
            ("tx", Some(0)),
        ];
        assert_eq!(named, expected);
        assert_eq!(topology.of_kind(InstanceKind::Infer).count(), 2);
        assert!(!Topology::new(&pipeline, &[0, 1, 2, 3, 4, 5, 6]).unwrap().shares_cores);
    }

    #[test]
    fn several_gateways_are_numbered_and_spread() {
        let mut pipeline = Pipeline::default_with(Engine::Null);
        pipeline.rx_gateway.instances = 2;
        let topology = Topology::new(&pipeline, &[0, 1, 2, 3]).unwrap();
        let named: Vec<_> = topology.instances.iter().map(|i| (i.name.as_str(), i.core)).collect();
        let expected = [
            ("rx-gateway.0", Some(0)),
            ("rx-gateway.1", Some(1)),
            ("preprocess.0", Some(2)),
            ("infer.0", Some(3)),
            ("tx", Some(0)),
        ];
        assert_eq!(named, expected);
        let cores = PinnedCores { supervisor: 0, rx_gateway: vec![1, 2], preprocess: vec![2], infer: vec![3], tx: 1 };
        pipeline.general.cores = Cores::Pinned(cores);
        let pinned = [1, 2, 2, 3, 1].map(Some).to_vec();
        assert_eq!(layout(&pipeline, 4).0, pinned);
    }

    #[test]
    fn infer_with_threads_is_not_pinned() {
        let mut pipeline = Pipeline::default_with(Engine::Null);
        pipeline.infer.threads = 2;
        assert_eq!(layout(&pipeline, 8), (vec![Some(1), Some(2), None, Some(4)], true, 0));
    }

    #[test]
    fn spinning_on_shared_cores_is_refused() {
        let mut pipeline = Pipeline::default_with(Engine::Null);
        pipeline.general.wait = Wait::Spin;
        assert!(Topology::new(&pipeline, &[0, 1, 2, 3, 4]).is_ok());
        assert_eq!(
            Topology::new(&pipeline, &[0, 1, 2, 3]).unwrap_err().to_string(),
            "[pipeline] wait = \"spin\" needs a core for each of the 4 stages, and here stages share cores (available: 0-3); \
             write \"adaptive\", or give each stage a core of its own in [pipeline] cores"
        );
        pipeline.general.cores = Cores::None;
        assert!(Topology::new(&pipeline, &[0, 1, 2, 3, 4]).is_err(), "unpinned stages may meet on a core");
    }

    #[test]
    fn pinned_cores_are_taken_as_written_if_the_machine_has_them() {
        let mut pipeline = Pipeline::default_with(Engine::Null);
        pipeline.general.spin_us = Auto::Fixed(7);
        pipeline.general.cores = Cores::Pinned(PinnedCores {
            supervisor: 0,
            rx_gateway: vec![1],
            preprocess: vec![2],
            infer: vec![3],
            tx: 1,
        });
        assert_eq!(layout(&pipeline, 4), (vec![Some(1), Some(2), Some(3), Some(1)], true, 7));
        assert_eq!(
            Topology::new(&pipeline, &[0, 1, 2, 5]).unwrap_err().to_string(),
            "[pipeline] cores names core 3, which this process may not use; write cores out of 0-2, 5, or \"auto\""
        );
    }
}
