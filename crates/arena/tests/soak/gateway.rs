//! rx-gateway: makes frames, admits them, takes apart what comes home; and takes over from a dead predecessor.

use crate::frames::{Part, holds, packets, payload_mut, reply, write};
use crate::life::{Context, Stage};
use crate::middle::{FATE, Intake, check_packets, frame_of};
use crate::world::PRE;
use arena::Held;
use arena::descriptor::{DataRange, Descriptor, NONE, Role, is_attached};
use arena::frame::take_apart;
use arena::gateway::{Line, Operation};
use arena::layout::DATA_OFFSET;
use arena::meta::FrameMeta;
use arena::reclaim::Marks;
use arena::record::Place;
use arena::ring::Producer;
use arena::sync::Ordering;
use arena::topology::{RX, RingKind, TX};
use std::collections::VecDeque;
use std::convert::Infallible;

/// New frames made in one turn.
const BURST: usize = 8;

pub struct Gateway {
    home: Intake,
    /// Admitted by a predecessor and not sent on.
    again: VecDeque<Held>,
    out: Producer<'static>,
    slots: Producer<'static>,
    free: Vec<Held>,
}

impl Gateway {
    /// Order as in the shipped stage: the recovery ring, the journal's line, then all that the words give.
    pub fn activate(cx: &Context) -> Self {
        let mut heads = cx.recovered();
        let mut gateway = Self {
            home: Intake::new(cx.consumer(RingKind::Home, TX), Vec::new()),
            again: VecDeque::new(),
            out: cx.producer(RingKind::Forward, PRE),
            slots: cx.producer(RingKind::Slots, PRE),
            free: Vec::with_capacity(cx.table.buffers() as usize),
        };
        if let Some(line) = cx.arena.gateway(RX).unwrap().journal.pending() {
            gateway.repeat(cx, &line, &mut heads);
        }
        gateway.scan(cx, &mut heads);
        for head in heads {
            if cx.table.of(&head).fate().is_some() {
                gateway.dissolve(cx, head);
            } else {
                gateway.again.push_back(head);
            }
        }
        gateway
    }

    fn repeat(&mut self, cx: &Context, line: &Line, heads: &mut Vec<Held>) {
        let page = cx.arena.gateway(RX).unwrap();
        match line.operation {
            Operation::Admit => page.repeat_admit(cx.table, line),
            Operation::Dissolve => {
                page.set(line);
                // If the head is not here it was free already, and only the end was missing.
                if let Some(at) = heads.iter().position(|h| h.index() == line.index) {
                    self.take_apart(cx, line, heads.swap_remove(at));
                }
                page.journal.end();
            }
            Operation::Packet => cx.broken("a line of an operation that nobody performs here"),
        }
    }

    /// Adopts by words and roles. A frame that was not admitted is given up; its number goes to the next one.
    fn scan(&mut self, cx: &Context, heads: &mut Vec<Held>) {
        let (mut marks, rings) = (Marks::new(cx.table.len()), cx.arena.rings_of(RX));
        let marked = marks.mark(&rings).to_vec();
        for (index, d) in cx.table.iter() {
            let (word, role) = (d.owner(), d.role());
            let mine = word.is_older(cx.me) && !marked[index as usize];
            let orphan = is_attached(word) && cx.table.get(word.incarnation).map(Descriptor::role) != Some(Role::Head);
            if !mine && !orphan {
                continue;
            }
            let taken = if mine { cx.table.adopt(index, cx.me) } else { cx.table.take(index, cx.me) };
            let Some(held) = taken else { continue };
            match role {
                Role::Slot => cx.push(&mut self.slots, held),
                Role::Head => heads.push(held),
                Role::Free | Role::Assembling | Role::Segment => {
                    d.set_role(Role::Free);
                    self.free.push(held);
                }
            }
        }
    }

