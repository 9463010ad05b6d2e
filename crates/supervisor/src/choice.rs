//! `engine = "auto"`: which engine runs the model here. flumeway-infer measures, and the choice is remembered by model and machine.

use crate::ask::{describe, question};
use crate::error::StartError;
use config::{Engine, ModelFacts, Pipeline};
use serde_json::{Map, Value, json};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reading a model and asking libraries for their versions.
const KEY_LIMIT: Duration = Duration::from_mins(2);
/// Every engine loads and runs the model; one that hangs is given up by flumeway-infer after five minutes.
const CHOOSE_LIMIT: Duration = Duration::from_mins(40);
/// Choices kept; the oldest goes.
const REMEMBERED_MAX: usize = 64;
const FILE: &str = "engines.json";

/// Which engine was taken for `engine = "auto"`, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The engine.
    pub engine: Engine,
    /// Whether it was measured at an earlier start.
    pub remembered: bool,
    /// `{"chosen":..,"reference":..,"tolerance":..,"candidates":[{"engine":..,"p50_us":..,"disagreement":..,"reason":..}]}`, as
    /// flumeway-infer answered.
    pub table: Value,
}

/// Settles every network's engine, and asks what each takes and gives; in the order of [`Pipeline::all_models`].
///
/// # Errors
/// As [`choose_engine`] and [`describe`].
pub fn settle_models(pipeline: &mut Pipeline) -> Result<(Vec<Option<Choice>>, Vec<ModelFacts>), StartError> {
    let (mut choices, mut facts) = (Vec::new(), Vec::new());
    for (number, model) in pipeline.all_models().iter().enumerate() {
        let mut only = pipeline.with_only(number);
        let of_this = |error| match error {
            StartError::Model { said, .. } => StartError::Model { number, said },
            other => other,
        };
        let choice = choose_engine(&only).map_err(of_this)?;
        if let Some(choice) = &choice {
            pipeline.set_engine(number, choice.engine);
            only.infer.engine = choice.engine;
            let how = if choice.remembered { "remembered" } else { "measured" };
            choice.lines().iter().for_each(|line| tracing::info!(model = model.name, how, "engine {line}"));
        }
        facts.push(describe(&only).map_err(of_this)?);
        choices.push(choice);
    }
    Ok((choices, facts))
}

/// Settles `engine = "auto"`: takes the remembered choice, or measures and remembers. `None` if the configuration names an engine.
///
/// # Errors
/// [`StartError::Model`] if no engine runs the model; others if flumeway-infer does not answer.
pub fn choose_engine(pipeline: &Pipeline) -> Result<Option<Choice>, StartError> {
    if pipeline.infer.engine != Engine::Auto {
        return Ok(None);
    }
    let key = question(pipeline, "--choice-key", KEY_LIMIT)?.trim().to_owned();
    let file = folder(pipeline).map(|folder| folder.join(FILE));
    if let Some(choice) = file.as_deref().and_then(|file| remembered(file, &key)) {
        return Ok(Some(Choice { remembered: true, ..choice }));
    }
    tracing::info!("measuring every engine on the model; the choice is remembered");
    measure_engines(pipeline).map(|choice| {
        if let Some(file) = &file
            && let Err(error) = remember(file, &key, &choice.table)
        {
            tracing::warn!("the choice of an engine is not remembered: {}: {error}", file.display());
        }
        Some(choice)
    })
}

/// Measures every engine on the pipeline's model, whatever is remembered.
///
/// # Errors
/// As [`choose_engine`].
pub fn measure_engines(pipeline: &Pipeline) -> Result<Choice, StartError> {
    const QUESTION: &str = "--choose";
    let answer = question(pipeline, QUESTION, CHOOSE_LIMIT)?;
    let table: Value = serde_json::from_str(answer.trim()).unwrap_or_default();
    read(&table).map(|engine| Choice { engine, remembered: false, table }).ok_or_else(|| StartError::Answer {
        path: crate::ask::infer(pipeline),
        question: QUESTION,
        answer: answer.chars().take(160).collect(),
    })
}

/// The engines that flumeway-infer can use here, one JSON object each.
///
/// # Errors
/// [`StartError`] if flumeway-infer does not answer.
pub fn engines(pipeline: &Pipeline) -> Result<Vec<Value>, StartError> {
    const QUESTION: &str = "--engines";
    let answer = question(pipeline, QUESTION, KEY_LIMIT)?;
    let rows: Result<Vec<Value>, _> = answer.lines().map(serde_json::from_str).collect();
    rows.map_err(|_| StartError::Answer {
        path: crate::ask::infer(pipeline),
        question: QUESTION,
        answer: answer.chars().take(160).collect(),
    })
}

impl Choice {
    /// One line per engine, for a log.
    pub fn lines(&self) -> Vec<String> {
        let rows = self.table["candidates"].as_array().map(Vec::as_slice).unwrap_or_default();
        rows.iter().map(|row| line(row, &self.table)).collect()
    }
}

