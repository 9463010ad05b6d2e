//! The memory that both processes share: a small arena, and bare words of it for what is measured beside the ring.

use anyhow::{Context as _, Result};
use arena::arena::{Access, Regions};
use arena::descriptor::{Descriptor, Role, Table};
use arena::launch::{Attached, Launch};
use arena::region::{HugePages, document};
use arena::ring::{Consumer, Producer};
use arena::sync::{AtomicU64, Ordering};
use arena::topology::{RX, RingKind, TX};
use arena::{Arena, Geometry, Held, Me, OwnerId, doorbell};
use rustix::io::FdFlags;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Buffers that a batch holds.
pub const BATCH: usize = 32;
/// Entries of every ring that is measured: ours, the bare one, `rte_ring` (see `rte_ring.c`).
pub const CAPACITY: u64 = 64;

/// The side that sends first: it stands in rx-gateway's place, and the other in tx's, which two rings join.
const SIDES: [OwnerId; 2] = [RX, TX];

/// Buffers and slots together make the rings between rx-gateway and tx [`CAPACITY`] long; six instances bring six pages.
const GEOMETRY: Geometry = Geometry {
    buffers: 56,
    slots: 8,
    slot_input_bytes: 64,
    slot_output_bytes: 64,
    preprocess: 1,
    infer: 3,
    ring_capacity: 64,
    max_streams: 1,
    gateways: 1,
};

/// Which of the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Sends first and holds the clock.
    A,
    /// Echoes.
    B,
}

impl Which {
    /// Its number, 0 or 1.
    pub fn number(self) -> usize {
        usize::from(self == Self::B)
    }
}

/// A line of its own, in a page of its own: the life sign of an instance that never runs.
pub fn line(arena: &Arena, n: u8) -> Result<&'static AtomicU64> {
    let page = arena.page(OwnerId(OwnerId::FIRST_STAGE + n)).context("the arena has too few pages")?;
    Ok(&page.heartbeat_ns)
}

/// [`CAPACITY`] words side by side: the counters of an instance that never runs.
pub fn cells(arena: &Arena, n: u8) -> Result<&'static [AtomicU64]> {
    let page = arena.page(OwnerId(OwnerId::FIRST_STAGE + n)).context("the arena has too few pages")?;
    Ok(&page.counters)
}

/// Reads all 64 bytes of a descriptor, as the stage that works on its frame does.
#[inline]
pub fn read_all(d: &Descriptor) {
    let words = [&d.owner, &d.fate, &d.posted_at, &d.settled];
    let halves = [&d.role, &d.slot, &d.next, &d.segments, &d.data, &d.fragment, &d.attempts, &d.interruptions];
    let wide = words.iter().fold(0, |sum: u64, w| sum.wrapping_add(w.load(Ordering::Relaxed)));
    let all = halves.iter().fold(wide, |sum, h| sum.wrapping_add(h.load(Ordering::Relaxed).into()));
    std::hint::black_box(all);
}

/// One side's ends of the two rings.
pub struct Ends {
    /// Who this side is.
    pub id: OwnerId,
    /// Who the other one is.
    pub peer: OwnerId,
    /// From the other side.
    pub rx: Consumer<'static>,
    /// To the other side.
    pub tx: Producer<'static>,
    /// All descriptors.
    pub table: Table<'static>,
}

/// Opens one side's ends, reading cursors as a successor does.
pub fn ends(arena: &Arena, which: Which) -> Result<Ends> {
    let (id, peer) = (SIDES[which.number()], SIDES[1 - which.number()]);
    let me = Me { id, incarnation: 1 };
    let ring = |kind, from, to| {
        let found = arena.rings_where(|s| s.kind == kind && s.from == from && s.to == to);
        found.into_iter().next().context("the arena lacks a ring")
    };
    let (there, back) = (ring(RingKind::Status, RX, TX)?, ring(RingKind::Home, TX, RX)?);
    let (to, from) = if which == Which::A { (there, back) } else { (back, there) };
    let table = arena.table();
    Ok(Ends { id, peer, rx: from.consumer(table, me), tx: to.producer(table, me), table })
}

/// Takes the first buffers in hand, as rx-gateway does with all when it first starts.
pub fn adopt(arena: &Arena) -> Result<Vec<Held>> {
    let (table, me) = (arena.table(), Me { id: RX, incarnation: 1 });
    for (_, d) in table.iter().take(BATCH) {
        d.set_role(Role::Head); // only heads travel
    }
    (0..BATCH as u32).map(|i| table.adopt(i, me).context("a fresh buffer is not free")).collect()
}

/// What side A holds: the arena, and what side B is to inherit.
pub struct Home {
    /// The arena, mapped here.
    pub arena: Arena,
    /// Its doorbells.
    pub bells: doorbell::Doorbells,
    regions: Regions,
    config: OwnedFd,
    /// Side B sees this hang up when side A ends; side A polls it as a stage polls its supervisor's.
    pub ours: OwnedFd,
    theirs: OwnedFd,
}

impl Home {
    /// Creates everything; all of it goes when this process ends.
    pub fn create() -> Result<Self> {
        let (arena, regions) = Arena::create(GEOMETRY, HugePages::Off)?;
        let bells = (0..GEOMETRY.instances()).map(|_| doorbell::create().map(Some)).collect::<Result<Vec<_>, _>>()?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        Ok(Self {
            bells: doorbell::Doorbells::new(&arena, bells),
            arena,
            regions,
            config: document("bench-ring", b"")?,
            ours: ours.into(),
            theirs: theirs.into(),
        })
    }

    /// The descriptors for side B, by name; `port` are those of sockets and pipes.
    pub fn launch(&self, port: &[BorrowedFd<'_>], core: usize) -> Launch {
        let bells = self.arena.geometry().all_instances();
        Launch {
            owner: TX,
            ticket: 1,
            control: self.regions.control.rw.as_raw_fd(),
            packets: (-1, Access::None),
            inputs: (-1, Access::None),
            outputs: (-1, Access::None),
            bells: bells.filter_map(|(id, _)| self.bells.fd(id)).map(|fd| fd.as_raw_fd()).collect(),
            config: self.config.as_raw_fd(),
            supervisor: self.theirs.as_raw_fd(),
            port: port.iter().map(AsRawFd::as_raw_fd).collect(),
            core: Some(core),
        }
    }

    /// Lets everything of `launch` through an exec (`true`), or keeps it from the next one (`false`).
    pub fn inherit(&self, port: &[BorrowedFd<'_>], yes: bool) -> Result<()> {
        let flags = if yes { FdFlags::empty() } else { FdFlags::CLOEXEC };
        let bells = self.arena.geometry().all_instances().filter_map(|(id, _)| self.bells.fd(id));
        for fd in bells.chain(port.iter().copied()) {
            rustix::io::fcntl_setfd(fd, flags)?;
        }
        for fd in [&self.regions.control.rw, &self.config, &self.theirs] {
            rustix::io::fcntl_setfd(fd, flags)?;
        }
        Ok(())
    }
}

/// What side B took over.
pub fn attach() -> Result<(Attached, usize)> {
    let launch = Launch::from_env()?;
    let core = launch.core.context("the launch names no core")?;
    Ok((launch.attach()?, core))
}
