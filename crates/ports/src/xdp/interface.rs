//! [`Interface`]: what must be known of an interface before its queues are taken over.

use super::error::XdpError;
use super::ffi;
use super::netlink::{self, Which, attribute, u32_at};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::net::IpAddr;
use std::os::fd::AsFd;

// Attributes of a link (include/uapi/linux/if_link.h).
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;

/// `IFF_UP`
const IFF_UP: u32 = 1;

/// A network interface of this network namespace.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Longest IP packet, in bytes.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Receive queues in use.
    pub rx_queues: u32,
    /// The driver's name; empty if it has none.
    pub driver: String,
    /// Whether VLAN tags are taken out of received frames, so that the program sees none: `ethtool -K IFACE rxvlan off`.
    pub strips_vlan_tags: bool,
    /// Whether it is up.
    pub is_up: bool,
    /// The XDP program that is there.
    pub xdp: Option<Installed>,
}

/// An XDP program at an interface, whoever put it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its id (`bpftool prog show id`).
    pub program: u32,
    /// `XDP_ATTACHED_*`: 1 native, 2 generic, 3 in the hardware, 4 several of them.
    pub mode: u8,
}

impl Interface {
    /// Name of the interface that has this address.
    ///
    /// # Errors
    /// [`XdpError`] if the kernel does not tell.
    pub fn with_address(address: IpAddr) -> Result<Option<String>, XdpError> {
        let Some((index, _)) = all_addresses()?.into_iter().find(|(_, a)| *a == address) else { return Ok(None) };
        let link = netlink::link(&Which::Index(index))?;
        Ok(link.as_ref().and_then(|link| link.attribute(IFLA_IFNAME)).map(name))
    }

    /// The interface called `name`.
    pub fn find(name: &str) -> Result<Self, XdpError> {
        let link = netlink::link(&Which::Name(name))?.ok_or_else(|| XdpError::NoInterface(name.to_owned()))?;
        let mac = link.attribute(IFLA_ADDRESS).and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
        let mac = mac.ok_or_else(|| XdpError::NotEthernet(name.to_owned()))?;
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)
            .map_err(XdpError::system("socket"))?;
        let number = |kind| link.attribute(kind).map_or(0, |bytes| u32_at(bytes, 0));
        Ok(Self {
            name: name.to_owned(),
            index: link.index,
            mac,
            mtu: number(IFLA_MTU),
            addresses: addresses(link.index)?,
            rx_queues: queues(name, link.index).unwrap_or_else(|| number(IFLA_NUM_RX_QUEUES)).max(1),
            // Some drivers do not answer these questions; then they have no name, and no such feature.
            driver: ffi::driver(socket.as_fd(), name).unwrap_or_default(),
            strips_vlan_tags: ffi::strips_vlan_tags(socket.as_fd(), name).unwrap_or(false),
            is_up: link.flags & IFF_UP != 0,
            xdp: xdp_of(&link),
        })
    }
}

/// The program at interface `ifindex`.
pub(super) fn installed(ifindex: u32) -> Result<Option<Installed>, XdpError> {
    Ok(netlink::link(&Which::Index(ifindex))?.as_ref().and_then(xdp_of))
}

fn xdp_of(link: &netlink::Link) -> Option<Installed> {
    let xdp = link.attribute(IFLA_XDP)?;
    let mode = *attribute(xdp, IFLA_XDP_ATTACHED)?.first()?;
    let program = [IFLA_XDP_PROG_ID, IFLA_XDP_DRV_PROG_ID, IFLA_XDP_SKB_PROG_ID];
    let program = program.iter().find_map(|kind| attribute(xdp, *kind)).map_or(0, |bytes| u32_at(bytes, 0));
    (mode != 0).then_some(Installed { program, mode })
}

impl Installed {
    pub(super) fn mode_word(self) -> &'static str {
        match self.mode {
            1 => "native",
            2 => "generic",
            3 => "in the hardware",
            _ => "in several modes",
        }
    }

    /// The error that it is there.
    pub(crate) fn occupies(self, interface: &Interface) -> XdpError {
        self.occupying(interface.index, interface.name.clone())
    }

    pub(super) fn occupying(self, ifindex: u32, interface: String) -> XdpError {
        let (mode, remedy) = (self.mode_word(), self.remedy(ifindex));
        XdpError::Occupied { interface, program: self.program, mode, remedy }
    }

    /// The command that removes it: a link's program goes with the link alone.
    pub(super) fn remedy(self, ifindex: u32) -> String {
        let links = aya::programs::loaded_links().filter_map(Result::ok);
        let mut of_program = links.filter(|link| link.program_id() == self.program);
        if let Some(link) = of_program.next() {
            return format!("bpftool link detach id {}, or stop the program that holds the link", link.id());
        }
        let name = name_of(ifindex);
        let word = match self.mode {
            2 => "xdpgeneric",
            3 => "xdpoffload",
            _ => "xdp",
        };
        format!("ip link set dev {name} {word} off")
    }
}

/// The name of an interface; if it has gone, its number.
pub(super) fn name_of(ifindex: u32) -> String {
    let link = netlink::link(&Which::Index(ifindex)).ok().flatten();
    let bytes = link.as_ref().and_then(|link| link.attribute(IFLA_IFNAME));
    bytes.map_or_else(|| format!("interface {ifindex}"), name)
}

/// An attribute's text.
fn name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

fn addresses(index: u32) -> Result<Vec<IpAddr>, XdpError> {
    Ok(all_addresses()?.into_iter().filter(|(of, _)| *of == index).map(|(_, address)| address).collect())
}

fn all_addresses() -> Result<Vec<(u32, IpAddr)>, XdpError> {
    let address = |bytes: Vec<u8>| match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    };
    let known = |(index, bytes)| Some((index, address(bytes)?));
    Ok(netlink::addresses()?.into_iter().filter_map(known).collect())
}

/// Queues in use, from sysfs; rtnetlink tells only how many there is room for. `None` if sysfs shows another namespace.
fn queues(name: &str, index: u32) -> Option<u32> {
    let folder = std::path::Path::new("/sys/class/net").join(name);
    let shown: u32 = std::fs::read_to_string(folder.join("ifindex")).ok()?.trim().parse().ok()?;
    let is_rx = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("rx-");
    let entries = std::fs::read_dir(folder.join("queues")).ok()?;
    (shown == index).then(|| entries.filter_map(Result::ok).filter(is_rx).count() as u32)
}
