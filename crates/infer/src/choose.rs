//! `engine = "auto"`: every engine on the real model, each in a process of its own, so that one that crashes or hangs is only not chosen.

use crate::ask::{line, model};
use config::Pipeline;
use engines::{Availability, EngineKind, Measured};
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest that loading and timing one engine may take; compiling a model for an accelerator takes minutes.
const ENGINE_LIMIT: Duration = Duration::from_mins(5);
/// Between two looks at whether it has ended.
const LOOK: Duration = Duration::from_millis(2);
/// Most bytes kept of what an engine says about its failure.
const SAID_MAX: usize = 400;

/// One engine's row of the table.
struct Candidate {
    found: Availability,
    outcome: Result<Measured, String>,
}

/// The table of all engines on `pipeline`'s model, and the one to take: `{"chosen":..,"reference":..,"tolerance":..,"candidates":[..]}`.
///
/// The reference is the first engine that is built in and runs the model, else the first that runs it.
pub(crate) fn choose(pipeline: &Pipeline, json: &[u8]) -> Result<Vec<u8>, String> {
    let quantised = engines::is_quantised(model(pipeline)?).map_err(|e| e.to_string())?;
    let infer = &pipeline.infer;
    let tolerance = as_written(if quantised { infer.quantised_tolerance } else { infer.tolerance });
    let candidates: Vec<Candidate> = survey(json)
        .into_iter()
        .filter(|found| found.engine.parse::<EngineKind>().is_ok_and(EngineKind::reads_onnx))
        .map(|found| {
            let outcome = if found.is_usable() { measured(found.engine, json) } else { Err(why(&found)) };
            Candidate { found, outcome }
        })
        .collect();
    let Some(reference) = candidates.iter().find(|c| c.outcome.is_ok()) else {
        // The engine that is always there says best what is wrong with the model.
        let first = candidates.iter().find_map(|c| c.outcome.as_ref().err());
        return Err(first.cloned().unwrap_or_else(|| "this binary has no engine".to_owned()));
    };
    let agrees = |candidate: &&Candidate| disagreement(candidate, reference).is_some_and(|part| part <= tolerance);
    let time = |candidate: &&Candidate| candidate.outcome.as_ref().map_or(u64::MAX, |measured| measured.p50_ns);
    let chosen = candidates.iter().filter(agrees).min_by_key(time).unwrap_or(reference);
    let rows: Vec<Value> = candidates.iter().map(|c| row(c, reference, tolerance)).collect();
    let table = json!({
        "schema": 1,
        "chosen": chosen.found.engine,
        "reference": reference.found.engine,
        "tolerance": tolerance,
        "candidates": rows,
    });
    Ok(line(&table.to_string()))
}

/// The shortest number that means the same f32: 0.02, not 0.019999999552965164.
fn as_written(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

fn why(found: &Availability) -> String {
    found.note.clone().unwrap_or_else(|| "it cannot be used here".to_owned())
}

fn disagreement(candidate: &Candidate, reference: &Candidate) -> Option<f64> {
    let (measured, reference) = (candidate.outcome.as_ref().ok()?, reference.outcome.as_ref().ok()?);
    Some(measured.disagreement(reference))
}

fn row(candidate: &Candidate, reference: &Candidate, tolerance: f64) -> Value {
    let mut row = json!({
        "engine": candidate.found.engine,
        "version": candidate.found.version,
        "library": candidate.found.library,
    });
    match &candidate.outcome {
        Ok(measured) => {
            let part = measured.disagreement(reference.outcome.as_ref().unwrap_or(measured));
            row["device"] = measured.description["device"].clone();
            row["precision"] = measured.description["precision"].clone();
            row["p50_us"] = json!(measured.p50_ns as f64 / 1000.0);
            row["load_ms"] = json!(measured.load_us as f64 / 1000.0);
            row["runs"] = json!(measured.runs);
            // JSON has no infinity: null says that the answers cannot be compared.
            row["disagreement"] = json!(part);
            if part > tolerance {
                row["reason"] =
                    json!(format!("its answers differ from {}'s by more than {tolerance}", reference.found.engine));
            }
        }
        Err(reason) => row["reason"] = json!(reason),
    }
    row
}

/// Whether each engine can be used here, each asked in a process of its own.
pub(crate) fn survey(json: &[u8]) -> Vec<Availability> {
    let probe = |kind: EngineKind| {
        let answer = ask(&["--probe", kind.name()], json).and_then(|answer| {
            let value: Value = serde_json::from_slice(&answer).map_err(|_| SOMETHING_ELSE.to_owned())?;
            Availability::from_json(kind.name(), &value).ok_or_else(|| SOMETHING_ELSE.to_owned())
        });
        answer.unwrap_or_else(|reason| Availability::unusable(kind.name(), reason))
    };
    let kinds = EngineKind::ALL.into_iter().filter(|kind| kind.needs_model());
    std::thread::scope(|scope| {
        let asked: Vec<_> = kinds.map(|kind| (kind, scope.spawn(move || probe(kind)))).collect();
        let answer = |(kind, thread): (EngineKind, std::thread::ScopedJoinHandle<'_, Availability>)| {
            thread.join().unwrap_or_else(|_| Availability::unusable(kind.name(), "the thread that asked it panicked"))
        };
        asked.into_iter().map(answer).collect()
    })
}

/// What an engine is to the pipeline's model.
fn measured(engine: &str, json: &[u8]) -> Result<Measured, String> {
    Measured::from_bytes(&ask(&["--measure", engine], json)?).ok_or_else(|| SOMETHING_ELSE.to_owned())
}

const SOMETHING_ELSE: &str = "its process answered with something else";

/// Asks this program in a process of its own; gives what it printed, or why it did not.
fn ask(arguments: &[&str], json: &[u8]) -> Result<Vec<u8>, String> {
    let program = std::env::current_exe().map_err(|e| format!("this program's own path: {e}"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("starting a process to ask: {e}"))?;
    let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A process that ends before it has read all says why on its standard error.
            stdin.take().map(|mut pipe| pipe.write_all(json))
        });
        let answer = scope.spawn(move || all_of(stdout));
        let said = scope.spawn(move || all_of(stderr));
        let ended = end_of(&mut child);
        let answer = answer.join().unwrap_or_default();
        let said = String::from_utf8_lossy(&said.join().unwrap_or_default()).trim().to_owned();
        let said: String = said.chars().take(SAID_MAX).collect();
        match ended? {
            status if status.success() => Ok(answer),
            status if status.code() == Some(2) && !said.is_empty() => Err(said),
            status if said.is_empty() => Err(format!("its process ended with {status}")),
            status => Err(format!("its process ended with {status}: {said}")),
        }
    })
}

fn all_of(pipe: Option<impl std::io::Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What came before an error is what there is.
        let _ = pipe.read_to_end(&mut bytes);
    }
    bytes
}

fn end_of(child: &mut Child) -> Result<std::process::ExitStatus, String> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if started.elapsed() < ENGINE_LIMIT => std::thread::sleep(LOOK),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it took longer than {} s", ENGINE_LIMIT.as_secs()));
            }
            Err(error) => return Err(format!("waiting for its process: {error}")),
        }
    }
}
