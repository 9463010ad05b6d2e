//! `[rx_gateway]`, `[preprocess]` and `[infer]`: into frames, from pixels to the tensor, and through the network.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, Origin};
use crate::reader::Section;
use crate::value::words;

/// Most instances of one stage, as the arena's layout has it.
const MAX_INSTANCES: u32 = 16;

words! {
    /// How frames are spread over the instances of a stage.
    Spread {
        /// To the instance with the shortest queue.
        Shortest = "shortest",
        /// All frames of a stream to the same instance, so that their order is kept.
        Stream = "stream",
    }
}

words! {
    /// How a picture is brought to the network's size.
    Resize {
        /// Interpolation between the four nearest pixels; cheap, aliases when it shrinks much.
        Bilinear = "bilinear",
        /// Triangle filter as wide as the shrinking, like Pillow's `BILINEAR`.
        BilinearAntialias = "bilinear-antialias",
    }
}

words! {
    /// Order of the tensor's dimensions.
    Layout {
        /// As the model's input shape tells.
        Auto = "auto",
        /// `[N, C, H, W]`
        Nchw = "nchw",
        /// `[N, H, W, C]`
        Nhwc = "nhwc",
    }
}

words! {
    /// Order of the tensor's channels.
    Color {
        /// As many channels as the network takes: red, green, blue, or luma.
        Auto = "auto",
        /// Red, green, blue.
        Rgb = "rgb",
        /// Blue, green, red.
        Bgr = "bgr",
        /// One channel: luma.
        Gray = "gray",
    }
}

words! {
    /// What decodes JPEG frames.
    Jpeg {
        /// libjpeg-turbo if the machine has it, else the embedded decoder.
        Auto = "auto",
        /// libjpeg-turbo (`libturbojpeg.so.0`).
        TurboJpeg = "turbojpeg",
        /// The embedded decoder.
        Zune = "zune",
    }
}

words! {
    /// What runs the network.
    Engine {
        /// The fastest of those below that run the network here and agree with each other.
        Auto = "auto",
        /// rten, the embedded engine.
        Rten = "rten",
        /// tract; a build with the feature `tract` has it.
        Tract = "tract",
        /// ONNX Runtime, where its library is.
        Onnxruntime = "onnxruntime",
        /// OpenVINO, where its library is.
        Openvino = "openvino",
        /// TensorRT, where its library and a GPU are.
        Tensorrt = "tensorrt",
        /// Arm NN, where its library is; it takes TensorFlow Lite models.
        Armnn = "armnn",
        /// No network: echoes its input. For measurements.
        Null = "null",
        /// `null` after a delay. For measurements.
        Delay = "delay",
        /// `null` that aborts the process on a marked input. For tests of crashes.
        Abort = "abort",
    }
}

impl Engine {
    /// Whether this engine can only run with a model.
    pub const fn needs_model(self) -> bool {
        !matches!(self, Self::Null | Self::Delay | Self::Abort)
    }
}

words! {
    /// How exactly an engine must compute.
    Precision {
        /// In the number formats that the model names.
        Model = "model",
        /// In shorter ones where the device computes faster in them.
        Reduced = "reduced",
    }
}

/// `[rx_gateway]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RxGateway {
    /// Processes of this stage. Each has a socket of its own, over which the kernel spreads the senders, and an equal share of
    /// the buffers and of the frames admitted at once.
    pub instances: u32,
}

impl RxGateway {
    pub(crate) fn defaults() -> Self {
        Self { instances: 1 }
    }

    pub(crate) fn read(section: &mut Section<'_, '_>) -> Result<Self, ConfigError> {
        let mut gateway = Self::defaults();
        section.set("instances", &mut gateway.instances)?;
        Ok(gateway)
    }

    pub(crate) fn check(&self, at: &Origin) -> Result<(), ConfigError> {
        at.in_range("rx_gateway.instances", self.instances, 1..=MAX_INSTANCES)
    }
}

/// How a picture becomes a network's input. A tensor value is `(pixel * scale - mean) / std`, with pixels from 0 to 255.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Picture {
    /// How it is brought to the network's size.
    pub resize: Resize,
    /// Order of the tensor's dimensions.
    pub layout: Layout,
    /// Order of the tensor's channels.
    pub color: Color,
    /// Factor applied to each pixel value.
    pub scale: f32,
    /// Subtracted after scaling, per channel in the tensor's order.
    pub mean: [f32; 3],
    /// Divisor after that, per channel in the tensor's order.
    pub std: [f32; 3],
}

