//! A port and its device: found, asked, configured, taken away.

use super::ffi::{self, Port, PortConfig, PortInfo};
use super::names::{frames_of, is_pci, look_at, short_name};
use super::sockets;
use super::{DpdkError, Eal};
use crate::LinkState;
use crate::af_xdp::MAX_MTU;
use std::ffi::CString;

/// How often a queue that a dead process had is asked for; the kernel frees it some time after the process's end.
const TRIES: u32 = 20;
/// How long is waited in between.
const BETWEEN_TRIES: std::time::Duration = std::time::Duration::from_millis(20);
/// Mbufs that `net_af_xdp` gives to the kernel for each queue at once, however many descriptors are asked for.
const AF_XDP_FILL: u16 = 2048;

/// What a port is and does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct DeviceInfo {
    /// The device, as the configuration names it.
    pub device: String,
    /// The library's driver.
    pub driver: String,
    /// Hardware address.
    pub mac: [u8; 6],
    /// MTU, bytes.
    pub mtu: u16,
    /// Whether the device itself reads and writes the arena.
    pub dma: bool,
    /// Receive queues in use.
    pub queues: u16,
    /// Whether the port verifies checksums.
    pub checksum: bool,
    /// Whether the port spreads packets over its queues.
    pub rss: bool,
    /// Whether a sleeping stage is woken by interrupts.
    pub interrupts: bool,
    /// Whether outgoing packets are copied, because the driver would give their buffers back late.
    pub copies: bool,
}

/// Ethernet header and two tags around an IP packet.
const AROUND: u16 = 14 + 2 * 4;
/// What a buffer of the arena holds behind mbuf, headroom and what `rx` puts between them.
const BUFFER_ROOM: u16 = 3754;
/// What the kernel keeps before a frame in a buffer of `net_af_xdp` (`XDP_PACKET_HEADROOM` in include/uapi/linux/bpf.h).
const XDP_HEADROOM: u16 = 256;

/// Largest MTUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    /// That the library takes. What does not say adds 18 bytes to it (`eth_dev_get_overhead_len` in lib/ethdev).
    library: u16,
    /// Whose frames fit a buffer, and the driver's ring.
    buffer: u16,
}

impl Limits {
    fn of(info: &PortInfo, device: &str) -> Self {
        let by_frame = info.max_rx_frame.saturating_sub(18).min(u16::MAX.into()) as u16;
        let library = if info.max_mtu == u16::MAX { by_frame } else { info.max_mtu };
        // The kernel's header takes 66 bytes of a frame of the ring (`tpacket_rcv` in net/packet/af_packet.c), the link's 14.
        let in_ring = frames_of(device).map_or(u16::MAX, |frames| frames.frame.saturating_sub(66 + 14) as u16);
        let room = if device.starts_with("net_af_xdp") { BUFFER_ROOM - XDP_HEADROOM } else { BUFFER_ROOM };
        Self { library, buffer: in_ring.min(room - AROUND).min(MAX_MTU as u16) }
    }
}

/// A device of this process. Taken away when dropped.
#[derive(Debug)]
pub(super) struct Device {
    pub eal: Eal,
    pub name: String,
    pub port: Port,
    pub info: PortInfo,
    tries: u32,
    removed: bool,
}

impl Device {
    /// Finds the device and a driver for it. It is not configured yet.
    pub fn open(eal: &Eal, name: &str) -> Result<Self, DpdkError> {
        look_at(name)?;
        let text = |text: &str| CString::new(text).map_err(|_| DpdkError::Text { text: text.to_owned() });
        let (whole, short) = (text(name)?, text(short_name(name))?);
        let mut control = eal.control();
        if Port::find(&short).is_some() {
            return Err(DpdkError::InUse { device: name.to_owned(), log: "this process has a port on it".to_owned() });
        }
        if let Err(errno) = ffi::probe(&whole) {
            return Err(not_probed(name, errno, control.take()));
        }
        sockets::keep_private();
        let reason = |reason: &str, log| DpdkError::Probe { device: name.to_owned(), reason: reason.to_owned(), log };
        let Some(port) = Port::find(&short) else {
            return Err(reason("the library has no port for it", control.take()));
        };
        let info = match port.info() {
            Ok(info) => info,
            Err(errno) => {
                let _ = port.remove();
                return Err(reason(&ffi::reason(errno), control.take()));
            }
        };
        drop(control);
        Ok(Self { eal: eal.clone(), name: name.to_owned(), port, info, tries: TRIES, removed: false })
    }

