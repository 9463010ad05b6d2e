//! preprocess, infer and tx: each checks what it was given, does work that can be repeated, and hands on.

use crate::frames::{Part, holds, packets, payload, reply_mut, write};
use crate::life::{Context, Stage};
use crate::world::{INFER, PRE};
use arena::Held;
use arena::descriptor::{Fate, FateKind};
use arena::ring::{Consumer, Producer};
use arena::topology::{RX, RingKind, TX};
use std::collections::VecDeque;

/// Heads taken at once.
pub const BURST: usize = 8;
/// How every frame ends here.
pub const FATE: Fate = Fate { kind: FateKind::Answered, reason: 0 };

/// The frame that a head belongs to.
pub fn frame_of(cx: &Context, head: &Held) -> u64 {
    cx.arena.frame_meta(head.index()).unwrap_or_else(|damaged| cx.broken(&damaged.to_string())).frame
}

/// The input of a stage: what its predecessor left, then its ring.
pub struct Intake {
    ring: Consumer<'static>,
    todo: VecDeque<Held>,
    batch: Vec<Held>,
    turn: u32,
}

impl Intake {
    pub fn new(ring: Consumer<'static>, again: Vec<Held>) -> Self {
        Self { ring, todo: again.into(), batch: Vec::with_capacity(BURST), turn: 0 }
    }

    /// Looks at the ring when there is nothing in hand; one by one at times, mostly in batches.
    pub fn fill(&mut self, cx: &Context) {
        if !self.todo.is_empty() {
            return;
        }
        self.turn = self.turn.wrapping_add(1);
        if self.turn.is_multiple_of(4) {
            self.todo.extend(cx.checked(self.ring.pop()));
        } else {
            cx.checked(self.ring.pop_batch(&mut self.batch, BURST));
            self.todo.extend(self.batch.drain(..));
        }
    }

    pub fn next(&mut self) -> Option<Held> {
        self.todo.pop_front()
    }

    pub fn put_back(&mut self, head: Held) {
        self.todo.push_front(head);
    }

    pub fn in_hand(&self) -> u64 {
        self.todo.len() as u64
    }
}

/// Works on what is in hand as long as the next ring has room and `work` can go on; how many went on.
fn forward(
    cx: &Context,
    intake: &mut Intake,
    out: &mut Producer<'static>,
    mut work: impl FnMut(&mut Held) -> bool,
) -> usize {
    let mut done = 0;
    while let Some(mut head) = intake.next() {
        if cx.checked(out.room(1)) == 0 || !work(&mut head) {
            intake.put_back(head);
            break;
        }
        cx.push(out, head);
        done += 1;
    }
    done
}

/// Packets to tensor.
pub struct Preprocess {
    intake: Intake,
    slots: Consumer<'static>,
    spare: Vec<Held>,
    out: Producer<'static>,
}

impl Preprocess {
    pub fn activate(cx: &Context) -> Self {
        let (spare, heads) = cx.recovered().into_iter().partition(|h| cx.table.is_slot(h.index()));
        let intake = Intake::new(cx.consumer(RingKind::Forward, RX), heads);
        let slots = cx.consumer(RingKind::Slots, RX);
        Self { intake, slots, spare, out: cx.producer(RingKind::Forward, INFER) }
    }

    fn work(&mut self, cx: &Context) -> usize {
        let Self { intake, slots, spare, out } = self;
        forward(cx, intake, out, |head| {
            let frame = frame_of(cx, head);
            check_packets(cx, head, frame);
            // One that a dead predecessor attached is taken back, and written and attached again.
            let slot = cx.table.detach_slot(head, cx.me).or_else(|| spare.pop());
            let Some(mut slot) = slot.or_else(|| cx.checked(slots.pop())) else { return false };
            write(cx.arena.slot_input_mut(&mut slot), frame, Part::Tensor);
            cx.table.attach_slot(head, slot);
            true
        })
    }
}

impl Stage for Preprocess {
    fn poll(&mut self, cx: &Context) -> usize {
        self.intake.fill(cx);
        self.work(cx)
    }

