//! A network that is tried beside the one that answers: it gets a share of the frames, and its answers are only compared.

use crate::options::{name, options, verify};
use ::stage::{Context, Stop};
use arena::counters::InferCounter;
use config::{Pipeline, Shadow as Wanted};
use engines::{DType, Engine, Scratch, Specs, Ticket};
use std::time::{Duration, Instant};

/// Longest that one run may take; a shadow must not hang the stage.
const PATIENCE: Duration = Duration::from_secs(10);

/// A network and the frame that it gets next.
pub(crate) struct Shadow {
    engine: Box<dyn Engine>,
    percent: u32,
    tolerance: f64,
    /// Hundredths of a frame that it is owed.
    owed: u32,
    /// The frame's tensors and the answer that it got, kept while the frame itself goes on: its answer waits for no shadow.
    input: Scratch,
    expected: Vec<u8>,
    is_due: bool,
    got: Scratch,
}

impl Shadow {
    /// Loads and warms up `wanted`, which must have the tensors of `specs`.
    pub(crate) fn load(pipeline: &Pipeline, wanted: &Wanted, specs: &Specs) -> Result<Self, Stop> {
        let bad = |e: String| Stop::Configuration(format!("shadow {}: {e}", wanted.file.display()));
        let mut only = pipeline.with_only(wanted.number);
        only.set_file(0, &wanted.file, &wanted.sha256);
        only.set_engine(0, wanted.engine);
        verify(&only).map_err(bad)?;
        let mut engine =
            engines::load(name(wanted.engine), Some(&wanted.file), &options(&only)).map_err(|e| bad(e.to_string()))?;
        let same = |a: &[engines::TensorSpec], b: &[engines::TensorSpec]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.dtype == b.dtype && a.shape == b.shape)
        };
        if !same(engine.specs().inputs(), specs.inputs()) || !same(engine.specs().outputs(), specs.outputs()) {
            return Err(bad("its tensors are not those of the network that it shadows".to_owned()));
        }
        engine.warm_up().map_err(|e| bad(format!("the model does not run: {e}")))?;
        let quantised = engines::is_quantised(&wanted.file).map_err(|e| bad(e.to_string()))?;
        let infer = &pipeline.infer;
        Ok(Self {
            percent: wanted.percent,
            tolerance: f64::from(if quantised { infer.quantised_tolerance } else { infer.tolerance }),
            owed: 0,
            input: Scratch::new(specs.input_bytes()),
            expected: vec![0; specs.output_bytes()],
            is_due: false,
            got: Scratch::new(specs.output_bytes()),
            engine,
        })
    }

    /// Keeps a frame that is answered, if its turn has come and none is kept already.
    pub(crate) fn keep(&mut self, input: &[u8], answer: &[u8]) {
        self.owed = (self.owed + self.percent).min(200);
        if self.owed < 100 || self.is_due {
            return;
        }
        if let (Some(input), Some(answer)) = (input.get(..self.input.get().len()), answer.get(..self.expected.len())) {
            self.input.get_mut().copy_from_slice(input);
            self.expected.copy_from_slice(answer);
            self.owed -= 100;
            self.is_due = true;
        }
    }

    /// Computes and compares the frame that is kept.
    pub(crate) fn run(&mut self, cx: &Context) {
        if !std::mem::take(&mut self.is_due) {
            return;
        }
        let add = |counter: InferCounter| cx.page.add(counter as usize, 1);
        add(InferCounter::ShadowFrames);
        if let Err(error) = self.compute() {
            tracing::error!("the shadow failed: {error}");
            return add(InferCounter::ShadowErrors);
        }
        let (part, same_best) = compare(self.engine.specs(), self.got.get(), &self.expected);
        if part.is_nan() || part > self.tolerance {
            add(InferCounter::ShadowDiffers);
        }
        if !same_best {
            add(InferCounter::ShadowOtherBest);
        }
    }

    fn compute(&mut self) -> Result<(), String> {
        let submitted = self.engine.submit(Ticket(0), self.input.get(), self.got.get_mut());
        submitted.map_err(|e| e.to_string())?;
        let started = Instant::now();
        loop {
            if let Some(finished) = self.engine.poll() {
                return finished.result.map_err(|e| e.to_string());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("no answer within {} s", PATIENCE.as_secs()));
            }
            std::thread::yield_now();
        }
    }
}

/// Root mean square of the difference as a part of the expected answer's own, the largest of all outputs; and whether the first output's largest element
/// is the same.
fn compare(specs: &Specs, got: &[u8], expected: &[u8]) -> (f64, bool) {
    let (mut worst, mut same_best) = (0.0_f64, true);
    for (index, spec) in specs.outputs().iter().enumerate() {
        let Some(range) = specs.output_range(index) else { continue };
        let (Some(got), Some(expected)) = (got.get(range.clone()), expected.get(range)) else { continue };
        let (mut difference, mut size) = (0.0_f64, 0.0_f64);
        let mut best = [(0, f64::NEG_INFINITY); 2];
        let pairs = numbers(spec.dtype, got).zip(numbers(spec.dtype, expected));
        for (i, (got, expected)) in pairs.enumerate() {
            difference += (got - expected) * (got - expected);
            size += expected * expected;
            for (best, number) in best.iter_mut().zip([got, expected]) {
                if number > best.1 {
                    *best = (i, number);
                }
            }
        }
        let part = if difference == 0.0 { 0.0 } else { (difference / size.max(f64::MIN_POSITIVE)).sqrt() };
        worst = if part.is_nan() { part } else { worst.max(part) };
        same_best &= index > 0 || best[0].0 == best[1].0;
    }
    (worst, same_best)
}

fn numbers(dtype: DType, bytes: &[u8]) -> impl Iterator<Item = f64> {
    bytes.chunks_exact(dtype.bytes()).map(move |chunk| match (dtype, chunk) {
        (DType::F32, &[a, b, c, d]) => f64::from(f32::from_ne_bytes([a, b, c, d])),
        (DType::F16, &[a, b]) => half::f16::from_ne_bytes([a, b]).to_f64(),
        (DType::I8, &[byte]) => f64::from(byte.cast_signed()),
        // Chunks have the element's length, so this is u8.
        (_, chunk) => f64::from(chunk[0]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use engines::TensorSpec;

    fn specs() -> Specs {
        Specs::new(vec![TensorSpec::f32("x", [1])], vec![TensorSpec::f32("y", [1, 3])]).unwrap()
    }

    fn bytes(values: [f32; 3]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_ne_bytes()).collect()
    }

    #[test]
    fn differences_are_told_in_parts_of_the_answer() {
        let compare = |got, expected| compare(&specs(), &bytes(got), &bytes(expected));
        assert_eq!(compare([3.0, 4.0, 0.0], [3.0, 4.0, 0.0]), (0.0, true));
        let (part, same_best) = compare([3.0, 4.5, 0.0], [3.0, 4.0, 0.0]);
        assert!((part - 0.1).abs() < 1e-9 && same_best);
        assert!(!compare([5.0, 4.0, 0.0], [3.0, 4.0, 0.0]).1, "another is best");
        assert!(compare([f32::NAN, 4.0, 0.0], [3.0, 4.0, 0.0]).0.is_nan());
    }
}