    /// The library's driver.
    pub fn driver(&self) -> String {
        ffi::chars(&self.info.driver)
    }

    /// Whether it reads and writes memory by itself. What stands on no bus of the machine is software.
    pub fn does_dma(&self) -> bool {
        ffi::chars(&self.info.bus) != "vdev"
    }

    /// Entries of a receive queue, and mbufs that it takes before it works. `net_af_xdp` takes its number of mbufs whatever is
    /// asked for; with fewer entries the kernel would drop packets that the driver does not count.
    pub fn rx_descriptors(&self, wanted: u16) -> u16 {
        if self.driver() == "net_af_xdp" { wanted.max(AF_XDP_FILL) } else { wanted }
    }

    fn failed(&self, step: &'static str, errno: i32, log: String) -> DpdkError {
        if errno == libc::EBUSY {
            return DpdkError::InUse { device: self.name.clone(), log };
        }
        DpdkError::Port { device: self.name.clone(), step, reason: ffi::reason(errno), log }
    }

    /// A step of the port's start: its error number becomes an error that names it, with what the library wrote meanwhile.
    pub fn run<T>(&self, step: &'static str, work: impl FnOnce() -> Result<T, i32>) -> Result<T, DpdkError> {
        let mut control = self.eal.control();
        work().map_err(|errno| {
            let log = control.take();
            self.failed(step, errno, log)
        })
    }

    /// Sets queues up, and notes which sockets this takes.
    pub fn set_up_queues(&self, work: impl FnOnce() -> Result<(), i32>) -> Result<(), DpdkError> {
        self.run("setting up the queues", || {
            if self.driver() == "net_af_xdp" { sockets::noting(short_name(&self.name), work) } else { work() }
        })
    }

    /// After queues could not be set up: takes the device away and finds it again, after a while, since the kernel lets go of a
    /// dead process's queue a little after its end, and a driver that failed is not to be asked a second time. `false`: often enough; the
    /// device is gone then.
    pub fn reopen(&mut self, config: &mut PortConfig, mtu: Option<u16>) -> Result<bool, DpdkError> {
        self.remove()?;
        if self.tries == 0 {
            return Ok(false);
        }
        self.tries -= 1;
        std::thread::sleep(BETWEEN_TRIES);
        let mut again = Self::open(&self.eal, &self.name)?;
        again.tries = self.tries;
        *self = again;
        self.configure(config, mtu)?;
        Ok(true)
    }

    /// Configures the port, which resets it: no buffer of a predecessor's is the device's any more.
    pub fn configure(&self, config: &mut PortConfig, mtu: Option<u16>) -> Result<(), DpdkError> {
        let port = self.port;
        let (max_rx, max_tx) = (self.info.max_rx_queues, self.info.max_tx_queues);
        if config.rx_queues > max_rx {
            return Err(DpdkError::Queues { device: self.name.clone(), max: max_rx, want: config.rx_queues });
        }
        config.tx_queues = config.tx_queues.min(max_tx);
        // The library does not ask the kernel about an interface that a virtual device stands on.
        let known = Some(self.info.interface_mtu).filter(|mtu| *mtu != 0 && !self.does_dma());
        let now = match known {
            Some(mtu) => mtu,
            None => self.run("reading the MTU", || port.mtu())?,
        };
        let wanted = mtu.unwrap_or(now);
        let limits = Limits::of(&self.info, &self.name);
        // What stands on an interface takes what that takes, whatever the library says.
        let max = if known == Some(wanted) { limits.buffer } else { limits.library.min(limits.buffer) };
        let min = self.info.min_mtu;
        if !(min..=max).contains(&wanted) {
            return Err(DpdkError::Mtu { device: self.name.clone(), mtu: wanted, min, max });
        }
        config.mtu = wanted.min(limits.library);
        self.run("configuring", || port.configure(config))?;
        if wanted != now {
            port.set_mtu(wanted).map_err(|errno| DpdkError::MtuNotSet {
                device: self.name.clone(),
                mtu: wanted,
                now,
                reason: ffi::reason(errno),
            })?;
        }
        config.mtu = wanted;
        Ok(())
    }

