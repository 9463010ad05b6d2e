//! One frame's reply on its way out: built once, sent in one or several datagrams.

use crate::answer::{Answers, Body};
use crate::rules::Rule;
use ::stage::Context;
use arena::counters::TxCounter;
use arena::descriptor::{DataRange, Fate, FateKind};
use arena::layout::DATA_OFFSET;
use arena::meta::{Address, Extension, FrameMeta, Link, Moment};
use arena::sync::Ordering;
use arena::{Held, now_ns};
use ports::{Datagram, Route, TxPort};
use wire::{
    BadRequestReason, DropReason, FragmentPlan, FrameKey, MAX_DATAGRAM, MacKey, ReplyHeader, ResultInfo, StageTimes,
    Status, header_len,
};

/// Largest reply datagram of a result that needs several: what passes an Ethernet of MTU 1500 unfragmented.
const MTU_DATAGRAM: usize = 1472;
/// Headers of one round of a fragmented reply, written side by side into the head's buffer.
pub(crate) const ROUND: usize = 16;
/// Room for one header there.
const HEADER_ROOM: usize = 192;

/// A reply that is being sent.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) head: Held,
    pub(crate) fate: Fate,
    header: ReplyHeader,
    plan: Option<FragmentPlan>,
    body: Body,
    meta: FrameMeta,
    seq: u32,
    /// Datagrams that are out.
    pub(crate) sent: u16,
    pub(crate) start_ns: u64,
    header_len: usize,
    /// The link that it goes by, and the address that it comes from.
    way: (Option<Link>, Address),
    /// Where the frame that was prepared for the link lies in the head's buffer.
    frame: DataRange,
    /// Its queue had no room: the device is slow, or dead.
    pub(crate) stuck: bool,
}

fn status_of(fate: Fate) -> Status {
    match fate.kind {
        FateKind::Answered => Status::Ok,
        FateKind::Dropped => Status::Dropped(DropReason::from_u8(fate.reason).unwrap_or(DropReason::Other)),
        FateKind::BadRequest => {
            Status::BadRequest(BadRequestReason::from_u8(fate.reason).unwrap_or(BadRequestReason::Other))
        }
        FateKind::Quarantined => Status::Quarantined,
    }
}

/// How many times processing began: once for each death laid to the frame, and once more if that time ended otherwise.
fn attempts(deaths: u32, e: &Extension, fate: Fate) -> u8 {
    let survived = e.moment(Moment::PreprocessStart) != 0 && fate.kind != FateKind::Quarantined;
    deaths.saturating_add(u32::from(survived)).min(255) as u8
}

/// Where the time went, from the moments that the stages left.
fn times(e: &Extension, arrival_ns: u64, start_ns: u64) -> StageTimes {
    let between = |a: u64, b: u64| if a == 0 || b == 0 { 0 } else { StageTimes::saturate(b.saturating_sub(a)) };
    let m = |moment| e.moment(moment);
    let end = now_ns();
    StageTimes {
        assemble_ns: between(arrival_ns, m(Moment::Admitted)),
        preprocess_wait_ns: between(m(Moment::Admitted), m(Moment::PreprocessStart)),
        preprocess_work_ns: between(m(Moment::PreprocessStart), m(Moment::PreprocessEnd)),
        infer_wait_ns: between(m(Moment::PreprocessEnd), m(Moment::InferStart)),
        infer_work_ns: between(m(Moment::InferStart), m(Moment::InferEnd)),
        tx_wait_ns: between(m(Moment::InferEnd), start_ns),
        tx_work_ns: between(start_ns, end),
        total_ns: end.saturating_sub(arrival_ns),
    }
}

/// How a reply goes out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) link: Option<Link>,
    pub(crate) from: Address,
    /// Longest datagram in one packet, bytes.
    pub(crate) max_datagram: usize,
    /// Longest reply, bytes.
    pub(crate) max_reply_bytes: usize,
}

