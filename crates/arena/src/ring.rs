//! Single-producer single-consumer rings of buffer indices that survive the death of either end.
//!
//! ```text
//! entry = index:24 | lap:8 | seq:32            one word, so it is never torn
//!
//! producer                                     consumer
//!   check the owner word is mine                 load entry                      (A) acquire
//!   store entry with the lap due   (A) release   lap due?  no: empty.  neither due nor the one before: poison
//!   = commit                                     check index, owner word
//!   store tail (a hint)                          store word = me, seq+1
//!                                                store head                      (B) release  = commit
//!   full? load head                (B) acquire
//! ```
//!
//! The entries are the truth for where a ring ends: a successor finds the end by walking from `head` over entries that
//! carry the right lap. `tail` is a depth gauge for others and nothing more. Nothing of a batch may be worked on or
//! forwarded before `head` is stored, and handles leave [`Consumer::pop_batch`] only after that.

use crate::descriptor::{Role, Table};
use crate::held::Held;
use crate::killpoint::{KillPoint, reach};
use crate::owner::{Me, Owner, OwnerId};
use crate::seeded::{Bug, planted};
use crate::sync::{AtomicU64, Ordering};

/// Largest number of buffers and slots that an entry can name.
pub const INDEX_MAX: u32 = 1 << 24;

/// A ring's number in the topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RingId(pub u16);

/// Why a ring refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No room; back-pressure, not an error.
    #[error("ring is full")]
    Full,
    /// What stands in the ring cannot be; the stage must stop.
    #[error("{0}")]
    Poison(Poison),
}

/// A ring entry that cannot be: which, where, and what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("poison in ring {} at position {position}: {reason}", ring.0)]
pub struct Poison {
    /// The ring.
    pub ring: RingId,
    /// Position (cursor value), not the slot number.
    pub position: u64,
    /// What was wrong.
    pub reason: PoisonReason,
}

/// What was wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u32)]
pub enum PoisonReason {
    /// Neither the lap due nor the one before it.
    #[error("its lap is neither the one due nor the one before")]
    Lap = 1,
    /// The index names nothing that travels.
    #[error("its index names no head and no slot")]
    Index = 2,
    /// The owner word does not match the entry.
    #[error("the owner word does not match the entry")]
    Owner = 3,
    /// The cursors are further apart than the ring is long.
    #[error("the cursors are further apart than the ring is long")]
    Cursor = 4,
    /// Somebody pushed a buffer that is not his.
    #[error("a buffer was pushed that its holder does not own")]
    NotMine = 5,
    /// A frame's tables contradict the words.
    #[error("a frame's segment list contradicts the owner words")]
    Segments = 6,
}

/// What a place of a ring shows, by its lap: (index, seq) of what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// An entry.
    Due(u32, u32),
    /// Nothing: what stood there one lap ago.
    Before(u32, u32),
    /// What cannot be.
    Neither,
}

/// One ring as it lies in shared memory. Copying it copies the references, not the ring.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a> {
    /// Its number.
    pub id: RingId,
    /// Who pushes (for a recovery ring: its consumer, in whose dead name the supervisor pushes).
    pub from: OwnerId,
    /// Who pops.
    pub to: OwnerId,
    head: &'a AtomicU64,
    tail: &'a AtomicU64,
    slots: &'a [AtomicU64],
}

#[inline]
fn entry(index: u32, lap: u64, seq: u32) -> u64 {
    u64::from(index) << 40 | lap << 32 | u64::from(seq)
}

impl<'a> Ring<'a> {
    /// A ring over these words; the number of slots is a power of two.
    pub fn new(
        id: RingId,
        (from, to): (OwnerId, OwnerId),
        head: &'a AtomicU64,
        tail: &'a AtomicU64,
        slots: &'a [AtomicU64],
    ) -> Self {
        assert!(slots.len().is_power_of_two(), "ring capacity must be a power of two");
        Self { id, from, to, head, tail, slots }
    }

