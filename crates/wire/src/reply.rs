//! Replies: what became of a frame, and its result, or a part of the result.

use crate::error::{BuildError, ReplyError};
use crate::fragment::Fragment;
use crate::header::{Envelope, FrameKey, Kind, Prefix, seal};
use crate::layout::{self, Base, put, reply, u16_at, u32_at, u64_at};
use crate::mac::{MacError, MacKey};
use crate::request::{read_fragment, write_fragment};
use crate::result::{ResultFields, ResultInfo, ResultView};
use crate::status::Status;
use crate::{BASE_HEADER_LEN, MAX_RANK};

/// Where a frame's time went, in nanoseconds; fields of 32 bits stop at 4.29 s. A step that the frame did not reach is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageTimes {
    /// From the arrival of the first packet until the frame was complete and admitted.
    pub assemble_ns: u32,
    /// From admission until preprocess took it.
    pub preprocess_wait_ns: u32,
    /// Decode, convert, resize, normalise.
    pub preprocess_work_ns: u32,
    /// From the end of preprocess until infer took it.
    pub infer_wait_ns: u32,
    /// From submission to the engine until its result.
    pub infer_work_ns: u32,
    /// From the end of inference until tx took it.
    pub tx_wait_ns: u32,
    /// Post-processing and writing the reply.
    pub tx_work_ns: u32,
    /// From the arrival of the first packet until the reply was written.
    pub total_ns: u64,
}

impl StageTimes {
    /// A duration in nanoseconds as a field of 32 bits.
    pub const fn saturate(duration_ns: u64) -> u32 {
        if duration_ns > u32::MAX as u64 { u32::MAX } else { duration_ns as u32 }
    }
}

/// What a reply says of its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyHeader {
    /// Stream, session and frame id of the request.
    pub key: FrameKey,
    /// Which part of the result this datagram carries; of a status reply [`Fragment::whole`]`(0)`.
    pub fragment: Fragment,
    /// What became of the frame.
    pub status: Status,
    /// How many times processing began, counting only interruptions that may be the frame's own doing; 1 as a rule.
    pub attempts: u8,
    /// What the result is; [`ResultInfo::None`] unless the status is [`Status::Ok`].
    pub result: ResultInfo,
    /// The request's capture time.
    pub capture_time: u64,
    /// Where the time went.
    pub times: StageTimes,
    /// The upper half may be ignored by receivers, and none are defined in version 1. Senders write 0.
    pub flags: u32,
}

/// A datagram that holds a valid reply. `payload` borrows the datagram; nothing was copied.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// The fields.
    pub header: ReplyHeader,
    /// The bytes of this fragment of the result.
    pub payload: &'a [u8],
    envelope: Envelope<'a>,
    mac_at: Option<usize>,
}

impl ReplyHeader {
    /// A reply without result, times or attempts, to be filled in.
    pub const fn new(key: FrameKey, capture_time: u64, status: Status) -> Self {
        Self {
            key,
            fragment: Fragment::whole(0),
            status,
            attempts: 0,
            result: ResultInfo::None,
            capture_time,
            times: StageTimes {
                assemble_ns: 0,
                preprocess_wait_ns: 0,
                preprocess_work_ns: 0,
                infer_wait_ns: 0,
                infer_work_ns: 0,
                tx_wait_ns: 0,
                tx_work_ns: 0,
                total_ns: 0,
            },
            flags: 0,
        }
    }

    /// Writes the header to the beginning of `out`, with the checksum over header and payload (and the MAC, with a key),
    /// and returns its length, [`crate::header_len`]. The payload is the concatenation of `payload_parts`, wherever they
    /// lie; they are only read, so that they can be sent from their places.
    pub fn write_header(
        &self,
        out: &mut [u8],
        payload_parts: &[&[u8]],
        mac_key: Option<&MacKey>,
    ) -> Result<usize, BuildError> {
        self.fragment.check(true)?;
        if !self.is_consistent() {
            return Err(BuildError::ResultShape);
        }
        let mut base: Base = [0; BASE_HEADER_LEN];
        put(&mut base, layout::FLAGS_AT, self.flags.to_le_bytes());
        write_fragment(&mut base, &self.fragment);
        let (status, reason) = self.status.codes();
        base[reply::STATUS_AT] = status;
        base[reply::REASON_AT] = reason;
        base[reply::ATTEMPTS_AT] = self.attempts;
        put(&mut base, layout::CAPTURE_TIME_AT, self.capture_time.to_le_bytes());
        write_result_fields(&mut base, &self.result.fields());
        write_times(&mut base, &self.times);
        let prefix = Prefix { kind: Kind::Reply, key: self.key, payload_len: self.fragment.len };
        seal(out, base, prefix, payload_parts, mac_key)
    }

