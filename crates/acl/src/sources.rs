//! [`Sources`]: the rate limits' state, one word per rule and source address, in a table of fixed size.

use std::hash::{BuildHasher, RandomState};

use crate::gcra::Gcra;

/// Pairs of a rule and a source address whose rates are known at once, here and in the XDP program. Twice the memory would
/// help only against more than this many addresses that all send near their rate.
pub const SOURCES: usize = 1 << 16;

/// Entries that share a hash value. A set is searched as a whole, and spans four cache lines.
const WAYS: usize = 8;

#[derive(Clone, Copy)]
struct Entry {
    address: u128,
    /// Theoretical arrival time; one that has passed says no more than no entry at all.
    arrival_ns: u64,
    rule: u16,
}

const EMPTY: Entry = Entry { address: 0, arrival_ns: 0, rule: u16::MAX };

/// The table. When a set is full of sources ahead of their rates, the one that is least ahead is forgotten.
pub(crate) struct Sources {
    sets: Vec<[Entry; WAYS]>,
    /// Seeded per table: senders cannot choose addresses that meet in one set.
    hasher: RandomState,
}

impl Sources {
    /// A table of [`SOURCES`] entries, or none if no rule bounds a rate.
    pub fn new(needed: bool) -> Self {
        let sets = if needed { SOURCES / WAYS } else { 0 };
        Self { sets: vec![[EMPTY; WAYS]; sets], hasher: RandomState::new() }
    }

    /// Whether a packet of `address` under `rule` conforms; if so, it is accounted for.
    pub fn admit(&mut self, gcra: Gcra, rule: u16, address: u128, now_ns: u64) -> bool {
        let hash = self.hasher.hash_one((rule, address)) as usize;
        let sets = self.sets.len();
        let Some(set) = hash.checked_rem(sets).and_then(|n| self.sets.get_mut(n)) else {
            return false;
        };
        let mut victim = 0;
        for n in 0..WAYS {
            if set[n].rule == rule && set[n].address == address {
                return match gcra.admit(set[n].arrival_ns, now_ns) {
                    Some(next) => {
                        set[n].arrival_ns = next;
                        true
                    }
                    None => false,
                };
            }
            if set[n].arrival_ns < set[victim].arrival_ns {
                victim = n;
            }
        }
        let Some(arrival_ns) = gcra.admit(0, now_ns) else {
            return false;
        };
        set[victim] = Entry { address, arrival_ns, rule };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Rate;

    #[test]
    fn sources_and_rules_have_rates_of_their_own() {
        let mut sources = Sources::new(true);
        let gcra = Gcra::new(Rate { per_second: 1, burst: 1 });
        let at = |sources: &mut Sources, rule, address, now| sources.admit(gcra, rule, address, now);
        assert!(at(&mut sources, 0, 1, 5));
        assert!(!at(&mut sources, 0, 1, 5));
        assert!(at(&mut sources, 1, 1, 5), "another rule");
        assert!(at(&mut sources, 0, 2, 5), "another address");
        assert!(at(&mut sources, 0, 1, 1_000_000_005));
    }

    #[test]
    fn a_full_table_forgets_and_goes_on() {
        let mut sources = Sources::new(true);
        let gcra = Gcra::new(Rate { per_second: 1, burst: 1 });
        for address in 0..4 * SOURCES as u128 {
            assert!(sources.admit(gcra, 0, address, 5), "a new source is allowed");
        }
        // What came last is known: each set forgets what has waited longest.
        let last = 4 * SOURCES as u128 - 1;
        assert!(!sources.admit(gcra, 0, last, 6));
        // A source that is far ahead outlives a flood of others that are not.
        let ahead = Gcra::new(Rate { per_second: 1, burst: 100 });
        for _ in 0..100 {
            assert!(sources.admit(ahead, 1, 7, 10));
        }
        for address in 0..4 * SOURCES as u128 {
            sources.admit(gcra, 2, address, 10);
        }
        assert!(!sources.admit(ahead, 1, 7, 10));
    }

    #[test]
    fn without_a_table_nothing_conforms() {
        assert!(!Sources::new(false).admit(Gcra { interval_ns: 1, tolerance_ns: 0 }, 0, 0, 0));
    }
}
