//! The library's environment in this process: one, brought up without any device.
//!
//! No device is probed at the start, because the predecessor may still drive it: the only device that is allowed then is one that
//! cannot be there. That also keeps the library away from every other port of the machine.

use super::DpdkError;
use super::ffi;
use rustix::fs::MemfdFlags;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A PCI address that no device has: the last function of the last device of a bus that bridges do not give out first.
const NO_DEVICE: &str = "0000:ff:1f.7";
/// Most characters of the library's messages in an error.
const LOG_CHARS: usize = 400;
/// Free hugepages of the usual size.
const FREE_PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
/// No environment takes as long to come up.
const START: Duration = Duration::from_mins(1);

/// Whether the environment of this process is up, or was tried.
static TAKEN: Mutex<bool> = Mutex::new(false);

/// How the environment works.
#[derive(Clone, Debug, Default)]
pub struct EalOptions {
    /// Tells processes apart: the instance's name.
    pub prefix: String,
    /// The core that the calling thread runs on; none: those that it may run on now.
    pub core: Option<u32>,
    /// Memory that the library takes at once, MiB; 0: what it needs, when it needs it.
    pub memory_mib: u32,
    /// Devices that will be opened: whether addresses for DMA are physical follows from their kernel drivers.
    pub devices: Vec<String>,
    /// Further arguments.
    pub arguments: Vec<String>,
}

/// Releases of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// That this program was built with.
    pub built: String,
    /// That is loaded.
    pub library: String,
}

/// Releases of the headers and of the loaded library. Needs no environment.
pub fn versions() -> Versions {
    let library = ffi::version();
    let library = library.strip_prefix("DPDK ").unwrap_or(&library).to_owned();
    Versions { built: dpdk_sys::RELEASE.to_owned(), library }
}

/// The environment of this process. A copy is the same one.
#[derive(Clone, Debug)]
pub struct Eal {
    init_us: u64,
    control: Arc<Mutex<Log>>,
}

/// What the library wrote.
#[derive(Debug)]
pub(super) struct Log(File);

/// The right to configure ports: one thread at a time.
pub(super) type Control<'a> = MutexGuard<'a, Log>;

impl Eal {
    /// Brings the environment up, once per process, on the calling thread, which is bound to its core from then on. Its helper
    /// threads are born here: drop privileges that no device needs before.
    ///
    /// # Errors
    /// [`DpdkError`], with the library's own words.
    pub fn init(options: &EalOptions) -> Result<Self, DpdkError> {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        if *taken {
            return Err(DpdkError::Twice);
        }
        let found = versions();
        if !same_release(&found.library) {
            return Err(DpdkError::Library { built: found.built, found: found.library });
        }
        let arguments = arguments(options)?;
        let (mut log, stream) = Log::new()?;
        *taken = true;
        ffi::log_to(stream);
        let start = Instant::now();
        let initialised = quietly(|| ffi::eal_init(&arguments));
        if let Err(errno) = initialised {
            return Err(refused(errno, &log.take(), &options.arguments));
        }
        let init_us = start.elapsed().as_micros() as u64;
        // With everything in memory nothing is kept in it.
        let folder = ffi::runtime_folder();
        let _ = std::fs::remove_dir(&folder);
        forget_the_dead(Path::new(&folder));
        Ok(Self { init_us, control: Arc::new(Mutex::new(log)) })
    }

    /// How long it took to come up, microseconds.
    pub fn init_us(&self) -> u64 {
        self.init_us
    }

    /// For as long as ports are configured.
    pub(super) fn control(&self) -> Control<'_> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        control.take();
        control
    }
}

