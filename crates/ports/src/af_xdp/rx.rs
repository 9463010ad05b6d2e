//! Receiving: RX is read where the kernel wrote, FILL is kept full of free buffers.
//!
//! An entry of RX stays between the ring's `consumer` and `producer` until the packet is recorded in the arena's words:
//! what a dead incarnation had claimed and not recorded is found there again. Until then nothing is posted to FILL, so
//! that a word which names the queue always means that the entry was never claimed.

use super::ffi::{self, RingKind};
use super::split;
use crate::ethernet::{Seen, look};
use crate::udp::UdpRx;
use crate::{PortError, Received, Refound, RxPort, Standing};
use arena::descriptor::{DataRange, Role, Table};
use arena::device::Posted;
use arena::device_ring::DeviceRing;
use arena::killpoint::{KillPoint, reach};
use arena::layout::BUFFER_BYTES;
use arena::{Arena, Held, Me, OwnerId, now_ns};
use rustix::event::epoll;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Positions that the upper bits of [`Received::position`] leave: more than a ring has entries.
const POSITION_BITS: u32 = 24;
/// What stands there for the ordinary socket.
const SOCKET: u32 = 0xff;
/// How often the ordinary socket is asked while nothing comes by the device; a sleeping stage is woken by it.
const SOCKET_EVERY_NS: u64 = 200_000;
/// While packets come by the device at each turn, the ordinary socket is asked at every so many: what waits there must not starve.
const SOCKET_EVERY_TURNS: u32 = 64;
/// Of so many empty turns one looks at the clock for that.
const CLOCK_EVERY: u32 = 32;
/// How often the kernel's own counters are read.
const STATISTICS_EVERY_NS: u64 = 100_000_000;

/// One queue's receiving side.
#[derive(Debug)]
struct Queue {
    socket: OwnedFd,
    rx: DeviceRing,
    fill: DeviceRing,
    device: OwnerId,
    number: u8,
    /// Next entry of RX to read.
    read: u32,
    /// RX's consumer: everything before it is recorded.
    consumed: u32,
    /// Which of the entries in between are recorded, by position in the ring.
    recorded: Vec<bool>,
    /// FILL's producer.
    filled: u32,
    /// Buffers that are with the device, and how many may be.
    posted: u32,
    depth: u32,
}

/// The receiving side of the queues that one gateway serves, and the ordinary socket beside them.
#[derive(Debug)]
pub struct AfXdpRx {
    queues: Vec<Queue>,
    next_queue: usize,
    socket: UdpRx,
    /// On their way to the socket.
    few: Vec<Held>,
    socket_asked_ns: u64,
    /// Turns that brought packets by the device since the socket was asked.
    busy_turns: u32,
    /// Turns in which nothing came by the device.
    empty_turns: u32,
    wake: OwnedFd,
    arena: Arena,
    table: Table<'static>,
    me: Me,
    verify_checksums: bool,
    busy_poll: bool,
    statistics: (u64, u64),
    /// Entries that named nothing of ours, and have not been told.
    faults: u64,
}

/// How the receiving side works; everything else is the host's.
#[derive(Clone, Debug)]
pub struct RxOptions {
    /// Entries of each ring.
    pub ring_size: u32,
    /// Buffers given to each queue at most.
    pub depth: u32,
    /// Whether UDP checksums are verified.
    pub verify_checksums: bool,
    /// Whether the device's NAPI is driven from here.
    pub busy_poll: bool,
    /// Largest burst of the ordinary socket.
    pub burst: usize,
    /// Numbers of the queues, in the order of their sockets.
    pub queues: Vec<u32>,
}

