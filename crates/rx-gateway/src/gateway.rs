//! The stage itself: what it holds, and one turn of its work.

use crate::access::Access;
use crate::assembly::Assemblies;
use crate::backlog::{Backlog, Waiting};
use crate::books::{Books, dismantle, send_slot, take_apart};
use crate::device::{self, DeviceBooks};
use crate::driver;
use crate::neighbours::Neighbours;
use crate::policy::{Rule, Rules};
use crate::poll_mode::{self, Environment};
use crate::streams::Streams;
use arena::counters::RxCounter;
use arena::descriptor::{DataRange, Fate, FateKind, Role};
use arena::killpoint::{KillPoint, reach};
use arena::launch::Attached;
use arena::meta::FrameMeta;
use arena::sync::Ordering;
use arena::topology::RingKind;
use arena::{Held, now_ns};
use config::{Pipeline, Policy};
use ports::{Received, RxPort};
use stage::{Context, Inlet, Outlet, Spread, Stage, Stop};
use wire::DropReason;

/// Frames dissolved in one turn: enough to keep up, few enough to return to the socket soon.
const HOME_BURST: usize = 64;
/// Half-assembled frames of all streams together.
const MOST_ASSEMBLIES: u32 = 4096;

/// rx-gateway.
pub struct RxGateway {
    pub(crate) pipeline: Pipeline,
    pub(crate) rules: Rules,
    environment: Environment,
    pub(crate) live: Option<Live>,
}

/// What exists from the activation on.
pub(crate) struct Live {
    pub(crate) port: Box<dyn RxPort>,
    pub(crate) free: Vec<Held>,
    pub(crate) received: Vec<Received>,
    pub(crate) home: Vec<Held>,
    pub(crate) parts: Vec<Held>,
    pub(crate) assemblies: Assemblies,
    pub(crate) streams: Streams,
    pub(crate) backlog: Backlog,
    pub(crate) books: Books,
    pub(crate) forward: Spread,
    pub(crate) slots: Vec<Outlet>,
    pub(crate) status: Outlet,
    pub(crate) inlet: Inlet,
    pub(crate) paused: bool,
    /// When the socket was last seen empty, CLOCK_MONOTONIC ns.
    pub(crate) drained_ns: u64,
    /// Most buffers that the driver can hold.
    pub(crate) capacity: usize,
    /// Most packets of one call to the driver.
    burst: usize,
    pub(crate) access: Access,
    pub(crate) neighbours: Neighbours,
    device: DeviceBooks,
    /// The pausing stream that last filled its backlog: its row, and how many frames that is.
    pub(crate) filled: Option<(u32, usize)>,
    /// Admitted frames that are not in the backlog, and how many there may be: no more than there are slots for.
    pub(crate) downstream: u32,
    pub(crate) max_heads: u32,
}

impl RxGateway {
    /// Reads the configuration; touches no shared memory.
    pub fn prepare(pipeline: &Pipeline, _: &Attached) -> Result<Self, Stop> {
        Ok(Self::on(pipeline, poll_mode::prepare(pipeline)?))
    }

    pub(crate) fn on(pipeline: &Pipeline, environment: Environment) -> Self {
        Self { rules: Rules::new(pipeline), pipeline: pipeline.clone(), environment, live: None }
    }
}

impl RxGateway {
    /// Takes over, with this port.
    pub(crate) fn begin(&mut self, cx: &Context, port: Box<dyn RxPort>) -> Result<(), Stop> {
        let mut live = Live::open(&self.pipeline, cx, port)?;
        let start_ns = now_ns();
        live.recover(cx, &self.rules, &self.pipeline)?;
        device::set(cx.page, RxCounter::RecoveryUs, now_ns().saturating_sub(start_ns) / 1000);
        // Before the supervisor learns that this stage is at work: it sends frames to a device's queue from then on.
        live.port.offer(&cx.arena, &mut live.free);
        // The first buffers start it.
        DeviceBooks::started(cx.page, &*live.port);
        live.flush(cx);
        self.live = Some(live);
        Ok(())
    }
}

