//! `flumeway ctl`: talks to a running pipeline.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use flumeway::control::Control;
use flumeway::failure::{ExitStatus, Failure};
use serde_json::{Value, json};

use super::ctl_text;
use crate::output;

/// For answers that the supervisor gives at once.
const PROMPT: Duration = Duration::from_secs(10);
/// For those that it gives when the work is done; `drain_ms` may be minutes.
const DONE: Duration = Duration::from_secs(1_300);

const LONG_ABOUT: &str = "\
Talk to a running pipeline through its control socket: look at it, restart or kill stages, stop it, change its \
configuration. The socket is that of the pipeline called `flumeway`, unless --name or --socket says otherwise.";

const EXAMPLES: &str = "\
Examples:
  flumeway ctl status
  flumeway ctl ledger --json
  flumeway ctl restart infer            replace the running processes, without losing a frame
  flumeway ctl kill preprocess.0 --signal KILL
  flumeway ctl reload pipeline.toml     streams, policies and deadlines, without a gap
  flumeway ctl acl reload pipeline.toml     its [[ingress.acl]] alone, without a gap
  flumeway ctl model load default net-2.onnx     another network, between two frames
  flumeway ctl model rollback default
  flumeway ctl --name camera-7 stop

A stage is named as in `status` (infer.0), or by its kind (infer), which means all of that kind.";

/// Talk to a running pipeline.
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The pipeline's control socket
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "name")]
    socket: Option<PathBuf>,
    /// The pipeline's name, [pipeline] name in its configuration
    #[arg(long, global = true, value_name = "NAME", default_value = "flumeway")]
    name: String,
    /// Print the answer as one line of JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Stages, rings, latencies
    Status,
    /// What became of every frame and packet, and whether the ledger balances
    Ledger,
    /// Where every buffer and slot is, and whether each is in exactly one place
    Audit,
    /// The deaths that were recovered from, and how long each recovery took
    Recoveries,
    /// Replace a stage's processes, without losing a frame
    Restart {
        /// As in `status`, or a kind
        stage: String,
    },
    /// Send a signal to a stage
    Kill {
        /// As in `status`, or a kind
        stage: String,
        /// Name or number
        #[arg(long, value_name = "SIGNAL", default_value = "KILL", value_parser = parse_signal)]
        signal: i32,
    },
    /// Finish what is under way and take nothing new
    Drain,
    /// Take frames again after `drain`
    Resume,
    /// Drain, then end the pipeline
    Stop,
    /// Apply what a changed configuration changes, and name what needs a restart
    Reload {
        /// The changed pipeline.toml
        config: PathBuf,
    },
    /// The access list: its rules and their hits, or another list
    #[command(subcommand)]
    Acl(AclOrder),
    /// The networks: what runs, and another one in its place
    #[command(subcommand)]
    Model(ModelOrder),
    /// Stop a stage at a named point of its protocol (for builds that have kill points)
    Killpoint {
        /// As in `status`
        stage: String,
        /// Name of the point; `none` disarms
        point: String,
    },
}

#[derive(Debug, Subcommand)]
enum AclOrder {
    /// Rules in their order, and how many packets each decided
    Show,
    /// Put the access list of a changed configuration in place, without a gap, and change nothing else
    Reload {
        /// The changed pipeline.toml [default: the file that the pipeline was started with]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum ModelOrder {
    /// Each network with its file, engine and checksum, and what is tried beside it
    List,
    /// Load another file beside the running network, check it, and switch between two frames
    Load {
        /// As in `list`; `default` is the one of [infer]
        name: String,
        /// The network's file, with the same tensors
        file: PathBuf,
        /// The checksum that the file must have
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
    },
    /// Put the file before the last load in place again
    Rollback {
        /// As in `list`
        name: String,
    },
    /// Try another file on a share of the frames and count how often its answers differ; nobody is answered by it
    Shadow {
        /// As in `list`
        name: String,
        /// The network's file, with the same tensors
        #[arg(required_unless_present = "off", conflicts_with = "off")]
        file: Option<PathBuf>,
        /// Of a hundred frames, how many it gets too
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
        percent: u32,
        /// Try nothing any more
        #[arg(long)]
        off: bool,
    },
}

pub(crate) fn execute(args: &Args) -> Result<ExitStatus, Failure> {
    let (request, timeout) = request(&args.order)?;
    let path = args.socket.clone().unwrap_or_else(|| config::default_control_socket(&args.name));
    let answer = Control::connect(&path)?.request(&request, timeout)?;
    if args.json {
        output::line(&answer);
    } else {
        output::line(text(&args.order, &answer));
    }
    Ok(verdict(&args.order, &answer))
}

fn request(order: &Order) -> Result<(Value, Duration), Failure> {
    Ok(match order {
        Order::Status | Order::Acl(AclOrder::Show) | Order::Model(ModelOrder::List) => {
            (json!({"command": "status"}), PROMPT)
        }
        Order::Ledger => (json!({"command": "ledger"}), PROMPT),
        Order::Audit => (json!({"command": "audit"}), PROMPT),
        Order::Recoveries => (json!({"command": "recoveries"}), PROMPT),
        Order::Restart { stage } => (json!({"command": "restart", "stage": stage}), DONE),
        Order::Kill { stage, signal } => (json!({"command": "kill", "stage": stage, "signal": signal}), PROMPT),
        Order::Drain => (json!({"command": "drain"}), DONE),
        Order::Resume => (json!({"command": "resume"}), PROMPT),
        Order::Stop => (json!({"command": "stop"}), DONE),
        Order::Reload { config } => (json!({"command": "reload", "config": readable(config)?}), PROMPT),
        Order::Acl(AclOrder::Reload { config }) => {
            let config = config.as_deref().map(readable).transpose()?;
            (json!({"command": "acl-reload", "config": config}), PROMPT)
        }
        Order::Model(order) => model_request(order)?,
        Order::Killpoint { stage, point } => (json!({"command": "killpoint", "stage": stage, "point": point}), PROMPT),
    })
}

fn model_request(order: &ModelOrder) -> Result<(Value, Duration), Failure> {
    let request = match order {
        ModelOrder::List => json!({"command": "status"}),
        ModelOrder::Load { name, file, sha256 } => {
            json!({"command": "model-load", "name": name, "file": absolute(file)?, "sha256": sha256})
        }
        ModelOrder::Rollback { name } => json!({"command": "model-rollback", "name": name}),
        ModelOrder::Shadow { name, file: Some(file), percent, .. } => {
            json!({"command": "model-shadow", "name": name, "file": absolute(file)?, "percent": percent})
        }
        ModelOrder::Shadow { name, file: None, .. } => json!({"command": "model-unshadow", "name": name}),
    };
    Ok((request, DONE))
}

/// The absolute path of a file that can be read.
fn absolute(file: &Path) -> Result<String, Failure> {
    std::fs::File::open(file).map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))?;
    let path = std::path::absolute(file).map_err(Failure::usage)?;
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::usage(format!("{} is not UTF-8; rename the file", path.display())))
}

