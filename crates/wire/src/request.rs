//! Requests: a frame, or a part of one, on its way to the pipeline.

use crate::encoding::Encoding;
use crate::error::{BuildError, RequestError};
use crate::fragment::Fragment;
use crate::header::{Envelope, FrameKey, Kind, Prefix, header_len, seal};
use crate::layout::{self, Base, put, request, u16_at, u32_at, u64_at};
use crate::mac::{MacError, MacKey};
use crate::{ALIGNMENT, BASE_HEADER_LEN};

/// What a request says of its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader {
    /// Stream, session and frame id.
    pub key: FrameKey,
    /// Which part of the frame this datagram carries.
    pub fragment: Fragment,
    /// How the frame's bytes are to be read.
    pub encoding: Encoding,
    /// Width in pixels; 0 if the encoding does not need it.
    pub width: u16,
    /// Height in pixels; 0 if the encoding does not need it.
    pub height: u16,
    /// Budget in microseconds, counted from the arrival of the frame's first packet; 0 asks for the stream's default.
    pub deadline_us: u32,
    /// Opaque to the pipeline, echoed in the reply.
    pub capture_time: u64,
    /// The upper half may be ignored by receivers, and none are defined in version 1. Senders write 0.
    pub flags: u32,
}

/// A datagram that holds a valid request. `payload` borrows the datagram; nothing was copied.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The fields.
    pub header: RequestHeader,
    /// The bytes of this fragment.
    pub payload: &'a [u8],
    envelope: Envelope<'a>,
    mac_at: Option<usize>,
}

impl RequestHeader {
    /// Reads a datagram and checks everything that can be checked without knowing the stream: magic, version, lengths,
    /// checksum, extensions, fragment arithmetic, encoding, and that raw frames are as long as their sides ask for.
    pub fn parse(datagram: &[u8]) -> Result<Request<'_>, RequestError> {
        let envelope = Envelope::open(datagram, Kind::Request)?;
        let mac_at = envelope.understand()?;
        let base = envelope.base;
        let fragment = read_fragment(base);
        fragment.check(false)?;
        let code = base[request::ENCODING_AT];
        let header = Self {
            key: FrameKey::read(base),
            fragment,
            encoding: Encoding::from_u8(code).ok_or(RequestError::UnknownEncoding { code })?,
            width: u16_at(base, request::WIDTH_AT),
            height: u16_at(base, request::HEIGHT_AT),
            deadline_us: u32_at(base, request::DEADLINE_US_AT),
            capture_time: u64_at(base, layout::CAPTURE_TIME_AT),
            flags: u32_at(base, layout::FLAGS_AT),
        };
        header.check_geometry()?;
        Ok(Request { header, payload: envelope.payload, envelope, mac_at })
    }

    /// Whose frame an undamaged request is of, in whatever version: all that an answer to a refused one can say.
    /// `None` if the bytes are no request or were damaged.
    pub fn peek_key(datagram: &[u8]) -> Option<FrameKey> {
        Envelope::open(datagram, Kind::Request).ok().map(|envelope| FrameKey::read(envelope.base))
    }

    /// Checks only the MAC of a request that [`Self::parse`] refuses for another reason: on a stream with a key, a refusal is
    /// answered only if this succeeds. Fails where version, flags or extensions are unknown.
    pub fn verify_mac(datagram: &[u8], mac_key: Option<&MacKey>) -> Result<(), RequestError> {
        let envelope = Envelope::open(datagram, Kind::Request)?;
        let mac_at = envelope.understand()?;
        Ok(envelope.authenticate(mac_at, mac_key)?)
    }

    /// Checks sides and total length against the encoding.
    pub const fn check_geometry(&self) -> Result<(), RequestError> {
        let Self { encoding, width, height, .. } = *self;
        let total_len = self.fragment.total_len;
        let expected = match encoding {
            Encoding::Jpeg | Encoding::TensorRaw => return Ok(()),
            Encoding::TensorF32 => (total_len as u64).next_multiple_of(4),
            _ => match encoding.expected_len(width, height) {
                Some(expected) => expected as u64,
                None => return Err(RequestError::BadGeometry { encoding, width, height }),
            },
        };
        if total_len as u64 == expected { Ok(()) } else { Err(RequestError::WrongTotal { total_len, expected }) }
    }

    /// Whether two fragments can be of the same frame: all fields equal but the fragment's own place.
    pub fn same_frame(&self, other: &Self) -> bool {
        self.fragment.same_plan(&other.fragment) && Self { fragment: other.fragment, ..*self } == *other
    }

    /// Writes the whole datagram, `payload` copied behind the header, and returns its length in bytes. With a key the
    /// datagram carries a MAC. Fragment arithmetic is checked, geometry is not (see [`Self::check_geometry`]).
    pub fn write(&self, out: &mut [u8], payload: &[u8], mac_key: Option<&MacKey>) -> Result<usize, BuildError> {
        self.fragment.check(false)?;
        let len = header_len(mac_key.is_some());
        let (needed, room) = (len + payload.len(), out.len());
        let place = out.get_mut(len..needed).ok_or(BuildError::NoRoom { needed, room })?;
        place.copy_from_slice(payload);
        let mut base: Base = [0; BASE_HEADER_LEN];
        put(&mut base, layout::FLAGS_AT, self.flags.to_le_bytes());
        write_fragment(&mut base, &self.fragment);
        base[request::ENCODING_AT] = self.encoding.code();
        put(&mut base, request::WIDTH_AT, self.width.to_le_bytes());
        put(&mut base, request::HEIGHT_AT, self.height.to_le_bytes());
        put(&mut base, request::DEADLINE_US_AT, self.deadline_us.to_le_bytes());
        put(&mut base, layout::CAPTURE_TIME_AT, self.capture_time.to_le_bytes());
        let prefix = Prefix { kind: Kind::Request, key: self.key, payload_len: self.fragment.len };
        seal(out, base, prefix, &[payload], mac_key)?;
        Ok(needed)
    }
}

