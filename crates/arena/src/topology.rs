//! Who there is and which rings join them: data, computed alike by every process from the geometry.

use crate::owner::OwnerId;
use crate::ring::RingId;
use std::ops::Range;

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
    /// `rx-gateway` (`rx-gateway.0` where there are several `gateways`), `tx`, `preprocess.0`, `infer.1`.
    pub fn name(self, gateways: u8) -> String {
        match self.kind {
            StageKind::Tx => self.kind.name().to_owned(),
            StageKind::RxGateway if gateways <= 1 => self.kind.name().to_owned(),
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
    /// Rows of each rx-gateway's stream table.
    pub max_streams: u32,
    /// Instances of rx-gateway.
    pub gateways: u8,
}

/// Most instances of rx-gateway.
pub const MAX_GATEWAYS: u8 = 16;

/// Owner id of the first rx-gateway, which every arena has.
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

    /// Number of instances that there are with one rx-gateway.
    const fn base(&self) -> u8 {
        2 + self.preprocess + self.infer
    }

    /// Owner id of rx-gateway instance `n`: the first has [`RX`], the others come after every other instance.
    pub const fn gateway_id(&self, n: u8) -> OwnerId {
        if n == 0 { RX } else { OwnerId(OwnerId::FIRST_STAGE + self.base() + n - 1) }
    }

    /// Owner ids of all rx-gateways, by their numbers.
    pub fn gateway_ids(&self) -> impl Iterator<Item = OwnerId> + use<> {
        let me = *self;
        (0..self.gateways).map(move |n| me.gateway_id(n))
    }

    /// Which rx-gateway an owner id is.
    pub fn gateway_number(&self, id: OwnerId) -> Option<u8> {
        self.instance(id).filter(|i| i.kind == StageKind::RxGateway).map(|i| i.number)
    }

    /// Whether an owner id is a rx-gateway's.
    pub fn is_gateway(&self, id: OwnerId) -> bool {
        self.gateway_number(id).is_some()
    }

    /// Number of the rx-gateway that buffer `index` belongs to: it alone has the buffer free, and the buffer's frames go home
    /// to it. An index beyond the buffers belongs to the last one.
    #[inline]
    pub fn home_number(&self, index: u32) -> u8 {
        if self.gateways <= 1 {
            return 0;
        }
        let n = u64::from(index) * u64::from(self.gateways) / u64::from(self.buffers.max(1));
        n.min(u64::from(self.gateways) - 1) as u8
    }

    /// Owner id of the rx-gateway that buffer `index` belongs to, see [`Self::home_number`].
    #[inline]
    pub fn home_of(&self, index: u32) -> OwnerId {
        self.gateway_id(self.home_number(index))
    }

    /// The buffers of a rx-gateway, one stretch; empty for any other id.
    pub fn home_range(&self, id: OwnerId) -> Range<u32> {
        let Some(n) = self.gateway_number(id) else { return 0..0 };
        let (all, parts) = (u64::from(self.buffers), u64::from(self.gateways));
        let begin = |n: u8| (u64::from(n) * all).div_ceil(parts) as u32;
        begin(n)..begin(n + 1)
    }

    /// A rx-gateway's share of `total`; the shares of all add up to it. Nothing for any other id.
    pub fn gateway_share(&self, total: u32, id: OwnerId) -> u32 {
        let Some(n) = self.gateway_number(id) else { return 0 };
        let parts = u32::from(self.gateways);
        total / parts + u32::from(u32::from(n) < total % parts)
    }

    /// Number of stage instances.
    pub const fn instances(&self) -> usize {
        1 + self.gateways as usize + self.preprocess as usize + self.infer as usize
    }

    /// Which instance an owner id is.
    pub fn instance(&self, id: OwnerId) -> Option<Instance> {
        let n = id.0.checked_sub(OwnerId::FIRST_STAGE)?;
        Some(match n {
            0 => Instance { kind: StageKind::RxGateway, number: 0 },
            1 => Instance { kind: StageKind::Tx, number: 0 },
            n if n < 2 + self.preprocess => Instance { kind: StageKind::Preprocess, number: n - 2 },
            n if n < self.base() => Instance { kind: StageKind::Infer, number: n - 2 - self.preprocess },
            n if (n as usize) < self.instances() => {
                Instance { kind: StageKind::RxGateway, number: n - self.base() + 1 }
            }
            _ => return None,
        })
    }

    /// The owner id of an instance.
    pub const fn id_of(&self, instance: Instance) -> OwnerId {
        match instance.kind {
            StageKind::RxGateway => self.gateway_id(instance.number),
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
            for g in self.gateway_ids() {
                add(RingKind::Forward, g, p, forward);
                add(RingKind::Slots, g, p, self.slots.next_power_of_two());
            }
            add(RingKind::Status, p, TX, roomy);
            for i in (0..self.infer).map(|i| self.infer_id(i)) {
                add(RingKind::Forward, p, i, forward);
            }
        }
        for i in (0..self.infer).map(|i| self.infer_id(i)) {
            add(RingKind::Forward, i, TX, forward);
        }
        for g in self.gateway_ids() {
            add(RingKind::Status, g, TX, roomy);
        }
        add(RingKind::Status, OwnerId::SUPERVISOR, TX, roomy);
        for g in self.gateway_ids() {
            add(RingKind::Home, TX, g, roomy);
        }
        for (id, _) in self.all_instances() {
            add(RingKind::Recovery, id, id, roomy);
        }
        rings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Geometry = Geometry {
        buffers: 64,
        slots: 8,
        slot_input_bytes: 64,
        slot_output_bytes: 64,
        preprocess: 2,
        infer: 3,
        ring_capacity: 64,
        max_streams: 4,
        gateways: 1,
    };

    #[test]
    fn ids_and_instances_agree() {
        let g = ONE;
        let names: Vec<_> = g.all_instances().map(|(_, i)| i.name(g.gateways)).collect();
        assert_eq!(names, ["rx-gateway", "tx", "preprocess.0", "preprocess.1", "infer.0", "infer.1", "infer.2"]);
        for (id, i) in g.all_instances() {
            assert_eq!(g.id_of(i), id);
        }
        assert_eq!(g.instance(OwnerId(9)), None);
        // 2 x (forward, slots, status, 3 forward) + 3 forward + 2 status + home + 7 recovery.
        assert_eq!(g.rings().len(), 2 * 6 + 3 + 2 + 1 + 7);
    }

    #[test]
    fn several_gateways_follow_the_others_and_keep_their_ids() {
        let g = Geometry { gateways: 3, ..ONE };
        let names: Vec<_> = g.all_instances().map(|(_, i)| i.name(g.gateways)).collect();
        let expected = [
            "rx-gateway.0",
            "tx",
            "preprocess.0",
            "preprocess.1",
            "infer.0",
            "infer.1",
            "infer.2",
            "rx-gateway.1",
            "rx-gateway.2",
        ];
        assert_eq!(names, expected);
        for (id, i) in g.all_instances() {
            assert_eq!((g.id_of(i), g.is_gateway(id)), (id, i.kind == StageKind::RxGateway));
        }
        assert_eq!(g.gateway_ids().map(|id| id.0).collect::<Vec<_>>(), [2, 9, 10]);
        assert_eq!((g.instance(OwnerId(11)), g.gateway_number(OwnerId(11)), g.is_gateway(TX)), (None, None, false));
        // Each has its own to both preprocess, to tx, from tx, and to its successor.
        let rings = g.rings();
        for id in g.gateway_ids() {
            let of = |kind, from: Option<OwnerId>, to: Option<OwnerId>| {
                let picks =
                    |s: &&RingSpec| s.kind == kind && from.is_none_or(|f| s.from == f) && to.is_none_or(|t| s.to == t);
                rings.iter().filter(picks).count()
            };
            assert_eq!((of(RingKind::Forward, Some(id), None), of(RingKind::Slots, Some(id), None)), (2, 2));
            assert_eq!((of(RingKind::Status, Some(id), Some(TX)), of(RingKind::Home, Some(TX), Some(id))), (1, 1));
            assert_eq!(of(RingKind::Recovery, Some(id), Some(id)), 1);
        }
        assert_eq!(rings.len(), 2 * (3 * 2 + 1 + 3) + 3 + 4 + 3 + 9);
    }

    #[test]
    fn every_buffer_has_one_home() {
        for (buffers, gateways) in [(64, 1), (64, 2), (67, 3), (16, 16), (17, 16), (1 << 22, 7)] {
            let g = Geometry { buffers, gateways, ..ONE };
            let mut next = 0;
            for (n, id) in g.gateway_ids().enumerate() {
                let range = g.home_range(id);
                assert_eq!(range.start, next, "{buffers} buffers, gateway {n}");
                assert!(!range.is_empty());
                for index in [range.start, range.end - 1] {
                    assert_eq!((g.home_of(index), g.home_number(index)), (id, n as u8), "{buffers}: {index}");
                }
                next = range.end;
            }
            assert_eq!(next, buffers);
            // An index that is none, as a damaged word may hold.
            assert_eq!(g.home_number(u32::MAX), gateways - 1);
            let shares: Vec<_> = g.gateway_ids().map(|id| g.gateway_share(37, id)).collect();
            assert_eq!(shares.iter().sum::<u32>(), 37);
            assert!(shares.iter().all(|s| (37 / u32::from(gateways)..=37 / u32::from(gateways) + 1).contains(s)));
        }
        assert_eq!((ONE.home_range(TX), ONE.gateway_share(9, TX)), (0..0, 0));
    }
}
