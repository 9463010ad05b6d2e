//! Requests on the control socket: `{"command":"kill","stage":"infer.0","signal":9}`.

use crate::models::ModelAction;
use arena::killpoint::KillPoint;
use serde_json::{Map, Value};
use std::path::PathBuf;

const COMMANDS: &str = "status, ledger, audit, recoveries, restart, kill, drain, resume, stop, reload, acl-reload, model-load, model-rollback, model-shadow, \
     model-unshadow, killpoint";

/// Which stage: `infer.0` one instance, `infer` all of the kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StageName(pub String);

impl StageName {
    /// Whether this name means the instance `name` of `kind`.
    pub(crate) fn means(&self, name: &str, kind: &str) -> bool {
        self.0 == name || self.0 == kind
    }
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Everything about the processes.
    Status,
    /// The frames' ledger.
    Ledger,
    /// Where every buffer is.
    Audit,
    /// The record of deaths.
    Recoveries,
    /// Replaces processes without losing a frame.
    Restart {
        /// Which.
        stage: StageName,
    },
    /// Sends a signal.
    Kill {
        /// To which.
        stage: StageName,
        /// Its number.
        signal: i32,
    },
    /// Takes no new frames, finishes those in flight.
    Drain,
    /// Takes frames again.
    Resume,
    /// Drains and ends.
    Stop,
    /// Applies what can be applied of a changed configuration.
    Reload {
        /// The file.
        config: PathBuf,
    },
    /// Applies the access list of a changed configuration.
    ReloadAccessList {
        /// The file; `None`: the one that the pipeline was started with.
        config: Option<PathBuf>,
    },
    /// Another network in a running one's place, or beside it.
    Model {
        /// The network that runs.
        name: String,
        /// What is to happen.
        action: ModelAction,
    },
    /// Arms a named kill point (test builds).
    KillPoint {
        /// In which.
        stage: StageName,
        /// Which point; `none` disarms.
        point: KillPoint,
    },
}

impl Request {
    /// From a line; the error says what to write.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|e| format!("the request is no JSON: {e}"))?;
        let object = value.as_object().ok_or_else(|| "the request is no JSON object".to_owned())?;
        let stage = || text(object, "stage").map(|s| StageName(s.to_owned()));
        Ok(match text(object, "command")? {
            "status" => Self::Status,
            "ledger" => Self::Ledger,
            "audit" => Self::Audit,
            "recoveries" => Self::Recoveries,
            "drain" => Self::Drain,
            "resume" => Self::Resume,
            "stop" => Self::Stop,
            "restart" => Self::Restart { stage: stage()? },
            "kill" => Self::Kill { stage: stage()?, signal: signal(object)? },
            "reload" => Self::Reload { config: text(object, "config")?.into() },
            "acl-reload" => Self::ReloadAccessList { config: text(object, "config").ok().map(PathBuf::from) },
            "model-load" => {
                let sha256 = text(object, "sha256").unwrap_or_default().to_owned();
                Self::model(object, ModelAction::Load { file: text(object, "file")?.into(), sha256 })?
            }
            "model-rollback" => Self::model(object, ModelAction::Rollback)?,
            "model-shadow" => {
                let percent = percent(object)?;
                Self::model(object, ModelAction::Shadow { file: text(object, "file")?.into(), percent })?
            }
            "model-unshadow" => Self::model(object, ModelAction::Unshadow)?,
            "killpoint" => Self::KillPoint { stage: stage()?, point: point(text(object, "point")?)? },
            other => return Err(format!("{other:?} is no command; write one of {COMMANDS}")),
        })
    }
}

impl Request {
    fn model(object: &Map<String, Value>, action: ModelAction) -> Result<Self, String> {
        Ok(Self::Model { name: text(object, "name")?.to_owned(), action })
    }
}

fn percent(object: &Map<String, Value>) -> Result<u32, String> {
    let number = object.get("percent").map_or(Some(100), Value::as_u64).filter(|n| (1..=100).contains(n));
    number.map(|n| n as u32).ok_or_else(|| "\"percent\" is not a number from 1 to 100".to_owned())
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    object.get(key).and_then(Value::as_str).ok_or_else(|| format!("the request lacks the text {key:?}"))
}

fn signal(object: &Map<String, Value>) -> Result<i32, String> {
    let number = object.get("signal").map_or(Some(9), Value::as_i64);
    let number = number.and_then(|n| i32::try_from(n).ok());
    number.ok_or_else(|| "\"signal\" is no signal's number".to_owned())
}

fn point(name: &str) -> Result<KillPoint, String> {
    if name == KillPoint::None.name() {
        return Ok(KillPoint::None);
    }
    KillPoint::by_name(name).ok_or_else(|| {
        let known: Vec<_> = KillPoint::ALL.iter().map(|k| k.name()).collect();
        format!("{name:?} is no kill point; write \"none\" or one of {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_command_is_understood() {
        for command in COMMANDS.split(", ") {
            let line = format!(
                r#"{{"command":"{command}","stage":"infer.0","name":"a","file":"/a.onnx","signal":15,"config":"/a.toml","point":"claimed-uncommitted"}}"#
            );
            Request::parse(&line).unwrap();
        }
        let stage = StageName("infer.0".to_owned());
        assert_eq!(
            Request::parse(r#"{"command":"kill","stage":"infer.0"}"#),
            Ok(Request::Kill { stage: stage.clone(), signal: 9 })
        );
        assert_eq!(
            Request::parse(r#"{"command":"killpoint","stage":"infer.0","point":"none"}"#),
            Ok(Request::KillPoint { stage, point: KillPoint::None })
        );
    }

    #[test]
    fn names_mean_instances_and_kinds() {
        let (one, all, rx) = (StageName("infer.0".into()), StageName("infer".into()), StageName("rx-gateway".into()));
        assert!(one.means("infer.0", "infer") && !one.means("infer.1", "infer"));
        assert!(all.means("infer.0", "infer") && all.means("infer.1", "infer"));
        assert!(rx.means("rx-gateway", "rx-gateway") && !rx.means("tx", "tx"));
    }

    #[test]
    fn errors_say_what_to_write() {
        let wrong = |line: &str| Request::parse(line).unwrap_err();
        assert!(wrong("status").starts_with("the request is no JSON"));
        assert_eq!(wrong("[]"), "the request is no JSON object");
        assert_eq!(wrong("{}"), "the request lacks the text \"command\"");
        assert!(wrong(r#"{"command":"destroy"}"#).contains("write one of status, ledger"));
        assert_eq!(wrong(r#"{"command":"restart"}"#), "the request lacks the text \"stage\"");
        assert!(wrong(r#"{"command":"kill","stage":"tx","signal":99999999999}"#).contains("no signal"));
        assert!(wrong(r#"{"command":"killpoint","stage":"tx","point":"x"}"#).contains("posted"));
    }

    proptest! {
        #[test]
        fn nothing_panics(line in ".{0,200}") {
            let _ = Request::parse(&line);
        }
    }
}
