//! What happens to the buffers of a stage that has died: mark, then sweep.
//!
//! The table in `docs/decisions/0002-ownership-states.md` says for each state what this does with it.

use crate::descriptor::{Role, Table};
use crate::owner::Me;
use crate::ring::{Fault, Ring};
use crate::seeded::{Bug, planted};

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Heads handed back through the recovery ring.
    pub heads: u32,
    /// Slots handed back through the recovery ring.
    pub slots: u32,
    /// Buffers left where they are: the successor adopts them by their words and roles.
    pub adoptable: u32,
    /// Buffers of the dead instance found in rings: they are on their way and are left alone.
    pub in_rings: u32,
}

/// One flag per buffer and slot, allocated once.
#[derive(Debug)]
pub struct Marks(Vec<bool>);

impl Marks {
    /// For this many buffers and slots.
    pub fn new(len: u32) -> Self {
        Self(vec![false; len as usize])
    }

    /// Marks everything that stands in one of `rings`; returns the marks.
    pub fn mark<'m, 'r>(&'m mut self, rings: impl IntoIterator<Item = &'r Ring<'r>>) -> &'m [bool] {
        self.0.fill(false);
        for ring in rings {
            ring.for_each(|index, _| {
                if let Some(mark) = self.0.get_mut(index as usize) {
                    *mark = true;
                }
            });
        }
        &self.0
    }
}

/// Hands what `dead`, or an incarnation before it, held back through its recovery ring.
///
/// Preconditions: `dead` is gone (its pidfd is readable) or has stored PARKED. `rings` holds every ring that it produced
/// or consumed, `recovery` too. The words are left as they are, so a supervisor that dies here leaves nothing that only
/// it knew; its successor calls this again. `adopts_slots` says that the successor takes slots by their words
/// (rx-gateway); all others get them through the recovery ring.
///
/// # Errors
/// [`Fault::Poison`] if the recovery ring's cursors are impossible. It has room for everything, so it is never full.
pub fn reclaim(
    table: Table<'_>,
    dead: Me,
    rings: &[Ring<'_>],
    recovery: &Ring<'_>,
    adopts_slots: bool,
    marks: &mut Marks,
) -> Result<Reclaimed, Fault> {
    let snapshot: Vec<_> =
        if planted(Bug::SweepWordsBeforeRings) { table.iter().map(|(_, d)| d.owner()).collect() } else { Vec::new() };
    let marked = marks.mark(rings);
    let mut home = recovery.producer(table, dead);
    let mut done = Reclaimed::default();
    for (index, d) in table.iter() {
        let word = snapshot.get(index as usize).copied().unwrap_or_else(|| d.owner());
        let newer = word.incarnation > dead.incarnation && !planted(Bug::SweepAnyIncarnation)
            || word.incarnation < dead.incarnation && planted(Bug::SweepExactIncarnation);
        if word.id != dead.id || newer {
            continue;
        }
        if marked[index as usize] && !planted(Bug::SweepIgnoresRings) {
            done.in_rings += 1;
            continue;
        }
        match d.role() {
            Role::Head => done.heads += 1,
            Role::Slot if !adopts_slots => done.slots += 1,
            _ => {
                done.adoptable += 1;
                continue;
            }
        }
        home.push_in_name(index, Me { id: word.id, incarnation: word.incarnation })?;
    }
    Ok(done)
}