impl AfXdpRx {
    /// Takes over the inherited descriptors: the ordinary socket's two, then one AF_XDP socket for each queue.
    ///
    /// # Errors
    /// [`PortError`] if their number is wrong, or a ring cannot be mapped.
    pub fn attach(mut fds: Vec<OwnedFd>, options: &RxOptions, arena: &Arena, me: Me) -> Result<Self, PortError> {
        let want = 2 + options.queues.len();
        if fds.len() != want {
            return Err(PortError::Descriptors { is: fds.len(), want });
        }
        let sockets = fds.split_off(2);
        let socket = UdpRx::attach(fds, options.burst)?;
        let wake = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(PortError::device("epoll_create1"))?;
        let watch = |fd: BorrowedFd<'_>| {
            let event = epoll::EventData::new_u64(0);
            epoll::add(&wake, fd, event, epoll::EventFlags::IN).map_err(PortError::device("epoll_ctl"))
        };
        watch(socket.readable())?;
        let mut queues = Vec::with_capacity(sockets.len());
        for (fd, number) in sockets.into_iter().zip(&options.queues) {
            watch(fd.as_fd())?;
            queues.push(Queue::map(fd, *number, options)?);
        }
        Ok(Self {
            queues,
            next_queue: 0,
            few: Vec::with_capacity(socket.capacity()),
            socket,
            socket_asked_ns: 0,
            busy_turns: 0,
            empty_turns: 0,
            wake,
            arena: arena.clone(),
            table: arena.table(),
            me,
            verify_checksums: options.verify_checksums,
            busy_poll: options.busy_poll,
            statistics: (0, 0),
            faults: 0,
        })
    }

    fn is_unrecorded(&self) -> bool {
        self.queues.iter().any(|q| q.read != q.consumed)
    }
}

impl Queue {
    fn map(socket: OwnedFd, number: u32, options: &RxOptions) -> Result<Self, PortError> {
        let (device, _) = super::owners(number).ok_or(PortError::Queue { queue: number })?;
        let ring = |kind| ffi::map(socket.as_fd(), kind, options.ring_size).map_err(PortError::device("mmap"));
        let (rx, fill) = (ring(RingKind::Rx)?, ring(RingKind::Fill)?);
        let (consumed, filled) = (rx.consumer(), fill.producer());
        Ok(Self {
            recorded: vec![false; rx.capacity() as usize],
            socket,
            rx,
            fill,
            device,
            number: number as u8,
            read: consumed,
            consumed,
            filled,
            posted: 0,
            depth: options.depth.min(options.ring_size),
        })
    }

    /// Entries of RX that have not been read. More than the ring has is an allegation that failed.
    fn unread(&self) -> Result<u32, PortError> {
        let n = self.rx.producer().wrapping_sub(self.read);
        if n > self.rx.capacity() { Err(PortError::Ring { queue: self.number.into(), ring: "RX" }) } else { Ok(n) }
    }

    /// The buffer that entry `position` of RX names, and where the frame lies in it; `None` if it names nothing.
    fn entry(&self, position: u32) -> Option<(u32, DataRange)> {
        let (index, offset) = split(self.rx.address(position))?;
        let len = u16::try_from(self.rx.length(position)).ok()?;
        let fits = u64::from(offset) + u64::from(len) <= BUFFER_BYTES;
        fits.then_some((index, DataRange { offset, len }))
    }

    /// The packet at `position` need not be found again. One that is recorded before its turn leaves an entry that names nothing:
    /// the ring's consumer cannot pass those before it yet.
    fn mark(&mut self, position: u32) {
        if position != self.consumed {
            self.rx.set(position, u64::MAX, 0);
        }
        let at = (position & (self.rx.capacity() - 1)) as usize;
        self.recorded[at] = true;
        let before = self.consumed;
        while self.consumed != self.read {
            let at = (self.consumed & (self.rx.capacity() - 1)) as usize;
            if !std::mem::take(&mut self.recorded[at]) {
                break;
            }
            self.consumed = self.consumed.wrapping_add(1);
        }
        if self.consumed != before {
            self.rx.set_consumer(self.consumed);
        }
    }

    /// The position as the gateway keeps it; `slot`: which of our queues this is.
    fn name(slot: usize, position: u32) -> u32 {
        (slot as u32) << POSITION_BITS | position & ((1 << POSITION_BITS) - 1)
    }

    fn room(&self) -> u32 {
        let free = self.fill.capacity() - self.filled.wrapping_sub(self.fill.consumer());
        self.depth.saturating_sub(self.posted).min(free)
    }

