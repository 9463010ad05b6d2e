//! Damage to owner words and roles: finding buffers that nobody can come back to, and giving each to somebody.
//!
//! A stray write leaves a buffer that its holder cannot push any more (its word names somebody else), or one whose named owner has
//! no handle for it. Neither repairs itself. The supervisor surveys words and roles from time to time, and acts on what two surveys
//! show alike. A word is changed only while everybody is stopped who could hold its buffer, so that no buffer gets into two
//! hands:
//!
//! | role | word | who is stopped | what becomes of it |
//! |---|---|---|---|
//! | HEAD | a living stage that says it holds fewer, or an older incarnation of it | that stage | its sweep |
//! | HEAD | nobody's | all | ends as dropped, through the supervisor |
//! | FREE, ASSEMBLING, SEGMENT | a stage that is no rx-gateway | that stage and the home | free with the home |
//! | any but HEAD | nobody's | all | free with the home |
//! | SEGMENT | attached to something that is no head, or whose list lacks it | the home | adopted, or free |
//! | slot | attached to a head that does not name it; nobody's | all | the first rx-gateway, which puts it back |
//! | slot | its stage, which says it holds fewer; a rx-gateway | that stage | its sweep, its adoption |
//!
//! A buffer's *home* is the rx-gateway that it belongs to. A word that names another rx-gateway is nobody's.

use crate::arena::Arena;
use crate::descriptor::{Descriptor, Role, is_attached};
use crate::gateway::{Line, Operation};
use crate::layout::{LAYOUT_HASH, LAYOUT_VERSION, MAGIC};
use crate::owner::{Me, Owner, OwnerId};
use crate::reclaim::Marks;
use crate::sync::Ordering;
use crate::topology::{Geometry, MAX_INSTANCES, RX, RingKind, StageKind};

/// A set of stage instances, by their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instances(u64);

impl Instances {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(u64::MAX);

    /// With this owner, if it is a stage instance.
    #[must_use]
    pub fn with(self, id: OwnerId) -> Self {
        let n = u32::from(id.0.wrapping_sub(OwnerId::FIRST_STAGE));
        Self(self.0 | 1_u64.checked_shl(n).unwrap_or(0))
    }

    /// Those of either.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this owner is among them.
    pub fn has(self, id: OwnerId) -> bool {
        Self::NONE.with(id).0 & self.0 != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What the last surveys saw of each buffer and slot; allocated once.
#[derive(Debug)]
pub struct Sightings {
    seen: Vec<(u64, u32, u32)>,
    listed: Vec<bool>,
    /// Was in a state that no rule allows at the last survey too. A word that has stood for long may be seen in the middle of a
    /// change of something else that it depends on.
    condemned: Vec<bool>,
    /// By instance: its heartbeat at the end of the last survey.
    beats_ns: [u64; MAX_INSTANCES],
}

impl Sightings {
    /// For this many buffers and slots.
    pub fn new(len: u32) -> Self {
        Self {
            seen: vec![(0, u32::MAX, 0); len as usize],
            listed: vec![false; len as usize],
            condemned: vec![false; len as usize],
            beats_ns: [0; MAX_INSTANCES],
        }
    }

    /// Notes word and role; for how many surveys they have stood so.
    fn age(&mut self, index: u32, d: &Descriptor) -> u32 {
        let now = (d.owner().pack(), d.role.load(Ordering::Acquire));
        let Some(seen) = self.seen.get_mut(index as usize) else { return 0 };
        let age = if (seen.0, seen.1) == now { seen.2.saturating_add(1) } else { 0 };
        *seen = (now.0, now.1, age);
        age
    }
}

/// What a survey found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Who must be stopped, all at the same time, for the repair.
    pub stop: Instances,
    /// Buffers and slots in states that no rule allows, seen before in the same state.
    pub lost: u32,
    /// The same, seen for the first time: they may be on their way.
    pub suspected: u32,
}

/// The last activation of each instance, and who is at work: all that a survey must know besides the arena.
#[derive(Clone, Debug)]
pub struct Crew {
    /// By number.
    pub incarnations: Vec<u32>,
    /// Active; the words of others wait for their successors.
    pub active: Instances,
    /// Bit n: device queue n is in use.
    pub queues: u64,
}

impl Crew {
    fn incarnation(&self, id: OwnerId) -> Option<u32> {
        self.incarnations.get(usize::from(id.0.checked_sub(OwnerId::FIRST_STAGE)?)).copied()
    }