    /// Entries it can hold.
    #[inline]
    pub fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    #[inline]
    fn slot(&self, position: u64) -> &'a AtomicU64 {
        &self.slots[(position & (self.capacity() - 1)) as usize]
    }

    #[inline]
    fn lap(&self, position: u64) -> u64 {
        (position >> self.slots.len().trailing_zeros()).wrapping_add(1) & 0xff
    }

    /// Makes an empty ring whose cursors start at `start`; only while nobody is attached.
    pub fn format(&self, start: u64) {
        self.head.store(start, Ordering::Relaxed);
        self.tail.store(start, Ordering::Relaxed);
        for i in 0..self.capacity() {
            let position = start.wrapping_add(i);
            let before = self.lap(position.wrapping_sub(self.capacity()));
            self.slot(position).store(entry(INDEX_MAX - 1, before, 0), Ordering::Release);
        }
    }

    #[inline]
    fn poison(&self, position: u64, reason: PoisonReason) -> Poison {
        Poison { ring: self.id, position, reason }
    }

    /// The committed entry at `position` as (index, seq), if there is one.
    #[inline]
    fn get(&self, position: u64) -> Result<Option<(u32, u32)>, Poison> {
        let order = if planted(Bug::EntryLoadRelaxed) { Ordering::Relaxed } else { Ordering::Acquire };
        let e = self.slot(position).load(order); // (A)
        let lap = e >> 32 & 0xff;
        if lap == self.lap(position) {
            return Ok(Some(((e >> 40) as u32, e as u32)));
        }
        if lap == self.lap(position.wrapping_sub(self.capacity())) {
            return Ok(None);
        }
        Err(self.poison(position, PoisonReason::Lap))
    }

    /// First position after `from` that holds no committed entry; at most `capacity` further.
    fn end(&self, from: u64) -> u64 {
        let mut p = from;
        while p.wrapping_sub(from) < self.capacity() && matches!(self.get(p), Ok(Some(_))) {
            p = p.wrapping_add(1);
        }
        p
    }

    /// Calls `f(index, seq)` for each committed entry. Exact while one end is dead or parked.
    pub fn for_each(&self, mut f: impl FnMut(u32, u32)) {
        let head = self.head.load(Ordering::Acquire);
        let mut p = head;
        while p.wrapping_sub(head) < self.capacity() {
            let Ok(Some((index, seq))) = self.get(p) else { return };
            f(index, seq);
            p = p.wrapping_add(1);
        }
    }

    /// How many entries there are, from the gauges: a hint that may be one batch behind.
    #[inline]
    pub fn depth(&self) -> u64 {
        let (head, tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        (tail.wrapping_sub(head) as i64).clamp(0, self.capacity() as i64) as u64
    }

    /// How many committed entries there are, by walking. For audits.
    pub fn count(&self) -> u64 {
        let mut n = 0;
        self.for_each(|_, _| n += 1);
        n
    }

    /// The producer's end. Reads the cursors once and writes nothing; for the activated incarnation `me` only.
    ///
    /// All of `[head, end)` still carries its lap, because a dead producer never went past `head + capacity`.
    pub fn producer(&self, table: Table<'a>, me: Me) -> Producer<'a> {
        let head = self.head.load(Ordering::Acquire);
        let end = if planted(Bug::GaugeBelieved) { self.tail.load(Ordering::Relaxed) } else { self.end(head) };
        Producer { ring: *self, table, me, end, head_seen: head }
    }

    /// The consumer's end. Reads the cursor once and writes nothing; for the activated incarnation `me` only.
    pub fn consumer(&self, table: Table<'a>, me: Me) -> Consumer<'a> {
        let head = self.head.load(Ordering::Relaxed);
        if planted(Bug::AttachWrites) {
            self.head.store(head, Ordering::Release);
        }
        Consumer { ring: *self, table, me, head }
    }

    /// The supervisor, in place of a dead consumer, steps over the entry at `position` if the ring still stands there.
    /// The buffer stays with whoever its word names.
    ///
    /// Damage to a place that the producer has not reached is made empty again instead: a cursor that passed the
    /// producer's would let it push behind the consumer's back.
    pub fn step_over(&self, position: u64) -> bool {
        if self.head.load(Ordering::Acquire) != position {
            return false;
        }
        let e = self.slot(position).load(Ordering::Acquire);
        // No committed entry by its lap, nor by the gauge, which a live producer has stored long before anybody steps over.
        let pushed =
            e >> 32 & 0xff == self.lap(position) || self.tail.load(Ordering::Acquire).wrapping_sub(position) as i64 > 0;
        // One lap after a step this place must show the lap before the one due, or it would be poison again.
        let lap = self.lap(if pushed { position } else { position.wrapping_sub(self.capacity()) });
        if !planted(Bug::StepOverKeepsLap) {
            self.slot(position).store(e & !(0xff << 32) | lap << 32, Ordering::Release);
        }
        if pushed {
            self.head.store(position.wrapping_add(1), Ordering::Release);
        }
        true
    }

    /// Both cursors as they lie in memory: (the consumer's, the producer's gauge).
    pub fn cursors(&self) -> (u64, u64) {
        (self.head.load(Ordering::Acquire), self.tail.load(Ordering::Acquire))
    }

    /// Whether any place shows this entry, whatever its lap.
    pub(crate) fn shows(&self, index: u32, seq: u32) -> bool {
        let is = |e: u64| (e >> 40) as u32 == index && e as u32 == seq;
        self.slots.iter().any(|slot| is(slot.load(Ordering::Acquire)))
    }

    /// What the place of `position` shows.
    pub(crate) fn place(&self, position: u64) -> Place {
        let e = self.slot(position).load(Ordering::Acquire);
        let (index, lap, seq) = ((e >> 40) as u32, e >> 32 & 0xff, e as u32);
        match lap {
            l if l == self.lap(position) => Place::Due(index, seq),
            l if l == self.lap(position.wrapping_sub(self.capacity())) => Place::Before(index, seq),
            _ => Place::Neither,
        }
    }
}

/// The producing end; private to one incarnation.
#[derive(Debug)]
pub struct Producer<'a> {
    ring: Ring<'a>,
    table: Table<'a>,
    me: Me,
    end: u64,
    head_seen: u64,
}

/// A push that did not happen gives the buffer back.
#[derive(Debug)]
pub struct Refused {
    /// The buffer, still in hand.
    pub held: Held,
    /// Why.
    pub fault: Fault,
}

impl<'a> Producer<'a> {
    /// The ring.
    pub fn ring(&self) -> &Ring<'a> {
        &self.ring
    }

    /// Free entries; looks at the consumer's cursor only when the last look says there are fewer than `want`.
    #[inline]
    pub fn room(&mut self, want: u64) -> Result<u64, Poison> {
        let capacity = self.ring.capacity();
        if self.end.wrapping_sub(self.head_seen).wrapping_add(want) > capacity {
            self.head_seen = self.ring.head.load(Ordering::Acquire); // (B)
        }
        let used = self.end.wrapping_sub(self.head_seen);
        if used > capacity {
            return Err(self.ring.poison(self.end, PoisonReason::Cursor));
        }
        Ok(capacity - used)
    }

    /// Entries in the ring as the producer sees them, with a fresh look at the consumer's cursor.
    #[inline]
    pub fn depth(&mut self) -> u64 {
        self.head_seen = self.ring.head.load(Ordering::Acquire);
        self.end.wrapping_sub(self.head_seen).min(self.ring.capacity())
    }

    /// As [`Self::depth`], for one look that remembers nothing.
    #[inline]
    pub fn look(&self) -> u64 {
        self.end.wrapping_sub(self.ring.head.load(Ordering::Acquire)).min(self.ring.capacity())
    }

    /// Pushes one buffer that is mine. Storing the entry is the commit; ring the consumer's doorbell afterwards.
    #[inline]
    pub fn push(&mut self, held: Held) -> Result<(), Refused> {
        match self.push_in_name(held.index(), self.me) {
            Ok(()) => {
                held.release();
                Ok(())
            }
            Err(fault) => Err(Refused { held, fault }),
        }
    }

    /// The sweep pushes into a recovery ring in the dead owner's name: the word stays as it is.
    #[inline]
    pub(crate) fn push_in_name(&mut self, index: u32, name: Me) -> Result<(), Fault> {
        if self.room(1).map_err(Fault::Poison)? == 0 {
            return Err(Fault::Full);
        }
        let mine = self.table.get(index).map(|d| Owner::unpack(d.owner.load(Ordering::Relaxed)));
        let Some(word) = mine.filter(|w| w.is(name)) else {
            return Err(Fault::Poison(self.ring.poison(self.end, PoisonReason::NotMine)));
        };
        let e = entry(index, self.ring.lap(self.end), word.seq);
        let order = if planted(Bug::CommitRelaxed) { Ordering::Relaxed } else { Ordering::Release };
        self.ring.slot(self.end).store(e, order); // (A)
        reach(KillPoint::Committed);
        self.end = self.end.wrapping_add(1);
        // Release: whoever holds the gauge against the entries must not see it before them.
        self.ring.tail.store(self.end, Ordering::Release);
        Ok(())
    }
}

