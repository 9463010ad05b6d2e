//! Sending: a head's own buffer goes into TX, and comes back through COMPLETION.
//!
//! A head that is posted is the device's. Its fate is recorded when it comes back, before its word is ours: whoever finds
//! a completion knows from the descriptor whether anything more was to follow.

use super::ffi::{self, RingKind};
use super::{PLAIN_HEADERS, owners, split};
use crate::udp::MAX_DATAGRAM;
use crate::{Datagram, PortError, Reaped, Route, SendOutcome, Sent, TxPort};
use arena::descriptor::{DataRange, Descriptor, Table};
use arena::device::Posted;
use arena::device_ring::DeviceRing;
use arena::killpoint::{KillPoint, reach};
use arena::layout::BUFFER_BYTES;
use arena::meta::Address;
use arena::{Arena, Held, Me, OwnerId};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Largest burst.
const BURST: usize = 64;

/// One queue's sending side.
#[derive(Debug)]
struct Queue {
    socket: OwnedFd,
    tx: DeviceRing,
    completion: DeviceRing,
    device: OwnerId,
    number: u32,
    /// TX's producer.
    produced: u32,
    /// COMPLETION's consumer.
    reaped: u32,
    /// Heads that are with the device.
    posted: u32,
}

/// The sending side of all queues.
#[derive(Debug)]
pub struct AfXdpTx {
    queues: Vec<Queue>,
    table: Table<'static>,
    me: Me,
    mtu: u32,
    zero_copy: bool,
    need_wakeup: bool,
    /// Entries that named nothing of ours, and have not been told.
    faults: u64,
}

/// How the sending side works; everything else is the host's.
#[derive(Clone, Debug)]
pub struct TxOptions {
    /// Entries of each ring.
    pub ring_size: u32,
    /// The interface's MTU, bytes.
    pub mtu: u32,
    /// Whether the device sends from the buffers by itself; else the kernel copies while it is kicked.
    pub zero_copy: bool,
    /// Whether the kernel says when it wants to be kicked; else it is kicked each time.
    pub need_wakeup: bool,
    /// Numbers of the queues, in the order of their sockets.
    pub queues: Vec<u32>,
}

impl AfXdpTx {
    /// Takes over the inherited descriptors: one AF_XDP socket for each queue.
    ///
    /// # Errors
    /// [`PortError`] if their number is wrong, or a ring cannot be mapped.
    pub fn attach(fds: Vec<OwnedFd>, options: &TxOptions, arena: &Arena, me: Me) -> Result<Self, PortError> {
        let (is, want) = (fds.len(), options.queues.len());
        if is != want || want == 0 {
            return Err(PortError::Descriptors { is, want });
        }
        let map = |(fd, number): (OwnedFd, &u32)| Queue::map(fd, *number, options.ring_size);
        let queues = fds.into_iter().zip(&options.queues).map(map).collect::<Result<_, _>>()?;
        let (mtu, zero_copy, need_wakeup) = (options.mtu, options.zero_copy, options.need_wakeup);
        Ok(Self { queues, table: arena.table(), me, mtu, zero_copy, need_wakeup, faults: 0 })
    }

    fn kick_those_with_work(&self) {
        for queue in self.queues.iter().filter(|q| q.unsent() > 0) {
            if !self.zero_copy || !self.need_wakeup || queue.tx.needs_wakeup() {
                queue.kick(self.zero_copy);
            }
        }
    }

    /// The queue that a frame came by, or the first.
    fn queue_of(&self, number: u8) -> usize {
        self.queues.iter().position(|q| q.number == u32::from(number)).unwrap_or(0)
    }
}

impl Queue {
    fn map(socket: OwnedFd, number: u32, ring_size: u32) -> Result<Self, PortError> {
        let (_, device) = owners(number).ok_or(PortError::Queue { queue: number })?;
        let ring = |kind| ffi::map(socket.as_fd(), kind, ring_size).map_err(PortError::device("mmap"));
        let (tx, completion) = (ring(RingKind::Tx)?, ring(RingKind::Completion)?);
        let (produced, reaped) = (tx.producer(), completion.consumer());
        Ok(Self { socket, tx, completion, device, number, produced, reaped, posted: 0 })
    }

