//! Everything that can be wrong with a datagram. Codes and names are stable: counters and reports use them.

use crate::fragment::FragmentError;
use crate::mac::MacError;
use crate::status::BadRequestReason;
use crate::{ALIGNMENT, BASE_HEADER_LEN, Encoding, MAX_HEADER_LEN, VERSION};

/// Why a datagram is not one of this protocol and version: what requests and replies have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeaderError {
    /// Shorter than a base header.
    #[error("{len} bytes are no Flumeway datagram; a header alone has {BASE_HEADER_LEN}")]
    Truncated {
        /// Bytes received.
        len: usize,
    },
    /// The magic is missing.
    #[error("the datagram does not begin with \"FLWY\"; something else sends to this port")]
    BadMagic,
    /// A request where a reply is due, or the reverse.
    #[error("kind {kind} is not the kind of datagram expected here; requests are 1, replies are 2")]
    WrongKind {
        /// Kind stated.
        kind: u8,
    },
    /// Impossible header length.
    #[error(
        "header length {header_len} is no multiple of {ALIGNMENT} from {BASE_HEADER_LEN} to {MAX_HEADER_LEN}; \
         pad extensions with zeros"
    )]
    BadHeaderLen {
        /// Bytes stated.
        header_len: u16,
    },
    /// Header and payload do not fill the datagram.
    #[error("header and payload of {stated} bytes in a datagram of {datagram}; it was cut or padded on its way")]
    LengthMismatch {
        /// Bytes that header and payload ought to have.
        stated: u64,
        /// Bytes received.
        datagram: usize,
    },
    /// The checksum does not fit.
    #[error("checksum {stated:#010x} does not fit the bytes, {computed:#010x} would; the datagram was damaged")]
    BadChecksum {
        /// Checksum in the header.
        stated: u32,
        /// Checksum of what arrived.
        computed: u32,
    },
    /// Another version.
    #[error("protocol version {version} is not spoken here; send version {VERSION}")]
    UnsupportedVersion {
        /// Version stated.
        version: u8,
    },
    /// A flag that must be understood.
    #[error("flags {flags:#010x} have must-understand bits that this release does not know; use an older sender")]
    UnknownFlags {
        /// All flags stated.
        flags: u32,
    },
    /// Malformed extension area.
    #[error("the extension at byte {offset} of the header is malformed; check its length")]
    BadExtension {
        /// Where it begins, in bytes from the datagram's first.
        offset: usize,
    },
    /// An extension that must be understood.
    #[error("extension {extension:#06x} must be understood and this release does not know it; use an older sender")]
    UnknownExtension {
        /// Its type.
        extension: u16,
    },
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RequestError {
    /// No datagram of this protocol and version.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Fragment fields contradict one another.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
    /// Unknown encoding.
    #[error("encoding {code} is unknown; see the table of encodings in docs/PROTOCOL.md")]
    UnknownEncoding {
        /// Code stated.
        code: u8,
    },
    /// Impossible sides.
    #[error(
        "{encoding} frames cannot have {width} x {height} pixels; sides are positive, and even where chroma is shared"
    )]
    BadGeometry {
        /// Encoding stated.
        encoding: Encoding,
        /// Pixels stated.
        width: u16,
        /// Pixels stated.
        height: u16,
    },
    /// Sides and length do not fit.
    #[error(
        "the frame's {total_len} bytes are not the {expected} that encoding and sides ask for; send rows without padding"
    )]
    WrongTotal {
        /// Bytes stated.
        total_len: u32,
        /// Bytes that fit; for tensors the next multiple of an element.
        expected: u64,
    },
    /// Not authentic.
    #[error(transparent)]
    Mac(#[from] MacError),
}

/// Why a reply cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ReplyError {
    /// No datagram of this protocol and version.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Fragment fields contradict one another.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
    /// Unknown status.
    #[error("status {status} is unknown; use a newer client")]
    UnknownStatus {
        /// Code stated.
        status: u8,
    },
    /// Unknown kind of result.
    #[error("result kind {kind} is unknown; use a newer client")]
    UnknownResultKind {
        /// Code stated.
        kind: u8,
    },
    /// A tensor of unknown type, or with an impossible shape.
    #[error("a tensor of element type {dtype} and rank {rank} cannot be read; use a newer client")]
    BadTensor {
        /// Element type stated.
        dtype: u8,
        /// Rank stated.
        rank: u8,
    },
    /// The result's bytes are not what the header announces.
    #[error("the result's {len} bytes do not hold what the header announces; the server is faulty")]
    BadResult {
        /// Bytes of the result.
        len: usize,
    },
    /// The result is not complete in this datagram.
    #[error("this is one of {count} fragments; collect them with a ReplyAssembler")]
    Fragmented {
        /// Number of fragments.
        count: u16,
    },
    /// Longer than the client accepts.
    #[error("the result has {total_len} bytes and the client accepts {limit}; raise its limit")]
    TooLarge {
        /// Bytes announced.
        total_len: u32,
        /// Bytes accepted.
        limit: usize,
    },
    /// Not authentic.
    #[error(transparent)]
    Mac(#[from] MacError),
}

