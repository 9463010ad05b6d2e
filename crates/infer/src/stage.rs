//! The stage: heads in, `submit`, `poll`, heads out.

use crate::expect::Expectation;
use crate::model::{Frame, Model};
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
use std::collections::VecDeque;
use wire::DropReason;

/// Frames refused for their deadline in one turn at most.
const BURST: usize = 32;
/// How often an engine with frames in flight is asked while there is nothing else to do.
const ASK_NS: u64 = 100_000;

/// infer.
pub struct Infer {
    models: Vec<Model>,
    max_wait_ns: u64,
    warm_up_ns: u64,
    /// Memory for a batch on its way into an engine.
    batch: Vec<engines::Frame<'static>>,
    live: Option<Live>,
}

struct Live {
    inlets: Vec<Inlet>,
    next_inlet: usize,
    forward: Outlet,
    /// Heads of a dead predecessor, to be done again first.
    again: VecDeque<Held>,
    /// Finished heads that the ring did not take yet.
    stuck: VecDeque<Held>,
    /// A frame that killed a predecessor is in the engine, alone.
    suspect: bool,
}

impl Infer {
    /// Loads and warms up every network; touches no shared memory.
    pub fn prepare(pipeline: &Pipeline, attached: &Attached) -> Result<Self, Stop> {
        let count = pipeline.networks.len();
        if count == 0 {
            return Err(Stop::Configuration("the supervisor did not say what the model takes".to_owned()));
        }
        let models: Vec<Model> = (0..count).map(|n| Model::load(pipeline, n, attached)).collect::<Result<_, _>>()?;
        let max_batch = models.iter().map(|model| model.max_batch).max().unwrap_or(1);
        let warm_up_ns = models.iter().map(|model| model.warm_up_ns).max().unwrap_or(0);
        let max_wait_ns = u64::from(pipeline.infer.max_wait_us) * 1000;
        Ok(Self { models, max_wait_ns, warm_up_ns, batch: Vec::with_capacity(max_batch), live: None })
    }

    /// Takes back what the engines have finished.
    fn collect(&mut self, cx: &Context) -> Result<usize, Stop> {
        let Some(live) = &mut self.live else { return Ok(0) };
        let mut done = 0;
        for model in &mut self.models {
            while let Some(finished) = model.engine.poll() {
                let Some(at) = model.flying.iter().position(|f| u64::from(f.head.index()) == finished.ticket.0) else {
                    tracing::error!("the engine handed back a ticket that is not out: {:?}", finished.ticket);
                    continue;
                };
                let mut frame = model.flying.swap_remove(at);
                done += 1;
                live.suspect = false;
                match finished.result {
                    Ok(()) => model.note_success(cx, &mut frame),
                    Err(error) => fail(cx, &frame.head, &error.to_string()),
                }
                live.stuck.push_back(frame.head);
            }
        }
        if done > 0 {
            let expected_ns = self.models.iter().map(|model| model.expectation.ns()).max().unwrap_or(0);
            cx.page.counters[InferCounter::ExpectedNs as usize].store(expected_ns, Ordering::Relaxed);
            if self.models.iter().all(|model| model.flying.is_empty()) {
                cx.page.clear_current();
            }
        }
        live.hand_on()?;
        Ok(done)
    }

