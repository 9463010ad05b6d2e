//! The header before each frame.

use super::error::RecordError;
use super::{FileHeader, MAX_CAPTURED_LEN, RECORD_HEADER_LEN};

const SECOND_NS: u32 = 1_000_000_000;

/// When a frame was seen, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordHeader {
    /// When the frame was captured: UNIX time in nanoseconds.
    pub time_ns: u64,
    /// Bytes that follow this header; at most [`MAX_CAPTURED_LEN`].
    pub captured_len: u32,
    /// Bytes that the frame had; more than were captured if it was cut.
    pub original_len: u32,
}

impl RecordHeader {
    /// Reads a record's header. After an error the place of the next record is unknown.
    pub fn parse(bytes: &[u8; RECORD_HEADER_LEN], file: &FileHeader) -> Result<Self, RecordError> {
        let &[s0, s1, s2, s3, f0, f1, f2, f3, c0, c1, c2, c3, o0, o1, o2, o3] = bytes;
        let order = file.byte_order;
        let (seconds, fraction) = (order.u32([s0, s1, s2, s3]), order.u32([f0, f1, f2, f3]));
        let unit_ns = file.resolution.unit_ns();
        let limit = SECOND_NS / unit_ns;
        if fraction >= limit {
            return Err(RecordError::BadFraction { fraction, limit });
        }
        let time_ns = u64::from(seconds) * u64::from(SECOND_NS) + u64::from(fraction * unit_ns);
        let header =
            Self { time_ns, captured_len: order.u32([c0, c1, c2, c3]), original_len: order.u32([o0, o1, o2, o3]) };
        header.check_lengths()?;
        Ok(header)
    }

    /// The header as bytes, in the byte order and resolution of `file`; a time is rounded down to the latter. What could not
    /// be read again is not written.
    pub fn to_bytes(&self, file: &FileHeader) -> Result<[u8; RECORD_HEADER_LEN], RecordError> {
        self.check_lengths()?;
        let (seconds, fraction_ns) = (self.time_ns / u64::from(SECOND_NS), self.time_ns % u64::from(SECOND_NS));
        let seconds = u32::try_from(seconds).map_err(|_| RecordError::TimeTooLate { time_ns: self.time_ns })?;
        let fraction = fraction_ns as u32 / file.resolution.unit_ns();
        let mut bytes = [0; RECORD_HEADER_LEN];
        for (at, value) in [seconds, fraction, self.captured_len, self.original_len].into_iter().enumerate() {
            bytes[at * 4..][..4].copy_from_slice(&file.byte_order.bytes(value));
        }
        Ok(bytes)
    }

    fn check_lengths(&self) -> Result<(), RecordError> {
        let Self { captured_len, original_len, .. } = *self;
        if captured_len > MAX_CAPTURED_LEN {
            return Err(RecordError::TooLong { captured_len });
        }
        if captured_len > original_len {
            return Err(RecordError::LongerThanFrame { captured_len, original_len });
        }
        Ok(())
    }
}
