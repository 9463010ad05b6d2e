//! The control socket's commands.

use crate::control::{Request, StageName};
use crate::orders::{Order, Restart, Wait};
use crate::report::{audit_json, error, ledger_json, ok, status_json};
use crate::start::Supervisor;
use crate::stop::Mode;
use arena::killpoint::KillPoint;
use arena::sync::Ordering;
use rustix::process::Signal;
use serde_json::{Value, json};

impl Supervisor {
    /// Answers a request line, now or when it is done.
    pub(crate) fn on_request(&mut self, client: u64, line: &str, now_ns: u64) {
        let answer = match Request::parse(line) {
            Err(text) => Some(error(text, false)),
            Ok(request) => self.serve(client, request, now_ns),
        };
        if let Some(answer) = answer {
            self.control.answer(client, &answer);
        }
    }

    fn serve(&mut self, client: u64, request: Request, now_ns: u64) -> Option<Value> {
        Some(match request {
            Request::Status => status_json(self),
            Request::Ledger => ledger_json(&self.holdings.arena),
            Request::Audit => ok(audit_json(&self.holdings.arena)),
            Request::Recoveries => ok(self.records.to_json()),
            Request::Kill { stage, signal } => self.kill(&stage, signal),
            Request::KillPoint { stage, point } => self.arm(&stage, point),
            Request::Reload { config } => self.reload(&config, now_ns),
            Request::ReloadAccessList { config } => self.reload_access_list(config.as_deref(), now_ns),
            Request::Restart { stage } => match self.select(&stage) {
                Err(answer) => answer,
                Ok(units) => {
                    let restart = Restart { queue: units.into(), current: None, done: Vec::new(), began_ns: now_ns };
                    return self.defer(client, Wait::Restarted(restart));
                }
            },
            Request::Model { name, action } => return self.order_model(client, &name, action, now_ns),
            Request::Drain | Request::Resume if self.mode.will_stop() => error("the pipeline stops", false),
            Request::Drain => {
                if self.mode != Mode::Drained {
                    self.begin_drain(false, now_ns);
                }
                let deadline_ns = now_ns + u64::from(self.pipeline.supervisor.drain_ms) * 1_000_000;
                return self.defer(client, Wait::Drained { deadline_ns });
            }
            Request::Resume => {
                self.resume();
                ok(json!({ "state": self.mode.name() }))
            }
            Request::Stop => {
                // A second request waits for the same end; only a second signal hurries it.
                if !self.mode.will_stop() {
                    self.stop(now_ns);
                }
                return self.defer(client, Wait::Stopped);
            }
        })
    }

    fn defer(&mut self, client: u64, wait: Wait) -> Option<Value> {
        self.orders.push(Order { client, wait });
        None
    }

    /// Units that a name means: one instance, or all of a kind.
    fn select(&self, stage: &StageName) -> Result<Vec<usize>, Value> {
        let units = self.units.iter().enumerate();
        let picked: Vec<usize> =
            units.filter(|(_, u)| stage.means(&u.name(), u.kind().name())).map(|(n, _)| n).collect();
        if picked.is_empty() {
            let known: Vec<String> = self.units.iter().map(crate::instance::Unit::name).collect();
            return Err(error(format!("there is no stage {:?}; write one of {}", stage.0, known.join(", ")), false));
        }
        Ok(picked)
    }

    fn kill(&mut self, stage: &StageName, signal: i32) -> Value {
        let units = match self.select(stage) {
            Ok(units) => units,
            Err(answer) => return answer,
        };
        let Some(signal) = Signal::from_named_raw(signal) else {
            return error(format!("{signal} is no signal; write a number from 1 to 31"), false);
        };
        let mut killed = Vec::new();
        for n in units {
            let unit = &self.units[n];
            if let Some(process) = &unit.process {
                process.signal(signal);
                killed.push(json!({ "stage": unit.name(), "pid": process.pid, "incarnation": unit.incarnation }));
            }
        }
        if killed.is_empty() {
            return error(format!("{} has no process at the moment", stage.0), true);
        }
        ok(json!({ "killed": killed, "signal": crate::death::signal_name(signal.as_raw()) }))
    }

    fn arm(&mut self, stage: &StageName, point: KillPoint) -> Value {
        let units = match self.select(stage) {
            Ok(units) => units,
            Err(answer) => return answer,
        };
        for n in &units {
            let id = self.units[*n].id;
            self.units[*n].armed = point as u32;
            if let (Some(word), Some(page)) = (self.holdings.arena.control_word(id), self.holdings.arena.page(id)) {
                page.kill_point_hit.store(0, Ordering::Release);
                word.kill_point_armed.store(point as u32, Ordering::Release);
            }
        }
        ok(json!({ "armed": point.name(), "stages": units.len() }))
    }
}
