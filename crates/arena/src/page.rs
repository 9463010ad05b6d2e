//! One page group per stage instance, written by that stage alone: life signs, counters, histograms, what it is at.

use crate::histogram::Histogram;
use crate::ring::{Poison, PoisonReason, RingId};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Counters per stage instance; their names are in [`crate::counters`].
pub const COUNTERS: usize = 64;
/// Events kept by the flight recorder.
pub const FLIGHT_EVENTS: usize = 64;

/// No frame is being worked on.
pub const CURRENT_NONE: u64 = u64::MAX;

/// What happened last, for a post-mortem: `time_ns`, `event:32 | index:32`.
#[repr(C)]
#[derive(Debug)]
pub struct FlightEvent {
    /// CLOCK_MONOTONIC.
    pub time_ns: AtomicU64,
    /// `event:32 | index:32`.
    pub what: AtomicU64,
}

/// The events of the flight recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Event {
    /// Became the active incarnation (index = incarnation).
    Active = 1,
    /// Parked (index = incarnation).
    Parked = 2,
    /// Took buffers from the recovery ring (index = how many).
    Recovered = 3,
    /// Adopted buffers by their words (index = how many).
    Adopted = 4,
    /// Met poison (index = ring).
    Poisoned = 5,
    /// A frame that earlier killed this stage is worked on alone (index = head).
    Suspect = 6,
}

/// Shared page group of one stage instance.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct StagePage {
    /// Process id of the process that last attached.
    pub pid: AtomicU32,
    /// Ticket of that process: what the supervisor named it at its start.
    pub ticket: AtomicU32,
    /// Incarnation that is or was active, as the stage saw it.
    pub incarnation: AtomicU32,
    /// PARKED(incarnation): stored after the last commit of that incarnation.
    pub parked: AtomicU32,
    /// CLOCK_MONOTONIC at the last turn of the run loop.
    pub heartbeat_ns: AtomicU64,
    /// 1 while the stage may be asleep on its doorbell.
    pub sleeping: AtomicU32,
    /// Named kill point that was reached (test builds).
    pub kill_point_hit: AtomicU32,
    /// `head:32 | seq:32` of the frame being worked on, or [`CURRENT_NONE`].
    pub current: AtomicU64,
    /// `reason:32 | ring:32` of the poison met by this incarnation; 0 = none.
    pub(crate) poison: AtomicU64,
    pub(crate) poison_position: AtomicU64,
    /// What the stage believes it holds: heads and other buffers, for audits.
    pub held_buffers: AtomicU64,
    /// What the stage believes it holds: slots.
    pub held_slots: AtomicU64,
    /// Generation of the configuration that the stage runs with.
    pub config_generation: AtomicU64,
    /// CLOCK_MONOTONIC at which the active incarnation took its first new or recovered work.
    pub first_work_ns: AtomicU64,
    pub(crate) flight_next: AtomicU64,
    pub(crate) flight: [FlightEvent; FLIGHT_EVENTS],
    /// Counters.
    pub counters: [AtomicU64; COUNTERS],
    /// Time frames waited before this stage took them up.
    pub wait: Histogram,
    /// Time this stage worked on a frame.
    pub work: Histogram,
    /// From the first packet to the end of this stage.
    pub since_arrival: Histogram,
}

impl StagePage {
    /// Adds to a counter; one writer, so no locked instruction.
    #[inline]
    pub fn add(&self, counter: usize, by: u64) {
        if let Some(c) = self.counters.get(counter) {
            c.store(c.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
        }
    }

    /// A counter's value.
    pub fn counter(&self, counter: usize) -> u64 {
        self.counters.get(counter).map_or(0, |c| c.load(Ordering::Relaxed))
    }

    /// Notes an event in the flight recorder.
    #[inline]
    pub fn note(&self, time_ns: u64, event: Event, index: u32) {
        let n = self.flight_next.load(Ordering::Relaxed);
        let cell = &self.flight[n as usize % FLIGHT_EVENTS];
        cell.time_ns.store(time_ns, Ordering::Relaxed);
        cell.what.store(u64::from(event as u32) << 32 | u64::from(index), Ordering::Relaxed);
        self.flight_next.store(n.wrapping_add(1), Ordering::Release);
    }

    /// The last events, oldest first: (time, event number, index).
    pub fn flight(&self) -> impl Iterator<Item = (u64, u32, u32)> + '_ {
        let n = self.flight_next.load(Ordering::Acquire);
        (n.saturating_sub(FLIGHT_EVENTS as u64)..n).map(|i| {
            let cell = &self.flight[i as usize % FLIGHT_EVENTS];
            let what = cell.what.load(Ordering::Relaxed);
            (cell.time_ns.load(Ordering::Relaxed), (what >> 32) as u32, what as u32)
        })
    }