impl Picture {
    pub(crate) fn defaults() -> Self {
        Self {
            resize: Resize::Bilinear,
            layout: Layout::Auto,
            color: Color::Auto,
            scale: 1.0 / 255.0,
            mean: [0.0; 3],
            std: [1.0; 3],
        }
    }

    pub(crate) fn read(&mut self, section: &mut Section<'_, '_>) -> Result<(), ConfigError> {
        section.set("resize", &mut self.resize)?;
        section.set("layout", &mut self.layout)?;
        section.set("color", &mut self.color)?;
        section.set("scale", &mut self.scale)?;
        section.set("mean", &mut self.mean)?;
        section.set("std", &mut self.std)
    }

    /// `path`: the table in which its keys stand.
    pub(crate) fn check(&self, at: &Origin, path: &str) -> Result<(), ConfigError> {
        let finite = |numbers: &[f32]| numbers.iter().all(|number| number.is_finite());
        let key = |name: &str| format!("{path}.{name}");
        if self.scale == 0.0 || !self.scale.is_finite() {
            let remedy = "write 0.00392156862745098 (1/255) for values from 0 to 1";
            return Err(at.error(&key("scale"), &format!("= {} makes every picture the same", self.scale), remedy));
        }
        if !finite(&self.mean) {
            return Err(at.error(&key("mean"), "has a value that is not finite", "write three numbers"));
        }
        if !finite(&self.std) || self.std.contains(&0.0) {
            let remedy = "write three numbers other than 0; [1, 1, 1] leaves the values as they are";
            return Err(at.error(&key("std"), &format!("= {:?} divides by zero", self.std), remedy));
        }
        Ok(())
    }
}

/// `[preprocess]`; what it says of pictures holds for the default network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Processes of this stage.
    pub instances: u32,
    /// How rx-gateway spreads frames over them.
    pub spread: Spread,
    /// How pictures become the default network's input.
    pub picture: Picture,
    /// What decodes JPEG frames.
    pub jpeg: Jpeg,
    /// Whether JPEG frames much larger than the tensor are decoded at a fraction of their size.
    pub jpeg_scaling: bool,
    /// Widest picture that is accepted, in pixels.
    pub max_width: u32,
    /// Highest picture that is accepted, in pixels.
    pub max_height: u32,
}

impl Preprocess {
    pub(crate) fn defaults() -> Self {
        Self {
            instances: 1,
            spread: Spread::Shortest,
            picture: Picture::defaults(),
            jpeg: Jpeg::Auto,
            jpeg_scaling: true,
            max_width: 1920,
            max_height: 1200,
        }
    }

    /// `picture`: what the default network's manifest says.
    pub(crate) fn read(section: &mut Section<'_, '_>, picture: Picture) -> Result<Self, ConfigError> {
        let mut preprocess = Self { picture, ..Self::defaults() };
        section.set("instances", &mut preprocess.instances)?;
        section.set("spread", &mut preprocess.spread)?;
        preprocess.picture.read(section)?;
        section.set("jpeg", &mut preprocess.jpeg)?;
        section.set("jpeg_scaling", &mut preprocess.jpeg_scaling)?;
        section.set("max_width", &mut preprocess.max_width)?;
        section.set("max_height", &mut preprocess.max_height)?;
        Ok(preprocess)
    }

    pub(crate) fn check(&self, at: &Origin) -> Result<(), ConfigError> {
        at.in_range("preprocess.instances", self.instances, 1..=MAX_INSTANCES)?;
        at.in_range("preprocess.max_width", self.max_width, 1..=16384)?;
        at.in_range("preprocess.max_height", self.max_height, 1..=16384)?;
        self.picture.check(at, "preprocess")
    }
}

