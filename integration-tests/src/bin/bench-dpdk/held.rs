//! What a receiver that polls needs for a packet by itself: it polls in vain as well, and processor time does not tell which.
//!
//! So it is held by SIGSTOP until the kernel's ring is full, and let go for less time than it takes to empty it: no poll is in
//! vain. The kernel's own part is on the sender's core meanwhile.

use crate::device::Pmd;
use anyhow::{Context as _, Error, Result, ensure};
use integration_tests::load::{Load, offer};
use integration_tests::netns::{Net, Side};
use integration_tests::processes::{busiest_thread, cpu_ns, signal};
use rustix::process::Signal;
use std::num::NonZeroU64;
use std::process::Command;
use std::thread::{scope, sleep};
use std::time::Duration;

/// The flood, for as long as one round takes.
const FLOOD: [&str; 7] = ["-r", "0", "-d", "0.6", "-x", "-b", "64"];
/// For how long a ring fills.
const FILLS: Duration = Duration::from_millis(12);
/// Nobody receives faster.
const LEAST_NS_PER_PACKET: u64 = 50;

/// A value for each round.
#[derive(Debug, Default)]
pub struct Held {
    pub cpu_ns_per_packet: Vec<f64>,
    /// Packets of each time that it was let go: fewer than the ring holds.
    pub packets_each_time: Vec<f64>,
}

/// One round.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    spent_ns: u64,
    times: u32,
}

impl Held {
    /// `packets`: all of the round. A ring of them was received when it was over, and not timed.
    pub fn add(&mut self, pmd: Pmd, round: Round, packets: f64) {
        let packets = packets - f64::from(pmd.ring());
        self.cpu_ns_per_packet.push(round.spent_ns as f64 / packets);
        self.packets_each_time.push(packets / f64::from(round.times));
    }
}

/// Processes that run whenever they can, others or not: then what a sleep takes is what was asked for. Their children do not.
struct Ahead([u32; 2]);

impl Ahead {
    fn of_others(pid: u32) -> Result<Self> {
        let all = Self([pid, std::process::id()]);
        all.0.into_iter().try_for_each(go_first)?;
        Ok(all)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        for pid in self.0 {
            // One that has ended needs nothing.
            let _ = chrt(&["-o"], pid, "0");
        }
    }
}

/// It runs whenever it can.
pub fn go_first(pid: u32) -> Result<()> {
    chrt(&["-R", "-f"], pid, "1")
}

fn chrt(policy: &[&str], pid: u32, priority: &str) -> Result<()> {
    let output = Command::new("chrt").arg("-a").args(policy).args(["-p", priority, &pid.to_string()]).output();
    let output = output.context("chrt: `make deps` installs it")?;
    ensure!(output.status.success(), "chrt: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Floods the process's port while it is held and let go.
pub fn alone(net: &Net, pmd: Pmd, generator: usize, pid: u32) -> Result<Round> {
    net.threaded_napi(Side::Pipeline, false).map_err(Error::msg)?;
    // The one that polls. A signal for it stops the whole process, as any does, and it is the first to see it: another thread
    // would have to be woken on the sender's core before.
    let poller = busiest_thread(pid).context("a thread that polls")?;
    // Sleeps end when they should, not 50 us later.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let let_go = Duration::from_nanos(u64::from(pmd.ring()) * LEAST_NS_PER_PACKET);
    let _ahead = Ahead::of_others(pid)?;
    let before = cpu_ns(pid);
    let (result, times, spent_ns) = scope(|scope| {
        let flood = scope.spawn(|| offer(net, generator, Load::Frames, &FLOOD));
        let mut times = 0;
        while !flood.is_finished() {
            signal(poller, Signal::STOP);
            sleep(FILLS);
            signal(poller, Signal::CONT);
            sleep(let_go);
            times += 1;
        }
        signal(poller, Signal::STOP);
        let spent_ns = cpu_ns(pid) - before;
        signal(poller, Signal::CONT);
        (flood.join(), times, spent_ns)
    });
    result.unwrap_or_else(|e| std::panic::resume_unwind(e))?;
    Ok(Round { spent_ns, times })
}
