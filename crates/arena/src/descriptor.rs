//! Buffer descriptors: one cache line per buffer and per slot; the owner word comes first.
//!
//! Who may write what:
//!
//! | field | written by | when |
//! |---|---|---|
//! | owner | whoever the ring protocol says | see `ring.rs`, `attach.rs`, `reclaim.rs` |
//! | role | rx-gateway | before the word that publishes it |
//! | slot | preprocess | before ATTACHED is stored in the slot's word |
//! | next, segments, data, fragment | rx-gateway | before ATTACHED is stored, or before the head is pushed |
//! | fate | whoever ends the frame; rx-gateway where the head is no frame's ([`ANSWER`]) | once, before the head goes on |
//! | settled | tx | before the head goes home |
//! | `posted_at` | whoever gives the buffer to a device queue | before the word names that queue, see `device.rs` |
//! | attempts, interruptions | supervisor | while the stage that held the frame is dead |

use crate::owner::{Me, Owner, OwnerId};
use crate::seeded::{Bug, planted};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// "No index": in `slot` and `next`.
pub const NONE: u32 = u32::MAX;

/// In `fate`: the head is no frame's, but a packet that rx-gateway has made (an answer to a neighbour) and that tx sends as it
/// is. No fate has this number, and no single damaged bit makes it of one.
pub const ANSWER: u64 = u64::from_be_bytes(*b"answer--");

/// What a buffer is for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// Free: held by rx-gateway.
    Free = 0,
    /// A fragment of a frame that is not complete yet.
    Assembling = 1,
    /// A fragment of a complete frame; attached to its head.
    Segment = 2,
    /// The head of an admitted frame.
    Head = 3,
    /// A tensor slot, for ever.
    Slot = 4,
}

impl Role {
    /// From the stored number; anything else is an allegation that failed.
    pub const fn from_u32(v: u32) -> Option<Self> {
        Some(match v {
            0 => Self::Free,
            1 => Self::Assembling,
            2 => Self::Segment,
            3 => Self::Head,
            4 => Self::Slot,
            _ => return None,
        })
    }
}

/// How a frame ended; `code` is its cell in the ledger. 0 = not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// What kind of end.
    pub kind: FateKind,
    /// The reason's number on the wire, below 64.
    pub reason: u8,
}

/// The kinds of end a frame can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum FateKind {
    /// Processed, and its result handed to the driver (or to nobody, where the stream wants no replies).
    Answered = 1,
    /// Dropped by a policy, with the reason.
    Dropped = 2,
    /// The request was wrong, with the reason.
    BadRequest = 3,
    /// It killed `max_attempts` incarnations.
    Quarantined = 4,
}

impl Fate {
    /// Reasons per kind.
    pub const REASONS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 64 };
    /// Cells of the ledger.
    pub const CELLS: usize = 5 * Self::REASONS;

    /// The ledger's cell.
    pub const fn cell(self) -> usize {
        self.kind as usize * Self::REASONS + (self.reason as usize & (Self::REASONS - 1))
    }

    /// From a cell's number; `None` for cell numbers that name no kind (0 is "not ended").
    pub const fn from_cell(cell: usize) -> Option<Self> {
        let kind = match cell / Self::REASONS {
            1 => FateKind::Answered,
            2 => FateKind::Dropped,
            3 => FateKind::BadRequest,
            4 => FateKind::Quarantined,
            _ => return None,
        };
        Some(Self { kind, reason: (cell % Self::REASONS) as u8 })
    }
}

/// One buffer's (or slot's) cache line.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Descriptor {
    /// The owner word.
    pub owner: AtomicU64,
    /// [`Role`].
    pub role: AtomicU32,
    /// Head: the attached slot's index, or [`NONE`]. Counts only if that slot's word is ATTACHED to this head.
    pub slot: AtomicU32,
    /// Head and segments: the next segment, or [`NONE`].
    pub next: AtomicU32,
    /// Head: how many segments follow it.
    pub segments: AtomicU32,
    /// Where the payload lies in the buffer: `offset:16 | length:16`.
    pub data: AtomicU32,
    /// Which fragment this is: `index:16 | count:16`.
    pub fragment: AtomicU32,
    /// How the frame ended: the ledger's cell, 0 while it has not.
    pub fate: AtomicU64,
    /// Position at which a device ring was given this buffer, see [`crate::device::Posted`].
    pub posted_at: AtomicU64,
    /// Deaths that this frame is held to have caused.
    pub attempts: AtomicU32,
    /// Deaths from outside while this frame was in hand.
    pub interruptions: AtomicU32,
    /// 1 once nothing more is owed to the frame's sender: tx has replied, or withheld the reply.
    pub settled: AtomicU64,
}