/// `[infer]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Infer {
    /// Processes of this stage.
    pub instances: u32,
    /// What runs the network.
    pub engine: Engine,
    /// The default network; absolute after loading. [`Engine::needs_model`] says who cannot do without.
    pub model: Option<PathBuf>,
    /// SHA-256 that its file must have, in lower-case hexadecimal; empty checks nothing.
    pub sha256: String,
    /// Threads of the engine in one instance.
    pub threads: u32,
    /// How exactly the engine must compute.
    pub precision: Precision,
    /// How far answers of an automatically chosen engine may be from the reference engine's: root mean square of the difference, as a part of the
    /// root mean square of the reference's answers.
    pub tolerance: f32,
    /// The same for networks that compute in quantised numbers, whose rounding is each engine's own.
    pub quantised_tolerance: f32,
    /// Which device, in the engine's own words; empty lets it take its usual one.
    pub device: String,
    /// Folder whose subfolders hold engines' libraries; absolute after loading.
    pub runtime_dir: Option<PathBuf>,
    /// Folder for compiled models; absolute after loading. None compiles them anew at each start.
    pub cache_dir: Option<PathBuf>,
    /// Most frames that are computed together, where the engine gains by that.
    pub max_batch: u32,
    /// Longest that a frame waits for company in a batch.
    pub max_wait_us: u32,
    /// What engine `delay` takes for one frame.
    pub delay_us: u32,
    /// Whether engine `delay` burns the core while it waits.
    pub busy: bool,
    /// f32 values of the input of `null`, `delay` and `abort` without a model.
    pub null_input_elements: u32,
    /// f32 values of their output.
    pub null_output_elements: u32,
    /// How preprocess spreads frames over the instances.
    pub spread: Spread,
    /// Most frames that one instance keeps in its engine at once.
    pub max_in_flight: u32,
}

impl Infer {
    pub(crate) fn defaults() -> Self {
        Self {
            instances: 1,
            engine: Engine::Auto,
            model: None,
            sha256: String::new(),
            threads: 1,
            precision: Precision::Model,
            tolerance: 0.02,
            quantised_tolerance: 0.2,
            device: String::new(),
            runtime_dir: None,
            cache_dir: None,
            max_batch: 1,
            max_wait_us: 0,
            delay_us: 1000,
            busy: false,
            null_input_elements: 256,
            null_output_elements: 16,
            spread: Spread::Shortest,
            max_in_flight: 4,
        }
    }

    pub(crate) fn read(section: &mut Section<'_, '_>) -> Result<Self, ConfigError> {
        let mut infer = Self::defaults();
        section.set("instances", &mut infer.instances)?;
        section.set("engine", &mut infer.engine)?;
        section.set("model", &mut infer.model)?;
        section.set("sha256", &mut infer.sha256)?;
        section.set("threads", &mut infer.threads)?;
        section.set("precision", &mut infer.precision)?;
        section.set("tolerance", &mut infer.tolerance)?;
        section.set("quantised_tolerance", &mut infer.quantised_tolerance)?;
        section.set("device", &mut infer.device)?;
        section.set("runtime_dir", &mut infer.runtime_dir)?;
        section.set("cache_dir", &mut infer.cache_dir)?;
        section.set("max_batch", &mut infer.max_batch)?;
        section.set("max_wait_us", &mut infer.max_wait_us)?;
        section.set("delay_us", &mut infer.delay_us)?;
        section.set("busy", &mut infer.busy)?;
        section.set("null_input_elements", &mut infer.null_input_elements)?;
        section.set("null_output_elements", &mut infer.null_output_elements)?;
        section.set("spread", &mut infer.spread)?;
        section.set("max_in_flight", &mut infer.max_in_flight)?;
        Ok(infer)
    }

    pub(crate) fn check(&self, at: &Origin) -> Result<(), ConfigError> {
        at.in_range("infer.instances", self.instances, 1..=MAX_INSTANCES)?;
        at.in_range("infer.threads", self.threads, 1..=256)?;
        at.in_range("infer.tolerance", self.tolerance, 0.0..=1.0)?;
        at.in_range("infer.quantised_tolerance", self.quantised_tolerance, 0.0..=1.0)?;
        at.in_range("infer.max_batch", self.max_batch, 1..=64)?;
        at.in_range("infer.max_wait_us", self.max_wait_us, 0..=1_000_000)?;
        at.in_range("infer.delay_us", self.delay_us, 0..=10_000_000)?;
        at.in_range("infer.null_input_elements", self.null_input_elements, 1..=1 << 26)?;
        at.in_range("infer.null_output_elements", self.null_output_elements, 1..=1 << 26)?;
        at.in_range("infer.max_in_flight", self.max_in_flight, 1..=256)?;
        if self.engine.needs_model() && self.model.is_none() {
            return Err(at.error(
                "infer.model",
                &format!("is missing, and engine \"{}\" cannot do without", self.engine),
                "write model = \"path/to/network.onnx\"",
            ));
        }
        Ok(())
    }
}
