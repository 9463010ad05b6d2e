//! The sending half: which datagram is next, when it is due, and whether the kernel took it.

use std::io::Error;

use wire::{Fragmenter, FrameKey, RequestHeader};

use super::impair::Impairer;
use super::outstanding::Outstanding;
use super::plan::SendPlan;
use super::report::{Datagrams, Unsent};
use super::schedule::Schedule;
use super::socket::{ClientSocket, Handed};
use super::statistics::Distribution;

/// A frame that is due for longer than this is not sent any more: its answer would tell nothing about the pipeline.
const LATENESS_MAX_NS: u64 = 1_000_000_000;
/// How long beyond the frame's interval the kernel may have no room for its datagrams.
const PATIENCE_NS: u64 = 20_000_000;
/// Room for any UDP datagram.
const DATAGRAM_ROOM: usize = 65_536;

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something was done; there may be more.
    Progress,
    /// A frame was handed over completely.
    FrameSent,
    /// Nothing is due before this time.
    Idle { until_ns: u64 },
    /// The window is full (rate 0).
    WindowFull,
    /// The kernel has no room.
    NoRoom,
    /// All frames have been dealt with.
    Finished,
}

/// State of the sending half.
#[derive(Debug)]
pub(crate) struct Transmitter<'p> {
    plan: &'p SendPlan,
    schedule: Schedule,
    window: u64,
    session: u64,
    next_id: u64,
    current: Option<Current<'p>>,
    impairer: Impairer,
    buffer: Box<[u8]>,
    /// How many times the first `queued_len` bytes of `buffer` are still to be handed over.
    queued_copies: usize,
    queued_len: usize,
    queued_late: Option<Vec<u8>>,
    stopped: bool,
    pub(crate) sent: u64,
    pub(crate) unsent: Unsent,
    pub(crate) datagrams: Datagrams,
    pub(crate) lateness: Distribution,
}

/// The frame on its way out.
#[derive(Debug)]
struct Current<'p> {
    id: u64,
    fragmenter: Fragmenter<'p>,
    next: u16,
    give_up_ns: u64,
}

impl<'p> Transmitter<'p> {
    /// `plan` was validated.
    pub(crate) fn new(plan: &'p SendPlan, session: u64, start_ns: u64) -> Self {
        Self {
            plan,
            schedule: Schedule::new(start_ns, plan.rate_fps, plan.spread_percent),
            window: plan.effective_window(),
            session,
            next_id: 0,
            current: None,
            impairer: Impairer::new(plan.impairments, plan.seed),
            buffer: vec![0; DATAGRAM_ROOM].into(),
            queued_copies: 0,
            queued_len: 0,
            queued_late: None,
            stopped: false,
            sent: 0,
            unsent: Unsent::default(),
            datagrams: Datagrams::default(),
            lateness: Distribution::new(),
        }
    }

    /// Whether the newest frame is only partly sent.
    pub(crate) fn is_within_frame(&self) -> bool {
        self.current.is_some()
    }

    /// Ends sending after the frame on its way out.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Does the next thing that is due at `now_ns`.
    pub(crate) fn step(
        &mut self,
        now_ns: u64,
        outstanding: &mut Outstanding,
        socket: &mut ClientSocket,
    ) -> Result<Step, Error> {
        if self.hand_over(socket)? == Handed::NoRoom {
            self.lose_patience(now_ns, outstanding);
            return Ok(Step::NoRoom);
        }
        let Some(current) = &self.current else { return Ok(self.begin(now_ns, outstanding)) };
        let (id, index, count) = (current.id, current.next, current.fragmenter.plan().count());
        if index == count {
            return Ok(self.complete(now_ns, outstanding));
        }
        let due_ns = self.schedule.datagram_due_ns(id, index, count);
        if now_ns < due_ns {
            return Ok(Step::Idle { until_ns: due_ns });
        }
        self.build_next();
        Ok(Step::Progress)
    }

