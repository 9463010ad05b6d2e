//! A benchmark in parts: each measured in turn, reported together.

use anyhow::{Result, ensure};
use benches::figures::{self, Figure};
use benches::machine;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Instant;

/// What one part came to.
#[derive(Debug, Default)]
pub struct Part {
    /// Its lines in the report.
    pub figures: Vec<Figure>,
    /// The numbers behind them.
    pub raw: Value,
}

impl Part {
    /// Adds a line.
    pub fn figure(&mut self, name: impl Into<String>, value: f64, required: figures::Required) {
        self.figures.push(Figure::new(name, Ok(value), required));
    }
}

/// What a benchmark measures on.
#[derive(Clone, Debug)]
pub struct Cores {
    /// Two of them that are no hardware threads of one core.
    pub pair: (usize, usize),
    /// All that this process may use.
    pub all: Vec<usize>,
}

/// A part's name, and how it is measured.
pub type Measure<'a> = (&'static str, Box<dyn Fn(&Cores) -> Result<Part> + 'a>);

/// Measures the parts that `only` names, all if it names none, and prints the report. All of them together write
/// `benches/results/FILE.json`. True if every figure is reached.
///
/// # Errors
/// A name that no part has, or a report that cannot be written. A part that fails is short, and the others are measured all the same.
pub fn conduct(bench: &'static str, file: &str, parts: &[Measure<'_>], only: &[String]) -> Result<bool> {
    let names: Vec<_> = parts.iter().map(|(name, _)| *name).collect();
    for name in only {
        ensure!(names.contains(&name.as_str()), "{name} is none of the parts {names:?}");
    }
    let start = Instant::now();
    let all = machine::cores();
    let mut machine = machine::describe();
    let mut figures = Vec::new();
    let mut raw = json!({});
    match machine::two_cores(&all) {
        Some(pair) => {
            machine["cores_used"] = json!([pair.0, pair.1]);
            let cores = Cores { pair, all };
            for (name, measure) in parts.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|o| o == name)) {
                let part = measure(&cores).unwrap_or_else(|e| failed(name, &format!("failed: {e:#}")));
                figures.extend(part.figures);
                raw[*name] = part.raw;
            }
        }
        None => figures.extend(failed(bench, "needs 2 cores").figures),
    }
    machine["load_average_after"] = machine::load().into();
    machine["run_s"] = json!(start.elapsed().as_secs());
    println!("machine: {machine}");
    if only.is_empty() {
        return figures::conclude(&crate::root(), file, &machine, &raw, &figures);
    }
    for figure in &figures {
        println!("{}", figure.line());
    }
    Ok(figures.iter().all(Figure::is_reached))
}

fn failed(name: &str, why: &str) -> Part {
    let figure = Figure::new(name, Err(why.to_owned()), figures::Required::Nothing);
    Part { figures: vec![figure], raw: Value::Null }
}

/// How a benchmark's process ends: 1 where a figure is short.
pub fn exit_code(bench: &str, outcome: &Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{bench}: {error:#}");
            ExitCode::from(1)
        }
    }
}
