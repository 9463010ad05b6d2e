//! The consuming end of a ring, with the doorbell that tells a waiting producer that there is room again.

use crate::Context;
use arena::ring::{Consumer, Poison, Ring};
use arena::{Held, OwnerId};

/// A consumer that wakes its producer when the ring falls to the low watermark.
#[derive(Debug)]
pub struct Inlet {
    consumer: Consumer<'static>,
    from: OwnerId,
    low: u64,
    above_low: bool,
}

impl Inlet {
    pub(crate) fn new(ring: Ring<'static>, cx: &Context) -> Self {
        let low = u64::from(cx.rings.low_watermark(ring.capacity() as u32));
        Self { consumer: ring.consumer(cx.table, cx.me), from: ring.from, low, above_low: false }
    }

    /// Takes up to `max` buffers into `out`, within its capacity.
    #[inline]
    pub fn pop(&mut self, cx: &Context, out: &mut Vec<Held>, max: usize) -> Result<usize, Poison> {
        self.above_low |= self.consumer.depth() > self.low;
        let n = self.consumer.pop_batch(out, max)?;
        if self.above_low && self.consumer.depth() <= self.low {
            self.above_low = false;
            cx.wake(self.from);
        }
        Ok(n)
    }

    /// Takes one buffer.
    #[inline]
    pub fn pop_one(&mut self, cx: &Context) -> Result<Option<Held>, Poison> {
        self.above_low |= self.consumer.depth() > self.low;
        let held = self.consumer.pop()?;
        if self.above_low && self.consumer.depth() <= self.low {
            self.above_low = false;
            cx.wake(self.from);
        }
        Ok(held)
    }

    /// Whether there is nothing to take.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.consumer.is_empty()
    }
}
