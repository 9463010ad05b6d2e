//! What a machine lacks for namespaces with AF_XDP in them.

use rustix::net::{AddressFamily, SocketType, socket};
use std::path::Path;

/// Why there is no [`super::Net`]. The text says what is missing and how to get it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Effective user id other than 0.
    #[error("not root: network namespaces need CAP_NET_ADMIN and CAP_SYS_ADMIN; run the tests as root")]
    Root,
    /// A program.
    #[error("no `{tool}` in PATH: `make deps` installs it (Debian package {package})")]
    Tool {
        /// What is not there.
        tool: &'static str,
        /// Where it comes from.
        package: &'static str,
    },
    /// The kernel, or a container's policy.
    #[error("network namespaces are refused ({0}): the kernel needs CONFIG_NET_NS, a container CAP_SYS_ADMIN")]
    Namespaces(String),
    /// The kernel.
    #[error("no veth pair ({0}): the kernel needs CONFIG_VETH")]
    Veth(String),
    /// The kernel.
    #[error("no bridge of veth pairs ({0}): the kernel needs CONFIG_BRIDGE")]
    Bridge(String),
    /// The kernel.
    #[error("no AF_XDP sockets ({0}): the kernel needs CONFIG_XDP_SOCKETS")]
    AfXdp(String),
    /// The kernel.
    #[error(
        "no bridge with TAP devices ({0}): the kernel needs CONFIG_BRIDGE and CONFIG_TUN, the machine /dev/net/tun"
    )]
    Taps(String),
    /// Switched off.
    #[error("no IPv6 in a new namespace ({0}): boot without ipv6.disable=1")]
    Ipv6(String),
    /// Without it, nothing would be removed after a SIGKILL.
    #[error("the process that removes the namespaces does not start ({0}): `sh` is needed")]
    Guard(String),
}

/// Whether a program is in `PATH`.
pub fn tool(tool: &'static str, package: &'static str) -> Result<(), Missing> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|dir| dir.join(tool).exists());
    if is_there { Ok(()) } else { Err(Missing::Tool { tool, package }) }
}

/// What can be told before anything is made.
pub fn check_machine() -> Result<(), Missing> {
    if !rustix::process::geteuid().is_root() {
        return Err(Missing::Root);
    }
    tool("ip", "iproute2")?;
    tool("ethtool", "ethtool")?;
    if !Path::new("/proc/self/ns/net").exists() {
        return Err(Missing::Namespaces("no /proc/self/ns/net".to_owned()));
    }
    socket(AddressFamily::XDP, SocketType::RAW, None).map_err(|e| Missing::AfXdp(e.to_string()))?;
    Ok(())
}