    /// Whether a device may have a buffer of this role under this word: free ones to receive into, heads to send.
    fn lends(&self, word: Owner, role: Option<Role>) -> bool {
        let (base, wants) = match word.id {
            id if id.is_device_rx() => (OwnerId::device_rx(0), Role::Free),
            id if id.is_device_tx() => (OwnerId::device_tx(0), Role::Head),
            _ => return false,
        };
        role == Some(wants) && self.queues >> (word.id.0 - base.0) & 1 != 0
    }

    /// Whether the word of buffer or slot `index` names a stage instance in an incarnation that there was, and that can have it.
    fn knows(&self, geometry: &Geometry, index: u32, word: Owner) -> bool {
        let astray = index < geometry.buffers && geometry.is_gateway(word.id) && word.id != geometry.home_of(index);
        !astray && self.incarnation(word.id).is_some_and(|n| word.incarnation <= n)
    }
}

/// Whether a slot is attached to a head that names it.
fn follows(arena: &Arena, slot: u32, word: Owner) -> bool {
    let role = arena.table().get(word.incarnation).map(Descriptor::role);
    is_attached(word) && arena.table().slot_of(word.incarnation) == Some(slot) && role == Some(Role::Head)
}

/// What one buffer calls for.
enum Call {
    Nothing,
    /// All of these must stop.
    Stop(Instances),
    /// Fine if its stage says that it holds it.
    Held(OwnerId),
    /// Fine for a while with its home.
    Rests,
}

fn judge(arena: &Arena, crew: &Crew, listed: &[bool], index: u32, d: &Descriptor) -> Call {
    let word = d.owner();
    let stops = |id: OwnerId| Call::Stop(Instances::NONE.with(id));
    let role = Role::from_u32(d.role.load(Ordering::Acquire));
    let geometry = arena.geometry();
    let known = crew.knows(&geometry, index, word);
    let current = known && crew.incarnation(word.id) == Some(word.incarnation);
    if known && !crew.active.has(word.id) {
        return Call::Nothing;
    }
    let head_role = || arena.table().get(word.incarnation).map(Descriptor::role);
    if arena.table().is_slot(index) {
        return match geometry.instance(word.id).map(|i| i.kind) {
            _ if follows(arena, index, word) => Call::Nothing,
            Some(StageKind::Preprocess) if current => Call::Held(word.id),
            Some(StageKind::RxGateway | StageKind::Preprocess) if known => stops(word.id),
            _ => Call::Stop(Instances::ALL),
        };
    }
    let home = geometry.home_of(index);
    match role {
        _ if crew.lends(word, role) => Call::Nothing,
        Some(Role::Head | Role::Assembling) if word.id == home && current => Call::Rests,
        Some(Role::Head) if current => Call::Held(word.id),
        Some(Role::Head) if known => stops(word.id),
        Some(Role::Free) if word.id == home && current => Call::Nothing,
        // Attached: on its way with its head, or an orphan that its home adopts.
        Some(Role::Segment) if is_attached(word) => match head_role() {
            Some(Role::Assembling) => Call::Rests,
            Some(Role::Head) if listed.get(index as usize) == Some(&true) => Call::Nothing,
            _ => stops(home),
        },
        _ if known => Call::Stop(Instances::NONE.with(home).with(word.id)),
        _ => Call::Stop(Instances::ALL),
    }
}

/// Marks every segment that a head's list names and whose word agrees.
fn list_segments(arena: &Arena, listed: &mut [bool]) {
    listed.fill(false);
    let table = arena.table();
    let heads = table.iter().take(table.buffers() as usize).filter(|(_, d)| d.role() == Role::Head);
    for (head, _) in heads {
        for (segment, _) in table.segments(head) {
            // Lists that run in circles, or into each other, must not make this quadratic: each place is passed once.
            match listed.get_mut(segment as usize) {
                Some(mark) if !*mark => *mark = true,
                _ => break,
            }
        }
    }
}

/// What a stage says of itself.
#[derive(Clone, Copy, Default)]
struct Said {
    beat_ns: u64,
    heads: u64,
    slots: u64,
}

/// By instance. The heartbeat is read first: what a turn ends with is at least as new as its beginning.
fn said(arena: &Arena) -> [Said; MAX_INSTANCES] {
    let mut all = [Said::default(); MAX_INSTANCES];
    for (said, (id, _)) in all.iter_mut().zip(arena.geometry().all_instances()) {
        let Some(page) = arena.page(id) else { continue };
        let beat_ns = page.heartbeat_ns.load(Ordering::Acquire);
        let (heads, slots) = (page.held_buffers.load(Ordering::Acquire), page.held_slots.load(Ordering::Acquire));
        *said = Said { beat_ns, heads, slots };
    }
    all
}

/// Looks at every word and role. `patience`: surveys after which what rests with its home, while nothing else moves, is lost.
pub fn survey(arena: &Arena, crew: &Crew, sightings: &mut Sightings, marks: &mut Marks, patience: u32) -> Survey {
    let table = arena.table();
    let rings = arena.rings_where(|_| true);
    // Before the rings: what a stage pushes meanwhile it may have counted, and is counted twice rather than not at all.
    let said = said(arena);
    list_segments(arena, &mut sightings.listed);
    let marked = marks.mark(&rings);
    let mut found = Survey::default();
    let (mut heads, mut slots) = ([0_u64; 64], [0_u64; 64]);
    let (mut resting, mut rest_with) = (0_u32, Instances::NONE);
    for (index, d) in table.iter() {
        let age = sightings.age(index, d);
        let condemned = std::mem::take(&mut sightings.condemned[index as usize]);
        if marked[index as usize] {
            continue;
        }
        match judge(arena, crew, &sightings.listed, index, d) {
            Call::Stop(who) => {
                sightings.condemned[index as usize] = true;
                if age > 0 && condemned {
                    found.stop = found.stop.and(who);
                    found.lost += 1;
                } else {
                    found.suspected += 1;
                }
            }
            Call::Rests if age >= patience => {
                resting += 1;
                rest_with = rest_with.with(arena.geometry().home_of(index));
            }
            Call::Held(id) if age > 0 => {
                let counts = if table.is_slot(index) { &mut slots } else { &mut heads };
                if let Some(n) = counts.get_mut(usize::from(id.0.wrapping_sub(OwnerId::FIRST_STAGE))) {
                    *n += 1;
                }
            }
            Call::Nothing | Call::Held(_) | Call::Rests => {}
        }
    }
    let mut idle = true;
    for (id, instance) in arena.geometry().all_instances().filter(|(id, _)| crew.active.has(*id)) {
        let Some(page) = arena.page(id) else { continue };
        let n = usize::from(id.0 - OwnerId::FIRST_STAGE);
        let Said { beat_ns, heads: held, slots: held_slots } = said[n];
        // A stage says what it holds at the end of each turn: in the middle of a long one (a slow inference) it holds more than
        // it has said. What it had at the last survey, it has said by its next turn.
        let before_ns = std::mem::replace(&mut sightings.beats_ns[n], page.heartbeat_ns.load(Ordering::Acquire));
        if beat_ns == before_ns {
            idle = false;
            continue;
        }
        let lost = heads[n].saturating_sub(held) + slots[n].saturating_sub(held_slots);
        if lost > 0 {
            found.stop = found.stop.with(id);
            found.lost += lost as u32;
        }
        idle &= instance.kind == StageKind::RxGateway || held == 0 && page.current().is_none();
    }
    idle &= arena.rings_where(|s| s.kind != RingKind::Slots).iter().all(|r| r.depth() == 0);
    if resting > 0 && idle {
        found.stop = found.stop.and(rest_with);
        found.lost += resting;
    }
    found
}

/// What [`straighten`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Straightened {
    /// Buffers given to their homes, slots to the first rx-gateway, roles put right.
    pub words: u32,
    /// Heads that nobody owns: to be ended by the supervisor.
    pub heads: Vec<u32>,
    /// A journal's line that cannot be was struck out.
    pub journal: bool,
    /// The ledger was made to balance: so many frames, of which nothing is left, were counted as dropped.
    pub frames: u64,
}

