//! What the kernel says of a process: its memory, its processor time, whether it lives.

use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::sync::mpsc::{Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Clock ticks per second of the times in `/proc/PID/stat` (`USER_HZ`, 100 on every architecture that this project has).
pub const TICKS_PER_S: u64 = 100;

fn file(pid: u32, name: &str) -> String {
    std::fs::read_to_string(PathBuf::from("/proc").join(pid.to_string()).join(name)).unwrap_or_default()
}

/// Resident memory of a process in KiB, shared memory included; 0 if there is no such process.
pub fn resident_kib(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:")
}

/// Resident memory that is the process's own, in KiB: all that can grow without bound, because the shared part is the
/// arena, which never changes its size.
pub fn private_kib(pid: u32) -> u64 {
    status_kib(pid, "RssAnon:")
}

fn status_kib(pid: u32, key: &str) -> u64 {
    let status = file(pid, "status");
    let line = status.lines().find_map(|l| l.strip_prefix(key));
    line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The fields of `/proc/PID/stat` from the third, the state, on: the second, the name, may hold spaces.
fn stat(pid: u32) -> Vec<String> {
    let text = file(pid, "stat");
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().map(str::to_owned).collect()
}

/// Processor time in user and kernel mode, in ticks of 1 / [`TICKS_PER_S`] s.
pub fn cpu_ticks(pid: u32) -> u64 {
    let fields = stat(pid);
    [11, 12].iter().filter_map(|n| fields.get(*n)?.parse::<u64>().ok()).sum()
}

/// Processor time of all threads in nanoseconds, as the scheduler counts it; from [`cpu_ticks`] where the kernel does not say.
pub fn cpu_ns(pid: u32) -> u64 {
    match thread_times(pid).map(|(ns, _)| ns).sum() {
        0 => cpu_ticks(pid) * 1_000_000_000 / TICKS_PER_S,
        ns => ns,
    }
}

/// The thread of a process that has run longest.
pub fn busiest_thread(pid: u32) -> Option<u32> {
    thread_times(pid).max().map(|(_, thread)| thread)
}

/// Processor time of each thread, ns, and its id.
fn thread_times(pid: u32) -> impl Iterator<Item = (u64, u32)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        Some((text.split_whitespace().next()?.parse().ok()?, task.file_name().to_str()?.parse().ok()?))
    })
}

/// How often the process has gone to sleep by itself.
pub fn sleeps(pid: u32) -> u64 {
    let text = file(pid, "status");
    let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Packets that all processors together found no room for in their backlogs: the second number of each line of
/// `/proc/net/softnet_stat` (`softnet_seq_show` in the kernel's net/core/net-procfs.c), whatever namespace they were in.
pub fn softnet_dropped() -> u64 {
    let text = std::fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default();
    text.lines().filter_map(|line| u64::from_str_radix(line.split(' ').nth(1)?, 16).ok()).sum()
}

/// Whether the process runs, sleeps or is stopped; one that has ended and was not collected yet does not.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).first().is_some_and(|state| state != "Z" && state != "X")
}

/// Sends a signal; a process that is gone already does not mind.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        let _ = kill_process(pid, signal);
    }
}

/// A thread that asks for nothing but to be woken every millisecond, and notes how often it was not: what the machine does
/// to it, it does to every stage.
#[derive(Debug)]
pub struct Probe {
    watching: Sender<()>,
    thread: JoinHandle<f64>,
}

impl Probe {
    /// From now on. A wake-up counts as late after more than `late`.
    pub fn start(late: Duration) -> Self {
        let (watching, watched) = channel();
        let thread = std::thread::spawn(move || {
            let (mut n, mut missed) = (0_u32, 0_u32);
            while watched.try_recv() == Err(TryRecvError::Empty) {
                let due = Instant::now() + Duration::from_millis(1);
                std::thread::sleep(Duration::from_millis(1));
                n += 1;
                missed += u32::from(due.elapsed() > late);
            }
            f64::from(missed) / f64::from(n.max(1))
        });
        Self { watching, thread }
    }

    /// The share of wake-ups that were late, 0 to 1.
    pub fn finish(self) -> f64 {
        drop(self.watching);
        self.thread.join().unwrap_or(1.0)
    }
}

/// Processes that end with the test, should it fail before they did.
#[derive(Debug)]
pub struct EndWithTest(pub Vec<u32>);

impl Drop for EndWithTest {
    fn drop(&mut self) {
        for pid in self.0.iter().filter(|pid| is_alive(**pid)) {
            signal(*pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_there() {
        let me = std::process::id();
        assert!(is_alive(me) && !is_alive(u32::MAX >> 1));
        assert!(private_kib(me) > 0 && private_kib(me) < resident_kib(me));
        let (ticks, ns) = (cpu_ticks(me), cpu_ns(me));
        while cpu_ticks(me) < ticks + 2 {}
        assert!(cpu_ns(me) > ns);
    }

    #[test]
    fn a_process_that_has_ended_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        crate::pipeline::wait_until("true to end", || !is_alive(child.id()));
        child.wait().unwrap();
    }
}
