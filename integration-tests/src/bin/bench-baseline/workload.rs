//! The two workloads: what is sent, what computes, and the pipeline's configuration for it.

use anyhow::{Result, bail};
use std::path::PathBuf;
use std::time::Duration;
use wire::Encoding;

/// f32 values that the tiny workload sends: 1 KB.
const TINY_INPUT: usize = 256;
/// f32 values that it gets back.
const TINY_OUTPUT: usize = 16;
/// Sides of the picture, which is resized on its way to the model.
const PICTURE: (u16, u16) = (320, 240);

/// What is sent, and what becomes of it.
#[derive(Debug)]
pub struct Workload {
    /// Name in figures and on the server's command line.
    pub name: &'static str,
    /// Name of the engine.
    pub engine: &'static str,
    /// The network; `None` for the null engine.
    pub model: Option<PathBuf>,
    /// How the frame's bytes are to be read.
    pub encoding: Encoding,
    /// Pixels; 0 for a tensor.
    pub width: u16,
    /// Pixels; 0 for a tensor.
    pub height: u16,
    /// The frame. All frames are alike: neither system looks at what it has seen before.
    pub bytes: Vec<u8>,
    /// Per channel, after scaling to 0..1.
    pub mean: [f32; 3],
    /// Per channel.
    pub std: [f32; 3],
    /// f32 values of input and output without a model.
    pub elements: (usize, usize),
    /// Frames on their way at once when throughput is measured.
    pub window: usize,
    /// Frames, one at a time, in a round of latency.
    pub round_trips: usize,
    /// Length of a round of throughput.
    pub loaded: Duration,
}

/// Which cores the stages, or the server, may use. The client is always on core 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// All on the last of the two.
    One,
    /// infer on core 1, the rest on core 0; the server's one thread wherever the scheduler puts it.
    Two,
}

impl Cores {
    /// Name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one-core",
            Self::Two => "two-cores",
        }
    }

    /// The server's cores, of a machine with `machine` of them.
    pub fn of_server(self, machine: usize) -> Vec<usize> {
        match self {
            Self::One => vec![1.min(machine - 1)],
            Self::Two => vec![0, 1],
        }
    }

    fn of_stages(self, machine: usize) -> (usize, usize) {
        match self {
            Self::One => (1.min(machine - 1), 1.min(machine - 1)),
            Self::Two => (0, 1),
        }
    }
}

impl Workload {
    /// By name, the same in client and server.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "tiny" => Ok(Self::tiny()),
            "mobilenet" => Ok(Self::mobilenet()),
            _ => bail!("there is no workload {name}; take tiny or mobilenet"),
        }
    }

    /// A tensor of 1 KB in one packet, and an engine that only copies: all that is measured is the way there and back.
    pub fn tiny() -> Self {
        Self {
            name: "tiny",
            engine: "null",
            model: None,
            encoding: Encoding::TensorF32,
            width: 0,
            height: 0,
            bytes: (0..TINY_INPUT).flat_map(|i| (i as f32 / 8.0).to_le_bytes()).collect(),
            mean: [0.0; 3],
            std: [1.0; 3],
            elements: (TINY_INPUT, TINY_OUTPUT),
            window: 32,
            round_trips: 1_500,
            loaded: Duration::from_millis(700),
        }
    }

    /// A raw picture through a convolutional network: the reference MobileNet-V2 where it is there, else the bundled model.
    pub fn mobilenet() -> Self {
        let reference = integration_tests::root().join("../shared/models/mobilenetv2-fp32.onnx");
        let bundled = integration_tests::root().join("models/roadside.onnx");
        let is_there = reference.exists();
        let (mean, std) = if is_there { ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) } else { ([0.5; 3], [0.5; 3]) };
        let (width, height) = PICTURE;
        let pixels = usize::from(width) * usize::from(height);
        // Smooth in space and different in each channel: something to interpolate.
        let pixel = |i: usize| [i / usize::from(width), i % usize::from(width), i / 97].map(|v| (v % 256) as u8);
        Self {
            name: "mobilenet",
            engine: "rten",
            model: Some(if is_there { reference } else { bundled }),
            encoding: Encoding::Rgb8,
            width,
            height,
            bytes: (0..pixels).flat_map(pixel).collect(),
            mean,
            std,
            elements: (0, 0),
            window: 8,
            round_trips: 25,
            loaded: Duration::from_millis(2_500),
        }
    }

    /// File name of the model, or the engine's name where there is none.
    pub fn model_name(&self) -> String {
        let file = self.model.as_deref().and_then(|m| m.file_name());
        file.map_or_else(|| format!("{} engine", self.engine), |f| f.to_string_lossy().into_owned())
    }

    /// The pipeline's configuration on these cores of a machine with `machine` of them.
    pub fn pipeline_toml(&self, cores: Cores, machine: usize) -> String {
        let (rest, infer) = cores.of_stages(machine);
        let head = format!(
            "[pipeline]\ncores = {{ supervisor = {rest}, rx_gateway = {rest}, preprocess = [{rest}], infer = [{infer}], tx = {rest} }}\n\
             [infer]\nengine = \"{}\"\n",
            self.engine
        );
        match &self.model {
            None => format!(
                "{head}null_input_elements = {}\nnull_output_elements = {}\n[post]\nkind = \"tensor\"\n",
                self.elements.0, self.elements.1
            ),
            Some(model) => format!(
                "{head}model = {}\n[preprocess]\nmean = {:?}\nstd = {:?}\n[post]\nkind = \"classes\"\ntop_k = 5\n",
                // A string of JSON is one of TOML.
                serde_json::json!(model),
                self.mean,
                self.std
            ),
        }
    }
}
