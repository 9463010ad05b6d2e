//! The stage: heads in, replies out, heads home.

use crate::answer::Answers;
use crate::neighbour::Answer;
use crate::poll_mode::{self, Environment};
use crate::posted::Device;
use crate::reply::{ROUND, Reply, Way};
use crate::rules::Rules;
use ::stage::{Context, Inlet, Outlet, Stage, Stop};
use arena::Held;
use arena::counters::TxCounter;
use arena::descriptor::{Fate, FateKind};
use arena::killpoint::{KillPoint, reach};
use arena::launch::Attached;
use arena::meta::{FrameMeta, Link};
use arena::now_ns;
use arena::page::Event;
use arena::sync::Ordering;
use arena::topology::RingKind;
use config::{Driver, Pipeline};
use ports::af_xdp::{AfXdpTx, TxOptions};
use ports::replay::ReplayTx;
use ports::udp::{MAX_DATAGRAM, UdpTx};
use ports::{SendOutcome, Sent, TxPort};
use std::collections::VecDeque;

/// Datagrams of one call to the driver.
pub(crate) const BATCH: usize = 64;
/// Takes from the recovery ring that may lie between a send and the look at its record: one for each death of tx before it
/// got to recording. From one send of a buffer to the next its word changes hands at least four times: home,
/// preprocess, infer, tx.
const MAX_TAKEN: u32 = 3;
/// How soon to try again when the driver's queue is full.
const RETRY_NS: u64 = 200_000;
/// How soon to look for heads that a device has sent, while there is nothing else to do. Nobody waits for them.
const REAP_NS: u64 = 500_000;

/// tx.
pub struct Tx {
    answers: Answers,
    rules: Rules,
    max_reply_bytes: usize,
    burst: usize,
    pipeline: Pipeline,
    environment: Environment,
    live: Option<Live>,
}

pub(crate) struct Live {
    /// The kernel's socket; none where frames come out of a file, or no kernel stands beside the driver.
    socket: Option<Box<dyn TxPort>>,
    /// The driver of links, if there is one.
    pub(crate) device: Option<Device>,
    inlets: Vec<Inlet>,
    next_inlet: usize,
    /// By the numbers of the rx-gateways.
    pub(crate) homes: Vec<Outlet>,
    /// Popped and not begun.
    hand: Vec<Held>,
    /// Heads of a dead predecessor.
    pub(crate) again: VecDeque<Held>,
    /// Replies on their way out, oldest first.
    pub(crate) replies: VecDeque<Reply>,
    pub(crate) blocked: bool,
    /// Answers to neighbours on their way out.
    pub(crate) answers: VecDeque<Answer>,
    /// The device has no room for them.
    pub(crate) held_up: bool,
}

impl Tx {
    /// Allocates everything; touches no shared memory.
    pub fn prepare(pipeline: &Pipeline, _: &Attached) -> Result<Self, Stop> {
        Ok(Self {
            answers: Answers::new(pipeline)?,
            rules: Rules::new(pipeline),
            max_reply_bytes: pipeline.limits.max_reply_bytes as usize,
            burst: pipeline.rings.burst as usize,
            pipeline: pipeline.clone(),
            environment: poll_mode::prepare(pipeline)?,
            live: None,
        })
    }