    /// Takes one frame up: it waits for its network then, or is refused because it would be late. False if there was none to take.
    fn take(&mut self, cx: &Context) -> Result<bool, Stop> {
        let Some(live) = &mut self.live else { return Ok(false) };
        if live.suspect || !live.stuck.is_empty() || !live.forward.ready() || !self.models.iter().all(Model::has_room) {
            return Ok(false);
        }
        let is_busy = self.models.iter().any(|model| model.holds() > 0);
        if is_busy && live.again.front().is_some_and(|head| killed_somebody(cx, head)) {
            return Ok(false);
        }
        let Some((head, is_again)) = live.next(cx)? else { return Ok(false) };
        reach(KillPoint::InHand);
        let now_ns = now_ns();
        if cx.table.of(&head).fate().is_some() {
            live.stuck.push_back(head);
            return live.hand_on().map(|()| true);
        }
        let extension = &cx.arena.extensions()[head.index() as usize];
        let record = cx.arena.record(head.index()).ok();
        let model = self.models.get_mut(extension.model());
        // The record is sound, the network is one of ours, and a tensor that is said to lie in the packet lies where the packet's payload does.
        let sound = record.zip(model).filter(|((_, place), _)| {
            extension.input_in_packet().is_none_or(|at| at == usize::from(place.data.offset))
        });
        let Some(((meta, _), model)) = sound else {
            cx.page.add(InferCounter::Damaged as usize, 1);
            return live.drop_head(cx, head, DropReason::Damaged).map(|()| true);
        };
        let ahead = model.holds() / model.max_batch;
        if !model.expectation.in_time(now_ns, ahead, meta.deadline_ns) {
            cx.page.add(InferCounter::Late as usize, 1);
            if now_ns < meta.deadline_ns {
                model.expectation.refused();
            }
            return live.drop_head(cx, head, DropReason::Deadline).map(|()| true);
        }
        if killed_somebody(cx, &head) {
            live.suspect = true;
            cx.page.add(InferCounter::Suspects as usize, 1);
            cx.page.note(now_ns, Event::Suspect, head.index());
        }
        extension.set_moment(Moment::InferStart, now_ns);
        cx.page.wait.record(now_ns.saturating_sub(extension.moment(Moment::PreprocessEnd)));
        let in_packet = extension.input_in_packet().map(|at| (at, model.input_bytes));
        let (arrival_ns, deadline_ns) = (meta.arrival_ns, meta.deadline_ns);
        model.waiting.push(Frame { head, in_packet, arrival_ns, deadline_ns, since_ns: now_ns });
        // Of frames that are done again, one may be what killed a predecessor: in company nobody could say which.
        model.is_urgent |= is_again;
        Ok(true)
    }

    /// Submits what waits and must not wait longer: for `company`, there is nobody to wait for. Returns how many frames went.
    fn submit_due(&mut self, cx: &Context, company: bool) -> Result<usize, Stop> {
        let Some(live) = &mut self.live else { return Ok(0) };
        let mut submitted = 0;
        for model in &mut self.models {
            if model.waiting.is_empty() {
                continue;
            }
            let is_due = model.is_due(now_ns(), self.max_wait_ns);
            // Whoever is in the ring already is company that costs no waiting.
            if model.is_urgent || model.is_full() || is_due && (!company || self.max_wait_ns > 0) {
                submitted += model.submit(cx, &mut self.batch, &mut live.stuck);
            }
        }
        if !live.stuck.is_empty() {
            live.suspect = false;
            live.hand_on()?;
        }
        Ok(submitted)
    }
}

/// A predecessor died of this frame, perhaps.
fn killed_somebody(cx: &Context, head: &Held) -> bool {
    cx.table.of(head).attempts.load(Ordering::Relaxed) > 0
}

/// The engine could not do it; the frame is not lost but dropped, with a status.
pub(crate) fn fail(cx: &Context, head: &Held, error: &str) {
    cx.page.add(InferCounter::Errors as usize, 1);
    tracing::error!("inference failed: {error}");
    cx.table.of(head).set_fate(Fate { kind: FateKind::Dropped, reason: DropReason::Other.code() });
}

impl Live {
    /// The next head, and whether it is one that is done again.
    fn next(&mut self, cx: &Context) -> Result<Option<(Held, bool)>, Stop> {
        if let Some(head) = self.again.pop_front() {
            return Ok(Some((head, true)));
        }
        for _ in 0..self.inlets.len() {
            self.next_inlet = (self.next_inlet + 1) % self.inlets.len();
            if let Some(head) = self.inlets[self.next_inlet].pop_one(cx)? {
                return Ok(Some((head, false)));
            }
        }
        Ok(None)
    }

