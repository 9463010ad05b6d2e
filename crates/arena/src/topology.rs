//! Who there is and which rings join them: data, computed alike by every process from the geometry.

use crate::owner::OwnerId;
use crate::ring::RingId;

/// Most instances of all kinds together.
pub const MAX_INSTANCES: usize = 64;

/// The four kinds of stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StageKind {
    /// Receives packets, assembles frames, admits and dissolves them.
    RxGateway,
    /// Answers.
    Tx,
    /// Makes tensors.
    Preprocess,
    /// Runs the engine.
    Infer,
}

impl StageKind {
    /// The stage's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RxGateway => "rx-gateway",
            Self::Tx => "tx",
            Self::Preprocess => "preprocess",
            Self::Infer => "infer",
        }
    }
}

/// One stage instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Instance {
    /// Its kind.
    pub kind: StageKind,
    /// Its number among those of its kind.
    pub number: u8,
}

impl Instance {
    /// `rx-gateway`, `tx`, `preprocess.0`, `infer.1`.
    pub fn name(self) -> String {
        match self.kind {
            StageKind::RxGateway | StageKind::Tx => self.kind.name().to_owned(),
            _ => format!("{}.{}", self.kind.name(), self.number),
        }
    }
}

/// What a ring is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RingKind {
    /// Heads on their way through the stages.
    Forward,
    /// Free slots, rx-gateway to preprocess.
    Slots,
    /// Heads whose fate is a status, to tx.
    Status,
    /// Heads going home, tx to rx-gateway.
    Home,
    /// What a dead incarnation held, to its successor.
    Recovery,
}

/// One ring of the topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSpec {
    /// Its number.
    pub id: RingId,
    /// What it is for.
    pub kind: RingKind,
    /// Who pushes.
    pub from: OwnerId,
    /// Who pops.
    pub to: OwnerId,
    /// Entries.
    pub capacity: u32,
}

/// Sizes that an arena is created with and keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Packet buffers of 4096 bytes.
    pub buffers: u32,
    /// Slots: an input area and an output area each.
    pub slots: u32,
    /// Bytes of a slot's input area, a multiple of 64.
    pub slot_input_bytes: u64,
    /// Bytes of a slot's output area, a multiple of 64.
    pub slot_output_bytes: u64,
    /// Instances of preprocess.
    pub preprocess: u8,
    /// Instances of infer.
    pub infer: u8,
    /// Entries of a forward ring, a power of two.
    pub ring_capacity: u32,
    /// Rows of the stream table.
    pub max_streams: u32,
}

/// rx-gateway's owner id.
pub const RX: OwnerId = OwnerId(OwnerId::FIRST_STAGE);
/// tx's owner id.
pub const TX: OwnerId = OwnerId(OwnerId::FIRST_STAGE + 1);

impl Geometry {
    /// Owner id of preprocess instance `n`.
    pub const fn preprocess_id(&self, n: u8) -> OwnerId {
        OwnerId(TX.0 + 1 + n)
    }

    /// Owner id of infer instance `n`.
    pub const fn infer_id(&self, n: u8) -> OwnerId {
        OwnerId(TX.0 + 1 + self.preprocess + n)
    }

    /// Number of stage instances.
    pub const fn instances(&self) -> usize {
        2 + self.preprocess as usize + self.infer as usize
    }

    /// Which instance an owner id is.
    pub fn instance(&self, id: OwnerId) -> Option<Instance> {
        let n = id.0.checked_sub(OwnerId::FIRST_STAGE)?;
        Some(match n {
            0 => Instance { kind: StageKind::RxGateway, number: 0 },
            1 => Instance { kind: StageKind::Tx, number: 0 },
            n if n < 2 + self.preprocess => Instance { kind: StageKind::Preprocess, number: n - 2 },
            n if (n as usize) < self.instances() => {
                Instance { kind: StageKind::Infer, number: n - 2 - self.preprocess }
            }
            _ => return None,
        })
    }

    /// The owner id of an instance.
    pub const fn id_of(&self, instance: Instance) -> OwnerId {
        match instance.kind {
            StageKind::RxGateway => RX,
            StageKind::Tx => TX,
            StageKind::Preprocess => self.preprocess_id(instance.number),
            StageKind::Infer => self.infer_id(instance.number),
        }
    }

    /// All instances with their owner ids.
    pub fn all_instances(&self) -> impl Iterator<Item = (OwnerId, Instance)> + use<> {
        let me = *self;
        (0..self.instances() as u8).filter_map(move |n| {
            let id = OwnerId(OwnerId::FIRST_STAGE + n);
            me.instance(id).map(|i| (id, i))
        })
    }

    /// Room for every buffer and slot there is: pushing into such a ring cannot fail.
    fn roomy(&self) -> u32 {
        (self.buffers + self.slots).next_power_of_two()
    }

    /// All rings, numbered in this order.
    pub fn rings(&self) -> Vec<RingSpec> {
        let mut rings = Vec::new();
        let mut add = |kind, from, to, capacity| {
            rings.push(RingSpec { id: RingId(rings.len() as u16), kind, from, to, capacity });
        };
        let (forward, roomy) = (self.ring_capacity, self.roomy());
        for p in (0..self.preprocess).map(|p| self.preprocess_id(p)) {
            add(RingKind::Forward, RX, p, forward);
            add(RingKind::Slots, RX, p, self.slots.next_power_of_two());
            add(RingKind::Status, p, TX, roomy);
            for i in (0..self.infer).map(|i| self.infer_id(i)) {
                add(RingKind::Forward, p, i, forward);
            }
        }
        for i in (0..self.infer).map(|i| self.infer_id(i)) {
            add(RingKind::Forward, i, TX, forward);
        }
        add(RingKind::Status, RX, TX, roomy);
        add(RingKind::Status, OwnerId::SUPERVISOR, TX, roomy);
        add(RingKind::Home, TX, RX, roomy);
        for (id, _) in self.all_instances() {
            add(RingKind::Recovery, id, id, roomy);
        }
        rings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_instances_agree() {
        let g = Geometry {
            buffers: 64,
            slots: 8,
            slot_input_bytes: 64,
            slot_output_bytes: 64,
            preprocess: 2,
            infer: 3,
            ring_capacity: 64,
            max_streams: 4,
        };
        let names: Vec<_> = g.all_instances().map(|(_, i)| i.name()).collect();
        assert_eq!(names, ["rx-gateway", "tx", "preprocess.0", "preprocess.1", "infer.0", "infer.1", "infer.2"]);
        for (id, i) in g.all_instances() {
            assert_eq!(g.id_of(i), id);
        }
        assert_eq!(g.instance(OwnerId(9)), None);
        // 2 x (forward, slots, status, 3 forward) + 3 forward + 2 status + home + 7 recovery.
        assert_eq!(g.rings().len(), 2 * 6 + 3 + 2 + 1 + 7);
    }
}