impl Request<'_> {
    /// Length of the header in bytes: where the payload begins, a multiple of [`ALIGNMENT`].
    pub const fn header_len(&self) -> usize {
        debug_assert!(self.envelope.header.len().is_multiple_of(ALIGNMENT));
        self.envelope.header.len()
    }

    /// Whether the datagram carries a MAC, right or wrong.
    pub const fn has_mac(&self) -> bool {
        self.mac_at.is_some()
    }

    /// Checks the MAC against the stream's key. A stream without key takes no datagram with a MAC: its sender expects
    /// authentic replies, and would get none.
    pub fn authenticate(&self, mac_key: Option<&MacKey>) -> Result<(), MacError> {
        self.envelope.authenticate(self.mac_at, mac_key)
    }
}

/// The fragment fields, unchecked.
pub(crate) fn read_fragment(base: &Base) -> Fragment {
    Fragment {
        index: u16_at(base, layout::FRAGMENT_INDEX_AT),
        count: u16_at(base, layout::FRAGMENT_COUNT_AT),
        offset: u32_at(base, layout::OFFSET_AT),
        len: u32_at(base, layout::PAYLOAD_LEN_AT),
        total_len: u32_at(base, layout::TOTAL_LEN_AT),
    }
}

/// Writes the fragment fields, except the payload length: that is part of the prefix.
pub(crate) fn write_fragment(base: &mut Base, fragment: &Fragment) {
    put(base, layout::FRAGMENT_INDEX_AT, fragment.index.to_le_bytes());
    put(base, layout::FRAGMENT_COUNT_AT, fragment.count.to_le_bytes());
    put(base, layout::OFFSET_AT, fragment.offset.to_le_bytes());
    put(base, layout::TOTAL_LEN_AT, fragment.total_len.to_le_bytes());
}
