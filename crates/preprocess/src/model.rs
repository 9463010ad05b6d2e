//! What the configured models want: a picture of some size, or just numbers.

use crate::image::{Color, JpegDecoder, Layout, Limits, Options, PixelFormat, Preprocessor, Resize, TensorSpec};
use ::stage::Stop;
use config::{DType, Network, Pipeline, StreamId};
use wire::Encoding;

/// The input that a model takes.
#[derive(Debug)]
pub(crate) struct Input {
    /// Bytes of all its tensors.
    pub(crate) bytes: usize,
    /// It is one tensor of f32, or several.
    pub(crate) is_f32: bool,
    /// Element type of the first.
    pub(crate) dtype: DType,
    /// Where pictures become f32 before they become elements of another type; empty for f32.
    pub(crate) numbers: Vec<f32>,
    /// Makes it from pictures; `None` if the model's input is no picture.
    pub(crate) image: Option<Preprocessor>,
}

/// The inputs of all models, and which stream goes to which.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) models: Vec<Input>,
    route: Route,
}

/// Which model each stream's frames go through.
#[derive(Debug)]
struct Route {
    default: u16,
    /// Streams with an entry of their own, in the order of their numbers.
    streams: Vec<(u32, u16)>,
}

impl Route {
    fn new(pipeline: &Pipeline) -> Self {
        // Names were checked with the configuration.
        let number = |stream: &config::Stream| pipeline.model_number(&stream.model).unwrap_or(0) as u16;
        let entry = |stream: &config::Stream| match stream.id {
            StreamId::Id(id) => Some((id, number(stream))),
            StreamId::Default => None,
        };
        Self { default: number(&pipeline.default_stream), streams: pipeline.streams.iter().filter_map(entry).collect() }
    }
}

impl Inputs {
    pub(crate) fn new(pipeline: &Pipeline) -> Result<Self, Stop> {
        if pipeline.networks.is_empty() {
            return Err(Stop::Configuration("the supervisor did not say what the model takes".into()));
        }
        let models = pipeline.networks.iter().map(|network| Input::new(pipeline, network)).collect::<Result<_, _>>()?;
        Ok(Self { models, route: Route::new(pipeline) })
    }

    /// The model that frames of `stream` go through.
    #[inline]
    pub(crate) fn of(&self, stream: u32) -> u16 {
        let route = &self.route;
        match route.streams.binary_search_by_key(&stream, |(id, _)| *id) {
            Ok(at) => route.streams[at].1,
            Err(_) => route.default,
        }
    }

    /// Takes over which stream goes where.
    pub(crate) fn reload(&mut self, pipeline: &Pipeline) {
        self.route = Route::new(pipeline);
    }
}

/// (channels, height, width, layout) if `shape` is a picture's.
fn picture(shape: &[u64], wanted: config::Layout) -> Option<(u64, u32, u32, Layout)> {
    let &[1, a, b, c] = shape else { return None };
    let channels = |n: u64| n == 1 || n == 3;
    let nchw = channels(a) && wanted != config::Layout::Nhwc;
    let nhwc = channels(c) && wanted != config::Layout::Nchw;
    let side = |n: u64| u32::try_from(n).ok();
    match (nchw, nhwc) {
        (true, _) => Some((a, side(b)?, side(c)?, Layout::Nchw)),
        (false, true) => Some((c, side(a)?, side(b)?, Layout::Nhwc)),
        _ => None,
    }
}

impl Input {
    fn new(pipeline: &Pipeline, network: &Network) -> Result<Self, Stop> {
        let (model, facts) = (&network.model, &network.facts);
        let bad = |text: String| Stop::Configuration(format!("model {}: {text}", model.name));
        let bytes = facts.input_bytes as usize;
        let is_f32 = facts.inputs.iter().all(|input| input.dtype == DType::F32);
        let shape = match &facts.inputs[..] {
            [only] => picture(&only.shape, model.picture.layout),
            _ => None,
        };
        let dtype = facts.inputs.first().map_or(DType::F32, |input| input.dtype);
        let Some((channels, height, width, layout)) = shape else {
            return Ok(Self { bytes, is_f32, dtype, numbers: Vec::new(), image: None });
        };
        let p = &model.picture;
        let color = match p.color {
            config::Color::Auto if channels == 1 => Color::Gray,
            config::Color::Rgb | config::Color::Auto => Color::Rgb,
            config::Color::Bgr => Color::Bgr,
            config::Color::Gray => Color::Gray,
        };
        let have = if color == Color::Gray { 1 } else { 3 };
        if have != channels {
            let write = if channels == 1 { "\"gray\"" } else { "\"rgb\" or \"bgr\"" };
            let shape = &facts.inputs[0].shape;
            return Err(bad(format!(
                "color gives {have} channels, the model takes {channels} ({shape:?}); write color = {write}, or \"auto\""
            )));
        }
        let resize = match p.resize {
            config::Resize::Bilinear => Resize::Bilinear,
            config::Resize::BilinearAntialias => Resize::BilinearAntialias,
        };
        let spec = TensorSpec { height, width, layout, color, resize, scale: p.scale, mean: p.mean, std: p.std };
        let limits = Limits {
            source_width: pipeline.preprocess.max_width,
            source_height: pipeline.preprocess.max_height,
            jpeg_bytes: pipeline.limits.max_frame_bytes,
        };
        let jpeg = match pipeline.preprocess.jpeg {
            config::Jpeg::Auto => JpegDecoder::Auto,
            config::Jpeg::TurboJpeg => JpegDecoder::TurboJpeg,
            config::Jpeg::Zune => JpegDecoder::Zune,
        };
        let options = Options { jpeg, jpeg_scaling: pipeline.preprocess.jpeg_scaling, ..Options::default() };
        let image = Preprocessor::with_options(spec, limits, options).map_err(|e| bad(e.to_string()))?;
        tracing::info!("filters: {}; JPEG: {}", options.kernels.isa(), image.jpeg_choice());
        let numbers = vec![0.0; if is_f32 { 0 } else { image.spec().elements() }];
        Ok(Self { bytes, is_f32, dtype, numbers, image: Some(image) })
    }
}

/// The kernels' name for a wire encoding.
pub(crate) fn pixel_format(encoding: Encoding) -> PixelFormat {
    match encoding {
        Encoding::Jpeg => PixelFormat::Jpeg,
        Encoding::Rgb8 => PixelFormat::Rgb8,
        Encoding::Bgr8 => PixelFormat::Bgr8,
        Encoding::Gray8 => PixelFormat::Gray8,
        Encoding::Nv12 => PixelFormat::Nv12,
        Encoding::Yuyv => PixelFormat::Yuyv,
        Encoding::TensorF32 | Encoding::TensorRaw => PixelFormat::TensorF32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_pictures() {
        use config::Layout as L;
        assert_eq!(picture(&[1, 3, 224, 200], L::Auto), Some((3, 224, 200, Layout::Nchw)));
        assert_eq!(picture(&[1, 224, 200, 3], L::Auto), Some((3, 224, 200, Layout::Nhwc)));
        assert_eq!(picture(&[1, 3, 224, 3], L::Nhwc), Some((3, 3, 224, Layout::Nhwc)));
        assert_eq!(picture(&[1, 1, 28, 28], L::Auto), Some((1, 28, 28, Layout::Nchw)));
        assert_eq!(picture(&[1, 16], L::Auto), None);
        assert_eq!(picture(&[2, 3, 8, 8], L::Auto), None);
    }
}
