//! The stage: heads in, `submit`, `poll`, heads out.

use crate::expect::Expectation;
use crate::options::{name, options};
use ::stage::{Context, Inlet, Outlet, Stage, Stop};
use arena::Held;
use arena::counters::InferCounter;
use arena::descriptor::{Fate, FateKind};
use arena::killpoint::{KillPoint, reach};
use arena::launch::Attached;
use arena::meta::Moment;
use arena::now_ns;
use arena::page::Event;
use arena::sync::Ordering;
use arena::topology::RingKind;
use config::Pipeline;
use engines::{Engine, Regions, Ticket};
use std::collections::VecDeque;
use wire::DropReason;

/// Frames refused for their deadline in one turn at most.
const BURST: usize = 32;
/// How often an engine with frames in flight is asked while there is nothing else to do.
const ASK_NS: u64 = 100_000;

/// infer.
pub struct Infer {
    engine: Box<dyn Engine>,
    input_bytes: usize,
    output_bytes: usize,
    max_in_flight: usize,
    warm_up_ns: u64,
    live: Option<Live>,
}

struct Live {
    inlets: Vec<Inlet>,
    next_inlet: usize,
    forward: Outlet,
    /// Heads of a dead predecessor, to be done again first.
    again: VecDeque<Held>,
    /// What the engine works on.
    flying: Vec<Flying>,
    /// Finished heads that the ring did not take yet.
    stuck: VecDeque<Held>,
    /// A frame that killed a predecessor is in the engine, alone.
    suspect: bool,
    expectation: Expectation,
}

/// A frame in the engine.
struct Flying {
    head: Held,
    submitted_ns: u64,
    arrival_ns: u64,
}

impl Infer {
    /// Loads and warms up the engine; touches no shared memory.
    pub fn prepare(pipeline: &Pipeline, attached: &Attached) -> Result<Self, Stop> {
        let infer = &pipeline.infer;
        let bad = |e: String| Stop::Configuration(e);
        let mut engine = engines::load(name(infer.engine), infer.model.as_deref(), &options(pipeline))
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
            tracing::warn!("{error}");
        }
        let begun = now_ns();
        engine.warm_up().map_err(|e| bad(format!("the model does not run: {e}")))?;
        // Several runs: too high for one frame, which is the safe side until the first frames have been timed.
        let warm_up_ns = now_ns() - begun;
        let max_in_flight = (infer.max_in_flight as usize).clamp(1, engine.describe().in_flight_max.max(1));
        Ok(Self { engine, input_bytes, output_bytes, max_in_flight, warm_up_ns, live: None })
    }

    /// Takes back what the engine has finished.
    fn collect(&mut self, cx: &Context) -> Result<usize, Stop> {
        let Some(live) = &mut self.live else { return Ok(0) };
        let mut done = 0;
        while let Some(finished) = self.engine.poll() {
            let Some(at) = live.flying.iter().position(|f| u64::from(f.head.index()) == finished.ticket.0) else {
                tracing::error!("the engine handed back a ticket that is not out: {:?}", finished.ticket);
                continue;
            };
            let Flying { head, submitted_ns, arrival_ns } = live.flying.swap_remove(at);
            done += 1;
            live.suspect = false;
            if live.flying.is_empty() {
                cx.page.clear_current();
            }
            let extension = &cx.arena.extensions()[head.index() as usize];
            match finished.result {
                Ok(()) => {
                    let end = now_ns();
                    extension.set_moment(Moment::InferEnd, end);
                    extension.set_output_bytes(self.output_bytes as u64);
                    live.expectation.learn(end - submitted_ns);
                    cx.page.counters[InferCounter::ExpectedNs as usize].store(live.expectation.ns(), Ordering::Relaxed);
                    cx.page.add(InferCounter::Frames as usize, 1);
                    cx.page.work.record(end - submitted_ns);
                    cx.page.since_arrival.record(end.saturating_sub(arrival_ns));
                }
                Err(error) => fail(cx, &head, &error.to_string()),
            }
            live.stuck.push_back(head);
        }
        live.hand_on()?;
        Ok(done)
    }

    /// Gives the engine one frame, or refuses one that would be late. False if there was none.
    fn submit(&mut self, cx: &Context) -> Result<bool, Stop> {
        let Some(live) = &mut self.live else { return Ok(false) };
        let alone = |h: &Held| cx.table.of(h).attempts.load(Ordering::Relaxed) > 0;
        if live.suspect || live.flying.len() >= self.max_in_flight || !live.stuck.is_empty() || !live.forward.ready() {
            return Ok(false);
        }
        if live.again.front().is_some_and(|h| alone(h) && !live.flying.is_empty()) {
            return Ok(false);
        }
        let Some(mut head) = live.next(cx)? else { return Ok(false) };
        reach(KillPoint::InHand);
        let start = now_ns();
        let extension = &cx.arena.extensions()[head.index() as usize];
        if cx.table.of(&head).fate().is_some() {
            live.stuck.push_back(head);
            return live.hand_on().map(|()| true);
        }
        // The record is sound, and a tensor that is said to lie in the packet lies where the packet's payload does.
        let record = cx.arena.record(head.index()).ok();
        let in_packet = extension.input_in_packet().map(|at| (at, self.input_bytes));
        let sound = record.filter(|(_, place)| in_packet.is_none_or(|(at, _)| at == usize::from(place.data.offset)));
        let Some((meta, _)) = sound else {
            cx.page.add(InferCounter::Damaged as usize, 1);
            cx.table.of(&head).set_fate(Fate { kind: FateKind::Dropped, reason: DropReason::Damaged.code() });
            live.stuck.push_back(head);
            return live.hand_on().map(|()| true);
        };
        if !live.expectation.in_time(start, live.flying.len(), meta.deadline_ns) {
            cx.page.add(InferCounter::Late as usize, 1);
            if start < meta.deadline_ns {
                live.expectation.refused();
            }
            cx.table.of(&head).set_fate(Fate { kind: FateKind::Dropped, reason: DropReason::Deadline.code() });
            live.stuck.push_back(head);
            return live.hand_on().map(|()| true);
        }
        live.suspect = alone(&head);
        if live.suspect {
            cx.page.add(InferCounter::Suspects as usize, 1);
            cx.page.note(start, Event::Suspect, head.index());
        }
        cx.begin(&head);
        extension.set_moment(Moment::InferStart, start);
        cx.page.wait.record(start.saturating_sub(extension.moment(Moment::PreprocessEnd)));
        let ticket = Ticket(head.index().into());
        let areas = cx.arena.inference(&mut head, in_packet);
        let submitted = match areas {
            Some((input, output)) => match (input.get(..self.input_bytes), output.get_mut(..self.output_bytes)) {
                (Some(input), Some(output)) => self.engine.submit(ticket, input, output).map_err(|e| e.to_string()),
                _ => Err("the slot is smaller than the model's tensors".to_owned()),
            },
            None => Err("the frame came without a tensor".to_owned()),
        };
        match submitted {
            Ok(_) => live.flying.push(Flying { head, submitted_ns: start, arrival_ns: meta.arrival_ns }),
            Err(error) => {
                live.suspect = false;
                fail(cx, &head, &error);
                live.stuck.push_back(head);
                live.hand_on()?;
            }
        }
        Ok(true)
    }
}