impl Live {
    pub(crate) fn open(pipeline: &Pipeline, cx: &Context, mut port: Box<dyn RxPort>) -> Result<Self, Stop> {
        port.set_access_list(&pipeline.ingress.acl, pipeline.ingress.acl_policy);
        let buffers = cx.arena.geometry().buffers;
        let all = buffers as usize;
        let me = cx.me.id;
        let rows = cx.arena.streams(me);
        let page = cx.arena.gateway(me).ok_or_else(|| Stop::Environment(format!("owner {} is no rx-gateway", me.0)))?;
        let most = (rows.len() as u32).saturating_mul(pipeline.limits.max_assembling_per_stream);
        Ok(Self {
            capacity: port.capacity(),
            burst: driver::burst(pipeline),
            access: Access::new(pipeline)?,
            neighbours: Neighbours::new(pipeline, port.link_address(), cx.arena.geometry().home_range(me).len() as u32),
            device: DeviceBooks::new(cx.page),
            port,
            free: Vec::with_capacity(all),
            received: Vec::with_capacity(ports::udp::VECTOR),
            home: Vec::with_capacity(HOME_BURST),
            parts: Vec::with_capacity(all),
            assemblies: Assemblies::new(buffers, most.clamp(1, MOST_ASSEMBLIES.min(buffers))),
            streams: Streams::new(rows, cx.page.counter(RxCounter::StreamsEvicted as usize)),
            backlog: Backlog::new(buffers, rows.len()),
            books: Books::new(page),
            forward: Spread::new(cx.outlets(RingKind::Forward), pipeline.preprocess.spread),
            slots: cx.outlets(RingKind::Slots),
            status: cx.outlet(RingKind::Status),
            inlet: cx.inlets(RingKind::Home).remove(0),
            paused: false,
            drained_ns: 0,
            filled: None,
            downstream: 0,
            max_heads: max_heads(pipeline, cx),
        })
    }

    /// Takes apart what came home.
    fn dissolve_home(&mut self, cx: &Context) -> Result<usize, Stop> {
        let mut home = std::mem::take(&mut self.home);
        let n = self.inlet.pop(cx, &mut home, HOME_BURST)?;
        for head in home.drain(..) {
            reach(KillPoint::GoingHome);
            if !cx.table.of(&head).is_answer() {
                self.downstream = self.downstream.saturating_sub(1);
            }
            self.dissolve(cx, head)?;
        }
        self.home = home;
        Ok(n)
    }

    /// Counts a finished frame and frees all that belongs to it; what is no frame is freed alone.
    pub(crate) fn dissolve(&mut self, cx: &Context, head: Held) -> Result<(), Stop> {
        let index = head.index();
        if cx.table.of(&head).is_answer() {
            self.neighbours.in_flight = self.neighbours.in_flight.saturating_sub(1);
            dismantle(&cx.arena, cx.me, head, &mut self.slots, &mut self.free)?;
            self.forget(index);
            return Ok(());
        }
        // A damaged record names no row: the frame leaves no history, and may be sent again.
        let row = cx.arena.frame_meta(index).ok().map(|meta| meta.stream_row);
        let row = row.and_then(|n| self.streams.row(n).map(|r| (n, r)));
        let line = self.books.begin_dissolve(&cx.arena, &head, row);
        take_apart(&cx.arena, cx.me, &line, head, &mut self.slots, &mut self.free)?;
        self.books.end();
        self.forget(index);
        Ok(())
    }

    /// A head is no longer in flight.
    fn forget(&mut self, index: u32) {
        if let Some((row, _)) = self.assemblies.forget(index) {
            self.streams.end(row);
        }
    }

    /// A complete frame, its fragments in `parts` in order: attach, count, route. `given_up`: it is not complete, and
    /// this is why it is dropped.
    pub(crate) fn admit(&mut self, cx: &Context, rules: &Rules, given_up: Option<Fate>) -> Result<(), Stop> {
        let table = cx.table;
        // From the last to the second, so that each knows its successor when it is attached.
        let segments = self.parts.len().saturating_sub(1);
        let Some(first) = self.parts.first().map(Held::index) else { return Ok(()) };
        let mut next = arena::descriptor::NONE;
        self.parts.swap(0, segments);
        let Some(head) = self.parts.pop() else { return Ok(()) };
        debug_assert_eq!(head.index(), first);
        // The swap put the last fragment first: it is attached first, then the others from the back.
        if segments > 0 {
            self.parts.rotate_left(1);
        }
        let d = table.of(&head);
        d.segments.store(segments as u32, Ordering::Relaxed);
        while let Some(segment) = self.parts.pop() {
            let index = segment.index();
            table.attach_segment(&head, segment, next);
            next = index;
        }
        d.next.store(next, Ordering::Release);
        if let Some(fate) = given_up {
            // Before it is a head: a successor would take a head without a fate for a complete frame and send it on.
            d.set_fate(fate);
        }
        self.books.admit(&cx.arena, &head, cx.now_ns);
        cx.page.add(RxCounter::Admitted as usize, 1);
        let meta = cx.arena.frame_meta(head.index());
        if let Ok(meta) = &meta {
            self.assemblies.set_in_flight(head.index(), (meta.stream_row, meta.frame));
            self.streams.begin(meta.stream_row);
        }
        match (given_up, meta) {
            (Some(fate), _) => self.refuse(cx, head, fate),
            (None, Ok(meta)) => self.route(cx, rules, head, &meta),
            (None, Err(_)) => self.drop_damaged(cx, head),
        }
    }
}

