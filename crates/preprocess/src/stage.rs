//! The stage: one head at a time, from its packets into a slot.

use crate::element;
use crate::gather::{Made, Refusal, copy, gather, reason_of};
use crate::image::{Geometry, Source};
use crate::model::{Inputs, pixel_format};
use ::stage::{Context, Inlets, Outlet, Spread, Stage, Stop, recycle};
use arena::Held;
use arena::counters::PreCounter;
use arena::descriptor::{Fate, FateKind, Role};
use arena::killpoint::{KillPoint, reach};
use arena::launch::Attached;
use arena::layout::TENSOR_ALIGN;
use arena::meta::{FrameMeta, Moment};
use arena::now_ns;
use arena::page::Event;
use arena::record::Place;
use arena::topology::RingKind;
use config::Pipeline;
use std::collections::VecDeque;
use wire::{BadRequestReason, DropReason, Encoding};
use zerocopy::FromBytes;

/// Frames done in one turn at most, so that heartbeat and control word are looked at in between.
const BURST: usize = 8;

/// preprocess.
#[derive(Debug)]
pub struct Preprocess {
    inputs: Inputs,
    segments: Vec<&'static [u8]>,
    spread: config::Spread,
    live: Option<Live>,
}

#[derive(Debug)]
struct Live {
    inlet: Inlets,
    slots: Inlets,
    forward: Spread,
    status: Outlet,
    /// Heads of a dead predecessor, to be done again first.
    again: VecDeque<Held>,
    /// Slots of a dead predecessor.
    spare: Vec<Held>,
    /// A finished head that no ring took yet.
    stuck: Option<(Held, u32)>,
}

impl Preprocess {
    /// Allocates everything; touches no shared memory.
    pub fn prepare(pipeline: &Pipeline, attached: &Attached) -> Result<Self, Stop> {
        let inputs = Inputs::new(pipeline)?;
        let room = attached.arena.geometry().slot_input_bytes;
        if let Some(input) = inputs.models.iter().find(|input| input.bytes as u64 > room) {
            let text =
                format!("a model takes {} bytes, the arena's slots have {room}; restart the pipeline", input.bytes);
            return Err(Stop::Configuration(text));
        }
        let segments = Vec::with_capacity(attached.arena.geometry().buffers as usize);
        Ok(Self { inputs, segments, spread: pipeline.preprocess.spread, live: None })
    }

    /// One frame. True if a head was finished or refused.
    fn step(&mut self, cx: &Context) -> Result<bool, Stop> {
        let Some(live) = &mut self.live else { return Ok(false) };
        if let Some((head, stream)) = live.stuck.take()
            && !live.hand_on(head, stream)?
        {
            return Ok(false);
        }
        let Some(head) = live.next(cx)? else { return Ok(false) };
        reach(KillPoint::InHand);
        cx.begin(&head);
        let outcome = self.work(cx, head);
        cx.page.clear_current();
        outcome.map(|()| true)
    }

    fn work(&mut self, cx: &Context, mut head: Held) -> Result<(), Stop> {
        let extension = &cx.arena.extensions()[head.index() as usize];
        let d = cx.table.of(&head);
        let Some(live) = &mut self.live else { return Ok(()) };
        if d.fate().is_some() {
            return live.status.push_roomy(head);
        }
        if d.attempts.load(arena::sync::Ordering::Relaxed) > 0 {
            cx.page.note(cx.now_ns, Event::Suspect, head.index());
        }
        let start = now_ns();
        let Ok((meta, place)) = cx.arena.record(head.index()) else {
            cx.page.add(PreCounter::Damaged as usize, 1);
            return live.refuse(cx, head, FateKind::Dropped, DropReason::Damaged.code());
        };
        if meta.deadline_ns != 0 && meta.deadline_ns <= start {
            cx.page.add(PreCounter::Late as usize, 1);
            return live.refuse(cx, head, FateKind::Dropped, DropReason::Deadline.code());
        }
        let Some(mut slot) = live.slot_for(cx, &head)? else {
            // Somebody has every slot; `next` looked before it took the head, so this is a replayed one: it waits.
            live.again.push_front(head);
            return Ok(());
        };
        extension.set_moment(Moment::PreprocessStart, start);
        let model = self.inputs.of(meta.stream);
        let made = self.make(cx, &meta, place, model, (&mut head, &mut slot));
        let Some(live) = &mut self.live else { return Ok(()) };
        match made {
            Err(Refusal::Bad(reason)) => {
                live.spare.push(slot);
                cx.page.add(PreCounter::Bad as usize, 1);
                live.refuse(cx, head, FateKind::BadRequest, reason.code())
            }
            Err(Refusal::Damaged) => {
                live.spare.push(slot);
                cx.page.add(PreCounter::Damaged as usize, 1);
                live.refuse(cx, head, FateKind::Dropped, DropReason::Damaged.code())
            }
            Ok(made) => {
                count(cx, &made);
                extension.set_input(if let Made::InPlace(at) = made { Some(at) } else { None }, model);
                cx.table.attach_slot(&head, slot);
                let end = now_ns();
                extension.set_moment(Moment::PreprocessEnd, end);
                cx.page.wait.record(start.saturating_sub(extension.moment(Moment::Admitted)));
                cx.page.work.record(end - start);
                cx.page.since_arrival.record(end.saturating_sub(meta.arrival_ns));
                live.hand_on(head, meta.stream).map(|_| ())
            }
        }
    }

