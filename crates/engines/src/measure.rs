//! One engine on the real model: how long it takes, and what it answers to inputs that every engine gets alike.

use crate::area::Scratch;
use crate::dtype::DType;
use crate::engine::{Description, Engine, Ticket};
use crate::error::{EngineError, LoadError};
use crate::options::EngineOptions;
use crate::spec::Specs;
use half::f16;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Different inputs whose answers are compared.
const INPUTS: usize = 3;

/// Runs that are timed: until this has passed, within these bounds.
const TIMED: Duration = Duration::from_millis(300);
const RUNS_MIN: usize = 5;
const RUNS_MAX: usize = 200;

/// What [`measure`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Time to load and warm up, microseconds.
    pub load_us: u64,
    /// Median time of a frame from `submit` to its ticket's return, nanoseconds.
    pub p50_ns: u64,
    /// Runs behind the median.
    pub runs: usize,
    /// Device, precision and the rest, as [`Description::to_json`] has it.
    pub description: Value,
    /// Elements of each output of one frame.
    pub output_elements: Vec<usize>,
    /// All outputs of all inputs, one frame after another, as f32.
    pub answers: Vec<f32>,
}

/// Loads `model` into the engine called `name`, warms it up, times it on the calling thread, and keeps its answers to [`INPUTS`] inputs.
///
/// # Errors
/// As [`crate::load`]; [`LoadError::TrialRun`] where a run fails.
pub fn measure(name: &str, model: &Path, options: &EngineOptions) -> Result<Measured, LoadError> {
    let failed = |source| LoadError::TrialRun { path: model.to_owned(), source };
    let started = Instant::now();
    let mut engine = crate::load(name, Some(model), options)?;
    engine.warm_up().map_err(failed)?;
    let load_us = started.elapsed().as_micros() as u64;
    let specs = engine.specs().clone();
    let mut output = Scratch::new(specs.output_bytes());
    let mut answers = Vec::new();
    let mut input = Scratch::new(specs.input_bytes());
    for seed in 0..INPUTS {
        fill(&specs, seed as u32, input.get_mut());
        run(&mut *engine, input.get(), output.get_mut()).map_err(failed)?;
        append(&specs, output.get(), &mut answers);
    }
    let mut times_ns = Vec::with_capacity(RUNS_MAX);
    let started = Instant::now();
    while times_ns.len() < RUNS_MAX && (times_ns.len() < RUNS_MIN || started.elapsed() < TIMED) {
        let begun = Instant::now();
        run(&mut *engine, input.get(), output.get_mut()).map_err(failed)?;
        times_ns.push(begun.elapsed().as_nanos() as u64);
    }
    times_ns.sort_unstable();
    let description: Description = engine.describe();
    Ok(Measured {
        load_us,
        p50_ns: times_ns[times_ns.len() / 2],
        runs: times_ns.len(),
        description: description.to_json(),
        output_elements: specs.outputs().iter().map(crate::TensorSpec::elements).collect(),
        answers,
    })
}

fn run(engine: &mut dyn Engine, input: &[u8], output: &mut [u8]) -> Result<(), EngineError> {
    engine.submit(Ticket(0), input, output)?;
    loop {
        if let Some(finished) = engine.poll() {
            return finished.result;
        }
        std::thread::yield_now();
    }
}

/// Soft shapes with some noise on them, as photographs have: an engine that computes in shorter numbers errs on both.
fn fill(specs: &Specs, seed: u32, area: &mut [u8]) {
    let mut noise = 0x2545_f491_u32.wrapping_mul(2 * seed + 1);
    for (index, spec) in specs.inputs().iter().enumerate() {
        let Some(bytes) = specs.input_range(index).and_then(|range| area.get_mut(range)) else { continue };
        for (i, element) in bytes.chunks_exact_mut(spec.dtype.bytes()).enumerate() {
            // xorshift32 (Marsaglia 2003).
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            let wave = (i as f32 * (0.011 + 0.004 * seed as f32)).sin() + (i as f32 * 0.000_37).cos();
            let value = 0.8 * wave + 0.4 * (noise as f32 / u32::MAX as f32 - 0.5);
            match spec.dtype {
                DType::F32 => element.copy_from_slice(&value.to_ne_bytes()),
                DType::F16 => element.copy_from_slice(&f16::from_f32(value).to_ne_bytes()),
                DType::U8 => element[0] = (128.0 + 60.0 * value) as u8,
                DType::I8 => element[0] = ((60.0 * value) as i8).cast_unsigned(),
            }
        }
    }
}

fn append(specs: &Specs, area: &[u8], answers: &mut Vec<f32>) {
    for (index, spec) in specs.outputs().iter().enumerate() {
        let Some(bytes) = specs.output_range(index).and_then(|range| area.get(range)) else { continue };
        match spec.dtype {
            DType::F32 => {
                answers.extend(bytes.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])));
            }
            DType::F16 => {
                answers.extend(bytes.chunks_exact(2).map(|b| f16::from_ne_bytes([b[0], b[1]]).to_f32()));
            }
            DType::U8 => answers.extend(bytes.iter().map(|&b| f32::from(b))),
            DType::I8 => answers.extend(bytes.iter().map(|&b| f32::from(b.cast_signed()))),
        }
    }
}

