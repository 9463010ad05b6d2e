//! What the pipeline adds to the engine's own time: MobileNet-V2, 224x224 rgb8 frames over UDP, all stages on one core and the client on another,
//! one frame at a time. The engine alone computes on the stages' core, in turns with them.

use crate::drive::Driver;
use crate::report::Report;
use anyhow::{Context as _, Result};
use benches::figures::Required;
use benches::machine;
use benches::statistics::{median, quantile};
use engines::{Engine, EngineOptions, Ticket};
use integration_tests::client::Frame;
use integration_tests::pipeline::Pipeline;
use serde_json::json;
use std::path::Path;
use std::time::Instant;
use wire::Encoding;
use zerocopy::IntoBytes;

const ROUNDS: usize = 15;
const FRAMES: usize = 20;
const SIDE: u16 = 224;
/// Of the engine's own time, or this many microseconds, whichever is more.
const ALLOWED_PART: f64 = 0.1;
const ALLOWED_US: f64 = 500.0;
const REQUIRED: Required = Required::AtMost(1.0);

/// Both engines that are libraries; added time as a part of what is allowed.
#[expect(clippy::unnecessary_wraps, reason = "as the other parts, of which some can fail")]
pub fn measure(report: &mut Report) -> Result<()> {
    let cores = machine::cores();
    for engine in ["onnxruntime", "openvino"] {
        let name = format!("pipeline_added_over_allowed_{engine}");
        let outcome = match integration_tests::shared() {
            None => Err("the reference models are missing".to_owned()),
            Some(shared) => compare(report, engine, &cores, &shared.join("models/mobilenetv2-fp32.onnx"))
                .map_err(|e| format!("{e:#}")),
        };
        report.add(&name, outcome, REQUIRED);
    }
    Ok(())
}

fn compare(report: &mut Report, engine: &str, cores: &[usize], model: &Path) -> Result<f64> {
    let (stages, client) = machine::two_cores(cores).context("needs 2 cores")?;
    let text = format!(
        "[pipeline]\ncores = {{ supervisor = {client}, rx_gateway = {stages}, preprocess = [{stages}], infer = [{stages}], tx = {stages} }}\n\
         [infer]\nmodel = \"{}\"\nengine = \"{engine}\"\nmax_in_flight = 1\n[preprocess]\nmean = [0.485, 0.456, 0.406]\n\
         std = [0.229, 0.224, 0.225]\n",
        model.display()
    );
    // The engine before this one kept to a core.
    machine::allow(cores)?;
    let pipeline = Pipeline::start(&format!("bench-{engine}"), &text);
    let mut driver = Driver::new(pipeline.listen(), 1)?;
    let options =
        EngineOptions { runtime_dir: Some(integration_tests::target().join("engines")), ..EngineOptions::default() };
    machine::pin(stages)?;
    let mut alone = engines::load(engine, Some(model), &options)?;
    alone.warm_up()?;
    let input: Vec<f32> = (0..alone.specs().input_bytes() / 4).map(|i| (i % 251) as f32 / 125.5 - 1.0).collect();
    let mut output = vec![0.0_f32; alone.specs().output_bytes() / 4];
    let bytes: Vec<u8> = (0..usize::from(SIDE) * usize::from(SIDE) * 3).map(|i| (i * 7 % 251) as u8).collect();
    let frame = Frame { encoding: Encoding::Rgb8, width: SIDE, height: SIDE, bytes: &bytes };
    let (mut through_us, mut alone_us) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        machine::pin(client)?;
        let one = driver.round_trips_us(&frame, FRAMES)?;
        machine::pin(stages)?;
        let other = times_us(&mut *alone, input.as_bytes(), output.as_mut_bytes())?;
        // The first round warms caches and clocks.
        if round > 0 {
            through_us.push(median(&one));
            alone_us.push(median(&other));
        }
    }
    drop(pipeline);
    let added: Vec<f64> = through_us.iter().zip(&alone_us).map(|(through, alone)| through - alone).collect();
    let (added_us, engine_us) = (median(&added), median(&alone_us));
    let allowed_us = (ALLOWED_PART * engine_us).max(ALLOWED_US);
    println!(
        "{engine}: through the pipeline p50 {:.0} us, the engine alone {engine_us:.0} us; added {added_us:.0} us (middle half {:.0} to {:.0}), allowed \
         {allowed_us:.0} us",
        median(&through_us),
        quantile(&added, 0.25),
        quantile(&added, 0.75)
    );
    report.keep(
        &format!("pipeline_{engine}"),
        json!({"round_trip_us": through_us, "engine_alone_us": alone_us, "allowed_us": allowed_us}),
    );
    Ok(added_us / allowed_us)
}

fn times_us(engine: &mut dyn Engine, input: &[u8], output: &mut [u8]) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(FRAMES);
    for ticket in 0..FRAMES as u64 {
        let started = Instant::now();
        engine.submit(Ticket(ticket), input, output)?;
        while engine.poll().is_none() {
            std::thread::yield_now();
        }
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}
