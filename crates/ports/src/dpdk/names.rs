//! Devices' names and arguments, and what the kernel says about a device before the library is asked.

use super::DpdkError;
use std::ops::RangeInclusive;
use std::path::Path;

/// Kernel drivers that leave a device to a process.
const USER_SPACE: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];
/// Kernel drivers that share a device with a process.
const SHARING: [&str; 2] = ["mlx5_core", "mlx4_core"];
/// Where the kernel shows its devices.
const PCI: &str = "/sys/bus/pci/devices";
/// A block and a frame of `net_af_packet`, where its arguments say nothing.
const BLOCK_BYTES: u32 = 4096;
const FRAME_BYTES: u32 = 2048;
/// Longest frame of `net_af_packet` whose data fits our buffers: they hold 3754 bytes behind the headroom, a frame has 32 bytes
/// before its data, and the kernel wants multiples of 16.
pub(super) const MAX_FRAME: u32 = 3776;

/// The device without its arguments: what the library calls it.
pub(super) fn short_name(device: &str) -> &str {
    device.split(',').next().unwrap_or(device)
}

/// Whether it is the address of a PCI device: `dddd:bb:dd.f`; behind some controllers (VMD) a domain has up to 8 digits.
pub(super) fn is_pci(device: &str) -> bool {
    let address = short_name(device);
    let hex = |text: &str, lens: RangeInclusive<usize>| {
        lens.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let mut parts = address.split([':', '.']);
    let mut next = |lens| parts.next().is_some_and(|part| hex(part, lens));
    next(4..=8) && next(2..=2) && next(2..=2) && next(1..=1) && address.matches(':').count() == 2
}

/// The kernel's driver of a PCI device; `None` for anything else, and without one.
fn kernel_driver(device: &str) -> Option<String> {
    let link = Path::new(PCI).join(short_name(device)).join("driver");
    is_pci(device).then(|| std::fs::read_link(link).ok()?.file_name()?.to_str().map(str::to_owned))?
}

/// Which addresses a device reaches memory by, `va` or `pa`, as the library calls them; `None` for what is no PCI device, and
/// without a driver.
pub(super) fn iova_mode(device: &str) -> Option<&'static str> {
    let driver = kernel_driver(device)?;
    let group = std::fs::read_to_string(Path::new(PCI).join(short_name(device)).join("iommu_group/name"));
    Some(iova_of(&driver, group.ok().as_deref().map(str::trim)))
}

/// The same, by the kernel's driver and the name of the device's group: one that vfio made up has no IOMMU.
fn iova_of(driver: &str, group: Option<&str>) -> &'static str {
    if driver.contains("uio") || group == Some("vfio-noiommu") { "pa" } else { "va" }
}

/// What the kernel says about the device, before the library is asked.
pub(super) fn look_at(device: &str) -> Result<(), DpdkError> {
    let name = || device.to_owned();
    if is_pci(device) {
        if !Path::new(PCI).join(short_name(device)).exists() {
            return Err(DpdkError::NoPciDevice { device: name() });
        }
        let driver = kernel_driver(device);
        let fit = driver.as_deref().is_some_and(|d| USER_SPACE.contains(&d) || SHARING.contains(&d));
        return if fit {
            Ok(())
        } else {
            Err(DpdkError::NotBound { device: name(), driver: driver.unwrap_or_else(|| "no driver".to_owned()) })
        };
    }
    let argument = device.split(',').skip(1).find_map(|argument| argument.strip_prefix("iface"));
    // A driver that is given the argument without its value crashes.
    let interface = argument.map(|value| value.strip_prefix('=').unwrap_or(""));
    let stands_on_one = ["net_af_packet", "net_af_xdp"].iter().any(|driver| device.starts_with(driver));
    if let Some(interface) = interface.filter(|interface| stands_on_one && !interface_exists(interface)) {
        return Err(DpdkError::NoInterface { device: name(), interface: interface.to_owned() });
    }
    match frames_of(device) {
        Some(Frames { block, frame }) if frame == 0 || block % frame != 0 || frame > MAX_FRAME => {
            Err(DpdkError::Frames { device: name(), block, frame })
        }
        _ => Ok(()),
    }
}

