//! Receiving: buffers go into a pool that lies over the arena, and come out of the device's queues with a packet in them.
//!
//! The device, or its driver, takes buffers from the pool whenever it likes: which of the two has one is not told apart, and the
//! owner word of both is the device's. Of what was taken and not recorded when this process dies, only the number can be told.

use super::access::AccessList;
use super::device::Device;
use super::ffi::{self, Packet, Pool, PortConfig};
use super::idle::Waiter;
use super::memory::Packets;
use super::statistics::{PortStatistics, Statistics, interface_received};
use super::{DeviceInfo, DpdkError, Eal, FlowReport, FlowRules, Idle};
use crate::ethernet::{Recipient, Seen, look_alone};
use crate::{DeviceCounts, LinkState, PortError, Received, Refound, RxPort, Standing, StartTimes};
use acl::{AclAction, AclRule};
use arena::descriptor::{DataRange, Table};
use arena::device::Posted;
use arena::killpoint::{KillPoint, reach};
use arena::{Arena, Held, Me, OwnerId};
use std::ffi::CString;
use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use wire::packet::Endpoint;

/// Between a buffer's mbuf and its headroom: with it an untagged IPv4 datagram's payload begins at a multiple of 64 bytes.
const PRIVATE_BYTES: u16 = 22;
/// Most packets of a call to the driver. Buffers lie 4096 bytes apart, so that their headers share a few sets of the first cache
/// and, of more than its ways, push one another out before they are looked at (`bench-dpdk net_null`: 57 cycles per packet by 8
/// at a time, 101 by 32).
const CALL: usize = 8;
/// Buffers beside those that wait in the device's queues, in bursts: what a turn takes before the next offer.
const SPARE_BURSTS: u32 = 8;
/// Entries of the send queues that the port has and nobody uses: drivers want some.
const TX_DESCRIPTORS: u16 = 64;
/// After a start that failed.
const BETWEEN_STARTS: Duration = Duration::from_millis(10);
/// Whose word a buffer has that is in the pool or in any queue of the port.
const DEVICE: OwnerId = OwnerId::device_rx(0);

/// Which datagrams are ours.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Our addresses; none: any.
    pub addresses: Vec<IpAddr>,
    /// Our UDP port; 0: any.
    pub port: u16,
}

impl Recipient for Filter {
    #[inline]
    fn takes(&self, to: &Endpoint) -> bool {
        let is_at_ours = || self.addresses.is_empty() || self.addresses.iter().any(|ours| to.is_at(ours));
        (self.port == 0 || to.port() == self.port) && is_at_ours()
    }
}

/// What earlier incarnations left in the books, for [`DeviceCounts::lost`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// What [`DpdkRx::link_base`] was; none: this is the first.
    pub link_base: Option<u64>,
    /// Packets recorded so far.
    pub packets: u64,
    /// Packets counted as lost so far.
    pub lost: u64,
    /// Packets that earlier incarnations' ports told of themselves: missed, or damaged.
    pub told: u64,
}

/// How the receiving side works.
#[derive(Clone, Debug)]
pub struct RxOptions {
    /// PCI address, or virtual device with its arguments.
    pub device: String,
    /// Receive queues; more than one take turns, and the port spreads packets over them.
    pub queues: u16,
    /// Entries of each.
    pub descriptors: u16,
    /// Most packets that a queue brings in one turn, by as many calls to the driver as it is deep.
    pub burst: usize,
    /// Buffers that the pool keeps at hand beside its common store; 0: none.
    pub cache: u32,
    /// Largest IP packet; none: as the port has it.
    pub mtu: Option<u16>,
    /// Whether frames to other hardware addresses are taken in.
    pub promiscuous: bool,
    /// Whether UDP checksums are verified in software, where the port has not done so.
    pub verify_checksums: bool,
    /// Whether the port verifies checksums, if it can.
    pub offloads: bool,
    /// Whether the port drops by rules of the access list.
    pub flow_rules: FlowRules,
    /// How a stage without work waits.
    pub idle: Idle,
    /// Its first sleep without interrupts, microseconds.
    pub idle_sleep_us: u32,
    /// Which datagrams are ours.
    pub filter: Filter,
    /// Most buffers that may be with the device.
    pub depth: u32,
    /// What earlier incarnations left.
    pub before: Before,
}