    /// Posts free buffers to FILL.
    fn fill(&mut self, table: Table<'_>, me: Me, free: &mut Vec<Held>) {
        let before = self.filled;
        for _ in 0..self.room() {
            let Some(held) = free.pop() else { break };
            self.fill.set(self.filled, u64::from(held.index()) * BUFFER_BYTES, 0);
            table.post(&held, self.device, me, Posted { position: self.filled, last: false });
            held.release();
            self.filled = self.filled.wrapping_add(1);
            self.posted += 1;
        }
        if self.filled != before {
            reach(KillPoint::DeviceNamed);
            self.fill.set_producer(self.filled);
            reach(KillPoint::DevicePosted);
        }
        // Also with nothing new: a driver may have asked just after the last look.
        if self.fill.needs_wakeup() {
            ffi::kick_rx(self.socket.as_fd());
        }
    }
}

impl AfXdpRx {
    /// Takes up to `max` packets of one queue.
    fn take(&mut self, slot: usize, out: &mut Vec<Received>, max: usize) -> Result<usize, PortError> {
        let (table, me) = (self.table, self.me);
        let queue = &mut self.queues[slot];
        let mut unread = queue.unread()?;
        if unread == 0 && self.busy_poll {
            ffi::kick_rx(queue.socket.as_fd());
            unread = queue.unread()?;
        }
        let before = out.len();
        for _ in 0..(unread as usize).min(max) {
            let position = queue.read;
            queue.read = position.wrapping_add(1);
            let found = queue.entry(position);
            let Some((held, at)) = found.and_then(|(index, at)| Some((table.claim(index, queue.device, me)?, at)))
            else {
                self.faults += 1;
                queue.mark(position);
                continue;
            };
            queue.posted = queue.posted.saturating_sub(1);
            let bytes = self.arena.packet(&held);
            let Seen { data, peer, local, link, standing } =
                look(bytes, at, queue.number, self.verify_checksums, Standing::Filtered);
            let position = Queue::name(slot, position);
            out.push(Received { held, data, peer, local, link, position, standing });
        }
        Ok(out.len() - before)
    }
}

impl AfXdpRx {
    /// Receives from the ordinary socket, if it is due.
    fn ask_socket(&mut self, out: &mut Vec<Received>, max: usize, busy: bool) -> Result<usize, PortError> {
        if busy {
            self.busy_turns += 1;
            if self.busy_turns < SOCKET_EVERY_TURNS {
                return Ok(0);
            }
        } else {
            // Under load most packets are followed by one empty turn: a look at the clock in each would show.
            self.empty_turns = self.empty_turns.wrapping_add(1);
            if self.socket_asked_ns != 0 && !self.empty_turns.is_multiple_of(CLOCK_EVERY) {
                return Ok(0);
            }
        }
        let now = now_ns();
        if !busy && now.wrapping_sub(self.socket_asked_ns) < SOCKET_EVERY_NS {
            return Ok(0);
        }
        self.busy_turns = 0;
        let from = out.len();
        let got = self.socket.receive(out, max)?;
        // After something, something more: do not wait.
        self.socket_asked_ns = if got > 0 { 0 } else { now };
        for received in &mut out[from..] {
            received.position |= SOCKET << POSITION_BITS;
        }
        Ok(got)
    }
}

impl RxPort for AfXdpRx {
    fn refind(&mut self, found: &mut Vec<Refound>) {
        self.socket.refind(found);
        for refound in found.iter_mut() {
            refound.position |= SOCKET << POSITION_BITS;
        }
        let (table, me) = (self.table, self.me);
        for (slot, queue) in self.queues.iter_mut().enumerate() {
            for _ in 0..queue.unread().unwrap_or(0) {
                let position = queue.read;
                let entry = queue.entry(position).filter(|(index, _)| *index < table.buffers());
                if entry.is_some_and(|(index, _)| table.is_with(index, queue.device)) {
                    break; // Entries are claimed in order: from here on nobody has.
                }
                queue.read = position.wrapping_add(1);
                let claimed = entry.and_then(|(index, at)| Some((index, at, table.get(index)?)));
                // With another role it stands in the words already.
                let claimed = claimed.filter(|(_, _, d)| d.owner().is_older(me) && d.role() == Role::Free);
                let Some((index, at, d)) = claimed else {
                    queue.mark(position);
                    continue;
                };
                let bytes = self.arena.packet_at(index, me);
                let Seen { data, peer, local, link, standing } =
                    look(bytes.unwrap_or_default(), at, queue.number, self.verify_checksums, Standing::Filtered);
                let (seq, position) = (d.owner().seq, Queue::name(slot, position));
                found.push(Refound { index, seq, data, peer, local, link, position, standing });
            }
        }
    }

