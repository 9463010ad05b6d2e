//! `flumeway engines`: what can run a network here, and how fast.

use std::path::PathBuf;

use config::{Engine, Pipeline};
use flumeway::failure::{ExitStatus, Failure};
use serde_json::{Value, json};
use supervisor::Choice;

use super::check::not_started;
use crate::output;

const LONG_ABOUT: &str = "\
List the engines that flumeway-infer can use on this machine, with version, device and library, and why not the others. With a network or a \
configuration, also run each of them on it, compare their answers, and say which `engine = \"auto\"` takes.";

const EXAMPLES: &str = "\
Examples:
  flumeway engines
  flumeway engines --model net.onnx
  flumeway engines pipeline.toml --json";

/// List the engines, and measure them on a network.
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The configuration whose network is measured
    #[arg(value_name = "CONFIG", conflicts_with = "model")]
    config: Option<PathBuf>,
    /// The network to measure with defaults, ONNX
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Print everything as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn execute(args: &Args) -> Result<ExitStatus, Failure> {
    let pipeline = match (&args.config, &args.model) {
        (Some(config), _) => Pipeline::load(config)?,
        (None, Some(model)) => Pipeline::for_model(model)?,
        (None, None) => Pipeline::default_with(Engine::Null),
    };
    let found = supervisor::engines(&pipeline).map_err(|error| not_started(&pipeline, error))?;
    let measured = pipeline.infer.model.is_some().then(|| supervisor::measure_engines(&pipeline));
    let measured = measured.transpose().map_err(|error| not_started(&pipeline, error))?;
    if args.json {
        let table = measured.map(|choice| choice.table);
        output::line(json!({"schema": 1, "ok": true, "engines": found, "measured": table}));
        return Ok(ExitStatus::Success);
    }
    output::line(list(&found));
    if let Some(choice) = measured {
        output::line(format_args!("\n{}", timings(&choice)));
    }
    Ok(ExitStatus::Success)
}

fn list(found: &[Value]) -> String {
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|engine| {
            let devices = engine["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
            let devices: Vec<String> = devices.iter().map(output::cell).collect();
            let usable = if engine["usable"] == true { "yes" } else { "no" };
            vec![
                output::cell(&engine["engine"]),
                usable.to_owned(),
                output::cell(&engine["version"]),
                if devices.is_empty() { "-".to_owned() } else { devices.join(", ") },
                engine["note"].as_str().or(engine["library"].as_str()).unwrap_or("built in").to_owned(),
            ]
        })
        .collect();
    output::table(&["engine", "usable", "version", "devices", "library, or why not"], &rows)
}

fn timings(choice: &Choice) -> String {
    let candidates = choice.table["candidates"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Vec<String>> = candidates
        .iter()
        .map(|row| {
            let number = |key: &str, factor: f64, decimals: usize| {
                row[key].as_f64().map_or_else(|| "-".to_owned(), |n| format!("{:.decimals$}", n * factor))
            };
            let is = |key: &str| row["engine"] == choice.table[key];
            let said = match (is("chosen"), is("reference"), row["reason"].as_str()) {
                (_, _, Some(reason)) => reason,
                (true, true, None) => "chosen; the others are compared with it",
                (true, false, None) => "chosen",
                (false, true, None) => "the others are compared with it",
                (false, false, None) => "slower",
            };
            vec![
                output::cell(&row["engine"]),
                output::cell(&row["precision"]),
                number("p50_us", 1.0, 0),
                number("load_ms", 1.0, 0),
                number("disagreement", 100.0, 3),
                said.to_owned(),
            ]
        })
        .collect();
    output::table(&["engine", "precision", "p50 us", "load ms", "differs %", ""], &rows)
}