impl Straightened {
    /// Whether anything was wrong.
    pub fn changed(&self) -> bool {
        self.words > 0 || !self.heads.is_empty() || self.journal || self.frames > 0
    }
}

/// Puts words and roles right, as far as everybody who could hold a buffer is among `stopped`. Before their sweeps.
pub fn straighten(arena: &Arena, crew: &Crew, stopped: Instances, sightings: &mut Sightings) -> Straightened {
    let mut done = Straightened::default();
    let all = arena.geometry().all_instances().all(|(id, _)| stopped.has(id));
    let geometry = arena.geometry();
    if !geometry.gateway_ids().any(|id| stopped.has(id)) {
        return done;
    }
    list_segments(arena, &mut sightings.listed);
    for id in geometry.gateway_ids().filter(|id| stopped.has(*id)) {
        done.journal |= strike_line(arena, id);
    }
    for (index, d) in arena.table().iter() {
        let is_slot = arena.table().is_slot(index);
        // Whoever gets the buffer must be stopped in any case.
        let id = if is_slot { RX } else { geometry.home_of(index) };
        let Some(incarnation) = crew.incarnation(id).filter(|_| stopped.has(id)) else { continue };
        let word = d.owner();
        let settled = crew.knows(&geometry, index, word) && stopped.has(word.id);
        match wrong(arena, crew, &sightings.listed, index, d) {
            Wrong::Head if all => done.heads.push(index),
            Wrong::Place if all || settled || is_attached(word) && d.role() == Role::Segment => {
                if !is_slot {
                    d.set_role(Role::Free);
                }
                d.owner.store(word.taken_by(Me { id, incarnation }).pack(), Ordering::Release);
                done.words += 1;
            }
            Wrong::No | Wrong::Head | Wrong::Place => {}
        }
    }
    done
}

