//! `[post]`: what tx makes of the network's output.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, Origin};
use crate::reader::Section;
use crate::value::words;

/// Most classes of one reply; tx keeps them in a table of fixed size.
const MAX_TOP_K: u32 = 32;

words! {
    /// The form of the result.
    PostKind {
        /// As the shapes of the outputs tell.
        Auto = "auto",
        /// The `top_k` best classes with their scores.
        Classes = "classes",
        /// Boxes with class and score.
        Detections = "detections",
        /// The output as it is.
        Tensor = "tensor",
    }
}

words! {
    /// What the four numbers of a box are.
    BoxForm {
        /// Left, top, right, bottom.
        Corners = "corners",
        /// Centre x, centre y, width, height.
        Center = "center",
    }
}

words! {
    /// What the numbers of a box count.
    BoxUnits {
        /// Shares of the picture's width and height.
        Normalised = "normalised",
        /// Pixels of the network's input.
        Pixels = "pixels",
    }
}

words! {
    /// What turns a box's raw scores into probabilities.
    ScoreActivation {
        /// Nothing: they are probabilities.
        None = "none",
        /// Softmax over the classes of a box.
        Softmax = "softmax",
        /// The logistic function of each score.
        Sigmoid = "sigmoid",
    }
}

/// `[post]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Post {
    /// The form of the result.
    pub kind: PostKind,
    /// How many classes a reply names.
    pub top_k: u32,
    /// Whether class scores go through softmax.
    pub softmax: bool,
    /// File with one label per line, in class order.
    pub labels: Option<PathBuf>,
    /// The labels read from it; empty without one.
    pub label_names: Vec<String>,
    /// Which output holds the scores, counted from 0: `[1, boxes, classes]`.
    pub scores_output: u32,
    /// Which output holds the boxes: `[1, boxes, 4]`.
    pub boxes_output: u32,
    /// What the four numbers of a box are.
    pub box_form: BoxForm,
    /// What they count.
    pub box_units: BoxUnits,
    /// The class that means "nothing here", if the network has one.
    pub background_class: Option<u32>,
    /// What turns raw scores into probabilities.
    pub score_activation: ScoreActivation,
    /// Boxes below this score are left out.
    pub score_threshold: f32,
    /// Of two boxes of a class that overlap more (intersection over union), the weaker is left out.
    pub iou_threshold: f32,
    /// Most boxes of one reply.
    pub max_detections: u32,
}

impl Post {
    pub(crate) fn defaults() -> Self {
        Self {
            kind: PostKind::Auto,
            top_k: 5,
            softmax: true,
            labels: None,
            label_names: Vec::new(),
            scores_output: 0,
            boxes_output: 1,
            box_form: BoxForm::Corners,
            box_units: BoxUnits::Normalised,
            background_class: Some(0),
            score_activation: ScoreActivation::None,
            score_threshold: 0.5,
            iou_threshold: 0.3,
            max_detections: 64,
        }
    }

    /// `post`: what the default network's manifest says.
    pub(crate) fn read(section: &mut Section<'_, '_>, mut post: Self) -> Result<Self, ConfigError> {
        post.read_into(section)?;
        Ok(post)
    }

    pub(crate) fn read_into(&mut self, section: &mut Section<'_, '_>) -> Result<(), ConfigError> {
        let post = self;
        section.set("kind", &mut post.kind)?;
        section.set("top_k", &mut post.top_k)?;
        section.set("softmax", &mut post.softmax)?;
        section.set("labels", &mut post.labels)?;
        section.set("scores_output", &mut post.scores_output)?;
        section.set("boxes_output", &mut post.boxes_output)?;
        section.set("box_form", &mut post.box_form)?;
        section.set("box_units", &mut post.box_units)?;
        section.set("background_class", &mut post.background_class)?;
        section.set("score_activation", &mut post.score_activation)?;
        section.set("score_threshold", &mut post.score_threshold)?;
        section.set("iou_threshold", &mut post.iou_threshold)?;
        section.set("max_detections", &mut post.max_detections)
    }

    /// `path`: the table in which its keys stand.
    pub(crate) fn check(&self, at: &Origin, path: &str) -> Result<(), ConfigError> {
        let key = |name: &str| format!("{path}.{name}");
        at.in_range(&key("top_k"), self.top_k, 1..=MAX_TOP_K)?;
        at.in_range(&key("scores_output"), self.scores_output, 0..=63)?;
        at.in_range(&key("boxes_output"), self.boxes_output, 0..=63)?;
        at.in_range(&key("score_threshold"), self.score_threshold, 0.0..=1.0)?;
        at.in_range(&key("iou_threshold"), self.iou_threshold, 0.0..=1.0)?;
        at.in_range(&key("max_detections"), self.max_detections, 1..=4096)?;
        if self.kind == PostKind::Detections && self.scores_output == self.boxes_output {
            return Err(at.error(
                &key("boxes_output"),
                &format!("= {} is the output that scores_output names", self.boxes_output),
                "write the number of the output that holds the boxes",
            ));
        }
        Ok(())
    }
}
