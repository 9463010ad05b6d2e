//! `make bench-engines`: what a frame costs around the engine, and in it.
//!
//! The parts are named on the command line, none means all: `preprocess` (raw frames to tensors against `fast_image_resize` with a normalise
//! pass), `jpeg` (JPEG files to tensors against libjpeg-turbo's own decode). One core; the contenders take turns within each round. Prints a
//! line per figure, writes `benches/results/engines.json`, and ends with 1 if a bound is missed or a figure could not be measured.
#![forbid(unsafe_code)]

mod jpeg;
mod preprocess;
mod report;
mod rounds;

use anyhow::{Result, bail};
use report::Report;
use std::process::ExitCode;

/// A part of the benchmark, by name.
type Part = (&'static str, fn(&mut Report) -> Result<()>);

const PARTS: &[Part] = &[("preprocess", preprocess::measure), ("jpeg", jpeg::measure)];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    match run(&wanted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("bench-engines: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run(wanted: &[String]) -> Result<bool> {
    if let Some(unknown) = wanted.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        bail!("no part is called {unknown}; there are: {}", names.join(", "));
    }
    let mut report = Report::start();
    for (name, measure) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            measure(&mut report)?;
        }
    }
    report.conclude()
}
