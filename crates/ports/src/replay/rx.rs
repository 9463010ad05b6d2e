//! Receiving: frames are read from the input when their time has come, and lie in the offered buffers then.

use super::page::{Entry, RxPage};
use super::reader::{Reader, Record};
use super::{SLOTS, ffi};
use crate::ethernet::{Seen, is_for, look};
use crate::{PortError, Received, Refound, RxPort, Standing};
use arena::descriptor::DataRange;
use arena::killpoint::{KillPoint, reach};
use arena::layout::DATA_OFFSET;
use arena::{Arena, Held, Me, now_ns};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use wire::pcap::FILE_HEADER_LEN;

/// Frames for others that are passed over in one turn: the stage has other things to do as well.
const SKIPS: usize = 4096;
const SECOND_NS: u64 = 1_000_000_000;

/// How fast the input is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// With the gaps that the file has.
    Recorded,
    /// Without gaps.
    Max,
    /// So many packets per second, evenly.
    PerSecond(u32),
}

/// How the receiving side works; everything else is the host's.
#[derive(Clone, Copy, Debug)]
pub struct RxOptions {
    /// How fast.
    pub speed: Speed,
    /// Whether what is appended to the input belongs to it; else its end is the end.
    pub follow: bool,
    /// Address and port of the requests; unspecified, or 0, for any.
    pub listen: SocketAddr,
    /// Most packets of a burst.
    pub burst: usize,
}

/// What the input holds next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nobody has looked yet.
    Unknown,
    /// A frame for us at `offset`, and when it is due, CLOCK_MONOTONIC nanoseconds.
    Frame { offset: u64, due_ns: u64 },
    /// Nothing yet.
    Nothing,
    /// Nothing ever.
    Over,
}

/// The receiving side.
#[derive(Debug)]
pub struct ReplayRx {
    reader: Reader,
    /// Readable when something was appended.
    changes: OwnedFd,
    page: &'static RxPage,
    /// Readable when the next frame is due.
    timer: OwnedFd,
    /// What the timer is set to; 0: nothing.
    alarm_ns: u64,
    wake: OwnedFd,
    arena: Arena,
    me: Me,
    options: RxOptions,
    /// Offered buffers.
    buffers: Vec<Held>,
    /// Number and offset of the next packet.
    number: u64,
    offset: u64,
    skipped: u64,
    dropped: u64,
    next: Next,
    unrecorded: usize,
}

