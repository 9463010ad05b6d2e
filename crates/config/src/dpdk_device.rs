//! Names of DPDK's devices: a PCI address or a virtual device, each with the arguments that its driver takes.

use std::fmt;

use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use crate::value::{Mistake, Value};

/// Longest name with its arguments: what the driver library keeps of one.
const MAX_DEVICE_BYTES: usize = 512;

/// Bytes of a block and of a frame of `net_af_packet`, where its arguments say nothing.
const AF_PACKET_BLOCK: u32 = 4096;
const AF_PACKET_FRAME: u32 = 2048;
/// Longest frame whose data fits the arena's buffers: those hold 3754 bytes behind the headroom, a frame has 32 bytes before its
/// data, and the kernel wants multiples of 16.
const AF_PACKET_MAX_FRAME: u32 = 3776;

const WANTED: &str =
    "a PCI address such as \"0000:00:05.0\", or a virtual device such as \"net_af_packet0,iface=eth1\"";

/// A device as DPDK names it, with its arguments: `0000:00:05.0` or `net_af_packet0,iface=eth1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DpdkDevice(String);

impl DpdkDevice {
    /// Reads a name. A PCI address in its short form (`00:05.0`) is completed by domain 0.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, arguments) = text.split_once(',').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let fits = text.len() <= MAX_DEVICE_BYTES && text.bytes().all(|b| b.is_ascii_graphic());
        if !fits || arguments.is_some_and(|rest| rest.split(',').any(|one| one.is_empty() || one.starts_with('='))) {
            return None;
        }
        let name = pci_address(name).or_else(|| is_virtual(name).then(|| name.to_owned()))?;
        Some(Self(arguments.map_or_else(|| name.clone(), |rest| format!("{name},{rest}"))))
    }

    /// Name and arguments, as the driver library takes them.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without arguments: `0000:00:05.0`, `net_af_packet0`.
    pub fn name(&self) -> &str {
        self.0.split(',').next().unwrap_or("")
    }

    /// The PCI address `dddd:bb:dd.f`, unless it is a virtual device.
    pub fn pci(&self) -> Option<&str> {
        (!self.name().starts_with("net_")).then(|| self.name())
    }

    /// The driver of a virtual device: its name without the number, such as `net_af_packet`.
    pub fn virtual_driver(&self) -> Option<&str> {
        self.pci().is_none().then(|| self.name().trim_end_matches(|c: char| c.is_ascii_digit()))
    }

    /// The value of the argument `key`.
    pub fn argument(&self, key: &str) -> Option<&str> {
        self.0.split(',').skip(1).find_map(|one| one.split_once('=').filter(|(k, _)| *k == key).map(|(_, value)| value))
    }

    /// The kernel's interface that a virtual device stands on, if its driver takes one that is there already.
    pub fn kernel_interface(&self) -> Option<&str> {
        match self.virtual_driver()? {
            // Its `iface` is the interface that it makes; `remote` is one whose traffic it takes.
            "net_tap" => self.argument("remote"),
            _ => self.argument("iface"),
        }
    }

    /// Copies of a packet's bytes in receiving and sending that the device's driver makes, as `(rx, tx)`, known for some.
    ///
    /// `net_af_xdp` receives without one of its own; in the kernel's copy mode that makes one.
    pub fn driver_copies(&self) -> Option<(u32, u32)> {
        match self.virtual_driver() {
            None => Some((0, 0)),
            Some("net_af_packet" | "net_tap") => Some((1, 1)),
            Some("net_af_xdp") => Some((0, 1)),
            Some(_) => None,
        }
    }

    /// `net_af_packet` looks for frames one behind the other, and the kernel begins each block with one: where a block's end holds
    /// no whole frame, reception stops there.
    fn look_at_frames(&self) -> Result<(), Mistake> {
        if self.virtual_driver() != Some("net_af_packet") {
            return Ok(());
        }
        let remedy = "write for example blocksz=28672,framesz=3584";
        let bytes = |key: &str, default: u32| {
            let value =
                self.0.split(',').skip(1).filter_map(|one| one.split_once('=').filter(|(k, _)| *k == key)).last();
            let Some((_, value)) = value else { return Ok(default) };
            let wrong = || Mistake::new(format!("has a {key} of {value:?}, which is no number of bytes"), remedy);
            value.parse().ok().filter(|bytes| *bytes > 0).ok_or_else(wrong)
        };
        let (block, frame) = (bytes("blocksz", AF_PACKET_BLOCK)?, bytes("framesz", AF_PACKET_FRAME)?);
        if frame > AF_PACKET_MAX_FRAME {
            let problem = format!("has a framesz of {frame}, and a buffer holds one of {AF_PACKET_MAX_FRAME} bytes");
            return Err(Mistake::new(problem, remedy));
        }
        if !block.is_multiple_of(frame) {
            let problem = format!("has a blocksz of {block}, which is no multiple of its framesz of {frame}");
            return Err(Mistake::new(problem, remedy));
        }
        Ok(())
    }

    /// Buffers that the driver takes for each receive queue when that is set up, however few descriptors it has.
    pub(crate) fn least_buffers(&self) -> u32 {
        // Twice the kernel's default of descriptors: its fill ring, which begins full.
        if self.virtual_driver() == Some("net_af_xdp") { 2048 } else { 0 }
    }

    /// Whether both are one port: the same function, or the same kernel interface below.
    pub(crate) fn is_port_of(&self, other: &Self) -> bool {
        let port = |device: &Self| {
            let below = device.argument("iface").or_else(|| device.argument("remote"));
            below.unwrap_or_else(|| device.name()).to_owned()
        };
        port(self) == port(other)
    }
}

