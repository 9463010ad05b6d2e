//! `flumeway`: run a pipeline, talk to it, send frames to it, and show what it does.
#![forbid(unsafe_code)]

mod commands;
mod logging;
mod output;

use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};
use flumeway::failure::{ExitStatus, Failure};

/// Release and memory layout: processes of different releases work together if they have the layout in common.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (memory layout {})", env!("CARGO_PKG_VERSION"), arena::layout::LAYOUT_VERSION));

const LONG_ABOUT: &str = "\
Flumeway runs neural-network inference on frames that arrive as network packets, and answers in the same packet buffers. \
Four processes, one per stage, share one arena of memory; a fifth supervises them. Kill any stage under load: its \
neighbours keep running, and no accepted frame is lost.";

const EXAMPLES: &str = "\
Examples:
  flumeway demo                                     see it work, and survive a kill -9
  flumeway run --model net.onnx                     run a network with defaults, on 0.0.0.0:9000
  flumeway check pipeline.toml                      what a configuration comes to on this machine
  flumeway engines --model net.onnx                 what can run it here, and how fast
  flumeway send photo.jpg --to 127.0.0.1:9000 --print
  flumeway ctl status

Exit codes: 0 success; 1 the result is bad (frames unanswered, ledger unbalanced, request refused);
2 the command line or the configuration is wrong; 3 the machine lacks something.";

#[derive(Debug, Parser)]
#[command(name = "flumeway", version = VERSION.as_str(), about = "Neural-network inference on frames from the network", long_about = LONG_ABOUT, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What is logged to standard error: error, warn, info, or a filter such as `supervisor=info` [default: $FLUMEWAY_LOG, which
    /// stages read too, or warn; info for `run`]
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(commands::run::Args),
    Check(commands::check::Args),
    Engines(commands::engines::Args),
    Send(commands::send::Args),
    Ctl(commands::ctl::Args),
    Demo(commands::demo::Args),
}

impl Command {
    fn wants_json(&self) -> bool {
        match self {
            Self::Run(args) => args.json,
            Self::Check(args) => args.json,
            Self::Engines(args) => args.json,
            Self::Send(args) => args.json,
            Self::Ctl(args) => args.json,
            Self::Demo(args) => args.json,
        }
    }

    fn execute(&self) -> Result<ExitStatus, Failure> {
        match self {
            Self::Run(args) => commands::run::execute(args),
            Self::Check(args) => commands::check::execute(args),
            Self::Engines(args) => commands::engines::execute(args),
            Self::Send(args) => commands::send::execute(args),
            Self::Ctl(args) => commands::ctl::execute(args),
            Self::Demo(args) => commands::demo::execute(args),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let default = if matches!(cli.command, Command::Run(_)) { "info" } else { "warn" };
    let status = logging::start(cli.log.as_deref(), default).and_then(|()| cli.command.execute());
    let status = status.unwrap_or_else(|failure| {
        output::failure(&failure, cli.command.wants_json());
        failure.status
    });
    ExitCode::from(status as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
