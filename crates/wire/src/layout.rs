//! Where each field lies, and how it is read and written. All integers are little-endian.
//!
//! Bytes 0 to 39, the *prefix*, mean the same in requests and replies and in every version of the protocol.

use crate::BASE_HEADER_LEN;

/// A base header as bytes.
pub(crate) type Base = [u8; BASE_HEADER_LEN];

/// Bytes 4: version, 5: kind of datagram. The magic lies at 0.
pub(crate) const VERSION_AT: usize = 4;
pub(crate) const KIND_AT: usize = 5;
pub(crate) const HEADER_LEN_AT: usize = 6;
pub(crate) const CHECKSUM_AT: usize = 8;
pub(crate) const FLAGS_AT: usize = 12;
pub(crate) const STREAM_ID_AT: usize = 16;
pub(crate) const PAYLOAD_LEN_AT: usize = 20;
pub(crate) const SESSION_AT: usize = 24;
pub(crate) const FRAME_ID_AT: usize = 32;

// The same in requests and replies of version 1.
pub(crate) const FRAGMENT_INDEX_AT: usize = 40;
pub(crate) const FRAGMENT_COUNT_AT: usize = 42;
pub(crate) const OFFSET_AT: usize = 44;
pub(crate) const TOTAL_LEN_AT: usize = 48;
pub(crate) const CAPTURE_TIME_AT: usize = 64;

/// Fields of requests. Byte 53, bytes 58 to 59 and bytes 72 to 127 are reserved.
pub(crate) mod request {
    pub(crate) const ENCODING_AT: usize = 52;
    pub(crate) const WIDTH_AT: usize = 54;
    pub(crate) const HEIGHT_AT: usize = 56;
    pub(crate) const DEADLINE_US_AT: usize = 60;
}

/// Fields of replies; none are reserved.
pub(crate) mod reply {
    pub(crate) const STATUS_AT: usize = 52;
    pub(crate) const REASON_AT: usize = 53;
    pub(crate) const ATTEMPTS_AT: usize = 54;
    pub(crate) const RESULT_KIND_AT: usize = 55;
    pub(crate) const RESULT_COUNT_AT: usize = 56;
    pub(crate) const DTYPE_AT: usize = 58;
    pub(crate) const RANK_AT: usize = 59;
    pub(crate) const ASSEMBLE_NS_AT: usize = 60;
    pub(crate) const TOTAL_NS_AT: usize = 72;
    pub(crate) const PREPROCESS_WAIT_NS_AT: usize = 80;
    pub(crate) const PREPROCESS_WORK_NS_AT: usize = 84;
    pub(crate) const INFER_WAIT_NS_AT: usize = 88;
    pub(crate) const INFER_WORK_NS_AT: usize = 92;
    pub(crate) const TX_WAIT_NS_AT: usize = 96;
    pub(crate) const TX_WORK_NS_AT: usize = 100;
    pub(crate) const DIMS_AT: usize = 104;
}

pub(crate) const fn u16_at(base: &Base, at: usize) -> u16 {
    u16::from_le_bytes([base[at], base[at + 1]])
}

pub(crate) const fn u32_at(base: &Base, at: usize) -> u32 {
    u32::from_le_bytes([base[at], base[at + 1], base[at + 2], base[at + 3]])
}

pub(crate) const fn u64_at(base: &Base, at: usize) -> u64 {
    (u32_at(base, at) as u64) | ((u32_at(base, at + 4) as u64) << 32)
}

/// Writes a field's little-endian bytes.
pub(crate) fn put<const N: usize>(base: &mut Base, at: usize, bytes: [u8; N]) {
    base[at..at + N].copy_from_slice(&bytes);
}

/// The word at `at` of a result's bytes, if they reach that far.
pub(crate) fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}