    /// Reads a datagram and checks all that one datagram can tell.
    pub fn parse(datagram: &[u8]) -> Result<Reply<'_>, ReplyError> {
        let envelope = Envelope::open(datagram, Kind::Reply)?;
        let mac_at = envelope.understand()?;
        let base = envelope.base;
        let fragment = read_fragment(base);
        fragment.check(true)?;
        let status = base[reply::STATUS_AT];
        let header = Self {
            key: FrameKey::read(base),
            fragment,
            status: Status::from_codes(status, base[reply::REASON_AT]).ok_or(ReplyError::UnknownStatus { status })?,
            attempts: base[reply::ATTEMPTS_AT],
            result: ResultInfo::from_fields(read_result_fields(base))?,
            capture_time: u64_at(base, layout::CAPTURE_TIME_AT),
            times: read_times(base),
            flags: u32_at(base, layout::FLAGS_AT),
        };
        if !header.is_consistent() {
            return Err(ReplyError::BadResult { len: fragment.total_len as usize });
        }
        Ok(Reply { header, payload: envelope.payload, envelope, mac_at })
    }

    /// Whether two fragments are of the same reply: all fields equal but the fragment's own place. A reply that was made
    /// anew after a crash differs in its times and is another one.
    pub fn same_reply(&self, other: &Self) -> bool {
        self.fragment.same_plan(&other.fragment) && Self { fragment: other.fragment, ..*self } == *other
    }

    fn is_consistent(&self) -> bool {
        let may_have_result = matches!(self.status, Status::Ok) || matches!(self.result, ResultInfo::None);
        may_have_result && self.result.fits(self.fragment.total_len as usize)
    }
}

impl<'a> Reply<'a> {
    /// The result, if this datagram holds all of it.
    pub fn result(&self) -> Result<ResultView<'a>, ReplyError> {
        if !self.header.fragment.is_whole() {
            return Err(ReplyError::Fragmented { count: self.header.fragment.count });
        }
        self.header.result.view(self.payload)
    }

    /// Whether the datagram carries a MAC, right or wrong.
    pub const fn has_mac(&self) -> bool {
        self.mac_at.is_some()
    }

    /// Checks the MAC against the stream's key.
    pub fn authenticate(&self, mac_key: Option<&MacKey>) -> Result<(), MacError> {
        self.envelope.authenticate(self.mac_at, mac_key)
    }
}

fn write_result_fields(base: &mut Base, fields: &ResultFields) {
    base[reply::RESULT_KIND_AT] = fields.kind;
    put(base, reply::RESULT_COUNT_AT, fields.count.to_le_bytes());
    base[reply::DTYPE_AT] = fields.dtype;
    base[reply::RANK_AT] = fields.rank;
    for (axis, dim) in fields.dims.iter().enumerate() {
        put(base, reply::DIMS_AT + axis * 4, dim.to_le_bytes());
    }
}

fn read_result_fields(base: &Base) -> ResultFields {
    let mut dims = [0; MAX_RANK];
    for (axis, dim) in dims.iter_mut().enumerate() {
        *dim = u32_at(base, reply::DIMS_AT + axis * 4);
    }
    ResultFields {
        kind: base[reply::RESULT_KIND_AT],
        count: u16_at(base, reply::RESULT_COUNT_AT),
        dtype: base[reply::DTYPE_AT],
        rank: base[reply::RANK_AT],
        dims,
    }
}

fn write_times(base: &mut Base, times: &StageTimes) {
    put(base, reply::ASSEMBLE_NS_AT, times.assemble_ns.to_le_bytes());
    put(base, reply::TOTAL_NS_AT, times.total_ns.to_le_bytes());
    put(base, reply::PREPROCESS_WAIT_NS_AT, times.preprocess_wait_ns.to_le_bytes());
    put(base, reply::PREPROCESS_WORK_NS_AT, times.preprocess_work_ns.to_le_bytes());
    put(base, reply::INFER_WAIT_NS_AT, times.infer_wait_ns.to_le_bytes());
    put(base, reply::INFER_WORK_NS_AT, times.infer_work_ns.to_le_bytes());
    put(base, reply::TX_WAIT_NS_AT, times.tx_wait_ns.to_le_bytes());
    put(base, reply::TX_WORK_NS_AT, times.tx_work_ns.to_le_bytes());
}

fn read_times(base: &Base) -> StageTimes {
    StageTimes {
        assemble_ns: u32_at(base, reply::ASSEMBLE_NS_AT),
        preprocess_wait_ns: u32_at(base, reply::PREPROCESS_WAIT_NS_AT),
        preprocess_work_ns: u32_at(base, reply::PREPROCESS_WORK_NS_AT),
        infer_wait_ns: u32_at(base, reply::INFER_WAIT_NS_AT),
        infer_work_ns: u32_at(base, reply::INFER_WORK_NS_AT),
        tx_wait_ns: u32_at(base, reply::TX_WAIT_NS_AT),
        tx_work_ns: u32_at(base, reply::TX_WORK_NS_AT),
        total_ns: u64_at(base, reply::TOTAL_NS_AT),
    }
}