    /// Takes over, with these ports.
    pub(crate) fn begin_with(&mut self, cx: &Context, mut socket: Port, mut device: Port) -> Result<(), Stop> {
        let mut found = Vec::new();
        for port in [&mut socket, &mut device].into_iter().flatten() {
            port.found_sent(&mut found);
        }
        let mut inlets = cx.inlets(RingKind::Forward);
        inlets.extend(cx.inlets(RingKind::Status));
        let mut live = Live {
            socket,
            device: None,
            inlets,
            next_inlet: 0,
            homes: cx.outlets(RingKind::Home),
            hand: Vec::with_capacity(self.burst),
            again: VecDeque::with_capacity(cx.table.len() as usize),
            replies: VecDeque::with_capacity(cx.table.len() as usize),
            blocked: false,
            answers: VecDeque::with_capacity(cx.table.len() as usize),
            held_up: false,
        };
        let mut recovery = cx.recovery();
        while let Some(head) = recovery.pop()? {
            live.take_over(cx, head, &found);
        }
        if let Some(device) = &mut device {
            let mut unposted = Vec::new();
            device.take_unposted(&mut unposted);
            live.again.extend(unposted);
            let mut unconfirmed = Vec::new();
            device.take_unconfirmed(&mut unconfirmed);
            let replies = unconfirmed.iter().filter(|head| !cx.table.of(head).is_answer()).count();
            cx.page.add(TxCounter::SentUnconfirmed as usize, replies as u64);
            // They are settled: all that is left is their way home.
            live.again.extend(unconfirmed);
            if let Some(times) = device.start_times() {
                let set = |cell: TxCounter, us| cx.page.counters[cell as usize].store(us, Ordering::Relaxed);
                set(TxCounter::EalInitUs, times.eal_init_us);
                set(TxCounter::PortStartUs, times.port_start_us);
                set(TxCounter::CopiesForDevice, times.copies);
            }
        }
        live.device = device.map(|port| Device::new(port, cx.page, cx.arena.geometry().buffers));
        cx.page.note(cx.now_ns, Event::Recovered, live.again.len() as u32);
        self.live = Some(live);
        Ok(())
    }

    /// Takes one head up: builds its reply, or lets it go home without one.
    fn begin(&mut self, cx: &Context, head: Held) -> Result<(), Stop> {
        let Some(live) = &mut self.live else { return Ok(()) };
        reach(KillPoint::InHand);
        let d = cx.table.of(&head);
        if d.is_answer() {
            return live.begin_answer(cx, head);
        }
        let extension = &cx.arena.extensions()[head.index() as usize];
        if let Some(fate) = d.fate().filter(|_| d.is_settled()) {
            return live.finish(cx, head, fate);
        }
        let Ok(meta) = cx.arena.frame_meta(head.index()) else {
            // Nobody can be told: the address is not to be trusted either.
            cx.page.add(TxCounter::Damaged as usize, 1);
            let lost = Fate { kind: FateKind::Dropped, reason: wire::DropReason::Damaged.code() };
            return live.finish(cx, head, d.fate().unwrap_or(lost));
        };
        cx.begin(&head);
        let start = now_ns();
        cx.page.wait.record(start.saturating_sub(extension.moment(arena::meta::Moment::InferEnd).max(meta.arrival_ns)));
        let (link, from) = self.rules.way(&meta);
        let by_device = link.and(live.device.as_ref());
        let port = by_device.map(|d| &d.port).or(live.socket.as_ref());
        let max_datagram = port.map_or(MAX_DATAGRAM, |p| p.max_datagram(meta.reply_to));
        // Not as the request addressed us: that may have been another port.
        let source = by_device.and_then(|d| d.port.link_address());
        let link = link.filter(|_| by_device.is_some());
        let link = link.map(|l| Link { local_mac: source.unwrap_or(l.local_mac), ..l });
        let way = Way { link, from, max_datagram, max_reply_bytes: self.max_reply_bytes };
        let rule = self.rules.of(meta.stream);
        let reply = Reply::build(cx, head, meta, &mut self.answers, rule, way);
        if reply.is_status() {
            let wanted = meta.flags & FrameMeta::REPLY_ON_DROP != 0 && reply.has_address();
            if !wanted || !rule.allow_status(start) {
                cx.page.add(TxCounter::Withheld as usize, 1);
                return live.finish(cx, reply.head, reply.fate);
            }
            cx.page.add(TxCounter::Statuses as usize, 1);
        } else if !reply.has_address() {
            cx.page.add(TxCounter::Silent as usize, 1);
            return live.finish(cx, reply.head, reply.fate);
        }
        live.replies.push_back(reply);
        Ok(())
    }

