//! From the configuration to the engine's options.

use config::{Engine, Pipeline};
use engines::{EngineOptions, Precision};

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
