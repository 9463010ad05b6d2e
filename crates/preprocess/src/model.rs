//! What the configured model wants: a picture of some size, or just numbers.

use crate::image::{Color, Layout, Limits, PixelFormat, Preprocessor, Resize, TensorSpec};
use ::stage::Stop;
use config::Pipeline;
use wire::Encoding;

/// The input that this pipeline's model takes.
#[derive(Debug)]
pub(crate) struct Input {
    /// Bytes of the tensor.
    pub(crate) bytes: usize,
    /// Makes it from pictures; `None` if the model's input is no picture.
    pub(crate) image: Option<Preprocessor>,
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
    pub(crate) fn new(pipeline: &Pipeline) -> Result<Self, Stop> {
        let bad = |text: String| Stop::Configuration(text);
        let model =
            pipeline.model.as_ref().ok_or_else(|| bad("the supervisor did not say what the model takes".into()))?;
        let shape = &model.input_shape;
        let bytes = shape.iter().product::<u64>() as usize * size_of::<f32>();
        let Some((channels, height, width, layout)) = picture(shape, pipeline.preprocess.layout) else {
            return Ok(Self { bytes, image: None });
        };
        let p = &pipeline.preprocess;
        let color = match p.color {
            config::Color::Rgb => Color::Rgb,
            config::Color::Bgr => Color::Bgr,
            config::Color::Gray => Color::Gray,
        };
        let have = if color == Color::Gray { 1 } else { 3 };
        if have != channels {
            let write = if channels == 1 { "\"gray\"" } else { "\"rgb\" or \"bgr\"" };
            return Err(bad(format!(
                "[preprocess] color gives {have} channels, the model takes {channels} ({shape:?}); write color = {write}"
            )));
        }
        let resize = match p.resize {
            config::Resize::Bilinear => Resize::Bilinear,
            config::Resize::BilinearAntialias => Resize::BilinearAntialias,
        };
        let spec = TensorSpec { height, width, layout, color, resize, scale: p.scale, mean: p.mean, std: p.std };
        let limits = Limits {
            source_width: p.max_width,
            source_height: p.max_height,
            jpeg_bytes: pipeline.limits.max_frame_bytes,
        };
        let image = Preprocessor::new(spec, limits).map_err(|e| bad(format!("[preprocess] {e}")))?;
        Ok(Self { bytes, image: Some(image) })
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
        Encoding::TensorF32 => PixelFormat::TensorF32,
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
