//! A pipeline of real processes, in a folder of its own, that is gone after the test whatever happens.

use crate::netns::{Net, Side};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Generous: nothing depends on speed.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A running pipeline.
#[derive(Debug)]
pub struct Pipeline {
    dir: PathBuf,
    child: Option<Child>,
    listen: SocketAddr,
}

/// Waits until `done` says so, within generous limits.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A fresh folder for one test.
pub fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("flumeway-test-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a temporary folder");
    dir
}

impl Pipeline {
    /// Starts the shipped binaries with this configuration; control socket, port, and quarantine folder are added.
    pub fn start(name: &str, config: &str) -> Self {
        Self::start_with(name, config, &crate::shipped(), &[])
    }

    /// Starts stage binaries from `stages`, with these environment variables.
    pub fn start_with(name: &str, config: &str, stages: &Path, env: &[(&str, &str)]) -> Self {
        let mut flumeway = Command::new(crate::shipped().join("flumeway"));
        flumeway.envs(env.iter().copied());
        Self::launch(flumeway, name, config, stages)
    }

    /// The same in the pipeline's namespace. Drop it before `net`.
    pub fn start_inside(net: &Net, name: &str, config: &str, stages: &Path, env: &[(&str, &str)]) -> Self {
        let mut flumeway = net.flumeway(Side::Pipeline, &[]);
        flumeway.envs(env.iter().copied());
        Self::launch(flumeway, name, config, stages)
    }

