//! One packet: its verdict, and what follows from it.

use crate::assembly::{Added, Standing};
use crate::gateway::{Live, payload_range};
use crate::policy::Rules;
use arena::counters::Verdict;
use arena::descriptor::{DataRange, Fate, FateKind, Role};
use arena::gateway::NO_STREAM;
use arena::killpoint::{KillPoint, reach};
use arena::meta::{FrameMeta, Link};
use arena::record::Place;
use config::Pipeline;
use ports::{Received, Standing as Packet};
use stage::{Context, Stop};
use wire::{BadRequestReason, DropReason, Fragment, FrameKey, Request, RequestError, RequestHeader};

/// What to do with a packet.
enum Judgement {
    /// Count it, keep nothing.
    Discard(Verdict),
    /// Count it and tell its sender why, as far as the bytes say who that is.
    Refuse(Verdict, FrameMeta, BadRequestReason),
    /// Part of a frame.
    Keep(FrameMeta, Place),
    /// A neighbour's question, which is the answer by now: where that lies, and by which link it goes.
    Answer(Link, DataRange),
}

impl Judgement {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Discard(verdict) | Self::Refuse(verdict, ..) => *verdict,
            Self::Keep(..) => Verdict::Fragment,
            Self::Answer(..) => Verdict::Link,
        }
    }
}

impl Live {
    /// Deals with one packet. `counted`: a predecessor's journal line has counted it already.
    pub(crate) fn packet(
        &mut self,
        cx: &Context,
        rules: &Rules,
        pipeline: &Pipeline,
        mut packet: Received,
        counted: bool,
    ) -> Result<(), Stop> {
        let judgement = self.judge(cx, rules, pipeline, &mut packet);
        let (index, position) = (packet.held.index(), packet.position);
        let d = cx.table.of(&packet.held);
        if !counted {
            self.books.packet(judgement.verdict(), index, d.owner().seq, position);
        }
        let nothing = DataRange { offset: packet.data.offset, len: 0 };
        let (meta, place) = match judgement {
            Judgement::Discard(_) => {
                self.port.recorded(position);
                self.books.end();
                self.free.push(packet.held);
                return Ok(());
            }
            Judgement::Answer(link, data) => return self.send_answer(cx, packet.held, position, (link, data)),
            Judgement::Refuse(_, meta, _) => (meta, Place { data: nothing, fragment: 0, count: 1 }),
            Judgement::Keep(meta, place) => (meta, place),
        };
        let extension = &cx.arena.extensions()[index as usize];
        d.reset();
        extension.reset();
        extension.write_record(index, d, &meta, place);
        if let Judgement::Refuse(_, _, reason) = judgement {
            d.set_fate(Fate { kind: FateKind::BadRequest, reason: reason.code() });
        }
        d.set_role(Role::Assembling);
        self.port.recorded(position);
        self.books.end();
        reach(KillPoint::Assembling);
        self.place(cx, rules, pipeline, packet.held, &meta, place)
    }

    /// Puts a recorded fragment into its frame; a complete frame is admitted.
    pub(crate) fn place(
        &mut self,
        cx: &Context,
        rules: &Rules,
        pipeline: &Pipeline,
        held: arena::Held,
        meta: &FrameMeta,
        place: Place,
    ) -> Result<(), Stop> {
        let d = cx.table.of(&held);
        if let Some(fate) = d.fate() {
            self.parts.push(held);
            return self.admit(cx, rules, Some(fate));
        }
        let Place { fragment, count, .. } = place;
        if count == 1 {
            self.parts.push(held);
            return self.admit(cx, rules, None);
        }
        if self.streams.row(meta.stream_row).is_none() {
            // Only a fragment of a dead predecessor whose record was overwritten; it must not end each successor too.
            d.set_role(Role::Free);
            self.free.push(held);
            return Ok(());
        }
        let name = (meta.stream_row, meta.frame);
        let at = if let Some(Standing::Assembling(at)) = self.assemblies.place(name) {
            at
        } else if let Some(at) = self.begin_frame(cx, rules, pipeline, name, count)? {
            at
        } else {
            d.set_role(Role::Free);
            self.free.push(held);
            return Ok(());
        };
        match self.assemblies.add(at, fragment, held, meta.arrival_ns) {
            Added::Incomplete => Ok(()),
            Added::Duplicate(held) => {
                cx.table.of(&held).set_role(Role::Free);
                self.free.push(held);
                Ok(())
            }
            Added::Complete(at) => self.complete(cx, rules, at),
        }
    }