impl Reply {
    /// Post-processes and writes the reply into the head's buffer. `fate`: how the frame has ended already, if it has.
    pub(crate) fn build(
        cx: &Context,
        mut head: Held,
        meta: FrameMeta,
        answers: &mut Answers,
        rule: &Rule,
        way: Way,
    ) -> Self {
        let start_ns = now_ns();
        let d = cx.table.of(&head);
        let key = rule.key.as_ref().filter(|_| meta.flags & FrameMeta::MAC != 0);
        let at = DATA_OFFSET as usize;
        let header_len = header_len(key.is_some());
        let room = at + header_len..at + MAX_DATAGRAM;
        let known = d.fate();
        let answered = Fate { kind: FateKind::Answered, reason: 0 };
        let (mut fate, mut info, mut body) = (known.unwrap_or(answered), ResultInfo::None, Body::Inline(0));
        if known.is_none() && meta.reply_to.get().is_some() {
            let model = cx.arena.extensions()[head.index() as usize].model();
            let areas = cx.arena.reply_areas(&mut head);
            let result = areas.and_then(|(buffer, area)| answers.answer(model, area, buffer.get_mut(room.clone())?));
            match result {
                Some((i, b)) => (info, body) = (i, b),
                None => fate = Fate { kind: FateKind::Dropped, reason: DropReason::Other.code() },
            }
        }
        let total = match body {
            Body::Inline(len) | Body::Output(len) => len,
        };
        if total > way.max_reply_bytes {
            cx.page.add(TxCounter::TooLarge as usize, 1);
            fate = Fate { kind: FateKind::Dropped, reason: DropReason::ResultTooLarge.code() };
            (info, body) = (ResultInfo::None, Body::Inline(0));
        }
        if fate.kind != FateKind::Answered {
            // Before it is sent: a successor that finds it sent would record it as answered.
            d.set_fate(fate);
        }
        let plan = match body {
            Body::Output(len) => FragmentPlan::new(len, MTU_DATAGRAM.min(way.max_datagram), header_len).ok(),
            Body::Inline(len) if header_len + len > way.max_datagram => {
                FragmentPlan::new(len, way.max_datagram, header_len).ok()
            }
            Body::Inline(_) => None,
        };
        let frame = FrameKey { stream_id: meta.stream, session: meta.session, frame_id: meta.frame };
        let mut header = ReplyHeader::new(frame, meta.capture_time, status_of(fate));
        header.result = info;
        let extension = &cx.arena.extensions()[head.index() as usize];
        header.attempts = attempts(d.attempts.load(Ordering::Relaxed), extension, fate);
        header.times = times(extension, meta.arrival_ns, start_ns);
        if let (None, Body::Inline(len)) = (&plan, body) {
            header.fragment = wire::Fragment::whole(len as u32);
            let buffer = cx.arena.packet_mut(&mut head);
            let (before, payload) = buffer.split_at_mut(room.start);
            // The lengths fit by construction; a header that could not be written would go out as zeros and be refused.
            let _ = header.write_header(&mut before[at..], &[&payload[..len]], key);
        }
        let seq = cx.table.of(&head).owner().seq;
        let (way, frame) = ((way.link, way.from), DataRange { offset: 0, len: 0 });
        Self { head, fate, header, plan, body, meta, seq, sent: 0, start_ns, header_len, way, frame, stuck: false }
    }

    /// The link that it goes by.
    pub(crate) fn link(&self) -> Option<Link> {
        self.way.0
    }

    /// Writes the next datagram, all its headers included, into the head's own buffer. False: it cannot be sent so.
    ///
    /// A fragment of what lies in the buffer gets its header right before it, over what is out already.
    pub(crate) fn prepare_frame(&mut self, cx: &Context, key: Option<&MacKey>, port: &dyn TxPort) -> bool {
        let Some(link) = self.way.0 else { return false };
        let key = key.filter(|_| self.meta.flags & FrameMeta::MAC != 0);
        let at = DATA_OFFSET as usize;
        let datagram = match (&self.plan, self.body) {
            (None, Body::Inline(len)) => at..at + self.header_len + len,
            (plan, body) => {
                let Some(fragment) = plan.as_ref().and_then(|p| p.fragment(self.sent)) else { return false };
                self.header.fragment = fragment;
                let (from, len) = (fragment.offset as usize, fragment.len as usize);
                let Some((buffer, area)) = cx.arena.reply_areas(&mut self.head) else { return false };
                let at = if let Body::Output(_) = body { at } else { at + from };
                let range = at..at + self.header_len + len;
                let Some(datagram) = buffer.get_mut(range.clone()) else { return false };
                let (header, payload) = datagram.split_at_mut(self.header_len);
                if let Body::Output(_) = body {
                    let Some(part) = area.get(from..from + len) else { return false };
                    payload.copy_from_slice(part);
                }
                // The lengths fit by construction, as in `build`.
                let _ = self.header.write_header(header, &[payload], key);
                range
            }
        };
        let payload = DataRange { offset: datagram.start as u16, len: datagram.len() as u16 };
        let route = Route { to: self.meta.reply_to, from: self.way.1, link };
        let frame = port.enclose(cx.arena.packet_mut(&mut self.head), payload, &route);
        self.frame = frame.unwrap_or(self.frame);
        frame.is_some()
    }

