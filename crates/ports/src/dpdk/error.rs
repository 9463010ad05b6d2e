//! What can go wrong with a poll-mode driver, and what to do about it.

/// Why a poll-mode driver does not work. `log`: the last that the library wrote about it.
#[derive(Debug, thiserror::Error)]
pub enum DpdkError {
    /// A second environment.
    #[error("dpdk: the environment of this process is up already; a process has one (a mistake of this program)")]
    Twice,
    /// A name with a byte that no C string holds.
    #[error("dpdk: {text:?} holds a zero byte; write it without, in [dpdk]")]
    Text {
        /// The name.
        text: String,
    },
    /// Two processes have given the kernel the same name for different sockets: `net_af_packet` makes it of its process id.
    #[error("dpdk: {device} cannot be opened by this process: {log}; another one may")]
    FanoutTaken {
        /// The device.
        device: String,
        /// What the library said.
        log: String,
    },
    /// The library that is loaded is not the one that this program was built with.
    #[error(
        "dpdk: this program was built with libdpdk {built}, and {found} is loaded; install the release that it was built with, or \
         build it again"
    )]
    Library {
        /// Release of the headers.
        built: String,
        /// Release of the library.
        found: String,
    },
    /// The library has no memory of its own.
    #[error(
        "dpdk: no free hugepages ({log}); each dpdk process needs about 8 of 2 MiB beside the arena's: run \
         deploy/host-setup hugepages N --apply, with the number of all pages that `flumeway check` names, or write driver = \"udp\""
    )]
    NoHugePages {
        /// What the library says.
        log: String,
    },
    /// The environment does not come up.
    #[error("dpdk: the environment cannot be initialised{with}: {log}; look at [dpdk] eal_args and eal_memory_mib")]
    Eal {
        /// The arguments of the configuration, if it has any.
        with: String,
        /// What the library says.
        log: String,
    },
    /// There is no such PCI device.
    #[error("dpdk: there is no PCI device {device}; `lspci -D` lists those that there are: correct [dpdk] rx or tx")]
    NoPciDevice {
        /// Its address.
        device: String,
    },
    /// A kernel driver has the device, or none.
    #[error(
        "dpdk: {device} is bound to {driver}; bind it to vfio-pci or uio_pci_generic: deploy/host-setup bind {device} --apply \
         (the kernel has no interface of it then)"
    )]
    NotBound {
        /// Its address.
        device: String,
        /// The kernel's driver, or `no driver`.
        driver: String,
    },
    /// Somebody else drives it.
    #[error(
        "dpdk: {device} is in use by another process: {log}; stop that one (for a vdev `ss --xdp -p` or `ss --packet -p` names it)"
    )]
    InUse {
        /// The device.
        device: String,
        /// What the library says.
        log: String,
    },
    /// The library knows no such virtual device.
    #[error(
        "dpdk: the library has no driver for {device} (known for this: net_af_packet, net_af_xdp, net_null, net_tap); correct [dpdk] rx \
         or tx, or install the driver (Debian: librte-net-…)"
    )]
    NoVirtualDevice {
        /// The device.
        device: String,
    },
    /// A virtual device stands on an interface that is not there.
    #[error(
        "dpdk: {device}: there is no interface {interface}; `ip link` lists those that there are: correct [dpdk] rx or tx"
    )]
    NoInterface {
        /// The device.
        device: String,
        /// The interface.
        interface: String,
    },
    /// Its rings cannot be locked in memory.
    #[error(
        "dpdk: {device}: the kernel does not lock its rings in memory (RLIMIT_MEMLOCK: {limit}): {log}; raise it (`ulimit -l \
         unlimited`, systemd: LimitMEMLOCK=infinity), or lower framecnt or blocksz of the device"
    )]
    Locked {
        /// The device.
        device: String,
        /// The limit of this process.
        limit: String,
        /// What the library says.
        log: String,
    },
    /// The device cannot be driven.
    #[error("dpdk: {device} cannot be opened: {reason}: {log}")]
    Probe {
        /// The device.
        device: String,
        /// The error number's text.
        reason: String,
        /// What the library says.
        log: String,
    },
    /// A step of the port's start failed.
    #[error("dpdk: {device}: {step}: {reason}: {log}")]
    Port {
        /// The device.
        device: String,
        /// What was done.
        step: &'static str,
        /// The error number's text.
        reason: String,
        /// What the library says.
        log: String,
    },
    /// The device cannot be given up.
    #[error(
        "dpdk: {device} cannot be stopped and given up: {reason}: {log}; this process ends, which frees it, and the next one resets it"
    )]
    NotRemoved {
        /// The device.
        device: String,
        /// The error number's text.
        reason: String,
        /// What the library says.
        log: String,
    },
    /// Too many queues.
    #[error("dpdk: {device} has {max} receive queues, and [dpdk] queues = {want}; write at most {max}")]
    Queues {
        /// The device.
        device: String,
        /// Its queues.
        max: u16,
        /// Queues that were wanted.
        want: u16,
    },
    /// Packets would not fit.
    #[error(
        "dpdk: {device} takes an MTU of {min} to {max} bytes here, and {mtu} is set; correct [dpdk] mtu, or with mtu = \"auto\" that of \
         the interface below"
    )]
    Mtu {
        /// The device.
        device: String,
        /// The MTU that is set.
        mtu: u16,
        /// Smallest.
        min: u16,
        /// Largest that the device takes and a buffer holds.
        max: u16,
    },
    /// The MTU stays as it is.
    #[error(
        "dpdk: the MTU of {device} is {now} and cannot be made {mtu}: {reason}; set it beforehand (ip link set dev … mtu {mtu}), or \
         write [dpdk] mtu = \"auto\""
    )]
    MtuNotSet {
        /// The device.
        device: String,
        /// The MTU that is wanted.
        mtu: u16,
        /// The MTU that it has.
        now: u16,
        /// The error number's text.
        reason: String,
    },
    /// A ring of `net_af_packet` that driver and kernel would see differently, or whose frames do not fit.
    #[error(
        "dpdk: {device}: frames of {frame} bytes in blocks of {block}: blocksz must be a multiple of framesz, and framesz at most 3776; \
         write for example blocksz=28672,framesz=3584, in [dpdk]"
    )]
    Frames {
        /// The device.
        device: String,
        /// Bytes of a block.
        block: u32,
        /// Bytes of a frame.
        frame: u32,
    },
    /// The port has no interrupts.
    #[error("dpdk: {device} has no receive interrupts; write [dpdk] idle = \"auto\" or \"sleep\"")]
    NoInterrupts {
        /// The device.
        device: String,
    },
    /// This process cannot write packets.
    #[error("dpdk: this process has no packet buffers mapped; supervisor and stage are of different releases")]
    NoPackets,
    /// The arena is not on hugepages.
    #[error(
        "dpdk: {device} reads and writes the arena itself, and the arena is not on hugepages; write [arena] hugepages = \"require\", \
         and run deploy/host-setup hugepages N --apply, with the number of all pages that `flumeway check` names"
    )]
    OrdinaryPages {
        /// The device.
        device: String,
    },
    /// Physical addresses are hidden.
    #[error(
        "dpdk: the kernel does not tell this process physical addresses, which {device} needs under UIO; give it CAP_SYS_ADMIN, or bind \
         the device to vfio-pci"
    )]
    NoPhysicalAddress {
        /// The device.
        device: String,
    },
    /// The access list cannot be built.
    #[error(
        "dpdk: the access list cannot be built: {reason}: {log}; packets are held against it one rule after the other, which costs \
         more; raise [dpdk] eal_memory_mib, or join prefixes and port ranges of [[ingress.acl]]"
    )]
    AccessList {
        /// The error number's text.
        reason: String,
        /// What the library says.
        log: String,
    },
    /// The port does not take a rule that it must take.
    #[error(
        "dpdk: {device} does not take rule {rule} of [[ingress.acl]] as a rule of its own: {reason}; write [dpdk] flow_rules = \"auto\", \
         and rx-gateway holds packets against it"
    )]
    FlowRule {
        /// The device.
        device: String,
        /// The rule, from 1.
        rule: usize,
        /// The port's words.
        reason: String,
    },
    /// The pool cannot be made.
    #[error("dpdk: the pool over the arena cannot be made: {reason}: {log}; raise [dpdk] eal_memory_mib")]
    Pool {
        /// The error number's text.
        reason: String,
        /// What the library says.
        log: String,
    },
    /// A pool that is not what was asked for.
    #[error(
        "dpdk: the pool's buffers do not lie where the arena's do: this release of the library lays them out differently; use one of \
         22.11 to 24.11"
    )]
    PoolLayout,
    /// A system call failed.
    #[error("dpdk: {call}: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// The kernel's answer.
        source: rustix::io::Errno,
    },
}

impl DpdkError {
    pub(super) fn system(call: &'static str) -> impl Fn(rustix::io::Errno) -> Self {
        move |source| Self::System { call, source }
    }
}