    /// Whether frames of the MTU fit one buffer of the started port. It may use less of a buffer than there is.
    pub fn check_scatter(&self, queues: u16, mtu: u16) -> Result<(), DpdkError> {
        let whole = (0..queues).filter_map(|queue| self.port.scatters_from(queue)).min();
        match whole.map(|bytes| bytes.saturating_sub(AROUND.into()).min(u16::MAX.into()) as u16) {
            Some(max) if mtu > max => {
                Err(DpdkError::Mtu { device: self.name.clone(), mtu, min: self.info.min_mtu, max })
            }
            _ => Ok(()),
        }
    }

    /// The link as it is now.
    pub fn link(&self) -> Option<LinkState> {
        let (is_up, speed_mbps) = Some(self.port).filter(|_| !self.removed)?.link()?;
        Some(LinkState { is_up, speed_mbps })
    }

    pub fn is_removed(&self) -> bool {
        self.removed
    }

    /// Takes the device away, unless that has been done. On an error it may still use its buffers, until this process ends.
    pub fn remove(&mut self) -> Result<(), DpdkError> {
        if self.removed {
            return Ok(());
        }
        let mut control = self.eal.control();
        match self.port.remove() {
            // Gone by itself, as one that was pulled out.
            Ok(()) | Err(libc::ENODEV) => {}
            Err(errno) => {
                let (device, reason) = (self.name.clone(), ffi::reason(errno));
                return Err(DpdkError::NotRemoved { device, reason, log: control.take() });
            }
        }
        drop(control);
        self.removed = true;
        sockets::close(short_name(&self.name));
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // What cannot be taken away properly ends with the process.
        let _ = self.remove();
    }
}

/// Takes away a device whose port was forgotten, as by a process that was killed. For tests: such a process's devices are gone
/// with it.
pub fn remove_forgotten(eal: &Eal, device: &str) {
    let _control = eal.control();
    if let Some(port) = CString::new(short_name(device)).ok().and_then(|name| Port::find(&name)) {
        let _ = port.remove();
        sockets::close(short_name(device));
    }
}

fn not_probed(name: &str, errno: i32, log: String) -> DpdkError {
    let device = name.to_owned();
    let unknown = errno == libc::ENODEV || errno == libc::ENOENT || log.contains("failed to parse device");
    if log.contains("PACKET_FANOUT") {
        return DpdkError::FanoutTaken { device, log };
    }
    // The driver locks its rings and gives no reason of its own when that fails.
    if log.contains("call to mmap failed") {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
        let limit = limit.map_or_else(|| "no limit".to_owned(), |bytes| format!("{} KiB", bytes >> 10));
        return DpdkError::Locked { device, limit, log };
    }
    let in_use = errno == libc::EBUSY || log.contains("busy") || log.contains("Busy");
    match (in_use, unknown && !is_pci(name)) {
        (true, _) => DpdkError::InUse { device, log },
        (_, true) => DpdkError::NoVirtualDevice { device },
        _ => DpdkError::Probe { device, reason: ffi::reason(errno), log },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mtu_is_bounded_by_the_library_by_the_ring_and_by_a_buffer() {
        let of = |max_mtu, max_rx_frame, device: &str| {
            let info = PortInfo { max_mtu, max_rx_frame, ..PortInfo::default() };
            let Limits { library, buffer } = Limits::of(&info, device);
            (library, buffer)
        };
        assert_eq!(of(u16::MAX, 1518, "net_af_packet0,iface=a"), (1500, 1968));
        assert_eq!(of(u16::MAX, 1518, "net_af_packet0,iface=a,blocksz=28672,framesz=3584"), (1500, 3504));
        assert_eq!(of(u16::MAX, u32::MAX, "net_null0"), (u16::MAX, 3626));
        assert_eq!(of(3_520, 3_538, "net_af_xdp0,iface=a"), (3_520, 3_476));
        assert_eq!(of(9_000, 9_022, "0000:00:05.0"), (9_000, 3_626));
    }

    #[test]
    fn rings_that_are_not_locked_name_the_limit() {
        let log = "rte_pmd_init_internals(): net_af_packet0: call to mmap failed on AF_PACKET socket for eth1:0";
        let error = not_probed("net_af_packet0,iface=eth1,framecnt=65536", libc::EPERM, log.to_owned()).to_string();
        assert!(error.contains("RLIMIT_MEMLOCK") && error.contains("framecnt"), "{error}");
        assert!(!error.contains("not permitted"), "{error}");
    }
}
