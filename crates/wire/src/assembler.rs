//! For clients: the fragments of results joined again. Allocates; the pipeline itself never uses it.

use std::collections::{HashMap, VecDeque};

use crate::error::ReplyError;
use crate::fragment::Fragment;
use crate::header::FrameKey;
use crate::reply::{Reply, ReplyHeader};
use crate::result::ResultView;

/// A reply with all bytes of its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompleteReply {
    /// The fields; the fragment is the whole.
    pub header: ReplyHeader,
    /// All bytes of the result.
    pub bytes: Vec<u8>,
}

impl CompleteReply {
    /// The result.
    pub fn result(&self) -> Result<ResultView<'_>, ReplyError> {
        self.header.result.view(&self.bytes)
    }
}

/// Joins fragments of replies, in whatever order they come and however often. Memory is bounded: at most `max_pending`
/// incomplete replies of at most `max_result_len` bytes each are kept; the oldest gives way.
#[derive(Debug)]
pub struct ReplyAssembler {
    pending: HashMap<FrameKey, Pending>,
    /// Keys of `pending`, oldest first.
    order: VecDeque<FrameKey>,
    max_pending: usize,
    max_result_len: usize,
    evicted: u64,
}

#[derive(Debug)]
struct Pending {
    header: ReplyHeader,
    bytes: Vec<u8>,
    arrived: Vec<bool>,
    missing: u16,
}

impl ReplyAssembler {
    /// An empty assembler with these limits.
    pub fn new(max_pending: usize, max_result_len: usize) -> Self {
        Self {
            pending: HashMap::new(),
            order: VecDeque::new(),
            max_pending: max_pending.max(1),
            max_result_len,
            evicted: 0,
        }
    }

    /// Takes a datagram in; gives the reply back when this was the last part missing. Copies of parts are ignored; a
    /// reply that was made anew replaces the incomplete one of the same frame. Copies of a reply that is complete are
    /// the caller's to recognise, by their key.
    pub fn push(&mut self, reply: &Reply<'_>) -> Result<Option<CompleteReply>, ReplyError> {
        let (header, fragment) = (reply.header, reply.header.fragment);
        if fragment.total_len as usize > self.max_result_len {
            return Err(ReplyError::TooLarge { total_len: fragment.total_len, limit: self.max_result_len });
        }
        if fragment.is_whole() {
            self.forget(header.key);
            return Ok(Some(CompleteReply { header, bytes: reply.payload.to_vec() }));
        }
        if self.pending.get(&header.key).is_some_and(|pending| !pending.header.same_reply(&header)) {
            self.forget(header.key);
        }
        if !self.pending.contains_key(&header.key) {
            self.make_room();
            self.order.push_back(header.key);
        }
        let pending = self.pending.entry(header.key).or_insert_with(|| Pending::new(header));
        pending.add(fragment, reply.payload);
        if pending.missing > 0 {
            return Ok(None);
        }
        self.order.retain(|&key| key != header.key);
        Ok(self.pending.remove(&header.key).map(Pending::complete))
    }

    /// Incomplete replies at present.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Incomplete replies that gave way to newer ones.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Gives up what has arrived of a reply.
    pub fn forget(&mut self, key: FrameKey) {
        if self.pending.remove(&key).is_some() {
            self.order.retain(|&other| other != key);
        }
    }

    fn make_room(&mut self) {
        while self.pending.len() >= self.max_pending {
            let Some(oldest) = self.order.pop_front() else { return };
            self.pending.remove(&oldest);
            self.evicted += 1;
        }
    }
}

impl Pending {
    fn new(header: ReplyHeader) -> Self {
        let Fragment { count, total_len, .. } = header.fragment;
        Self { header, bytes: vec![0; total_len as usize], arrived: vec![false; usize::from(count)], missing: count }
    }

    /// Range and index lie inside: the fragment was checked, and it has the plan of the one that made this entry.
    fn add(&mut self, fragment: Fragment, payload: &[u8]) {
        let start = fragment.offset as usize;
        let place = self.bytes.get_mut(start..start + payload.len());
        let arrived = self.arrived.get_mut(usize::from(fragment.index));
        if let (Some(place), Some(arrived @ false)) = (place, arrived) {
            place.copy_from_slice(payload);
            *arrived = true;
            self.missing -= 1;
        }
    }

    fn complete(self) -> CompleteReply {
        let fragment = Fragment::whole(self.header.fragment.total_len);
        CompleteReply { header: ReplyHeader { fragment, ..self.header }, bytes: self.bytes }
    }
}
