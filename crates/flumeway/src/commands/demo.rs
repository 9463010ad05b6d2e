//! `flumeway demo`.

use std::net::SocketAddr;

use flumeway::demo::{Account, Demo, Watcher, run};
use flumeway::failure::{ExitStatus, Failure};
use flumeway::models::{self, Roadside};
use indicatif::ProgressBar;

use super::ctl_text;
use super::send::progress_bar;
use crate::output::{duration, line, table};

const LONG_ABOUT: &str = "\
Show Flumeway at work: starts supervisor and stages with the bundled network, streams the bundled roadside frames as JPEG \
over UDP on loopback, kills the infer stage with SIGKILL halfway, waits for every answer, and prints the account. Needs no \
root, no hugepages and no configuration.

Exit status 0 only if every frame was answered, the stage was restarted, and the ledger balances.";

const EXAMPLES: &str = "\
Examples:
  flumeway demo
  flumeway demo --frames 2000 --rate 100
  flumeway demo --json";

/// See it work, and survive a kill -9.
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Frames to send
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    frames: u64,
    /// Frames per second
    #[arg(long, value_name = "FPS", default_value_t = 40.0, value_parser = parse_rate)]
    rate: f64,
    /// Print the account as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.1..=100_000.0).contains(rate));
    rate.ok_or_else(|| "write a number from 0.1 to 100000".to_owned())
}

pub(crate) fn execute(args: &Args) -> Result<ExitStatus, Failure> {
    let roadside = Roadside::load(&models::find()?)?;
    let demo = Demo { frames: args.frames, rate_fps: args.rate };
    let mut teller = Teller { is_silent: args.json, bar: progress_bar(args.frames, args.json), killed: None };
    let account = run(demo, &roadside, &mut teller);
    teller.bar.finish_and_clear();
    let account = account?;
    if args.json {
        line(serde_json::to_string(&account).map_err(|error| Failure::environment(format!("no JSON: {error}")))?);
    } else {
        line(text(&account, teller.killed.as_deref()));
    }
    Ok(if account.is_passed() { ExitStatus::Success } else { ExitStatus::Verdict })
}

/// Tells people how it goes; says nothing to programs.
struct Teller {
    is_silent: bool,
    bar: ProgressBar,
    killed: Option<String>,
}

impl Teller {
    fn say(&self, text: &str) {
        if !self.is_silent {
            self.bar.suspend(|| line(text));
        }
    }
}

impl Watcher for Teller {
    fn on_start(&mut self, listen: SocketAddr) {
        self.say(&format!("rx-gateway, preprocess, infer and tx are running; sending JPEG frames to {listen}"));
    }

    fn on_sent(&mut self, sent: u64) {
        self.bar.set_position(sent);
    }

    fn on_kill(&mut self, stage: &str, pid: i32, after_frame: u64) {
        self.killed = Some(format!("{stage} (process {pid}) by SIGKILL after frame {after_frame}"));
        self.say(&format!("kill -9 {pid}: {stage}, after frame {after_frame}; sending goes on"));
    }
}

fn text(account: &Account, killed: Option<&str>) -> String {
    let share = account.correct as f64 * 100.0 / account.answered.max(1) as f64;
    let recovery = account.recovery_ms.map_or_else(|| "not seen".to_owned(), |ms| duration(ms * 1e3));
    let latency = account.latency_us;
    let order = ["assemble", "preprocess_wait", "preprocess", "infer_wait", "infer", "tx_wait", "tx", "total"];
    let row = |name: &str, part: &flumeway::demo::Stage| {
        vec![name.replace('_', " "), duration(part.p50), duration(part.p99), duration(part.max)]
    };
    let mut rows: Vec<Vec<String>> =
        order.iter().filter_map(|&name| Some(row(name, account.stages.get(name)?))).collect();
    rows.push(row("end to end", &latency));
    let verdict = if account.is_passed() {
        "PASSED: every frame was answered and the ledger balances".to_owned()
    } else {
        let problems = account.problems.iter().map(|problem| format!("\n           {problem}"));
        format!("FAILED{}", problems.collect::<String>())
    };
    format!(
        "\n\
         frames     {} sent, {} answered, {} right ({share:.1} %), {} lost, {} duplicates\n\
         killed     {}\n\
         recovery   {} restarts; working again after {recovery}\n\
         copies     {} per frame between packet and engine\n\
         ledger     {}\n\n\
         {}\n\n\
         {verdict}",
        account.sent,
        account.answered,
        account.correct,
        account.lost,
        account.duplicates,
        killed.unwrap_or("nothing"),
        account.restarts,
        account.copies_per_frame,
        ctl_text::ledger(&account.ledger).lines().next().unwrap_or_default(),
        table(&["latency", "p50", "p99", "max"], &rows)
    )
}
