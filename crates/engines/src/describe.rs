//! What the supervisor must know of a model before it creates the arena.

use crate::engine::Engine;
use crate::error::LoadError;
use crate::options::EngineOptions;
use serde_json::{Value, json};
use std::path::Path;

/// Loads `model` and describes it as one JSON object:
/// `{"schema":1,"engine":..,"inputs":[{name,dtype,shape}],"outputs":[..],"input_bytes":..,"output_bytes":..,"input_offsets":[..],"output_offsets":[..],"description":{..}}`.
///
/// The model is run, once and on zeros, only if the file leaves an output's shape open.
///
/// # Errors
/// As [`crate::load`].
pub fn describe_model_json(model: Option<&Path>, engine: &str, options: &EngineOptions) -> Result<Value, LoadError> {
    Ok(describe_engine(&*crate::load(engine, model, options)?))
}

fn describe_engine(engine: &dyn Engine) -> Value {
    let description = engine.describe();
    let mut object = engine.specs().to_json();
    object["schema"] = json!(1);
    object["engine"] = json!(description.engine);
    object["description"] = description.to_json();
    object
}
