//! `flumeway send`.

use std::io::{BufWriter, IsTerminal, Stdout, Write};

use flumeway::client::{Answer, Observer, SendReport, run};
use flumeway::failure::{ExitStatus, Failure};
use indicatif::{ProgressBar, ProgressStyle};

pub(crate) use super::send_args::Args;
use super::send_text::{answer_json, answer_line, report_text};
use crate::output;

pub(crate) fn execute(args: &Args) -> Result<ExitStatus, Failure> {
    let plan = args.plan()?;
    let mut watcher = Watcher {
        print: args.print && !args.quiet,
        json: args.json,
        labels: args.label_names()?,
        out: BufWriter::new(std::io::stdout()),
        bar: progress_bar(plan.count, args.quiet || args.json),
    };
    let report = run(&plan, &mut watcher);
    watcher.bar.finish_and_clear();
    let _ = watcher.out.flush();
    let report = report?;
    if args.json {
        let text = serde_json::to_string(&report).map_err(|error| Failure::environment(format!("no JSON: {error}")))?;
        output::line(text);
    } else if !args.quiet {
        output::line(report_text(&report));
    }
    Ok(verdict(&report, args.allow_drops))
}

fn verdict(report: &SendReport, allow_drops: bool) -> ExitStatus {
    let is_good = if allow_drops { report.is_sound() } else { report.is_complete() };
    if is_good { ExitStatus::Success } else { ExitStatus::Verdict }
}

/// A bar on a terminal, nothing in a pipe.
pub(crate) fn progress_bar(count: u64, is_silent: bool) -> ProgressBar {
    if is_silent || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count);
    // Valid by its test; the default style shows as much.
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style);
    }
    bar
}

const BAR: &str = "{bar:30} {pos}/{len} frames  {per_sec}  {eta} left";

/// Shows answers and progress while frames are under way.
struct Watcher {
    print: bool,
    json: bool,
    labels: Vec<String>,
    out: BufWriter<Stdout>,
    bar: ProgressBar,
}

impl Observer for Watcher {
    fn on_answer(&mut self, answer: &Answer<'_>) {
        self.bar.inc(1);
        if self.print {
            // A reader that has gone away is no reason to stop measuring.
            let _ = if self.json {
                writeln!(self.out, "{}", answer_json(answer, &self.labels))
            } else {
                writeln!(self.out, "{}", answer_line(answer, &self.labels))
            };
        }
    }

    fn wants_stop(&mut self) -> bool {
        // Called several times a second: often enough for a reader, rarely enough for the sender.
        let _ = self.out.flush();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_well_formed() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
        assert!(progress_bar(1, true).is_hidden());
    }
}
