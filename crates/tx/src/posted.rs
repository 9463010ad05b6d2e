//! Replies that go by a link. A device keeps their heads until it has sent them; a file has them at once.

use crate::reply::Reply;
use crate::stage::{BATCH, Live};
use ::stage::{Context, Stop};
use arena::counters::{LINK_DOWN, LINK_UP, TxCounter};
use arena::descriptor::{Fate, FateKind};
use arena::now_ns;
use arena::page::StagePage;
use arena::sync::Ordering;
use ports::{LinkState, Reaped, SendOutcome, TxPort};

/// How often a device is asked: it may take a while to answer.
const PERIOD_NS: u64 = 100_000_000;

/// A driver of links, and what it has of ours.
pub(crate) struct Device {
    pub(crate) port: Box<dyn TxPort>,
    /// What predecessors' ports could not send.
    errors_before: u64,
    /// When the device is asked next, CLOCK_MONOTONIC ns.
    due_ns: u64,
    /// By the head's index.
    posted: Vec<Option<Reply>>,
    reaped: Vec<Reaped>,
}

impl Device {
    pub(crate) fn new(port: Box<dyn TxPort>, page: &StagePage, buffers: u32) -> Self {
        let posted = (0..buffers).map(|_| None).collect();
        let errors_before = page.counter(TxCounter::DeviceErrors as usize);
        Self { port, errors_before, due_ns: 0, posted, reaped: Vec::with_capacity(BATCH) }
    }

    /// Asks the device about itself, if it is time to.
    pub(crate) fn ask(&mut self, page: &StagePage, now_ns: u64) {
        if now_ns < self.due_ns {
            return;
        }
        self.due_ns = now_ns + PERIOD_NS;
        let set = |cell: TxCounter, value| page.counters[cell as usize].store(value, Ordering::Relaxed);
        if let Some(errors) = self.port.device_errors() {
            set(TxCounter::DeviceErrors, self.errors_before.wrapping_add(errors));
        }
        if let Some(LinkState { is_up, speed_mbps }) = self.port.link_state() {
            set(TxCounter::LinkUp, if is_up { LINK_UP } else { LINK_DOWN });
            set(TxCounter::LinkMbps, speed_mbps.into());
        }
    }
}

impl Live {
    /// Hands over the datagrams of the first `n` replies, which have been prepared.
    pub(crate) fn post(&mut self, cx: &Context, n: usize) -> Result<usize, Stop> {
        let Some(device) = &mut self.device else { return Ok(0) };
        let Some(first) = self.replies.front() else { return Ok(0) };
        let mut datagrams = [first.framed(cx); BATCH];
        let mut outcomes = [SendOutcome::Later; BATCH];
        for (datagram, reply) in datagrams.iter_mut().zip(self.replies.iter().take(n)) {
            *datagram = reply.framed(cx);
        }
        let sent = device.port.send(&datagrams[..n], &mut outcomes[..n]);
        sent.map_err(|e| Stop::Environment(e.to_string()))?;
        self.blocked = false;
        let mut done = 0;
        for outcome in &outcomes[..n] {
            let Some(mut reply) = self.replies.pop_front() else { break };
            if *outcome == SendOutcome::Later {
                // Not in front: the others may have another queue.
                (self.blocked, reply.stuck) = (true, true);
                self.replies.push_back(reply);
                continue;
            }
            reply.stuck = false;
            (reply.sent, done) = (reply.sent + 1, done + 1);
            if *outcome == SendOutcome::Failed {
                cx.page.add(TxCounter::SendErrors as usize, 1);
                self.go_on(cx, reply)?;
                continue;
            }
            cx.page.add(TxCounter::Datagrams as usize, 1);
            cx.page.add(TxCounter::Bytes as usize, reply.framed_len() as u64);
            if reply.sent == reply.count() {
                let end = now_ns();
                cx.page.work.record(end.saturating_sub(reply.start_ns));
                cx.page.since_arrival.record(end.saturating_sub(reply.meta().arrival_ns));
            }
            if *outcome == SendOutcome::Sent {
                self.go_on(cx, reply)?;
                continue;
            }
            let index = reply.head.index() as usize;
            if let Some(place) = self.device.as_mut().and_then(|d| d.posted.get_mut(index)) {
                *place = Some(reply);
            }
        }
        // What is out stands in the words now, as with the kernel's socket.
        if let Some(device) = &mut self.device {
            device.port.recorded();
        }
        Ok(done)
    }

    /// A reply whose last datagram is done with: the next one, or the end.
    fn go_on(&mut self, cx: &Context, reply: Reply) -> Result<(), Stop> {
        if reply.sent < reply.count() {
            self.replies.push_back(reply);
            return Ok(());
        }
        let Reply { head, fate, .. } = reply;
        self.finish(cx, head, fate)
    }

    /// Takes back what the device has sent.
    pub(crate) fn reap(&mut self, cx: &Context) -> Result<usize, Stop> {
        let Some(device) = self.device.as_mut().filter(|d| d.port.is_pending()) else { return Ok(0) };
        let mut reaped = std::mem::take(&mut device.reaped);
        device.port.reap(&mut reaped);
        let n = reaped.len();
        cx.page.add(TxCounter::DeviceFaults as usize, device.port.take_faults());
        let mut ended = Ok(());
        for Reaped { held, last } in reaped.drain(..) {
            if ended.is_err() {
                held.release();
                continue;
            }
            if cx.table.of(&held).is_answer() {
                ended = self.go_home(cx, held);
                continue;
            }
            let posted = self.device.as_mut().and_then(|d| d.posted.get_mut(held.index() as usize));
            ended = match (posted.and_then(Option::take), last) {
                (Some(mut reply), _) => {
                    reply.is_back(held);
                    self.go_on(cx, reply)
                }
                // A dead predecessor's.
                (None, true) => {
                    cx.page.add(TxCounter::FoundSent as usize, 1);
                    self.finish(cx, held, Fate { kind: FateKind::Answered, reason: 0 })
                }
                (None, false) => {
                    self.again.push_back(held);
                    Ok(())
                }
            };
        }
        if let Some(device) = &mut self.device {
            device.reaped = reaped;
        }
        ended.map(|()| n)
    }

    /// Whether the device still has heads of ours.
    pub(crate) fn is_pending(&self) -> bool {
        self.device.as_ref().is_some_and(|d| d.port.is_pending())
    }
}
