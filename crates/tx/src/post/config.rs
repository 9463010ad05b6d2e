//! What a decoder is told. The defaults fit the most usual models.

/// Which answer to make of the outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PostConfig {
    /// The best classes of a classifier.
    Classes(ClassesConfig),
    /// Boxes with classes and scores.
    Detections(DetectionsConfig),
    /// The outputs as they are.
    #[default]
    Tensor,
}

/// A classifier's output: one row of scores.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassesConfig {
    /// Index of the output with the scores; its shape is `[1, .., classes]`.
    pub output: usize,
    /// Turn the scores (logits) into probabilities over all classes.
    pub softmax: bool,
    /// Classes in the answer, 1 to [`super::TOP_K_MAX`]; fewer if the model has fewer.
    pub top_k: usize,
}

impl Default for ClassesConfig {
    fn default() -> Self {
        Self { output: 0, softmax: true, top_k: 5 }
    }
}

/// What the four numbers of a box are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxForm {
    /// Left, top, right, bottom.
    Corners,
    /// Centre x, centre y, width, height.
    Centre,
}

/// What the numbers of a box are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxUnit {
    /// Parts of the image's sides: 0 to 1 inside the image.
    Normalised,
    /// Pixels of the model's input.
    Pixels {
        /// Width of the model's input.
        width: u32,
        /// Height of the model's input.
        height: u32,
    },
}

/// What turns a score output into scores from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreActivation {
    /// The model has done it.
    None,
    /// Over the classes of a row, the background included.
    Softmax,
    /// Each class by itself.
    Sigmoid,
}

/// A detector with two outputs: scores `[1, boxes, classes]` and boxes `[1, boxes, 4]`. The defaults are those of the UltraFace
/// detectors, whose ONNX files contain softmax and box decoding.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectionsConfig {
    /// Index of the output with the scores.
    pub scores_output: usize,
    /// Index of the output with the boxes.
    pub boxes_output: usize,
    /// What turns scores into 0 to 1.
    pub activation: ScoreActivation,
    /// Class that means "nothing here", if the model has one.
    pub background_class: Option<usize>,
    /// Form of the boxes.
    pub box_form: BoxForm,
    /// Unit of the boxes.
    pub box_unit: BoxUnit,
    /// Boxes with a lower score, after activation, are not reported; 0 to 1.
    pub score_threshold: f32,
    /// Of two boxes of one class whose intersection over union is larger, the one with the lower score is not reported; 0 to 1.
    pub iou_threshold: f32,
    /// Most boxes in an answer, at least 1.
    pub max_detections: usize,
}

impl Default for DetectionsConfig {
    fn default() -> Self {
        Self {
            scores_output: 0,
            boxes_output: 1,
            activation: ScoreActivation::None,
            background_class: Some(0),
            box_form: BoxForm::Corners,
            box_unit: BoxUnit::Normalised,
            score_threshold: 0.5,
            iou_threshold: 0.3,
            max_detections: 100,
        }
    }
}