    /// Hands datagrams to the drivers, the oldest replies first.
    fn send(&mut self, cx: &Context) -> Result<usize, Stop> {
        let Some(live) = &mut self.live else { return Ok(0) };
        let Some(device) = live.device.as_ref().filter(|_| live.replies.front().is_some_and(|r| r.link().is_some()))
        else {
            return self.send_by_socket(cx);
        };
        let (mut ready, most) = (0, device.port.burst().min(BATCH));
        let has_socket = live.socket.is_some();
        for reply in live.replies.iter_mut().take(most) {
            if reply.link().is_none() {
                break;
            }
            let key = self.rules.of(reply.meta().stream).key.as_ref();
            // Nobody waits for a device that does not send: the kernel may know another way.
            if has_socket && reply.stuck && device.port.posts() && reply.forget_link(cx, key) {
                break;
            }
            if !reply.prepare_frame(cx, key, &*device.port) {
                reply.forget_link(cx, key);
                break;
            }
            ready += 1;
        }
        if ready == 0 { self.send_by_socket(cx) } else { live.post(cx, ready) }
    }

    /// Hands datagrams to the kernel's socket, the oldest replies first, and finishes those that are out.
    fn send_by_socket(&mut self, cx: &Context) -> Result<usize, Stop> {
        let Some(live) = &mut self.live else { return Ok(0) };
        let mut rounds = [0_u8; BATCH];
        let (mut replies, mut total) = (0, 0);
        for reply in &mut live.replies {
            if reply.link().is_some() {
                break;
            }
            let round = reply.prepare(cx, self.rules.of(reply.meta().stream).key.as_ref());
            if round == 0 && replies == 0 {
                // Its slot's tables contradict each other: the result cannot be read any more.
                let Some(broken) = live.replies.pop_front() else { break };
                let lost = Fate { kind: FateKind::Dropped, reason: wire::DropReason::Other.code() };
                return live.finish(cx, broken.head, lost).map(|()| 1);
            }
            if round == 0 || total + round > BATCH || replies == BATCH {
                break;
            }
            rounds[replies] = round as u8;
            (replies, total) = (replies + 1, total + round);
            if round == ROUND {
                break;
            }
        }
        if total == 0 {
            return Ok(0);
        }
        let Some(first) = live.replies.front() else { return Ok(0) };
        let mut datagrams = [first.datagram(cx, 0); BATCH];
        let mut outcomes = [SendOutcome::Later; BATCH];
        let mut at = 0;
        for (reply, round) in live.replies.iter().take(replies).zip(rounds) {
            for i in 0..usize::from(round) {
                datagrams[at] = reply.datagram(cx, i);
                at += 1;
            }
        }
        let bytes: usize = datagrams[..total].iter().map(|d| d.first.len() + d.second.len()).sum();
        match &mut live.socket {
            Some(socket) => {
                let sent = socket.send(&datagrams[..total], &mut outcomes[..total]);
                sent.map_err(|e| Stop::Environment(e.to_string()))?;
            }
            None => outcomes[..total].fill(SendOutcome::Failed),
        }
        cx.page.add(TxCounter::Bytes as usize, bytes as u64);
        let done = live.account(cx, &rounds[..replies], &outcomes[..total])?;
        // What is out stands in the words now. A record that stayed until the next send could be taken for one of the
        // buffer's next frame: a refused one is back here after two changes of hands.
        if let Some(socket) = &mut live.socket {
            socket.recorded();
        }
        Ok(done)
    }
}

#[cfg(test)]
impl Tx {
    pub(crate) fn live_for_tests(&mut self) -> &mut Live {
        self.live.as_mut().expect("an active stage")
    }
}

