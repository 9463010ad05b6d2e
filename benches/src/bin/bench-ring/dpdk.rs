//! `rte_ring`: a C program built on the spot with the system's libdpdk, asked for a round at a time.

use crate::pair::{Length, Round};
use anyhow::{Context as _, Result, bail, ensure};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The program, running.
pub struct RteRing {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{name} cannot be run; `make deps` installs it"))?;
    if !output.status.success() {
        let first = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
        bail!("{name} failed: {first}; `make deps` installs libdpdk-dev");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Compiles `benches/rte_ring.c` beside this executable.
fn build(root: &Path) -> Result<PathBuf> {
    let flags = output(Command::new("pkg-config").args(["--cflags", "--libs", "libdpdk"]))?;
    let binary = std::env::current_exe()?.with_file_name("bench-rte-ring");
    let source = root.join("benches/rte_ring.c");
    output(Command::new("cc").args(["-O3", "-o"]).arg(&binary).arg(source).args(flags.split_whitespace()))?;
    Ok(binary)
}

impl RteRing {
    /// Builds and starts it.
    pub fn start(root: &Path, (a, b): (usize, usize)) -> Result<Self> {
        let mut command = Command::new(build(root)?);
        command.arg(a.to_string()).arg(b.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start rte_ring")?;
        let (to, from) = (child.stdin.take().context("stdin")?, child.stdout.take().context("stdout")?);
        Ok(Self { child, to, from: BufReader::new(from) })
    }

    /// One round.
    pub fn round(&mut self, batch: u64, pause: bool, length: Length) -> Result<Round> {
        let Length { warm, trips, clocked } = length;
        writeln!(self.to, "{batch} {} {warm} {trips} {clocked}", u8::from(pause)).context("rte_ring ended")?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        let numbers: Result<Vec<f64>, _> = line.split_whitespace().map(str::parse).collect();
        let numbers = numbers.context("rte_ring printed something that is no number")?;
        ensure!(numbers.len() as u64 == clocked + 1, "rte_ring ended, or printed too few numbers");
        Ok(Round { mean_ns: numbers[0], clocked_ns: numbers[1..].to_vec() })
    }

    /// Ends it.
    pub fn finish(mut self) -> Result<()> {
        drop(self.to);
        let status = self.child.wait()?;
        ensure!(status.success(), "rte_ring ended with {status}");
        Ok(())
    }
}
