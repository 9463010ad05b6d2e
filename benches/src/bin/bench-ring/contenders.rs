//! What is measured: a table of names, and for each name the two sides that carry it.

use crate::kernel::{Channels, Pipe, Socket};
use crate::lines::{BareRing, RawLine};
use crate::pair::{Length, Round, Side, answer, drive};
use crate::rings::{Adaptive, Asleep, Futex, Rings, Spin, Wait};
use crate::shared::{BATCH, Which, ends};
use anyhow::{Context as _, Result};
use arena::arena::Arena;
use arena::doorbell::Doorbells;
use arena::{Held, OwnerId};
use std::os::fd::BorrowedFd;

/// What carries a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    RawLine,
    Ring,
    RingAdaptive,
    RingDoorbell,
    RingFutex,
    BareRing,
    Iceoryx2,
    RteRing,
    ArrayQueue,
    Rtrb,
    Socket,
    Pipe,
}

impl Carrier {
    /// Whether a peer of the ring carries it that is built with feature `peers` alone.
    pub fn is_optional(self) -> bool {
        matches!(self, Self::Iceoryx2) || self.is_in_process()
    }

    /// Whether it joins two threads of one process, and not two processes.
    pub fn is_in_process(self) -> bool {
        matches!(self, Self::ArrayQueue | Self::Rtrb)
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    /// As in the results, unit not named: all are nanoseconds.
    pub name: &'static str,
    pub carrier: Carrier,
    /// Buffers per message.
    pub batch: u64,
    /// Whether the empty poll executes `pause`.
    pub pause: bool,
    pub length: Length,
}

const fn row(name: &'static str, carrier: Carrier, batch: u64, pause: bool, trips: u64) -> Contender {
    let length = Length { warm: trips / 20 + 1, trips, clocked: trips / 10 };
    Contender { name, carrier, batch, pause, length }
}

const WIDE: u64 = BATCH as u64;

/// All rows. Rounds are short, so that a machine that changes meanwhile does so between rounds and not between rows.
pub const ROWS: [Contender; 30] = [
    row("raw_line", Carrier::RawLine, 1, false, 4_000),
    row("ring", Carrier::Ring, 1, false, 4_000),
    row("ring_bare", Carrier::BareRing, 1, false, 4_000),
    row("rte_ring", Carrier::RteRing, 1, false, 4_000),
    row("iceoryx2", Carrier::Iceoryx2, 1, false, 1_000),
    row("array_queue", Carrier::ArrayQueue, 1, false, 4_000),
    row("rtrb", Carrier::Rtrb, 1, false, 4_000),
    row("ring_adaptive", Carrier::RingAdaptive, 1, false, 2_000),
    row("ring_batch32", Carrier::Ring, WIDE, false, 600),
    row("ring_bare_batch32", Carrier::BareRing, WIDE, false, 600),
    row("rte_ring_batch32", Carrier::RteRing, WIDE, false, 600),
    row("array_queue_batch32", Carrier::ArrayQueue, WIDE, false, 600),
    row("rtrb_batch32", Carrier::Rtrb, WIDE, false, 600),
    row("raw_line_pause", Carrier::RawLine, 1, true, 1_000),
    row("ring_pause", Carrier::Ring, 1, true, 1_000),
    row("ring_bare_pause", Carrier::BareRing, 1, true, 1_000),
    row("rte_ring_pause", Carrier::RteRing, 1, true, 1_000),
    row("iceoryx2_pause", Carrier::Iceoryx2, 1, true, 500),
    row("array_queue_pause", Carrier::ArrayQueue, 1, true, 1_000),
    row("rtrb_pause", Carrier::Rtrb, 1, true, 1_000),
    row("ring_adaptive_pause", Carrier::RingAdaptive, 1, true, 1_000),
    row("ring_batch32_pause", Carrier::Ring, WIDE, true, 300),
    row("ring_bare_batch32_pause", Carrier::BareRing, WIDE, true, 300),
    row("rte_ring_batch32_pause", Carrier::RteRing, WIDE, true, 300),
    row("array_queue_batch32_pause", Carrier::ArrayQueue, WIDE, true, 300),
    row("rtrb_batch32_pause", Carrier::Rtrb, WIDE, true, 300),
    row("ring_doorbell_wake", Carrier::RingDoorbell, 1, false, 100),
    row("ring_futex_wake", Carrier::RingFutex, 1, false, 100),
    row("unix_datagram", Carrier::Socket, 1, false, 100),
    row("pipe", Carrier::Pipe, 1, false, 100),
];

/// What a side does with the pair it is given: drives or answers.
pub trait Visitor {
    type Out;
    fn visit(self, side: &mut impl Side) -> Result<Self::Out>;
}

/// Side A of a round.
pub struct Drive(pub Length);

impl Visitor for Drive {
    type Out = Round;
    fn visit(self, side: &mut impl Side) -> Result<Round> {
        drive(side, self.0)
    }
}

/// Side B of a round.
pub struct Answer(pub Length);

impl Visitor for Answer {
    type Out = ();
    fn visit(self, side: &mut impl Side) -> Result<()> {
        answer(side, self.0)
    }
}

/// What one process has at hand.
pub struct Site<'a> {
    pub which: Which,
    pub arena: &'a Arena,
    pub bells: &'a Doorbells,
    pub supervisor: BorrowedFd<'a>,
    pub channels: &'a Channels,
    /// The buffers in hand between rounds.
    pub hand: Vec<Held>,
    #[cfg(feature = "peers")]
    pub ports: crate::iceoryx::Ports,
}

