//! The ports that are measured, on veth pairs, and a pipeline on them.

use anyhow::{Context as _, Result, ensure};
use integration_tests::bare::PORT;
use integration_tests::client::Client;
use integration_tests::netns::{Options, Side, Switched};
use integration_tests::pipeline::Pipeline;
use integration_tests::shipped;
use integration_tests::traffic::ELEMENTS;
use std::fs;
use std::net::{SocketAddr, UdpSocket};

/// Hugepages of 2 MiB for two stages' libraries, a testpmd and the arena.
const HUGEPAGES: u64 = 1024;

/// A poll-mode driver of an interface of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pmd {
    AfPacket,
    AfXdp,
}

impl Pmd {
    pub const ALL: [Self; 2] = [Self::AfPacket, Self::AfXdp];

    /// The library's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AfPacket => "net_af_packet",
            Self::AfXdp => "net_af_xdp",
        }
    }

    /// A port on an interface, as it comes.
    pub fn device(self, interface: &str) -> String {
        format!("{}0,iface={interface}", self.name())
    }

    /// A port whose ring in the kernel holds what comes while the kernel's thread has their core for a while.
    pub fn deep_device(self, interface: &str) -> String {
        match self {
            Self::AfPacket => format!("{},blocksz=4096,framesz=2048,framecnt={}", self.device(interface), self.ring()),
            Self::AfXdp => self.device(interface),
        }
    }

    /// Entries of the receive queue that rx-gateway sets up: the other driver takes no smaller ones.
    pub fn descriptors(self) -> u32 {
        match self {
            Self::AfPacket => 1024,
            Self::AfXdp => self.ring(),
        }
    }

    /// Packets that this ring holds. `net_af_packet` locks its rings of both ways into memory, of which a stage may lock 8 MiB.
    pub fn ring(self) -> u32 {
        match self {
            Self::AfPacket => 1536,
            Self::AfXdp => 2048,
        }
    }
}

/// Namespaces with `ports` of the pipeline's. Hugepages are raised first where they are too few; others may use them, so they
/// are left.
pub fn ports(label: &str, ports: usize) -> Result<Switched> {
    let file = "/proc/sys/vm/nr_hugepages";
    let pages = || fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0_u64);
    if pages() < HUGEPAGES {
        let _ = fs::write(file, HUGEPAGES.to_string());
    }
    ensure!(pages() >= HUGEPAGES / 4, "{} hugepages of 2 MiB, and the kernel gives no more", pages());
    Ok(Switched::with(label, ports, Options::default())?)
}

/// What a pipeline is started with.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The port that receives, the one that sends, as `[dpdk]` names them.
    pub devices: [&'a str; 2],
    /// All of the pipeline runs there.
    pub core: usize,
    /// How long stages spin before they sleep.
    pub spin_us: u32,
    /// Keys of `[infer]`.
    pub infer: &'a str,
    /// Whole tables behind it.
    pub more: &'a str,
}

impl Setup<'_> {
    /// Starts it.
    pub fn start(&self, net: &Switched, name: &str) -> Pipeline {
        let Self { devices: [rx, tx], core, spin_us, infer, more } = self;
        let address = net.net().v4(Side::Pipeline);
        let text = format!(
            "[pipeline]\nprofile = \"small\"\nspin_us = {spin_us}\ncores = {{ supervisor = {core}, rx_gateway = {core}, \
             preprocess = [{core}], infer = [{core}], tx = {core} }}\n[arena]\nbuffers = 16384\n[infer]\n{infer}\n{more}\
             [ingress]\ndriver = \"dpdk\"\nlisten = \"{address}:{PORT}\"\n[dpdk]\nrx = [\"{rx}\"]\ntx = \"{tx}\"\n"
        );
        Pipeline::start_inside(net.net(), &format!("bench-dpdk-{name}"), &text, &shipped(), &[])
    }
}

/// The null engine for the tensors of [`integration_tests::traffic`].
pub fn null_engine() -> String {
    format!(
        "engine = \"null\"\nnull_input_elements = {ELEMENTS}\nnull_output_elements = {ELEMENTS}\n[post]\nkind = \"tensor\""
    )
}

/// A client on the traffic's side.
pub fn client(net: &Switched) -> Result<Client> {
    let to = SocketAddr::new(net.net().v4(Side::Pipeline), PORT);
    let open = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(to).map(|()| socket)
    };
    let socket = net.net().inside(Side::Traffic, open).flatten().context("a socket on the traffic's side")?;
    Ok(Client::with_socket(socket, to, 1))
}
