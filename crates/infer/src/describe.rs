//! `flumeway-infer --describe`: reads a pipeline as JSON, prints what its model takes and gives as one line of JSON.

use crate::options::{name, options};
use config::Pipeline;
use std::io::Read as _;
use std::process::ExitCode;

/// Exit code 0 with the description on standard output, 2 with the reason on standard error.
pub fn describe() -> ExitCode {
    match read() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn read() -> Result<String, String> {
    let mut json = Vec::new();
    std::io::stdin().read_to_end(&mut json).map_err(|e| format!("standard input: {e}"))?;
    let pipeline = Pipeline::from_json(&json).map_err(|e| format!("the pipeline on standard input: {e}"))?;
    let infer = &pipeline.infer;
    engines::describe_model_json(infer.model.as_deref(), name(infer.engine), &options(&pipeline))
        .map(|json| json.to_string())
        .map_err(|e| e.to_string())
}
