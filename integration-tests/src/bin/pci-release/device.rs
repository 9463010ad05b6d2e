//! A PCI device under a driver that hands it to user space, as sysfs shows it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Offset of the command register in configuration space, and its bit (PCI Local Bus Specification 3.0, 6.2.2).
const COMMAND: u64 = 4;
const BUS_MASTER: u16 = 1 << 2;

#[derive(Debug)]
pub struct Device {
    address: String,
    config: File,
    /// What user space opens: `/dev/vfio/GROUP` or `/dev/uioN`.
    node: PathBuf,
}

impl Device {
    /// By its address, like `0000:00:10.0`.
    pub fn open(address: &str) -> io::Result<Self> {
        let folder = Path::new("/sys/bus/pci/devices").join(address);
        let because = |e: &dyn std::fmt::Display| io::Error::other(format!("{address}: {e}"));
        let config = File::open(folder.join("config")).map_err(|e| because(&e))?;
        let driver = name(&fs::read_link(folder.join("driver")).map_err(|e| because(&format!("no driver: {e}")))?);
        let node = match driver.as_str() {
            "vfio-pci" => Path::new("/dev/vfio").join(name(&fs::read_link(folder.join("iommu_group"))?)),
            "uio_pci_generic" => {
                let entry = fs::read_dir(folder.join("uio"))?.next().ok_or_else(|| because(&"no uio device"))??;
                Path::new("/dev").join(entry.file_name())
            }
            other => return Err(because(&format!("bound to {other}, which does not hand it to user space"))),
        };
        Ok(Self { address: address.to_owned(), config, node })
    }

    /// Whether it may do DMA.
    pub fn is_bus_master(&self) -> io::Result<bool> {
        let mut register = [0; 2];
        self.config.read_exact_at(&mut register, COMMAND)?;
        Ok(u16::from_le_bytes(register) & BUS_MASTER != 0)
    }

    /// Processes that have it open.
    pub fn holders(&self) -> Vec<String> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let holds = |folder: PathBuf| {
            let files = fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
            files.filter_map(|f| fs::read_link(f.path()).ok()).any(|target| target == self.node)
        };
        let held = processes.filter(|p| p.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()));
        let held = held.filter(|p| holds(p.path()));
        held.map(|p| format!("{}: process {}", self.address, p.file_name().display())).collect()
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}
