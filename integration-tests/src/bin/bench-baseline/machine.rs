//! What the numbers were measured on, who used its time, and which core a thread keeps to.

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::{Value, json};
use std::fs::{read_dir, read_to_string};
use std::path::Path;

/// How many cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Binds the calling thread, and threads that it starts from now on, to these cores.
pub fn pin(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).with_context(|| format!("bind to cores {cores:?}"))
}

/// Processor time that a process has used, all threads, in nanoseconds; 0 if it is gone.
pub fn cpu_ns(pid: u32) -> u64 {
    let tasks = read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let used = |task: &Path| {
        let text = read_to_string(task.join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    tasks.map(|task| used(&task.path())).sum()
}

/// Time that the whole machine has computed, all cores and everybody, and what its host withheld from it (steal), in
/// nanoseconds.
pub fn busy_ns() -> u64 {
    /// Of a second: what the kernel counts in for user space on every architecture.
    const TICK_NS: u64 = 10_000_000;
    // user nice system idle iowait irq softirq steal: all but the two idle ones.
    const COUNTED: [usize; 6] = [0, 1, 2, 5, 6, 7];
    let text = read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    COUNTED.iter().filter_map(|at| ticks.get(*at)).sum::<u64>() * TICK_NS
}

/// Load averages of 1, 5 and 15 minutes.
pub fn load() -> String {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// The machine, of which this process may use `cores` cores, in JSON.
pub fn describe(cores: usize) -> Value {
    let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of_cpu = |key: &str| {
        let line = cpuinfo.lines().find(|l| l.starts_with(key));
        line.and_then(|l| l.split(':').nth(1)).map_or("unknown", str::trim).to_owned()
    };
    let virtual_machine = cpuinfo.lines().any(|l| l.starts_with("flags") && l.split(' ').any(|f| f == "hypervisor"));
    let first_line = |path: &str| read_to_string(path).unwrap_or_default().trim().to_owned();
    json!({
        "cpu": of_cpu("model name"),
        "family_model": format!("{}/{}", of_cpu("cpu family"), of_cpu("model\t")),
        "cores": cores,
        "virtual_machine": virtual_machine,
        "kernel": first_line("/proc/sys/kernel/osrelease"),
        "rmem_max_bytes": first_line("/proc/sys/net/core/rmem_max").parse::<u64>().ok(),
        "load_average": load(),
    })
}