/// The consuming end; private to one incarnation.
#[derive(Debug)]
pub struct Consumer<'a> {
    ring: Ring<'a>,
    table: Table<'a>,
    me: Me,
    head: u64,
}

impl<'a> Consumer<'a> {
    /// The ring.
    pub fn ring(&self) -> &Ring<'a> {
        &self.ring
    }

    /// Whether there is nothing to pop (poison counts as something).
    #[inline]
    pub fn is_empty(&self) -> bool {
        matches!(self.ring.get(self.head), Ok(None))
    }

    /// Entries left, from the producer's gauge.
    #[inline]
    pub fn depth(&self) -> u64 {
        let tail = self.ring.tail.load(Ordering::Relaxed);
        (tail.wrapping_sub(self.head) as i64).clamp(0, self.ring.capacity() as i64) as u64
    }

    /// Takes up to `max` buffers into `out` (within its capacity) and returns how many. Owner words move first; storing
    /// `head` commits all of them. A bad entry ends the batch before it; it is reported when it is the first.
    #[inline]
    pub fn pop_batch(&mut self, out: &mut Vec<Held>, max: usize) -> Result<usize, Poison> {
        let max = max.min(out.capacity() - out.len());
        let first = out.len();
        let mut n = 0;
        if planted(Bug::HeadBeforeOwner) && max > 0 && !self.is_empty() {
            self.ring.head.store(self.head.wrapping_add(1), Ordering::Release);
        }
        while n < max {
            match self.claim(self.head.wrapping_add(n as u64)) {
                Ok(Some(held)) => out.push(held),
                Ok(None) => break,
                Err(_) if n > 0 => break,
                Err(poison) => return Err(poison),
            }
            n += 1;
        }
        debug_assert_eq!(out.len() - first, n);
        if n > 0 {
            reach(KillPoint::Claimed);
            self.head = self.head.wrapping_add(n as u64);
            self.ring.head.store(self.head, Ordering::Release); // (B)
        }
        Ok(n)
    }

    /// Takes one buffer.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<Held>, Poison> {
        if planted(Bug::HeadBeforeOwner) && !self.is_empty() {
            self.ring.head.store(self.head.wrapping_add(1), Ordering::Release);
        }
        let Some(held) = self.claim(self.head)? else { return Ok(None) };
        reach(KillPoint::Claimed);
        self.head = self.head.wrapping_add(1);
        self.ring.head.store(self.head, Ordering::Release); // (B)
        Ok(Some(held))
    }

    /// Checks the entry at `position` and stores me into its owner word.
    #[inline]
    fn claim(&self, position: u64) -> Result<Option<Held>, Poison> {
        let Some((index, seq)) = self.ring.get(position)? else { return Ok(None) };
        let Some(descriptor) = self.table.get(index) else {
            return Err(self.ring.poison(position, PoisonReason::Index));
        };
        // Only heads and slots travel; the role lies in the line that the owner word needs anyway.
        if !matches!(descriptor.role(), Role::Head | Role::Slot) {
            return Err(self.ring.poison(position, PoisonReason::Index));
        }
        let word = Owner::unpack(descriptor.owner.load(Ordering::Relaxed));
        let (fresh, claimed) = self.plausible(word, seq);
        if !fresh && !claimed {
            return Err(self.ring.poison(position, PoisonReason::Owner));
        }
        let mine = Owner { id: self.me.id, incarnation: self.me.incarnation, seq: seq.wrapping_add(1) };
        descriptor.owner.store(mine.pack(), Ordering::Release);
        Ok(Some(Held::new(index)))
    }

    /// Whether an entry with `seq` may be taken from `word`: as (handed to me, claimed before by a dead incarnation of mine).
    #[inline]
    fn plausible(&self, word: Owner, seq: u32) -> (bool, bool) {
        let older = word.is_older(self.me) || planted(Bug::OwnIncarnationAccepted) && word.is(self.me);
        let equal = |a: u32, b: u32| if planted(Bug::SeqOneBit) { a & 1 == b & 1 } else { a == b };
        let after = if planted(Bug::SeqWithoutWrap) { seq.saturating_add(1) } else { seq.wrapping_add(1) };
        // From upstream; in a recovery ring from a dead incarnation of mine; or claimed by one that never stored `head`.
        let handed = if self.ring.from == self.me.id { older } else { word.id == self.ring.from };
        (handed && equal(word.seq, seq), older && equal(word.seq, after))
    }
}
