//! Removal of namespaces, whatever became of the process that made them.
//!
//! One script removes, and it is run in three situations: by the guard when the pipe from its `Net` closes, because that was
//! dropped or because its process died, even by SIGKILL; and by the next `Net::new` for names whose process is dead,
//! should the guard have died too.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

/// Waits for the end of its input, kills what runs in the namespaces (process by process, and again what those started
/// meanwhile), and removes them. A namespace with a process in it would outlive its name.
const REMOVE: &str = r#"
trap '' HUP INT TERM
while read -r _; do :; done
for name in "$@"; do
    tries=100
    while pids=$(ip netns pids "$name" 2>/dev/null) && [ -n "$pids" ] && [ $tries -gt 0 ]; do
        kill -9 $pids 2>/dev/null
        tries=$((tries - 1))
        sleep 0.02
    done
    for link in $(ip -n "$name" -br link 2>/dev/null | sed -n 's/^\(fw[ab][0-9-]*\)@.*/\1/p'); do
        ip -n "$name" link del "$link" 2>/dev/null
    done
    ip netns del "$name" 2>/dev/null
done
"#;

/// Times in `/proc` are rounded to a tick; anything beyond this is a difference.
const CLOCK_SLACK: Duration = Duration::from_secs(2);

fn remover(label: &str, names: &[String]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", REMOVE, &format!("flumeway-net-{label}")]).args(names);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Where `ip netns` keeps its names.
pub fn folder() -> &'static Path {
    Path::new("/run/netns")
}

/// The process that outlives ours. Its standard input is a pipe whose other end only we hold: it is closed on exec.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    names: Vec<String>,
}

impl Guard {
    /// Starts it, in a process group of its own, so that an interrupt from the terminal does not end it.
    pub fn start(label: &str, names: &[String]) -> io::Result<Self> {
        let child = remover(label, names).stdin(Stdio::piped()).process_group(0).spawn()?;
        Ok(Self { child, names: names.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        if self.names.iter().any(|name| folder().join(name).exists()) {
            remove("rest", &self.names);
        }
    }
}

fn remove(label: &str, names: &[String]) {
    let _ = remover(label, names).stdin(Stdio::null()).status();
}

/// Removes the namespaces of dead processes.
pub fn sweep() {
    let entries = fs::read_dir(folder()).into_iter().flatten().flatten();
    let left: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let made = entry.metadata().ok()?.modified().ok()?;
            (!is_owned(owner(&name)?, made)).then_some(name)
        })
        .collect();
    if !left.is_empty() {
        remove("sweep", &left);
    }
}

/// The process id in the name of a namespace; `None` if it is none of ours.
fn owner(name: &str) -> Option<u32> {
    let mut parts = name.strip_prefix("fw-")?.split('-');
    let pid = parts.next()?.parse().ok()?;
    parts.next()?.parse::<u32>().ok()?;
    (matches!(parts.next(), Some("a" | "b")) && parts.next().is_none()).then_some(pid)
}

/// Whether the process that made something then still lives. One that began later has been given the number again.
fn is_owned(pid: u32, made: SystemTime) -> bool {
    crate::processes::is_alive(pid) && began(pid).is_none_or(|began| began <= made + CLOCK_SLACK)
}

/// When a process began.
fn began(pid: u32) -> Option<SystemTime> {
    let stat = fs::read_to_string(PathBuf::from(format!("/proc/{pid}/stat"))).ok()?;
    // The 20th field after the name in parentheses, in ticks since the machine's start.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let boot_s: u64 = machine.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse().ok()?;
    let since_boot = Duration::from_millis(ticks * 1000 / crate::processes::TICKS_PER_S);
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(boot_s) + since_boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_have_an_owner() {
        assert_eq!(owner("fw-123-4-a"), Some(123));
        assert_eq!(owner("fw-123-4-b"), Some(123));
        for other in ["fw-123-4", "fw-123-4-c", "fw-123-4-a-b", "fw--4-a", "fw-x-4-a", "fw-123-x-a", "blue", "fw-"] {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    #[test]
    fn a_number_given_again_owns_nothing_of_its_predecessor() {
        let me = std::process::id();
        assert!(is_owned(me, SystemTime::now()));
        assert!(!is_owned(me, SystemTime::UNIX_EPOCH));
        assert!(!is_owned(u32::MAX >> 1, SystemTime::now()));
    }
}
