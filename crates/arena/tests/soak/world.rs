//! The arena of the soak, and how a process attaches to it with the rights of its kind.

use crate::frames::{Finished, RESULT_BYTES, TENSOR_BYTES};
use arena::arena::{Access, Regions, rights};
use arena::region::{HugePages, Region};
use arena::ring::Ring;
use arena::topology::RingKind;
use arena::{Arena, Geometry, OwnerId};
use std::os::fd::{AsFd, BorrowedFd};

pub const GEOMETRY: Geometry = Geometry {
    buffers: 1024,
    slots: 256,
    slot_input_bytes: TENSOR_BYTES as u64,
    slot_output_bytes: RESULT_BYTES as u64,
    preprocess: 1,
    infer: 1,
    ring_capacity: 256,
    max_streams: 1,
    gateways: 1,
};
pub const PRE: OwnerId = GEOMETRY.preprocess_id(0);
pub const INFER: OwnerId = GEOMETRY.infer_id(0);

/// All that the processes share.
pub struct World {
    pub arena: Arena,
    regions: Regions,
    pub finished: Finished,
}

impl World {
    pub fn new() -> Result<Self, String> {
        let (arena, regions) = Arena::create(GEOMETRY, HugePages::Off).map_err(|e| e.to_string())?;
        let finished = Finished::new().map_err(|e| format!("mmap: {e}"))?;
        Ok(Self { arena, regions, finished })
    }

    /// The arena as stage `id` sees it.
    pub fn attach(&self, id: OwnerId) -> Result<Arena, String> {
        let kind = GEOMETRY.instance(id).ok_or("no such stage")?.kind;
        let (packets, inputs, outputs) = rights(kind);
        Arena::attach(
            self.regions.control.rw.as_fd(),
            open(&self.regions.packets, packets),
            open(&self.regions.inputs, inputs),
            open(&self.regions.outputs, outputs),
        )
        .map_err(|e| e.to_string())
    }
}

fn open(region: &Region, access: Access) -> Option<(BorrowedFd<'_>, bool)> {
    match access {
        Access::None => None,
        Access::Read => Some((region.ro.as_fd(), false)),
        Access::Write => Some((region.rw.as_fd(), true)),
    }
}

/// The one ring of that kind between two stages.
pub fn ring(arena: &Arena, kind: RingKind, from: OwnerId, to: OwnerId) -> Ring<'static> {
    let found = arena.rings_where(|s| s.kind == kind && s.from == from && s.to == to);
    found.first().copied().unwrap_or_else(|| panic!("no ring {kind:?} {from:?} -> {to:?}"))
}