    /// Begins a frame of several packets. A stream that has too many half-assembled ones gives up its oldest.
    fn begin_frame(
        &mut self,
        cx: &Context,
        rules: &Rules,
        pipeline: &Pipeline,
        name: (u32, u64),
        count: u16,
    ) -> Result<Option<u32>, Stop> {
        let row = name.0;
        if *self.streams.assembling(row) >= pipeline.limits.max_assembling_per_stream
            && let Some(oldest) = self.assemblies.oldest_of(row)
        {
            self.give_up(cx, rules, oldest, DropReason::Evicted)?;
        }
        let timeout_ns = u64::from(pipeline.limits.assembly_timeout_ms) * 1_000_000;
        let Some(at) = self.assemblies.begin(name, count, cx.now_ns, timeout_ns) else { return Ok(None) };
        *self.streams.assembling(row) += 1;
        self.streams.begin(row);
        Ok(Some(at))
    }

    fn complete(&mut self, cx: &Context, rules: &Rules, at: u32) -> Result<(), Stop> {
        let taken = self.assemblies.take(at, &mut self.parts);
        *self.streams.assembling(taken.name.0) -= 1;
        self.streams.end(taken.name.0);
        if let Some(head) = self.parts.first().map(arena::Held::index)
            && let Ok(meta) = cx.arena.frame_meta(head)
        {
            // The budget counts from the first packet that came, whichever that was. A damaged record is for `admit` to see.
            let early_ns = meta.arrival_ns.saturating_sub(taken.first_ns);
            if early_ns > 0 {
                cx.arena.extensions()[head as usize].set_first_arrival(head, early_ns);
            }
        }
        self.admit(cx, rules, None)
    }

    fn judge(&mut self, cx: &Context, rules: &Rules, pipeline: &Pipeline, packet: &mut Received) -> Judgement {
        if packet.standing == Packet::Other {
            let queue = packet.link.map_or(0, |link| link.queue);
            let answer = self.neighbours.answer(cx.arena.packet_mut(&mut packet.held), packet.data, queue, cx.now_ns);
            return answer.map_or_else(Judgement::Discard, |(link, data)| Judgement::Answer(link, data));
        }
        let packet = &*packet;
        let (refused, rule) = self.access.refuses(packet, cx.now_ns);
        if let Some(rule) = rule {
            self.books.access_hit(rule);
        }
        if let Some(verdict) = refused {
            return Judgement::Discard(verdict);
        }
        let (from, len) = (packet.data.offset as usize, packet.data.len as usize);
        let bytes = cx.arena.packet(&packet.held);
        let Some(datagram) = bytes.get(from..from + len) else { return Judgement::Discard(Verdict::Malformed) };
        if len > pipeline.ingress.max_datagram_bytes as usize {
            return Judgement::Discard(Verdict::Malformed);
        }
        // Looked at where it lies: it was written in pieces just now, and a copy would wait for them.
        let request = &RequestHeader::parse(datagram);
        let request = match request {
            Ok(request) => request,
            Err(error) => return refusal(rules, packet, datagram, error),
        };
        let header = &request.header;
        let rule_row = rules.row(header.key.stream_id);
        let rule = rules.get(rule_row);
        if !packet.peer.get().is_some_and(|a| rule.admits(a.ip())) {
            return Judgement::Discard(Verdict::Source);
        }
        if request.authenticate(rule.key.as_ref()).is_err() {
            return Judgement::Discard(Verdict::Mac);
        }
        let Some(row) = self.streams.find(packet.peer, header.key.stream_id, header.key.session, cx.now_ns) else {
            return Judgement::Discard(Verdict::Streams);
        };
        let mut meta = meta_of(header.key, packet, rule_row, rules);
        meta.stream_row = row;
        fill(&mut meta, request, cx.now_ns, rule.budget_ns(header.deadline_us));
        let name = (row, header.key.frame_id);
        let known = self.streams.row(row).is_some_and(|r| r.has_finished(header.key.frame_id));
        if known || self.assemblies.place(name) == Some(Standing::InFlight) {
            return Judgement::Discard(Verdict::Duplicate);
        }
        let fragment = header.fragment;
        if let Some(Standing::Assembling(at)) = self.assemblies.place(name) {
            if !self.agrees(cx, at, &meta, &fragment) {
                return Judgement::Discard(Verdict::Contradicts);
            }
            if self.assemblies.has(at, fragment.index) {
                return Judgement::Discard(Verdict::Duplicate);
            }
            return Judgement::Keep(meta, place_of(packet, request));
        }
        let room = cx.arena.geometry().buffers - cx.arena.geometry().buffers / 8;
        if fragment.total_len > pipeline.limits.max_frame_bytes || u32::from(fragment.count) > room {
            if fragment.index == 0 {
                return Judgement::Refuse(Verdict::TooLarge, meta, BadRequestReason::TooLarge);
            }
            return Judgement::Discard(Verdict::TooLarge);
        }
        if fragment.count > 1 && self.assemblies.is_full() {
            return Judgement::Discard(Verdict::Assembly);
        }
        Judgement::Keep(meta, place_of(packet, request))
    }

