//! The input, read ahead.

use super::host::read_all;
use crate::PortError;
use crate::af_xdp::MAX_FRAME;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use wire::pcap::{FILE_HEADER_LEN, FileHeader, RECORD_HEADER_LEN, RecordHeader};

/// Bytes of one read: more than the longest record that is looked at.
const AHEAD: usize = 256 << 10;

/// What stands at an offset.
#[derive(Debug)]
pub(super) enum Record<'a> {
    /// A frame that fits a buffer.
    Frame {
        /// When it was captured: UNIX time in nanoseconds.
        time_ns: u64,
        /// The frame.
        bytes: &'a [u8],
        /// Offset behind it.
        next: u64,
    },
    /// A frame that does not fit.
    TooLong {
        /// Offset behind it.
        next: u64,
    },
    /// Nothing, or a record that is not all there.
    End {
        /// It is not all there.
        cut: bool,
    },
    /// No record.
    Damaged,
}

/// The input and what was read of it.
#[derive(Debug)]
pub(super) struct Reader {
    file: OwnedFd,
    header: FileHeader,
    ahead: Box<[u8]>,
    /// Offset of its first byte.
    start: u64,
    /// Bytes in it.
    len: usize,
}

impl Reader {
    pub fn new(file: OwnedFd) -> Result<Self, PortError> {
        let mut bytes = [0; FILE_HEADER_LEN];
        read_all(file.as_fd(), &mut bytes).map_err(PortError::replay("pread"))?;
        // The host has read it: it can only be another file.
        let header = FileHeader::parse(&bytes)
            .map_err(|source| PortError::Capture { path: PathBuf::from("the input"), source })?;
        Ok(Self { file, header, ahead: vec![0; AHEAD].into(), start: 0, len: 0 })
    }

    /// Where in `ahead` the bytes at `offset` lie, `want` of them or as many as the file has.
    fn window(&mut self, offset: u64, want: usize) -> Result<(usize, usize), Errno> {
        let there = offset.checked_sub(self.start).and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= self.len);
        if let Some(from) = there.filter(|from| self.len - from >= want) {
            return Ok((from, self.len - from));
        }
        (self.start, self.len) = (offset, 0);
        while self.len < want {
            match rustix::io::pread(&self.file, &mut self.ahead[self.len..], offset + self.len as u64) {
                Ok(0) => break,
                Ok(n) => self.len += n,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((0, self.len))
    }

    /// Reads the record at `offset`.
    pub fn at(&mut self, offset: u64) -> Result<Record<'_>, PortError> {
        let failed = PortError::replay("pread");
        let (from, len) = self.window(offset, RECORD_HEADER_LEN).map_err(&failed)?;
        let Some(bytes) = self.ahead[from..from + len].first_chunk() else { return Ok(Record::End { cut: len > 0 }) };
        let Ok(record) = RecordHeader::parse(bytes, &self.header) else { return Ok(Record::Damaged) };
        let captured = record.captured_len as usize;
        let Some(next) = offset.checked_add((RECORD_HEADER_LEN + captured) as u64) else { return Ok(Record::Damaged) };
        if record.captured_len > MAX_FRAME {
            return Ok(Record::TooLong { next });
        }
        let (from, len) = self.window(offset, RECORD_HEADER_LEN + captured).map_err(&failed)?;
        let Some(bytes) = self.ahead[from..from + len].get(RECORD_HEADER_LEN..RECORD_HEADER_LEN + captured) else {
            return Ok(Record::End { cut: true });
        };
        Ok(Record::Frame { time_ns: record.time_ns, bytes, next })
    }
}
