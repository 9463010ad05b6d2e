//! Kills a process that drives PCI devices, and says in what state the kernel leaves them at the moment when the death can
//! be seen: whether each can still do DMA (bus mastering, bit 2 of the PCI command register), and who still has it open.
//!
//! A successor gives the buffers that a device held to new uses only because the answer is no and nobody.
//!
//! `pci-release kill PID DEVICE...`
//! `pci-release rounds N DEVICE... -- COMMAND...` starts the command N times, and kills it once it has received packets (once
//! it has printed `RX-packets:` with a number above 0).
//!
//! Prints one line of JSON; fails if a device could still do DMA or was still open.
#![forbid(unsafe_code)]

mod device;

use device::Device;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// What was found after the kills.
#[derive(Debug, Default)]
struct Findings {
    /// Kills times devices.
    cases: u32,
    /// Cases in which the device could do DMA before, and could not after.
    released: u32,
    /// Processes that had a device open after a kill.
    holders: Vec<String>,
    /// Longest from the signal to the readable pidfd.
    slowest: Duration,
}

/// SIGKILL; looks at the devices as soon as the pidfd is readable.
fn kill(pid: u32, devices: &[Device], findings: &mut Findings) -> io::Result<()> {
    let pid = Pid::from_raw(pid as i32).ok_or_else(|| io::Error::other("0 is no process"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let mut before = Vec::new();
    for device in devices {
        before.push(device.is_bus_master()?);
    }
    let sent = Instant::now();
    pidfd_send_signal(&pidfd, Signal::KILL)?;
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None)?;
    let took = sent.elapsed();
    // First of all, and in a row: nothing may happen between the death and these.
    let after: Vec<_> = devices.iter().map(Device::is_bus_master).collect();
    findings.slowest = findings.slowest.max(took);
    for ((device, before), after) in devices.iter().zip(before).zip(after) {
        findings.cases += 1;
        findings.released += u32::from(before && !after?);
        findings.holders.extend(device.holders());
    }
    Ok(())
}

/// Waits until the command has received packets.
fn wait_receiving(child: &mut Child) -> io::Result<()> {
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
    let mut seen = String::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        let count = line.split_once("RX-packets:").and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        if count.is_some_and(|n: u64| n > 0) {
            return Ok(());
        }
        seen.push_str(&line);
        seen.push('\n');
    }
    Err(io::Error::other(format!("the command ended, and had received nothing:\n{seen}")))
}

fn round(command: &[String], devices: &[Device], findings: &mut Findings) -> io::Result<()> {
    let mut child =
        Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let result = wait_receiving(&mut child).and_then(|()| kill(child.id(), devices, findings));
    let _ = child.kill();
    child.wait()?;
    result
}

fn execute(arguments: &[String]) -> io::Result<Findings> {
    let usage = || io::Error::other("usage: pci-release kill PID DEVICE... | rounds N DEVICE... -- COMMAND...");
    let (Some(verb), Some(number)) = (arguments.first(), arguments.get(1)) else { return Err(usage()) };
    let number: u32 = number.parse().map_err(|_| usage())?;
    let mut rest = arguments[2..].splitn(2, |a| a == "--");
    let addresses = rest.next().unwrap_or_default();
    let command = rest.next().unwrap_or_default();
    let devices = addresses.iter().map(|a| Device::open(a)).collect::<io::Result<Vec<_>>>()?;
    let mut findings = Findings::default();
    match verb.as_str() {
        "kill" if command.is_empty() && !devices.is_empty() => kill(number, &devices, &mut findings)?,
        "rounds" if !command.is_empty() && !devices.is_empty() => {
            for _ in 0..number {
                round(command, &devices, &mut findings)?;
            }
        }
        _ => return Err(usage()),
    }
    Ok(findings)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let findings = match execute(&arguments) {
        Ok(findings) => findings,
        Err(error) => {
            eprintln!("pci-release: {error}");
            return ExitCode::from(3);
        }
    };
    let told = serde_json::json!({
        "cases": findings.cases,
        "released": findings.released,
        "holders": findings.holders,
        "slowest_us": findings.slowest.as_micros() as u64,
    });
    println!("{told}");
    let is_right = findings.released == findings.cases && findings.holders.is_empty();
    if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
