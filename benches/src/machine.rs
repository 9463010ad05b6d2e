//! What the numbers were measured on, who else used its time, and which core a process keeps to.

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};
use std::fs::read_to_string;

/// Of a second: what the kernel counts processor time in for user space.
const TICK_NS: u64 = 10_000_000;

/// Cores this process may use.
pub fn cores() -> Vec<usize> {
    sched_getaffinity(None).map_or_else(|_| vec![0], |set| (0..CpuSet::MAX_CPU).filter(|c| set.is_set(*c)).collect())
}

/// Two of these cores that are no hardware threads of one core, if there are such; else `None`.
pub fn two_cores(cores: &[usize]) -> Option<(usize, usize)> {
    let siblings = |core: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        read_to_string(path).map_or_else(|_| core.to_string(), |text| text.trim().to_owned())
    };
    let first = *cores.first()?;
    let other = cores.iter().find(|core| siblings(**core) != siblings(first))?;
    Some((first, *other))
}

/// Binds the calling thread, and threads that it starts from now on, to one core.
pub fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("bind to core {core}"))
}

/// Lets the calling thread, and what it starts from now on, use these cores.
pub fn allow(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).context("allow cores")
}

/// Processor time of the whole machine, and what its host withheld from it (steal), in nanoseconds since the start.
pub fn busy_ns() -> u64 {
    // user nice system idle iowait irq softirq steal: all but the two idle ones.
    const COUNTED: [usize; 6] = [0, 1, 2, 5, 6, 7];
    let text = read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    COUNTED.iter().filter_map(|at| ticks.get(*at)).sum::<u64>() * TICK_NS
}

/// Processor time of this process and of the children it has waited for, in nanoseconds.
pub fn own_ns() -> u64 {
    let text = read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold anything; utime, stime, cutime and cstime are the 12th to 15th after it.
    let after = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    after.split_whitespace().skip(11).take(4).filter_map(|n| n.parse::<u64>().ok()).sum::<u64>() * TICK_NS
}

/// Load averages of 1, 5 and 15 minutes.
pub fn load() -> String {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// The machine in JSON.
pub fn describe() -> Value {
    let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of_cpu = |key: &str| {
        let line = cpuinfo.lines().find(|l| l.starts_with(key));
        line.and_then(|l| l.split(':').nth(1)).map_or("unknown", str::trim).to_owned()
    };
    let virtual_machine = cpuinfo.lines().any(|l| l.starts_with("flags") && l.split(' ').any(|f| f == "hypervisor"));
    json!({
        "cpu": of_cpu("model name"),
        "family_model": format!("{}/{}", of_cpu("cpu family"), of_cpu("model\t")),
        "cores": cores().len(),
        "virtual_machine": virtual_machine,
        "kernel": read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "load_average": load(),
    })
}
