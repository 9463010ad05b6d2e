//! `make bench-xdp`: what AF_XDP costs and gives, on veth pairs in network namespaces of its own.
//!
//! | part | what is compared |
//! |---|---|
//! | `echo` | an echo in one process through RxPort and TxPort, and a bare one in C |
//! | `cost` | processor time per frame of the whole pipeline on AF_XDP, and on UDP |
//! | `receive` | small packets through rx-gateway, and a bare loop that drops them |
//! | `wire` | round trips through the pipeline for several placements, and the bare echo's |
//! | `hitless` | frames sent while rx-gateway and tx are killed, and frames answered |
//!
//! Contenders take turns in one run. Named parts alone (`bench-xdp echo cost`) print and write nothing.
#![forbid(unsafe_code)]

mod cost;
mod echo;
mod echo_port;
mod hitless;
mod payloads;
mod receive;
mod subject;
mod wire_time;

use anyhow::{Result, ensure};
use benches::figures::{self, Figure};
use benches::machine;
use integration_tests::pipeline::folder;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Instant;
use subject::Placement;

/// First argument of this program as the echo.
const ECHO: &str = "serve-echo";
const PARTS: [&str; 5] = ["echo", "cost", "receive", "wire", "hitless"];

/// What one part came to.
#[derive(Default)]
struct Part {
    figures: Vec<Figure>,
    raw: Value,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &arguments[..] {
        [first, rest @ ..] if first == ECHO => echo_port::serve(rest).map(|()| true),
        parts => run(parts),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("bench-xdp: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run(only: &[String]) -> Result<bool> {
    for name in only {
        ensure!(PARTS.contains(&name.as_str()), "{name} is none of the parts {PARTS:?}");
    }
    let start = Instant::now();
    let all = machine::cores();
    let mut machine = machine::describe();
    let mut figures = Vec::new();
    let mut raw = json!({});
    match machine::two_cores(&all) {
        Some(cores) => {
            machine["cores_used"] = json!([cores.0, cores.1]);
            let dir = folder("bench-xdp");
            let requests = payloads::write(&dir)?;
            let packed = Placement::packed(cores);
            for name in PARTS.iter().filter(|name| only.is_empty() || only.iter().any(|o| o == *name)) {
                let part = match *name {
                    "echo" => echo::measure(cores),
                    "cost" => cost::measure(&packed, &requests),
                    "receive" => receive::measure(&packed),
                    "wire" => wire_time::measure(&all, cores, &requests),
                    _ => hitless::measure(&packed),
                };
                // One that fails is short, and the others are measured all the same.
                let failed = |e: anyhow::Error| {
                    let figure = Figure::new(*name, Err(format!("failed: {e:#}")), figures::Required::Nothing);
                    Part { figures: vec![figure], raw: Value::Null }
                };
                let part = part.unwrap_or_else(failed);
                figures.extend(part.figures);
                raw[*name] = part.raw;
            }
            let _ = std::fs::remove_dir_all(dir);
        }
        None => figures.push(Figure::new("bench-xdp", Err("needs 2 cores".to_owned()), figures::Required::Nothing)),
    }
    machine["load_average_after"] = machine::load().into();
    machine["run_s"] = json!(start.elapsed().as_secs());
    println!("machine: {machine}");
    if only.is_empty() {
        return figures::conclude(&integration_tests::root(), "xdp", &machine, &raw, &figures);
    }
    for figure in &figures {
        println!("{}", figure.line());
    }
    Ok(figures.iter().all(Figure::is_reached))
}
