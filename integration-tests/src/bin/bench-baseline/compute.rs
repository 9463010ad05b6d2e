//! The work itself, in one thread: the same libraries that the stages run.

use crate::workload::Workload;
use anyhow::{Context as _, Result, anyhow, bail};
use engines::{Engine, EngineOptions, Ticket};
use preprocess::image::{Geometry, Limits, PixelFormat, Preprocessor, Source, TensorSpec};
use std::time::{Duration, Instant};
use tx::post::{ClassesConfig, PostConfig, PostProcessor, PostResult};
use wire::{ClassEntry, Encoding, ResultInfo, TensorShape, write_classes};
use zerocopy::IntoBytes as _;

/// Picture to tensor, engine, and output to result, with all memory allocated beforehand.
pub struct Compute {
    /// `None` for a workload of tensors.
    image: Option<Preprocessor>,
    engine: Box<dyn Engine>,
    input: Vec<f32>,
    output: Vec<f32>,
    /// Elements of the one output at the beginning of the output area.
    answer: usize,
    post: PostProcessor,
    tensor: ResultInfo,
}

impl Compute {
    /// Loads and warms up the engine. Its worker threads inherit the caller's cores: pin first.
    pub fn load(workload: &Workload) -> Result<Self> {
        let shape = |n: usize| workload.model.is_none().then(|| vec![1, n]);
        let options = EngineOptions {
            input_shape: shape(workload.elements.0),
            output_shape: shape(workload.elements.1),
            ..EngineOptions::default()
        };
        let mut engine = engines::load(workload.engine, workload.model.as_deref(), &options)?;
        engine.warm_up()?;
        let specs = engine.specs().clone();
        let image = match (workload.encoding, &specs.inputs()[0].shape[..]) {
            (Encoding::TensorF32, _) => None,
            (_, &[1, 3, height, width]) => {
                let spec = TensorSpec {
                    mean: workload.mean,
                    std: workload.std,
                    ..TensorSpec::rgb(height as u32, width as u32)
                };
                let limits = Limits { source_width: 1920, source_height: 1200, jpeg_bytes: 8 << 20 };
                Some(Preprocessor::new(spec, limits)?)
            }
            (_, other) => bail!("the model's input {other:?} is no picture of three planes"),
        };
        let shape = &specs.outputs()[0].shape;
        let config = match image {
            Some(_) => PostConfig::Classes(ClassesConfig::default()),
            None => PostConfig::Tensor,
        };
        let dims: Vec<u32> = shape.iter().map(|d| *d as u32).collect();
        Ok(Self {
            image,
            input: vec![0.0; specs.input_bytes() / size_of::<f32>()],
            output: vec![0.0; specs.output_bytes() / size_of::<f32>()],
            answer: specs.outputs()[0].elements(),
            post: PostProcessor::new(&config, std::slice::from_ref(shape))?,
            tensor: ResultInfo::Tensor(TensorShape::f32(&dims)?),
            engine,
        })
    }

    /// One frame; the result's bytes go to the beginning of `room`. Returns what they are, and how many.
    pub fn frame(
        &mut self,
        encoding: Encoding,
        width: u16,
        height: u16,
        payload: &[u8],
        room: &mut [u8],
    ) -> Result<(ResultInfo, usize)> {
        self.prepare(encoding, width, height, payload)?;
        self.infer()?;
        let scores = &self.output[..self.answer];
        match self.post.run(&[scores])? {
            PostResult::Classes(best) => {
                let entry = |(class, score): &(u32, f32)| ClassEntry { class: *class, score: *score, label: None };
                Ok(write_classes(room, best.iter().map(entry))?)
            }
            PostResult::Tensor => {
                let bytes = scores.as_bytes();
                room.get_mut(..bytes.len())
                    .context("the result is longer than the room for it")?
                    .copy_from_slice(bytes);
                Ok((self.tensor, bytes.len()))
            }
            PostResult::Detections(_) => bail!("no workload detects"),
        }
    }

    /// The tensor of one frame.
    pub fn prepare(&mut self, encoding: Encoding, width: u16, height: u16, payload: &[u8]) -> Result<()> {
        match (&mut self.image, encoding) {
            (None, Encoding::TensorF32) if payload.len() == size_of_val(&self.input[..]) => {
                self.input.as_mut_bytes().copy_from_slice(payload);
                Ok(())
            }
            (Some(image), Encoding::Rgb8) => {
                let geometry = Geometry { width: width.into(), height: height.into(), format: PixelFormat::Rgb8 };
                image.run(&Source::new(&[payload]), geometry, &mut self.input)?;
                Ok(())
            }
            _ => Err(anyhow!("{} bytes of {} are not what this workload takes", payload.len(), encoding.name())),
        }
    }

    /// The engine alone, on the tensor that was prepared last.
    pub fn infer(&mut self) -> Result<()> {
        self.engine.submit(Ticket(0), self.input.as_bytes(), self.output.as_mut_bytes())?;
        loop {
            if let Some(finished) = self.engine.poll() {
                return Ok(finished.result?);
            }
        }
    }

    /// Runs the engine alone in a loop; frames per second.
    pub fn infer_for(&mut self, time: Duration) -> Result<f64> {
        let start = Instant::now();
        let mut frames = 0_u32;
        while start.elapsed() < time {
            self.infer()?;
            frames += 1;
        }
        Ok(f64::from(frames) / start.elapsed().as_secs_f64())
    }
}
