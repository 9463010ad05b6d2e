//! What the supervisor tells a stage process at its start: who it is, and under which numbers it inherits what.
//!
//! It travels in one environment variable, so that no stage parses a command line and no descriptor number is fixed.

use crate::arena::{Access, Arena, ArenaError};
use crate::doorbell::Doorbells;
use crate::owner::OwnerId;
use crate::region::inherited;
use std::os::fd::{AsFd, OwnedFd, RawFd};

/// The environment variable.
pub const VARIABLE: &str = "FLUMEWAY_LAUNCH";

/// Bytes of one half of the configuration document's file; generation `g` lies in half `g & 1` as
/// `length: u64 little endian`, then that many bytes of JSON.
pub const CONFIG_HALF_BYTES: u64 = 1 << 20;

/// Descriptor numbers and identity of a stage process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Which instance it is to be.
    pub owner: OwnerId,
    /// Which process it is: the control word names it when it becomes active.
    pub ticket: u32,
    /// The control region, writable.
    pub control: RawFd,
    /// The packets region.
    pub packets: (RawFd, Access),
    /// The inputs region.
    pub inputs: (RawFd, Access),
    /// The outputs region.
    pub outputs: (RawFd, Access),
    /// Doorbells by instance.
    pub bells: Vec<RawFd>,
    /// The configuration document, two halves.
    pub config: RawFd,
    /// One end of a socket pair: it hangs up when the supervisor dies.
    pub supervisor: RawFd,
    /// What the driver needs (rx-gateway and tx), in the driver's order.
    pub port: Vec<RawFd>,
    /// Core to pin to; none: leave it to the kernel.
    pub core: Option<usize>,
}

