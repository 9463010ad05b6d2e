//! The two traits that every driver implements.

use crate::PortError;
use acl::{AclAction, AclRule};
use arena::descriptor::DataRange;
use arena::meta::{Address, Link};
use arena::{Arena, Held};
use std::os::fd::BorrowedFd;

/// A packet that lies in a buffer in hand.
#[derive(Debug)]
pub struct Received {
    /// The buffer.
    pub held: Held,
    /// Where the datagram (without transport headers) lies in it.
    pub data: DataRange,
    /// Who sent it.
    pub peer: Address,
    /// Our address that it was sent to.
    pub local: Address,
    /// The link that it came by, where the driver drives one.
    pub link: Option<Link>,
    /// The driver's own record of it, for [`RxPort::recorded`].
    pub position: u32,
    /// What the packet is instead of a datagram to us.
    pub standing: Standing,
}

/// What a driver has found out about a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// A datagram that nobody has held against the access list yet.
    #[default]
    Unfiltered,
    /// A datagram that the access list has let through.
    Filtered,
    /// A fragment of an IP packet: not reassembled here.
    Fragment,
    /// Not an IP packet with a UDP datagram, or its headers contradict each other.
    Malformed,
    /// A datagram for another address or port than ours, where no kernel takes those.
    Elsewhere,
    /// No datagram, from a driver that has no kernel beside it: `data` is the whole frame. It may ask for our hardware address.
    Other,
    /// A datagram that the driver has classified: the rule of the access list that matches first, if any does. What follows from
    /// it is rx-gateway's to say.
    Matched(Option<u16>),
}

/// A packet that a dead predecessor received and perhaps did not record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refound {
    /// The buffer's index, unchecked.
    pub index: u32,
    /// The owner word's sequence number when the buffer was given to the driver.
    pub seq: u32,
    /// Where the datagram lies.
    pub data: DataRange,
    /// Who sent it.
    pub peer: Address,
    /// Our address.
    pub local: Address,
    /// The link that it came by.
    pub link: Option<Link>,
    /// The driver's record.
    pub position: u32,
    /// What the packet is instead of a datagram to us.
    pub standing: Standing,
}

/// What a device says that became of packets which never got into a buffer in hand; each since the port was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCounts {
    /// No descriptor was free for them.
    pub missed: u64,
    /// They were damaged on the wire, or the device could not take them.
    pub errors: u64,
    /// Times no buffer was there to fill a descriptor again.
    pub no_mbuf: u64,
    /// Packets that a dead predecessor had taken and not recorded, or that waited in its queues.
    pub lost: u64,
}

/// A device's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Whether there is one.
    pub is_up: bool,
    /// Megabits per second; 0: unknown.
    pub speed_mbps: u32,
}

/// How long a port took to come up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartTimes {
    /// The environment of the driver, microseconds.
    pub eal_init_us: u64,
    /// The port itself: found, configured, started; microseconds.
    pub port_start_us: u64,
    /// Copies of a packet that the driver makes in this process because the device holds on to buffers.
    pub copies: u64,
}

/// The receiving side of a driver.
pub trait RxPort {
    /// Packets in the driver's shared vector that a predecessor may not have recorded. Called once, before anything else.
    ///
    /// Each stays until [`RxPort::recorded`], and every later incarnation finds it again until then, with the `seq` that
    /// the word had when the buffer was given to the driver. A successor therefore adopts such a buffer
    /// ([`adopt`](arena::descriptor::Table::adopt) keeps the number), so that the next one knows it too, should it die
    /// before it has recorded the packet. Where an empty datagram cannot be told from none (udp), it is not found.
    fn refind(&mut self, found: &mut Vec<Refound>);

    /// Takes back the buffers that a dead predecessor meant for a device and never gave it. Called once, after [`RxPort::refind`].
    fn take_unposted(&mut self, _free: &mut Vec<Held>) {}

    /// Most buffers that the driver can hold.
    fn capacity(&self) -> usize;

    /// How many buffers the driver can use at the moment; 0 while it waits for packets to be recorded.
    fn wants(&self) -> usize;

