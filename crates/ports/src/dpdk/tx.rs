//! Sending: mbufs without data of their own point into the heads' buffers, and say when the device is done.
//!
//! A head that is posted is the device's, as its word says. A successor resets the device first: a head whose last datagram was
//! posted may have been sent or not, and is never sent again; of any other the whole reply is.

use super::device::Device;
use super::ffi::{self, BURST, Frame, PlainPool, PortConfig, Sender};
use super::memory::Packets;
use super::rx::pool_name;
use super::statistics::{PortStatistics, Statistics};
use super::{DeviceInfo, DpdkError, Eal};
use crate::udp::MAX_DATAGRAM;
use crate::{Datagram, LinkState, PortError, Reaped, Route, SendOutcome, Sent, StartTimes, TxPort};
use arena::descriptor::{DataRange, Descriptor, Table};
use arena::device::Posted;
use arena::killpoint::{KillPoint, reach};
use arena::layout::BUFFER_BYTES;
use arena::meta::{Address, Link};
use arena::{Arena, Held, Me, OwnerId};
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// Whose word a head has that is with the device.
const DEVICE: OwnerId = OwnerId::device_tx(0);
/// The queue that is used.
const QUEUE: u16 = 0;
/// Entries of the receive queue that the port has and nobody reads: drivers want one.
const RX_DESCRIPTORS: u16 = 64;
/// What the receive queue takes at most; besides there are mbufs for copies of outgoing packets, as many as the queue holds.
const PLAIN_MBUFS: u32 = 2048 + 1024;
/// How long a device may take to send what it has: 1024 frames of 1500 bytes at 1 Gbit/s take 12 ms.
const COPIES_LEAVE: std::time::Duration = std::time::Duration::from_millis(20);
/// Largest IP packet that such a copy can hold.
const COPY_MTU: u16 = 3500;
/// Ethernet header and two tags around an IP packet.
const AROUND: usize = 14 + 2 * 4;
/// Drivers that have done with a frame when they have taken it.
const FREES_AT_ONCE: [&str; 4] = ["net_af_packet", "net_af_xdp", "net_null", "net_tap"];
/// IPv4 and UDP headers; IPv6 and UDP headers.
const HEADERS: [u16; 2] = [20 + 8, 40 + 8];

/// How the sending side works.
#[derive(Clone, Debug)]
pub struct TxOptions {
    /// PCI address, or virtual device with its arguments.
    pub device: String,
    /// Entries of the send queue.
    pub descriptors: u16,
    /// Largest IP packet; none: as the port has it.
    pub mtu: Option<u16>,
}

/// The sending side of a port.
#[derive(Debug)]
pub struct DpdkTx {
    // Dropped in this order: the port before the mbufs that it has.
    device: Device,
    sender: Sender,
    _plain: PlainPool,
    table: Table<'static>,
    me: Me,
    info: DeviceInfo,
    /// Always writable: room is asked for again after a while.
    ready: OwnedFd,
    frames: Vec<Frame>,
    done: Vec<u32>,
    /// Heads with the device.
    posted: u32,
    /// The driver can be asked to give back what it has sent.
    cleans_up: bool,
    faults: u64,
    statistics: Statistics,
    start_us: u64,
}