/// Where a payload lies inside its 4096-byte buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRange {
    /// From the buffer's start, bytes.
    pub offset: u16,
    /// Length, bytes.
    pub len: u16,
}

impl Descriptor {
    /// A descriptor in ordinary memory, for models and tests: no frame's, with this word and role.
    pub fn new(owner: Owner, role: Role) -> Self {
        Self {
            owner: AtomicU64::new(owner.pack()),
            role: AtomicU32::new(role as u32),
            slot: AtomicU32::new(NONE),
            next: AtomicU32::new(NONE),
            segments: AtomicU32::new(0),
            data: AtomicU32::new(0),
            fragment: AtomicU32::new(0),
            fate: AtomicU64::new(0),
            posted_at: AtomicU64::new(0),
            attempts: AtomicU32::new(0),
            interruptions: AtomicU32::new(0),
            settled: AtomicU64::new(0),
        }
    }

    /// The owner word as it is now.
    #[inline]
    pub fn owner(&self) -> Owner {
        Owner::unpack(self.owner.load(Ordering::Acquire))
    }

    /// The role; an impossible number reads as [`Role::Free`], which no rule lets leave rx-gateway.
    #[inline]
    pub fn role(&self) -> Role {
        Role::from_u32(self.role.load(Ordering::Acquire)).unwrap_or(Role::Free)
    }

    /// Stores the role (rx-gateway, format).
    #[inline]
    pub fn set_role(&self, role: Role) {
        self.role.store(role as u32, Ordering::Release);
    }

    /// Where the payload lies.
    #[inline]
    pub fn data(&self) -> DataRange {
        let v = self.data.load(Ordering::Relaxed);
        DataRange { offset: (v >> 16) as u16, len: v as u16 }
    }

    /// Stores where the payload lies.
    #[inline]
    pub fn set_data(&self, range: DataRange) {
        self.data.store(u32::from(range.offset) << 16 | u32::from(range.len), Ordering::Relaxed);
    }

    /// Forgets the frame that used this buffer before; rx-gateway, while the buffer is free.
    #[inline]
    pub fn reset(&self) {
        self.fate.store(0, Ordering::Relaxed);
        self.settled.store(0, Ordering::Relaxed);
        self.attempts.store(0, Ordering::Relaxed);
        self.interruptions.store(0, Ordering::Relaxed);
        self.slot.store(NONE, Ordering::Relaxed);
        self.next.store(NONE, Ordering::Relaxed);
        self.segments.store(0, Ordering::Relaxed);
    }

    /// Whether nothing more is owed to the frame's sender.
    #[inline]
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire) != 0
    }

    /// Records that nothing more is owed to the frame's sender.
    #[inline]
    pub fn settle(&self) {
        self.settled.store(1, Ordering::Release);
    }

    /// Says that the head to be is no frame's; rx-gateway, before the role.
    ///
    /// Such a head takes the ways of all heads (rings, recovery, sweeps, devices), so that no death loses it, and is not counted
    /// among frames: neither admitted nor finished, and not in flight.
    #[inline]
    pub fn mark_answer(&self) {
        self.fate.store(ANSWER, Ordering::Release);
    }

    /// Whether the head is no frame's.
    #[inline]
    pub fn is_answer(&self) -> bool {
        self.fate.load(Ordering::Acquire) == ANSWER
    }

    /// How the frame ended, if it has.
    #[inline]
    pub fn fate(&self) -> Option<Fate> {
        Fate::from_cell(self.fate.load(Ordering::Acquire) as usize)
    }

    /// Records how the frame ended; the first record stays. What is no frame has no fate.
    #[inline]
    pub fn set_fate(&self, fate: Fate) {
        if self.fate().is_none() && !self.is_answer() {
            self.fate.store(fate.cell() as u64, Ordering::Release);
        }
    }
}