    /// Gives the driver free buffers to receive into: as many of `free` as it wants.
    fn offer(&mut self, arena: &Arena, free: &mut Vec<Held>);

    /// Receives without waiting, at most `max` packets, appended to `out` (within its capacity). A driver may hand
    /// out none while packets handed out before are not recorded.
    ///
    /// # Errors
    /// [`PortError::System`] for what cannot be waited out.
    fn receive(&mut self, out: &mut Vec<Received>, max: usize) -> Result<usize, PortError>;

    /// The packet at `position` stands in the arena's words now and need not be found again.
    fn recorded(&mut self, position: u32);

    /// Entries of a device's ring, since this was last asked, that named nothing of this pipeline's.
    fn take_faults(&mut self) -> u64 {
        0
    }

    /// Takes all offered buffers back (before parking). What a device has stays with it where the successor goes on with its ring;
    /// a device that belongs to this process is given up.
    ///
    /// # Errors
    /// The device cannot be given up, and may still use its buffers: none came back, and they are nobody's until this process has
    /// ended.
    fn withdraw(&mut self, free: &mut Vec<Held>) -> Result<(), PortError>;

    /// Becomes readable when there may be packets.
    fn readable(&self) -> BorrowedFd<'_>;

    /// Packets that the kernel or the device dropped since the socket was opened, as far as it tells.
    fn dropped(&mut self) -> u64;

    /// The device's hardware address, where no kernel tells the neighbours.
    fn link_address(&self) -> Option<[u8; 6]> {
        None
    }

    /// The access list, for a driver that classifies packets ([`Standing::Matched`]) or can have its device drop some. Called when
    /// the port is open, before the first packet, and at each reload.
    fn set_access_list(&mut self, _rules: &[AclRule], _policy: AclAction) {}

    /// Packets that the device itself has dropped by rules of the access list, since this was last asked: `add` is told of a rule
    /// and a number. Not for each packet; asks about some of the rules, or about `all`, as before another list comes.
    fn take_denied(&mut self, _all: bool, _add: &mut dyn FnMut(u16, u64)) {}

    /// What an operator should know of the port, once.
    fn take_notice(&mut self) -> Option<String> {
        None
    }

    /// What the device counts by itself. Not for each packet: it may ask the device.
    fn device_counts(&mut self) -> Option<DeviceCounts> {
        None
    }

    /// The device's link, where the driver knows. Not for each packet: it may ask the device.
    fn link_state(&self) -> Option<LinkState> {
        None
    }

    /// Whether the device has not been started yet, for want of buffers: it is when there are enough, and takes the stage's rights.
    fn is_starting(&self) -> bool {
        false
    }

    /// How long it took to come up.
    fn start_times(&self) -> Option<StartTimes> {
        None
    }
}

/// One datagram to send: the parts in order.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The head that it answers.
    pub head: &'a Held,
    /// Sequence number of its owner word.
    pub seq: u32,
    /// Whether it is the last of that head's datagrams.
    pub last: bool,
    /// Header, and result if it lies behind it.
    pub first: &'a [u8],
    /// The rest of the payload, elsewhere in the arena.
    pub second: &'a [u8],
    /// Where to.
    pub to: Address,
    /// Where from; [`Address::NONE`]: the kernel chooses.
    pub from: Address,
    /// Where `first` lies in the head's buffer, bytes from its start.
    pub offset: u16,
    /// The link to send it by, for a driver that drives one: then `first` is the whole frame, see [`TxPort::enclose`].
    pub link: Option<Link>,
}

/// Where a datagram goes, for a driver that writes the headers itself.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Where to.
    pub to: Address,
    /// Where from.
    pub from: Address,
    /// By which link.
    pub link: Link,
}

/// What became of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// With the kernel.
    Sent,
    /// In a device's ring: the head belongs to the device until [`TxPort::reap`] gives it back.
    Posted,
    /// Refused; sending it again will not help.
    Failed,
    /// Not tried yet: the transmit queue is full.
    Later,
}

