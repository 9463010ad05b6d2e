//! Every type that lies in shared memory, field by field, and every number whose meaning both sides must share.
//!
//! [`crate::layout::LAYOUT_HASH`] is computed from these tables, so that two binaries which disagree on any of them never
//! attach to one arena. A field, or a value of an enum, that the tables do not name does not compile; a shared type that they
//! do not name fails a test. `layouts/` holds the facts of each layout version as text, and a test compares them.

use crate::descriptor::{Descriptor, Fate, FateKind, NONE, Role};
use crate::gateway::{ACL_CELLS, GatewayPage, HISTORY, Journal, NO_STREAM, Operation, StreamRow, VERDICTS};
use crate::histogram::{BUCKETS, Histogram};
use crate::layout::{BUFFER_BYTES, Cursor, DATA_OFFSET, Header, MAGIC, SupervisorPage, TENSOR_ALIGN};
use crate::meta::{Extension, FrameMeta, Moment, WORDS};
use crate::owner::{INCARNATION_MAX, Owner, OwnerId};
use crate::page::{COUNTERS, CURRENT_NONE, ControlWord, Event, FLIGHT_EVENTS, FlightEvent, StagePage};
use crate::ring::{INDEX_MAX, PoisonReason};
use crate::topology::{MAX_INSTANCES, RX, TX};
use core::mem::{align_of, offset_of, size_of};

/// Where one field lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldFacts {
    /// Its name.
    pub name: &'static str,
    /// From the beginning of its type, bytes.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
}

/// One type that lies in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeFacts {
    /// Its name.
    pub name: &'static str,
    /// Bytes.
    pub size: usize,
    /// Alignment, bytes.
    pub align: usize,
    /// All its fields, in the order of the source.
    pub fields: &'static [FieldFacts],
}

/// Size of what a projection leads to; the projection is never called.
const fn size_behind<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! shared_types {
    ($($name:ident { $($field:ident),+ $(,)? })+) => {
        /// Every type that lies in shared memory.
        pub const TYPES: &[TypeFacts] = &[$(TypeFacts {
            name: stringify!($name),
            size: size_of::<$name>(),
            align: align_of::<$name>(),
            fields: &[$(FieldFacts {
                name: stringify!($field),
                offset: offset_of!($name, $field),
                size: size_behind::<$name, _>(|it| &it.$field),
            }),+],
        }),+];

        // A pattern without `..`: it compiles only while it names every field.
        $(const _: fn(&$name) = |it| { let $name { $($field: _),+ } = it; };)+
    };
}

shared_types! {
    Header { magic, version, hash, geometry, epoch, ready, gateways }
    SupervisorPage { control, config_generation, ingress_paused, incarnation }
    ControlWord { command, kill_point_armed }
    StagePage {
        pid, ticket, incarnation, parked, heartbeat_ns, sleeping, kill_point_hit, current, poison, poison_position,
        held_buffers, held_slots, config_generation, first_work_ns, flight_next, flight, counters, wait, work, since_arrival,
    }
    FlightEvent { time_ns, what }
    Histogram { count, sum_ns, max_ns, buckets }
    GatewayPage { journal, received, cells, packets, acl_hits }
    Journal { commit, index_seq, cell_extra, value, finished }
    StreamRow { used, peer, stream, session, last_seen_ns, finished, ids }
    Descriptor {
        owner, role, slot, next, segments, data, fragment, fate, posted_at, attempts, interruptions, settled,
    }
    Extension { words }
    Cursor { value }
}

macro_rules! stored_enums {
    ($($name:ident { $($value:ident),+ $(,)? })+) => {
        /// Values of the enums that are stored as numbers: (enum, value, number).
        pub const ENUMS: &[(&str, &str, u64)] = &[$($((stringify!($name), stringify!($value), $name::$value as u64)),+),+];

        // A match without `_`: it compiles only while it names every value.
        $(const _: fn($name) = |it| match it { $($name::$value)|+ => () };)+
    };
}

stored_enums! {
    Role { Free, Assembling, Segment, Head, Slot }
    FateKind { Answered, Dropped, BadRequest, Quarantined }
    Operation { Admit, Dissolve, Packet }
    Event { Active, Parked, Recovered, Adopted, Poisoned, Suspect }
    PoisonReason { Lap, Index, Owner, Cursor, NotMine, Segments }
    Moment { Admitted, PreprocessStart, PreprocessEnd, InferStart, InferEnd }
}

/// The owner word that tells where its three parts lie.
const OWNER_SAMPLE: Owner = Owner { id: OwnerId(0xa1), incarnation: 0x00b2_c3d4, seq: 0xe5f6_0718 };