    /// `flumeway` is the command line without arguments, wherever it is to run.
    fn launch(mut flumeway: Command, name: &str, config: &str, stages: &Path) -> Self {
        let dir = folder(name);
        let text = complete(config, &dir, stages);
        let path = dir.join("pipeline.toml");
        std::fs::write(&path, &text).expect("write the configuration");
        let log = std::fs::File::create(dir.join("log")).expect("create the log");
        let child = flumeway
            .args(["run", "--json"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("start flumeway");
        let mut pipeline = Self { dir, child: Some(child), listen: ([127, 0, 0, 1], 0).into() };
        let mut status = Value::Null;
        wait_until(&format!("the pipeline to run; its log:\n{}", pipeline.log()), || {
            if let Some(code) = pipeline.child.as_mut().and_then(|c| c.try_wait().ok().flatten()) {
                panic!("flumeway ended with {code}:\n{}\nconfiguration:\n{text}", pipeline.log());
            }
            status = pipeline.try_ask(&json!({"command": "status"})).unwrap_or_default();
            all_active(&status)
        });
        pipeline.listen = status["listen"].as_str().and_then(|l| l.parse().ok()).expect("the listen address");
        pipeline
    }

    /// Where to send frames.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The test's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the processes wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn try_ask(&self, request: &Value) -> Option<Value> {
        let mut socket = UnixStream::connect(self.dir.join("control.sock")).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).ok()?;
        socket.write_all(format!("{request}\n").as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// One request on the control socket, which must answer.
    pub fn ask(&self, request: &Value) -> Value {
        self.try_ask(request).unwrap_or_else(|| panic!("no answer to {request}; log:\n{}", self.log()))
    }

    /// One request that must succeed.
    pub fn order(&self, request: &Value) -> Value {
        let answer = self.ask(request);
        assert_eq!(answer["ok"], true, "{request}: {answer}");
        answer
    }

    /// The status.
    pub fn status(&self) -> Value {
        self.order(&json!({"command": "status"}))
    }

    /// The ledger.
    pub fn ledger(&self) -> Value {
        self.order(&json!({"command": "ledger"}))
    }

    /// One stage's entry in the status.
    pub fn stage(&self, name: &str) -> Value {
        let status = self.status();
        let found = status["stages"].as_array().and_then(|s| s.iter().find(|s| s["name"] == name).cloned());
        found.unwrap_or_else(|| panic!("no stage {name} in {status}"))
    }

    /// A counter of a stage.
    pub fn counter(&self, stage: &str, counter: &str) -> u64 {
        let entry = self.stage(stage);
        entry["counters"][counter].as_u64().unwrap_or_else(|| panic!("no counter {counter} in {entry}"))
    }

    /// Process id of a stage.
    pub fn pid(&self, stage: &str) -> u32 {
        self.stage(stage)["pid"].as_u64().expect("a pid") as u32
    }

    /// Process ids of supervisor and stages.
    pub fn pids(&self) -> Vec<u32> {
        let status = self.status();
        let stages = status["stages"].as_array().cloned().unwrap_or_default();
        let all = stages.iter().map(|s| &s["pid"]).chain([&status["pid"]]);
        all.filter_map(Value::as_u64).map(|p| p as u32).collect()
    }

    /// SIGKILL from outside, as anybody could send it.
    pub fn kill_9(&self, stage: &str) {
        let pid = rustix::process::Pid::from_raw(self.pid(stage) as i32).expect("a pid");
        // The process may be dying already; then this kill is one of nobody.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }

    /// Waits until a stage is active with an incarnation greater than `after`.
    pub fn wait_incarnation(&self, stage: &str, after: u64) {
        wait_until(&format!("{stage} to be active again"), || {
            let s = self.stage(stage);
            s["state"] == "active" && s["incarnation"].as_u64().unwrap_or(0) > after
        });
    }

    /// Waits until no frame is in flight, and returns the ledger.
    pub fn settle(&self) -> Value {
        let mut ledger = Value::Null;
        wait_until("all frames to be finished", || {
            ledger = self.ledger();
            ledger["in_flight"] == 0 && ledger["audit"]["assembling"] == 0 && ledger["settled"] == true
        });
        ledger
    }

    /// Asserts that the ledger balances by count and that nothing leaked, with nothing in flight.
    pub fn assert_whole(&self) -> Value {
        let mut ledger = self.settle();
        let whole = |l: &Value| {
            let a = &l["audit"];
            let n = |key: &str| a[key].as_u64().unwrap_or(0);
            // What a device has to receive into is free as well.
            n("free") + n("with_device") == n("buffers")
                && a["slots_free"] == a["slots"]
                && a["sound"] == true
                && l["balanced"] == true
        };
        // A stage that has just come back may still be putting slots into their ring.
        wait_until(&format!("buffers and slots to come home: {ledger}"), || {
            ledger = self.ledger();
            whole(&ledger)
        });
        let finished: u64 = ["dropped", "bad_request"]
            .iter()
            .flat_map(|k| ledger[*k].as_object().cloned().unwrap_or_default().into_values())
            .filter_map(|v| v.as_u64())
            .sum();
        let n = |k: &str| ledger[k].as_u64().unwrap_or(u64::MAX);
        assert_eq!(n("received"), n("answered") + n("quarantined") + finished, "{ledger}");
        ledger
    }

    /// Stops the pipeline in order; returns (exit code, its last line of JSON).
    pub fn stop(mut self) -> (i32, Value) {
        self.order(&json!({"command": "stop"}));
        let child = self.child.take().expect("a child");
        let out = child.wait_with_output().expect("wait for flumeway");
        let last = String::from_utf8_lossy(&out.stdout).lines().last().unwrap_or_default().to_owned();
        (out.status.code().unwrap_or(-1), serde_json::from_str(&last).unwrap_or_default())
    }
}

fn all_active(status: &Value) -> bool {
    status["stages"].as_array().is_some_and(|s| !s.is_empty() && s.iter().all(|s| s["state"] == "active"))
}

/// Adds what a test's pipeline needs of its own.
fn complete(config: &str, dir: &Path, stages: &Path) -> String {
    let mut text = String::new();
    let mut seen = (false, false);
    for line in config.lines() {
        text.push_str(line);
        text.push('\n');
        match line.trim() {
            "[supervisor]" => {
                seen.0 = true;
                text.push_str(&supervisor_keys(dir, stages));
            }
            "[ingress]" => {
                seen.1 = true;
                if !config.contains("listen") {
                    text.push_str("listen = \"127.0.0.1:0\"\n");
                }
            }
            _ => {}
        }
    }
    if !seen.0 {
        text.push_str("[supervisor]\n");
        text.push_str(&supervisor_keys(dir, stages));
    }
    if !seen.1 {
        text.push_str("[ingress]\nlisten = \"127.0.0.1:0\"\n");
    }
    text
}

fn supervisor_keys(dir: &Path, stages: &Path) -> String {
    let dir = dir.display();
    format!(
        "control_socket = \"{dir}/control.sock\"\nquarantine_dir = \"{dir}/quarantine\"\nbin_dir = \"{}\"\n",
        stages.display()
    )
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pids = if std::thread::panicking() {
                eprintln!("--- log of the pipeline ---\n{}", self.log());
                let status = self.try_ask(&json!({"command": "status"}));
                let ledger = self.try_ask(&json!({"command": "ledger"}));
                eprintln!("--- its status ---\n{status:?}\n--- its ledger ---\n{ledger:?}");
                status
            } else {
                None
            };
            let _ = self.try_ask(&json!({"command": "stop"}));
            let until = Instant::now() + Duration::from_secs(10);
            while Instant::now() < until && child.try_wait().ok().flatten().is_none() {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
            for stage in pids.iter().flat_map(|s| s["stages"].as_array().cloned().unwrap_or_default()) {
                let pid = stage["pid"].as_i64().and_then(|p| rustix::process::Pid::from_raw(p as i32));
                if let Some(pid) = pid {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
