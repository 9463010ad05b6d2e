//! Where everything lies in the four regions, and the header that proves it.

use crate::descriptor::Descriptor;
use crate::gateway::{GatewayPage, StreamRow};
use crate::histogram::Histogram;
use crate::meta::Extension;
use crate::page::{ControlWord, StagePage};
use crate::sync::{AtomicU32, AtomicU64};
use crate::topology::{Geometry, MAX_INSTANCES, RingSpec};

/// First bytes of the control region: `FLUMEWAY` in ASCII.
pub const MAGIC: u64 = u64::from_le_bytes(*b"FLUMEWAY");
/// Version of everything in this file; separate from the release's.
pub const LAYOUT_VERSION: u32 = 1;
/// Stride of the packet buffers.
pub const BUFFER_BYTES: u64 = 4096;
/// Where a driver puts a packet's payload: 64 B mempool object header, 128 B `rte_mbuf`, 128 B headroom.
pub const DATA_OFFSET: u16 = 320;
/// Alignment of tensors.
pub const TENSOR_ALIGN: u64 = 64;
const PAGE: u64 = 4096;

/// First page of the control region.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct Header {
    pub(crate) magic: AtomicU64,
    pub(crate) version: AtomicU64,
    pub(crate) hash: AtomicU64,
    pub(crate) geometry: [AtomicU64; 8],
    /// CLOCK_REALTIME at creation, ns: tells arenas apart.
    pub(crate) epoch: AtomicU64,
    /// 1 once everything is formatted; written last.
    pub(crate) ready: AtomicU64,
}

/// What the supervisor alone writes.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct SupervisorPage {
    /// One per instance, by owner id from the first stage on.
    pub control: [ControlWord; MAX_INSTANCES],
    /// Generation of the configuration document that stands; its parity says which half of the document file holds it.
    pub config_generation: AtomicU64,
    /// 1: rx-gateway leaves its input where it is.
    pub ingress_paused: AtomicU32,
    /// The supervisor's own incarnation.
    pub incarnation: AtomicU32,
}

/// The producer's page of a ring.
#[repr(C, align(4096))]
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) value: AtomicU64,
}