    fn unsent(&self) -> u32 {
        self.produced.wrapping_sub(self.tx.consumer())
    }

    /// Has the kernel send what it will take now. In copy mode it does so during the call, a part each time.
    fn kick(&self, zero_copy: bool) {
        let mut unsent = self.unsent();
        loop {
            let kicked = ffi::kick_tx(self.socket.as_fd());
            let left = self.unsent();
            // No memory for more packets, or the device is busy or stopped: again at the next turn.
            let goes_on = matches!(kicked, Ok(()) | Err(Errno::AGAIN | Errno::INTR)) && left != unsent;
            if zero_copy || left == 0 || !goes_on {
                return;
            }
            unsent = left;
        }
    }

    /// Steps over the completions that a dead incarnation claimed and did not live to consume; entries are claimed in order. Later
    /// they would be taken for those of the next frame in the same buffer.
    fn skip_claimed(&mut self, table: Table<'_>) {
        let waiting = self.completion.producer().wrapping_sub(self.reaped).min(self.completion.capacity());
        for _ in 0..waiting {
            let entry = split(self.completion.address(self.reaped));
            if entry.is_some_and(|(index, _)| table.is_with(index, self.device)) {
                break;
            }
            self.reaped = self.reaped.wrapping_add(1);
        }
        self.completion.set_consumer(self.reaped);
    }

    /// Takes back what has been sent.
    fn reap(&mut self, table: Table<'_>, me: Me, done: &mut Vec<Reaped>, faults: &mut u64) {
        let before = self.reaped;
        let waiting = self.completion.producer().wrapping_sub(before);
        for _ in 0..waiting.min(self.completion.capacity()).min((done.capacity() - done.len()) as u32) {
            let entry = split(self.completion.address(self.reaped)).map(|(index, _)| index);
            self.reaped = self.reaped.wrapping_add(1);
            // A word that is not the queue's: a dead incarnation had claimed it, and the sweep has handed it on.
            match entry.and_then(|index| table.complete(index, self.device, me)) {
                Some((held, last)) => {
                    self.posted = self.posted.saturating_sub(1);
                    done.push(Reaped { held, last });
                }
                // A word that is not the queue's: a dead incarnation had claimed it.
                None => *faults += u64::from(entry.is_none_or(|index| index >= table.buffers())),
            }
        }
        if self.reaped != before {
            reach(KillPoint::DeviceClaimed);
            self.completion.set_consumer(self.reaped);
        }
    }
}

impl TxPort for AfXdpTx {
    /// What has been sent is found by its completion.
    fn found_sent(&mut self, _: &mut Vec<Sent>) {}

    fn take_unposted(&mut self, heads: &mut Vec<Held>) {
        let (table, me) = (self.table, self.me);
        for queue in &mut self.queues {
            queue.skip_claimed(table);
            table.take_unposted(queue.device, queue.produced, me, heads);
            let with = |d: &Descriptor| d.owner().id == queue.device;
            queue.posted = table.iter().take(table.buffers() as usize).filter(|(_, d)| with(d)).count() as u32;
            // The dead one may have posted without kicking, and the kernel may have taken a part.
            queue.kick(self.zero_copy);
        }
    }

    fn posts(&self) -> bool {
        true
    }

    fn max_datagram(&self, to: Address) -> usize {
        let ip = if to.get().is_some_and(|a| a.is_ipv6()) { 40 } else { PLAIN_HEADERS - 14 - 8 };
        (self.mtu.saturating_sub(ip + 8) as usize).min(MAX_DATAGRAM)
    }

    fn enclose(&self, buffer: &mut [u8], payload: DataRange, route: &Route) -> Option<DataRange> {
        crate::ethernet::enclose(buffer, payload, route)
    }