    fn drain(&mut self, cx: &Context) -> bool {
        self.work(cx);
        self.intake.in_hand() == 0
    }

    fn holds(&self) -> (u64, u64) {
        (self.intake.in_hand(), self.spare.len() as u64)
    }
}

/// Every packet of the frame must be that frame's, in order.
pub fn check_packets(cx: &Context, head: &Held, frame: u64) {
    if !holds(payload(cx.arena.packet(head)), frame, Part::Packet(0)) {
        cx.broken(&format!("head {}: its packet is not that of frame {frame}", head.index()));
    }
    let (mut segments, mut n) = (cx.table.segments(head.index()), 1);
    for (index, _) in segments.by_ref() {
        if !holds(payload(cx.arena.packet_of(head, index)), frame, Part::Packet(n)) {
            cx.broken(&format!("head {}: segment {index} is not packet {n} of frame {frame}", head.index()));
        }
        n += 1;
    }
    if segments.failed().is_some() || n != packets(frame) {
        cx.broken(&format!("head {}: {n} packets of frame {frame} found, it has {}", head.index(), packets(frame)));
    }
}

/// Tensor to result.
pub struct Infer {
    intake: Intake,
    out: Producer<'static>,
}

impl Infer {
    pub fn activate(cx: &Context) -> Self {
        let intake = Intake::new(cx.consumer(RingKind::Forward, PRE), cx.recovered());
        Self { intake, out: cx.producer(RingKind::Forward, TX) }
    }

    fn work(&mut self, cx: &Context) -> usize {
        forward(cx, &mut self.intake, &mut self.out, |head| {
            let (frame, index) = (frame_of(cx, head), head.index());
            let Some((input, output)) = cx.arena.inference(head, None) else {
                cx.broken(&format!("head {index}: frame {frame} came without a slot"))
            };
            let before = holds(input, frame, Part::Tensor);
            write(output, frame, Part::Result);
            // Nobody may write to it while its head is here.
            if !before || !holds(input, frame, Part::Tensor) {
                cx.broken(&format!("head {index}: the tensor is not that of frame {frame}, or torn"));
            }
            true
        })
    }
}

impl Stage for Infer {
    fn poll(&mut self, cx: &Context) -> usize {
        self.intake.fill(cx);
        self.work(cx)
    }

    fn drain(&mut self, cx: &Context) -> bool {
        self.work(cx);
        self.intake.in_hand() == 0
    }

    fn holds(&self) -> (u64, u64) {
        (self.intake.in_hand(), 0)
    }
}

/// Result to reply.
pub struct Tx {
    intake: Intake,
    out: Producer<'static>,
}

impl Tx {
    pub fn activate(cx: &Context) -> Self {
        let intake = Intake::new(cx.consumer(RingKind::Forward, INFER), cx.recovered());
        Self { intake, out: cx.producer(RingKind::Home, RX) }
    }

    fn work(&mut self, cx: &Context) -> usize {
        forward(cx, &mut self.intake, &mut self.out, |head| {
            let (frame, index) = (frame_of(cx, head), head.index());
            let Some((packet, result)) = cx.arena.reply_areas(head) else {
                cx.broken(&format!("head {index}: frame {frame} came to tx without a slot"))
            };
            if !holds(result, frame, Part::Result) {
                cx.broken(&format!("head {index}: the result is not that of frame {frame}"));
            }
            write(reply_mut(packet), frame, Part::Reply);
            let d = cx.table.of(head);
            d.set_fate(FATE);
            d.settle();
            true
        })
    }
}

impl Stage for Tx {
    fn poll(&mut self, cx: &Context) -> usize {
        self.intake.fill(cx);
        self.work(cx)
    }

    fn drain(&mut self, cx: &Context) -> bool {
        self.work(cx);
        self.intake.in_hand() == 0
    }

    fn holds(&self) -> (u64, u64) {
        (self.intake.in_hand(), 0)
    }
}