    /// Begins the next frame if it is due.
    fn begin(&mut self, now_ns: u64, outstanding: &mut Outstanding) -> Step {
        let id = self.next_id;
        if id >= self.plan.count || self.stopped {
            return self.flush_late(Step::Finished);
        }
        let due_ns = self.schedule.frame_due_ns(id);
        if now_ns < due_ns {
            return Step::Idle { until_ns: due_ns };
        }
        let is_window_full = outstanding.waiting() >= self.window;
        if is_window_full && !self.schedule.is_open_loop() {
            return self.flush_late(Step::WindowFull);
        }
        self.next_id += 1;
        let first_due_ns = if self.schedule.is_open_loop() { due_ns } else { now_ns };
        let fragmenter = Fragmenter::new(
            self.template(id, first_due_ns),
            &self.plan.frame(id).bytes,
            self.plan.datagram_bytes,
            self.plan.mac_key.as_ref(),
        );
        let is_too_late = now_ns - due_ns > LATENESS_MAX_NS && self.schedule.is_open_loop();
        // Validation has cut every frame once; one that cannot be cut would count as not handed over.
        let (Ok(fragmenter), false, false) = (fragmenter, is_window_full, is_too_late) else {
            outstanding.begin(first_due_ns, first_due_ns);
            outstanding.give_up_newest();
            *(if is_window_full { &mut self.unsent.window } else { &mut self.unsent.late }) += 1;
            return Step::Progress;
        };
        self.lateness.record(now_ns - first_due_ns);
        let count = fragmenter.plan().count();
        let last_due_ns = if self.schedule.is_open_loop() {
            self.schedule.datagram_due_ns(id, count.saturating_sub(1), count)
        } else {
            now_ns
        };
        outstanding.begin(first_due_ns, last_due_ns);
        let give_up_ns = self.schedule.frame_due_ns(id + 1).max(now_ns) + PATIENCE_NS;
        self.current = Some(Current { id, fragmenter, next: 0, give_up_ns });
        Step::Progress
    }

    /// Builds the next datagram of the current frame and queues it, as often as the simulated network asks for.
    fn build_next(&mut self) {
        let Some(current) = &mut self.current else { return };
        if let Some(Ok(len)) = current.fragmenter.write_fragment(current.next, &mut self.buffer) {
            self.queued_len = len;
            self.queued_copies = self.impairer.copies(&self.buffer[..len]);
        }
        current.next += 1;
    }

    /// Hands over what is queued.
    fn hand_over(&mut self, socket: &mut ClientSocket) -> Result<Handed, Error> {
        while self.queued_copies > 0 {
            if socket.send(&self.buffer[..self.queued_len])? == Handed::NoRoom {
                return Ok(Handed::NoRoom);
            }
            self.queued_copies -= 1;
            self.datagrams.count(self.queued_len);
            self.impairer.passed();
        }
        loop {
            let Some(late) = self.queued_late.take().or_else(|| self.impairer.next_late(false)) else {
                return Ok(Handed::Over);
            };
            if socket.send(&late)? == Handed::NoRoom {
                self.queued_late = Some(late);
                return Ok(Handed::NoRoom);
            }
            self.datagrams.count(late.len());
        }
    }

    /// Sends late datagrams out when none are left that could overtake them.
    fn flush_late(&mut self, otherwise: Step) -> Step {
        self.queued_late = self.impairer.next_late(true);
        if self.queued_late.is_some() { Step::Progress } else { otherwise }
    }

    fn complete(&mut self, now_ns: u64, outstanding: &mut Outstanding) -> Step {
        self.current = None;
        self.sent += 1;
        if !self.schedule.is_open_loop() {
            outstanding.set_last_due(now_ns);
        }
        Step::FrameSent
    }

    /// Gives the current frame up if the kernel had no room for too long.
    fn lose_patience(&mut self, now_ns: u64, outstanding: &mut Outstanding) {
        let Some(current) = &self.current else { return };
        if now_ns > current.give_up_ns {
            self.current = None;
            self.queued_copies = 0;
            self.queued_late = None;
            self.unsent.no_room += 1;
            outstanding.give_up_newest();
        }
    }

    fn template(&self, id: u64, capture_time: u64) -> RequestHeader {
        let frame = self.plan.frame(id);
        RequestHeader {
            key: FrameKey { stream_id: self.plan.stream_id(id), session: self.session, frame_id: id },
            fragment: wire::Fragment::whole(0),
            encoding: frame.encoding,
            width: frame.width,
            height: frame.height,
            deadline_us: self.plan.deadline_us,
            capture_time,
            flags: 0,
        }
    }

    /// What was simulated so far.
    pub(crate) fn simulated(&self) -> super::impair::Simulated {
        self.impairer.simulated
    }
}
