//! What our interface adds to a library's own call: `call_overhead ENGINE MODEL [RUNS]`, one thread; pin it to a core by `taskset -c`.
//!
//! One process loads the model twice: by `engines::load`, and straight by the library's interface with the tensors bound once. Both compute the same input,
//! in turns. Prints the medians and minima in microseconds, the median of the pairs' ratios, and as its last line the medians as JSON. `RUNS` pairs, 300 if it is not given.

mod onnxruntime;

use engines::{Engine, EngineOptions, Ticket, load, survey};
use std::path::Path;
use std::time::Instant;
use zerocopy::IntoBytes;

type Error = Box<dyn std::error::Error>;

/// Pairs before the first that counts.
const WARM_UP: usize = 20;

fn main() -> Result<(), Error> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [name, model, rest @ ..] = arguments.as_slice() else {
        return Err("usage: call_overhead ENGINE MODEL [RUNS]".into());
    };
    let runs = rest.first().map_or(Ok(300), |runs| runs.parse::<usize>())?.max(1);
    let model = Path::new(model);
    // target/PROFILE/examples/call_overhead; `make engines` puts the libraries into target/engines.
    let program = std::env::current_exe()?;
    let runtime_dir = program.ancestors().nth(3).map(|target| target.join("engines"));
    let options = EngineOptions { runtime_dir, ..EngineOptions::default() };
    let mut ours = load(name, Some(model), &options)?;
    let library = survey(&options).into_iter().find(|found| found.engine == name.as_str());
    let library = library.and_then(|found| found.library).ok_or("the engine is no library")?;
    let mut direct = match name.as_str() {
        "onnxruntime" => onnxruntime::Direct::open(&library, model, ours.specs())?,
        _ => return Err(format!("no direct call is known for {name}").into()),
    };
    for (i, byte) in direct.input().chunks_exact_mut(4).enumerate() {
        byte.copy_from_slice(&(i as f32 % 251.0 / 125.5 - 1.0).to_ne_bytes());
    }
    let input: Vec<f32> =
        direct.input().chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect();
    let mut output = vec![0.0_f32; ours.specs().output_bytes() / 4];
    ours.warm_up()?;
    let mut pairs_ns = Vec::with_capacity(runs);
    for turn in 0..WARM_UP + runs {
        // Who comes first changes, so that neither always finds the other's leavings in the caches.
        let pair = if turn % 2 == 0 {
            let ours_ns = time_ours(&mut *ours, input.as_bytes(), output.as_mut_bytes())?;
            (ours_ns, time(|| direct.run())?)
        } else {
            let direct_ns = time(|| direct.run())?;
            (time_ours(&mut *ours, input.as_bytes(), output.as_mut_bytes())?, direct_ns)
        };
        if turn >= WARM_UP {
            pairs_ns.push(pair);
        }
    }
    if direct.output() != output.as_bytes() {
        return Err("the two calls gave different answers".into());
    }
    print(name, model, &pairs_ns);
    Ok(())
}

fn time(mut call: impl FnMut() -> Result<(), Error>) -> Result<u64, Error> {
    let started = Instant::now();
    call()?;
    Ok(started.elapsed().as_nanos() as u64)
}

fn time_ours(engine: &mut dyn Engine, input: &[u8], output: &mut [u8]) -> Result<u64, Error> {
    time(|| {
        engine.submit(Ticket(1), input, output)?;
        loop {
            if let Some(finished) = engine.poll() {
                return Ok(finished.result?);
            }
        }
    })
}

fn print(name: &str, model: &Path, pairs_ns: &[(u64, u64)]) {
    let sorted = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        (values[0], values[values.len() / 2])
    };
    let ours = sorted(pairs_ns.iter().map(|pair| pair.0 as f64 / 1e3).collect());
    let direct = sorted(pairs_ns.iter().map(|pair| pair.1 as f64 / 1e3).collect());
    let ratio = sorted(pairs_ns.iter().map(|pair| pair.0 as f64 / pair.1 as f64).collect());
    println!(
        "{name} {}: submit+poll p50 {:.1} us, direct p50 {:.1} us, ratio of medians {:.4}, median of ratios {:.4}; minima {:.1}, {:.1}; {} pairs",
        model.display(),
        ours.1,
        direct.1,
        ours.1 / direct.1,
        ratio.1,
        ours.0,
        direct.0,
        pairs_ns.len()
    );
    let (ours_us, direct_us) = (ours.1, direct.1);
    println!(
        "{}",
        serde_json::json!({"direct_us": direct_us, "ours_us": ours_us, "ratio": ours_us / direct_us, "runs": pairs_ns.len()})
    );
}
