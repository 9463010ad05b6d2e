//! Tickets on their way back.

use crate::engine::{Finished, Ticket};
use crate::error::EngineError;
use std::collections::VecDeque;
use std::time::Duration;

/// Frames a synchronous engine holds finished until they are polled: more than the largest burst (32), so that a caller may submit a
/// whole burst before it polls.
pub(crate) const FINISHED_MAX: usize = 64;

/// First-in first-out queue of fixed capacity, allocated once.
#[derive(Debug)]
pub(crate) struct FinishedQueue {
    queue: VecDeque<Finished>,
}

impl FinishedQueue {
    pub(crate) fn new() -> Self {
        Self { queue: VecDeque::with_capacity(FINISHED_MAX) }
    }

    /// Fails when there would be no room for one more; asked before any work is done.
    pub(crate) fn check_room(&self) -> Result<(), EngineError> {
        if self.queue.len() < FINISHED_MAX { Ok(()) } else { Err(EngineError::Busy { in_flight: self.queue.len() }) }
    }

    pub(crate) fn push(&mut self, ticket: Ticket, result: Result<(), EngineError>, compute: Duration) {
        debug_assert!(self.queue.len() < FINISHED_MAX, "check_room comes first");
        self.queue.push_back(Finished { ticket, result, compute_ns: compute.as_nanos() as u64 });
    }

    pub(crate) fn pop(&mut self) -> Option<Finished> {
        self.queue.pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}
