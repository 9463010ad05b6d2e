//! `dpdk-testpmd` in rxonly mode: the yardstick. It receives, frees, and counts.

use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longest time that it needs to come up, or to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Mbufs of its pool: a full ring of `net_af_xdp`'s, and what it keeps at hand.
const MBUFS: &str = "16384";

/// How it receives.
#[derive(Clone, Copy, Debug)]
pub struct How<'a> {
    /// The virtual device with its arguments.
    pub device: &'a str,
    /// The core that it polls on.
    pub core: usize,
    /// The core that its first thread sleeps on.
    pub other_core: usize,
    /// Packets of a call.
    pub burst: usize,
    /// Mbufs that its pool keeps at hand for the core; none: as the program has it (250).
    pub cache: Option<usize>,
    /// Entries of its receive queue.
    pub descriptors: u32,
}

/// It runs, and polls between [`TestPmd::start`] and [`TestPmd::stop`].
#[derive(Debug)]
pub struct TestPmd {
    child: Child,
    to: ChildStdin,
    from: Receiver<String>,
}

/// What it received between start and stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Packets.
    pub packets: f64,
    /// Cycles of the calls that brought some, per packet; what else ran on its core meanwhile is in it.
    pub cycles_per_packet: f64,
}

impl TestPmd {
    /// Starts it by `command`, which is `stdbuf` wherever the device is: into a pipe the program would write when it ends.
    pub fn launch(mut command: Command, how: &How<'_>) -> Result<Self> {
        command.args(["-oL", "dpdk-testpmd"]);
        let lcores = format!("0@{},1@{}", how.other_core, how.core);
        let prefix = prefix();
        // No device of the machine's own: the only one that is allowed cannot be there.
        command.args([
            "--in-memory",
            "--no-telemetry",
            "-a",
            "0000:ff:1f.7",
            "--vdev",
            how.device,
            "--lcores",
            &lcores,
        ]);
        command.args(["--file-prefix", &prefix, "--", "-i", "--forward-mode=rxonly", "--txd=1024"]);
        command.args([
            &format!("--rxd={}", how.descriptors),
            &format!("--burst={}", how.burst),
            &format!("--total-num-mbufs={MBUFS}"),
            "--record-core-cycles",
        ]);
        if let Some(cache) = how.cache {
            command.arg(format!("--mbcache={cache}"));
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (to, out) = (child.stdin.take().context("no pipe")?, child.stdout.take().context("no pipe")?);
        let (lines, from) = channel();
        // Its prompt ends no line: somebody must read all the time.
        std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|l| lines.send(l)));
        let mut testpmd = Self { child, to, from };
        testpmd.order("show config fwd")?;
        testpmd.wait_for("Logical Core")?;
        Ok(testpmd)
    }

    fn order(&mut self, command: &str) -> Result<()> {
        writeln!(self.to, "{command}").context("dpdk-testpmd has ended")
    }

    fn wait_for(&self, text: &str) -> Result<String> {
        let mut last = String::new();
        while let Ok(line) = self.from.recv_timeout(PATIENCE) {
            if line.contains(text) {
                return Ok(line);
            }
            if !line.trim().is_empty() {
                last = line;
            }
        }
        bail!("dpdk-testpmd did not say {text:?}; its last words: {last}")
    }

    /// The process that polls. `command` may have been one that becomes it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Polls from now on.
    pub fn start(&mut self) -> Result<()> {
        self.order("start")?;
        self.wait_for("TX RS bit threshold").map(drop)
    }

    /// Polls no more; what it received.
    pub fn stop(&mut self) -> Result<Outcome> {
        self.order("stop")?;
        self.wait_for("Forward statistics")?;
        let line = self.wait_for("RX-packets:")?;
        let packets = after(&line, "RX-packets:").context("a number of packets")?;
        if packets == 0.0 {
            return Ok(Outcome::default());
        }
        let line = self.wait_for("CPU cycles/packet=")?;
        let cycles = after(&line, "CPU cycles/packet=").context("cycles")?;
        Ok(Outcome { packets, cycles_per_packet: cycles })
    }
}

impl Drop for TestPmd {
    fn drop(&mut self) {
        let _ = self.order("quit");
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while std::time::Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // It leaves its folder, with nothing in it.
        let _ = std::fs::remove_dir(Path::new("/var/run/dpdk").join(prefix()));
    }
}

/// What the library tells this process's testpmd from others by.
fn prefix() -> String {
    format!("flumeway-testpmd-{}", std::process::id())
}

/// The number behind `key` in a line.
fn after(line: &str, key: &str) -> Option<f64> {
    let rest = line.split_once(key)?.1.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::after;

    #[test]
    fn numbers_are_read_out_of_lines() {
        let line =
            "  CPU cycles/packet=2517.58 (total cycles=1557919228 / total rxonly packets=618816) at 2600 MHz Clock";
        assert_eq!(after(line, "CPU cycles/packet="), Some(2517.58));
        assert_eq!(after("  RX-packets: 598533         RX-dropped: 0", "RX-packets:"), Some(598_533.0));
        assert_eq!(after("RX-dropped: 0", "RX-packets:"), None);
    }
}
