//! The floor: one bare cache line each way, and a ring without owner words.

use crate::pair::{Side, idle};
use crate::shared::{BATCH, CAPACITY, Which, cells, line, read_all};
use anyhow::Result;
use arena::Arena;
use arena::descriptor::Table;
use arena::sync::{AtomicU64, Ordering};

/// A word each way.
pub struct RawLine<const PAUSE: bool> {
    mine: &'static AtomicU64,
    theirs: &'static AtomicU64,
    count: u64,
}

impl<const PAUSE: bool> RawLine<PAUSE> {
    pub fn new(arena: &Arena, which: Which) -> Result<Self> {
        let words = [line(arena, 0)?, line(arena, 1)?];
        let (mine, theirs) = (words[which.number()], words[1 - which.number()]);
        // A round leaves both words alike, so both sides count on from their own.
        Ok(Self { mine, theirs, count: mine.load(Ordering::Relaxed) })
    }

    #[inline]
    fn wait(&self) {
        while self.theirs.load(Ordering::Acquire) != self.count {
            idle::<PAUSE>();
        }
    }
}

impl<const PAUSE: bool> Side for RawLine<PAUSE> {
    #[inline]
    fn trip(&mut self) -> Result<()> {
        self.count += 1;
        self.mine.store(self.count, Ordering::Release);
        self.wait();
        Ok(())
    }

    #[inline]
    fn echo(&mut self) -> Result<()> {
        self.count += 1;
        self.wait();
        self.mine.store(self.count, Ordering::Release);
        Ok(())
    }
}

/// One direction of a ring whose entries carry the lap, and nothing else: no owner words, no checks of index or owner.
struct Direction {
    head: &'static AtomicU64,
    tail: &'static AtomicU64,
    slots: &'static [AtomicU64],
}

impl Direction {
    /// Pages: 0 and 1 hold the slots, 2 to 5 the cursors.
    fn new(arena: &Arena, n: u8) -> Result<Self> {
        Ok(Self { head: line(arena, 2 + n)?, tail: line(arena, 4 + n)?, slots: cells(arena, n)? })
    }

    #[inline]
    fn slot(&self, position: u64) -> &'static AtomicU64 {
        &self.slots[(position % CAPACITY) as usize]
    }
}

/// Batches of `N` over two bare rings. The entry is `index:32 | lap:32`; the producer writes a word of each descriptor.
pub struct BareRing<const N: usize, const PAUSE: bool> {
    rx: Direction,
    tx: Direction,
    head: u64,
    end: u64,
    head_seen: u64,
    table: Table<'static>,
    held: [u32; BATCH],
}

impl<const N: usize, const PAUSE: bool> BareRing<N, PAUSE> {
    pub fn new(arena: &Arena, which: Which) -> Result<Self> {
        let n = which.number() as u8;
        let (tx, rx) = (Direction::new(arena, n)?, Direction::new(arena, 1 - n)?);
        let (end, head) = (tx.tail.load(Ordering::Relaxed), rx.head.load(Ordering::Relaxed));
        let held = std::array::from_fn(|i| i as u32);
        Ok(Self { rx, tx, head, end, head_seen: end, table: arena.table(), held })
    }

    #[inline]
    fn send(&mut self) {
        for index in &self.held[..N] {
            while self.end - self.head_seen >= CAPACITY {
                self.head_seen = self.tx.head.load(Ordering::Acquire);
            }
            if let Some(d) = self.table.get(*index) {
                d.posted_at.store(self.end, Ordering::Relaxed);
            }
            let lap = self.end / CAPACITY + 1;
            self.tx.slot(self.end).store(u64::from(*index) << 32 | lap & 0xffff_ffff, Ordering::Release);
            self.end += 1;
            self.tx.tail.store(self.end, Ordering::Relaxed);
        }
    }

    #[inline]
    fn receive(&mut self) {
        let mut n = 0;
        while n < N {
            let first = self.head;
            while n < N {
                let entry = self.rx.slot(self.head).load(Ordering::Acquire);
                if entry & 0xffff_ffff != (self.head / CAPACITY + 1) & 0xffff_ffff {
                    break;
                }
                self.held[n] = (entry >> 32) as u32;
                self.head += 1;
                n += 1;
            }
            if self.head == first {
                idle::<PAUSE>();
            } else {
                self.rx.head.store(self.head, Ordering::Release);
            }
        }
        for index in &self.held[..N] {
            if let Some(d) = self.table.get(*index) {
                read_all(d);
            }
        }
    }
}

impl<const N: usize, const PAUSE: bool> Side for BareRing<N, PAUSE> {
    #[inline]
    fn trip(&mut self) -> Result<()> {
        self.send();
        self.receive();
        Ok(())
    }

    #[inline]
    fn echo(&mut self) -> Result<()> {
        self.receive();
        self.send();
        Ok(())
    }
}
