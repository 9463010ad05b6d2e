//! What an engine call costs over OpenVINO's own: `call_overhead_openvino LIBRARY MODEL [RUNS]`, pinned to one core (`taskset -c 1`).
//!
//! LIBRARY is `ENGINES/openvino/libopenvino_c.so.N`, MODEL an ONNX file with one input. One process holds the model twice, both compiled with
//! the same settings: once called by the C interface with tensors bound beforehand, once as an engine. The two, and the engine with eight areas of
//! lasting memory in turn as an arena has them, compute the same input by turns. Prints medians and minima in microseconds and their ratios, and as
//! its last line the medians with lasting memory as JSON.

mod ffi;

use engines::{Engine, EngineOptions, Regions, Ticket, load};
use std::path::Path;
use std::time::Instant;

/// Areas of lasting memory.
const SLOTS: usize = 8;

/// One frame through the engine, in microseconds.
fn engine_call(engine: &mut dyn Engine, input: &[u8], output: &mut [u8]) -> Result<f64, Box<dyn std::error::Error>> {
    let started = Instant::now();
    engine.submit(Ticket(1), input, output)?;
    let finished = loop {
        if let Some(finished) = engine.poll() {
            break finished;
        }
    };
    let elapsed = started.elapsed();
    finished.result?;
    Ok(elapsed.as_secs_f64() * 1e6)
}

fn median(times: &mut [f64]) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [library, model, rest @ ..] = arguments.as_slice() else {
        return Err("usage: call_overhead_openvino LIBRARY MODEL [RUNS]".into());
    };
    let runs = rest.first().map_or(Ok(300), |runs| runs.parse::<usize>())?.max(1);
    let folder = Path::new(library).parent().and_then(Path::parent).ok_or("LIBRARY lies in a folder `openvino`")?;
    let options = EngineOptions { runtime_dir: Some(folder.to_owned()), ..EngineOptions::default() };
    let mut engine = load("openvino", Some(Path::new(model)), &options)?;
    let mut lasting = load("openvino", Some(Path::new(model)), &options)?;
    let specs = engine.specs().clone();
    let input: Vec<f32> = (0..specs.input_bytes() / 4).map(|i| (i % 251) as f32 / 125.5 - 1.0).collect();
    let mut plain = ffi::Plain::new(library, model, &specs, &input)?;
    let [inputs, outputs] = [specs.input_bytes(), specs.output_bytes()].map(|bytes| ffi::Slots::new(SLOTS, bytes));
    lasting.attach(&Regions::new([inputs.cells(), inputs.cells()], outputs.cells()))?;
    inputs.fill(zerocopy::IntoBytes::as_bytes(input.as_slice()));
    engine.warm_up()?;
    lasting.warm_up()?;
    let mut output = vec![0.0_f32; specs.output_bytes() / 4];
    let [mut direct, mut one, mut slots] = [(); 3].map(|()| Vec::with_capacity(runs));
    for run in 0..runs {
        direct.push(plain.infer()?);
        let area = zerocopy::IntoBytes::as_mut_bytes(output.as_mut_slice());
        one.push(engine_call(&mut *engine, zerocopy::IntoBytes::as_bytes(input.as_slice()), area)?);
        slots.push(engine_call(&mut *lasting, inputs.get(run % SLOTS), outputs.get_mut(run % SLOTS))?);
    }
    if plain.output() != output || zerocopy::IntoBytes::as_bytes(output.as_slice()) != outputs.get(0) {
        return Err("the answers differ".into());
    }
    let ((direct, direct_min), (one, one_min), (slots, slots_min)) =
        (median(&mut direct), median(&mut one), median(&mut slots));
    println!("{model}, {runs} runs each, {}", lasting.describe().note);
    println!("  C interface, bound beforehand   p50 {direct:8.1}  min {direct_min:8.1}");
    println!(
        "  engine, one area                p50 {one:8.1}  min {one_min:8.1}  ratio {:.4} {:.4}",
        one / direct,
        one_min / direct_min
    );
    println!(
        "  engine, {SLOTS} areas that last       p50 {slots:8.1}  min {slots_min:8.1}  ratio {:.4} {:.4}",
        slots / direct,
        slots_min / direct_min
    );
    println!("{}", serde_json::json!({"direct_us": direct, "ours_us": slots, "ratio": slots / direct, "runs": runs}));
    Ok(())
}
