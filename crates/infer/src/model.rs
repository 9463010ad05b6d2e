//! One network, loaded: its engine, what waits for it and what is in it.

use crate::expect::Expectation;
use crate::options::{name, options, verify};
use crate::shadow::Shadow;
use crate::stage::fail;
use ::stage::{Context, Stop};
use arena::counters::InferCounter;
use arena::launch::Attached;
use arena::meta::Moment;
use arena::{Held, now_ns};
use config::Pipeline;
use engines::{Engine, Regions, Ticket};
use std::collections::VecDeque;

/// A network in its engine.
pub(crate) struct Model {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) input_bytes: usize,
    pub(crate) output_bytes: usize,
    /// Most frames in the engine.
    pub(crate) max_in_flight: usize,
    /// Most frames that are computed together.
    pub(crate) max_batch: usize,
    /// What warming up took: too high for one frame, which is the safe side until the first frames have been timed.
    pub(crate) warm_up_ns: u64,
    pub(crate) expectation: Expectation,
    /// What waits must go at once.
    pub(crate) is_urgent: bool,
    /// A network that is tried beside this one.
    pub(crate) shadow: Option<Shadow>,
    /// Frames that wait for company, oldest first.
    pub(crate) waiting: Vec<Frame>,
    /// Frames in the engine.
    pub(crate) flying: Vec<Frame>,
}

/// A frame that waits for the engine, or is in it.
pub(crate) struct Frame {
    pub(crate) head: Held,
    /// Where its input lies in its packet; else it is in the slot.
    pub(crate) in_packet: Option<(usize, usize)>,
    pub(crate) arrival_ns: u64,
    pub(crate) deadline_ns: u64,
    /// When it was taken up, and then when it was submitted.
    pub(crate) since_ns: u64,
}

impl Model {
    /// Loads and warms up network `number`.
    pub(crate) fn load(pipeline: &Pipeline, number: usize, attached: &Attached) -> Result<Self, Stop> {
        let only = pipeline.with_only(number);
        let label = pipeline.networks.get(number).map_or("default", |network| network.model.name.as_str());
        let bad = |e: String| Stop::Configuration(format!("model {label}: {e}"));
        verify(&only).map_err(bad)?;
        let mut engine = engines::load(name(only.infer.engine), only.infer.model.as_deref(), &options(&only))
            .map_err(|e| bad(e.to_string()))?;
        let (input_bytes, output_bytes) = (engine.specs().input_bytes(), engine.specs().output_bytes());
        let g = attached.arena.geometry();
        if input_bytes as u64 > g.slot_input_bytes || output_bytes as u64 > g.slot_output_bytes {
            return Err(bad(format!(
                "the model takes {input_bytes} bytes and gives {output_bytes}, the arena's slots have {} and {}; \
                 restart the pipeline, or leave room with [arena] max_input_bytes and max_output_bytes",
                g.slot_input_bytes, g.slot_output_bytes
            )));
        }
        let (inputs, outputs) = attached.arena.inference_regions();
        if let Err(error) = engine.attach(&Regions::new(inputs, outputs)) {
            tracing::warn!("model {label}: {error}");
        }
        let begun_ns = now_ns();
        engine.warm_up().map_err(|e| bad(format!("the model does not run: {e}")))?;
        let warm_up_ns = now_ns() - begun_ns;
        let max_batch = (pipeline.infer.max_batch as usize).clamp(1, engine.batch_max());
        // A full batch must fit, whatever else is in the engine.
        let max_in_flight = (pipeline.infer.max_in_flight as usize).clamp(1, engine.describe().in_flight_max.max(1));
        let max_in_flight = max_in_flight.max(max_batch);
        let wanted = pipeline.shadows.iter().find(|shadow| shadow.number == number);
        let shadow = wanted.map(|wanted| Shadow::load(pipeline, wanted, engine.specs())).transpose()?;
        Ok(Self {
            shadow,
            engine,
            input_bytes,
            output_bytes,
            max_in_flight,
            max_batch,
            warm_up_ns,
            is_urgent: false,
            expectation: Expectation::new(0),
            waiting: Vec::with_capacity(max_batch),
            flying: Vec::with_capacity(max_in_flight),
        })
    }

    /// Room for one frame more.
    pub(crate) fn has_room(&self) -> bool {
        self.flying.len() + self.waiting.len() < self.max_in_flight && self.waiting.len() < self.max_batch
    }

    /// Frames on this network's account.
    pub(crate) fn holds(&self) -> usize {
        self.waiting.len() + self.flying.len()
    }