impl Live {
    /// Sends an admitted frame on, or lets it wait, or drops one, as its stream's policy says.
    pub(crate) fn route(&mut self, cx: &Context, rules: &Rules, head: Held, meta: &FrameMeta) -> Result<(), Stop> {
        let rule = rules.get(meta.policy);
        let waiting = Waiting {
            head,
            row: meta.stream_row,
            rule: meta.policy,
            stream: meta.stream,
            deadline_ns: meta.deadline_ns,
        };
        if self.backlog.len() == 0 {
            match self.forward(cx, rules, waiting)? {
                None => return Ok(()),
                Some(back) => self.wait(rule, back),
            }
            return Ok(());
        }
        let full = self.backlog.of(meta.stream_row) >= rule.backlog().max(1);
        match rule.policy() {
            Policy::DropNewest if full => return self.drop_frame(cx, waiting.head, DropReason::OverloadNewest),
            Policy::DropOldest if full => {
                if let Some(oldest) = self.backlog.pop_oldest_of(meta.stream_row) {
                    self.drop_frame(cx, oldest.head, DropReason::OverloadOldest)?;
                }
            }
            _ => {}
        }
        self.wait(rule, waiting);
        Ok(())
    }

    /// Lets a frame wait at the gateway.
    fn wait(&mut self, rule: &Rule, waiting: Waiting) {
        let (row, limit) = (waiting.row, rule.backlog().max(1));
        self.backlog.push(waiting);
        if rule.policy() == Policy::Pause && self.backlog.of(row) >= limit {
            self.filled = Some((row, limit));
        }
    }

    /// Pushes a frame to a preprocess instance if one takes it. Streams that drop keep only a burst in the rings: what
    /// is there can no longer be dropped for something newer.
    fn forward(&mut self, cx: &Context, rules: &Rules, waiting: Waiting) -> Result<Option<Waiting>, Stop> {
        let burst = u64::from(cx.rings.burst);
        if self.downstream >= self.max_heads {
            return Ok(Some(waiting));
        }
        let short = rules.get(waiting.rule).policy() != Policy::Pause;
        let Some(outlet) = self.forward.pick(waiting.stream) else { return Ok(Some(waiting)) };
        if short && outlet.depth() >= burst {
            return Ok(Some(waiting));
        }
        let Waiting { head, row, rule, stream, deadline_ns } = waiting;
        let back = outlet.push(head)?;
        self.downstream += u32::from(back.is_none());
        Ok(back.map(|head| Waiting { head, row, rule, stream, deadline_ns }))
    }

    /// Sends on what has waited, and drops what has waited too long.
    fn work_backlog(&mut self, cx: &Context, rules: &Rules) -> Result<usize, Stop> {
        let mut done = 0;
        while let Some(front) = self.backlog.front() {
            if front.deadline_ns != 0 && front.deadline_ns <= cx.now_ns {
                let Some(late) = self.backlog.pop() else { break };
                self.drop_frame(cx, late.head, DropReason::Deadline)?;
                done += 1;
                continue;
            }
            let stream = front.stream;
            let short = rules.get(front.rule).policy() != Policy::Pause;
            let burst = u64::from(cx.rings.burst);
            let room = self.downstream < self.max_heads;
            let takes = room && self.forward.pick(stream).is_some_and(|o| !short || o.depth() < burst);
            if !takes {
                break;
            }
            let Some(waiting) = self.backlog.pop() else { break };
            if let Some(back) = self.forward(cx, rules, waiting)? {
                self.backlog.push_front(back);
                break;
            }
            done += 1;
        }
        Ok(done)
    }

    /// Drops an admitted frame for a reason of ours.
    pub(crate) fn drop_frame(&mut self, cx: &Context, head: Held, reason: DropReason) -> Result<(), Stop> {
        self.refuse(cx, head, Fate { kind: FateKind::Dropped, reason: reason.code() })
    }