    /// The datagram that was prepared for the link.
    pub(crate) fn framed(&self, cx: &Context) -> Datagram<'_> {
        let (from, len) = (usize::from(self.frame.offset), usize::from(self.frame.len));
        let first = cx.arena.packet(&self.head).get(from..from + len).unwrap_or_default();
        Datagram {
            head: &self.head,
            seq: self.seq,
            last: self.sent + 1 == self.count(),
            first,
            second: &[],
            to: self.meta.reply_to,
            from: self.way.1,
            offset: self.frame.offset,
            link: self.way.0,
        }
    }

    /// Bytes of the frame that was prepared.
    pub(crate) fn framed_len(&self) -> usize {
        self.frame.len.into()
    }

    /// It cannot go by its link: the kernel's socket takes it, what has not gone out yet. False: a part of it has, from where the
    /// socket could not send the rest.
    pub(crate) fn forget_link(&mut self, cx: &Context, key: Option<&MacKey>) -> bool {
        if let (Some(_), Body::Inline(len)) = (&self.plan, self.body) {
            if self.sent > 0 {
                return false;
            }
            // The socket sends in one datagram what was to be cut for the link.
            self.plan = None;
            self.header.fragment = wire::Fragment::whole(len as u32);
            let (at, key) = (DATA_OFFSET as usize, key.filter(|_| self.meta.flags & FrameMeta::MAC != 0));
            let (before, payload) = cx.arena.packet_mut(&mut self.head).split_at_mut(at + self.header_len);
            // The lengths fit by construction, as in `build`.
            let _ = self.header.write_header(&mut before[at..], &[&payload[..len]], key);
        }
        self.way.0 = None;
        true
    }

    /// The head is in hand again, after the device has sent it.
    pub(crate) fn is_back(&mut self, head: Held) {
        std::mem::replace(&mut self.head, head).release();
    }

    /// Datagrams of the whole reply.
    pub(crate) fn count(&self) -> u16 {
        self.plan.as_ref().map_or(1, FragmentPlan::count)
    }

    /// Writes the headers of the next round of a fragmented reply; returns how many datagrams the round has.
    pub(crate) fn prepare(&mut self, cx: &Context, key: Option<&MacKey>) -> usize {
        let Some(plan) = &self.plan else { return 1 };
        let key = key.filter(|_| self.meta.flags & FrameMeta::MAC != 0);
        let n = usize::from(plan.count() - self.sent).min(ROUND);
        for i in 0..n {
            let Some(fragment) = plan.fragment(self.sent + i as u16) else { return i };
            self.header.fragment = fragment;
            let (from, to) = (fragment.offset as usize, (fragment.offset + fragment.len) as usize);
            let at = DATA_OFFSET as usize + i * HEADER_ROOM;
            let Some((buffer, area)) = cx.arena.reply_areas(&mut self.head) else { return i };
            let Some(part) = area.get(from..to) else { return i };
            let _ = self.header.write_header(&mut buffer[at..at + HEADER_ROOM], &[part], key);
        }
        n
    }

    /// The `i`th datagram of the round that was prepared.
    pub(crate) fn datagram(&self, cx: &Context, i: usize) -> Datagram<'_> {
        let at = DATA_OFFSET as usize + i * HEADER_ROOM;
        let buffer = cx.arena.packet(&self.head);
        let (first, second) = match (&self.plan, self.body) {
            (None, Body::Inline(len)) => (&buffer[at..at + self.header_len + len], &[][..]),
            (plan, _) => {
                let fragment = plan.as_ref().and_then(|p| p.fragment(self.sent + i as u16));
                let range = fragment.map_or(0..0, |f| f.offset as usize..(f.offset + f.len) as usize);
                let part = cx.arena.output(&self.head).and_then(|a| a.get(range)).unwrap_or_default();
                (&buffer[at..at + self.header_len], part)
            }
        };
        let last = usize::from(self.sent) + i + 1 == usize::from(self.count());
        let (to, from) = (self.meta.reply_to, self.way.1);
        Datagram { head: &self.head, seq: self.seq, last, first, second, to, from, offset: at as u16, link: None }
    }

    /// Whether it is a status and not a result.
    pub(crate) fn is_status(&self) -> bool {
        self.fate.kind != FateKind::Answered
    }

    /// Whether anything is to be sent.
    pub(crate) fn has_address(&self) -> bool {
        self.meta.reply_to.get().is_some()
    }

    /// The frame's metadata.
    pub(crate) fn meta(&self) -> &FrameMeta {
        &self.meta
    }
}
