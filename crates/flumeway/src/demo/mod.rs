//! The demonstration: a pipeline of real processes, frames over UDP on loopback, and a SIGKILL halfway.
//!
//! [`run`] starts supervisor and stages with a configuration of its own in a temporary folder, streams the bundled frames,
//! kills infer from outside in the middle, waits for every answer, drains, stops, and gives the account.

mod account;
mod pipeline;

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub use account::{Account, Stage};
use pipeline::RunningPipeline;

use crate::client::{self, Observer, SendPlan};
use crate::control::Control;
use crate::failure::Failure;
use crate::models::Roadside;

/// Answers of the control socket are prompt.
const PROMPT: Duration = Duration::from_secs(10);
/// Loading the network takes a fraction of a second; a busy machine gets a hundred times that.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked whether the stages are up.
const LOOK: Duration = Duration::from_millis(20);
/// A restart takes a fraction of a second; its frames are waited for much longer before they count as lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A frame's datagrams go out in a tenth of the frame interval, as from a camera with a faster link than it needs.
const SPREAD_PERCENT: f64 = 10.0;
/// The stage that is killed.
const VICTIM: &str = "infer.0";

/// What to demonstrate.
#[derive(Debug, Clone, Copy)]
pub struct Demo {
    /// Frames to send.
    pub frames: u64,
    /// Frames per second.
    pub rate_fps: f64,
}

/// Who wants to know how it goes.
pub trait Watcher {
    /// The stages are up; frames go to this address.
    fn on_start(&mut self, listen: std::net::SocketAddr);
    /// So many frames are sent.
    fn on_sent(&mut self, sent: u64);
    /// The stage was killed after this frame.
    fn on_kill(&mut self, stage: &str, pid: i32, after_frame: u64);
}

/// Runs the demonstration.
pub fn run(demo: Demo, roadside: &Roadside, watcher: &mut dyn Watcher) -> Result<Account, Failure> {
    let pipeline = RunningPipeline::start(roadside)?;
    let mut control = Control::connect(pipeline.control_socket())?;
    let victim = wait_until_up(&mut control)?;
    watcher.on_start(pipeline.listen());
    let plan = SendPlan {
        count: demo.frames,
        rate_fps: demo.rate_fps,
        spread_percent: SPREAD_PERCENT,
        timeout: ANSWER_LIMIT,
        ..SendPlan::new(pipeline.listen(), roadside.frames.clone())
    };
    let mut killer = Killer { watcher, victim, after_frame: (demo.frames / 2).max(1), failure: None };
    let report = client::run(&plan, &mut killer)?;
    if let Some(failure) = killer.failure {
        return Err(failure);
    }
    wait_until_recovered(&mut control)?;
    control.command("drain", ANSWER_LIMIT)?;
    let exit = pipeline.stop()?;
    Ok(Account::new(&report, &exit))
}

/// Waits until every stage is active and alive, and gives back the process id of the one to be killed.
fn wait_until_up(control: &mut Control) -> Result<Pid, Failure> {
    let end = Instant::now() + START_LIMIT;
    loop {
        let status = control.command("status", PROMPT)?;
        let stages = status["stages"].as_array().map_or(&[][..], Vec::as_slice);
        if !stages.is_empty() && stages.iter().all(|stage| stage["state"] == "active") {
            let victim = stages.iter().find(|stage| stage["name"] == VICTIM);
            let pid = victim.and_then(|stage| stage["pid"].as_i64()).and_then(|pid| Pid::from_raw(pid as i32));
            return pid.ok_or_else(|| Failure::verdict(format!("stage {VICTIM} has no process")));
        }
        if let Some(reason) = stages.iter().find_map(|stage| stage["parked_reason"].as_str()) {
            return Err(Failure::environment(format!("a stage does not start: {reason}")));
        }
        if Instant::now() > end {
            let limit = START_LIMIT.as_secs();
            return Err(Failure::environment(format!("the stages are not up after {limit} s; run with --log info")));
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits until the recovery is on record as done. The answers show it already; the record's time is filled in a little later.
fn wait_until_recovered(control: &mut Control) -> Result<(), Failure> {
    let end = Instant::now() + PROMPT;
    while Instant::now() < end {
        let recoveries = control.command("recoveries", PROMPT)?;
        let done = |recovery: &Value| recovery["recovery_ms"].is_number();
        if recoveries["recoveries"].as_array().is_some_and(|list| !list.is_empty() && list.iter().all(done)) {
            break;
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Kills the stage from outside when half of the frames are sent.
struct Killer<'w> {
    watcher: &'w mut dyn Watcher,
    victim: Pid,
    after_frame: u64,
    failure: Option<Failure>,
}

impl Observer for Killer<'_> {
    fn on_sent(&mut self, sent: u64) {
        if sent == self.after_frame {
            if let Err(error) = kill_process(self.victim, Signal::KILL) {
                let pid = self.victim.as_raw_nonzero();
                self.failure =
                    Some(Failure::environment(format!("{VICTIM} (process {pid}) cannot be killed: {error}")));
            }
            self.watcher.on_kill(VICTIM, self.victim.as_raw_nonzero().get(), sent);
        }
        self.watcher.on_sent(sent);
    }

    fn wants_stop(&mut self) -> bool {
        self.failure.is_some()
    }
}