/// All descriptors: buffers first, then slots.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    all: &'a [Descriptor],
    buffers: u32,
}

impl<'a> Table<'a> {
    /// `buffers` of `all` are packet buffers, the rest slots.
    pub fn new(all: &'a [Descriptor], buffers: u32) -> Self {
        assert!(buffers as usize <= all.len(), "more buffers than descriptors");
        Self { all, buffers }
    }

    /// Number of packet buffers.
    pub fn buffers(&self) -> u32 {
        self.buffers
    }

    /// Number of buffers and slots.
    #[allow(clippy::len_without_is_empty, reason = "a table is never empty")]
    pub fn len(&self) -> u32 {
        self.all.len() as u32
    }

    /// The descriptor of `index`, if there is one.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&'a Descriptor> {
        if planted(Bug::BoundUnchecked) {
            // SAFETY: none: this is the mistake that the memory checkers must find. No product build contains it.
            return Some(unsafe { &*self.all.as_ptr().add(index as usize) });
        }
        self.all.get(index as usize)
    }

    /// The descriptor of a held buffer; its index was checked when it was taken.
    #[inline]
    pub fn of(&self, held: &crate::held::Held) -> &'a Descriptor {
        &self.all[held.index() as usize]
    }

    /// Has the processor fetch the descriptor of `index`, which may be any number: it will be looked at soon.
    #[inline]
    pub fn prefetch(&self, index: u32) {
        #[cfg(target_arch = "x86_64")]
        if let Some(d) = self.all.get(index as usize) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a hint, for an address that is inside the table besides; nothing is read or written that the program sees.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(d).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = index;
    }

    /// Whether `index` is a slot.
    #[inline]
    pub fn is_slot(&self, index: u32) -> bool {
        index >= self.buffers && index < self.len()
    }

    /// The slot that is truly attached to `head`: what `descriptor.slot` says counts only if the slot's word agrees.
    #[inline]
    pub fn slot_of(&self, head: u32) -> Option<u32> {
        let slot = self.get(head)?.slot.load(Ordering::Acquire);
        if !self.is_slot(slot) {
            return None;
        }
        (self.get(slot)?.owner().is_attached_to(head) || planted(Bug::SlotBelieved)).then_some(slot)
    }

    /// Stores `me` as owner of a buffer that is in nobody's ring and that `me` may take (adoption, dissolving).
    #[inline]
    pub fn take(&self, index: u32, me: Me) -> Option<crate::held::Held> {
        let d = self.get(index)?;
        d.owner.store(d.owner().taken_by(me).pack(), Ordering::Release);
        Some(crate::held::Held::new(index))
    }

    /// Stores this incarnation of `me` as owner of what an older one held. The sequence number stays: nothing changed hands,
    /// and records that name the buffer by it (a driver's vector) stay true through any number of deaths.
    #[inline]
    pub fn adopt(&self, index: u32, me: Me) -> Option<crate::held::Held> {
        let d = self.get(index)?;
        let word = d.owner();
        if !word.is_older(me) {
            return None;
        }
        d.owner.store(Owner { incarnation: me.incarnation, ..word }.pack(), Ordering::Release);
        Some(crate::held::Held::new(index))
    }

    /// Index and descriptor of everything.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &'a Descriptor)> + use<'a> {
        self.all.iter().enumerate().map(|(i, d)| (i as u32, d))
    }

    /// Gives buffer i to `buffers_to(i)` (free) and formats the slots for `slots_to(i)`; only while nobody is attached.
    pub fn format(&self, buffers_to: impl Fn(u32) -> Me, slots_to: impl Fn(u32) -> Me) {
        for (i, d) in self.iter() {
            let (me, role) =
                if i < self.buffers { (buffers_to(i), Role::Free) } else { (slots_to(i - self.buffers), Role::Slot) };
            d.set_role(role);
            d.slot.store(NONE, Ordering::Relaxed);
            d.next.store(NONE, Ordering::Relaxed);
            d.owner.store(Owner { id: me.id, incarnation: me.incarnation, seq: 1 }.pack(), Ordering::Release);
        }
    }
}

/// Whether a word says that its buffer follows some head.
#[inline]
pub fn is_attached(owner: Owner) -> bool {
    owner.id == OwnerId::ATTACHED
}