    /// Records the poison that makes this incarnation stop.
    pub fn set_poison(&self, poison: Poison) {
        self.poison_position.store(poison.position, Ordering::Relaxed);
        self.poison.store(u64::from(poison.reason as u32) << 32 | u64::from(poison.ring.0), Ordering::Release);
    }

    /// The poison recorded, if any.
    pub fn poison(&self) -> Option<Poison> {
        let v = self.poison.load(Ordering::Acquire);
        let reason = match v >> 32 {
            1 => PoisonReason::Lap,
            2 => PoisonReason::Index,
            3 => PoisonReason::Owner,
            4 => PoisonReason::Cursor,
            5 => PoisonReason::NotMine,
            6 => PoisonReason::Segments,
            _ => return None,
        };
        Some(Poison { ring: RingId(v as u16), position: self.poison_position.load(Ordering::Relaxed), reason })
    }

    /// Forgets the poison; the supervisor does so once it has dealt with it, while the stage is dead.
    pub fn clear_poison(&self) {
        self.poison.store(0, Ordering::Release);
    }

    /// Says which frame is being worked on, before the work: a death from here on may be its doing.
    #[inline]
    pub fn set_current(&self, head: u32, seq: u32) {
        self.current.store(u64::from(head) << 32 | u64::from(seq), Ordering::Release);
    }

    /// Says that no frame is being worked on.
    #[inline]
    pub fn clear_current(&self) {
        self.current.store(CURRENT_NONE, Ordering::Release);
    }

    /// The frame being worked on as (head, seq).
    pub fn current(&self) -> Option<(u32, u32)> {
        let v = self.current.load(Ordering::Acquire);
        (v != CURRENT_NONE).then_some(((v >> 32) as u32, v as u32))
    }
}

/// Orders to one stage instance, written by the supervisor alone.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct ControlWord {
    pub(crate) command: AtomicU64,
    /// Named kill point that is armed (test builds).
    pub kill_point_armed: AtomicU32,
}

/// What the supervisor wants of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing yet: wait.
    Wait,
    /// The process with this ticket is the one active incarnation.
    Active {
        /// Activation number.
        incarnation: u32,
        /// Which process.
        ticket: u32,
    },
    /// That incarnation finishes what it has in hand, commits, stores PARKED and ends.
    Drain {
        /// Activation number.
        incarnation: u32,
        /// Which process.
        ticket: u32,
    },
}

/// No order yet, in ordinary memory, for models and tests.
impl Default for ControlWord {
    fn default() -> Self {
        Self { command: AtomicU64::new(0), kill_point_armed: AtomicU32::new(0) }
    }
}

impl ControlWord {
    /// Stores a command. `op:8 | ticket:32 | incarnation:24`.
    pub fn order(&self, command: Command) {
        let (op, incarnation, ticket) = match command {
            Command::Wait => (0, 0, 0),
            Command::Active { incarnation, ticket } => (1, incarnation, ticket),
            Command::Drain { incarnation, ticket } => (2, incarnation, ticket),
        };
        let word = op << 56 | u64::from(ticket) << 24 | u64::from(incarnation & crate::owner::INCARNATION_MAX);
        self.command.store(word, Ordering::Release);
    }

    /// The command that stands.
    #[inline]
    pub fn command(&self) -> Command {
        let v = self.command.load(Ordering::Acquire);
        let (incarnation, ticket) = (v as u32 & crate::owner::INCARNATION_MAX, (v >> 24) as u32);
        match v >> 56 {
            1 => Command::Active { incarnation, ticket },
            2 => Command::Drain { incarnation, ticket },
            _ => Command::Wait,
        }
    }
}
