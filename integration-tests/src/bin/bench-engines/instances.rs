//! Two infer instances on two cores against one on one: frames per second with a full window. Sender and the other stages share a core
//! with an instance in either case, and their work is small: 112x112 pixels a frame.

use crate::drive::Driver;
use crate::report::Report;
use anyhow::{Context as _, Result};
use benches::figures::Required;
use benches::machine;
use benches::statistics::{median, ratios};
use integration_tests::client::Frame;
use integration_tests::pipeline::Pipeline;
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use wire::Encoding;

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(3);
const SIDE: u16 = 112;
const WINDOW: usize = 8;
const REQUIRED: Required = Required::AtLeast(1.7);

/// MobileNet-V2 on the engine that is built in, which computes longest.
#[expect(clippy::unnecessary_wraps, reason = "as the other parts, of which some can fail")]
pub fn measure(report: &mut Report) -> Result<()> {
    let outcome = match integration_tests::shared() {
        None => Err("the reference models are missing".to_owned()),
        Some(shared) => compare(report, &shared.join("models/mobilenetv2-fp32.onnx")).map_err(|e| format!("{e:#}")),
    };
    report.add("two_instances_over_one", outcome, REQUIRED);
    Ok(())
}

fn compare(report: &mut Report, model: &Path) -> Result<f64> {
    let cores = machine::cores();
    let (first, second) = machine::two_cores(&cores).context("needs 2 cores")?;
    let text = |infer: &[usize]| {
        format!(
            "[pipeline]\ncores = {{ supervisor = {first}, rx_gateway = {first}, preprocess = [{first}], infer = {infer:?}, tx = {first} }}\n\
             [infer]\nmodel = \"{}\"\nengine = \"onnxruntime\"\ninstances = {}\nmax_in_flight = 1\n",
            model.display(),
            infer.len()
        )
    };
    let one = Pipeline::start("bench-one", &text(&[second]));
    let two = Pipeline::start("bench-two", &text(&[first, second]));
    machine::pin(first)?;
    let bytes: Vec<u8> = (0..usize::from(SIDE) * usize::from(SIDE) * 3).map(|i| (i * 7 % 251) as u8).collect();
    let frame = Frame { encoding: Encoding::Rgb8, width: SIDE, height: SIDE, bytes: &bytes };
    let mut drivers = [Driver::new(one.listen(), 1)?, Driver::new(two.listen(), 1)?];
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for turn in 0..2 {
            let which = (round + turn) % 2;
            let rate = drivers[which].rate(&frame, WINDOW, ROUND)?;
            if round > 0 {
                rates[which].push(rate);
            }
        }
    }
    let ratio = median(&ratios(&rates[1], &rates[0]));
    println!(
        "instances: one {:.1} frames/s, two {:.1} frames/s (medians of {ROUNDS} rounds), ratio {ratio:.2}",
        median(&rates[0]),
        median(&rates[1])
    );
    report.keep("instances", json!({"one_fps": rates[0], "two_fps": rates[1]}));
    Ok(ratio)
}
