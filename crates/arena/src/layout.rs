//! Where everything lies in the four regions, and the header that proves it.

use crate::descriptor::Descriptor;
use crate::gateway::{GatewayPage, StreamRow};
use crate::meta::Extension;
use crate::page::{ControlWord, StagePage};
use crate::ring::RingId;
use crate::sync::{AtomicU32, AtomicU64};
use crate::topology::{Geometry, MAX_GATEWAYS, MAX_INSTANCES, RingSpec};

/// First bytes of the control region: `FLUMEWAY` in ASCII.
pub const MAGIC: u64 = u64::from_le_bytes(*b"FLUMEWAY");
/// Version of everything in [`crate::facts`] and of all that `layouts/` records; separate from the release's.
///
/// | version | |
/// |---:|---|
/// | 1 | first |
/// | 2 | extension words 26-28: checksums over a record's immutable part, and a frame's earlier arrival |
/// | 3 | extension words 29-31: the link that a frame came by; several rx-gateways, each with its ledger and streams |
pub const LAYOUT_VERSION: u32 = 3;
/// Stride of the packet buffers.
pub const BUFFER_BYTES: u64 = 4096;
/// Where a driver puts a packet's payload: 64 B mempool object header, 128 B `rte_mbuf`, 128 B headroom.
pub const DATA_OFFSET: u16 = 320;
/// Alignment of tensors.
pub const TENSOR_ALIGN: u64 = 64;
const PAGE: u64 = 4096;
/// Words of the header that hold the geometry.
pub(crate) const GEOMETRY_WORDS: usize = 9;

/// First page of the control region.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct Header {
    pub(crate) magic: AtomicU64,
    pub(crate) version: AtomicU64,
    pub(crate) hash: AtomicU64,
    pub(crate) geometry: [AtomicU64; GEOMETRY_WORDS - 1],
    /// CLOCK_REALTIME at creation, ns: tells arenas apart.
    pub(crate) epoch: AtomicU64,
    /// 1 once everything is formatted; written last.
    pub(crate) ready: AtomicU64,
    /// The geometry's last word: behind what every release must find at its place.
    pub(crate) gateways: AtomicU64,
}

