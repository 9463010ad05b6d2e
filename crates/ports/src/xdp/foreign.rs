//! Programs at an interface that others put there: what they are called, and taking one away.

use super::error::XdpError;
use super::interface::Interface;
use super::netlink;

/// The name of program `id`; `None` if there is none of that number, or the kernel does not tell us.
pub fn program_name(id: u32) -> Option<String> {
    let found = aya::programs::loaded_programs().filter_map(Result::ok).find(|program| program.id() == id)?;
    found.name_as_str().map(str::to_owned)
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
