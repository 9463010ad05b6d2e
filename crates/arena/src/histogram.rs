//! Latency histograms in shared memory: log-linear buckets, one writer, no allocation.

use crate::sync::{AtomicU64, Ordering};

/// Linear steps per power of two; the relative error of a quantile is at most 1/16.
const STEPS: usize = 16;
/// Powers of two covered: up to 2^40 ns, 18 minutes.
const OCTAVES: usize = 37;
/// Buckets.
pub const BUCKETS: usize = STEPS * OCTAVES;

/// Counts of durations in nanoseconds.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Histogram {
    pub(crate) count: AtomicU64,
    pub(crate) sum_ns: AtomicU64,
    pub(crate) max_ns: AtomicU64,
    pub(crate) buckets: [AtomicU64; BUCKETS],
}

fn bucket(ns: u64) -> usize {
    if ns < STEPS as u64 {
        return ns as usize;
    }
    let octave = 63 - ns.leading_zeros() as usize; // >= 4
    let step = (ns >> (octave - 4)) as usize & (STEPS - 1);
    ((octave - 3) * STEPS + step).min(BUCKETS - 1)
}

/// Upper edge of a bucket, nanoseconds.
fn upper_ns(bucket: usize) -> u64 {
    let (octave, step) = (bucket / STEPS, (bucket % STEPS) as u64);
    if octave == 0 { step } else { ((STEPS as u64 + step + 1) << (octave - 1)) - 1 }
}

#[inline]
fn bump(cell: &AtomicU64, by: u64) {
    // One writer per page: a plain add, no locked instruction.
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

impl Histogram {
    /// Records one duration.
    #[inline]
    pub fn record(&self, ns: u64) {
        bump(&self.count, 1);
        bump(&self.sum_ns, ns);
        if ns > self.max_ns.load(Ordering::Relaxed) {
            self.max_ns.store(ns, Ordering::Relaxed);
        }
        bump(&self.buckets[bucket(ns)], 1);
    }

    /// Number of records.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Greatest record, nanoseconds.
    pub fn max_ns(&self) -> u64 {
        self.max_ns.load(Ordering::Relaxed)
    }

    /// Mean, nanoseconds; 0 without records.
    pub fn mean_ns(&self) -> u64 {
        self.sum_ns.load(Ordering::Relaxed).checked_div(self.count()).unwrap_or(0)
    }

    /// The duration that a share `q` (0 to 1) of the records does not exceed, nanoseconds; at most 1/16 too high.
    pub fn quantile_ns(&self, q: f64) -> u64 {
        let total: u64 = self.buckets.iter().fold(0, |sum, b| sum.wrapping_add(b.load(Ordering::Relaxed)));
        let rank = (q * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (i, b) in self.buckets.iter().enumerate() {
            seen += b.load(Ordering::Relaxed);
            if seen >= rank {
                return upper_ns(i).min(self.max_ns());
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_tight() {
        let mut last = 0;
        for ns in 0..100_000_u64 {
            let b = bucket(ns);
            assert!(b == last || b == last + 1, "{ns}: {last} -> {b}");
            assert!(upper_ns(b) >= ns && (upper_ns(b) - ns) * 16 <= ns.max(16), "{ns} in bucket up to {}", upper_ns(b));
            last = b;
        }
    }
}