/// The engine could not do it; the frame is not lost but dropped, with a status.
fn fail(cx: &Context, head: &Held, error: &str) {
    cx.page.add(InferCounter::Errors as usize, 1);
    tracing::error!("inference failed: {error}");
    cx.table.of(head).set_fate(Fate { kind: FateKind::Dropped, reason: DropReason::Other.code() });
}

impl Live {
    fn next(&mut self, cx: &Context) -> Result<Option<Held>, Stop> {
        if let Some(head) = self.again.pop_front() {
            return Ok(Some(head));
        }
        for _ in 0..self.inlets.len() {
            self.next_inlet = (self.next_inlet + 1) % self.inlets.len();
            if let Some(head) = self.inlets[self.next_inlet].pop_one(cx)? {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// Pushes finished heads to tx, in order.
    fn hand_on(&mut self) -> Result<(), Stop> {
        while let Some(head) = self.stuck.pop_front() {
            if let Some(head) = self.forward.push(head)? {
                self.stuck.push_front(head);
                break;
            }
        }
        Ok(())
    }
}

impl Stage for Infer {
    fn activate(&mut self, cx: &mut Context) -> Result<(), Stop> {
        let mut live = Live {
            inlets: cx.inlets(RingKind::Forward),
            next_inlet: 0,
            forward: cx.outlet(RingKind::Forward),
            again: VecDeque::with_capacity(cx.table.len() as usize),
            flying: Vec::with_capacity(self.max_in_flight),
            stuck: VecDeque::with_capacity(cx.table.len() as usize),
            suspect: false,
            expectation: Expectation::new(cx.page.counter(InferCounter::ExpectedNs as usize)),
        };
        cx.page.counters[InferCounter::WarmUpNs as usize].store(self.warm_up_ns, Ordering::Relaxed);
        let mut recovery = cx.recovery();
        while let Some(head) = recovery.pop()? {
            live.again.push_back(head);
        }
        cx.page.note(cx.now_ns, Event::Recovered, live.again.len() as u32);
        self.live = Some(live);
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context) -> Result<usize, Stop> {
        let mut done = self.collect(cx)?;
        for _ in 0..BURST {
            if !self.submit(cx)? {
                break;
            }
            // A synchronous engine is done by now: its frame goes on before the next one begins.
            done += 1 + self.collect(cx)?;
            if let Some(live) = &mut self.live {
                live.forward.flush(cx);
            }
            // Each inference counts as a turn: alive, and holding so much.
            cx.page.held_buffers.store(self.holds().0, Ordering::Relaxed);
            cx.page.heartbeat_ns.store(now_ns(), Ordering::Relaxed);
        }
        if let Some(live) = &mut self.live {
            live.forward.flush(cx);
        }
        Ok(done)
    }

    /// Exactly what [`Self::submit`] and [`Live::hand_on`] ask: more would keep this stage spinning while tx is behind, and less
    /// would let it sleep through the doorbell that tx rang between the last poll and this look.
    fn has_input(&self, cx: &Context) -> bool {
        let Some(live) = &self.live else { return false };
        if !live.forward.would_be_ready() {
            return false;
        }
        if !live.stuck.is_empty() {
            return true;
        }
        if live.suspect || live.flying.len() >= self.max_in_flight {
            return false;
        }
        match live.again.front() {
            Some(head) => live.flying.is_empty() || cx.table.of(head).attempts.load(Ordering::Relaxed) == 0,
            None => live.inlets.iter().any(|i| !i.is_empty()),
        }
    }

    fn timer_ns(&self, _: &Context) -> Option<u64> {
        (self.engine.in_flight() > 0).then(|| now_ns() + ASK_NS)
    }

    fn drain(&mut self, cx: &mut Context) -> Result<bool, Stop> {
        self.collect(cx)?;
        let Some(live) = &mut self.live else { return Ok(true) };
        live.forward.flush(cx);
        Ok(live.flying.is_empty())
    }

    fn reload(&mut self, _: &Pipeline) {}

    fn holds(&self) -> (u64, u64) {
        let held = self.live.as_ref().map_or(0, |l| l.again.len() + l.flying.len() + l.stuck.len());
        (held as u64, 0)
    }
}
