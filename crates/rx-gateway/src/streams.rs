//! Who sends: the stream table in the arena, looked up by (peer, stream, session).

use arena::gateway::StreamRow;
use arena::meta::Address;
use arena::sync::Ordering;
use std::collections::HashMap;

/// A row whose sender has been silent for this long may be given to another when the table is full.
const IDLE_NS: u64 = 10_000_000_000;
/// How long a search for such a row is not repeated: senders without a row must not buy a walk over the table per packet.
const SEARCH_NS: u64 = 10_000_000;

type Key = (Address, u32, u64);

/// The table with its index; rows live in the arena and survive this process.
#[derive(Debug)]
pub(crate) struct Streams {
    rows: &'static [StreamRow],
    index: HashMap<Key, u32>,
    free: Vec<u32>,
    /// Frames of the row that are half assembled or in flight.
    active: Vec<u32>,
    assembling: Vec<u32>,
    pub(crate) evicted: u64,
    /// When to look for a silent row again, after none was found.
    search_ns: u64,
}

fn key_of(row: &StreamRow) -> Key {
    let peer = Address([0, 1, 2].map(|i| row.peer[i].load(Ordering::Relaxed)));
    (peer, row.stream.load(Ordering::Relaxed) as u32, row.session.load(Ordering::Relaxed))
}

impl Streams {
    /// Reads the rows that a predecessor left, who had evicted so many.
    pub(crate) fn new(rows: &'static [StreamRow], evicted: u64) -> Self {
        let mut index = HashMap::with_capacity(rows.len() * 2);
        let mut free = Vec::with_capacity(rows.len());
        for (n, row) in rows.iter().enumerate().rev() {
            if row.used.load(Ordering::Acquire) == 1 {
                index.insert(key_of(row), n as u32);
            } else {
                free.push(n as u32);
            }
        }
        Self { rows, index, free, active: vec![0; rows.len()], assembling: vec![0; rows.len()], evicted, search_ns: 0 }
    }

    /// The row of a sender's stream; a new one gets an unused or a long silent one. `None`: there are too many.
    pub(crate) fn find(&mut self, peer: Address, stream: u32, session: u64, now_ns: u64) -> Option<u32> {
        let key = (peer, stream, session);
        if let Some(n) = self.index.get(&key) {
            self.rows[*n as usize].last_seen_ns.store(now_ns, Ordering::Relaxed);
            return Some(*n);
        }
        let n = self.free.pop().or_else(|| self.evict(now_ns))?;
        let row = &self.rows[n as usize];
        for (cell, word) in row.peer.iter().zip(peer.0) {
            cell.store(word, Ordering::Relaxed);
        }
        row.stream.store(stream.into(), Ordering::Relaxed);
        row.session.store(session, Ordering::Relaxed);
        row.finished.store(0, Ordering::Relaxed);
        row.last_seen_ns.store(now_ns, Ordering::Relaxed);
        row.used.store(1, Ordering::Release);
        self.index.insert(key, n);
        Some(n)
    }

    /// Takes the row that has been silent longest, if that is long enough and nothing of it is under way.
    fn evict(&mut self, now_ns: u64) -> Option<u32> {
        if now_ns < self.search_ns {
            return None;
        }
        let silent = |n: &u32| now_ns.saturating_sub(self.rows[*n as usize].last_seen_ns.load(Ordering::Relaxed));
        let n = (0..self.rows.len() as u32).filter(|n| self.active[*n as usize] == 0).max_by_key(silent);
        let Some(n) = n.filter(|n| silent(n) >= IDLE_NS) else {
            self.search_ns = now_ns + SEARCH_NS;
            return None;
        };
        let row = &self.rows[n as usize];
        self.index.remove(&key_of(row));
        row.used.store(0, Ordering::Release);
        self.evicted += 1;
        Some(n)
    }

    pub(crate) fn row(&self, n: u32) -> Option<&'static StreamRow> {
        self.rows.get(n as usize)
    }

    /// Something of the row is under way: it must not be given away.
    pub(crate) fn begin(&mut self, n: u32) {
        if let Some(a) = self.active.get_mut(n as usize) {
            *a += 1;
        }
    }

    pub(crate) fn end(&mut self, n: u32) {
        if let Some(a) = self.active.get_mut(n as usize) {
            *a = a.saturating_sub(1);
        }
    }

    pub(crate) fn assembling(&mut self, n: u32) -> &mut u32 {
        &mut self.assembling[n as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arena::topology::RX;

    fn rows(n: usize) -> &'static [StreamRow] {
        crate::testing::arena(n as u32).streams(RX)
    }

    #[test]
    fn bounded_and_evicting_only_the_silent() {
        let peer = |p| Address::new(std::net::SocketAddr::from(([127, 0, 0, 1], p)));
        let rows = rows(2);
        let mut streams = Streams::new(rows, 0);
        let a = streams.find(peer(1), 7, 1, 0).unwrap();
        let b = streams.find(peer(1), 7, 2, 5).unwrap();
        assert_ne!(a, b, "another session is another row");
        assert_eq!(streams.find(peer(1), 7, 1, 6), Some(a));
        assert_eq!(streams.find(peer(2), 7, 1, IDLE_NS), None, "nobody has been silent for long enough");
        streams.begin(b);
        assert_eq!(streams.find(peer(2), 7, 1, 6 + IDLE_NS), None, "not looked for again so soon");
        let later = IDLE_NS + SEARCH_NS;
        assert_eq!(streams.find(peer(2), 7, 1, later), Some(a), "b is older but busy");
        // A successor finds the same rows.
        let mut again = Streams::new(rows, 0);
        assert_eq!(again.find(peer(1), 7, 2, 7), Some(b));
        assert_eq!(again.find(peer(2), 7, 1, 8), Some(a));
    }
}