impl ReplayRx {
    /// Takes over the inherited descriptors: the input, its changes, the cursors.
    ///
    /// # Errors
    /// [`PortError`] if their number is wrong, or they are of another kind.
    pub fn attach(fds: Vec<OwnedFd>, options: &RxOptions, arena: &Arena, me: Me) -> Result<Self, PortError> {
        let [input, changes, cursors] =
            <[OwnedFd; 3]>::try_from(fds).map_err(|fds| PortError::Descriptors { is: fds.len(), want: 3 })?;
        let page: &RxPage = ffi::map(cursors.as_fd(), true)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)
            .map_err(PortError::replay("timerfd_create"))?;
        let wake = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(PortError::replay("epoll_create1"))?;
        for fd in [&timer, &changes].into_iter().take(if options.follow { 2 } else { 1 }) {
            epoll::add(&wake, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN)
                .map_err(PortError::replay("epoll_ctl"))?;
        }
        let last = page.entries().max_by_key(|entry| entry.number);
        let options = RxOptions { burst: options.burst.clamp(1, SLOTS), ..*options };
        let mut it = Self {
            reader: Reader::new(input)?,
            changes,
            page,
            timer,
            alarm_ns: 0,
            wake,
            arena: arena.clone(),
            me,
            options,
            buffers: Vec::with_capacity(options.burst),
            number: last.map_or(0, |entry| entry.number + 1),
            offset: last.map_or(FILE_HEADER_LEN as u64, |entry| entry.next),
            skipped: last.map_or(0, |entry| entry.skipped),
            dropped: last.map_or(0, |entry| entry.dropped),
            next: Next::Unknown,
            unrecorded: page.entries().filter(|entry| !entry.recorded).count(),
        };
        it.look_ahead()?;
        it.set_alarm()?;
        Ok(it)
    }

    /// When a frame of this time is due.
    fn due_ns(&self, time_ns: u64) -> u64 {
        let (first_ns, began_ns) = self.page.began().unwrap_or_else(|| {
            let began_ns = now_ns();
            self.page.begin(time_ns, began_ns);
            (time_ns, began_ns)
        });
        let after_ns = match self.options.speed {
            Speed::Recorded => time_ns.saturating_sub(first_ns),
            Speed::Max => 0,
            Speed::PerSecond(packets) => {
                (u128::from(self.number) * u128::from(SECOND_NS) / u128::from(packets.max(1))) as u64
            }
        };
        began_ns.saturating_add(after_ns)
    }

    /// Finds the next frame for us.
    fn look_ahead(&mut self) -> Result<Next, PortError> {
        if matches!(self.next, Next::Frame { .. } | Next::Over) {
            if self.options.follow {
                // What was appended is read in its turn; until then it must not keep the stage awake.
                self.forget_changes();
            }
            return Ok(self.next);
        }
        let passed_over = (self.skipped, self.dropped);
        self.next = self.search()?;
        if self.next == Next::Nothing && self.options.follow && self.forget_changes() {
            // Something came between the look and now.
            self.next = self.search()?;
        }
        if passed_over != (self.skipped, self.dropped) {
            self.page.set_passed_over(self.skipped, self.dropped);
        }
        if self.next == Next::Over {
            self.page.end();
        }
        Ok(self.next)
    }

    fn search(&mut self) -> Result<Next, PortError> {
        for _ in 0..SKIPS {
            match self.reader.at(self.offset)? {
                Record::Frame { time_ns, bytes, next } => {
                    if is_for(bytes, self.options.listen) {
                        let (offset, due_ns) = (self.offset, self.due_ns(time_ns));
                        return Ok(Next::Frame { offset, due_ns });
                    }
                    self.skipped += 1;
                    self.offset = next;
                }
                Record::TooLong { next } => {
                    self.dropped += 1;
                    self.offset = next;
                }
                Record::End { .. } if self.options.follow => return Ok(Next::Nothing),
                Record::End { cut: false } => return Ok(Next::Over),
                Record::End { cut: true } | Record::Damaged => {
                    self.page.set_damaged(self.offset);
                    return Ok(Next::Over);
                }
            }
        }
        Ok(Next::Unknown)
    }

    /// Whether anything was appended since the last call.
    fn forget_changes(&self) -> bool {
        let (mut any, mut events) = (false, [0_u8; 4096]);
        loop {
            match rustix::io::read(&self.changes, &mut events[..]) {
                Ok(n) if n > 0 => any = true,
                Err(Errno::INTR) => {}
                _ => return any,
            }
        }
    }

    /// Copies the frame at `offset` into an offered buffer. `None` where there is none any more.
    fn hand_out(&mut self, offset: u64) -> Result<Option<Received>, PortError> {
        let Record::Frame { bytes, next, .. } = self.reader.at(offset)? else { return Ok(None) };
        let Some(mut held) = self.buffers.pop() else { return Ok(None) };
        let whole = DataRange { offset: 0, len: bytes.len() as u16 };
        let Seen { data, peer, local, link, standing } = look(bytes, whole, 0, false, Standing::Unfiltered);
        // The datagram lies where it lies with every driver: aligned.
        let from = DATA_OFFSET.saturating_sub(data.offset);
        let at = DataRange { offset: from, ..whole };
        let data = DataRange { offset: from + data.offset, ..data };
        let area = usize::from(from)..usize::from(from) + bytes.len();
        let Some(room) = self.arena.packet_mut(&mut held).get_mut(area) else {
            self.buffers.push(held);
            return Ok(None);
        };
        room.copy_from_slice(bytes);
        let seq = self.arena.table().of(&held).owner().seq;
        let (index, number) = (held.index(), self.number);
        let (skipped, dropped) = (self.skipped, self.dropped);
        self.page.slot(number).set(&Entry { number, index, seq, at, next, skipped, dropped, recorded: false });
        self.unrecorded += 1;
        (self.number, self.offset, self.next) = (number + 1, next, Next::Unknown);
        Ok(Some(Received { held, data, peer, local, link, position: number as u32, standing }))
    }

    /// Sets the timer for what comes next; a call to the kernel only if that has changed.
    fn set_alarm(&mut self) -> Result<(), PortError> {
        let alarm_ns = match self.next {
            Next::Frame { due_ns, .. } => due_ns.max(1),
            // More to pass over: at once.
            Next::Unknown => 1,
            Next::Nothing | Next::Over => 0,
        };
        if alarm_ns == self.alarm_ns {
            return Ok(());
        }
        let at = Timespec { tv_sec: (alarm_ns / SECOND_NS) as i64, tv_nsec: (alarm_ns % SECOND_NS) as i64 };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)
            .map_err(PortError::replay("timerfd_settime"))?;
        self.alarm_ns = alarm_ns;
        Ok(())
    }
}

impl RxPort for ReplayRx {
    fn refind(&mut self, found: &mut Vec<Refound>) {
        for entry in self.page.entries().filter(|entry| !entry.recorded) {
            let Entry { number, index, seq, at, .. } = entry;
            let position = number as u32;
            let Some(bytes) = self.arena.packet_at(index, self.me) else {
                // Its word names somebody else: it was recorded, and has gone on.
                self.unrecorded -= usize::from(self.page.slot(number).record(position));
                continue;
            };
            let Seen { data, peer, local, link, standing } = look(bytes, at, 0, false, Standing::Unfiltered);
            found.push(Refound { index, seq, data, peer, local, link, position, standing });
        }
    }

    fn capacity(&self) -> usize {
        self.options.burst
    }

    fn wants(&self) -> usize {
        if self.unrecorded > 0 { 0 } else { self.options.burst - self.buffers.len() }
    }

    fn offer(&mut self, _: &Arena, free: &mut Vec<Held>) {
        let wanted = self.wants().min(free.len());
        self.buffers.extend(free.drain(free.len() - wanted..));
    }

    fn receive(&mut self, out: &mut Vec<Received>, max: usize) -> Result<usize, PortError> {
        if self.unrecorded > 0 {
            return Ok(0);
        }
        let (before, max, now) = (out.len(), max.min(out.capacity() - out.len()), now_ns());
        while out.len() - before < max && !self.buffers.is_empty() {
            let Next::Frame { offset, due_ns } = self.look_ahead()? else { break };
            if due_ns > now {
                break;
            }
            let Some(received) = self.hand_out(offset)? else {
                // The file has become shorter meanwhile.
                self.next = Next::Unknown;
                break;
            };
            out.push(received);
        }
        let got = out.len() - before;
        if got > 0 {
            reach(KillPoint::Received);
        }
        self.look_ahead()?;
        self.set_alarm()?;
        Ok(got)
    }

    fn recorded(&mut self, position: u32) {
        self.unrecorded -= usize::from(self.page.slot(position.into()).record(position)).min(self.unrecorded);
    }

    fn withdraw(&mut self, free: &mut Vec<Held>) -> Result<(), PortError> {
        free.append(&mut self.buffers);
        Ok(())
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Frames that do not fit a buffer.
    fn dropped(&mut self) -> u64 {
        self.dropped
    }
}
