//! The consuming end of a ring, with the doorbell that tells a waiting producer that there is room again.

use crate::Context;
use arena::ring::{Consumer, Poison, PoisonReason, Ring};
use arena::topology::RingKind;
use arena::{Held, OwnerId};
use std::ops::Range;

/// A consumer that wakes its producer when the ring falls to the low watermark.
#[derive(Debug)]
pub struct Inlet {
    consumer: Consumer<'static>,
    from: OwnerId,
    low: u64,
    above_low: bool,
    /// Buffers (of one rx-gateway, where it is an end), or slots, in this ring: indices from here on, and below that.
    kind: Range<u32>,
}

impl Inlet {
    pub(crate) fn new(ring: Ring<'static>, cx: &Context) -> Self {
        let low = u64::from(cx.rings.low_watermark(ring.capacity() as u32));
        let slots = cx.arena.layout().rings.iter().any(|s| s.id == ring.id && s.kind == RingKind::Slots);
        let (buffers, all, geometry) = (cx.table.buffers(), cx.table.len(), cx.arena.geometry());
        // A gateway sends and gets back its own buffers alone.
        let gateway = [ring.from, ring.to].into_iter().find(|id| geometry.is_gateway(*id));
        let kind = match gateway {
            _ if slots => buffers..all,
            Some(id) => geometry.home_range(id),
            None => 0..buffers,
        };
        Self { consumer: ring.consumer(cx.table, cx.me), from: ring.from, low, above_low: false, kind }
    }

    /// A slot among heads, or a buffer among slots, is what a damaged entry looks like whose word happens to agree.
    #[inline]
    fn check(&self, held: &Held) -> Result<(), Poison> {
        if self.kind.contains(&held.index()) {
            return Ok(());
        }
        let ring = self.consumer.ring();
        Err(Poison { ring: ring.id, position: ring.cursors().0.wrapping_sub(1), reason: PoisonReason::Index })
    }

    /// Takes up to `max` buffers into `out`, within its capacity.
    #[inline]
    pub fn pop(&mut self, cx: &Context, out: &mut Vec<Held>, max: usize) -> Result<usize, Poison> {
        self.above_low |= self.consumer.depth() > self.low;
        let before = out.len();
        let n = self.consumer.pop_batch(out, max)?;
        if let Some(poison) = out[before..].iter().find_map(|held| self.check(held).err()) {
            // The process is about to end; the sweep finds them by their words.
            out.drain(..).for_each(|held| _ = held.release());
            return Err(poison);
        }
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
        let mut held = self.consumer.pop()?;
        if let Some(poison) = held.as_ref().and_then(|held| self.check(held).err()) {
            held.take().map(Held::release);
            return Err(poison);
        }
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

/// Several rings of one kind to this stage, polled in turn.
#[derive(Debug)]
pub struct Inlets {
    inlets: Vec<Inlet>,
    next: usize,
}

impl Inlets {
    /// Of these, see [`Context::inlets`].
    pub fn new(inlets: Vec<Inlet>) -> Self {
        Self { inlets, next: 0 }
    }

    /// Takes one buffer; the ring after the one that gave the last comes first.
    #[inline]
    pub fn pop_one(&mut self, cx: &Context) -> Result<Option<Held>, Poison> {
        for _ in 0..self.inlets.len() {
            let n = self.next;
            self.next = (n + 1) % self.inlets.len();
            if let Some(held) = self.inlets[n].pop_one(cx)? {
                return Ok(Some(held));
            }
        }
        Ok(None)
    }

    /// Whether there is nothing to take in any of them.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.inlets.iter().all(Inlet::is_empty)
    }
}
