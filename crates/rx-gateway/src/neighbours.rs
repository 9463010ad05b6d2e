//! Answers to neighbours on the link, where no kernel gives them: who has our addresses, and are we there.
//!
//! An answer is written over its question and takes the way of a status reply: a head, to tx, and home. It is no frame
//! ([`arena::descriptor::ANSWER`]): the packet is counted by its verdict, and nothing else. How many are on their way and how
//! many there are in a second is bounded, so that whoever floods us with questions takes neither buffers nor time from
//! frames. Echoes have less than half of both: without an answer to a ping nobody misses anything, without the others nobody can
//! send to us.

use crate::gateway::Live;
use acl::Gcra;
use arena::Held;
use arena::counters::Verdict;
use arena::descriptor::DataRange;
use arena::gateway::NO_STREAM;
use arena::meta::{FrameMeta, Link};
use arena::record::Place;
use config::{Driver, Pipeline, Rate};
use stage::{Context, Stop};
use std::net::IpAddr;
use wire::packet::{Question, Station, Topic};

/// Answers on their way at once.
const MOST: u32 = 64;
/// And no more than this part of a rx-gateway's buffers.
const SHARE: u32 = 8;
/// A link of a thousand hosts that come up within a second, and then ask again every half minute (RFC 4861 section 10).
const RESOLUTIONS: Rate = Rate { per_second: 1000, burst: 128 };
const ECHOES: Rate = Rate { per_second: 200, burst: 32 };

/// A rate of its own for a kind of question, whoever asks.
#[derive(Debug)]
struct Limit {
    gcra: Gcra,
    arrival_ns: u64,
}

impl Limit {
    fn new(rate: Rate) -> Self {
        Self { gcra: Gcra::new(rate), arrival_ns: 0 }
    }

    fn admits(&mut self, now_ns: u64) -> bool {
        let next = self.gcra.admit(self.arrival_ns, now_ns);
        self.arrival_ns = next.unwrap_or(self.arrival_ns);
        next.is_some()
    }
}

/// Who we are, and how much is answered.
#[derive(Debug)]
pub(crate) struct Neighbours {
    mac: Option<[u8; 6]>,
    addresses: Vec<IpAddr>,
    resolutions: Limit,
    echoes: Limit,
    /// Answers that are not home yet.
    pub(crate) in_flight: u32,
    most: u32,
}

impl Neighbours {
    /// `mac`: of the port that requests come by, if neighbours learn it from us. `buffers`: that this rx-gateway has.
    pub(crate) fn new(pipeline: &Pipeline, mac: Option<[u8; 6]>, buffers: u32) -> Self {
        let (resolutions, echoes) = (Limit::new(RESOLUTIONS), Limit::new(ECHOES));
        let most = (buffers / SHARE).clamp(1, MOST);
        Self { mac, addresses: addresses(pipeline), resolutions, echoes, in_flight: 0, most }
    }

    /// Another configuration: the addresses may be others.
    pub(crate) fn reload(&mut self, pipeline: &Pipeline) {
        self.addresses = addresses(pipeline);
    }

    /// Writes the answer to the frame at `data` over it; by which link it goes, and where it lies.
    ///
    /// # Errors
    /// What is counted instead: it asks nothing of us, or too much is asked.
    pub(crate) fn answer(
        &mut self,
        buffer: &mut [u8],
        data: DataRange,
        queue: u8,
        now_ns: u64,
    ) -> Result<(Link, DataRange), Verdict> {
        let us = Station { mac: self.mac.ok_or(Verdict::Elsewhere)?, addresses: &self.addresses };
        let from = usize::from(data.offset);
        let at = from..from + usize::from(data.len);
        let frame = buffer.get(at.clone()).ok_or(Verdict::Headers)?;
        let question = Question::read(frame, &us).ok_or(Verdict::Elsewhere)?;
        let (limit, most) = match question.topic() {
            Topic::Resolution => (&mut self.resolutions, self.most),
            Topic::Echo => (&mut self.echoes, self.most / 2),
        };
        if self.in_flight >= most || !limit.admits(now_ns) {
            return Err(Verdict::LinkLimited);
        }
        let whole = question.answer(buffer, at, &us).ok_or(Verdict::Elsewhere)?;
        let place = u16::try_from(whole.start).ok().zip(u16::try_from(whole.len()).ok());
        let (offset, len) = place.ok_or(Verdict::Headers)?;
        Ok((ports::stored_link(question.link(), queue), DataRange { offset, len }))
    }
}

fn addresses(pipeline: &Pipeline) -> Vec<IpAddr> {
    let dpdk = pipeline.ingress.driver == Driver::Dpdk;
    if dpdk { pipeline.dpdk.addresses(pipeline.ingress.listen.ip()) } else { Vec::new() }
}

impl Live {
    /// Makes a head of a buffer whose packet has become an answer and has been counted, and sends it to tx. `position`: the
    /// driver's record of it.
    pub(crate) fn send_answer(
        &mut self,
        cx: &Context,
        held: Held,
        position: u32,
        (link, data): (Link, DataRange),
    ) -> Result<(), Stop> {
        let (index, d) = (held.index(), cx.table.of(&held));
        let extension = &cx.arena.extensions()[index as usize];
        d.reset();
        extension.reset();
        let meta = FrameMeta { link: Some(link), stream_row: NO_STREAM, arrival_ns: cx.now_ns, ..FrameMeta::default() };
        extension.write_record(index, d, &meta, Place { data, fragment: 0, count: 1 });
        arena::frame::make_answer(cx.table, &held);
        self.port.recorded(position);
        self.books.end();
        self.neighbours.in_flight += 1;
        self.status.push_roomy(held)
    }
}

#[cfg(test)]
mod tests;