fn line(row: &Value, table: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or("-");
    let compared = match (row["engine"] == table["reference"], row["disagreement"].as_f64()) {
        (true, _) => "the reference".to_owned(),
        (false, Some(part)) => format!("differs from the reference by {:.2} %", part * 100.0),
        (false, None) => "answers that cannot be compared".to_owned(),
    };
    let measured = row["p50_us"].as_f64().map_or_else(String::new, |p50_us| {
        format!(" {} on {}: {p50_us:.0} us, {compared}", text("version"), text("device"))
    });
    let reason = row["reason"].as_str().map_or_else(String::new, |reason| format!(": {reason}"));
    let chosen = if row["engine"] == table["chosen"] { " <- chosen" } else { "" };
    format!("{}{measured}{reason}{chosen}", text("engine"))
}

/// The engine that a table chose, if it is a table.
fn read(table: &Value) -> Option<Engine> {
    let engine: Engine = serde_json::from_value(table.get("chosen")?.clone()).ok()?;
    let complete = table.get("candidates").is_some_and(Value::is_array);
    (complete && engine != Engine::Auto && engine.needs_model()).then_some(engine)
}

/// Where choices are remembered: `[infer] cache_dir`, else what systemd gives (`CACHE_DIRECTORY`), else the user's cache folder.
fn folder(pipeline: &Pipeline) -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let below = |path: PathBuf| path.join("flumeway");
    pipeline
        .infer
        .cache_dir
        .clone()
        .or_else(|| variable("CACHE_DIRECTORY"))
        .or_else(|| variable("XDG_CACHE_HOME").map(below))
        .or_else(|| variable("HOME").map(|home| below(home.join(".cache"))))
}

fn remembered(file: &Path, key: &str) -> Option<Choice> {
    // A file that is not there, or not ours to read, remembers nothing; the choice is made again.
    let value: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let table = value["choices"].as_array()?.iter().find(|choice| choice["key"] == key)?["table"].clone();
    Some(Choice { engine: read(&table)?, remembered: true, table })
}

fn remember(file: &Path, key: &str, table: &Value) -> io::Result<()> {
    let old: Value = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let mut choices: Vec<Value> = old["choices"].as_array().cloned().unwrap_or_default();
    choices.retain(|choice| choice["key"] != key && choice.is_object());
    choices.push(json!({"key": key, "table": table}));
    let kept = choices.split_off(choices.len().saturating_sub(REMEMBERED_MAX));
    let mut document = Map::new();
    document.insert("schema".to_owned(), json!(1));
    document.insert("choices".to_owned(), kept.into());
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Beside it and renamed: whoever reads finds the old file or the new one, and a kill in between leaves the old one.
    let new = file.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&new, Value::Object(document).to_string())?;
    std::fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(chosen: &str) -> Value {
        json!({"chosen": chosen, "reference": "rten", "tolerance": 0.02, "candidates": [
            {"engine": "rten", "version": "1", "device": "cpu", "p50_us": 2000.0, "disagreement": 0.0},
            {"engine": "openvino", "version": "2", "device": "cpu", "p50_us": 900.0, "disagreement": 0.001},
            {"engine": "tract", "reason": "left out"},
        ]})
    }

    #[test]
    fn choices_are_remembered_by_their_key() {
        let folder = std::env::temp_dir().join(format!("flumeway-choice-{}", std::process::id()));
        let file = folder.join("deep").join(FILE);
        assert_eq!(remembered(&file, "a"), None);
        for n in 0..REMEMBERED_MAX + 5 {
            remember(&file, &format!("{n}"), &table("rten")).unwrap();
        }
        remember(&file, "20", &table("openvino")).unwrap();
        let found = |key: &str| remembered(&file, key).map(|choice| choice.engine);
        let all = [found("20"), found("21"), found("4"), found("none")];
        std::fs::write(&file, "{\"choices\":[3]}").unwrap();
        let broken = found("20");
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!(all, [Some(Engine::Openvino), Some(Engine::Rten), None, None]);
        assert_eq!(broken, None);
    }

    #[test]
    fn what_is_no_choice_is_not_taken() {
        assert_eq!(read(&table("onnxruntime")), Some(Engine::Onnxruntime));
        for chosen in ["auto", "null", "abort", "torch", ""] {
            assert_eq!(read(&table(chosen)), None, "{chosen}");
        }
        assert_eq!(read(&json!({"chosen": "rten"})), None);
    }

    #[test]
    fn the_table_reads_well() {
        let choice = Choice { engine: Engine::Openvino, remembered: false, table: table("openvino") };
        assert_eq!(
            choice.lines(),
            [
                "rten 1 on cpu: 2000 us, the reference",
                "openvino 2 on cpu: 900 us, differs from the reference by 0.10 % <- chosen",
                "tract: left out",
            ]
        );
    }
}