impl DpdkTx {
    /// Finds the device, configures it, which resets it, and starts it. The predecessor is dead.
    ///
    /// # Errors
    /// [`PortError::Dpdk`] with the cause and a remedy; nothing is left behind.
    pub fn open(eal: &Eal, options: &TxOptions, arena: &Arena, me: Me) -> Result<Self, PortError> {
        let start = Instant::now();
        let mut device = Device::open(eal, &options.device)?;
        let mut memory = Packets::of(arena)?;
        if device.does_dma() {
            memory.open_to(&device)?;
        }
        let mut config =
            PortConfig { rx_queues: 1, tx_queues: 1, mtu: 0, rss: false, checksum: false, interrupts: false };
        device.configure(&mut config, options.mtu)?;
        // The device must be gone before the pools that its queues were given.
        let (mut sender, plain) = loop {
            let made = Self::pools(&device, &memory, options, arena.geometry().buffers)?;
            let Err(error) = Self::start(&device, options, &made.1) else { break made };
            if !device.reopen(&mut config, options.mtu)? {
                return Err(error.into());
            }
            if device.does_dma() {
                memory.open_to(&device)?;
            }
        };
        // Without that, many drivers look for what has been sent when the queue is nearly full: heads would wait there for hours.
        let cleans_up = device.port.clean_up(QUEUE);
        let copies = !cleans_up && !FREES_AT_ONCE.contains(&device.driver().as_str());
        if copies {
            sender.copy_to(&plain);
            config.mtu = config.mtu.min(COPY_MTU);
        }
        let info = DeviceInfo {
            device: device.name.clone(),
            driver: device.driver(),
            mac: device.info.mac,
            mtu: config.mtu,
            dma: device.does_dma(),
            queues: 1,
            checksum: false,
            rss: false,
            interrupts: false,
            copies,
        };
        let ready = eventfd(0, EventfdFlags::CLOEXEC).map_err(DpdkError::system("eventfd"))?;
        Ok(Self {
            device,
            sender,
            _plain: plain,
            table: arena.table(),
            me,
            info,
            ready,
            frames: Vec::with_capacity(BURST),
            done: vec![0; BURST],
            posted: 0,
            cleans_up,
            faults: 0,
            statistics: Statistics::default(),
            start_us: start.elapsed().as_micros() as u64,
        })
    }

    /// The mbufs that point into the arena, and those of the receive queue.
    fn pools(
        device: &Device,
        memory: &Packets,
        options: &TxOptions,
        buffers: u32,
    ) -> Result<(Sender, PlainPool), DpdkError> {
        let node = device.info.numa_node;
        let headers = (2 * u32::from(options.descriptors)).next_power_of_two() - 1 + BURST as u32;
        let mbufs = PLAIN_MBUFS + u32::from(options.descriptors);
        let pools = || {
            let sender = Sender::create(&pool_name("fw-tx"), memory.all(buffers), headers, node)?;
            Ok((sender, PlainPool::create(&pool_name("fw-tx-plain"), mbufs, node)?))
        };
        let mut control = device.eal.control();
        pools().map_err(|errno: i32| DpdkError::Pool { reason: ffi::reason(errno), log: control.take() })
    }

    fn start(device: &Device, options: &TxOptions, plain: &PlainPool) -> Result<(), DpdkError> {
        let port = device.port;
        // `net_af_xdp` makes its send queue as long as its receive queue (`xsk_configure` in drivers/net/af_xdp).
        let paired = device.driver() == "net_af_xdp";
        let wanted = if paired { RX_DESCRIPTORS.max(options.descriptors) } else { RX_DESCRIPTORS };
        let (rx, tx) = device.run("asking for descriptors", || port.adjust(wanted, options.descriptors))?;
        device.set_up_queues(|| {
            port.rx_queue_plain(0, rx, plain)?;
            port.tx_queue(QUEUE, tx)
        })?;
        device.run("starting", || port.start())
    }

    /// What the port is.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// What the port counts.
    pub fn statistics(&mut self) -> PortStatistics {
        if self.device.is_removed() { self.statistics.last() } else { self.statistics.get(self.device.port) }
    }

    /// Heads whose word is the device's: the device was reset when the port was opened. `unconfirmed`: those whose last datagram
    /// was posted, and of which no predecessor has seen that it went out; or all others.
    fn take_back(&self, unconfirmed: bool, heads: &mut Vec<Held>) {
        let with = |d: &Descriptor| d.owner().id == DEVICE && (d.posted().last && !d.is_settled()) == unconfirmed;
        let buffers = self.table.iter().take(self.table.buffers() as usize);
        for (index, _) in buffers.filter(|(_, d)| with(d)) {
            heads.extend(self.table.complete(index, DEVICE, self.me).map(|(held, _)| held));
        }
    }
}

impl TxPort for DpdkTx {
    /// Nobody says what went out.
    fn found_sent(&mut self, _: &mut Vec<Sent>) {}

    fn take_unposted(&mut self, heads: &mut Vec<Held>) {
        self.take_back(false, heads);
    }

    fn take_unconfirmed(&mut self, heads: &mut Vec<Held>) {
        self.take_back(true, heads);
    }

    fn posts(&self) -> bool {
        true
    }

    fn max_frame(&self) -> usize {
        usize::from(self.info.mtu) + AROUND
    }

