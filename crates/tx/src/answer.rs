//! From the model's outputs to the bytes of a result.

use crate::post::{
    BoxForm, BoxUnit, ClassesConfig, DetectionsConfig, PostConfig, PostProcessor, PostResult, ScoreActivation,
};
use ::stage::{Stop, recycle};
use config::{Pipeline, PostKind};
use std::ops::Range;
use wire::{ClassEntry, Detection, ResultInfo, TensorShape, write_classes, write_detections};
use zerocopy::FromBytes;

/// Longest label in a reply: with 32 classes it still fits into one packet buffer.
const LABEL_MAX: usize = 64;

/// Where a result lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Behind the header, this many bytes.
    Inline(usize),
    /// At the beginning of the slot's output area, this many bytes.
    Output(usize),
}

/// Post-processing for the configured model.
#[derive(Debug)]
pub(crate) struct Answers {
    post: PostProcessor,
    outputs: Vec<Range<usize>>,
    scratch: Vec<&'static [f32]>,
    labels: Vec<String>,
    tensor: ResultInfo,
    tensor_bytes: usize,
}

fn config_of(pipeline: &Pipeline) -> PostConfig {
    let p = &pipeline.post;
    match p.kind {
        PostKind::Classes => {
            PostConfig::Classes(ClassesConfig { output: 0, softmax: p.softmax, top_k: p.top_k as usize })
        }
        PostKind::Tensor => PostConfig::Tensor,
        PostKind::Detections => {
            let (width, height) = match pipeline.model.as_ref().map(|m| &m.input_shape[..]) {
                Some(&[_, 1 | 3, h, w] | &[_, h, w, 1 | 3]) => (w as u32, h as u32),
                _ => (1, 1),
            };
            PostConfig::Detections(DetectionsConfig {
                scores_output: p.scores_output as usize,
                boxes_output: p.boxes_output as usize,
                activation: match p.score_activation {
                    config::ScoreActivation::None => ScoreActivation::None,
                    config::ScoreActivation::Softmax => ScoreActivation::Softmax,
                    config::ScoreActivation::Sigmoid => ScoreActivation::Sigmoid,
                },
                background_class: p.background_class.map(|c| c as usize),
                box_form: match p.box_form {
                    config::BoxForm::Corners => BoxForm::Corners,
                    config::BoxForm::Center => BoxForm::Centre,
                },
                box_unit: match p.box_units {
                    config::BoxUnits::Normalised => BoxUnit::Normalised,
                    config::BoxUnits::Pixels => BoxUnit::Pixels { width, height },
                },
                score_threshold: p.score_threshold,
                iou_threshold: p.iou_threshold,
                max_detections: p.max_detections as usize,
            })
        }
    }
}

impl Answers {
    pub(crate) fn new(pipeline: &Pipeline) -> Result<Self, Stop> {
        let bad = |text: String| Stop::Configuration(text);
        let model =
            pipeline.model.as_ref().ok_or_else(|| bad("the supervisor did not say what the model gives".into()))?;
        let shapes: Vec<Vec<usize>> =
            model.output_shapes.iter().map(|s| s.iter().map(|d| *d as usize).collect()).collect();
        let post = PostProcessor::new(&config_of(pipeline), &shapes).map_err(|e| bad(format!("[post] {e}")))?;
        let mut at = 0_usize;
        let mut outputs = Vec::new();
        for shape in &shapes {
            at = at.next_multiple_of(arena::layout::TENSOR_ALIGN as usize);
            let len = shape.iter().product::<usize>() * size_of::<f32>();
            outputs.push(at..at + len);
            at += len;
        }
        // One output keeps its shape; several go out as one flat area, laid out as `--describe` says.
        let dims: Vec<u32> = match &shapes[..] {
            [one] => one.iter().map(|d| *d as u32).collect(),
            _ => vec![(at / size_of::<f32>()) as u32],
        };
        let tensor = TensorShape::f32(&dims).map_err(|e| bad(format!("the model's output cannot be a reply: {e}")));
        let tensor = match (tensor, pipeline.post.kind) {
            (Ok(shape), _) => ResultInfo::Tensor(shape),
            (Err(stop), PostKind::Tensor) => return Err(stop),
            (Err(_), _) => ResultInfo::None,
        };
        let labels =
            pipeline.post.label_names.iter().map(|l| l[..l.floor_char_boundary(LABEL_MAX)].to_owned()).collect();
        Ok(Self { post, scratch: Vec::with_capacity(outputs.len()), outputs, labels, tensor, tensor_bytes: at })
    }

    /// The result of one frame. Short ones are written to `room`.
    pub(crate) fn answer(&mut self, area: &[u8], room: &mut [u8]) -> Option<(ResultInfo, Body)> {
        let mut outputs = recycle(std::mem::take(&mut self.scratch));
        for range in &self.outputs {
            outputs.push(<[f32]>::ref_from_bytes(area.get(range.clone())?).ok()?);
        }
        let labels = &self.labels;
        let answer = match self.post.run(&outputs) {
            Ok(PostResult::Tensor) => Some((self.tensor, Body::Output(self.tensor_bytes))),
            Ok(PostResult::Classes(classes)) => {
                let entry = |(class, score): &(u32, f32)| ClassEntry {
                    class: *class,
                    score: *score,
                    label: labels.get(*class as usize).map(String::as_str),
                };
                write_classes(room, classes.iter().map(entry)).ok().map(|(info, len)| (info, Body::Inline(len)))
            }
            Ok(PostResult::Detections(boxes)) => {
                let entries = boxes.iter().map(|b| Detection {
                    x0: b.x1,
                    y0: b.y1,
                    x1: b.x2,
                    y1: b.y2,
                    score: b.score,
                    class: b.class,
                });
                write_detections(room, entries).ok().map(|(info, len)| (info, Body::Inline(len)))
            }
            Err(_) => None,
        };
        self.scratch = recycle(outputs);
        answer
    }
}