/// The receiving side of a port.
#[derive(Debug)]
pub struct DpdkRx {
    // Dropped in this order: the port before the buffers that it receives into.
    device: Device,
    /// None while it is made anew.
    pool: Option<Pool>,
    memory: Packets,
    arena: Arena,
    table: Table<'static>,
    me: Me,
    home: Range<u32>,
    options: RxOptions,
    config: PortConfig,
    info: DeviceInfo,
    waiter: Waiter,
    access: AccessList,
    packets: Vec<Packet>,
    /// Numbers on their way into the pool.
    numbers: Vec<u32>,
    /// On their way into the pool.
    offered: Vec<Held>,
    started: bool,
    /// The driver also brings what the machine's own kernel sends by the interface.
    hears_itself: bool,
    /// Withdrawn: the device is gone.
    closed: bool,
    /// Why the port did not start at the last offer.
    not_started: Option<DpdkError>,
    /// And when it may be tried again.
    try_again: Option<Instant>,
    next_queue: u16,
    /// Buffers with the device, and how many may be.
    posted: u32,
    depth: u32,
    /// Of them, as many may wait in queues.
    in_queues: u32,
    position: u32,
    faults: u64,
    statistics: Statistics,
    link_base: Option<u64>,
    lost: u64,
    start_us: u64,
}

impl DpdkRx {
    /// Finds the device, configures it, and lays its pool over the gateway's buffers; all are out of the pool. The predecessor is
    /// dead. Packets come from the first offer on that brings enough buffers.
    ///
    /// # Errors
    /// [`PortError::Dpdk`] with the cause and a remedy; nothing is left behind.
    pub fn open(eal: &Eal, options: &RxOptions, arena: &Arena, me: Me) -> Result<Self, PortError> {
        let start = Instant::now();
        let received = interface_received(&options.device);
        let device = Device::open(eal, &options.device)?;
        let mut config = PortConfig {
            rx_queues: options.queues.max(1),
            // Some drivers demand as many as receive queues.
            tx_queues: options.queues.max(1),
            mtu: 0,
            rss: options.queues > 1,
            checksum: options.offloads,
            interrupts: options.idle != Idle::Sleep,
        };
        let mut memory = Packets::of(arena)?;
        if device.does_dma() {
            memory.open_to(&device)?;
        }
        device.configure(&mut config, options.mtu)?;
        let home = arena.geometry().home_range(me.id);
        let pool = Self::pool(&device, &memory, &home, options)?;
        let waiter = Waiter::new(options.idle_sleep_us)?;
        let in_queues = u32::from(device.rx_descriptors(options.descriptors)) * u32::from(config.rx_queues);
        let spare = options.cache + SPARE_BURSTS * options.burst as u32;
        let depth = (in_queues + spare).min(options.depth).min(home.len() as u32);
        let info = Self::describe(&device, &config);
        let hears_itself = info.driver == "net_af_packet";
        let (link_base, lost) = books(received, options.before);
        Ok(Self {
            device,
            pool: Some(pool),
            memory,
            arena: arena.clone(),
            table: arena.table(),
            me,
            home,
            options: options.clone(),
            config,
            info,
            waiter,
            access: AccessList::new(eal, options.flow_rules),
            packets: vec![Packet::default(); CALL],
            numbers: Vec::with_capacity(depth as usize),
            offered: Vec::with_capacity(depth as usize),
            started: false,
            hears_itself,
            closed: false,
            not_started: None,
            try_again: None,
            next_queue: 0,
            posted: 0,
            depth,
            in_queues,
            position: 0,
            faults: 0,
            statistics: Statistics::default(),
            link_base,
            lost,
            start_us: start.elapsed().as_micros() as u64,
        })
    }

    fn pool(device: &Device, memory: &Packets, home: &Range<u32>, options: &RxOptions) -> Result<Pool, DpdkError> {
        let name = pool_name("fw-rx");
        let node = device.info.numa_node;
        let mut control = device.eal.control();
        let pool = Pool::create(&name, memory.stretch(home), PRIVATE_BYTES, options.cache, node);
        let mut pool = pool.map_err(|errno| DpdkError::Pool { reason: ffi::reason(errno), log: control.take() })?;
        let mut all = vec![0; home.len()];
        let taken = pool.take_out(&mut all);
        all.sort_unstable();
        let each_once = all.iter().enumerate().all(|(n, number)| *number as usize == n);
        if taken == home.len() && each_once && pool.available() == 0 && pool.is_sound() {
            Ok(pool)
        } else {
            Err(DpdkError::PoolLayout)
        }
    }

