//! What outlives the stages: both files, and the cursors in them.

use super::ffi;
use super::page::{RxPage, TxPage};
use crate::PortError;
use arena::region::{HugePages, Region};
use rustix::fs::inotify::{self, WatchFlags};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use wire::pcap::{FILE_HEADER_LEN, FileHeader};

/// Which files.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Capture to read.
    pub input: &'a Path,
    /// Capture to write; what it holds is overwritten.
    pub output: &'a Path,
}

/// How far the replay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Packets handed out.
    pub packets: u64,
    /// Frames that were not for us.
    pub skipped: u64,
    /// Frames that do not fit a buffer.
    pub dropped: u64,
    /// Bytes of the output that count.
    pub written_bytes: u64,
    /// Offset from which on the input made no sense, bytes: what follows was not replayed.
    pub damaged_at: Option<u64>,
}

/// Files and cursors, held by the supervisor.
#[derive(Debug)]
pub struct Host {
    input: OwnedFd,
    output: OwnedFd,
    /// Readable when something has been appended to the input.
    changes: OwnedFd,
    rx: Region,
    tx: Region,
    rx_page: &'static RxPage,
    tx_page: &'static TxPage,
}

fn failed(key: &'static str, path: &Path) -> impl Fn(Errno) -> PortError {
    let path = path.to_owned();
    move |source| PortError::File { key, path: path.clone(), source }
}

/// Opens the capture and checks its header.
fn open_input(from: &Path) -> Result<OwnedFd, PortError> {
    // Not to wait for the other end of a pipe, which is refused later.
    let input = rustix::fs::open(from, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("input", from))?;
    let mut bytes = [0; FILE_HEADER_LEN];
    let got = read_all(input.as_fd(), &mut bytes).map_err(failed("input", from))?;
    if got < FILE_HEADER_LEN {
        return Err(PortError::ShortCapture { path: from.to_owned(), bytes: got });
    }
    FileHeader::parse(&bytes).map_err(|source| PortError::Capture { path: from.to_owned(), source })?;
    Ok(input)
}

/// Whether `input` can be replayed, as far as its header tells; changes nothing.
///
/// # Errors
/// [`PortError`] with what is wrong with the file.
pub fn examine(input: &Path) -> Result<(), PortError> {
    open_input(input).map(drop)
}

impl Host {
    /// Opens both files, checks the input's header, and begins the output.
    ///
    /// # Errors
    /// [`PortError`] with the file and what is wrong with it; the output is untouched then.
    pub fn open(options: &Options<'_>) -> Result<Self, PortError> {
        let Options { input: from, output: to } = *options;
        let input = open_input(from)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let output = rustix::fs::open(to, flags, Mode::from_raw_mode(0o644)).map_err(failed("output", to))?;
        let (read, written) = (
            rustix::fs::fstat(&input).map_err(failed("input", from))?,
            rustix::fs::fstat(&output).map_err(failed("output", to))?,
        );
        // Before anything is cut off: two names may be one file.
        if (read.st_dev, read.st_ino) == (written.st_dev, written.st_ino) {
            return Err(PortError::SameFile { path: to.to_owned() });
        }
        if FileType::from_raw_mode(written.st_mode) != FileType::RegularFile {
            return Err(PortError::NotAFile { path: to.to_owned() });
        }
        let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(PortError::replay("inotify_init1"))?;
        inotify::add_watch(&changes, from, WatchFlags::MODIFY).map_err(PortError::replay("inotify_add_watch"))?;
        let rx = Region::create("flumeway-replay-rx", ffi::bytes::<RxPage>(), HugePages::Off)?;
        let tx = Region::create("flumeway-replay-tx", ffi::bytes::<TxPage>(), HugePages::Off)?;
        let rx_page = ffi::map(rx.rw.as_fd(), true)?;
        let tx_page: &TxPage = ffi::map(tx.rw.as_fd(), true)?;
        rustix::fs::ftruncate(&output, 0).map_err(failed("output", to))?;
        let header = FileHeader::new_ns().to_bytes();
        write_all(output.as_fd(), &header, 0).map_err(failed("output", to))?;
        tx_page.commit(FILE_HEADER_LEN as u64);
        Ok(Self { input, output, changes, rx, tx, rx_page, tx_page })
    }

    /// What rx-gateway inherits: input, its changes, its own cursors.
    pub fn rx_fds(&self) -> Vec<RawFd> {
        self.rx_descriptors().map(|fd| fd.as_raw_fd()).into()
    }

    /// What tx inherits: output, its own cursors, and rx-gateway's for reading.
    pub fn tx_fds(&self) -> Vec<RawFd> {
        self.tx_descriptors().map(|fd| fd.as_raw_fd()).into()
    }

    /// The descriptors of [`Host::rx_fds`], for whoever duplicates them.
    pub fn rx_descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.input.as_fd(), self.changes.as_fd(), self.rx.rw.as_fd()]
    }

    /// The descriptors of [`Host::tx_fds`], for whoever duplicates them.
    pub fn tx_descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.output.as_fd(), self.tx.rw.as_fd(), self.rx.ro.as_fd()]
    }

    /// Whether all of the input has been read and recorded in the arena's words; never with `at_end = "wait"`. What is still in
    /// flight then, the ledger tells.
    pub fn is_finished(&self) -> bool {
        self.rx_page.has_ended() && self.rx_page.entries().all(|entry| entry.recorded)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let (skipped, dropped) = self.rx_page.passed_over();
        Progress {
            packets: self.rx_page.entries().map(|entry| entry.number + 1).max().unwrap_or(0),
            skipped,
            dropped,
            written_bytes: self.tx_page.committed(),
            damaged_at: self.rx_page.damaged(),
        }
    }

    /// Cuts off what tx wrote and did not live to commit. Once tx is dead for good; a successor does it by itself.
    pub fn close(&self) -> Result<(), PortError> {
        rustix::fs::ftruncate(&self.output, self.tx_page.committed()).map_err(PortError::replay("ftruncate"))
    }
}

/// Reads from the file's start until `bytes` is full or the file ends; returns how many there are.
pub(super) fn read_all(file: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<usize, Errno> {
    let mut got = 0;
    while got < bytes.len() {
        match rustix::io::pread(file, &mut bytes[got..], got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_all(file: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pwrite(file, &bytes[done..], offset + done as u64) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
