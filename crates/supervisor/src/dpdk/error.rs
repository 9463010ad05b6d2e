//! Why a port of `[dpdk]` cannot serve here.

use std::net::IpAddr;
use std::path::PathBuf;

/// Why a device or the machine cannot serve poll-mode drivers; each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No such function on the bus.
    #[error("there is no PCI device {address}; {}", network_devices(there))]
    UnknownPci {
        /// As configured.
        address: String,
        /// Network devices that there are.
        there: Vec<String>,
    },
    /// The kernel drives it.
    #[error(
        "{address} is bound to the kernel's driver {driver}; run: deploy/host-setup bind {address} --apply \
         (its interface goes then), or write [ingress] driver = \"af_xdp\""
    )]
    Bound {
        /// The function.
        address: String,
        /// The driver's name.
        driver: String,
    },
    /// Nobody drives it.
    #[error("{0} has no driver; run: deploy/host-setup bind {0} --apply")]
    Unbound(String),
    /// The file by which it is reached is missing.
    #[error("{address} is bound to {driver}, and {path} is missing; run: modprobe {module}, and bind it again")]
    NoNode {
        /// The function.
        address: String,
        /// The driver's name.
        driver: String,
        /// What is missing.
        path: PathBuf,
        /// What makes it.
        module: &'static str,
    },
    /// Stages may not open the file.
    #[error(
        "{path} of {address} is not for user {uid}, which rx-gateway and tx run as; run: deploy/host-setup permit {address} \
         --user {uid} --apply"
    )]
    NotPermitted {
        /// The function.
        address: String,
        /// The file.
        path: PathBuf,
        /// The user.
        uid: u32,
    },
    /// Stages may not open the file that all groups need.
    #[error(
        "{path} is not for user {uid}, which rx-gateway and tx run as; run: chmod 0666 {path} (it gives nobody a device: \
         the files of the groups do)"
    )]
    VfioNotPermitted {
        /// The file.
        path: PathBuf,
        /// The user.
        uid: u32,
    },
    /// Another process drives it.
    #[error("{device} is in use{}; stop that program, or name another device", by(holder.as_deref()))]
    InUse {
        /// The device.
        device: String,
        /// Process id and name, if they can be known.
        holder: Option<String>,
    },
    /// Others of its IOMMU group are the kernel's.
    #[error(
        "{address} shares IOMMU group {group} with {others}, which the kernel drives: the group cannot be given away in part; \
         bind those to vfio-pci too, or use another slot"
    )]
    Group {
        /// The function.
        address: String,
        /// The group's number.
        group: String,
        /// Other functions with their drivers.
        others: String,
    },
    /// Two ports of the pipeline are in one group.
    #[error(
        "{other} and {address} are both in IOMMU group {group}, which one process alone can open, and rx-gateway and tx are two; \
         take virtual functions (VF) of the card, put one card into another slot, or write [ingress] driver = \"af_xdp\""
    )]
    SameGroup {
        /// The function.
        address: String,
        /// Another one of the pipeline's.
        other: String,
        /// The group's number.
        group: String,
    },
    /// No such driver.
    #[error(
        "there is no driver for {device}: {folder} has no {library}; it has {there}; install that driver (apt install dpdk), \
         or write one of these"
    )]
    UnknownDriver {
        /// As configured.
        device: String,
        /// Where drivers lie.
        folder: PathBuf,
        /// The driver's file.
        library: String,
        /// Drivers of virtual devices that there are.
        there: String,
    },
    /// The interface below is missing.
    #[error("{device}: there is no interface {interface}; write one of those that `ip link` shows")]
    NoInterface {
        /// The virtual device.
        device: String,
        /// The interface.
        interface: String,
    },
    /// The interface below is down.
    #[error("{device}: {interface} is down; run: ip link set dev {interface} up")]
    Down {
        /// The virtual device.
        device: String,
        /// The interface.
        interface: String,
    },
    /// The kernel has the pipeline's address.
    #[error(
        "{device}: {interface} has the address {address} itself, and the kernel would answer beside the pipeline; \
         run: ip addr flush dev {interface} to {address}"
    )]
    KernelAnswers {
        /// The virtual device.
        device: String,
        /// The interface.
        interface: String,
        /// The address.
        address: IpAddr,
    },
    /// Somebody else's XDP program is there.
    #[error("{device}: {interface} has an XDP program already: id {program}; run: ip link set dev {interface} xdp off")]
    Occupied {
        /// The virtual device.
        device: String,
        /// The interface.
        interface: String,
        /// The program's id.
        program: u32,
    },
    /// No hugepages.
    #[error(
        "DPDK needs {needed} free hugepages of 2 MiB{}, and {free} are free; run: deploy/host-setup hugepages {} --apply",
        if *arena { " (the arena's among them)" } else { "" }, total
    )]
    NoHugepages {
        /// Pages needed.
        needed: u64,
        /// Pages free.
        free: u64,
        /// Pages that the machine should have.
        total: u64,
        /// Whether the arena counts.
        arena: bool,
    },
    /// The supervisor itself has not what stages need.
    #[error(
        "{device} needs {missing}, which `flumeway run` has not; start it as root, or with these as ambient capabilities"
    )]
    Rights {
        /// The device.
        device: String,
        /// Names of capabilities.
        missing: String,
    },
    /// The executables know nothing of DPDK.
    #[error(
        "{0} is built without DPDK; install executables that are built with it (apt install libdpdk-dev libclang1-14, then \
         `make all`), or write another [ingress] driver"
    )]
    NotBuilt(PathBuf),
}

fn network_devices(there: &[String]) -> String {
    match there {
        [] => "this machine has no network device on the bus".to_owned(),
        _ => format!("network devices here are {}", there.join(", ")),
    }
}

fn by(holder: Option<&str>) -> String {
    holder.map(|holder| format!(" by {holder}")).unwrap_or_default()
}