    fn describe(device: &Device, config: &PortConfig) -> DeviceInfo {
        DeviceInfo {
            device: device.name.clone(),
            driver: device.driver(),
            mac: device.info.mac,
            mtu: config.mtu,
            dma: device.does_dma(),
            queues: config.rx_queues,
            checksum: config.checksum,
            rss: config.rss,
            interrupts: false,
            copies: false,
        }
    }

    /// Makes the pool anew, with all buffers in it whose words say so.
    fn refill(&mut self) -> Result<(), DpdkError> {
        // The old one first: both would lie in the same buffers.
        self.pool = None;
        let mut pool = Self::pool(&self.device, &self.memory, &self.home, &self.options)?;
        let with = |index: &u32| self.table.is_with(*index, DEVICE);
        let mut numbers: Vec<u32> = self.home.clone().filter(with).map(|index| index - self.home.start).collect();
        pool.put_back(&mut numbers);
        self.pool = Some(pool);
        Ok(())
    }

    fn set_up_queues(&self) -> Result<(), DpdkError> {
        let (port, device) = (self.device.port, &self.device);
        let wanted = device.rx_descriptors(self.options.descriptors);
        let (rx, tx) = device.run("asking for descriptors", || port.adjust(wanted, TX_DESCRIPTORS))?;
        device.set_up_queues(|| {
            let pool = self.pool.as_ref().ok_or(libc::ENOMEM)?;
            (0..self.config.rx_queues).try_for_each(|queue| port.rx_queue(queue, rx, pool))?;
            (0..self.config.tx_queues).try_for_each(|queue| port.tx_queue(queue, tx))
        })
    }

    /// Sets the queues up and starts the port. The pool has buffers.
    fn start(&mut self) -> Result<(), DpdkError> {
        while let Err(error) = self.set_up_queues() {
            if !self.device.reopen(&mut self.config, self.options.mtu)? {
                return Err(error);
            }
            if self.device.does_dma() {
                self.memory.open_to(&self.device)?;
            }
            self.refill()?;
        }
        let (port, device) = (self.device.port, &self.device);
        device.run("starting", || port.start())?;
        device.check_scatter(self.config.rx_queues, self.config.mtu)?;
        if self.options.promiscuous {
            device.run("setting promiscuous mode", || port.promiscuous())?;
        }
        // One that cannot takes them in anyhow, or IPv6 neighbours do not find it: nothing that would stop a start.
        let _ = device.run("setting multicast mode", || port.all_multicast());
        if self.config.interrupts {
            self.info.interrupts = self.waiter.use_interrupts(port, self.config.rx_queues)?;
        }
        if self.options.idle == Idle::Interrupt && !self.waiter.has_interrupts() {
            return Err(DpdkError::NoInterrupts { device: device.name.clone() });
        }
        self.access.start(port, &self.options.filter, &device.name)
    }

    /// Starts the port if it has not been. With too few buffers it is tried again at the next offer.
    fn start_if_possible(&mut self) {
        if self.started || self.closed || self.not_started.as_ref().is_some_and(is_final) {
            return;
        }
        if self.posted < self.in_queues.min(self.depth) && self.needs_all() {
            return;
        }
        let start = Instant::now();
        if self.try_again.is_some_and(|after| start < after) {
            return;
        }
        match self.start() {
            Ok(()) => (self.started, self.not_started) = (true, None),
            Err(error) => (self.not_started, self.try_again) = (Some(error), Some(Instant::now() + BETWEEN_STARTS)),
        }
        self.start_us += start.elapsed().as_micros() as u64;
    }

    /// Whether the driver takes its queues' buffers all at once, as those of devices do: each entry of a ring has its buffer.
    fn needs_all(&self) -> bool {
        self.info.driver == "net_af_xdp" || self.info.dma
    }

    /// What the port is.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// What the port drops by itself.
    pub fn flow_report(&self) -> &FlowReport {
        self.access.report()
    }

    /// What the port counts.
    pub fn statistics(&mut self) -> PortStatistics {
        if self.closed { self.statistics.last() } else { self.statistics.get(self.device.port) }
    }

    /// Packets that the kernel's interface under the device had received when there was none of this pipeline's; to be kept for the
    /// next incarnation. `None` where nobody counts.
    pub fn link_base(&self) -> Option<u64> {
        self.link_base
    }

    /// Buffers that the device has and that hold no packet yet, as far as they are in the pool.
    pub fn available(&self) -> u32 {
        self.pool.as_ref().map_or(0, Pool::available)
    }

