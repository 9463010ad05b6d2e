//! Times an engine on a model: `time_engine ENGINE MODEL [RUNS [THREADS]]`.
//!
//! Prints percentiles of the time from `submit` to the ticket's return, in microseconds.

use engines::{EngineOptions, Ticket, load};
use std::path::Path;
use std::time::Instant;
use zerocopy::IntoBytes;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [name, model, rest @ ..] = arguments.as_slice() else {
        return Err("usage: time_engine ENGINE MODEL [RUNS [THREADS]]".into());
    };
    let runs = rest.first().map_or(Ok(100), |runs| runs.parse::<usize>())?.max(1);
    let threads = rest.get(1).map_or(Ok(1), |threads| threads.parse())?;
    let started = Instant::now();
    let options = EngineOptions { threads, ..EngineOptions::default() };
    let mut engine = load(name, Some(Path::new(model)), &options)?;
    let load_ms = started.elapsed().as_millis();
    engine.warm_up()?;
    let input: Vec<f32> = (0..engine.specs().input_bytes() / 4).map(|i| (i % 251) as f32 / 125.5 - 1.0).collect();
    let mut output = vec![0.0_f32; engine.specs().output_bytes() / 4];
    let mut times_us = Vec::with_capacity(runs);
    for run in 0..runs {
        let started = Instant::now();
        engine.submit(Ticket(run as u64), input.as_bytes(), output.as_mut_bytes())?;
        let finished = loop {
            if let Some(finished) = engine.poll() {
                break finished;
            }
        };
        finished.result?;
        times_us.push(started.elapsed().as_micros());
    }
    times_us.sort_unstable();
    let percentile = |percent: usize| times_us[(times_us.len() - 1) * percent / 100];
    println!(
        "{name} {model}: load {load_ms} ms, min {} us, p50 {} us, p99 {} us, {runs} runs",
        times_us[0],
        percentile(50),
        percentile(99)
    );
    Ok(())
}