/// Why a datagram cannot be built. These are mistakes of the caller; nothing was written that could be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BuildError {
    /// No room.
    #[error("{needed} bytes do not fit the {room} of the buffer; use a larger one")]
    NoRoom {
        /// Bytes needed.
        needed: usize,
        /// Bytes there are.
        room: usize,
    },
    /// Fragment fields contradict one another.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
    /// The payload is not as long as the fragment field says.
    #[error("a payload of {given} bytes for a fragment of {stated}; set the fragment's length to the payload's")]
    PayloadLen {
        /// Bytes in the header's fragment.
        stated: u32,
        /// Bytes of payload.
        given: usize,
    },
    /// Rank, dimensions or number of entries out of range.
    #[error("the result does not fit its header: at most 6 dimensions, 65535 entries and 64 MiB")]
    ResultShape,
    /// The header length field is unusable (only from [`crate::reseal`]).
    #[error("the bytes are no datagram of this protocol; build one first")]
    NotADatagram,
}

impl HeaderError {
    /// Stable code, 1 to 10.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Truncated { .. } => 1,
            Self::BadMagic => 2,
            Self::WrongKind { .. } => 3,
            Self::BadHeaderLen { .. } => 4,
            Self::LengthMismatch { .. } => 5,
            Self::BadChecksum { .. } => 6,
            Self::UnsupportedVersion { .. } => 7,
            Self::UnknownFlags { .. } => 8,
            Self::BadExtension { .. } => 9,
            Self::UnknownExtension { .. } => 10,
        }
    }
}

impl RequestError {
    /// Names by code; entry 0 is unused. As many counters are needed.
    pub const NAMES: [&'static str; 24] = [
        "",
        "truncated",
        "bad-magic",
        "wrong-kind",
        "bad-header-length",
        "length-mismatch",
        "bad-checksum",
        "unsupported-version",
        "unknown-flags",
        "bad-extension",
        "unknown-extension",
        "fragment-count-zero",
        "fragment-index",
        "frame-too-large",
        "empty-fragment",
        "fragment-beyond-total",
        "uneven-stride",
        "too-many-fragments",
        "unknown-encoding",
        "bad-geometry",
        "wrong-total",
        "mac-missing",
        "mac-unexpected",
        "mac-wrong",
    ];

    /// Stable code, from 1, below [`Self::NAMES`]`.len()`: an index for counters.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Header(error) => error.code(),
            Self::Fragment(FragmentError::CountZero) => 11,
            Self::Fragment(FragmentError::IndexBeyondCount { .. }) => 12,
            Self::Fragment(FragmentError::TooLarge { .. }) => 13,
            Self::Fragment(FragmentError::Empty) => 14,
            Self::Fragment(FragmentError::BeyondTotal { .. }) => 15,
            Self::Fragment(FragmentError::UnevenStride { .. }) => 16,
            Self::Fragment(FragmentError::TooManyFragments { .. }) => 17,
            Self::UnknownEncoding { .. } => 18,
            Self::BadGeometry { .. } => 19,
            Self::WrongTotal { .. } => 20,
            Self::Mac(MacError::Missing) => 21,
            Self::Mac(MacError::Unexpected) => 22,
            Self::Mac(MacError::Wrong) => 23,
        }
    }

    /// Stable name, for counters and reports.
    pub const fn name(&self) -> &'static str {
        Self::NAMES[self.code() as usize]
    }

    /// What to answer. `None` where the sender must stay without an answer: the bytes may be damaged or foreign, so
    /// nothing in them can be relied on, or the sender has not proved who it is.
    pub const fn bad_request_reason(&self) -> Option<BadRequestReason> {
        Some(match self {
            Self::Header(HeaderError::UnsupportedVersion { .. }) => BadRequestReason::UnsupportedVersion,
            Self::Header(
                HeaderError::UnknownFlags { .. }
                | HeaderError::BadExtension { .. }
                | HeaderError::UnknownExtension { .. },
            ) => BadRequestReason::UnknownExtension,
            Self::Header(_) | Self::Mac(_) => return None,
            Self::Fragment(FragmentError::TooLarge { .. }) => BadRequestReason::TooLarge,
            Self::Fragment(_) => BadRequestReason::BadFragment,
            Self::UnknownEncoding { .. } => BadRequestReason::UnsupportedEncoding,
            Self::BadGeometry { .. } => BadRequestReason::BadGeometry,
            Self::WrongTotal { .. } => BadRequestReason::WrongSize,
        })
    }
}