    fn take_unposted(&mut self, free: &mut Vec<Held>) {
        let (table, me) = (self.table, self.me);
        for queue in &mut self.queues {
            table.take_unposted(queue.device, queue.filled, me, free);
            let with = |d: &arena::descriptor::Descriptor| d.owner().id == queue.device;
            queue.posted = table.iter().take(table.buffers() as usize).filter(|(_, d)| with(d)).count() as u32;
            // The dead one may have posted without kicking.
            ffi::kick_rx(queue.socket.as_fd());
        }
    }

    fn capacity(&self) -> usize {
        self.queues.iter().map(|q| q.depth as usize).sum::<usize>() + self.socket.capacity()
    }

    fn wants(&self) -> usize {
        if self.is_unrecorded() {
            return 0;
        }
        self.queues.iter().map(|q| q.depth.saturating_sub(q.posted) as usize).sum::<usize>() + self.socket.wants()
    }

    fn offer(&mut self, arena: &Arena, free: &mut Vec<Held>) {
        if self.is_unrecorded() {
            return;
        }
        let (table, me) = (self.table, self.me);
        // Where buffers are short, the socket has a small share of them, and the queues take turns.
        let share = (free.len() / 16).min(self.socket.wants());
        self.few.extend(free.drain(free.len() - share..));
        self.socket.offer(arena, &mut self.few);
        free.append(&mut self.few);
        let (count, first) = (self.queues.len(), self.next_queue);
        for n in 0..count {
            self.queues[(first + n) % count].fill(table, me, free);
        }
        self.socket.offer(arena, free);
    }

    fn receive(&mut self, out: &mut Vec<Received>, max: usize) -> Result<usize, PortError> {
        if self.is_unrecorded() {
            return Ok(0);
        }
        let max = max.min(out.capacity() - out.len());
        // Room for the socket, on the turns on which it is asked although the device is busy.
        let reserve = if self.busy_turns + 1 >= SOCKET_EVERY_TURNS { self.socket.capacity().min(max / 2) } else { 0 };
        // Another queue is the first each time: one that is always full must not starve the others.
        let (count, first) = (self.queues.len(), self.next_queue);
        self.next_queue = (first + 1) % count.max(1);
        let mut got = 0;
        for n in 0..count {
            got += self.take((first + n) % count, out, max - reserve - got)?;
        }
        if got > 0 {
            reach(KillPoint::Received);
        }
        Ok(got + self.ask_socket(out, max - got, got > 0)?)
    }

    fn recorded(&mut self, position: u32) {
        let (slot, low) = (position >> POSITION_BITS, position & ((1 << POSITION_BITS) - 1));
        if slot == SOCKET {
            return self.socket.recorded(low);
        }
        let Some(queue) = self.queues.get_mut(slot as usize) else { return };
        let ahead = low.wrapping_sub(queue.consumed) & ((1 << POSITION_BITS) - 1);
        if ahead < queue.read.wrapping_sub(queue.consumed) {
            queue.mark(queue.consumed.wrapping_add(ahead));
        }
    }

    fn take_faults(&mut self) -> u64 {
        std::mem::take(&mut self.faults)
    }

    fn withdraw(&mut self, free: &mut Vec<Held>) -> Result<(), PortError> {
        self.socket.withdraw(free)
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn dropped(&mut self) -> u64 {
        let now = now_ns();
        if now.wrapping_sub(self.statistics.0) >= STATISTICS_EVERY_NS {
            let sum = self.queues.iter().filter_map(|q| ffi::dropped(q.socket.as_fd()).ok()).sum::<u64>();
            self.statistics = (now, sum);
        }
        self.statistics.1 + self.socket.dropped()
    }
}