    /// The tensor of `model`, in place or into the slot.
    fn make(
        &mut self,
        cx: &Context,
        meta: &FrameMeta,
        place: Place,
        model: u16,
        (head, slot): (&mut Held, &mut Held),
    ) -> Result<Made, Refusal> {
        let encoding = Encoding::from_u8(meta.encoding).ok_or(BadRequestReason::UnsupportedEncoding)?;
        let input = self.inputs.models.get_mut(usize::from(model)).ok_or(Refusal::Damaged)?;
        let is_tensor = matches!(encoding, Encoding::TensorF32 | Encoding::TensorRaw);
        if is_tensor {
            if encoding == Encoding::TensorF32 && !input.is_f32 {
                return Err(BadRequestReason::UnsupportedEncoding.into());
            }
            if meta.total_len as usize != input.bytes {
                return Err(BadRequestReason::WrongSize.into());
            }
            if place.count == 1 && u64::from(place.data.offset).is_multiple_of(TENSOR_ALIGN) {
                return Ok(Made::InPlace(place.data.offset));
            }
        }
        let area = cx.arena.slot_input_mut(slot);
        let tensor = area.get_mut(..input.bytes).ok_or(BadRequestReason::WrongSize)?;
        let mut parts = recycle(std::mem::take(&mut self.segments));
        let gathered = gather(cx, head, place, &mut parts);
        let made = gathered.and_then(|()| match (&mut input.image, encoding) {
            _ if is_tensor => copy(&parts, tensor),
            (None, _) => Err(BadRequestReason::UnsupportedEncoding.into()),
            (Some(image), _) => {
                let geometry = Geometry { width: meta.width, height: meta.height, format: pixel_format(encoding) };
                let report = if input.is_f32 {
                    let tensor = <[f32]>::mut_from_bytes(tensor).map_err(|_| BadRequestReason::WrongSize)?;
                    image.run(&Source::new(&parts), geometry, tensor).map_err(|e| reason_of(&e))?
                } else {
                    let numbers = &mut input.numbers;
                    let report = image.run(&Source::new(&parts), geometry, numbers).map_err(|e| reason_of(&e))?;
                    element::write(numbers, input.dtype, tensor);
                    report
                };
                Ok(Made::Written { decoded: report.decoded, copied_bytes: report.copied_bytes })
            }
        });
        self.segments = recycle(parts);
        made
    }
}

fn count(cx: &Context, made: &Made) {
    cx.page.add(PreCounter::Frames as usize, 1);
    match made {
        Made::InPlace(_) => cx.page.add(PreCounter::InPlace as usize, 1),
        Made::Written { decoded, copied_bytes } => {
            cx.page.add(PreCounter::Decoded as usize, u64::from(*decoded));
            cx.page.add(PreCounter::Copies as usize, u64::from(*copied_bytes > 0));
            cx.page.add(PreCounter::CopiedBytes as usize, *copied_bytes as u64);
        }
    }
}