/// A datagram that a dead predecessor handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Head, unchecked.
    pub head: u32,
    /// Sequence number of its owner word then.
    pub seq: u32,
}

/// A head that a device has sent.
#[derive(Debug)]
pub struct Reaped {
    /// The head, in hand again.
    pub held: Held,
    /// It was the frame's last datagram: its fate is recorded, and it is settled.
    pub last: bool,
}

/// The sending side of a driver.
pub trait TxPort {
    /// Heads whose last datagram a predecessor handed over. Called once, before anything else.
    fn found_sent(&mut self, found: &mut Vec<Sent>);

    /// Takes back the heads that a dead predecessor meant for a device and never gave it. Called once, before anything is sent.
    fn take_unposted(&mut self, _heads: &mut Vec<Held>) {}

    /// Takes back the heads whose last datagram a dead predecessor had posted to a device that has been reset since: nobody will
    /// say whether it went out. Each is settled, as [`arena::descriptor::Table::complete`] does, and is never sent again. Called
    /// once, after [`TxPort::take_unposted`].
    fn take_unconfirmed(&mut self, _heads: &mut Vec<Held>) {}

    /// Whether heads that are sent by a link stay with the device until [`TxPort::reap`].
    fn posts(&self) -> bool {
        false
    }

    /// Longest datagram that goes out in one packet, bytes of UDP payload.
    fn max_datagram(&self, to: Address) -> usize;

    /// Longest frame that goes out by a link, bytes from its Ethernet header on.
    fn max_frame(&self) -> usize {
        // Headers of IPv4 and UDP, of Ethernet, and two tags.
        self.max_datagram(Address::NONE) + 20 + 8 + 14 + 2 * 4
    }

    /// Writes the headers of a datagram that lies at `payload` in its head's buffer, right before it; returns where the whole
    /// frame lies. `None`: it cannot be sent this way (the families of the addresses differ, no room before the payload).
    fn enclose(&self, _buffer: &mut [u8], _payload: DataRange, _route: &Route) -> Option<DataRange> {
        None
    }

    /// Heads that the device has sent since the last call, appended to `done` (within its capacity).
    fn reap(&mut self, _done: &mut Vec<Reaped>) {}

    /// Entries of a device's ring, since this was last asked, that named nothing of this pipeline's.
    fn take_faults(&mut self) -> u64 {
        0
    }

    /// Whether something is still with the device: [`TxPort::reap`] is to be called again, without being woken.
    fn is_pending(&self) -> bool {
        false
    }

    /// Most datagrams per call of [`TxPort::send`].
    fn burst(&self) -> usize;

    /// Sends without waiting; `outcomes[i]` says what became of `datagrams[i]`. They are recorded as posted before the
    /// first is handed over.
    ///
    /// # Errors
    /// [`PortError::System`] if the driver as a whole does not work any more.
    fn send(&mut self, datagrams: &[Datagram<'_>], outcomes: &mut [SendOutcome]) -> Result<(), PortError>;

    /// The answers of the datagrams sent so far stand in the arena's words now.
    fn recorded(&mut self);

    /// Gives up a device that belongs to this process, so that the successor can have it (before parking). Nothing is pending
    /// ([`TxPort::is_pending`]), and nothing is sent any more.
    ///
    /// # Errors
    /// The device cannot be given up: it is free when this process has ended.
    fn withdraw(&mut self) -> Result<(), PortError> {
        Ok(())
    }

    /// Becomes writable when there is room again.
    fn writable(&self) -> BorrowedFd<'_>;

    /// Frames that the device took and could not send, since the port was opened, where it tells. Not for each packet: it may ask
    /// the device.
    fn device_errors(&mut self) -> Option<u64> {
        None
    }

    /// The device's link, where the driver knows. Not for each packet either.
    fn link_state(&self) -> Option<LinkState> {
        None
    }

    /// The hardware address that frames must come from, where it is not the one that the request was sent to.
    fn link_address(&self) -> Option<[u8; 6]> {
        None
    }

    /// How long it took to come up.
    fn start_times(&self) -> Option<StartTimes> {
        None
    }
}
