//! What is measured on the pipeline's side, from its start to its end: the bare programs, the echo through the driver's
//! traits, and whole pipelines.

use anyhow::{Context as _, Result, bail, ensure};
use integration_tests::bare::{Bare, PORT, wait_detached};
use integration_tests::netns::{Net, Side};
use integration_tests::pipeline::Pipeline;
use integration_tests::processes::cpu_ns;
use integration_tests::traffic::ELEMENTS;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

/// How a process waits for packets. A pipeline's stages are `adaptive` where the others sleep in `poll`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Spin,
    Poll,
}

impl Wait {
    pub fn name(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Poll => "poll",
        }
    }

    /// `[pipeline] wait`.
    pub fn of_stages(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Poll => "adaptive",
        }
    }
}

/// An echo or a drop that runs.
pub enum Subject {
    /// On the kernel's headers alone.
    Bare(Bare),
    /// This program, with [`crate::echo_port`].
    Port(Child),
}

impl Subject {
    /// Starts `bare_echo` or `bare_drop`.
    pub fn bare(net: &Net, name: &str, wait: Wait, core: usize) -> Result<Self> {
        let options = ["-w", wait.name(), "-c", &core.to_string()];
        Bare::start(net, name, &options).map(Self::Bare).map_err(anyhow::Error::msg)
    }

    /// Starts the echo through the driver's traits.
    pub fn port(net: &Net, wait: Wait, core: usize) -> Result<Self> {
        let mut command = net.command_in(Side::Pipeline, std::env::current_exe()?);
        command.args([crate::ECHO, net.interface(Side::Pipeline), &net.v4(Side::Pipeline).to_string()]);
        command.args([&PORT.to_string(), wait.name(), &core.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start the echo")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut line)?;
        if line.trim() != "ready" {
            bail!("the echo through the driver ended with {}", child.wait()?);
        }
        Ok(Self::Port(child))
    }

    pub fn pid(&self) -> u32 {
        match self {
            Self::Bare(bare) => bare.pid(),
            Self::Port(child) => child.id(),
        }
    }

    /// Ends it, and waits until its program is off the interface.
    pub fn stop(self, net: &Net) -> Result<()> {
        match self {
            Self::Bare(bare) => _ = bare.stop(),
            Self::Port(mut child) => {
                drop(child.stdin.take());
                let status = child.wait()?;
                ensure!(status.success(), "the echo ended with {status}");
            }
        }
        wait_detached(net);
        Ok(())
    }
}

/// Which cores run what.
#[derive(Clone, Debug)]
pub struct Placement {
    pub name: &'static str,
    pub supervisor: usize,
    pub rx_gateway: usize,
    pub preprocess: usize,
    pub infer: usize,
    pub tx: usize,
    pub generator: usize,
    pub wait: Wait,
}

impl Placement {
    /// All of the pipeline on one core, and the generator on another.
    pub fn packed((first, other): (usize, usize)) -> Self {
        Self {
            name: "one-core",
            supervisor: first,
            rx_gateway: first,
            preprocess: first,
            infer: first,
            tx: first,
            generator: other,
            wait: Wait::Poll,
        }
    }

    /// A pipeline with the null engine for one-packet frames, on this driver.
    pub fn pipeline(&self, net: &Net, driver: &str) -> Pipeline {
        let Self { supervisor, rx_gateway, preprocess, infer, tx, .. } = self;
        let mut text = format!(
            "[pipeline]\nprofile = \"small\"\nwait = \"{}\"\ncores = {{ supervisor = {supervisor}, rx_gateway = {rx_gateway}, \
             preprocess = [{preprocess}], infer = [{infer}], tx = {tx} }}\n[arena]\nbuffers = 16384\n[infer]\nengine = \"null\"\n\
             null_input_elements = {ELEMENTS}\nnull_output_elements = {ELEMENTS}\n[post]\nkind = \"tensor\"\n",
            self.wait.of_stages()
        );
        let _ = write!(text, "[ingress]\ndriver = \"{driver}\"\nlisten = \"{}:{PORT}\"\n", net.v4(Side::Pipeline));
        if driver == "af_xdp" {
            // As many packets may wait for a stage that shares its core as fit the UDP socket's 4 MiB.
            let _ = write!(text, "[af_xdp]\ninterface = \"{}\"\nring_size = 8192\n", net.interface(Side::Pipeline));
        }
        let name = format!("bench-xdp-{}-{driver}", net.label());
        Pipeline::start_inside(net, &name, &text, &integration_tests::shipped(), &[])
    }
}

/// Name and process of each stage, and of the supervisor.
pub fn processes(pipeline: &Pipeline) -> Vec<(String, u32)> {
    let status = pipeline.status();
    let stages = status["stages"].as_array().cloned().unwrap_or_default();
    let stage = |s: &Value| Some((s["name"].as_str()?.to_owned(), s["pid"].as_u64()? as u32));
    let supervisor = status["pid"].as_u64().map(|pid| ("supervisor".to_owned(), pid as u32));
    stages.iter().filter_map(stage).chain(supervisor).collect()
}

/// Processor time of each of these, nanoseconds.
pub fn spent_ns(processes: &[(String, u32)]) -> Vec<u64> {
    processes.iter().map(|(_, pid)| cpu_ns(*pid)).collect()
}