impl Site<'_> {
    /// This side's part of a round.
    pub fn play<V: Visitor>(&mut self, row: &Contender, visitor: V) -> Result<V::Out> {
        if row.pause { self.play_with::<V, true>(row, visitor) } else { self.play_with::<V, false>(row, visitor) }
    }

    fn play_with<V: Visitor, const PAUSE: bool>(&mut self, row: &Contender, visitor: V) -> Result<V::Out> {
        let (arena, which) = (self.arena, self.which);
        match row.carrier {
            Carrier::RawLine => visitor.visit(&mut RawLine::<PAUSE>::new(arena, which)?),
            Carrier::BareRing if row.batch == 1 => visitor.visit(&mut BareRing::<1, PAUSE>::new(arena, which)?),
            Carrier::BareRing => visitor.visit(&mut BareRing::<BATCH, PAUSE>::new(arena, which)?),
            Carrier::Ring => self.play_ring(row, Spin::<PAUSE>, visitor),
            Carrier::RingAdaptive => {
                let ids = self.ids()?;
                let wait = Adaptive::<PAUSE>::new(self.bells, self.page(ids.0)?, ids, self.supervisor)?;
                self.play_ring(row, wait, visitor)
            }
            Carrier::RingDoorbell => {
                let ids = self.ids()?;
                let wait = Asleep::new(self.bells, self.page(ids.0)?, ids, self.supervisor)?;
                self.play_ring(row, wait, visitor)
            }
            Carrier::RingFutex => {
                let (mine, theirs) = self.ids()?;
                let wait = Futex::new(self.page(mine)?, self.page(theirs)?);
                self.play_ring(row, wait, visitor)
            }
            #[cfg(feature = "peers")]
            Carrier::Iceoryx2 => visitor.visit(&mut crate::iceoryx::PublishSubscribe::<PAUSE>::new(&self.ports)),
            #[cfg(not(feature = "peers"))]
            Carrier::Iceoryx2 => anyhow::bail!("built without feature peers"),
            Carrier::RteRing => anyhow::bail!("rte_ring has processes of its own"),
            Carrier::ArrayQueue | Carrier::Rtrb => anyhow::bail!("{} joins threads, not processes", row.name),
            Carrier::Socket => visitor.visit(&mut Socket(self.channels, [0; 64])),
            Carrier::Pipe => visitor.visit(&mut Pipe(self.channels, [0; 64])),
        }
    }

    fn play_ring<V: Visitor>(&mut self, row: &Contender, wait: impl Wait, visitor: V) -> Result<V::Out> {
        let ends = ends(self.arena, self.which)?;
        if row.batch == 1 {
            return visitor.visit(&mut Rings::<1, _>::new(ends, &mut self.hand, wait));
        }
        visitor.visit(&mut Rings::<BATCH, _>::new(ends, &mut self.hand, wait))
    }

    fn ids(&self) -> Result<(OwnerId, OwnerId)> {
        let ends = ends(self.arena, self.which)?;
        Ok((ends.id, ends.peer))
    }

    fn page(&self, id: OwnerId) -> Result<&'static arena::page::StagePage> {
        self.arena.page(id).context("the arena lacks a page")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = ROWS.iter().map(|r| r.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
    }
}