    /// Whether a head waits to be taken.
    fn has_more(&self) -> bool {
        !self.again.is_empty() || self.inlets.iter().any(|inlet| !inlet.is_empty())
    }

    fn drop_head(&mut self, cx: &Context, head: Held, reason: DropReason) -> Result<(), Stop> {
        cx.table.of(&head).set_fate(Fate { kind: FateKind::Dropped, reason: reason.code() });
        self.stuck.push_back(head);
        self.hand_on()
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
            stuck: VecDeque::with_capacity(cx.table.len() as usize),
            suspect: false,
        };
        if let [only] = &mut self.models[..] {
            // What a predecessor knew; of several networks it would be the slowest one's time.
            only.expectation = Expectation::new(cx.page.counter(InferCounter::ExpectedNs as usize));
        }
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
            if !self.take(cx)? {
                break;
            }
            done += 1;
            let company = self.live.as_ref().is_some_and(Live::has_more);
            self.submit_due(cx, company)?;
            // A synchronous engine is done by now: its frames go on before the next one begins.
            done += self.collect(cx)?;
            if let Some(live) = &mut self.live {
                live.forward.flush(cx);
            }
            // Answers go first.
            self.models.iter_mut().filter_map(|model| model.shadow.as_mut()).for_each(|shadow| shadow.run(cx));
            // Each inference counts as a turn: alive, and holding so much.
            cx.page.held_buffers.store(self.holds().0, Ordering::Relaxed);
            cx.page.heartbeat_ns.store(now_ns(), Ordering::Relaxed);
        }
        done += self.submit_due(cx, false)?;
        done += self.collect(cx)?;
        if let Some(live) = &mut self.live {
            live.forward.flush(cx);
        }
        self.models.iter_mut().filter_map(|model| model.shadow.as_mut()).for_each(|shadow| shadow.run(cx));
        Ok(done)
    }

    /// Exactly what [`Self::take`] and [`Live::hand_on`] ask: more would keep this stage spinning while tx is behind, and less
    /// would let it sleep through the doorbell that tx rang between the last poll and this look.
    fn has_input(&self, cx: &Context) -> bool {
        let Some(live) = &self.live else { return false };
        if !live.forward.would_be_ready() {
            return false;
        }
        if !live.stuck.is_empty() {
            return true;
        }
        if live.suspect || !self.models.iter().all(Model::has_room) {
            return false;
        }
        match live.again.front() {
            Some(head) => !killed_somebody(cx, head) || self.models.iter().all(|model| model.holds() == 0),
            None => live.inlets.iter().any(|i| !i.is_empty()),
        }
    }

    fn timer_ns(&self, _: &Context) -> Option<u64> {
        let asks = self.models.iter().any(|model| model.engine.in_flight() > 0).then(|| now_ns() + ASK_NS);
        let due = self.models.iter().filter_map(|model| model.due_ns(self.max_wait_ns));
        asks.into_iter().chain(due).min()
    }

    fn drain(&mut self, cx: &mut Context) -> Result<bool, Stop> {
        self.models.iter_mut().for_each(|model| model.is_urgent = true);
        self.submit_due(cx, false)?;
        self.collect(cx)?;
        let Some(live) = &mut self.live else { return Ok(true) };
        live.forward.flush(cx);
        Ok(self.models.iter().all(|model| model.holds() == 0))
    }

    fn reload(&mut self, _: &Pipeline) {}

    fn holds(&self) -> (u64, u64) {
        let held = self.live.as_ref().map_or(0, |live| live.again.len() + live.stuck.len());
        let loaded: usize = self.models.iter().map(Model::holds).sum();
        ((held + loaded) as u64, 0)
    }
}