    /// Takes a burst of one queue; returns how many packets came.
    #[inline]
    fn take(&mut self, queue: u16, out: &mut Vec<Received>, most: usize) -> usize {
        let Some(pool) = &mut self.pool else { return 0 };
        let n = self.device.port.receive(queue, pool, &mut self.packets[..most]);
        for packet in &self.packets[..n] {
            self.table.prefetch(self.home.start.wrapping_add(packet.index));
        }
        for packet in &self.packets[..n] {
            let index = self.home.start.wrapping_add(packet.index);
            let claimed = (packet.index < self.home.len() as u32).then(|| self.table.claim(index, DEVICE, self.me));
            let Some(held) = claimed.flatten() else {
                self.faults += 1;
                continue;
            };
            if self.hears_itself && is_from(self.arena.packet(&held), packet.offset, self.info.mac) {
                self.table.post(&held, DEVICE, self.me, Posted { position: 0, last: false });
                self.offered.push(held);
                continue;
            }
            self.posted = self.posted.saturating_sub(1);
            let at = DataRange { offset: packet.offset, len: packet.len };
            let verify = self.options.verify_checksums && packet.flags & ffi::GOOD_CHECKSUM == 0;
            let damaged = packet.flags & (ffi::BAD_CHECKSUM | ffi::SEGMENTED) != 0;
            let bytes = if damaged { &[] } else { self.arena.packet(&held) };
            let Seen { data, peer, local, link, standing } =
                look_alone(bytes, at, queue as u8, verify, &self.options.filter);
            let stray = !self.options.promiscuous && is_for_another(bytes, at, self.info.mac);
            let standing = if stray { Standing::Elsewhere } else { standing };
            self.position = self.position.wrapping_add(1);
            out.push(Received { held, data, peer, local, link, position: self.position, standing });
        }
        if !self.offered.is_empty() {
            pool.put(self.home.start, &mut self.offered, &mut self.numbers);
        }
        n
    }

    /// How many packets may be asked for: the driver takes as many new buffers, and one that finds none drops a packet.
    #[inline]
    fn most(&self, wanted: usize) -> usize {
        let wanted = wanted.min(CALL);
        let surely = self.posted.saturating_sub(self.in_queues) as usize;
        if surely >= wanted { wanted } else { wanted.min(self.available() as usize) }
    }
}

/// Whether the frame at `offset` comes from the hardware address `mac`.
fn is_from(buffer: &[u8], offset: u16, mac: [u8; 6]) -> bool {
    let at = usize::from(offset) + 6;
    buffer.get(at..at + 6) == Some(&mac[..])
}

/// Whether a start that failed so fails again: the port was started, and cannot do what it must.
fn is_final(error: &DpdkError) -> bool {
    matches!(error, DpdkError::FlowRule { .. } | DpdkError::NoInterrupts { .. } | DpdkError::Mtu { .. })
}

/// Whether a frame is for one other station: a switch that does not know a port's address sends to all of its ports, and
/// drivers of the kernel's interfaces take in what their kernel would leave alone.
#[inline]
fn is_for_another(bytes: &[u8], at: DataRange, own: [u8; 6]) -> bool {
    // The lowest bit of the first byte marks a group.
    let to = bytes.get(usize::from(at.offset)..).and_then(|frame| frame.first_chunk::<6>());
    to.is_some_and(|to| to[0] & 1 == 0 && *to != own)
}

/// The base for later incarnations, and what was lost until now. Both are exact where the kernel counts what reached the port.
fn books(received: Option<u64>, before: Before) -> (Option<u64>, u64) {
    let Some(received) = received else { return (None, 0) };
    let known = before.packets.wrapping_add(before.lost).wrapping_add(before.told);
    match before.link_base {
        Some(base) => (Some(base), received.saturating_sub(base).saturating_sub(known)),
        None => (Some(received.saturating_sub(known)), 0),
    }
}

/// A name that no other pool of this process has.
pub(super) fn pool_name(kind: &str) -> CString {
    static NEXT: std::sync::Mutex<u32> = std::sync::Mutex::new(0);
    let mut next = NEXT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    *next += 1;
    CString::new(format!("{kind}-{next}")).unwrap_or_default()
}

impl RxPort for DpdkRx {
    /// What waited in the device is lost, and what had been taken cannot be told from free buffers.
    fn refind(&mut self, _: &mut Vec<Refound>) {}

