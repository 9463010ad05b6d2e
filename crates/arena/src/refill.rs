//! Damage to a ring: telling it apart while one end is dead, and filling the ring again from the owner words.
//!
//! What the places of a sound ring show, from the consumer's cursor on for as many places as there are: entries with the lap due,
//! then nothing but the lap before. So cursors and entries can be held against each other, and both against the words:
//!
//! | seen | what it is | repair |
//! |---|---|---|
//! | one entry that the consumer must refuse, where it stands | a damaged entry | step over it, see [`Ring::step_over`] |
//! | more of them, or behind others | a damaged stretch | refill |
//! | an empty place before an entry, or before the gauge | a place that was made to look empty: the consumer would wait for ever | refill |
//! | an entry that its word bears out at a place that is not due | the consumer's cursor is not where it was | refill |
//! | an entry that looks like a dead consumer's claim, and its buffer in a ring further on | the same, the other way | refill |
//! | cursors further apart than the ring is long | damaged cursors | refill |
//!
//! *Refill*: both ends are stopped, the ring is made anew and empty, and the sweep of either end hands on what its words name:
//! ring membership is gone, so the words decide. An entry whose word still says (producer, seq) was pushed and never taken,
//! since each change of hands makes another seq; that makes it evidence whatever the cursors say.

use crate::descriptor::{Role, Table};
use crate::owner::{Me, Owner};
use crate::ring::{Place, Ring};

/// What an examination of a ring found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// Entries that the consumer must refuse.
    pub bad: u32,
    /// The first bad place is where the consumer stands.
    pub bad_at_head: bool,
    /// Places behind the end that do not look empty.
    pub bad_beyond: u32,
    /// Places that look empty and cannot be.
    pub holes: u32,
    /// Entries that their words bear out, at places that are not due.
    pub strays: u32,
    /// Entries that were taken long ago: their buffers stand in a ring further on, and only the cursor says otherwise.
    pub taken: u32,
    /// The cursors are further apart than the ring is long, or say so of places that were never filled.
    pub cursors: bool,
}

impl Finding {
    /// Whether the ring is as it should be for the next producer: what lies beyond its end is overwritten in time.
    pub fn is_sound_upstream(&self) -> bool {
        !self.cursors && self.bad == 0 && self.holes == 0 && self.strays == 0
    }

    /// Whether the ring is as it should be for the next consumer too.
    pub fn is_sound(&self) -> bool {
        self.is_sound_upstream() && self.taken == 0 && !(self.bad_beyond > 0 && self.bad_at_head)
    }

    /// Whether stepping over the place at the consumer's cursor is all that is needed.
    pub fn is_one_entry(&self) -> bool {
        let others = self.holes + self.strays + self.taken;
        !self.cursors && others == 0 && self.bad_at_head && self.bad + self.bad_beyond == 1
    }
}

/// The next incarnation of a dead consumer.
#[derive(Clone, Copy, Debug)]
pub struct Taker<'r, 'a> {
    /// Who it will be.
    pub me: Me,
    /// The rings to others into which the dead one pushed.
    pub onward: &'r [Ring<'a>],
}

/// Looks at every place of a ring of which at least one end is dead; the other may go on meanwhile. No `taker` while the
/// consumer lives: a living one judges entries itself.
pub fn examine(ring: &Ring<'_>, table: Table<'_>, taker: Option<Taker<'_, '_>>) -> Finding {
    let (head, tail) = ring.cursors();
    let (ahead, capacity) = (tail.wrapping_sub(head) as i64, ring.capacity() as i64);
    let mut finding = Finding { cursors: ahead > capacity || ahead < -capacity, ..Finding::default() };
    if ahead < 0 && !finding.cursors {
        // A producer killed between an entry and its gauge leaves the gauge behind; then those places were filled.
        finding.cursors =
            (0..ahead.unsigned_abs()).any(|i| !matches!(ring.place(tail.wrapping_add(i)), Place::Due(..)));
    }
    let pushed = ahead.clamp(0, capacity) as u64;
    let mut gap = None;
    let mut undecided = 0;
    for i in 0..ring.capacity() {
        let position = head.wrapping_add(i);
        match ring.place(position) {
            Place::Due(index, seq) => {
                finding.bad += std::mem::take(&mut undecided);
                match taker.map(|t| accepts(ring, table, t, index, seq)) {
                    Some(Accepts::No) => {
                        finding.bad += 1;
                        finding.bad_at_head |= i == 0;
                    }
                    Some(Accepts::TakenBefore) => finding.taken += 1,
                    Some(Accepts::Yes) | None => {}
                }
                // A living producer may have filled the gap since it was looked at.
                if gap.take().is_some_and(|p| matches!(ring.place(p), Place::Before(..))) {
                    finding.holes += 1;
                }
            }
            Place::Before(index, seq) => {
                finding.strays += u32::from(borne_out(ring, table, index, seq));
                finding.holes += u32::from(i < pushed);
                gap = gap.or(Some(position));
            }
            Place::Neither => {
                finding.bad_at_head |= i == 0;
                undecided += 1;
                if i < pushed {
                    finding.bad += std::mem::take(&mut undecided);
                }
            }
        }
    }
    finding.bad_beyond = undecided;
    finding
}

enum Accepts {
    Yes,
    No,
    TakenBefore,
}

/// Whether the consumer that takes over may take this entry: the rule of `Consumer::pop`, and what that has no time for.
fn accepts(ring: &Ring<'_>, table: Table<'_>, taker: Taker<'_, '_>, index: u32, seq: u32) -> Accepts {
    let Some(d) = table.get(index) else { return Accepts::No };
    let (word, after) = (d.owner(), seq.wrapping_add(1));
    let older = word.is_older(taker.me);
    let handed = if ring.from == taker.me.id { older } else { word.id == ring.from };
    // Only heads and slots travel.
    let travels = table.is_slot(index) || d.role() == Role::Head;
    match (handed && word.seq == seq, older && word.seq == after) {
        _ if !travels => Accepts::No,
        (true, _) => Accepts::Yes,
        // A claim keeps its seq, so the word bears out the entry further on as well: both could be taken.
        (_, true) if taker.onward.iter().any(|r| r.shows(index, after)) => Accepts::TakenBefore,
        (_, true) => Accepts::Yes,
        _ => Accepts::No,
    }
}

/// Whether the word says that this entry was pushed and never taken.
fn borne_out(ring: &Ring<'_>, table: Table<'_>, index: u32, seq: u32) -> bool {
    let word: Option<Owner> = table.get(index).map(crate::descriptor::Descriptor::owner);
    word.is_some_and(|w| w.id == ring.from && w.seq == seq)
}

/// Whether a ring whose ends both live stands still for ever: where, if so. Cheap; ask again after a while, and believe two
/// equal answers: cursors and places are not read in one moment.
pub fn stands_wrong(ring: &Ring<'_>) -> Option<u64> {
    let (head, tail) = ring.cursors();
    let place = ring.place(head);
    let ahead = tail.wrapping_sub(head) as i64;
    let capacity = ring.capacity() as i64;
    let filled = |p: u64| matches!(ring.place(p), Place::Due(..));
    let wrong = match ahead {
        d if d > capacity || d < -capacity => true,
        d if d < 0 => !(0..d.unsigned_abs()).all(|i| filled(tail.wrapping_add(i))),
        0 => false,
        _ => matches!(place, Place::Before(..)),
    };
    (wrong && ring.cursors().0 == head).then_some(head)
}