/// Numbers that every process must agree on.
pub const NUMBERS: &[(&str, u64)] = &[
    ("magic", MAGIC),
    ("buffer bytes", BUFFER_BYTES),
    ("data offset", DATA_OFFSET as u64),
    ("tensor alignment", TENSOR_ALIGN),
    ("most instances", MAX_INSTANCES as u64),
    ("largest index of a ring entry + 1", INDEX_MAX as u64),
    ("no index", NONE as u64),
    ("largest incarnation", INCARNATION_MAX as u64),
    ("owner word of id a1, incarnation b2c3d4, seq e5f60718", OWNER_SAMPLE.pack()),
    ("owner id of the supervisor", OwnerId::SUPERVISOR.0 as u64),
    ("owner id of the quarantine", OwnerId::QUARANTINE.0 as u64),
    ("owner id of rx-gateway", RX.0 as u64),
    ("owner id of tx", TX.0 as u64),
    ("owner id of what is attached", OwnerId::ATTACHED.0 as u64),
    ("reasons of a fate", Fate::REASONS as u64),
    ("cells of the ledger", Fate::CELLS as u64),
    ("cell of dropped, reason 5", Fate { kind: FateKind::Dropped, reason: 5 }.cell() as u64),
    ("verdicts", VERDICTS as u64),
    ("counters of the access list", ACL_CELLS as u64),
    ("ids of finished frames per stream", HISTORY as u64),
    ("no stream row", NO_STREAM as u64),
    ("counters of a stage page", COUNTERS as u64),
    ("events of a flight recorder", FLIGHT_EVENTS as u64),
    ("no current frame", CURRENT_NONE),
    ("buckets of a histogram", BUCKETS as u64),
    ("words of an extension", WORDS as u64),
    ("words of a frame's metadata", FrameMeta::WORDS as u64),
    ("extension word of the input's place", crate::meta::INPUT as u64),
    ("extension word of the output's length", crate::meta::OUTPUT_BYTES as u64),
    ("extension word of the metadata's checksum", crate::record::META_CHECK as u64),
    ("extension word of the place's checksum", crate::record::PLACE_CHECK as u64),
    ("extension word of the frame's earlier arrival", crate::record::EARLY as u64),
    ("extension word of the link", crate::meta::LINK as u64),
    ("owner id of the receiving side of device queue 0", OwnerId::device_rx(0).0 as u64),
    ("owner id of the sending side of device queue 0", OwnerId::device_tx(0).0 as u64),
    ("flag reply-on-drop", FrameMeta::REPLY_ON_DROP as u64),
    ("flag mac", FrameMeta::MAC as u64),
];

/// FNV-1a, 64 bit.
struct Fnv(u64);

impl Fnv {
    const fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ byte as u64).wrapping_mul(0x0100_0000_01b3))
    }

    const fn number(mut self, number: u64) -> Self {
        let (bytes, mut i) = (number.to_le_bytes(), 0);
        while i < bytes.len() {
            self = self.byte(bytes[i]);
            i += 1;
        }
        self
    }

    const fn text(mut self, text: &str) -> Self {
        let (bytes, mut i) = (text.as_bytes(), 0);
        while i < bytes.len() {
            self = self.byte(bytes[i]);
            i += 1;
        }
        self.byte(0)
    }
}

/// Hash over the tables, the layout version and where [`crate::layout::areas`] places things.
pub(crate) const fn hash(version: u32, areas: &[u64]) -> u64 {
    let mut fnv = Fnv(0xcbf2_9ce4_8422_2325).number(version as u64);
    let (mut i, mut f) = (0, 0);
    while i < TYPES.len() {
        fnv = fnv.text(TYPES[i].name).number(TYPES[i].size as u64).number(TYPES[i].align as u64);
        while f < TYPES[i].fields.len() {
            let field = &TYPES[i].fields[f];
            fnv = fnv.text(field.name).number(field.offset as u64).number(field.size as u64);
            f += 1;
        }
        (i, f) = (i + 1, 0);
    }
    i = 0;
    while i < ENUMS.len() {
        fnv = fnv.text(ENUMS[i].0).text(ENUMS[i].1).number(ENUMS[i].2);
        i += 1;
    }
    i = 0;
    while i < NUMBERS.len() {
        fnv = fnv.text(NUMBERS[i].0).number(NUMBERS[i].1);
        i += 1;
    }
    i = 0;
    while i < areas.len() {
        fnv = fnv.number(areas[i]);
        i += 1;
    }
    fnv.0
}
