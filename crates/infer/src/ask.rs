//! Questions that `flumeway-infer` answers instead of running: each takes a pipeline as JSON on standard input.
//!
//! | argument | answer on standard output |
//! |---|---|
//! | `--describe` | what the pipeline's model takes and gives, one line of JSON |
//! | `--engines` | one line of JSON per engine: whether it can be used here, and why not |
//! | `--choice-key` | a checksum that changes when `--choose` could answer otherwise |
//! | `--choose` | the table of all engines on the pipeline's model, and which to take, one line of JSON |
//! | `--probe ENGINE` | whether one engine can be used here, for `--engines` |
//! | `--measure ENGINE` | one engine on that model, for `--choose`: a line of JSON, and its answers |

use crate::choose;
use crate::options::{name, options, verify};
use config::Pipeline;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// Answers the question in the first argument: exit code 0, or 2 with the reason on standard error. `None` if there is no question.
pub fn answer() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let question = arguments.next()?;
    let answer = match question.as_str() {
        "--describe" => read().and_then(|(pipeline, _)| describe(&pipeline)),
        "--engines" => read().map(|(_, json)| engines(&json)),
        "--probe" => read().and_then(|(pipeline, _)| probe(&pipeline, &arguments.next().unwrap_or_default())),
        "--choice-key" => read().and_then(|(pipeline, json)| choice_key(&pipeline, &json)),
        "--choose" => read().and_then(|(pipeline, json)| choose::choose(&pipeline, &json)),
        "--measure" => read().and_then(|(pipeline, _)| measure(&pipeline, &arguments.next().unwrap_or_default())),
        _ => return None,
    };
    Some(
        match answer.and_then(|bytes| std::io::stdout().write_all(&bytes).map_err(|e| format!("standard output: {e}")))
        {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                eprintln!("{message}");
                ExitCode::from(2)
            }
        },
    )
}

fn read() -> Result<(Pipeline, Vec<u8>), String> {
    let mut json = Vec::new();
    std::io::stdin().read_to_end(&mut json).map_err(|e| format!("standard input: {e}"))?;
    let pipeline = Pipeline::from_json(&json).map_err(|e| format!("the pipeline on standard input: {e}"))?;
    Ok((pipeline, json))
}

fn describe(pipeline: &Pipeline) -> Result<Vec<u8>, String> {
    verify(pipeline)?;
    let infer = &pipeline.infer;
    let file = infer.model.as_deref();
    let description = engines::describe_model_json(file, name(infer.engine), &options(pipeline));
    let mut description = description.map_err(|e| e.to_string())?;
    if let Some(file) = file {
        description["sha256"] = engines::model_sha256(file).map_err(|e| e.to_string())?.into();
    }
    Ok(line(&description.to_string()))
}

fn engines(json: &[u8]) -> Vec<u8> {
    choose::survey(json).iter().flat_map(|found| line(&found.to_json().to_string())).collect()
}

fn probe(pipeline: &Pipeline, engine: &str) -> Result<Vec<u8>, String> {
    let kind = engine.parse().map_err(|e: engines::LoadError| e.to_string())?;
    Ok(line(&engines::probe(kind, &options(pipeline)).to_json().to_string()))
}

fn choice_key(pipeline: &Pipeline, json: &[u8]) -> Result<Vec<u8>, String> {
    verify(pipeline)?;
    engines::choice_key(model(pipeline)?, &options(pipeline), &choose::survey(json))
        .map(|key| line(&key))
        .map_err(|e| e.to_string())
}

fn measure(pipeline: &Pipeline, engine: &str) -> Result<Vec<u8>, String> {
    let measured = engines::measure(engine, model(pipeline)?, &options(pipeline));
    measured.map(|measured| measured.to_bytes()).map_err(|e| e.to_string())
}

/// The pipeline's network.
pub(crate) fn model(pipeline: &Pipeline) -> Result<&Path, String> {
    pipeline.infer.model.as_deref().ok_or_else(|| "the pipeline names no model to choose an engine for".to_owned())
}

pub(crate) fn line(text: &str) -> Vec<u8> {
    let mut line = text.to_owned().into_bytes();
    line.push(b'\n');
    line
}