impl Header {
    /// Where the words of [`Geometry::to_words`] stand.
    pub(crate) fn geometry_cells(&self) -> impl Iterator<Item = &AtomicU64> {
        self.geometry.iter().chain(std::iter::once(&self.gateways))
    }
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

/// Hash over everything in [`crate::facts`], and over the places of the areas in a sample arena (FNV-1a, 64 bit).
pub const LAYOUT_HASH: u64 = {
    let a = areas(&SAMPLE);
    let places = [a.supervisor, a.pages, a.gateway, a.streams, a.descriptors, a.extensions, a.rings, ring_bytes(64)];
    crate::facts::hash(LAYOUT_VERSION, &places)
};

/// A geometry whose numbers all differ, so that no two areas of it can be taken for each other.
const SAMPLE: Geometry = Geometry {
    buffers: 96,
    slots: 12,
    slot_input_bytes: 8192,
    slot_output_bytes: 640,
    preprocess: 2,
    infer: 3,
    ring_capacity: 64,
    max_streams: 5,
    gateways: 4,
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

/// Offsets of the control region's areas, bytes; the rings follow one another from `rings` on, in the order of their numbers.
struct Areas {
    supervisor: u64,
    pages: u64,
    gateway: u64,
    streams: u64,
    descriptors: u64,
    extensions: u64,
    rings: u64,
}

/// One page for the header, then each area from a page's beginning on.
const fn areas(g: &Geometry) -> Areas {
    const fn after(offset: u64, size: usize, count: u64) -> u64 {
        offset + (size as u64 * count).next_multiple_of(PAGE)
    }
    let supervisor = PAGE;
    let pages = after(supervisor, size_of::<SupervisorPage>(), 1);
    let gateway = after(pages, size_of::<StagePage>(), g.instances() as u64);
    let streams = after(gateway, size_of::<GatewayPage>(), g.gateways as u64);
    // Each rx-gateway's rows on pages of their own: one writer per page.
    let descriptors = streams + rows_at(g, g.gateways);
    let extensions = after(descriptors, size_of::<Descriptor>(), g.buffers as u64 + g.slots as u64);
    let rings = after(extensions, size_of::<Extension>(), g.buffers as u64);
    Areas { supervisor, pages, gateway, streams, descriptors, extensions, rings }
}

/// Where the stream rows of rx-gateway `n` begin, counted from those of the first, bytes.
pub(crate) const fn rows_at(g: &Geometry, n: u8) -> u64 {
    (size_of::<StreamRow>() as u64 * g.max_streams as u64).next_multiple_of(PAGE) * n as u64
}

/// A ring: the page of its head, the page of its tail, its entries, all from a page's beginning on; bytes.
const fn ring_bytes(capacity: u32) -> u64 {
    2 * PAGE + (8 * capacity as u64).next_multiple_of(PAGE)
}

impl Layout {
    /// The layout of a geometry, after checking it.
    pub fn new(geometry: Geometry) -> Result<Self, GeometryError> {
        check(&geometry)?;
        let rings = geometry.rings();
        let Areas { supervisor, pages, gateway, streams, descriptors, extensions, rings: mut at } = areas(&geometry);
        let mut place = |ring: &RingSpec| {
            let offset = at;
            at += ring_bytes(ring.capacity);
            offset
        };
        let ring_offsets = rings.iter().map(&mut place).collect();
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
    /// The areas of the control region behind its header: name and offset, bytes.
    pub fn areas(&self) -> [(&'static str, u64); 6] {
        [
            ("supervisor", self.supervisor),
            ("stage pages", self.pages),
            ("gateway", self.gateway),
            ("stream rows", self.streams),
            ("descriptors", self.descriptors),
            ("extensions", self.extensions),
        ]
    }

    /// Where a ring begins in the control region, bytes.
    pub fn ring_at(&self, id: RingId) -> Option<u64> {
        self.ring_offsets.get(usize::from(id.0)).copied()
    }
}

fn check(g: &Geometry) -> Result<(), GeometryError> {
    let within = |what, value: u64, min, max, ok: bool, also| {
        if ok && (min..=max).contains(&value) { Ok(()) } else { Err(GeometryError { what, value, min, max, also }) }
    };
    within("buffers", g.buffers.into(), 16, 1 << 22, true, "")?;
    within("rx-gateway instances", g.gateways.into(), 1, MAX_GATEWAYS.into(), true, "")?;
    // Each rx-gateway admits frames within its share of the slots.
    within("slots", g.slots.into(), g.gateways.into(), 1 << 20, true, "")?;
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
    /// As the header holds it.
    pub fn to_words(self) -> [u64; GEOMETRY_WORDS] {
        [
            self.buffers.into(),
            self.slots.into(),
            self.slot_input_bytes,
            self.slot_output_bytes,
            self.preprocess.into(),
            self.infer.into(),
            self.ring_capacity.into(),
            self.max_streams.into(),
            self.gateways.into(),
        ]
    }

    /// From a header. A number that does not fit its field reads as the largest, which [`Layout::new`] refuses.
    pub fn from_words(w: [u64; GEOMETRY_WORDS]) -> Self {
        let (small, byte) =
            (|n: u64| u32::try_from(n).unwrap_or(u32::MAX), |n: u64| u8::try_from(n).unwrap_or(u8::MAX));
        Self {
            buffers: small(w[0]),
            slots: small(w[1]),
            slot_input_bytes: w[2],
            slot_output_bytes: w[3],
            preprocess: byte(w[4]),
            infer: byte(w[5]),
            ring_capacity: small(w[6]),
            max_streams: small(w[7]),
            gateways: byte(w[8]),
        }
    }
}
