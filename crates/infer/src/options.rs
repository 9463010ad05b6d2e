//! From the configuration to the engine's options.

use config::{Engine, Pipeline};
use engines::{EngineOptions, Precision};

/// Checks that the pipeline's network is the file that its configuration means.
pub(crate) fn verify(pipeline: &Pipeline) -> Result<(), String> {
    let (expected, Some(path)) = (&pipeline.infer.sha256, &pipeline.infer.model) else { return Ok(()) };
    if expected.is_empty() {
        return Ok(());
    }
    let actual = engines::model_sha256(path).map_err(|e| e.to_string())?;
    if actual == *expected {
        return Ok(());
    }
    Err(format!(
        "model {} has the SHA-256 {actual}, and the configuration or the manifest beside it says {expected}: \
         it was damaged or changed; put the right file there, or correct the checksum",
        path.display()
    ))
}

/// The engine's name.
pub(crate) fn name(engine: Engine) -> &'static str {
    match engine {
        // No engine's name: the supervisor makes the choice before a stage starts.
        Engine::Auto => "auto",
        Engine::Rten => "rten",
        Engine::Tract => "tract",
        Engine::Onnxruntime => "onnxruntime",
        Engine::Openvino => "openvino",
        Engine::Tensorrt => "tensorrt",
        Engine::Armnn => "armnn",
        Engine::Null => "null",
        Engine::Delay => "delay",
        Engine::Abort => "abort",
    }
}

/// Its options.
pub(crate) fn options(pipeline: &Pipeline) -> EngineOptions {
    let infer = &pipeline.infer;
    let shaped = !infer.engine.needs_model() && infer.model.is_none();
    let shape = |elements: u32| shaped.then(|| vec![1, elements as usize]);
    EngineOptions {
        threads: infer.threads as usize,
        precision: match infer.precision {
            config::Precision::Model => Precision::Model,
            config::Precision::Reduced => Precision::Reduced,
        },
        device: Some(infer.device.clone()).filter(|device| !device.is_empty()),
        max_batch: infer.max_batch as usize,
        max_in_flight: infer.max_in_flight as usize,
        runtime_dir: infer.runtime_dir.clone(),
        cache_dir: infer.cache_dir.clone(),
        input_shape: shape(infer.null_input_elements),
        output_shape: shape(infer.null_output_elements),
        delay_us: infer.delay_us.into(),
        busy: infer.busy,
        asynchronous: !infer.busy && infer.max_in_flight > 1,
        i_know_this_crashes: false,
    }
}