    /// Whether a fragment says the same of its frame, and of how it was cut, as those that are there.
    fn agrees(&self, cx: &Context, at: u32, meta: &FrameMeta, fragment: &Fragment) -> bool {
        let Some(sample) = self.assemblies.sample(at) else { return true };
        // One whose record is damaged agrees with nothing: its frame will not be completed.
        let Ok((there, place)) = cx.arena.record(sample) else { return false };
        let cut = Fragment {
            index: place.fragment,
            count: place.count,
            offset: there.fragment_offset,
            len: place.data.len.into(),
            total_len: there.total_len,
        };
        cut.same_plan(fragment)
            && (there.total_len, there.encoding, there.width, there.height, there.capture_time)
                == (meta.total_len, meta.encoding, meta.width, meta.height, meta.capture_time)
    }
}

/// Where a fragment's payload lies in its buffer, and which fragment it is.
fn place_of(packet: &Received, request: &Request<'_>) -> Place {
    let Fragment { index, count, .. } = request.header.fragment;
    Place { data: payload_range(packet.data, request.header_len(), request.payload.len()), fragment: index, count }
}

fn meta_of(key: FrameKey, packet: &Received, rule_row: u16, rules: &Rules) -> FrameMeta {
    let rule = rules.get(rule_row);
    FrameMeta {
        stream: key.stream_id,
        session: key.session,
        frame: key.frame_id,
        policy: rule_row,
        stream_row: NO_STREAM,
        peer: packet.peer,
        local: packet.local,
        link: packet.link,
        reply_to: rule.reply_to(packet.peer),
        flags: if rule.reply_on_drop() { FrameMeta::REPLY_ON_DROP } else { 0 },
        ..FrameMeta::default()
    }
}

fn fill(meta: &mut FrameMeta, request: &Request<'_>, now_ns: u64, budget_ns: u64) {
    let header = &request.header;
    meta.encoding = header.encoding.code();
    meta.width = header.width.into();
    meta.height = header.height.into();
    meta.capture_time = header.capture_time;
    meta.total_len = header.fragment.total_len;
    meta.fragment_offset = header.fragment.offset;
    meta.arrival_ns = now_ns;
    meta.deadline_ns = if budget_ns == 0 { 0 } else { now_ns + budget_ns };
    if request.has_mac() {
        meta.flags |= FrameMeta::MAC;
    }
}

/// A datagram that does not parse: noise is discarded; a damaged one too; a request that we do not understand, from
/// somebody who may send, is answered with the reason.
fn refusal(rules: &Rules, packet: &Received, datagram: &[u8], error: &RequestError) -> Judgement {
    let verdict = if error.name() == "bad-checksum" { Verdict::Checksum } else { Verdict::Malformed };
    let (Some(reason), Some(key)) = (error.bad_request_reason(), RequestHeader::peek_key(datagram)) else {
        return Judgement::Discard(verdict);
    };
    let rule_row = rules.row(key.stream_id);
    let rule = rules.get(rule_row);
    if !packet.peer.get().is_some_and(|a| rule.admits(a.ip())) {
        return Judgement::Discard(Verdict::Source);
    }
    if rule.key.is_some() && RequestHeader::verify_mac(datagram, rule.key.as_ref()).is_err() {
        return Judgement::Discard(Verdict::Mac);
    }
    let mut meta = meta_of(key, packet, rule_row, rules);
    if rule.key.is_some() {
        meta.flags |= FrameMeta::MAC;
    }
    Judgement::Refuse(verdict, meta, reason)
}
