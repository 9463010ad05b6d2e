//! What a stage knows of its surroundings.

use crate::{Inlet, Outlet};
use arena::descriptor::Table;
use arena::doorbell::Doorbells;
use arena::page::StagePage;
use arena::ring::{Consumer, Ring};
use arena::topology::{RingKind, RingSpec};
use arena::{Arena, Held, Instance, Me, OwnerId};
use config::Rings;
use std::os::fd::OwnedFd;

/// The arena as one active incarnation sees it.
#[derive(Debug)]
pub struct Context {
    /// The arena.
    pub arena: Arena,
    /// All descriptors.
    pub table: Table<'static>,
    /// Who we are.
    pub me: Me,
    /// Which instance.
    pub instance: Instance,
    /// Our page.
    pub page: &'static StagePage,
    /// Everybody's doorbells.
    pub doorbells: Doorbells,
    /// Ring sizes and watermarks.
    pub rings: Rings,
    /// The driver's descriptors, until the stage takes them.
    pub port: Vec<OwnedFd>,
    /// CLOCK_MONOTONIC at the beginning of this turn of the run loop, ns.
    pub now_ns: u64,
    /// The pipeline is being drained, or its supervisor is gone: take no new input.
    pub ingress_paused: bool,
}

impl Context {
    fn ring(&self, pick: impl Fn(&RingSpec) -> bool) -> Vec<Ring<'static>> {
        self.arena.rings_where(pick)
    }

    /// The consuming ends of our rings of this kind (all but recovery).
    pub fn inlets(&self, kind: RingKind) -> Vec<Inlet> {
        let me = self.me.id;
        let rings = self.ring(|s| s.kind == kind && s.to == me);
        rings.into_iter().map(|r| Inlet::new(r, self)).collect()
    }

    /// The producing ends of our rings of this kind (all but recovery).
    pub fn outlets(&self, kind: RingKind) -> Vec<Outlet> {
        let me = self.me.id;
        let rings = self.ring(|s| s.kind == kind && s.from == me);
        rings.into_iter().map(|r| Outlet::new(r, self)).collect()
    }

    /// The one ring of this kind that we produce; the topology has it.
    pub fn outlet(&self, kind: RingKind) -> Outlet {
        self.outlets(kind).remove(0)
    }

    /// What our dead predecessor held.
    pub fn recovery(&self) -> Consumer<'static> {
        let me = self.me.id;
        self.ring(|s| s.kind == RingKind::Recovery && s.to == me)[0].consumer(self.table, self.me)
    }

    /// Notes which frame is being worked on; a death from here on may be its doing.
    #[inline]
    pub fn begin(&self, head: &Held) {
        self.page.set_current(head.index(), self.table.of(head).owner().seq);
    }

    /// Wakes an instance if it may be asleep.
    #[inline]
    pub fn wake(&self, id: OwnerId) {
        self.doorbells.ring(id);
    }
}