impl Live {
    /// A head of a dead predecessor. If that had handed its whole reply to the driver, this is recorded now, before the
    /// first send clears the driver's vector: a successor of ours would not find it there any more.
    fn take_over(&mut self, cx: &Context, head: Held, found: &[Sent]) {
        let d = cx.table.of(&head);
        let seq = d.owner().seq;
        if d.is_answer() {
            cx.page.add(TxCounter::LinkRefused as usize, u64::from(!d.is_settled()));
            d.settle();
        } else if found.iter().any(|s| s.head == head.index() && (1..=MAX_TAKEN).contains(&seq.wrapping_sub(s.seq))) {
            cx.page.add(TxCounter::FoundSent as usize, 1);
            d.set_fate(Fate { kind: FateKind::Answered, reason: 0 });
            d.settle();
        }
        self.again.push_back(head);
    }

    /// Records the fate and sends the head home: to the rx-gateway that it belongs to.
    pub(crate) fn finish(&mut self, cx: &Context, head: Held, fate: Fate) -> Result<(), Stop> {
        let d = cx.table.of(&head);
        d.set_fate(fate);
        d.settle();
        reach(KillPoint::FateRecorded);
        cx.page.add(TxCounter::Frames as usize, 1);
        let home = cx.arena.geometry().home_number(head.index());
        self.homes[usize::from(home)].push_roomy(head)
    }

    fn flush(&mut self, cx: &Context) {
        for home in &mut self.homes {
            home.flush(cx);
        }
    }

    /// Goes through the outcomes in order; the first datagram that must wait stops its reply and all behind it.
    fn account(&mut self, cx: &Context, rounds: &[u8], outcomes: &[SendOutcome]) -> Result<usize, Stop> {
        let (mut at, mut done) = (0, 0);
        self.blocked = false;
        for round in rounds {
            let Some(mut reply) = self.replies.pop_front() else { break };
            for outcome in &outcomes[at..at + usize::from(*round)] {
                match outcome {
                    SendOutcome::Later => {
                        self.blocked = true;
                        break;
                    }
                    SendOutcome::Failed => cx.page.add(TxCounter::SendErrors as usize, 1),
                    SendOutcome::Sent | SendOutcome::Posted => cx.page.add(TxCounter::Datagrams as usize, 1),
                }
                reply.sent += 1;
                done += 1;
            }
            at += usize::from(*round);
            if reply.sent < reply.count() {
                self.replies.push_front(reply);
                break;
            }
            let end = now_ns();
            cx.page.work.record(end.saturating_sub(reply.start_ns));
            cx.page.since_arrival.record(end.saturating_sub(reply.meta().arrival_ns));
            let Reply { head, fate, .. } = reply;
            self.finish(cx, head, fate)?;
        }
        Ok(done)
    }

    /// Takes heads from all rings in turn, a burst at most.
    fn take(&mut self, cx: &Context, burst: usize) -> Result<(), Stop> {
        for _ in 0..self.inlets.len() {
            let left = burst.saturating_sub(self.hand.len());
            if left == 0 {
                break;
            }
            self.next_inlet = (self.next_inlet + 1) % self.inlets.len();
            self.inlets[self.next_inlet].pop(cx, &mut self.hand, left)?;
        }
        Ok(())
    }
}

type Port = Option<Box<dyn TxPort>>;