    fn max_datagram(&self, to: Address) -> usize {
        let [v4, v6] = HEADERS;
        let headers = if to.get().is_some_and(|a| a.is_ipv6()) { v6 } else { v4 };
        usize::from(self.info.mtu.saturating_sub(headers)).min(MAX_DATAGRAM)
    }

    /// The source is this port's own address, whatever port the request came by.
    fn enclose(&self, buffer: &mut [u8], payload: DataRange, route: &Route) -> Option<DataRange> {
        let link = Link { local_mac: self.info.mac, ..route.link };
        crate::ethernet::enclose(buffer, payload, &Route { link, ..*route })
    }

    fn reap(&mut self, done: &mut Vec<Reaped>) {
        if self.posted > 0 && self.cleans_up && !self.device.is_removed() {
            self.cleans_up = self.device.port.clean_up(QUEUE);
        }
        let mut room = done.capacity() - done.len();
        while room > 0 {
            let most = room.min(self.done.len());
            let n = self.sender.take_done(&mut self.done[..most]);
            for index in &self.done[..n] {
                match self.table.complete(*index, DEVICE, self.me) {
                    Some((held, last)) => {
                        self.posted = self.posted.saturating_sub(1);
                        done.push(Reaped { held, last });
                    }
                    None => self.faults += 1,
                }
            }
            room = done.capacity() - done.len();
            if n < most {
                return;
            }
        }
    }

    fn take_faults(&mut self) -> u64 {
        std::mem::take(&mut self.faults)
    }

    fn is_pending(&self) -> bool {
        self.posted > 0
    }

    fn burst(&self) -> usize {
        BURST
    }

    fn send(&mut self, datagrams: &[Datagram<'_>], outcomes: &mut [SendOutcome]) -> Result<(), PortError> {
        outcomes.fill(SendOutcome::Later);
        if self.device.is_removed() {
            return Ok(());
        }
        self.frames.clear();
        let longest = self.max_frame();
        for (datagram, outcome) in datagrams.iter().zip(outcomes.iter_mut()).take(BURST) {
            let len = datagram.first.len();
            let inside = u64::from(datagram.offset) + len as u64 <= BUFFER_BYTES;
            // Drivers copy without looking whether there is room.
            let whole = inside && len > 0 && len <= longest && datagram.second.is_empty() && datagram.link.is_some();
            if !whole || datagram.head.index() >= self.table.buffers() {
                *outcome = SendOutcome::Failed;
                continue;
            }
            // Before it is handed over: a successor must know that it may have gone out.
            self.table.post(datagram.head, DEVICE, self.me, Posted { position: 0, last: datagram.last });
            self.frames.push(Frame { index: datagram.head.index(), offset: datagram.offset, len: len as u16 });
            *outcome = SendOutcome::Posted;
        }
        reach(KillPoint::DeviceNamed);
        let sent = self.device.port.send(QUEUE, &mut self.sender, &self.frames);
        reach(KillPoint::DevicePosted);
        self.posted += sent as u32;
        // What did not go is the caller's again, and so is its word.
        for frame in &self.frames[sent..] {
            if let Some(held) = self.table.claim(frame.index, DEVICE, self.me) {
                held.release();
            }
        }
        let posted = outcomes.iter_mut().filter(|outcome| **outcome == SendOutcome::Posted);
        posted.skip(sent).for_each(|outcome| *outcome = SendOutcome::Later);
        Ok(())
    }

    fn recorded(&mut self) {}

    fn withdraw(&mut self) -> Result<(), PortError> {
        if self.info.copies && !self.device.is_removed() {
            // The copies of what was sent last may wait in the device, and nobody asks for them any more.
            std::thread::sleep(COPIES_LEAVE);
        }
        Ok(self.device.remove()?)
    }

    fn writable(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    fn device_errors(&mut self) -> Option<u64> {
        Some(self.statistics().send_errors)
    }

    fn link_state(&self) -> Option<LinkState> {
        self.device.link()
    }

    fn link_address(&self) -> Option<[u8; 6]> {
        Some(self.info.mac)
    }

    fn start_times(&self) -> Option<StartTimes> {
        Some(StartTimes {
            eal_init_us: self.device.eal.init_us(),
            port_start_us: self.start_us,
            copies: self.info.copies.into(),
        })
    }
}