/// How `net_af_packet` shares a ring with the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frames {
    /// Bytes of a block.
    pub block: u32,
    /// Bytes of a frame, with the kernel's header.
    pub frame: u32,
}

/// As the driver reads its arguments (`rte_pmd_init_internals` in drivers/net/af_packet); `None` for another driver. What is no
/// number is 0.
pub(super) fn frames_of(device: &str) -> Option<Frames> {
    let bytes = |key: &str, default: u32| {
        let values = device.split(',').skip(1).filter_map(|one| one.split_once('=').filter(|(k, _)| *k == key));
        values.last().map_or(default, |(_, value)| value.parse().unwrap_or(0))
    };
    device
        .starts_with("net_af_packet")
        .then(|| Frames { block: bytes("blocksz", BLOCK_BYTES), frame: bytes("framesz", FRAME_BYTES) })
}

/// In this thread's network namespace.
fn interface_exists(name: &str) -> bool {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None);
    // Without a socket nobody can tell: the driver says what it lacks.
    socket.is_ok_and(|socket| rustix::net::netdevice::name_to_index(&socket, name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_told_from_virtual_devices() {
        for device in ["0000:00:05.0", "0001:ff:1f.7", "0000:00:05.0,rx_vec=1", "10000:e1:00.1", "fedcba98:00:00.0"] {
            assert!(is_pci(device), "{device}");
        }
        let others = [
            "net_null0",
            "00:05.0",
            "net_af_xdp0,iface=0000:00:05.0",
            "0000:00:05",
            "0000.00.05.0",
            "123456789:00:05.0",
            "",
        ];
        for device in others {
            assert!(!is_pci(device), "{device}");
        }
        assert_eq!(short_name("net_tap0,iface=x"), "net_tap0");
    }

    #[test]
    fn without_an_iommu_addresses_are_physical() {
        assert_eq!(iova_of("vfio-pci", None), "va");
        assert_eq!(iova_of("vfio-pci", Some("")), "va");
        assert_eq!(iova_of("vfio-pci", Some("vfio-noiommu")), "pa");
        assert_eq!(iova_of("uio_pci_generic", None), "pa");
        assert_eq!(iova_mode("net_null0"), None);
    }

    #[test]
    fn what_is_not_there_is_said_before_the_library_is_asked() {
        let error = |device: &str| look_at(device).unwrap_err().to_string();
        assert!(error("fffe:00:00.0").contains("no PCI device fffe:00:00.0"));
        assert!(error("net_af_packet0,iface=flumeway-none").contains("no interface flumeway-none"));
        assert!(look_at("net_null0").is_ok());
    }

    #[test]
    fn frames_that_cross_blocks_or_do_not_fit_are_refused() {
        let sizes = |arguments: &str| frames_of(&format!("net_af_packet0,iface=lo{arguments}"));
        assert_eq!(sizes(""), Some(Frames { block: 4096, frame: 2048 }));
        assert_eq!(sizes(",framesz=1024,framesz=3584,blocksz=28672"), Some(Frames { block: 28672, frame: 3584 }));
        assert_eq!(frames_of("net_null0,framesz=3"), None);
        let looked =
            |arguments: &str| look_at(&format!("net_af_packet0,iface=lo{arguments}")).map_err(|e| e.to_string());
        for arguments in ["", ",framesz=1024", ",blocksz=28672,framesz=3584", ",blocksz=241664,framesz=3776"] {
            assert_eq!(looked(arguments), Ok(()), "{arguments}");
        }
        for arguments in [",framesz=3584", ",blocksz=8192,framesz=3584", ",framesz=4096", ",framesz=0", ",framesz=x"] {
            let error = looked(arguments).unwrap_err();
            assert!(error.contains("blocksz=28672,framesz=3584"), "{arguments}: {error}");
        }
    }
}
