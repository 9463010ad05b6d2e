//! Admitted frames that wait at the gateway because the rings are full.

use arena::Held;
use std::collections::VecDeque;

/// One waiting frame.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) head: Held,
    pub(crate) row: u32,
    pub(crate) rule: u16,
    pub(crate) stream: u32,
    pub(crate) deadline_ns: u64,
}

/// In order of arrival, all streams together.
#[derive(Debug)]
pub(crate) struct Backlog {
    queue: VecDeque<Waiting>,
    per_row: Vec<u32>,
}

impl Backlog {
    pub(crate) fn new(buffers: u32, rows: usize) -> Self {
        Self { queue: VecDeque::with_capacity(buffers as usize), per_row: vec![0; rows + 1] }
    }

    fn cell(&mut self, row: u32) -> &mut u32 {
        let n = (row as usize).min(self.per_row.len() - 1);
        &mut self.per_row[n]
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn of(&mut self, row: u32) -> usize {
        *self.cell(row) as usize
    }

    pub(crate) fn push(&mut self, waiting: Waiting) {
        *self.cell(waiting.row) += 1;
        self.queue.push_back(waiting);
    }

    /// Puts back what was taken from the front and found no place after all.
    pub(crate) fn push_front(&mut self, waiting: Waiting) {
        *self.cell(waiting.row) += 1;
        self.queue.push_front(waiting);
    }

    pub(crate) fn front(&self) -> Option<&Waiting> {
        self.queue.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.queue.pop_front()?;
        *self.cell(waiting.row) -= 1;
        Some(waiting)
    }

    /// Takes out the frame of a stream that has waited longest.
    pub(crate) fn pop_oldest_of(&mut self, row: u32) -> Option<Waiting> {
        let at = self.queue.iter().position(|w| w.row == row)?;
        let waiting = self.queue.remove(at)?;
        *self.cell(row) -= 1;
        Some(waiting)
    }
}