    /// Drops an admitted frame whose record does not match its checksum.
    pub(crate) fn drop_damaged(&mut self, cx: &Context, head: Held) -> Result<(), Stop> {
        cx.page.add(RxCounter::Damaged as usize, 1);
        self.drop_frame(cx, head, DropReason::Damaged)
    }

    /// Records how an admitted frame ends and sends it to tx for its status reply.
    pub(crate) fn refuse(&mut self, cx: &Context, head: Held, fate: Fate) -> Result<(), Stop> {
        cx.table.of(&head).set_fate(fate);
        self.downstream += 1;
        self.status.push_roomy(head)
    }

    /// Gives up frames whose fragments did not come in time.
    ///
    /// What waits in the socket has come: a frame is late only if the socket was seen empty after its time was up. Else a
    /// pause would cost frames of which all fragments are here.
    fn expire(&mut self, cx: &Context, rules: &Rules) -> Result<usize, Stop> {
        let mut done = 0;
        // A flood that never lets the socket run empty must not keep every place for a half-assembled frame taken for ever.
        let crowded = self.is_starved() || !self.paused && self.assemblies.is_full();
        let until_ns = if cx.ingress_paused || crowded { cx.now_ns } else { self.drained_ns };
        while let Some(at) = self.assemblies.expired(until_ns) {
            self.give_up(cx, rules, at, DropReason::Incomplete)?;
            done += 1;
        }
        Ok(done)
    }

    /// Ends an incomplete frame: its first fragment becomes the head that carries the status, the others are free.
    pub(crate) fn give_up(&mut self, cx: &Context, rules: &Rules, at: u32, reason: DropReason) -> Result<(), Stop> {
        let taken = self.assemblies.take(at, &mut self.parts);
        *self.streams.assembling(taken.name.0) -= 1;
        self.streams.end(taken.name.0);
        while self.parts.len() > 1 {
            let Some(fragment) = self.parts.pop() else { break };
            cx.table.of(&fragment).set_role(Role::Free);
            self.free.push(fragment);
        }
        self.admit(cx, rules, Some(Fate { kind: FateKind::Dropped, reason: reason.code() }))
    }

    /// Whether input stays where it is: a stream that pauses has its backlog full, or buffers are short.
    fn must_pause(&mut self, cx: &Context, rules: &Rules) -> bool {
        if cx.ingress_paused || self.is_starved() {
            return true;
        }
        // Not only the front counts: a stream that drops may stand before one that pauses.
        if self.filled.is_some_and(|(row, limit)| self.backlog.of(row) >= limit) {
            return true;
        }
        self.filled = None;
        let Some(front) = self.backlog.front() else { return false };
        let rule = rules.get(front.rule);
        rule.policy() == Policy::Pause && self.backlog.len() >= rule.backlog().max(1)
    }

    /// Without a buffer to receive into, a socket that is readable is no reason to stay awake: buffers come home, or out of
    /// frames that are given up.
    fn is_starved(&self) -> bool {
        self.free.is_empty() && self.port.wants() >= self.capacity
    }

    fn flush(&mut self, cx: &Context) {
        self.forward.flush(cx);
        self.status.flush(cx);
        for slots in &mut self.slots {
            slots.flush(cx);
        }
    }

    /// Receives and deals with one burst.
    fn input(&mut self, cx: &Context, rules: &Rules, pipeline: &Pipeline) -> Result<usize, Stop> {
        self.port.offer(&cx.arena, &mut self.free);
        let offered = self.capacity.saturating_sub(self.port.wants());
        let mut received = std::mem::take(&mut self.received);
        let got = self.port.receive(&mut received, self.burst).map_err(|e| Stop::Environment(e.to_string()));
        let n = match got {
            Ok(n) => n,
            Err(stop) => {
                self.received = received;
                return Err(stop);
            }
        };
        if n == 0 && offered > 0 {
            self.drained_ns = cx.now_ns;
        }
        if n > 0 {
            cx.page.add(RxCounter::Receives as usize, 1);
            self.device.count_dropped(cx.page, &mut *self.port);
            cx.page.add(RxCounter::DeviceFaults as usize, self.port.take_faults());
            cx.page.counters[RxCounter::StreamsEvicted as usize].store(self.streams.evicted, Ordering::Relaxed);
        }
        let mut ended = Ok(());
        for packet in received.drain(..) {
            if ended.is_err() {
                packet.held.release();
                continue;
            }
            ended = self.packet(cx, rules, pipeline, packet, false);
        }
        self.received = received;
        ended.map(|()| n)
    }
}

