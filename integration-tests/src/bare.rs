//! The C programs of `benches/xdp` and `benches/dpdk`, compiled when they are needed. Those of `benches/xdp` run in a [`Net`]: an
//! echo and a drop on bare AF_XDP on the pipeline's side, the generator on the traffic side.

use crate::netns::{Net, Side};
use crate::pipeline::wait_until;
use crate::processes::signal;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// UDP port that the programs serve unless they are told another.
pub const PORT: u16 = 9000;

/// Compiles `benches/xdp/NAME.c`, once in this process; the executable's path, or what the compiler, or its absence, says.
pub fn build(name: &str) -> Result<PathBuf, String> {
    once(name, || compile("xdp", name, &[]))
}

/// The same of `benches/dpdk/NAME.c`, with libdpdk.
pub fn build_with_dpdk(name: &str) -> Result<PathBuf, String> {
    once(name, || {
        let output = Command::new("pkg-config").args(["--cflags", "--libs", "libdpdk"]).output();
        let output = output.map_err(|e| format!("pkg-config: {e}; `make deps` installs it"))?;
        if !output.status.success() {
            return Err(format!("libdpdk: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let flags = String::from_utf8_lossy(&output.stdout).into_owned();
        compile("dpdk", name, &flags.split_whitespace().collect::<Vec<_>>())
    })
}

fn once(name: &str, compile: impl FnOnce() -> Result<PathBuf, String>) -> Result<PathBuf, String> {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(binary) = built.get(name) {
        return Ok(binary.clone());
    }
    let binary = compile()?;
    built.insert(name.to_owned(), binary.clone());
    Ok(binary)
}

fn compile(folder: &str, name: &str, flags: &[&str]) -> Result<PathBuf, String> {
    let dir = crate::target().join(folder);
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    // Several processes may build at once, and run what another builds again: each builds its own and puts it in place whole.
    let (binary, own) = (dir.join(name), dir.join(format!("{name}.{}", std::process::id())));
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&own);
    cc.arg(crate::root().join("benches").join(folder).join(format!("{name}.c"))).args(flags);
    let output = cc.output().map_err(|e| format!("cc: {e}; `make deps` installs it"))?;
    if !output.status.success() {
        return Err(format!("{name}.c: {}", String::from_utf8_lossy(&output.stderr)));
    }
    std::fs::rename(&own, &binary).map_err(|e| format!("{}: {e}", binary.display()))?;
    Ok(binary)
}

/// A bare AF_XDP program that is attached and receives.
#[derive(Debug)]
pub struct Bare {
    child: Child,
    from: BufReader<ChildStdout>,
}

impl Bare {
    /// Starts `bare_echo` or `bare_drop` on the pipeline's interface, with further options (see `benches/xdp/xsk.h`), and
    /// waits until it is attached; else what it complained about.
    pub fn start(net: &Net, name: &str, options: &[&str]) -> Result<Self, String> {
        let mut command = net.command_in(Side::Pipeline, build(name)?);
        command.args(["-i", net.interface(Side::Pipeline)]).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("{name}: {e}"))?;
        let mut from = BufReader::new(child.stdout.take().ok_or("no pipe from the program")?);
        let mut line = String::new();
        from.read_line(&mut line).map_err(|e| format!("{name}: {e}"))?;
        if line.starts_with("ready") {
            return Ok(Self { child, from });
        }
        let output = child.wait_with_output().map_err(|e| format!("{name}: {e}"))?;
        Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it; what it counted.
    pub fn stop(mut self) -> Value {
        signal(self.child.id(), Signal::TERM);
        let mut text = String::new();
        let _ = self.from.read_to_string(&mut text);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("the program printed {text}: {e}"))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the generator from the traffic side's IPv4 address to a port of the pipeline's, with further options (see
/// `benches/xdp/generator.h`); what it measured.
pub fn generate(net: &Net, port: u16, options: &[&str]) -> Result<Value, String> {
    let mut command = generator(net, port)?;
    let output = command.args(options).output().map_err(|e| format!("generator: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).map_err(|_| format!("generator: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The generator's command line, for who runs something else meanwhile.
pub fn generator(net: &Net, port: u16) -> Result<Command, String> {
    let mut command = net.command_in(Side::Traffic, build("generator")?);
    let (source, target) = (net.v4(Side::Traffic).to_string(), net.v4(Side::Pipeline).to_string());
    command.args(["-s", &source, "-t", &target, "-p", &port.to_string()]);
    Ok(command)
}

/// Options that let the generator write whole Ethernet frames, which is its fastest way.
pub fn as_frames(net: &Net) -> [String; 4] {
    let interface = net.interface(Side::Traffic).to_owned();
    ["-i".to_owned(), interface, "-m".to_owned(), net.mac(Side::Pipeline)]
}

/// Waits until no XDP program is attached on the pipeline's side: a link goes shortly after its process.
pub fn wait_detached(net: &Net) {
    wait_until("the XDP program to be detached", || net.attachments(Side::Pipeline).is_empty());
}
