//! Where this machine tells of its devices; tests have a folder of their own instead.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folders of Debian and others with the drivers that the library loads.
const DRIVER_FOLDERS: [&str; 4] = ["usr/lib", "usr/lib64", "usr/local/lib", "usr/local/lib64"];

/// Some process does not let itself be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unknown;

/// The root of the file system in which `/sys`, `/proc` and `/dev` are looked at.
pub(crate) struct Machine {
    root: PathBuf,
}

impl Machine {
    /// The machine this process runs on.
    pub(crate) fn this() -> Self {
        Self::at(Path::new("/"))
    }

    /// What stands under `root`.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Whether system calls about devices can be made.
    pub(crate) fn is_this(&self) -> bool {
        self.root == Path::new("/")
    }

    /// `path` (without a leading slash) on this machine.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The last component of what the link `path` shows to.
    pub(crate) fn link_name(&self, path: &str) -> Option<String> {
        Some(fs::read_link(self.path(path)).ok()?.file_name()?.to_string_lossy().into_owned())
    }

    /// Names in a folder, in order; none if it is not there.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        names_in(&self.path(path))
    }

    /// A file's text without the blank at its end.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok().map(|text| text.trim().to_owned())
    }

    fn pages(&self, file: &str) -> u64 {
        let path = format!("sys/kernel/mm/hugepages/hugepages-2048kB/{file}");
        self.text(&path).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Pages of 2 MiB that nobody has.
    pub(crate) fn free_hugepages(&self) -> u64 {
        self.pages("free_hugepages").saturating_sub(self.pages("resv_hugepages"))
    }

    /// Pages of 2 MiB, those in use included.
    pub(crate) fn all_hugepages(&self) -> u64 {
        self.pages("nr_hugepages")
    }

    /// The folders with drivers that the library may load.
    pub(crate) fn driver_folders(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for base in DRIVER_FOLDERS.map(|folder| self.path(folder)) {
            // `usr/lib/dpdk/pmds-23.0`, or below the folder of an architecture.
            let below = names_in(&base).into_iter().filter(|name| name.contains("-linux-")).map(|name| base.join(name));
            for dpdk in std::iter::once(base.clone()).chain(below).map(|folder| folder.join("dpdk")) {
                found.extend(names_in(&dpdk).iter().filter(|n| n.starts_with("pmds-")).map(|name| dpdk.join(name)));
            }
        }
        found
    }

    /// Who has `device` (such as `/dev/uio0`) open: process id and name of the first.
    pub(crate) fn holder(&self, device: &Path) -> Option<String> {
        for pid in self.processes() {
            let fds = self.names(&format!("proc/{pid}/fd"));
            if fds
                .iter()
                .any(|fd| fs::read_link(self.path(&format!("proc/{pid}/fd/{fd}"))).is_ok_and(|to| to == device))
            {
                return Some(self.process_name(&pid));
            }
        }
        None
    }

    /// Who has one of these BPF programs or maps open: process id and name of the first. Descriptors tell their object's number
    /// (proc(5), `fdinfo`).
    pub(super) fn bpf_holder(&self, programs: &[u32], maps: &[u32]) -> Result<Option<String>, Unknown> {
        let names = |line: &str| {
            let (key, number) = line.split_once(':')?;
            let of = match key {
                "prog_id" => programs,
                "map_id" => maps,
                _ => return None,
            };
            number.trim().parse().ok().filter(|id| of.contains(id))
        };
        let mut unseen = false;
        for pid in self.processes() {
            let fds = match fs::read_dir(self.path(&format!("proc/{pid}/fd"))) {
                Ok(fds) => fds,
                Err(error) => {
                    // Processes that have just ended are none.
                    unseen |= error.kind() == io::ErrorKind::PermissionDenied;
                    continue;
                }
            };
            for fd in fds.filter_map(Result::ok) {
                let is_bpf =
                    fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().starts_with("anon_inode:bpf"));
                let info = format!("proc/{pid}/fdinfo/{}", fd.file_name().to_string_lossy());
                if is_bpf && self.text(&info).is_some_and(|text| text.lines().any(|line| names(line).is_some())) {
                    return Ok(Some(self.process_name(&pid)));
                }
            }
        }
        if unseen { Err(Unknown) } else { Ok(None) }
    }

    fn processes(&self) -> impl Iterator<Item = String> {
        self.names("proc").into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
    }

    fn process_name(&self, pid: &str) -> String {
        format!("process {pid} ({})", self.text(&format!("proc/{pid}/comm")).unwrap_or_default())
    }
}

/// Names in a folder, in order; none if it is not there.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}
