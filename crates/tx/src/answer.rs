//! From the model's outputs to the bytes of a result.

use crate::post::{
    BoxForm, BoxUnit, ClassesConfig, DetectionsConfig, PostConfig, PostProcessor, PostResult, ScoreActivation,
};
use ::stage::{Stop, recycle};
use config::{DType, Network, Pipeline, PostKind, TensorFacts};
use std::ops::Range;
use wire::{ClassEntry, Detection, ElementType, ResultInfo, TensorShape, write_classes, write_detections};
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

/// Post-processing for every network of the pipeline.
#[derive(Debug)]
pub(crate) struct Answers {
    models: Vec<ModelAnswers>,
}

/// Post-processing for one network.
#[derive(Debug)]
struct ModelAnswers {
    post: PostProcessor,
    outputs: Vec<Output>,
    scratch: Vec<&'static [f32]>,
    labels: Vec<String>,
    tensor: ResultInfo,
    tensor_bytes: usize,
}

/// One output in the slot's output area.
#[derive(Debug)]
struct Output {
    range: Range<usize>,
    dtype: DType,
    /// Its elements as f32, if it has another element type.
    numbers: Vec<f32>,
}

fn config_of(network: &Network) -> Result<PostConfig, Stop> {
    let p = &network.model.post;
    Ok(match p.kind {
        PostKind::Auto => return Err(Stop::Configuration("[post] kind = \"auto\" was not settled".to_owned())),
        PostKind::Classes => {
            PostConfig::Classes(ClassesConfig { output: 0, softmax: p.softmax, top_k: p.top_k as usize })
        }
        PostKind::Tensor => PostConfig::Tensor,
        PostKind::Detections => {
            let (width, height) = match network.facts.inputs.first().map(|input| &input.shape[..]) {
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
    })
}

impl Answers {
    pub(crate) fn new(pipeline: &Pipeline) -> Result<Self, Stop> {
        if pipeline.networks.is_empty() {
            return Err(Stop::Configuration("the supervisor did not say what the model gives".into()));
        }
        Ok(Self { models: pipeline.networks.iter().map(ModelAnswers::new).collect::<Result<_, _>>()? })
    }

    /// The result of one frame that went through network `model`. Short ones are written to `room`.
    pub(crate) fn answer(&mut self, model: usize, area: &[u8], room: &mut [u8]) -> Option<(ResultInfo, Body)> {
        self.models.get_mut(model)?.answer(area, room)
    }
}

impl ModelAnswers {
    fn new(network: &Network) -> Result<Self, Stop> {
        let bad = |text: String| Stop::Configuration(format!("model {}: {text}", network.model.name));
        let facts = &network.facts.outputs;
        let sides = |output: &TensorFacts| output.shape.iter().map(|side| *side as usize).collect();
        let shapes: Vec<Vec<usize>> = facts.iter().map(sides).collect();
        let post = PostProcessor::new(&config_of(network)?, &shapes).map_err(|e| bad(format!("[post] {e}")))?;
        let mut at = 0_usize;
        let mut outputs = Vec::new();
        for output in facts {
            at = at.next_multiple_of(arena::layout::TENSOR_ALIGN as usize);
            let len = output.bytes() as usize;
            let elements = if output.dtype == DType::F32 { 0 } else { len / output.dtype.bytes() as usize };
            outputs.push(Output { range: at..at + len, dtype: output.dtype, numbers: vec![0.0; elements] });
            at += len;
        }
        let tensor = tensor_of(facts, at).map_err(|e| bad(format!("the model's output cannot be a reply: {e}")));
        let tensor = match (tensor, network.model.post.kind) {
            (Ok(shape), _) => ResultInfo::Tensor(shape),
            (Err(stop), PostKind::Tensor) => return Err(stop),
            (Err(_), _) => ResultInfo::None,
        };
        let names = &network.model.post.label_names;
        let labels = names.iter().map(|l| l[..l.floor_char_boundary(LABEL_MAX)].to_owned()).collect();
        Ok(Self { post, scratch: Vec::with_capacity(outputs.len()), outputs, labels, tensor, tensor_bytes: at })
    }

    /// The result of one frame. Short ones are written to `room`.
    fn answer(&mut self, area: &[u8], room: &mut [u8]) -> Option<(ResultInfo, Body)> {
        for output in &mut self.outputs {
            output.convert(area)?;
        }
        let mut outputs = recycle(std::mem::take(&mut self.scratch));
        for output in &self.outputs {
            outputs.push(output.as_f32(area)?);
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

/// One output keeps its type and shape. Several go out as one flat area, laid out as `--describe` says: as f32 if all of them are, else as bytes.
fn tensor_of(outputs: &[TensorFacts], area_bytes: usize) -> Result<TensorShape, wire::BuildError> {
    let element = |dtype: DType| match dtype {
        DType::F32 => ElementType::F32,
        DType::F16 => ElementType::F16,
        DType::U8 => ElementType::U8,
        DType::I8 => ElementType::I8,
    };
    match outputs {
        [one] => {
            let dims: Vec<u32> = one.shape.iter().map(|d| *d as u32).collect();
            TensorShape::new(element(one.dtype), &dims)
        }
        several if several.iter().all(|output| output.dtype == DType::F32) => {
            TensorShape::f32(&[(area_bytes / size_of::<f32>()) as u32])
        }
        _ => TensorShape::new(ElementType::U8, &[area_bytes as u32]),
    }
}

impl Output {
    /// Brings elements of other types into the form that post-processing reads.
    fn convert(&mut self, area: &[u8]) -> Option<()> {
        let bytes = area.get(self.range.clone())?;
        match self.dtype {
            DType::F32 => {}
            DType::F16 => {
                let halves = bytes.chunks_exact(2).map(|b| half::f16::from_ne_bytes([b[0], b[1]]).to_f32());
                self.numbers.iter_mut().zip(halves).for_each(|(to, from)| *to = from);
            }
            DType::U8 => self.numbers.iter_mut().zip(bytes).for_each(|(to, from)| *to = f32::from(*from)),
            DType::I8 => {
                self.numbers.iter_mut().zip(bytes).for_each(|(to, from)| *to = f32::from(from.cast_signed()));
            }
        }
        Some(())
    }

    fn as_f32<'a>(&'a self, area: &'a [u8]) -> Option<&'a [f32]> {
        if self.dtype == DType::F32 {
            <[f32]>::ref_from_bytes(area.get(self.range.clone())?).ok()
        } else {
            Some(&self.numbers)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{Engine, ModelFacts};

    fn network(outputs: Vec<TensorFacts>, kind: PostKind) -> Network {
        let mut model = Pipeline::default_with(Engine::Null).default_model();
        model.post.kind = kind;
        model.post.softmax = false;
        let inputs = vec![TensorFacts::f32([1, 3, 8, 8])];
        Network {
            model,
            facts: ModelFacts { input_bytes: 768, output_bytes: 64, inputs, outputs, sha256: String::new() },
        }
    }

    fn best(dtype: DType, bytes: &[u8]) -> (u32, f32) {
        let output = TensorFacts { dtype, shape: vec![1, 3] };
        let mut answers = ModelAnswers::new(&network(vec![output], PostKind::Classes)).unwrap();
        let mut room = [0; 512];
        let (info, Body::Inline(len)) = answers.answer(bytes, &mut room).unwrap() else { panic!("a short answer") };
        let wire::ResultView::Classes(mut classes) = info.view(&room[..len]).unwrap() else { panic!("classes") };
        let first = classes.next().unwrap();
        (first.class, first.score)
    }

    #[test]
    fn scores_of_every_element_type_are_numbers() {
        let floats: Vec<u8> = [0.5_f32, -1.0, 0.25].iter().flat_map(|n| n.to_ne_bytes()).collect();
        // A slot's output area is aligned; this copy is too.
        let mut aligned = [0.0_f32; 3];
        zerocopy::IntoBytes::as_mut_bytes(&mut aligned).copy_from_slice(&floats);
        assert_eq!(best(DType::F32, zerocopy::IntoBytes::as_bytes(&aligned)), (0, 0.5));
        let halves: Vec<u8> = [0.5, 2.0, -3.0].iter().flat_map(|n| half::f16::from_f32(*n).to_ne_bytes()).collect();
        assert_eq!(best(DType::F16, &halves), (1, 2.0));
        assert_eq!(best(DType::U8, &[1, 2, 200]), (2, 200.0));
        assert_eq!(best(DType::I8, &[1, 2, 200]), (1, 2.0));
    }

    #[test]
    fn a_tensor_keeps_its_element_type() {
        let of = |outputs: &[TensorFacts], bytes| tensor_of(outputs, bytes).unwrap();
        let int8 = TensorFacts { dtype: DType::I8, shape: vec![1, 7] };
        assert_eq!(of(std::slice::from_ref(&int8), 7), TensorShape::new(ElementType::I8, &[1, 7]).unwrap());
        let float = TensorFacts::f32([1, 2]);
        assert_eq!(of(&[float.clone(), float.clone()], 72), TensorShape::f32(&[18]).unwrap());
        assert_eq!(of(&[float, int8], 71), TensorShape::new(ElementType::U8, &[71]).unwrap());
    }

    #[test]
    fn an_unknown_model_has_no_answer() {
        let mut pipeline = Pipeline::default_with(Engine::Null);
        assert!(Answers::new(&pipeline).is_err());
        pipeline.set_networks(&[network(vec![TensorFacts::f32([1, 3])], PostKind::Classes).facts]);
        let mut answers = Answers::new(&pipeline).unwrap();
        assert!(answers.answer(1, &[0; 64], &mut [0; 512]).is_none());
    }
}