enum Wrong {
    No,
    /// A head that nobody owns.
    Head,
    /// Nobody who may own such a buffer owns it.
    Place,
}

fn wrong(arena: &Arena, crew: &Crew, listed: &[bool], index: u32, d: &Descriptor) -> Wrong {
    let word = d.owner();
    let geometry = arena.geometry();
    let known = crew.knows(&geometry, index, word);
    let attached_head = || arena.table().get(word.incarnation).map(Descriptor::role);
    if arena.table().is_slot(index) {
        let kind = geometry.instance(word.id).map(|i| i.kind);
        let fine = match kind {
            Some(StageKind::RxGateway | StageKind::Preprocess) => known,
            _ => follows(arena, index, word),
        };
        return if fine { Wrong::No } else { Wrong::Place };
    }
    let role = Role::from_u32(d.role.load(Ordering::Acquire));
    match role {
        _ if crew.lends(word, role) => Wrong::No,
        // Impossible roles are put right by `restore_roles`.
        Some(Role::Head | Role::Slot) | None if known => Wrong::No,
        Some(Role::Head) => Wrong::Head,
        Some(Role::Free | Role::Assembling | Role::Segment) if known && geometry.is_gateway(word.id) => Wrong::No,
        Some(Role::Segment) if is_attached(word) => match attached_head() {
            Some(Role::Head) if listed.get(index as usize) != Some(&true) => Wrong::Place,
            _ => Wrong::No,
        },
        _ => Wrong::Place,
    }
}

