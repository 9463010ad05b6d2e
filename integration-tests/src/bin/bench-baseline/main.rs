//! `make bench-baseline`: Flumeway on UDP against a synchronous server in one process on TCP.
//!
//! Both run the same kernels, engine and post-processing on the same frames, and speak the same frame protocol. Measured in
//! turn, in one run: the unloaded round trip, throughput with a full window, and processor time per frame; with all stages (or
//! the server) on one core, and on two. Nothing is required of the comparison. Required is that the pipeline's throughput is that of
//! its slowest stage: at least 0.9 of what the engine does by itself on the same input.
#![forbid(unsafe_code)]

mod comparison;
mod compute;
mod figures;
mod framing;
mod link;
mod machine;
mod measure;
mod server;
mod workload;

use anyhow::{Context as _, Result, bail};
use figures::Figure;
use serde_json::json;
use std::process::ExitCode;
use std::time::Instant;
use workload::{Cores, Workload};

/// Of the engine's own throughput.
const REQUIRED: f64 = 0.9;
const REQUIRED_NAME: &str = "mobilenet.two-cores.flumeway_fps_over_engine";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &arguments[..] {
        [] => run(),
        [serve, workload, cores] if serve == "serve" => self::serve(workload, cores).map(|()| true),
        _ => Err(anyhow::anyhow!("bench-baseline takes no arguments")),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("bench-baseline: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn serve(workload: &str, cores: &str) -> Result<()> {
    let cores: Result<Vec<usize>, _> = cores.split(',').map(str::parse).collect();
    let cores = cores.context("cores are numbers divided by commas")?;
    if cores.is_empty() {
        bail!("the server needs a core");
    }
    server::serve(&Workload::named(workload)?, &cores)
}

fn run() -> Result<bool> {
    let start = Instant::now();
    // Once, before any thread is bound to a part of them.
    let machine_cores = machine::cores();
    let mut machine = machine::describe(machine_cores);
    let mut figures = Vec::new();
    let mut raw = Vec::new();
    let mut required = Figure::needs_cores(REQUIRED_NAME, REQUIRED, 2);
    for workload in [Workload::tiny(), Workload::mobilenet()] {
        for cores in [Cores::One, Cores::Two] {
            if cores == Cores::Two && machine_cores < 2 {
                continue;
            }
            eprintln!("{} ({}), {}", workload.name, workload.model_name(), cores.name());
            let engine_alone = workload.model.is_some() && cores == Cores::Two;
            let outcome = comparison::compare(&workload, cores, machine_cores, engine_alone)?;
            figures.extend(outcome.figures);
            raw.push(outcome.raw);
            if let Some(ratio) = outcome.over_engine {
                required = Figure::at_least(REQUIRED_NAME, ratio, REQUIRED);
            }
        }
    }
    figures.push(required);
    machine["load_average_after"] = machine::load().into();
    machine["run_s"] = json!(start.elapsed().as_secs());
    println!("machine: {machine}");
    figures::conclude(&integration_tests::root(), "baseline", &machine, &json!(raw), &figures)
}
