//! Sending: replies are written behind those that count, and count when all of a burst is in the file.
//!
//! The parts of a reply that needs several datagrams are kept until the last one, and written together: what a dead
//! incarnation had sent of an unfinished reply would stand in the file twice.

use super::host::write_all;
use super::page::{RxPage, TxPage};
use super::{BURST, ffi};
use crate::udp::MAX_DATAGRAM;
use crate::{Datagram, PortError, Route, SendOutcome, Sent, TxPort};
use arena::descriptor::DataRange;
use arena::killpoint::{KillPoint, reach};
use arena::layout::BUFFER_BYTES;
use arena::meta::Address;
use arena::now_ns;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};
use wire::pcap::{FILE_HEADER_LEN, FileHeader, RECORD_HEADER_LEN, RecordHeader};

/// Records of an unfinished reply.
#[derive(Debug)]
struct Unfinished {
    head: (u32, u32),
    records: Vec<u8>,
}

/// The sending side.
#[derive(Debug)]
pub struct ReplayTx {
    output: OwnedFd,
    page: &'static TxPage,
    /// rx-gateway's, for the times.
    replay: &'static RxPage,
    header: FileHeader,
    committed: u64,
    /// The records of a burst.
    staged: Vec<u8>,
    unfinished: Vec<Unfinished>,
    /// Positions that may name a head.
    used: usize,
}

impl ReplayTx {
    /// Takes over the inherited descriptors: the output, its cursors, and rx-gateway's. What a dead incarnation wrote and did
    /// not commit is cut off.
    ///
    /// # Errors
    /// [`PortError`] if their number is wrong, or they are of another kind.
    pub fn attach(fds: Vec<OwnedFd>) -> Result<Self, PortError> {
        let [output, cursors, replay] =
            <[OwnedFd; 3]>::try_from(fds).map_err(|fds| PortError::Descriptors { is: fds.len(), want: 3 })?;
        let page: &TxPage = ffi::map(cursors.as_fd(), true)?;
        let replay = ffi::map(replay.as_fd(), false)?;
        let committed = page.committed().max(FILE_HEADER_LEN as u64);
        rustix::fs::ftruncate(&output, committed).map_err(PortError::replay("ftruncate"))?;
        Ok(Self {
            output,
            page,
            replay,
            header: FileHeader::new_ns(),
            committed,
            staged: Vec::with_capacity(BURST * (RECORD_HEADER_LEN + BUFFER_BYTES as usize)),
            unfinished: Vec::new(),
            used: BURST,
        })
    }

    /// The time of a reply that goes out now, in the input's time: what was recorded at the first packet, and what has passed since.
    fn time_ns(&self) -> u64 {
        let unix_ns = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        let replayed = |(first_ns, began_ns): (u64, u64)| first_ns.saturating_add(now_ns().saturating_sub(began_ns));
        self.replay.began().map_or_else(unix_ns, replayed)
    }

    /// Puts a datagram's record behind the others; says whether it can be written.
    fn stage(&mut self, datagram: &Datagram<'_>, time_ns: u64) -> bool {
        let frame = datagram.first;
        if datagram.link.is_none() || frame.is_empty() || !datagram.second.is_empty() {
            return false;
        }
        let len = frame.len() as u32;
        let record = RecordHeader { time_ns, captured_len: len, original_len: len };
        let Ok(header) = record.to_bytes(&self.header) else { return false };
        let head = (datagram.head.index(), datagram.seq);
        // Of another time: its reply was never finished, and never will be.
        self.unfinished.retain(|u| u.head.0 != head.0 || u.head == head);
        let at = self.unfinished.iter().position(|u| u.head == head);
        if !datagram.last {
            let at = at.unwrap_or_else(|| {
                self.unfinished.push(Unfinished { head, records: Vec::new() });
                self.unfinished.len() - 1
            });
            let records = &mut self.unfinished[at].records;
            records.extend_from_slice(&header);
            records.extend_from_slice(frame);
            return true;
        }
        if let Some(at) = at {
            self.staged.append(&mut self.unfinished.swap_remove(at).records);
        }
        self.staged.extend_from_slice(&header);
        self.staged.extend_from_slice(frame);
        true
    }
}

impl TxPort for ReplayTx {
    fn found_sent(&mut self, found: &mut Vec<Sent>) {
        found.extend(self.page.sent().map(|(head, seq)| Sent { head, seq }));
    }

    fn max_datagram(&self, _: Address) -> usize {
        MAX_DATAGRAM
    }

    fn enclose(&self, buffer: &mut [u8], payload: DataRange, route: &Route) -> Option<DataRange> {
        crate::ethernet::enclose(buffer, payload, route)
    }

    fn burst(&self) -> usize {
        BURST
    }

    fn send(&mut self, datagrams: &[Datagram<'_>], outcomes: &mut [SendOutcome]) -> Result<(), PortError> {
        outcomes.fill(SendOutcome::Later);
        self.recorded();
        self.staged.clear();
        let time_ns = self.time_ns();
        for (position, (datagram, outcome)) in datagrams.iter().zip(outcomes.iter_mut()).take(BURST).enumerate() {
            if !self.stage(datagram, time_ns) {
                *outcome = SendOutcome::Failed;
                continue;
            }
            if datagram.last {
                let end = self.committed + self.staged.len() as u64;
                self.page.post(position, (datagram.head.index(), datagram.seq), end);
            }
            *outcome = SendOutcome::Sent;
        }
        self.used = BURST.min(datagrams.len());
        if self.staged.is_empty() {
            return Ok(());
        }
        reach(KillPoint::Posted);
        write_all(self.output.as_fd(), &self.staged, self.committed).map_err(PortError::replay("pwrite"))?;
        reach(KillPoint::Sent);
        self.committed += self.staged.len() as u64;
        self.page.commit(self.committed);
        Ok(())
    }

    fn recorded(&mut self) {
        for position in 0..self.used {
            self.page.clear(position);
        }
        self.used = 0;
    }

    /// A file takes what it is given.
    fn writable(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}
