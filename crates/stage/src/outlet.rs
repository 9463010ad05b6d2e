//! The producing end of a ring, with its watermarks and the doorbell of its consumer.

use crate::{Context, Stop};
use arena::ring::{Fault, Producer, Ring};
use arena::{Held, OwnerId};

/// A producer that knows when to stop and whom to wake.
#[derive(Debug)]
pub struct Outlet {
    producer: Producer<'static>,
    to: OwnerId,
    high: u64,
    low: u64,
    /// Went above the high watermark and has not come below the low one since.
    full: bool,
    /// Something was pushed since the doorbell was last rung.
    dirty: bool,
}

impl Outlet {
    pub(crate) fn new(ring: Ring<'static>, cx: &Context) -> Self {
        let capacity = ring.capacity() as u32;
        Self {
            producer: ring.producer(cx.table, cx.me),
            to: ring.to,
            high: u64::from(cx.rings.high_watermark(capacity)),
            low: u64::from(cx.rings.low_watermark(capacity)),
            full: false,
            dirty: false,
        }
    }

    /// Who pops.
    pub fn to(&self) -> OwnerId {
        self.to
    }

    /// Entries in the ring.
    #[inline]
    pub fn depth(&mut self) -> u64 {
        self.producer.depth()
    }

    /// Whether to go on taking input for this ring: no from the high watermark on, yes again below the low one.
    #[inline]
    pub fn ready(&mut self) -> bool {
        let depth = self.producer.depth();
        self.full = if self.full { depth > self.low } else { depth >= self.high };
        !self.full
    }

    /// What [`Self::ready`] would say now; for the look right before sleeping.
    #[inline]
    pub fn would_be_ready(&self) -> bool {
        let depth = self.producer.look();
        if self.full { depth <= self.low } else { depth < self.high }
    }

    /// Hands a buffer on. Watermarks are the caller's to heed; a ring that is full in spite of them gives it back.
    #[inline]
    pub fn push(&mut self, held: Held) -> Result<Option<Held>, Stop> {
        match self.producer.push(held) {
            Ok(()) => {
                self.dirty = true;
                Ok(None)
            }
            Err(refused) if refused.fault == Fault::Full => Ok(Some(refused.held)),
            Err(refused) => {
                refused.held.release();
                Err(Stop::from_fault(refused.fault))
            }
        }
    }

    /// Hands a buffer on through a ring that has room for everything.
    #[inline]
    pub fn push_roomy(&mut self, held: Held) -> Result<(), Stop> {
        match self.push(held)? {
            None => Ok(()),
            Some(held) => {
                held.release();
                Err(Stop::from_fault(Fault::Full))
            }
        }
    }

    /// Wakes the consumer if anything was pushed since the last call.
    #[inline]
    pub fn flush(&mut self, cx: &Context) {
        if self.dirty {
            self.dirty = false;
            cx.wake(self.to);
        }
    }
}

/// Several rings to instances of one kind, and which of them gets the next frame.
#[derive(Debug)]
pub struct Spread {
    /// The rings.
    pub outlets: Vec<Outlet>,
    by_stream: bool,
    next: usize,
}

impl Spread {
    /// By stream (order within a stream is kept) or to the shortest ring.
    pub fn new(outlets: Vec<Outlet>, by: config::Spread) -> Self {
        Self { outlets, by_stream: by == config::Spread::Stream, next: 0 }
    }

    /// The ring for a frame of `stream`, if it may take one now.
    #[inline]
    pub fn pick(&mut self, stream: u32) -> Option<&mut Outlet> {
        let n = self.outlets.len();
        let chosen = if n == 1 {
            0
        } else if self.by_stream {
            of_stream(stream, n)
        } else {
            self.next = self.next.wrapping_add(1);
            let start = self.next;
            (0..n).map(|i| (start + i) % n).min_by_key(|i| self.outlets[*i].depth()).unwrap_or(0)
        };
        let outlet = &mut self.outlets[chosen];
        if outlet.ready() { Some(outlet) } else { None }
    }

    /// Whether any ring takes frames.
    #[inline]
    pub fn any_ready(&mut self) -> bool {
        self.outlets.iter_mut().any(Outlet::ready)
    }

    /// What [`Self::any_ready`] would say now; for the look right before sleeping.
    #[inline]
    pub fn any_would_be_ready(&self) -> bool {
        self.outlets.iter().any(Outlet::would_be_ready)
    }

    /// Whether [`Self::pick`] would find a ring for a frame of `stream` now; for the look right before sleeping.
    #[inline]
    pub fn would_pick(&self, stream: u32) -> bool {
        if self.by_stream || self.outlets.len() == 1 {
            return self.outlets[of_stream(stream, self.outlets.len())].would_be_ready();
        }
        let shortest = self.outlets.iter().map(|o| o.producer.look()).min();
        self.outlets.iter().any(|o| Some(o.producer.look()) == shortest && o.would_be_ready())
    }

    /// Wakes the consumers of what was pushed.
    #[inline]
    pub fn flush(&mut self, cx: &Context) {
        for outlet in &mut self.outlets {
            outlet.flush(cx);
        }
    }
}

/// Fibonacci hashing: neighbouring stream numbers go to different instances.
#[inline]
fn of_stream(stream: u32, n: usize) -> usize {
    (u64::from(stream).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % n
}
