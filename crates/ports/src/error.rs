//! What can go wrong with a driver.

use rustix::io::Errno;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a driver does not work.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The address is taken.
    #[error("{0} is in use by another program (or another pipeline); stop it, or listen elsewhere: [ingress] listen")]
    InUse(SocketAddr),
    /// The address is not this machine's.
    #[error("{0} is no address of this machine; write one of `ip address`'s, or 0.0.0.0, in [ingress] listen")]
    NotLocal(SocketAddr),
    /// The port is below `net.ipv4.ip_unprivileged_port_start`.
    #[error("{0} needs CAP_NET_BIND_SERVICE; grant it, or write a port of 1024 or above in [ingress] listen")]
    Privileged(SocketAddr),
    /// A system call failed.
    #[error("udp: {call}: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// A system call of AF_XDP failed.
    #[error("af_xdp: {call}: {source}")]
    Device {
        /// The call.
        call: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// No AF_XDP in this kernel.
    #[error(
        "this kernel has no AF_XDP (CONFIG_XDP_SOCKETS); write driver = \"udp\", or boot a kernel of 5.12 or later that has it"
    )]
    NoAfXdp,
    /// The supervisor lacks privilege.
    #[error(
        "af_xdp needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF in the supervisor (not in the stages); start `flumeway run` as root, \
         or write driver = \"udp\""
    )]
    NotPermitted,
    /// Another socket is bound to the queue.
    #[error(
        "queue {queue} of {interface} is taken by another AF_XDP socket; stop that program (`ss --xdp -p` names it), or choose \
         other [af_xdp] queues"
    )]
    QueueTaken {
        /// Interface.
        interface: String,
        /// Queue.
        queue: u32,
    },
    /// The interface has no such queue.
    #[error(
        "{interface} has no queue {queue}, or it cannot carry AF_XDP; `ethtool -l {interface}` shows how many it has: choose \
         others in [af_xdp] queues"
    )]
    NoQueue {
        /// Interface.
        interface: String,
        /// Queue.
        queue: u32,
    },
    /// The interface is down.
    #[error("{interface} is down; run: ip link set dev {interface} up")]
    Down {
        /// Interface.
        interface: String,
    },
    /// Its packets do not fit the buffers.
    #[error(
        "{interface} has MTU {mtu}, and a packet buffer holds frames of {frame} bytes (MTU {max}); run: ip link set dev {interface} \
         mtu {max}, or write driver = \"udp\""
    )]
    Mtu {
        /// Interface.
        interface: String,
        /// Its MTU, bytes.
        mtu: u32,
        /// Largest MTU, bytes.
        max: u32,
        /// Largest frame, bytes.
        frame: u32,
    },
    /// Nobody would ever send there.
    #[error(
        "{interface} has no address for [ingress] listen = \"{listen}\"; `ip address show {interface}` shows those it has"
    )]
    NoAddress {
        /// Interface.
        interface: String,
        /// Where the pipeline is to listen.
        listen: SocketAddr,
    },
    /// No interface is named, and the address does not tell which is meant.
    #[error("no interface has the address of [ingress] listen = \"{listen}\"; name one in [af_xdp] interface")]
    WhichInterface {
        /// Where the pipeline is to listen.
        listen: SocketAddr,
    },
    /// The XDP program.
    #[error(transparent)]
    Xdp(#[from] crate::xdp::XdpError),
    /// The driver copies.
    #[error(
        "{interface}: its driver has no zero copy for AF_XDP ({source}); write [af_xdp] zero_copy = \"auto\" or \"off\""
    )]
    NoZeroCopy {
        /// Interface.
        interface: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// The packets cannot be pinned.
    #[error(
        "the kernel will not lock {mib} MiB of packet buffers for af_xdp; raise RLIMIT_MEMLOCK (`ulimit -l unlimited`, systemd: \
         LimitMEMLOCK=infinity), or lower [arena] buffers"
    )]
    Locked {
        /// Size.
        mib: u64,
    },
    /// A queue number that no owner id can be had for.
    #[error("af_xdp: queue {queue} is beyond the {max} that are supported; choose others in [af_xdp] queues", max = arena::device::MAX_QUEUES)]
    Queue {
        /// Its number.
        queue: u32,
    },
    /// A cursor in a device's ring cannot be.
    #[error(
        "af_xdp: the cursors of ring {ring} of queue {queue} contradict each other: somebody wrote over the ring; restart the pipeline"
    )]
    Ring {
        /// The queue.
        queue: u32,
        /// Which of its rings.
        ring: &'static str,
    },
    /// A capture file cannot be opened, read or written.
    #[error("replay: {path:?}: {source}; name a file that can be used, in [replay] {key}")]
    File {
        /// Which of the two: `input` or `output`.
        key: &'static str,
        /// Its path.
        path: PathBuf,
        /// The kernel's answer.
        source: Errno,
    },
    /// The input is no capture that is read.
    #[error("replay: {path:?}: {source}; [replay] input names it")]
    Capture {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        source: wire::pcap::FileError,
    },
    /// The input ends within its file header.
    #[error("replay: {path:?} has {bytes} bytes, a pcap file at least 24; name another in [replay] input")]
    ShortCapture {
        /// Its path.
        path: PathBuf,
        /// Bytes that are there.
        bytes: usize,
    },
    /// Input and output are one file.
    #[error(
        "replay: {path:?} is the input, and would be overwritten before it is read; name another file in [replay] output"
    )]
    SameFile {
        /// The output's path.
        path: PathBuf,
    },
    /// The output is a pipe, a device or a folder.
    #[error("replay: {path:?} is no ordinary file; name one in [replay] output")]
    NotAFile {
        /// Its path.
        path: PathBuf,
    },
    /// A system call of replay failed.
    #[error("replay: {call}: {source}")]
    Replay {
        /// The call.
        call: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// A poll-mode driver.
    #[cfg(feature = "dpdk")]
    #[error(transparent)]
    Dpdk(#[from] crate::dpdk::DpdkError),
    /// Shared memory for the driver's vectors cannot be had.
    #[error(transparent)]
    Region(#[from] arena::region::RegionError),
    /// The wrong number of inherited descriptors.
    #[error("the driver needs {want} descriptors and was given {is}; supervisor and stage are of different releases")]
    Descriptors {
        /// Given.
        is: usize,
        /// Needed.
        want: usize,
    },
}

impl PortError {
    /// Whether another process may succeed where this one did not.
    pub fn is_of_this_process(&self) -> bool {
        #[cfg(feature = "dpdk")]
        if let Self::Dpdk(crate::dpdk::DpdkError::FanoutTaken { .. }) = self {
            return true;
        }
        false
    }

    pub(crate) fn device(call: &'static str) -> impl Fn(Errno) -> Self {
        move |source| Self::Device { call, source }
    }

    pub(crate) fn replay(call: &'static str) -> impl Fn(Errno) -> Self {
        move |source| Self::Replay { call, source }
    }

    pub(crate) fn system(call: &'static str) -> impl Fn(Errno) -> Self {
        move |source| Self::System { call, source }
    }
}
