//! The second process: this executable again, attached to the same arena, told a round at a time what to answer.

use crate::contenders::{Answer, ROWS, Site};
use crate::kernel::Channels;
use crate::pair::Length;
use crate::shared::{BATCH, Home, Which, attach};
use anyhow::{Context as _, Result, bail};
use arena::launch::VARIABLE;
use benches::machine::pin;
use rustix::process::Signal;
use std::io::{BufRead as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::JoinHandle;

/// The first argument of side B.
pub const ARGUMENT: &str = "side-b";

/// Side B, as side A holds it.
pub struct Partner {
    orders: ChildStdin,
    watch: JoinHandle<()>,
}

/// Ends this process when side B has ended badly: side A would spin for ever.
fn watch(mut child: Child) {
    match child.wait() {
        Ok(status) if status.success() => {}
        other => {
            eprintln!("bench-ring: the second process ended early: {other:?}");
            std::process::exit(1);
        }
    }
}

impl Partner {
    /// Starts it on `core` and waits until it is attached.
    pub fn start(home: &Home, channels: &Channels, core: usize) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ARGUMENT).arg(std::process::id().to_string());
        command.env(VARIABLE, home.launch(&channels.fds(), core).encode());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        home.inherit(&channels.fds(), true)?;
        let spawned = command.spawn();
        home.inherit(&channels.fds(), false)?;
        let mut child = spawned.context("start the second process")?;
        let (orders, ready) = (child.stdin.take().context("stdin")?, child.stdout.take().context("stdout")?);
        let mut line = String::new();
        std::io::BufReader::new(ready).read_line(&mut line)?;
        if line.trim() != "ready" {
            bail!("the second process did not start: {:?}", child.wait());
        }
        Ok(Self { orders, watch: std::thread::spawn(|| watch(child)) })
    }

    /// Has it answer a round of row `number`.
    pub fn order(&mut self, number: usize, length: Length) -> Result<()> {
        let Length { warm, trips, clocked } = length;
        // One write, so that no half of an order is read.
        let line = format!("{number} {warm} {trips} {clocked}\n");
        self.orders.write_all(line.as_bytes()).context("the second process has gone")
    }

    /// Ends it.
    pub fn finish(self) -> Result<()> {
        drop(self.orders);
        self.watch.join().map_err(|_| anyhow::anyhow!("the second process could not be waited for"))
    }
}

fn parse(line: &str) -> Result<(usize, Length)> {
    let numbers: Result<Vec<u64>, _> = line.split_whitespace().map(str::parse).collect();
    match numbers.context("an order consists of numbers")?[..] {
        [number, warm, trips, clocked] => Ok((number as usize, Length { warm, trips, clocked })),
        _ => bail!("an order has four numbers"),
    }
}

/// Side B's whole life; `run` is the process id of side A.
pub fn serve(run: &str) -> Result<()> {
    // It would spin for ever if side A were killed.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let run: u32 = run.parse().context("side A's process id")?;
    let (attached, core) = attach()?;
    pin(core)?;
    let channels = Channels::take(attached.port)?;
    let mut site = Site {
        which: Which::B,
        arena: &attached.arena,
        bells: &attached.doorbells,
        supervisor: attached.supervisor.as_fd(),
        channels: &channels,
        hand: Vec::with_capacity(BATCH),
        #[cfg(feature = "peers")]
        ports: crate::iceoryx::Ports::open(run, Which::B)?,
    };
    #[cfg(not(feature = "peers"))]
    let _ = run;
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let (number, length) = parse(&line?)?;
        site.play(ROWS.get(number).context("no such row")?, Answer(length))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_four_numbers() {
        assert_eq!(parse("3 1 2 4").unwrap(), (3, Length { warm: 1, trips: 2, clocked: 4 }));
        assert!(parse("3 1 2").is_err() && parse("3 1 2 -4").is_err() && parse("").is_err());
    }
}
