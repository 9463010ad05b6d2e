//! The proofs as programs: how each is built with bugs that can be planted, and how it is run.

use integration_tests::{root, target};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A run that takes longer has hung, which counts as a failure.
const LIMIT: Duration = Duration::from_mins(3);

/// One way to prove, as the table's columns name it.
pub struct Spec {
    pub name: &'static str,
    /// Needs real cores that nobody else uses.
    pub alone: bool,
    flags: &'static str,
    build: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    /// Program that runs the test, with its arguments.
    under: &'static [&'static str],
    args: &'static [&'static str],
}

const THREADS: &[&str] = &["--release", "--features", "seeded-bugs,simulated-death", "--test", "proof"];
const MODELS: &[&str] = &["--release", "--features", "seeded-bugs", "--test", "proof"];

/// In the order of the table's columns.
pub const TOOLS: &[Spec] = &[
    Spec {
        name: "threads",
        alone: true,
        flags: "",
        build: THREADS,
        env: &[("FLUMEWAY_PROOF_RUNS", "100")],
        under: &[],
        args: &["--fail-fast"],
    },
    Spec {
        name: "loom",
        alone: false,
        flags: "--cfg loom",
        build: MODELS,
        env: &[("LOOM_MAX_PREEMPTIONS", "4")],
        under: &[],
        args: &["--fail-fast"],
    },
    Spec {
        name: "shuttle",
        alone: false,
        flags: "--cfg shuttle",
        build: MODELS,
        env: &[],
        under: &[],
        args: &["--fail-fast"],
    },
    Spec {
        name: "ASan",
        alone: false,
        flags: "-Zsanitizer=address",
        build: &[
            "--target",
            "x86_64-unknown-linux-gnu",
            "--features",
            "seeded-bugs,simulated-death",
            "--test",
            "proof",
        ],
        env: &[("FLUMEWAY_PROOF_RUNS", "5")],
        under: &[],
        args: &["--fail-fast"],
    },
    Spec {
        name: "valgrind",
        alone: false,
        flags: "",
        build: THREADS,
        env: &[("FLUMEWAY_PROOF_RUNS", "2")],
        under: &["valgrind", "-q", "--error-exitcode=9", "--fair-sched=yes"],
        args: &["--fail-fast"],
    },
    Spec {
        name: "kill-step",
        alone: false,
        flags: "",
        build: &["--release", "--features", "seeded-bugs", "--test", "kill_step"],
        env: &[("KILLSTEP_BUDGET_S", "0")],
        under: &[],
        args: &[],
    },
    Spec {
        name: "soak",
        alone: true,
        flags: "",
        build: &["--release", "--features", "seeded-bugs", "--test", "soak"],
        env: &[("SECONDS", "3")],
        under: &[],
        args: &[],
    },
];

/// A tool that is built.
pub struct Tool {
    spec: &'static Spec,
    program: String,
}

/// What a run showed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The tool found something.
    pub caught: bool,
    pub seconds: f64,
    /// Its last words.
    pub told: String,
}

impl Spec {
    /// Builds the test and finds its executable.
    pub fn build(&'static self) -> Result<Tool, String> {
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        cargo
            .current_dir(root())
            .args(["test", "--quiet", "-p", "arena", "--no-run", "--message-format=json"])
            .args(self.build);
        // The address sanitizer's flag is unstable; the stable compiler carries its runtime.
        cargo.env("RUSTFLAGS", self.flags).env("RUSTC_BOOTSTRAP", if self.flags.starts_with("-Z") { "1" } else { "0" });
        let output = cargo.stderr(Stdio::inherit()).output().map_err(|e| format!("cargo: {e}"))?;
        if !output.status.success() {
            return Err(format!("the build failed: {}", output.status));
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let executable = |line: &str| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            message["executable"].as_str().map(str::to_owned)
        };
        let program = messages.lines().filter_map(executable).next_back().ok_or("cargo named no executable")?;
        Ok(Tool { spec: self, program })
    }
}

impl Tool {
    /// Runs the proof with `bug` planted.
    pub fn run(&self, bug: Option<&str>) -> Outcome {
        let begin = Instant::now();
        let mut line =
            self.spec.under.iter().copied().chain([self.program.as_str()]).chain(self.spec.args.iter().copied());
        let mut command = Command::new(line.next().unwrap_or_default());
        command.args(line).envs(self.spec.env.iter().copied()).env("RUST_BACKTRACE", "0");
        command.env("FLUMEWAY_SEEDED_BUG", bug.unwrap_or_default()).current_dir(root());
        let log = target().join(format!("seeded-bugs/{}-{}.log", self.spec.name, bug.unwrap_or("none")));
        let (caught, told) = match succeeds(command, &log) {
            Ok(success) => (!success, last_line(&log)),
            Err(error) => (true, format!("cannot run: {error}")),
        };
        Outcome { caught, seconds: begin.elapsed().as_secs_f64(), told: format!("{told} ({})", log.display()) }
    }
}

/// Runs the command with its output in `log`; what it has started ends with it. False too if it takes too long.
fn succeeds(mut command: Command, log: &Path) -> std::io::Result<bool> {
    std::fs::create_dir_all(log.parent().unwrap_or(log))?;
    let file = File::create(log)?;
    let mut child = command.process_group(0).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
    let begin = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if begin.elapsed() > LIMIT => break None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    // Tests fork: none of their processes may stay.
    if let Some(group) = Pid::from_raw(child.id() as i32) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait()?;
    Ok(status.is_some_and(|s| s.success()))
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().last().unwrap_or_default().to_owned()
}