/// Puts roles right that cannot be, before `dead` is swept: a slot is a slot for ever, and no buffer is one. What stages that are
/// no rx-gateway hold are heads. Returns how many were wrong.
pub fn restore_roles(arena: &Arena, dead: Me) -> u32 {
    let (table, mut wrong) = (arena.table(), 0);
    let is_gateway = arena.geometry().is_gateway(dead.id);
    for (index, d) in table.iter() {
        let (role, word) = (Role::from_u32(d.role.load(Ordering::Acquire)), d.owner());
        let right = match role {
            Some(Role::Slot) if table.is_slot(index) => continue,
            _ if table.is_slot(index) => Role::Slot,
            Some(Role::Slot) | None if word.id == dead.id && word.incarnation <= dead.incarnation => {
                if is_gateway {
                    Role::Free
                } else {
                    Role::Head
                }
            }
            _ => continue,
        };
        d.set_role(right);
        wrong += 1;
    }
    wrong
}

/// Strikes out a pending line of a rx-gateway's journal that it cannot have written; only while it is dead. False for an id that
/// is no rx-gateway's.
pub fn strike_line(arena: &Arena, id: OwnerId) -> bool {
    let Some(page) = arena.gateway(id) else { return false };
    let Some(line) = page.journal.pending() else { return false };
    let Line { operation, index, cell, value, .. } = line;
    let counter = match operation {
        Operation::Admit => Some(&page.received),
        Operation::Dissolve => page.cells.get(cell as usize),
        Operation::Packet => page.packets.get(cell as usize),
    };
    let stands = counter.map(|c| c.load(Ordering::Acquire));
    // The counter is set to the line's value from the value before it.
    let follows = stands.is_some_and(|c| c == value || c.wrapping_add(1) == value);
    let sound = follows && arena.geometry().home_range(id).contains(&index);
    if !sound {
        page.journal.end();
    }
    !sound
}

/// Makes a rx-gateway's ledger balance after frames have lost their descriptors: what is neither finished nor in flight is counted
/// under `cell`. Only while it is stopped and nothing is pending in its journal. Counters that cannot be (more finished than
/// received) are met by `received`. Returns how many frames were counted, or by how much `received` was wrong.
pub fn settle_ledger(arena: &Arena, id: OwnerId, cell: usize) -> u64 {
    let Some(page) = arena.gateway(id) else { return 0 };
    if page.journal.pending().is_some() {
        return 0;
    }
    let known = page.finished().wrapping_add(arena.frames_in_flight_of(id));
    let received = page.received.load(Ordering::Acquire);
    let missing = received.wrapping_sub(known);
    match page.cells.get(cell) {
        _ if missing == 0 => 0,
        Some(c) if missing <= arena.geometry().home_range(id).len() as u64 => {
            c.store(c.load(Ordering::Acquire).wrapping_add(missing), Ordering::Release);
            missing
        }
        _ => {
            page.received.store(known, Ordering::Release);
            known.abs_diff(received)
        }
    }
}

impl Arena {
    /// Writes the header again where it does not say what this process knows; true if anything was wrong. Without it no
    /// further process could attach.
    pub fn mend_header(&self, epoch: u64) -> bool {
        let header = self.header();
        let known = [
            (&header.magic, MAGIC),
            (&header.version, LAYOUT_VERSION.into()),
            (&header.hash, LAYOUT_HASH),
            (&header.epoch, epoch),
            (&header.ready, 1),
        ];
        let geometry = header.geometry_cells().zip(self.geometry().to_words());
        let mut wrong = false;
        for (cell, value) in known.into_iter().chain(geometry) {
            if cell.load(Ordering::Acquire) != value {
                cell.store(value, Ordering::Release);
                wrong = true;
            }
        }
        wrong
    }
}
