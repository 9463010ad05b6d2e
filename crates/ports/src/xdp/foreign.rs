//! Programs at an interface that others put there: what they are called, what they use, and taking one away.

use super::error::XdpError;
use super::interface::Interface;
use super::netlink;
use aya::programs::ProgramInfo;
use std::path::{Path, PathBuf};

/// A program of somebody else's. Who lives with it has a descriptor of it, or of one of its maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// Numbers of its maps.
    pub maps: Vec<u32>,
}

impl Foreign {
    fn new(info: &ProgramInfo) -> Option<Self> {
        let maps = info.map_ids().ok().flatten()?;
        Some(Self { name: info.name_as_str()?.to_owned(), id: info.id(), maps })
    }
}

/// Program `id`; `None` if there is none of that number, or the kernel does not tell us.
pub fn program(id: u32) -> Option<Foreign> {
    let found = aya::programs::loaded_programs().filter_map(Result::ok).find(|program| program.id() == id)?;
    Foreign::new(&found)
}

/// The programs that the dispatcher `id` at interface `ifindex` calls, from where libxdp notes them: pinned below
/// `xdp/dispatch-IFINDEX-ID` of a bpf file system (libxdp, `protocol.org`, "Locking and pinning"). `None` if that cannot be read.
pub fn dispatched(ifindex: u32, id: u32) -> Option<Vec<Foreign>> {
    let folder = PathBuf::from(format!("/sys/fs/bpf/xdp/dispatch-{ifindex}-{id}"));
    let pins = std::fs::read_dir(folder).ok()?.collect::<Result<Vec<_>, _>>().ok()?;
    let programs = pins.iter().map(std::fs::DirEntry::path).filter(|path| path.to_string_lossy().ends_with("-prog"));
    let known = |path: PathBuf| Foreign::new(&ProgramInfo::from_pin(Path::new(&path)).ok()?);
    programs.map(known).collect()
}

/// Takes the program away that is at the interface, if it is not held by a link.
///
/// # Errors
/// [`XdpError`] if the kernel refuses.
pub fn detach(interface: &Interface) -> Result<(), XdpError> {
    // `XDP_FLAGS_SKB_MODE`, `XDP_FLAGS_DRV_MODE`, `XDP_FLAGS_HW_MODE` of include/uapi/linux/if_link.h.
    let flags = match interface.xdp.map_or(0, |installed| installed.mode) {
        0 => return Ok(()),
        2 => 1 << 1,
        3 => 1 << 3,
        _ => 1 << 2,
    };
    netlink::detach_xdp(interface.index, flags)
}