impl Stage for RxGateway {
    fn activate(&mut self, cx: &mut Context) -> Result<(), Stop> {
        let port = driver::open(&self.pipeline, &self.environment, cx)?;
        self.begin(cx, port)
    }

    fn poll(&mut self, cx: &mut Context) -> Result<usize, Stop> {
        let Some(live) = &mut self.live else { return Ok(0) };
        let mut done = live.dissolve_home(cx)?;
        done += live.work_backlog(cx, &self.rules)?;
        let paused = live.must_pause(cx, &self.rules);
        if paused && !live.paused {
            cx.page.add(RxCounter::Paused as usize, 1);
        }
        live.paused = paused;
        if !paused {
            done += live.input(cx, &self.rules, &self.pipeline)?;
        }
        done += live.expire(cx, &self.rules)?;
        live.device.ask(cx.page, &mut *live.port, &live.books, cx.now_ns);
        live.flush(cx);
        Ok(done)
    }

    /// The socket is looked at by sleeping on it; what ends a pause comes home, or by a timer.
    fn has_input(&self, _: &Context) -> bool {
        self.live.as_ref().is_some_and(|live| !live.inlet.is_empty())
    }

    fn timer_ns(&self, cx: &Context) -> Option<u64> {
        let live = self.live.as_ref()?;
        let waiting = live.backlog.front().map(|w| w.deadline_ns).filter(|d| *d != 0);
        // With a backlog and no deadline the low-watermark doorbell wakes us; look now and then all the same.
        let backlog = (live.backlog.len() > 0).then(|| now_ns() + 2_000_000);
        // While a backlog pauses the input no frame expires (see `expire`): its time would be over again and again.
        let expires = !live.paused || cx.ingress_paused || live.is_starved();
        let assembly = live.assemblies.next_timeout_ns().filter(|_| expires);
        [assembly, waiting, backlog].into_iter().flatten().min()
    }

    fn wake_fd<'a>(&'a self, _: &'a Context) -> Option<std::os::fd::BorrowedFd<'a>> {
        let live = self.live.as_ref()?;
        (!live.paused).then(|| live.port.readable())
    }

    fn drain(&mut self, cx: &mut Context) -> Result<bool, Stop> {
        if let Some(live) = &mut self.live {
            // Without that it ends, and its successor comes when the device is free.
            live.port.withdraw(&mut live.free).map_err(|e| Stop::Environment(e.to_string()))?;
            live.flush(cx);
        }
        Ok(true)
    }

    fn needs_rights(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.port.is_starting())
    }

    fn reload(&mut self, pipeline: &Pipeline) {
        self.rules = Rules::new(pipeline);
        if let Some(live) = &mut self.live {
            live.neighbours.reload(pipeline);
        }
        let list = (&pipeline.ingress.acl, pipeline.ingress.acl_policy);
        if list != (&self.pipeline.ingress.acl, self.pipeline.ingress.acl_policy)
            && let (Ok(access), Some(live)) = (Access::new(pipeline), &mut self.live)
        {
            // Rates begin again with the list.
            live.access = access;
            device::count_denied(&mut *live.port, &live.books, true);
            live.port.set_access_list(&pipeline.ingress.acl, pipeline.ingress.acl_policy);
            let (old, new) = (&self.pipeline.ingress.acl, &pipeline.ingress.acl);
            let was: Vec<_> = new.iter().map(|rule| old.iter().position(|o| o == rule)).collect();
            live.books.renumber_access_list(&was);
        }
        self.pipeline = pipeline.clone();
    }

    fn holds(&self) -> (u64, u64) {
        let buffers = self.live.as_ref().map_or(0, |l| l.free.len() + l.assemblies.held() + l.backlog.len());
        (buffers as u64, 0)
    }
}

/// All rx-gateways together admit no more frames than there are slots.
fn max_heads(pipeline: &Pipeline, cx: &Context) -> u32 {
    let geometry = cx.arena.geometry();
    geometry.gateway_share(pipeline.limits.max_heads.unwrap_or(geometry.slots), cx.me.id).max(1)
}

/// Where a fragment's payload lies in its buffer.
pub(crate) fn payload_range(datagram: DataRange, header_len: usize, len: usize) -> DataRange {
    DataRange { offset: datagram.offset + header_len as u16, len: len as u16 }
}

/// Puts a slot that nobody owns any more back into circulation.
pub(crate) fn return_slot(cx: &Context, slot: Held, slots: &mut [Outlet]) -> Result<(), Stop> {
    send_slot(&cx.arena, slot, slots)
}