    fn reap(&mut self, done: &mut Vec<Reaped>) {
        // What the kernel would not take last time.
        self.kick_those_with_work();
        for queue in &mut self.queues {
            queue.reap(self.table, self.me, done, &mut self.faults);
        }
    }

    fn take_faults(&mut self) -> u64 {
        std::mem::take(&mut self.faults)
    }

    fn is_pending(&self) -> bool {
        self.queues.iter().any(|q| q.posted > 0)
    }

    fn burst(&self) -> usize {
        BURST
    }

    fn send(&mut self, datagrams: &[Datagram<'_>], outcomes: &mut [SendOutcome]) -> Result<(), PortError> {
        outcomes.fill(SendOutcome::Later);
        let table = self.table;
        let mut touched = [false; arena::device::MAX_QUEUES as usize];
        for (datagram, outcome) in datagrams.iter().zip(outcomes.iter_mut()).take(BURST) {
            let len = datagram.first.len() as u32;
            let inside = u64::from(datagram.offset) + u64::from(len) <= BUFFER_BYTES;
            let Some(link) = datagram.link.filter(|_| inside && len > 0 && datagram.second.is_empty()) else {
                *outcome = SendOutcome::Failed;
                continue;
            };
            let slot = self.queue_of(link.queue);
            let queue = &mut self.queues[slot];
            if queue.unsent() >= queue.tx.capacity() {
                continue; // The others may have room.
            }
            let address = u64::from(datagram.head.index()) * BUFFER_BYTES + u64::from(datagram.offset);
            queue.tx.set(queue.produced, address, len);
            let posted = Posted { position: queue.produced, last: datagram.last };
            table.post(datagram.head, queue.device, self.me, posted);
            queue.produced = queue.produced.wrapping_add(1);
            queue.posted += 1;
            touched[slot] = true;
            *outcome = SendOutcome::Posted;
        }
        reach(KillPoint::DeviceNamed);
        for (queue, _) in self.queues.iter().zip(touched).filter(|(_, touched)| *touched) {
            queue.tx.set_producer(queue.produced);
        }
        reach(KillPoint::DevicePosted);
        self.kick_those_with_work();
        Ok(())
    }

    fn recorded(&mut self) {}

    fn writable(&self) -> BorrowedFd<'_> {
        self.queues[0].socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arena::descriptor::Role;
    use arena::device_ring::RingOffsets;
    use arena::owner::Owner;
    use rustix::fs::MemfdFlags;

    /// A ring in memory, and another end of it.
    fn ring(stride: usize) -> [DeviceRing; 2] {
        let memory = rustix::fs::memfd_create("ring", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&memory, 8192).unwrap();
        let at = RingOffsets { page: 0, producer: 0, consumer: 64, flags: 128, entries: 192, stride };
        [(); 2].map(|()| DeviceRing::map(memory.as_fd(), at, 8).unwrap())
    }

    #[test]
    fn completions_that_a_dead_incarnation_claimed_are_not_those_of_the_next_frame() {
        let (device, me) = (OwnerId::device_tx(0), Me { id: OwnerId(2), incarnation: 7 });
        let word = |id| Owner { id, incarnation: 6, seq: 1 };
        let all: Vec<_> = [me.id, me.id, device].iter().map(|id| Descriptor::new(word(*id), Role::Head)).collect();
        let table = Table::new(&all, 3);
        let ([tx, _], [completion, kernel]) = (ring(16), ring(8));
        for index in 0..3 {
            kernel.set(index, u64::from(index) * BUFFER_BYTES, 0);
        }
        kernel.set_producer(3);
        let socket = rustix::fs::memfd_create("socket", MemfdFlags::CLOEXEC).unwrap();
        let mut queue = Queue { socket, tx, completion, device, number: 0, produced: 0, reaped: 0, posted: 0 };
        queue.skip_claimed(table);
        assert_eq!((queue.reaped, kernel.consumer()), (2, 2), "what the device has yet to give back stays");
        queue.skip_claimed(table);
        assert_eq!(queue.reaped, 2);
    }
}