/// Processes that were killed as they started have left their folders beside this one, with nothing in them.
fn forget_the_dead(folder: &Path) {
    let (Some(all), Some(own)) = (folder.parent(), folder.file_name().and_then(|name| name.to_str())) else { return };
    // Names end with their process's number.
    let kind = own.trim_end_matches(|c: char| c.is_ascii_digit());
    for entry in std::fs::read_dir(all).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(kind)) else { continue };
        let is_number = !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit());
        // One in another process namespace is not seen: it needs its folder for less than a second.
        let is_old =
            entry.metadata().and_then(|m| m.modified()).is_ok_and(|t| t.elapsed().is_ok_and(|age| age > START));
        if is_number && is_old && !Path::new("/proc").join(pid).exists() {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

/// Year and month alone: later corrections of a release keep its interface.
fn same_release(library: &str) -> bool {
    let (year, month) = ffi::built_release();
    library.starts_with(&format!("{year}.{month:02}."))
}

fn arguments(options: &EalOptions) -> Result<Vec<CString>, DpdkError> {
    let mut all: Vec<String> = ["flumeway", "--in-memory", "--no-telemetry", "-a", NO_DEVICE].map(str::to_owned).into();
    all.extend(["--file-prefix".to_owned(), options.prefix.clone()]);
    match options.core {
        Some(core) => all.extend(["-l".to_owned(), core.to_string()]),
        None => all.push(format!("--lcores=0@({})", allowed_cores())),
    }
    if options.memory_mib > 0 {
        all.extend(["-m".to_owned(), options.memory_mib.to_string()]);
    }
    if let Some(mode) =
        iova_mode(&options.devices).filter(|_| !options.arguments.iter().any(|a| a.contains("iova-mode")))
    {
        all.push(format!("--iova-mode={mode}"));
    }
    all.extend(options.arguments.iter().cloned());
    all.into_iter().map(|text| CString::new(text.clone()).map_err(|_| DpdkError::Text { text })).collect()
}

fn allowed_cores() -> String {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    let cores: Vec<_> =
        (0..rustix::thread::CpuSet::MAX_CPU).filter(|n| set.is_set(*n)).map(|n| n.to_string()).collect();
    if cores.is_empty() { "0".to_owned() } else { cores.join(",") }
}

/// How devices on the PCI bus reach memory; the library cannot tell before it looks at them.
fn iova_mode(devices: &[String]) -> Option<&'static str> {
    let modes: Vec<_> = devices.iter().filter_map(|device| super::names::iova_mode(device)).collect();
    // One that needs physical addresses decides for all.
    if modes.contains(&"pa") { Some("pa") } else { modes.first().copied() }
}

/// The library prints pages of usage to the standard output when it refuses an argument: none of it is this program's.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::WRONLY, rustix::fs::Mode::empty());
    let Ok((null, own)) = null.and_then(|null| Ok((null, rustix::io::dup(std::io::stdout())?))) else { return work() };
    let _ = rustix::stdio::dup2_stdout(&null);
    let result = work();
    let _ = rustix::stdio::dup2_stdout(&own);
    result
}

/// What a failed initialisation means.
fn refused(errno: i32, log: &str, arguments: &[String]) -> DpdkError {
    let log = if log.is_empty() { ffi::reason(errno) } else { log.to_owned() };
    let free = std::fs::read_to_string(FREE_PAGES).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let about_pages = log.contains("hugepage") || log.contains("memory") || log.contains("huge");
    if free == Some(0) && about_pages {
        return DpdkError::NoHugePages { log };
    }
    // The library names an argument that it refuses on the standard error alone.
    let with = if arguments.is_empty() { String::new() } else { format!(" with [dpdk] eal_args {arguments:?}") };
    DpdkError::Eal { with, log }
}

impl Log {
    /// The log, and where the library is to write.
    fn new() -> Result<(Self, OwnedFd), DpdkError> {
        let file =
            rustix::fs::memfd_create("dpdk-log", MemfdFlags::CLOEXEC).map_err(DpdkError::system("memfd_create"))?;
        // The file is cut while the library has it open: it must go on at the end.
        rustix::fs::fcntl_setfl(file.as_fd(), rustix::fs::OFlags::APPEND).map_err(DpdkError::system("fcntl"))?;
        let stream = rustix::io::fcntl_dupfd_cloexec(&file, 3).map_err(DpdkError::system("dup"))?;
        Ok((Self(File::from(file)), stream))
    }

    /// The end of what was written since the last time, in one line; forgets it.
    pub(super) fn take(&mut self) -> String {
        let mut text = Vec::new();
        let _ = self.0.seek(SeekFrom::Start(0));
        let _ = self.0.read_to_end(&mut text);
        let _ = self.0.set_len(0);
        last_words(&String::from_utf8_lossy(&text))
    }
}