/// The absolute path of a configuration that can be read. Read here first: mistakes are shown with their line, and the
/// supervisor is not bothered with them.
fn readable(config: &Path) -> Result<String, Failure> {
    config::Pipeline::load(config)?;
    absolute(config)
}

fn text(order: &Order, answer: &Value) -> String {
    match order {
        Order::Status => ctl_text::status(answer),
        Order::Ledger => ctl_text::ledger(answer),
        Order::Audit => ctl_text::audit(answer),
        Order::Recoveries => ctl_text::recoveries(answer),
        Order::Reload { .. } | Order::Acl(AclOrder::Reload { .. }) => ctl_text::reload(answer),
        Order::Acl(AclOrder::Show) => ctl_text::access_list(&answer["ingress"]),
        Order::Model(ModelOrder::List) => ctl_text::models(answer),
        Order::Model(ModelOrder::Load { .. } | ModelOrder::Rollback { .. }) => ctl_text::model(answer),
        Order::Model(ModelOrder::Shadow { name, off: true, .. }) => format!("nothing shadows {name} any more"),
        Order::Model(ModelOrder::Shadow { name, percent, .. }) => {
            format!("{percent} % of the frames of {name} go through the shadow too; `flumeway ctl model list` compares")
        }
        Order::Restart { stage } => format!("{stage} restarted"),
        Order::Kill { stage, signal } => format!("signal {signal} sent to {stage}"),
        Order::Drain => "drained: every frame is finished, none are taken; `flumeway ctl resume` goes on".to_owned(),
        Order::Resume => "frames are taken again".to_owned(),
        Order::Stop => "stopped".to_owned(),
        Order::Killpoint { stage, point } => format!("{stage} stops at {point}"),
    }
}

/// An answer may be given and still be bad news.
fn verdict(order: &Order, answer: &Value) -> ExitStatus {
    let is_bad = |key: &str| answer.get(key).and_then(Value::as_bool) == Some(false);
    let is_unsound = answer["audit"]["sound"] == Value::Bool(false);
    match order {
        Order::Ledger if is_bad("balanced") || is_unsound => ExitStatus::Verdict,
        Order::Audit if is_bad("sound") || is_unsound => ExitStatus::Verdict,
        Order::Stop if is_bad("clean") => ExitStatus::Verdict,
        _ => ExitStatus::Success,
    }
}

/// Numbers by `signal(7)`, the same on every architecture that stages run on.
const SIGNALS: [(&str, i32); 16] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("TERM", 15),
    ("CONT", 18),
    ("STOP", 19),
];

fn parse_signal(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=31).contains(&number) { Ok(number) } else { Err("write a number from 1 to 31".to_owned()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = SIGNALS.iter().find(|(known, _)| *known == name);
    known
        .map(|&(_, number)| number)
        .ok_or_else(|| "write a number, or a name such as KILL, TERM, SEGV, STOP".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [("9", 9), ("KILL", 9), ("sigsegv", 11), ("SIGTERM", 15), ("stop", 19)] {
            assert_eq!(parse_signal(text), Ok(number));
        }
        assert!(parse_signal("0").is_err() && parse_signal("32").is_err() && parse_signal("SIGNAL").is_err());
    }

    #[test]
    fn bad_news_is_a_bad_verdict() {
        let ledger = |balanced: bool, sound: bool| json!({"balanced": balanced, "audit": {"sound": sound}});
        assert_eq!(verdict(&Order::Ledger, &ledger(true, true)), ExitStatus::Success);
        assert_eq!(verdict(&Order::Ledger, &ledger(false, true)), ExitStatus::Verdict);
        assert_eq!(verdict(&Order::Ledger, &ledger(true, false)), ExitStatus::Verdict);
        assert_eq!(verdict(&Order::Stop, &json!({"ok": true})), ExitStatus::Success);
        assert_eq!(verdict(&Order::Stop, &json!({"clean": false})), ExitStatus::Verdict);
    }

    #[test]
    fn requests_carry_their_arguments() {
        let (request, _) = request(&Order::Kill { stage: "infer".to_owned(), signal: 9 }).unwrap();
        assert_eq!(request, json!({"command": "kill", "stage": "infer", "signal": 9}));
    }
}