impl fmt::Display for DpdkDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Value for DpdkDevice {
    fn wanted() -> String {
        WANTED.to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        let text = value.as_str().ok_or_else(|| Mistake::wrong_type(value, WANTED))?;
        let device =
            Self::parse(text).ok_or_else(|| Mistake::new("is no name of a device", format!("write {WANTED}")))?;
        device.look_at_frames().map(|()| device)
    }
}

/// The empty text says "none".
impl Value for Option<DpdkDevice> {
    fn wanted() -> String {
        format!("{WANTED}, or \"\" for none")
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        match value.as_str() {
            Some("") => Ok(None),
            _ => DpdkDevice::read(value).map(Some),
        }
    }
}

/// `dddd:bb:dd.f` of `text`, which may lack the domain and have fewer digits.
fn pci_address(text: &str) -> Option<String> {
    let (rest, function) = text.rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.split_once(':').unwrap_or(("0", rest));
    let number = |text: &str, digits: usize, most: u32| {
        let is_hex = !text.is_empty() && text.len() <= digits && text.bytes().all(|b| b.is_ascii_hexdigit());
        u32::from_str_radix(text, 16).ok().filter(|n| is_hex && *n <= most)
    };
    // PCI Local Bus Specification 3.0, 3.2.2.3.2: 8 bits of bus, 5 of device, 3 of function.
    let (domain, bus) = (number(domain, 8, u32::MAX)?, number(bus, 2, 0xff)?);
    let (device, function) = (number(device, 2, 0x1f)?, number(function, 1, 7)?);
    Some(format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}"))
}

fn is_virtual(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.strip_prefix("net_").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
        && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::DpdkDevice;
    use crate::value::Value;
    use toml::de::DeValue;

    fn device(text: &str) -> DpdkDevice {
        DpdkDevice::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn addresses_are_completed() {
        for (text, whole) in [
            ("0000:00:05.0", "0000:00:05.0"),
            ("00:05.0", "0000:00:05.0"),
            ("3b:1F.7,dcf=1", "0000:3b:1f.7,dcf=1"),
            ("10000:e1:0.1", "10000:e1:00.1"),
        ] {
            assert_eq!(device(text).as_str(), whole);
        }
        assert_eq!(device("00:05.0,a=b").pci(), Some("0000:00:05.0"));
        assert_eq!(device("00:05.0").virtual_driver(), None);
    }

    #[test]
    fn what_is_no_device_is_refused() {
        let long = format!("net_null0,x={}", "a".repeat(600));
        for text in [
            "",
            "eth0",
            "00:20.0",
            "00:05.8",
            "0:0:0:0.0",
            "+0:05.0",
            "net_",
            "net_Null",
            "net_null0,",
            "net_null0,,a=1",
            &long,
            "net_null0,a b",
        ] {
            assert_eq!(DpdkDevice::parse(text), None, "{text}");
        }
    }

    #[test]
    fn virtual_devices_have_a_driver_and_arguments() {
        let packet = device("net_af_packet12,iface=eth1,qpairs=2");
        assert_eq!(
            (packet.name(), packet.virtual_driver(), packet.pci()),
            ("net_af_packet12", Some("net_af_packet"), None)
        );
        assert_eq!((packet.argument("qpairs"), packet.argument("blocksz")), (Some("2"), None));
        assert_eq!(packet.kernel_interface(), Some("eth1"));
        assert_eq!(device("net_tap0,iface=fw0,remote=eth2").kernel_interface(), Some("eth2"));
        assert_eq!(device("net_tap0,iface=fw0").kernel_interface(), None);
        assert_eq!(device("net_null0").driver_copies(), None);
        assert_eq!(packet.driver_copies(), Some((1, 1)));
    }

    #[test]
    fn one_port_under_two_names_is_one_port() {
        let packet = device("net_af_packet0,iface=eth1");
        assert!(packet.is_port_of(&device("net_af_xdp1,iface=eth1")));
        assert!(!packet.is_port_of(&device("net_af_packet0,iface=eth2")), "each process counts its own");
        assert!(device("00:05.0").is_port_of(&device("0000:00:05.0,a=1")));
        assert!(!device("00:05.0").is_port_of(&device("00:05.1")));
        assert!(device("net_null0").is_port_of(&device("net_null0,copy=1")));
    }

    #[test]
    fn rings_that_driver_and_kernel_see_differently_are_refused() {
        let read = |arguments: &str| {
            let text = format!("net_af_packet0,iface=eth1{arguments}");
            DpdkDevice::read(&DeValue::String(text.into())).map_err(|mistake| mistake.problem)
        };
        for arguments in ["", ",framesz=1024", ",blocksz=28672,framesz=3584", ",framesz=9,framesz=2048"] {
            assert!(read(arguments).is_ok(), "{arguments}");
        }
        for (arguments, word) in [
            (",blocksz=8192,framesz=3584", "no multiple"),
            (",framesz=3584", "no multiple"),
            (",blocksz=8192,framesz=4096", "3776"),
            (",framesz=0", "no number"),
            (",blocksz=many", "no number"),
        ] {
            let problem = read(arguments).unwrap_err();
            assert!(problem.contains(word), "{arguments}: {problem}");
        }
    }
}