/// Hash over sizes, alignments and offsets of every shared type (FNV-1a, 64 bit).
pub const LAYOUT_HASH: u64 = {
    use core::mem::{align_of, offset_of, size_of};
    let facts = [
        size_of::<Header>(),
        offset_of!(Header, geometry),
        offset_of!(Header, epoch),
        offset_of!(Header, ready),
        size_of::<SupervisorPage>(),
        offset_of!(SupervisorPage, config_generation),
        offset_of!(SupervisorPage, ingress_paused),
        size_of::<ControlWord>(),
        size_of::<StagePage>(),
        offset_of!(StagePage, heartbeat_ns),
        offset_of!(StagePage, sleeping),
        offset_of!(StagePage, current),
        offset_of!(StagePage, counters),
        offset_of!(StagePage, wait),
        offset_of!(StagePage, work),
        offset_of!(StagePage, since_arrival),
        size_of::<Histogram>(),
        size_of::<Descriptor>(),
        align_of::<Descriptor>(),
        offset_of!(Descriptor, role),
        offset_of!(Descriptor, slot),
        offset_of!(Descriptor, next),
        offset_of!(Descriptor, segments),
        offset_of!(Descriptor, data),
        offset_of!(Descriptor, fragment),
        offset_of!(Descriptor, fate),
        offset_of!(Descriptor, posted_at),
        offset_of!(Descriptor, attempts),
        offset_of!(Descriptor, interruptions),
        offset_of!(Descriptor, settled),
        size_of::<Extension>(),
        size_of::<GatewayPage>(),
        offset_of!(GatewayPage, received),
        offset_of!(GatewayPage, cells),
        offset_of!(GatewayPage, packets),
        size_of::<StreamRow>(),
        offset_of!(StreamRow, finished),
        offset_of!(StreamRow, ids),
        size_of::<Cursor>(),
        BUFFER_BYTES as usize,
        DATA_OFFSET as usize,
        LAYOUT_VERSION as usize,
    ];
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut i = 0;
    while i < facts.len() {
        hash = (hash ^ facts[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
};

/// Why a geometry is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} = {value} is outside {min}..={max}{also}")]
pub struct GeometryError {
    what: &'static str,
    value: u64,
    min: u64,
    max: u64,
    also: &'static str,
}

/// Offsets of the control region and sizes of all four.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The geometry it follows from.
    pub geometry: Geometry,
    /// The rings, by number.
    pub rings: Vec<RingSpec>,
    pub(crate) supervisor: u64,
    pub(crate) pages: u64,
    pub(crate) gateway: u64,
    pub(crate) streams: u64,
    pub(crate) descriptors: u64,
    pub(crate) extensions: u64,
    pub(crate) ring_offsets: Vec<u64>,
    /// Bytes of the control region.
    pub control_bytes: u64,
    /// Bytes of the packets region.
    pub packets_bytes: u64,
    /// Bytes of the inputs region.
    pub inputs_bytes: u64,
    /// Bytes of the outputs region.
    pub outputs_bytes: u64,
}

impl Layout {
    /// The layout of a geometry, after checking it.
    pub fn new(geometry: Geometry) -> Result<Self, GeometryError> {
        check(&geometry)?;
        let rings = geometry.rings();
        let mut at = PAGE;
        let mut place = |bytes: u64| {
            let offset = at;
            at += bytes.next_multiple_of(PAGE);
            offset
        };
        let all = u64::from(geometry.buffers) + u64::from(geometry.slots);
        let supervisor = place(size_of::<SupervisorPage>() as u64);
        let pages = place((size_of::<StagePage>() * geometry.instances()) as u64);
        let gateway = place(size_of::<GatewayPage>() as u64);
        let streams = place(size_of::<StreamRow>() as u64 * u64::from(geometry.max_streams));
        let descriptors = place(size_of::<Descriptor>() as u64 * all);
        let extensions = place(size_of::<Extension>() as u64 * u64::from(geometry.buffers));
        let ring_offsets = rings.iter().map(|r| place(2 * PAGE + 8 * u64::from(r.capacity))).collect();
        let align = |bytes: u64| bytes.max(1).next_multiple_of(crate::region::ALIGN);
        Ok(Self {
            geometry,
            rings,
            supervisor,
            pages,
            gateway,
            streams,
            descriptors,
            extensions,
            ring_offsets,
            control_bytes: align(at),
            packets_bytes: align(u64::from(geometry.buffers) * BUFFER_BYTES),
            inputs_bytes: align(u64::from(geometry.slots) * geometry.slot_input_bytes),
            outputs_bytes: align(u64::from(geometry.slots) * geometry.slot_output_bytes),
        })
    }
}

fn check(g: &Geometry) -> Result<(), GeometryError> {
    let within = |what, value: u64, min, max, ok: bool, also| {
        if ok && (min..=max).contains(&value) { Ok(()) } else { Err(GeometryError { what, value, min, max, also }) }
    };
    within("buffers", g.buffers.into(), 16, 1 << 22, true, "")?;
    within("slots", g.slots.into(), 1, 1 << 20, true, "")?;
    let tensor = |v: u64| v.is_multiple_of(TENSOR_ALIGN);
    within("slot input bytes", g.slot_input_bytes, 64, 1 << 30, tensor(g.slot_input_bytes), ", a multiple of 64")?;
    within("slot output bytes", g.slot_output_bytes, 64, 1 << 30, tensor(g.slot_output_bytes), ", a multiple of 64")?;
    within("preprocess instances", g.preprocess.into(), 1, 16, true, "")?;
    within("infer instances", g.infer.into(), 1, 16, true, "")?;
    let power = g.ring_capacity.is_power_of_two();
    within("ring capacity", g.ring_capacity.into(), 2, 1 << 20, power, ", a power of two")?;
    within("max_streams", g.max_streams.into(), 1, 1 << 20, true, "")
}

impl Geometry {
    pub(crate) fn to_words(self) -> [u64; 8] {
        [
            self.buffers.into(),
            self.slots.into(),
            self.slot_input_bytes,
            self.slot_output_bytes,
            self.preprocess.into(),
            self.infer.into(),
            self.ring_capacity.into(),
            self.max_streams.into(),
        ]
    }

    pub(crate) fn from_words(w: [u64; 8]) -> Self {
        Self {
            buffers: w[0] as u32,
            slots: w[1] as u32,
            slot_input_bytes: w[2],
            slot_output_bytes: w[3],
            preprocess: w[4] as u8,
            infer: w[5] as u8,
            ring_capacity: w[6] as u32,
            max_streams: w[7] as u32,
        }
    }
}
