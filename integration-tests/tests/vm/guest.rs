//! A pipeline inside the machine, driven with the command line that users have.

use integration_tests::vm::{Machine, RX, TX};
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

/// Software emulation on a busy machine: nothing depends on speed.
pub const PATIENCE: Duration = Duration::from_mins(4);
/// Where stages and supervisor meet in the machine.
const CTL: &str = "\"$BIN/flumeway\" ctl --socket /tmp/control.sock --json";

/// A running pipeline; the machine's end is its end.
pub struct Guest<'a> {
    machine: &'a mut Machine,
}

impl<'a> Guest<'a> {
    /// Starts it, until all stages are at work: their ports have started. `supervisor`: further lines of `[supervisor]`.
    pub fn start(machine: &'a mut Machine, config: &str, supervisor: &str) -> Self {
        let own = "[supervisor]\ncontrol_socket = \"/tmp/control.sock\"\nquarantine_dir = \"/tmp/quarantine\"\n\
                   heartbeat_timeout_ms = 60000\n";
        fs::write(machine.share().join("pipeline.toml"), format!("{config}{own}{supervisor}"))
            .expect("write the configuration");
        machine.must(
            "rm -f /tmp/control.sock \"$SHARE/ended\"
             { status=0
               \"$BIN/flumeway\" run --json \"$SHARE/pipeline.toml\" >\"$SHARE/run.json\" 2>\"$SHARE/run.log\" || status=$?
               echo $status >\"$SHARE/ended\"
             } >/dev/null 2>&1 &",
        );
        let mut guest = Self { machine };
        guest.wait("all stages to be at work", |guest| {
            assert_eq!(guest.machine.written("ended"), "", "flumeway ended:\n{}", guest.log());
            let status = guest.try_ask("status").unwrap_or_default();
            let stages = status["stages"].as_array().cloned().unwrap_or_default();
            !stages.is_empty() && stages.iter().all(|s| s["state"] == "active" && s["at_work"] == true)
        });
        guest
    }

    /// Waits until `done` says so.
    pub fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < until, "waited in vain: {what}; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the processes wrote to standard error.
    pub fn log(&self) -> String {
        self.machine.written("run.log")
    }

    fn try_ask(&mut self, what: &str) -> Option<Value> {
        let outcome = self.machine.run(&format!("{CTL} {what}"));
        serde_json::from_str(outcome.text.lines().last()?).ok()
    }

    /// One request on the control socket, which must be granted.
    pub fn ask(&mut self, what: &str) -> Value {
        let answer = self.try_ask(what).unwrap_or_default();
        assert!(answer.is_object(), "no answer to {what}; log:\n{}", self.log());
        answer
    }

    /// `check` of another pipeline on the same devices is refused with these words, and this one serves on.
    pub fn refuses_another(&mut self, config: &str, words: &[&str]) {
        fs::write(self.machine.share().join("another.toml"), config).expect("write the configuration");
        let before = self.ask("status")["stages"].clone();
        let outcome = self.machine.run("\"$BIN/flumeway\" check \"$SHARE/another.toml\"");
        assert_eq!(outcome.status, 3, "{}", outcome.text);
        assert!(words.iter().all(|word| outcome.text.contains(word)), "{words:?} in {}", outcome.text);
        let pids = |stages: &Value| -> Vec<Value> {
            stages.as_array().into_iter().flatten().map(|stage| stage["pid"].clone()).collect()
        };
        assert_eq!(pids(&self.ask("status")["stages"]), pids(&before), "no stage has died of it");
    }

    /// One stage's entry in the status.
    pub fn stage(&mut self, name: &str) -> Value {
        let status = self.ask("status");
        let found = status["stages"].as_array().and_then(|s| s.iter().find(|s| s["name"] == name).cloned());
        found.unwrap_or_else(|| panic!("no stage {name} in {status}"))
    }

    /// What the kernel says of a stage's process.
    pub fn process(&mut self, stage: &str) -> String {
        let pid = self.stage(stage)["pid"].clone();
        self.machine.must(&format!("cat /proc/{pid}/status"))
    }

    /// A counter of a stage.
    pub fn counter(&mut self, stage: &str, counter: &str) -> u64 {
        let entry = self.stage(stage);
        entry["counters"][counter].as_u64().unwrap_or_else(|| panic!("no counter {counter} in {entry}"))
    }

    /// SIGKILL for the stage that has this device, which must be without DMA and in nobody's hands when the death can be seen;
    /// then waits until the successor's port has started.
    pub fn kill_9(&mut self, stage: &str, device: &str) {
        let entry = self.stage(stage);
        let (pid, before) = (&entry["pid"], entry["incarnation"].as_u64().expect("an incarnation"));
        let told = self.machine.must(&format!("\"$BIN/pci-release\" kill {pid} {device}"));
        let findings: Value = serde_json::from_str(told.trim()).unwrap_or_else(|e| panic!("{told}: {e}"));
        assert_eq!((&findings["cases"], &findings["released"]), (&1.into(), &1.into()), "{findings}");
        self.wait_back(stage, before);
    }

    /// A fresh process takes over by order, and its port has started.
    pub fn restart(&mut self, stage: &str) {
        let before = self.stage(stage)["incarnation"].as_u64().expect("an incarnation");
        let answer = self.ask(&format!("restart {stage}"));
        assert_eq!(answer["restarted"].as_array().map(Vec::len), Some(1), "{answer}; log:\n{}", self.log());
        self.wait_back(stage, before);
    }

    fn wait_back(&mut self, stage: &str, before: u64) {
        self.wait(&format!("{stage} to be at work again"), |guest| {
            let entry = guest.stage(stage);
            let is_newer = entry["incarnation"].as_u64().is_some_and(|now| now > before);
            entry["state"] == "active" && entry["at_work"] == true && is_newer
        });
    }

    /// Waits until nothing is in flight and all buffers are home; the ledger, which balances.
    pub fn whole(&mut self) -> Value {
        let mut ledger = Value::Null;
        self.wait("everything to come home", |guest| {
            ledger = guest.ask("ledger");
            let audit = &ledger["audit"];
            let n = |key: &str| audit[key].as_u64().unwrap_or(0);
            ledger["in_flight"] == 0
                && ledger["settled"] == true
                && ledger["balanced"] == true
                && audit["sound"] == true
                && audit["assembling"] == 0
                && n("free") + n("with_device") == n("buffers")
                && audit["slots_free"] == audit["slots"]
        });
        ledger
    }

    /// Stops it in order; neither device may do DMA afterwards.
    pub fn stop(mut self) {
        self.ask("stop");
        self.wait("flumeway to end", |guest| !guest.machine.written("ended").is_empty());
        assert_eq!(self.machine.written("ended").trim(), "0", "{}", self.log());
        for device in [RX, TX] {
            let command = self.machine.must(&format!("od -An -tu1 -j4 -N1 /sys/bus/pci/devices/{device}/config"));
            let command: u8 = command.trim().parse().expect("a byte");
            assert_eq!(command & 4, 0, "{device} may still do DMA after the end");
        }
    }
}