    /// When what waits must go, CLOCK_MONOTONIC ns: the oldest has waited `max_wait_ns`, or a deadline could not be met any more.
    pub(crate) fn due_ns(&self, max_wait_ns: u64) -> Option<u64> {
        let waited = self.waiting.first()?.since_ns + max_wait_ns;
        let deadline = self.waiting.iter().filter(|frame| frame.deadline_ns != 0).map(|frame| frame.deadline_ns).min();
        let latest = deadline.map_or(u64::MAX, |deadline_ns| self.expectation.latest_ns(deadline_ns));
        Some(waited.min(latest))
    }

    /// Whether what waits must not wait longer.
    pub(crate) fn is_due(&self, now_ns: u64, max_wait_ns: u64) -> bool {
        self.due_ns(max_wait_ns).is_some_and(|due_ns| due_ns <= now_ns)
    }

    /// Whether a batch is complete.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= self.max_batch
    }

    /// Gives the engine all that waits; returns how many frames went. What it refuses comes back in `stuck`, with its fate.
    pub(crate) fn submit(
        &mut self,
        cx: &Context,
        memory: &mut Vec<engines::Frame<'static>>,
        stuck: &mut VecDeque<Held>,
    ) -> usize {
        self.is_urgent = false;
        let count = self.waiting.len();
        let sizes = (self.input_bytes, self.output_bytes);
        let mut at = 0;
        while at < self.waiting.len() {
            if areas(cx, &mut self.waiting[at], sizes).is_some() {
                at += 1;
                continue;
            }
            let frame = self.waiting.remove(at);
            fail(cx, &frame.head, "the frame came without a tensor, or its slot is smaller than the model's tensors");
            stuck.push_back(frame.head);
        }
        let now_ns = now_ns();
        let mut batch = recycle_batch(std::mem::take(memory));
        for frame in &mut self.waiting {
            cx.begin(&frame.head);
            frame.since_ns = now_ns;
            let ticket = Ticket(frame.head.index().into());
            if let Some((input, output)) = areas(cx, frame, sizes) {
                batch.push(engines::Frame { ticket, input, output });
            }
        }
        let submitted = match &mut batch[..] {
            [] => Ok(()),
            [only] => self.engine.submit(only.ticket, only.input, only.output).map(|_| ()),
            several => self.engine.submit_batch(several).map(|_| ()),
        };
        *memory = recycle_batch(batch);
        match submitted {
            Ok(()) => {
                cx.page.add(InferCounter::Submits as usize, u64::from(!self.waiting.is_empty()));
                self.flying.append(&mut self.waiting);
            }
            // An engine that refuses has taken none of them.
            Err(error) => {
                let error = error.to_string();
                for frame in self.waiting.drain(..) {
                    fail(cx, &frame.head, &error);
                    stuck.push_back(frame.head);
                }
            }
        }
        count
    }

    /// Notes times and sizes of a frame that is done.
    pub(crate) fn note_success(&mut self, cx: &Context, frame: &mut Frame) {
        let end_ns = now_ns();
        let extension = &cx.arena.extensions()[frame.head.index() as usize];
        extension.set_moment(Moment::InferEnd, end_ns);
        extension.set_output_bytes(self.output_bytes as u64);
        self.expectation.learn(end_ns - frame.since_ns);
        cx.page.add(InferCounter::Frames as usize, 1);
        cx.page.work.record(end_ns - frame.since_ns);
        cx.page.since_arrival.record(end_ns.saturating_sub(frame.arrival_ns));
        if let Some(shadow) = &mut self.shadow
            && let Some((input, answer)) = areas(cx, frame, (self.input_bytes, self.output_bytes))
        {
            shadow.keep(input, answer);
        }
    }
}

/// The tensors that a frame names, cut to the model's sizes.
fn areas<'f>(
    cx: &Context,
    frame: &'f mut Frame,
    (input_bytes, output_bytes): (usize, usize),
) -> Option<(&'f [u8], &'f mut [u8])> {
    let (input, output) = cx.arena.inference(&mut frame.head, frame.in_packet)?;
    Some((input.get(..input_bytes)?, output.get_mut(..output_bytes)?))
}

/// An empty vector that keeps the memory of `used`, for borrows that live shorter (or longer): the standard library collects in place here.
fn recycle_batch<'a>(mut used: Vec<engines::Frame<'_>>) -> Vec<engines::Frame<'a>> {
    used.clear();
    used.into_iter().map(|_| -> engines::Frame<'a> { unreachable!("the vector was cleared") }).collect()
}
