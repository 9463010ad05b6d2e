//! What can go wrong with the XDP program and the interface it is for.

use rustix::io::Errno;

/// Why the XDP program cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// No interface of that name.
    #[error("there is no interface {0:?}; write one of those that `ip link` shows")]
    NoInterface(String),
    /// It has no Ethernet address, or a name that cannot be one.
    #[error("interface {0:?} is no Ethernet interface; AF_XDP needs one, and driver = \"udp\" serves any")]
    NotEthernet(String),
    /// CAP_BPF or CAP_NET_ADMIN is missing.
    #[error("{0}: not permitted; start as root, or with CAP_BPF and CAP_NET_ADMIN, or write driver = \"udp\"")]
    NotPermitted(&'static str),
    /// The kernel refuses the program or its maps.
    #[error("the kernel does not take the XDP program: {0}; it needs Linux 5.12 or newer, or write driver = \"udp\"")]
    Load(String),
    /// A map cannot be filled or read.
    #[error("map {map:?} of the XDP program: {source}; restart the pipeline, or write driver = \"udp\"")]
    Map {
        /// Its name in `flumeway.bpf.c`.
        map: &'static str,
        /// What the loader or the kernel says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A queue beyond the socket map.
    #[error("receive queue {0} cannot have a socket: {max} are the most; run: ethtool -L IFACE combined {max}", max = crate::xdp::MAX_QUEUES)]
    Queue(u32),
    /// Another program is there.
    #[error("{interface} has an XDP program already: id {program}, {mode}; run: {remedy}")]
    Occupied {
        /// Its name.
        interface: String,
        /// The other program's.
        program: u32,
        /// How it is attached.
        mode: &'static str,
        /// The command that removes it.
        remedy: String,
    },
    /// The driver cannot run XDP programs.
    #[error("the driver of {0} has no native XDP; write [af_xdp] mode = \"auto\", or driver = \"udp\"")]
    NoNative(String),
    /// The driver refuses the program for the state of the interface.
    #[error(
        "{interface} takes no XDP program in {mode} mode: {source}; most drivers want a smaller MTU (run: ip link set dev {interface} \
         mtu 1500, at both ends of a veth pair), no LRO (ethtool -K {interface} lro off), or fewer queues"
    )]
    Refused {
        /// Its name.
        interface: String,
        /// The mode that was asked for.
        mode: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// The new program did not take the place of the old one, which goes on.
    #[error("the new XDP program was not put in: {0}; the old one, with the old access list, goes on: reload again")]
    Replace(Errno),
    /// A trial run of the program.
    #[error("a trial run of the XDP program failed: {0}; frames must have 14 bytes at least, and the queue must exist")]
    TestRun(String),
    /// A system call failed.
    #[error("xdp: {call}: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// The kernel's answer about interfaces is not understood.
    #[error("xdp: rtnetlink gave an answer of a form that is not known ({0}); report the kernel's version")]
    Netlink(&'static str),
}

impl XdpError {
    pub(super) fn system(call: &'static str) -> impl Fn(Errno) -> Self {
        move |source| if source == Errno::PERM { Self::NotPermitted(call) } else { Self::System { call, source } }
    }

    pub(super) fn map<E: Into<Box<dyn std::error::Error + Send + Sync>>>(map: &'static str) -> impl Fn(E) -> Self {
        move |source| Self::Map { map, source: source.into() }
    }

    /// From the loader: what the kernel said is somewhere down the chain.
    pub(super) fn load(error: &(dyn std::error::Error + 'static)) -> Self {
        let chain: Vec<_> = std::iter::successors(Some(error), |error| error.source()).collect();
        let io = chain.iter().find_map(|error| error.downcast_ref::<std::io::Error>());
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied) {
            return Self::NotPermitted("loading the XDP program");
        }
        let mut texts: Vec<String> = chain.iter().map(ToString::to_string).collect();
        texts.dedup();
        Self::Load(texts.join(": "))
    }
}