    /// Makes the next frame and sends it; false if there is no buffer or no room for it.
    fn admit(&mut self, cx: &Context) -> bool {
        let page = cx.arena.gateway(RX).unwrap();
        let frame = page.received.load(Ordering::Relaxed) + 1;
        let n = packets(frame);
        if cx.checked(self.out.room(1)) == 0 || (self.free.len() as u64) < n {
            return false;
        }
        let Some(head) = self.fill(cx, frame, 0) else { return false };
        let mut next = NONE;
        for packet in (1..n).rev() {
            let Some(segment) = self.fill(cx, frame, packet) else { cx.broken("fewer free buffers than counted") };
            let index = segment.index();
            cx.table.attach_segment(&head, segment, next);
            next = index;
        }
        let d = cx.table.of(&head);
        d.next.store(next, Ordering::Relaxed);
        d.segments.store(n as u32 - 1, Ordering::Relaxed);
        page.admit(cx.table, &head);
        cx.push(&mut self.out, head);
        true
    }

    /// A free buffer becomes packet `n` of a frame.
    fn fill(&mut self, cx: &Context, frame: u64, n: u64) -> Option<Held> {
        let mut held = self.free.pop()?;
        write(payload_mut(cx.arena.packet_mut(&mut held)), frame, Part::Packet(n));
        let d = cx.table.of(&held);
        d.reset();
        let data = DataRange { offset: DATA_OFFSET, len: crate::frames::PACKET_BYTES as u16 };
        let place = Place { data, fragment: n as u16, count: packets(frame) as u16 };
        cx.arena.write_record(&held, &FrameMeta { frame, ..FrameMeta::default() }, place);
        d.set_role(Role::Assembling);
        Some(held)
    }

    /// A frame that came home has passed every stage; it is counted once.
    fn dissolve(&mut self, cx: &Context, head: Held) {
        let (page, index, frame) = (cx.arena.gateway(RX).unwrap(), head.index(), frame_of(cx, &head));
        let d = cx.table.of(&head);
        if d.fate() != Some(FATE) || !holds(reply(cx.arena.packet(&head)), frame, Part::Reply) {
            cx.broken(&format!("head {index}: frame {frame} came home without its own reply"));
        }
        check_packets(cx, &head, frame);
        if cx.finished.has(frame) {
            cx.broken(&format!("head {index}: frame {frame} came home twice"));
        }
        let line = page.begin_dissolve(cx.table, &head, FATE, Some((0, &cx.arena.streams(RX)[0])));
        self.take_apart(cx, &line, head);
        page.journal.end();
    }

    /// Every step may be repeated; the head is freed last.
    fn take_apart(&mut self, cx: &Context, line: &Line, head: Held) {
        let frame = frame_of(cx, &head);
        cx.finished.note(frame);
        let (slots, free) = (&mut self.slots, &mut self.free);
        let send = |slot| {
            cx.push(slots, slot);
            Ok::<_, Infallible>(())
        };
        let history = Some((&cx.arena.streams(RX)[0], frame));
        let Ok(()) = take_apart(cx.table, cx.me, line, head, history, send, |held| free.push(held));
    }

    fn take_home(&mut self, cx: &Context) -> usize {
        let mut done = 0;
        while let Some(head) = self.home.next() {
            self.dissolve(cx, head);
            done += 1;
        }
        done
    }

    fn send_again(&mut self, cx: &Context) -> usize {
        let mut done = 0;
        while !self.again.is_empty() && cx.checked(self.out.room(1)) > 0 {
            if let Some(head) = self.again.pop_front() {
                cx.push(&mut self.out, head);
                done += 1;
            }
        }
        done
    }
}

impl Stage for Gateway {
    fn poll(&mut self, cx: &Context) -> usize {
        self.home.fill(cx);
        let mut done = self.take_home(cx) + self.send_again(cx);
        let paused = cx.arena.supervisor().ingress_paused.load(Ordering::Relaxed) != 0;
        for _ in 0..BURST {
            if paused || !self.again.is_empty() || !self.admit(cx) {
                break;
            }
            done += 1;
        }
        done
    }

    fn drain(&mut self, cx: &Context) -> bool {
        self.take_home(cx);
        self.send_again(cx);
        self.home.in_hand() == 0 && self.again.is_empty()
    }

    fn holds(&self) -> (u64, u64) {
        (self.home.in_hand() + (self.again.len() + self.free.len()) as u64, 0)
    }
}
