//! `make bench-engines`: what a frame costs around the engine, and in it.
//!
//! The parts are named on the command line, none means all: `preprocess` (raw frames to tensors against `fast_image_resize` with a normalise
//! pass), `jpeg` (JPEG files to tensors against libjpeg-turbo's own decode), `call` (an engine call against the library's own), `pipeline` (a frame
//! through the pipeline against the engine alone), `instances` (two infer instances on two cores against one). The contenders take turns
//! within each round. Prints a line per figure, writes `benches/results/engines.json` if all parts were measured, and
//! ends with 1 if a bound is missed or a figure could not be measured.
#![forbid(unsafe_code)]

mod call;
mod drive;
mod instances;
mod jpeg;
mod pipeline;
mod preprocess;
mod report;
mod rounds;

use anyhow::{Result, bail};
use report::Report;
use std::process::ExitCode;

/// A part of the benchmark, by name.
type Part = (&'static str, fn(&mut Report) -> Result<()>);

const PARTS: &[Part] = &[
    ("preprocess", preprocess::measure),
    ("jpeg", jpeg::measure),
    ("call", call::measure),
    ("pipeline", pipeline::measure),
    ("instances", instances::measure),
];

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
    let cores = benches::machine::cores();
    let mut report = Report::start();
    for (name, measure) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            // A part before it may have kept to one core.
            benches::machine::allow(&cores)?;
            measure(&mut report)?;
        }
    }
    report.conclude(wanted.is_empty())
}