/// The last lines that say something, at most [`LOG_CHARS`] characters.
fn last_words(text: &str) -> String {
    let chatter = |line: &&str| {
        let line = line.trim();
        let greeting = ["EAL: Detected", "EAL: Selected IOVA", "EAL: Multi-process", "TELEMETRY:"];
        !line.is_empty() && !greeting.iter().any(|g| line.starts_with(g)) && !line.contains("no mounted hugetlbfs")
    };
    let lines: Vec<_> = text.lines().filter(chatter).map(str::trim).collect();
    let end = lines[lines.len().saturating_sub(3)..].join("; ");
    let skip = end.chars().count().saturating_sub(LOG_CHARS);
    end.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_those_that_tell_something() {
        let text = "EAL: Detected CPU lcores: 2\nEAL: No free 2048 kB hugepages reported on node 0\n\nEAL: Cannot init memory\n";
        assert_eq!(last_words(text), "EAL: No free 2048 kB hugepages reported on node 0; EAL: Cannot init memory");
        assert_eq!(last_words(&format!("{}end", "x".repeat(1000))).len(), LOG_CHARS);
        assert_eq!(last_words(""), "");
    }

    #[test]
    fn arguments_touch_no_device_and_no_file() {
        let options = EalOptions { prefix: "rx0".to_owned(), core: Some(1), memory_mib: 64, ..EalOptions::default() };
        let all: Vec<_> = arguments(&options).unwrap().into_iter().map(|a| a.into_string().unwrap()).collect();
        let has = |words: &[&str]| all.windows(words.len()).any(|w| w == words);
        assert!(has(&["--in-memory"]) && has(&["-a", NO_DEVICE]) && has(&["--file-prefix", "rx0"]), "{all:?}");
        assert!(has(&["-l", "1"]) && has(&["-m", "64"]) && !all.iter().any(|a| a.contains("iova")), "{all:?}");
        let bad = EalOptions { prefix: "a\0b".to_owned(), ..options };
        assert!(matches!(arguments(&bad), Err(DpdkError::Text { .. })));
    }

    #[test]
    fn refused_arguments_are_named() {
        let said = |arguments: &[String]| refused(libc::EINVAL, "Invalid argument", arguments).to_string();
        assert!(said(&["--no-such".to_owned()]).contains("initialised with [dpdk] eal_args [\"--no-such\"]: Invalid"));
        assert!(said(&[]).contains("cannot be initialised: Invalid"));
    }

    #[test]
    fn folders_of_the_dead_alone_are_taken_away() {
        let all = std::env::temp_dir().join(format!("flumeway-eal-{}", std::process::id()));
        let alive = format!("fw-rx-{}", std::process::id());
        // No process has this number: the kernel's largest is 4194304.
        let names = [alive.as_str(), "fw-rx-9999999", "fw-rx-9999998", "fw-rx-", "fw-tx-9999999", "fw-rx-9999999x"];
        for name in names {
            std::fs::create_dir_all(all.join(name)).unwrap();
            let long_ago = std::time::SystemTime::now() - 2 * START;
            if name != "fw-rx-9999998" {
                File::open(all.join(name)).unwrap().set_modified(long_ago).unwrap();
            }
        }
        forget_the_dead(&all.join("fw-rx-1"));
        let is_there = names.map(|name| all.join(name).exists());
        std::fs::remove_dir_all(&all).unwrap();
        assert_eq!(is_there, [true, false, true, true, true, true], "{names:?}");
    }

    #[test]
    fn the_log_is_read_once() {
        let (mut log, stream) = Log::new().unwrap();
        let mut stream = File::from(stream);
        for word in ["first", "second"] {
            std::io::Write::write_all(&mut stream, word.as_bytes()).unwrap();
            assert_eq!(log.take(), word);
        }
        assert_eq!(log.take(), "");
    }

    #[test]
    fn releases_are_compared_by_year_and_month() {
        let Versions { built, library } = versions();
        assert!(same_release(&built) && same_release(&library), "{built} {library}");
        assert!(!same_release("19.08.1") && !same_release(""));
    }
}
