//! An engine that takes a known time.

use crate::engine::{Description, Engine, Finished, Frame, Submitted, Ticket};
use crate::error::{EngineError, LoadError};
use crate::finished::FINISHED_MAX;
use crate::null::{echo, echo_batch, test_description, test_specs};
use crate::options::EngineOptions;
use crate::spec::Specs;
use std::collections::VecDeque;
use std::hint::black_box;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How the time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The caller's thread sleeps: a device that the caller waits for.
    Sleep,
    /// The caller's thread computes.
    Busy,
    /// The caller goes on; frames finish one after another, `delay` each, as on a device with a queue.
    Queue,
}

/// Answers as the null engine does, `delay` after it began with the frame.
pub(crate) struct DelayEngine {
    specs: Specs,
    delay: Duration,
    mode: Mode,
    batch_max: usize,
    /// Frames with the time at which each was taken and is due; ordered by both.
    frames: VecDeque<(Ticket, Instant, Instant)>,
}

impl DelayEngine {
    pub(crate) fn load(model: Option<&Path>, options: &EngineOptions) -> Result<Self, LoadError> {
        let mode = match (options.asynchronous, options.busy) {
            (true, _) => Mode::Queue,
            (false, true) => Mode::Busy,
            (false, false) => Mode::Sleep,
        };
        let delay = Duration::from_micros(options.delay_us);
        let batch_max = options.max_batch.min(FINISHED_MAX);
        let frames = VecDeque::with_capacity(FINISHED_MAX);
        Ok(Self { specs: test_specs(model, options)?, delay, mode, batch_max, frames })
    }
}

impl DelayEngine {
    /// Lets the time of one run pass, or begin to, for these frames.
    fn pass(&mut self, tickets: &[Ticket]) -> Submitted {
        let taken = Instant::now();
        let due = match (self.mode, self.frames.back()) {
            (Mode::Queue, Some(&(_, _, busy_until))) => taken.max(busy_until) + self.delay,
            _ => taken + self.delay,
        };
        match self.mode {
            Mode::Sleep => thread::sleep(due.saturating_duration_since(Instant::now())),
            Mode::Busy => compute_until(due),
            Mode::Queue => {}
        }
        let done = if self.mode == Mode::Queue { due } else { Instant::now() };
        self.frames.extend(tickets.iter().map(|&ticket| (ticket, taken, done)));
        if self.mode == Mode::Queue { Submitted::Pending } else { Submitted::Done }
    }
}

impl Engine for DelayEngine {
    fn specs(&self) -> &Specs {
        &self.specs
    }

    fn submit(&mut self, ticket: Ticket, input: &[u8], output: &mut [u8]) -> Result<Submitted, EngineError> {
        if self.frames.len() >= FINISHED_MAX {
            return Err(EngineError::Busy { in_flight: self.frames.len() });
        }
        // The answer is written at once in every mode, so that no address is kept; only the ticket takes its time.
        echo(&self.specs, input, output)?;
        Ok(self.pass(&[ticket]))
    }

    fn batch_max(&self) -> usize {
        self.batch_max
    }

    /// A batch takes as long as a frame.
    fn submit_batch(&mut self, frames: &mut [Frame<'_>]) -> Result<Submitted, EngineError> {
        echo_batch(&self.specs, self.batch_max, self.frames.len(), frames)?;
        let mut tickets = [Ticket(0); FINISHED_MAX];
        for (to, frame) in tickets.iter_mut().zip(&*frames) {
            *to = frame.ticket;
        }
        Ok(self.pass(&tickets[..frames.len()]))
    }

    fn poll(&mut self) -> Option<Finished> {
        let &(ticket, taken, done) = self.frames.front()?;
        if self.mode == Mode::Queue && Instant::now() < done {
            return None;
        }
        self.frames.pop_front();
        let compute_ns = done.saturating_duration_since(taken).as_nanos() as u64;
        Some(Finished { ticket, result: Ok(()), compute_ns })
    }

    fn in_flight(&self) -> usize {
        self.frames.len()
    }

    fn warm_up(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn describe(&self) -> Description {
        let how = match self.mode {
            Mode::Sleep => "sleeping",
            Mode::Busy => "computing",
            Mode::Queue => "in a queue, one frame at a time",
        };
        test_description("delay", &format!("answers with its own input after {} us, {how}", self.delay.as_micros()))
    }
}

/// Multiplies until `due`, so that the core is as busy as with a real engine (a spin hint would let a sibling thread or the hypervisor have it).
fn compute_until(due: Instant) {
    let mut value = 1.0_f32;
    while Instant::now() < due {
        for _ in 0..64 {
            value = black_box(value * 1.000_1 + 0.5) % 1024.0;
        }
    }
    black_box(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(busy: bool, asynchronous: bool) -> DelayEngine {
        let options = EngineOptions {
            delay_us: 2_000,
            busy,
            asynchronous,
            input_shape: Some(vec![1, 2]),
            output_shape: Some(vec![1, 2]),
            ..EngineOptions::default()
        };
        DelayEngine::load(None, &options).unwrap()
    }

    #[test]
    fn a_synchronous_delay_lasts_as_long_as_it_says() {
        for busy in [false, true] {
            let mut engine = engine(busy, false);
            let started = Instant::now();
            let mut areas = crate::area::ScratchAreas::new(engine.specs());
            let (input, output) = areas.split();
            assert_eq!(engine.submit(Ticket(1), input, output), Ok(Submitted::Done));
            assert!(started.elapsed() >= Duration::from_millis(2));
            assert!(engine.poll().unwrap().compute_ns >= 2_000_000);
        }
    }

    #[test]
    fn queued_frames_take_their_turn() {
        let mut engine = engine(false, true);
        let started = Instant::now();
        let mut areas = crate::area::ScratchAreas::new(engine.specs());
        for ticket in 0..3 {
            let (input, output) = areas.split();
            assert_eq!(engine.submit(Ticket(ticket), input, output), Ok(Submitted::Pending));
        }
        assert_eq!(engine.in_flight(), 3);
        let mut finished = Vec::new();
        while finished.len() < 3 {
            if let Some(frame) = engine.poll() {
                finished.push(frame.ticket.0);
                // Frame n is not done before n + 1 delays have passed.
                assert!(started.elapsed() >= Duration::from_millis(2) * finished.len() as u32);
            }
        }
        assert_eq!(finished, [0, 1, 2]);
    }
}