impl Measured {
    /// How far these answers are from those of `reference`: for each output the root mean square of the difference, as a part of the
    /// reference's own root mean square; the largest of them. Infinite where shapes differ or a number is not finite.
    pub fn disagreement(&self, reference: &Self) -> f64 {
        let comparable =
            self.output_elements == reference.output_elements && self.answers.len() == reference.answers.len();
        let frame: usize = self.output_elements.iter().sum();
        if !comparable || frame == 0 || !self.answers.len().is_multiple_of(frame) {
            return f64::INFINITY;
        }
        let mut worst = 0.0_f64;
        let mut start = 0;
        for &elements in &self.output_elements {
            let (mut difference, mut size) = (0.0_f64, 0.0_f64);
            for first in (start..self.answers.len()).step_by(frame) {
                for i in first..first + elements {
                    let (got, expected) = (f64::from(self.answers[i]), f64::from(reference.answers[i]));
                    difference += (got - expected) * (got - expected);
                    size += expected * expected;
                }
            }
            let part = if difference == 0.0 { 0.0 } else { (difference / size.max(f64::MIN_POSITIVE)).sqrt() };
            worst = if part.is_finite() { worst.max(part) } else { f64::INFINITY };
            start += elements;
        }
        worst
    }

    /// A line of JSON, and the answers as little-endian f32 behind it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = json!({
            "load_us": self.load_us,
            "p50_ns": self.p50_ns,
            "runs": self.runs,
            "description": self.description,
            "output_elements": self.output_elements,
        });
        let mut bytes = head.to_string().into_bytes();
        bytes.push(b'\n');
        bytes.extend(self.answers.iter().flat_map(|answer| answer.to_le_bytes()));
        bytes
    }

    /// Reads what [`Measured::to_bytes`] wrote; `None` if it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|&byte| byte == b'\n')?;
        let head: Value = serde_json::from_slice(&bytes[..end]).ok()?;
        let number = |key: &str| head.get(key).and_then(Value::as_u64);
        let answers = bytes.get(end + 1..)?;
        if !answers.len().is_multiple_of(4) {
            return None;
        }
        let elements = head.get("output_elements")?.as_array()?.iter().map(|n| n.as_u64().map(|n| n as usize));
        Some(Self {
            load_us: number("load_us")?,
            p50_ns: number("p50_ns")?,
            runs: number("runs")? as usize,
            description: head.get("description")?.clone(),
            output_elements: elements.collect::<Option<_>>()?,
            answers: answers.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(output_elements: Vec<usize>, answers: Vec<f32>) -> Measured {
        Measured { load_us: 1, p50_ns: 2, runs: 3, description: json!({"device": "cpu"}), output_elements, answers }
    }

    #[test]
    fn disagreement_is_that_of_the_worst_output() {
        let reference = measured(vec![2, 1], vec![3.0, 4.0, 100.0, 3.0, 4.0, 100.0]);
        assert!(reference.disagreement(&reference) <= 0.0);
        let other = measured(vec![2, 1], vec![3.0, 4.5, 100.0, 3.0, 4.5, 100.0]);
        assert!((other.disagreement(&reference) - 0.1).abs() < 1e-9, "{}", other.disagreement(&reference));
        assert!(measured(vec![3], vec![0.0; 6]).disagreement(&reference).is_infinite());
        let broken = measured(vec![2, 1], vec![3.0, f32::NAN, 100.0, 3.0, 4.0, 100.0]);
        assert!(broken.disagreement(&reference).is_infinite());
        let zero = measured(vec![1], vec![0.0]);
        assert!(zero.disagreement(&zero) <= 0.0);
    }

    #[test]
    fn what_was_measured_comes_back_from_another_process() {
        let one = measured(vec![2], vec![1.5, -0.25]);
        let bytes = one.to_bytes();
        assert_eq!(Measured::from_bytes(&bytes), Some(one));
        assert_eq!(Measured::from_bytes(&bytes[..bytes.len() - 1]), None, "half a number");
        assert_eq!(Measured::from_bytes(b"error: no\n"), None);
    }

    #[test]
    fn the_same_engine_agrees_with_itself() {
        let options = EngineOptions::default();
        let Some(model) = crate::tests::shared("models/ultraface-rfb-320.onnx") else { return };
        let [first, second] = [0, 1].map(|_| measure("rten", &model, &options).unwrap());
        assert!(first.disagreement(&second) <= 0.0);
        assert!(first.runs >= RUNS_MIN && first.p50_ns > 0);
        assert_eq!(first.output_elements, [4420 * 2, 4420 * 4]);
        assert_eq!(first.answers.len(), INPUTS * 4420 * 6);
    }
}