    /// The device was reset when the port was opened: nothing is with it any more.
    fn take_unposted(&mut self, free: &mut Vec<Held>) {
        free.extend(self.home.clone().filter_map(|index| self.table.claim(index, DEVICE, self.me)));
        self.posted = 0;
    }

    fn capacity(&self) -> usize {
        self.depth as usize
    }

    fn wants(&self) -> usize {
        if self.closed { 0 } else { self.depth.saturating_sub(self.posted) as usize }
    }

    fn offer(&mut self, _: &Arena, free: &mut Vec<Held>) {
        let n = self.wants().min(free.len());
        if n > 0 && self.pool.is_some() {
            self.offered.extend(free.drain(free.len() - n..));
            // Buffers of another gateway's home have no mbuf here.
            let foreign = self.offered.iter().any(|held| !self.home.contains(&held.index()));
            if foreign {
                let home = &self.home;
                free.extend(self.offered.extract_if(.., |held| !home.contains(&held.index())));
            }
            for held in &self.offered {
                self.table.post(held, DEVICE, self.me, Posted { position: 0, last: false });
            }
            reach(KillPoint::DeviceNamed);
            self.posted += self.offered.len() as u32;
            if let Some(pool) = &mut self.pool {
                pool.put(self.home.start, &mut self.offered, &mut self.numbers);
            }
            reach(KillPoint::DevicePosted);
        }
        self.start_if_possible();
    }

    fn receive(&mut self, out: &mut Vec<Received>, max: usize) -> Result<usize, PortError> {
        if !self.started {
            return match self.not_started.take() {
                Some(error) if is_final(&error) || self.posted >= self.depth.min(self.in_queues) => Err(error.into()),
                _ => Ok(0),
            };
        }
        let slept = self.waiter.disarm(self.device.port);
        let max = max.min(out.capacity() - out.len());
        let (count, first) = (self.config.rx_queues, self.next_queue);
        self.next_queue = if first + 1 < count { first + 1 } else { 0 };
        let before = out.len();
        for n in 0..count {
            let queue = if first + n < count { first + n } else { first + n - count };
            let end = out.len() + self.options.burst.max(1).min(max - (out.len() - before));
            loop {
                let most = self.most(end - out.len());
                if most == 0 {
                    break;
                }
                let got = self.take(queue, out, most);
                // As many calls as the queue is deep.
                if got < most {
                    break;
                }
            }
        }
        let got = out.len() - before;
        self.access.classify(&mut out[before..]);
        self.waiter.learn(slept, got > 0);
        if got > 0 {
            reach(KillPoint::Received);
        }
        Ok(got)
    }

    /// A word that names this stage is all the record that there is.
    fn recorded(&mut self, _: u32) {}

    fn take_faults(&mut self) -> u64 {
        std::mem::take(&mut self.faults)
    }

    /// The device goes, so that the successor can have it; everything that was with it comes back.
    fn withdraw(&mut self, free: &mut Vec<Held>) -> Result<(), PortError> {
        if !std::mem::replace(&mut self.closed, true) {
            self.statistics.get(self.device.port);
            self.access.stop(self.device.port);
            self.started = false;
        }
        self.device.remove()?;
        self.take_unposted(free);
        Ok(())
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.waiter.arm(self.device.port)
    }

    fn dropped(&mut self) -> u64 {
        let s = self.statistics();
        s.missed + s.receive_errors
    }

    fn link_address(&self) -> Option<[u8; 6]> {
        Some(self.info.mac)
    }

    fn set_access_list(&mut self, rules: &[AclRule], policy: AclAction) {
        let port = self.started.then_some(self.device.port);
        self.access.set(rules, policy, port, &self.options.filter, &self.device.name);
    }

    fn take_denied(&mut self, all: bool, add: &mut dyn FnMut(u16, u64)) {
        self.access.count(all, add);
    }

    fn take_notice(&mut self) -> Option<String> {
        self.access.take_notice()
    }

    fn device_counts(&mut self) -> Option<DeviceCounts> {
        let s = self.statistics();
        Some(DeviceCounts { missed: s.missed, errors: s.receive_errors, no_mbuf: s.no_mbuf, lost: self.lost })
    }

    fn link_state(&self) -> Option<LinkState> {
        self.device.link()
    }

    fn is_starting(&self) -> bool {
        !self.started && !self.closed
    }

    fn start_times(&self) -> Option<StartTimes> {
        Some(StartTimes { eal_init_us: self.device.eal.init_us(), port_start_us: self.start_us, copies: 0 })
    }
}

#[cfg(test)]
mod tests;
