//! Loss, reordering and duplication of datagrams, the same for the same seed, with an account of what each frame suffered.

use crate::client::Client;
use std::collections::{BTreeMap, BTreeSet};

/// A late datagram is overtaken by at most this many.
const LATE_BY_MAX: u64 = 16;

/// Small generator of Marsaglia's xorshift64 family: tests need the same numbers every time, not good ones.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed other than 0.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % limit
    }
}

/// Datagrams in the order in which a bad network hands them over.
#[derive(Debug, Default)]
pub struct Impaired {
    /// To be sent in this order.
    pub datagrams: Vec<Vec<u8>>,
    /// Fragments of each frame that arrive at least once.
    pub arrived: BTreeMap<u64, BTreeSet<usize>>,
    /// Fragments that each frame has.
    pub count: BTreeMap<u64, usize>,
    /// Datagrams that arrive after one of themselves.
    pub copies: u64,
}

impl Impaired {
    /// Lets each datagram of `frames` (id and datagrams, in order) suffer each fault with a probability of `percent`.
    pub fn new(frames: &[(u64, Vec<Vec<u8>>)], percent: u64, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut out = Self::default();
        let mut by_time = Vec::new();
        let mut at = 0;
        for (id, datagrams) in frames {
            out.count.insert(*id, datagrams.len());
            for (index, datagram) in datagrams.iter().enumerate() {
                at += 1;
                if random.below(100) < percent {
                    continue;
                }
                out.arrived.entry(*id).or_default().insert(index);
                let copies = u64::from(random.below(100) < percent);
                out.copies += copies;
                for _ in 0..=copies {
                    let late = if random.below(100) < percent { 1 + random.below(LATE_BY_MAX) } else { 0 };
                    by_time.push((at + late, datagram.clone()));
                }
            }
        }
        by_time.sort_by_key(|(at, _)| *at);
        out.datagrams = by_time.into_iter().map(|(_, d)| d).collect();
        out
    }

    /// Whether any part of a frame arrives.
    pub fn is_seen(&self, id: u64) -> bool {
        self.arrived.contains_key(&id)
    }

    /// Whether all of a frame arrives.
    pub fn is_complete(&self, id: u64) -> bool {
        self.arrived.get(&id).is_some_and(|a| a.len() == self.count[&id])
    }

    /// Sends everything at a steady rate, receiving in between.
    pub fn send(&self, client: &mut Client, per_s: u32) {
        let start = std::time::Instant::now();
        let gap = std::time::Duration::from_secs(1) / per_s;
        for (n, datagram) in self.datagrams.iter().enumerate() {
            while start.elapsed() < gap * n as u32 {
                if client.receive() == 0 {
                    std::thread::sleep(std::time::Duration::from_micros(100));
                }
            }
            client.send_raw(datagram);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_as_frequent_as_asked_for_and_repeatable() {
        let frames: Vec<_> = (0..1000).map(|id| (id, vec![vec![id as u8]; 4])).collect();
        let (a, b) = (Impaired::new(&frames, 20, 5), Impaired::new(&frames, 20, 5));
        assert_eq!(a.datagrams, b.datagrams);
        let arrived: usize = a.arrived.values().map(BTreeSet::len).sum();
        assert!((3_080..3_320).contains(&arrived), "{arrived} of 4000 are 80 %");
        assert!((arrived as f64 * 0.17..arrived as f64 * 0.23).contains(&(a.copies as f64)), "{}", a.copies);
        assert_eq!(a.datagrams.len() as u64, arrived as u64 + a.copies);
        assert!(a.datagrams.windows(2).any(|w| w[0] > w[1]), "some are late");
        let whole = Impaired::new(&frames, 0, 5);
        assert!(whole.datagrams.len() == 4000 && (0..1000).all(|id| whole.is_complete(id)));
    }
}