impl Live {
    fn open(cx: &mut Context, spread: config::Spread) -> Result<Self, Stop> {
        let mut live = Self {
            inlet: Inlets::new(cx.inlets(RingKind::Forward)),
            slots: Inlets::new(cx.inlets(RingKind::Slots)),
            forward: Spread::new(cx.outlets(RingKind::Forward), spread),
            status: cx.outlet(RingKind::Status),
            again: VecDeque::with_capacity(cx.table.len() as usize),
            spare: Vec::with_capacity(cx.table.len() as usize),
            stuck: None,
        };
        let mut recovery = cx.recovery();
        while let Some(held) = recovery.pop()? {
            match cx.table.of(&held).role() {
                Role::Slot => live.spare.push(held),
                _ => live.again.push_back(held),
            }
        }
        cx.page.note(cx.now_ns, Event::Recovered, (live.again.len() + live.spare.len()) as u32);
        Ok(live)
    }

    /// The next head, if there is one, a slot for it, and a ring that will take it.
    fn next(&mut self, cx: &Context) -> Result<Option<Held>, Stop> {
        if !self.forward.any_ready() {
            return Ok(None);
        }
        if let Some(head) = self.again.front() {
            return Ok(if self.can_do(cx, head) { self.again.pop_front() } else { None });
        }
        if !self.has_slot() {
            if !self.inlet.is_empty() {
                cx.page.add(PreCounter::SlotWaits as usize, 1);
            }
            return Ok(None);
        }
        Ok(self.inlet.pop_one(cx)?)
    }

    fn has_slot(&self) -> bool {
        !self.spare.is_empty() || !self.slots.is_empty()
    }

    /// Whether a head of a dead predecessor can be done now: it has a slot, gets one, or needs none.
    fn can_do(&self, cx: &Context, head: &Held) -> bool {
        self.has_slot() || cx.table.slot_of(head.index()).is_some() || cx.table.of(head).fate().is_some()
    }

    /// The slot that a head has already (from a predecessor that died after attaching it), or a free one.
    fn slot_for(&mut self, cx: &Context, head: &Held) -> Result<Option<Held>, Stop> {
        if let Some(slot) = cx.table.detach_slot(head, cx.me) {
            return Ok(Some(slot));
        }
        match self.spare.pop() {
            Some(slot) => Ok(Some(slot)),
            None => Ok(self.slots.pop_one(cx)?),
        }
    }

    /// To an infer instance; false if none takes it now.
    fn hand_on(&mut self, head: Held, stream: u32) -> Result<bool, Stop> {
        let back = match self.forward.pick(stream) {
            Some(outlet) => outlet.push(head)?,
            None => Some(head),
        };
        self.stuck = back.map(|head| (head, stream));
        Ok(self.stuck.is_none())
    }

    fn refuse(&mut self, cx: &Context, head: Held, kind: FateKind, reason: u8) -> Result<(), Stop> {
        cx.table.of(&head).set_fate(Fate { kind, reason });
        reach(KillPoint::FateRecorded);
        self.status.push_roomy(head)
    }

    fn flush(&mut self, cx: &Context) {
        self.forward.flush(cx);
        self.status.flush(cx);
    }
}

impl Stage for Preprocess {
    fn activate(&mut self, cx: &mut Context) -> Result<(), Stop> {
        self.live = Some(Live::open(cx, self.spread)?);
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context) -> Result<usize, Stop> {
        let mut done = 0;
        while done < BURST && self.step(cx)? {
            done += 1;
            // Each frame is worth a wake-up of its own: the next one may take long.
            if let Some(live) = &mut self.live {
                live.flush(cx);
            }
        }
        Ok(done)
    }

    /// Exactly what [`Live::next`] and [`Live::hand_on`] ask: more would keep this stage spinning while infer is behind, and
    /// less would let it sleep through the doorbell that infer rang between the last poll and this look.
    fn has_input(&self, cx: &Context) -> bool {
        let Some(live) = &self.live else { return false };
        if let Some((_, stream)) = &live.stuck {
            return live.forward.would_pick(*stream);
        }
        live.forward.any_would_be_ready()
            && match live.again.front() {
                Some(head) => live.can_do(cx, head),
                None => live.has_slot() && !live.inlet.is_empty(),
            }
    }

    fn drain(&mut self, cx: &mut Context) -> Result<bool, Stop> {
        if let Some(live) = &mut self.live {
            live.flush(cx);
        }
        Ok(true)
    }

    fn reload(&mut self, pipeline: &Pipeline) {
        self.inputs.reload(pipeline);
    }

    fn holds(&self) -> (u64, u64) {
        let Some(live) = &self.live else { return (0, 0) };
        ((live.again.len() + usize::from(live.stuck.is_some())) as u64, live.spare.len() as u64)
    }
}