/// Why a process is no stage.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Started by hand.
    #[error(
        "this program is a stage of a Flumeway pipeline and is started by its supervisor; run `flumeway run` instead"
    )]
    NotLaunched,
    /// The variable cannot be read.
    #[error("{VARIABLE} is malformed at {0:?}; supervisor and stage are of different releases")]
    Malformed(String),
    /// A descriptor is not there.
    #[error("inherited descriptor {0} ({1}) is not open; supervisor and stage are of different releases")]
    Descriptor(RawFd, &'static str),
    /// The arena does not fit.
    #[error(transparent)]
    Arena(#[from] ArenaError),
}

fn list(fds: &[RawFd]) -> String {
    fds.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn region((fd, access): (RawFd, Access)) -> String {
    match access {
        Access::None => "-".to_owned(),
        Access::Read => format!("{fd}r"),
        Access::Write => format!("{fd}w"),
    }
}

fn parse_region(text: &str) -> Option<(RawFd, Access)> {
    Some(match text.split_at_checked(text.len().checked_sub(1)?)? {
        ("", "-") => (-1, Access::None),
        (fd, "r") => (fd.parse().ok()?, Access::Read),
        (fd, "w") => (fd.parse().ok()?, Access::Write),
        _ => return None,
    })
}

fn parse_list(text: &str) -> Option<Vec<RawFd>> {
    text.split(',').filter(|t| !t.is_empty()).map(|t| t.parse().ok()).collect()
}

impl Launch {
    /// The variable's value.
    pub fn encode(&self) -> String {
        format!(
            "owner={};ticket={};control={};packets={};inputs={};outputs={};bells={};config={};supervisor={};port={};core={}",
            self.owner.0,
            self.ticket,
            self.control,
            region(self.packets),
            region(self.inputs),
            region(self.outputs),
            list(&self.bells),
            self.config,
            self.supervisor,
            list(&self.port),
            self.core.map_or_else(|| "-".to_owned(), |c| c.to_string()),
        )
    }

    /// From the variable's value.
    pub fn decode(text: &str) -> Result<Self, LaunchError> {
        let bad = || LaunchError::Malformed(text.to_owned());
        let field = |name: &str| text.split(';').find_map(|p| p.strip_prefix(name)?.strip_prefix('=')).ok_or_else(bad);
        let number = |name: &str| field(name)?.parse::<i32>().map_err(|_| bad());
        let area = |name: &str| parse_region(field(name)?).ok_or_else(bad);
        let many = |name: &str| parse_list(field(name)?).ok_or_else(bad);
        let core = match field("core")? {
            "-" => None,
            n => Some(n.parse().map_err(|_| bad())?),
        };
        Ok(Self {
            owner: OwnerId(u8::try_from(number("owner")?).map_err(|_| bad())?),
            ticket: field("ticket")?.parse().map_err(|_| bad())?,
            control: number("control")?,
            packets: area("packets")?,
            inputs: area("inputs")?,
            outputs: area("outputs")?,
            bells: many("bells")?,
            config: number("config")?,
            supervisor: number("supervisor")?,
            port: many("port")?,
            core,
        })
    }

    /// From this process's environment.
    pub fn from_env() -> Result<Self, LaunchError> {
        Self::decode(&std::env::var(VARIABLE).map_err(|_| LaunchError::NotLaunched)?)
    }

    /// Every descriptor that the process must inherit.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let regions = [self.packets, self.inputs, self.outputs];
        let mut all = vec![self.control, self.config, self.supervisor];
        all.extend(regions.iter().filter(|(_, a)| *a != Access::None).map(|(fd, _)| *fd));
        all.extend(self.bells.iter().chain(&self.port));
        all
    }

    /// Takes the descriptors over and attaches to the arena; writes nothing to it.
    pub fn attach(&self) -> Result<Attached, LaunchError> {
        let take = |fd: RawFd, what| inherited(fd).ok_or(LaunchError::Descriptor(fd, what));
        let open = |(fd, access): (RawFd, Access), what| match access {
            Access::None => Ok(None),
            access => take(fd, what).map(|fd| Some((fd, access == Access::Write))),
        };
        let control = take(self.control, "control region")?;
        let (packets, inputs, outputs) =
            (open(self.packets, "packets")?, open(self.inputs, "inputs")?, open(self.outputs, "outputs")?);
        let arena = Arena::attach(
            control.as_fd(),
            packets.as_ref().map(|(fd, w)| (fd.as_fd(), *w)),
            inputs.as_ref().map(|(fd, w)| (fd.as_fd(), *w)),
            outputs.as_ref().map(|(fd, w)| (fd.as_fd(), *w)),
        )?;
        let bells: Vec<_> = self.bells.iter().map(|fd| take(*fd, "doorbell").map(Some)).collect::<Result<_, _>>()?;
        let port = self.port.iter().map(|fd| take(*fd, "driver")).collect::<Result<_, _>>()?;
        Ok(Attached {
            doorbells: Doorbells::new(&arena, bells),
            arena,
            config: take(self.config, "configuration")?,
            supervisor: take(self.supervisor, "supervisor socket")?,
            port,
        })
    }
}

/// What a stage process holds after attaching.
#[derive(Debug)]
pub struct Attached {
    /// The arena.
    pub arena: Arena,
    /// All doorbells.
    pub doorbells: Doorbells,
    /// The configuration document.
    pub config: OwnedFd,
    /// Hangs up when the supervisor dies.
    pub supervisor: OwnedFd,
    /// The driver's descriptors.
    pub port: Vec<OwnedFd>,
}

/// Reads the configuration document of a generation.
pub fn read_config(fd: impl AsFd, generation: u64) -> std::io::Result<String> {
    let base = (generation & 1) * CONFIG_HALF_BYTES;
    let mut len = [0; 8];
    read_all(&fd, &mut len, base)?;
    let len = u64::from_le_bytes(len).min(CONFIG_HALF_BYTES - 8);
    let mut text = vec![0; len as usize];
    read_all(&fd, &mut text, base + 8)?;
    String::from_utf8(text).map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e))
}

fn read_all(fd: impl AsFd, mut buf: &mut [u8], mut at: u64) -> std::io::Result<()> {
    while !buf.is_empty() {
        let n = rustix::io::pread(&fd, &mut *buf, at)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        buf = &mut buf[n..];
        at += n as u64;
    }
    Ok(())
}

/// Writes the configuration document of a generation; announce it in the supervisor's page afterwards.
pub fn write_config(fd: impl AsFd, generation: u64, text: &str) -> std::io::Result<()> {
    if text.len() as u64 > CONFIG_HALF_BYTES - 8 {
        return Err(std::io::Error::other("the configuration is longer than 1 MiB; use fewer [[stream]] entries"));
    }
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    let (mut at, mut left) = ((generation & 1) * CONFIG_HALF_BYTES, &bytes[..]);
    while !left.is_empty() {
        let n = rustix::io::pwrite(&fd, left, at)?;
        left = &left[n..];
        at += n as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let launch = Launch {
            owner: OwnerId(5),
            ticket: u32::MAX,
            control: 3,
            packets: (4, Access::Read),
            inputs: (-1, Access::None),
            outputs: (6, Access::Write),
            bells: vec![7, 8, 9],
            config: 10,
            supervisor: 11,
            port: vec![],
            core: Some(1),
        };
        assert_eq!(Launch::decode(&launch.encode()).unwrap(), launch);
        assert!(matches!(Launch::decode("owner=2"), Err(LaunchError::Malformed(_))));
    }
}