/// The kernel's socket and the driver of links, as far as the pipeline has them.
fn open(pipeline: &Pipeline, environment: &Environment, cx: &mut Context) -> Result<(Port, Port), Stop> {
    let mut fds = std::mem::take(&mut cx.port);
    if pipeline.ingress.driver == Driver::Dpdk {
        return Ok((None, Some(poll_mode::open(pipeline, environment, cx)?)));
    }
    if pipeline.ingress.driver == Driver::Replay {
        let port = ReplayTx::attach(fds).map_err(|e| Stop::Environment(e.to_string()))?;
        return Ok((None, Some(Box::new(port))));
    }
    let of_device = fds.split_off(fds.len().min(2));
    let failed = |e: ports::PortError| Stop::Environment(e.to_string());
    let socket: Port = Some(Box::new(UdpTx::attach(fds).map_err(failed)?));
    let Some(device) = pipeline.device.as_ref().filter(|_| pipeline.ingress.driver == Driver::AfXdp) else {
        return Ok((socket, None));
    };
    let options = TxOptions {
        ring_size: pipeline.af_xdp.ring_size,
        mtu: device.mtu,
        zero_copy: device.zero_copy,
        need_wakeup: pipeline.af_xdp.need_wakeup,
        queues: device.queues.clone(),
    };
    let port = AfXdpTx::attach(of_device, &options, &cx.arena, cx.me).map_err(failed)?;
    Ok((socket, Some(Box::new(port))))
}

impl Stage for Tx {
    fn activate(&mut self, cx: &mut Context) -> Result<(), Stop> {
        let (socket, device) = open(&self.pipeline, &self.environment, cx)?;
        self.begin_with(cx, socket, device)
    }

    fn poll(&mut self, cx: &mut Context) -> Result<usize, Stop> {
        let burst = self.burst;
        let Some(live) = &mut self.live else { return Ok(0) };
        if live.replies.is_empty() {
            if let Some(head) = live.again.pop_front() {
                // One by one: it may be what killed the predecessor.
                live.hand.push(head);
            } else {
                live.take(cx, burst)?;
            }
        }
        let mut done = live.hand.len() + live.reap(cx)?;
        let mut hand = std::mem::take(&mut live.hand);
        let mut ended = Ok(());
        for head in hand.drain(..) {
            match &ended {
                Ok(()) => ended = self.begin(cx, head),
                // The process is about to end; the sweep finds the rest by their words.
                Err(_) => _ = head.release(),
            }
        }
        ended?;
        if let Some(live) = &mut self.live {
            done += live.send_answers(cx)?;
        }
        done += self.send(cx)?;
        cx.page.clear_current();
        let Some(live) = &mut self.live else { return Ok(0) };
        done += live.reap(cx)?;
        live.hand = hand;
        live.flush(cx);
        if let Some(device) = &mut live.device {
            device.ask(cx.page, cx.now_ns);
        }
        Ok(done)
    }

    fn has_input(&self, _: &Context) -> bool {
        let Some(live) = &self.live else { return false };
        if !live.answers.is_empty() && !live.held_up {
            return true;
        }
        if !live.replies.is_empty() {
            return !live.blocked;
        }
        !live.again.is_empty() || live.inlets.iter().any(|i| !i.is_empty())
    }

    fn timer_ns(&self, _: &Context) -> Option<u64> {
        let live = self.live.as_ref()?;
        let blocked = live.blocked || live.held_up && !live.answers.is_empty();
        let wait_ns = if blocked { RETRY_NS } else { REAP_NS };
        (blocked || live.is_pending()).then(|| now_ns() + wait_ns)
    }

    fn drain(&mut self, cx: &mut Context) -> Result<bool, Stop> {
        if let Some(live) = &mut self.live {
            live.send_answers(cx)?;
        }
        self.send(cx)?;
        let Some(live) = &mut self.live else { return Ok(true) };
        live.reap(cx)?;
        live.flush(cx);
        let is_drained = live.replies.is_empty() && live.answers.is_empty() && !live.is_pending();
        if let Some(device) = live.device.as_mut().filter(|_| is_drained) {
            // Without that it ends, and its successor comes when the device is free.
            device.port.withdraw().map_err(|e| Stop::Environment(e.to_string()))?;
        }
        Ok(is_drained)
    }

    fn reload(&mut self, pipeline: &Pipeline) {
        self.rules = Rules::new(pipeline);
    }

    fn holds(&self) -> (u64, u64) {
        let held = self.live.as_ref().map_or(0, |l| l.hand.len() + l.again.len() + l.replies.len() + l.answers.len());
        (held as u64, 0)
    }
}
