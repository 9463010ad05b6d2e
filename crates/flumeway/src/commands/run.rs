//! `flumeway run`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use config::Pipeline;
use flumeway::failure::{ExitStatus, Failure};
use serde_json::json;
use supervisor::{Exit, Options, Supervisor};

use super::check::not_started;
use super::ctl_text;
use crate::output;

const LONG_ABOUT: &str = "\
Run a pipeline until it is stopped: by SIGTERM, Ctrl-C or `flumeway ctl stop`. It drains first; a second signal ends it at \
once. Either a configuration or a network is needed; with --model everything else has its default.";

const EXAMPLES: &str = "\
Examples:
  flumeway run pipeline.toml
  flumeway run --model net.onnx --labels net.labels --listen 127.0.0.1:9000
  flumeway run pipeline.toml --json | tee end.json";

/// Run a pipeline until it is stopped.
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The configuration
    #[arg(value_name = "CONFIG", required_unless_present = "model", conflicts_with = "model")]
    config: Option<PathBuf>,
    /// The network to run with defaults, ONNX
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Where frames are received instead of where the configuration says [default: 0.0.0.0:9000]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The network's labels, one per line in class order
    #[arg(long, value_name = "FILE", requires = "model")]
    labels: Option<PathBuf>,
    /// Print how it ended as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn execute(args: &Args) -> Result<ExitStatus, Failure> {
    let pipeline = pipeline(args)?;
    let supervisor = Supervisor::start(pipeline.clone(), &Options { signals: true })
        .map_err(|error| not_started(&pipeline, error))?;
    let stages: Vec<String> = supervisor.stage_pids().iter().map(|(name, pid)| format!("{name}={pid}")).collect();
    tracing::info!(listen = %supervisor.listen(), "receiving frames");
    tracing::info!(pid = std::process::id(), stages = stages.join(" "), "running");
    tracing::info!(path = %supervisor.control_socket().display(), "control socket; `flumeway ctl --socket PATH status`");
    let exit = supervisor.run().map_err(Failure::environment)?;
    report(&exit, args.json);
    Ok(if exit.clean { ExitStatus::Success } else { ExitStatus::Verdict })
}

fn pipeline(args: &Args) -> Result<Pipeline, Failure> {
    let mut pipeline = match (&args.config, &args.model) {
        (Some(config), _) => Pipeline::load(config)?,
        (None, Some(model)) => Pipeline::for_model(model)?,
        (None, None) => return Err(Failure::usage("name a configuration, or a network with --model")),
    };
    if let Some(listen) = args.listen {
        pipeline.ingress.listen = listen;
    }
    if let Some(labels) = &args.labels {
        pipeline.post.label_names = read_labels(labels)?;
        pipeline.post.labels = Some(std::path::absolute(labels).map_err(Failure::usage)?);
    }
    pipeline.validate()?;
    Ok(pipeline)
}

/// One label per line; a blank line in the middle is a class without name.
fn read_labels(path: &Path) -> Result<Vec<String>, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("--labels {} {why}; name a text file with one label per line", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&format_args!("cannot be read: {error}")))?;
    let labels: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
    if labels.is_empty() { Err(wrong(&"is empty")) } else { Ok(labels) }
}

fn report(exit: &Exit, is_json: bool) {
    for problem in &exit.problems {
        tracing::error!("{problem}");
    }
    if is_json {
        let line = json!({
            "schema": 1, "ok": exit.clean, "clean": exit.clean, "problems": exit.problems,
            "ledger": exit.ledger, "recoveries": exit.recoveries,
        });
        output::line(line);
    } else {
        output::line(ctl_text::ledger(&exit.ledger));
    }
}
