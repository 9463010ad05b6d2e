//! [`Model`]: one network of a pipeline, with what it takes and what its output means; `[[model]]`, and the manifest beside the file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, Origin};
use crate::facts::{DType, ModelFacts, TensorFacts};
use crate::files::absolute;
use crate::post::{Post, PostKind};
use crate::reader::{Document, Section};
use crate::stages::{Color, Engine, Picture};

/// Name of the network that `[infer] model` names.
pub const DEFAULT_MODEL: &str = "default";

/// Most networks of one pipeline.
pub const MAX_MODELS: usize = 16;

/// Longest manifest that is read.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// One network: `[[model]]`, or what `[infer]`, `[preprocess]` and `[post]` say of the default one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What streams call it.
    pub name: String,
    /// The network's file; absolute after loading.
    pub file: Option<PathBuf>,
    /// SHA-256 that the file must have, in lower-case hexadecimal; empty checks nothing.
    pub sha256: String,
    /// What runs it.
    pub engine: Engine,
    /// How pictures become its input.
    pub picture: Picture,
    /// What becomes of its output.
    pub post: Post,
}

/// A network whose tensors are known; as stages get it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// As configured, with every `auto` resolved.
    pub model: Model,
    /// What it takes and gives.
    pub facts: ModelFacts,
}

/// A network that is tried beside one that answers; `flumeway ctl model shadow` puts it there, and no key of a file does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    /// Place of the network that answers, in [`crate::Pipeline::networks`].
    pub number: usize,
    /// The other network's file.
    pub file: PathBuf,
    /// What its file must be, as [`Model::sha256`].
    pub sha256: String,
    /// What runs it.
    pub engine: Engine,
    /// How many of a hundred frames it gets too.
    pub percent: u32,
}

/// The keys that a manifest has, and that `[[model]]` can override.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest {
    pub sha256: String,
    pub picture: Picture,
    pub post: Post,
}

impl Manifest {
    /// The manifest beside the network `file`: `net.toml` beside `net.onnx`. Defaults where there is none.
    pub(crate) fn beside(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut manifest = Self { sha256: String::new(), picture: Picture::defaults(), post: Post::defaults() };
        let Some(path) = file.map(|file| file.with_extension("toml")).filter(|path| path.is_file()) else {
            return Ok(manifest);
        };
        let name = path.display().to_string();
        let text = crate::files::text(&path, MAX_MANIFEST_BYTES).map_err(|problem| {
            Origin::of_file(&name).error_in_text(
                "",
                None,
                format!("the network's manifest {problem}"),
                "mend or remove it",
            )
        })?;
        let mut document = Document::parse(&text, &name)?;
        document.section("model", |section| manifest.read(section))?;
        let (origin, _) = document.finish()?;
        // Its own positions are known here and nowhere later.
        manifest.check(&origin, "model")?;
        // Paths in a manifest start at its own folder.
        if let (Some(labels), Some(folder)) = (&mut manifest.post.labels, path.parent()) {
            *labels = absolute(folder, labels);
        }
        Ok(manifest)
    }

    pub(crate) fn read(&mut self, section: &mut Section<'_, '_>) -> Result<(), ConfigError> {
        section.set("sha256", &mut self.sha256)?;
        self.picture.read(section)?;
        self.post.read_into(section)
    }

    fn check(&self, at: &Origin, path: &str) -> Result<(), ConfigError> {
        check_sha256(at, &format!("{path}.sha256"), &self.sha256)?;
        self.picture.check(at, path)?;
        self.post.check(at, path)
    }
}

/// A checksum is 64 hexadecimal digits.
pub(crate) fn check_sha256(at: &Origin, key: &str, sha256: &str) -> Result<(), ConfigError> {
    let digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if sha256.is_empty() || (sha256.len() == 64 && sha256.chars().all(digit)) {
        return Ok(());
    }
    Err(at.error(
        key,
        &format!("= \"{sha256}\" is no SHA-256"),
        "write what `sha256sum` prints: 64 lower-case hexadecimal digits",
    ))
}

impl Model {
    /// Reads a `[[model]]`; what it leaves out comes from the manifest beside the file, and else from the defaults.
    pub(crate) fn read(section: &mut Section<'_, '_>, engine: Engine, base_dir: &Path) -> Result<Self, ConfigError> {
        let (mut name, mut file, mut engine) = (String::new(), None::<PathBuf>, engine);
        section.set("name", &mut name)?;
        section.set("file", &mut file)?;
        section.set("engine", &mut engine)?;
        let file = file.map(|file| absolute(base_dir, &file));
        let mut manifest = Manifest::beside(file.as_deref())?;
        manifest.read(section)?;
        let Manifest { sha256, picture, post } = manifest;
        Ok(Self { name, file, sha256, engine, picture, post })
    }

    pub(crate) fn check(&self, at: &Origin, path: &str) -> Result<(), ConfigError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let key = |name: &str| format!("{path}.{name}");
        if self.name.is_empty() || self.name.len() > 48 || !self.name.chars().all(plain) {
            let problem = format!("= \"{}\" is no name for a model", self.name);
            return Err(at.error(&key("name"), &problem, "write 1 to 48 letters, digits, '-', '_' or '.'"));
        }
        if self.engine.needs_model() && self.file.is_none() {
            let problem = format!("is missing, and engine \"{}\" cannot do without", self.engine);
            return Err(at.error(&key("file"), &problem, "write file = \"path/to/network.onnx\""));
        }
        check_sha256(at, &key("sha256"), &self.sha256)?;
        self.picture.check(at, path)?;
        self.post.check(at, path)
    }

    /// Settles what the network's tensors tell: the tensor's channels, and what the outputs mean.
    pub(crate) fn resolve(&mut self, facts: &ModelFacts) {
        if self.picture.color == Color::Auto {
            let is_gray =
                facts.inputs.first().is_some_and(|input| matches!(input.shape[..], [1, 1, _, _] | [1, _, _, 1]));
            self.picture.color = if is_gray { Color::Gray } else { Color::Rgb };
        }
        self.resolve_range(facts);
        if self.post.kind == PostKind::Auto {
            self.post.kind = match &facts.outputs[..] {
                [only] if is_row(only) => PostKind::Classes,
                [first, second] => match boxes_of(first, second) {
                    Some((scores, boxes)) => {
                        (self.post.scores_output, self.post.boxes_output) = (scores, boxes);
                        PostKind::Detections
                    }
                    None => PostKind::Tensor,
                },
                _ => PostKind::Tensor,
            };
        }
    }
}

impl Model {
    /// A network that takes bytes takes pixels: 0 to 255, or -128 to 127. Unless something else is said.
    fn resolve_range(&mut self, facts: &ModelFacts) {
        let (said, unsaid) = (&self.picture, Picture::defaults());
        if (said.scale, said.mean, said.std) != (unsaid.scale, unsaid.mean, unsaid.std) {
            return;
        }
        match facts.inputs.first().map(|input| input.dtype) {
            Some(DType::U8) => self.picture.scale = 1.0,
            Some(DType::I8) => (self.picture.scale, self.picture.mean) = (1.0, [128.0; 3]),
            _ => {}
        }
    }
}

/// One row of scores: `[1, classes]` or `[1, classes, 1, 1]`.
fn is_row(output: &TensorFacts) -> bool {
    output.shape.iter().filter(|side| **side > 1).count() <= 1 && output.shape.len() >= 2
}

/// Which of two outputs holds scores `[1, n, classes]` and which boxes `[1, n, 4]`, if they do.
fn boxes_of(first: &TensorFacts, second: &TensorFacts) -> Option<(u32, u32)> {
    match (&first.shape[..], &second.shape[..]) {
        // Four classes and four numbers look alike: scores come first then, as exporters have it.
        (&[1, n, classes], &[1, m, 4]) if n == m && classes > 0 => Some((0, 1)),
        (&[1, n, 4], &[1, m, classes]) if n == m && classes > 0 => Some((1, 0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(inputs: &[&[u64]], outputs: &[&[u64]]) -> Model {
        let tensors = |shapes: &[&[u64]]| shapes.iter().map(|shape| TensorFacts::f32(*shape)).collect();
        let facts = ModelFacts { inputs: tensors(inputs), outputs: tensors(outputs), ..ModelFacts::default() };
        let (picture, post) = (Picture::defaults(), Post::defaults());
        let (name, sha256) = (DEFAULT_MODEL.to_owned(), String::new());
        let mut model = Model { name, file: None, sha256, engine: Engine::Null, picture, post };
        model.resolve(&facts);
        model
    }

    #[test]
    fn outputs_tell_what_they_mean() {
        let kind = |outputs: &[&[u64]]| {
            let post = resolved(&[&[1, 3, 8, 8]], outputs).post;
            (post.kind, post.scores_output, post.boxes_output)
        };
        assert_eq!(kind(&[&[1, 1000]]).0, PostKind::Classes);
        assert_eq!(kind(&[&[1, 1000, 1, 1]]).0, PostKind::Classes);
        assert_eq!(kind(&[&[1, 21, 64, 64]]).0, PostKind::Tensor);
        assert_eq!(kind(&[&[1, 4420, 2], &[1, 4420, 4]]), (PostKind::Detections, 0, 1));
        assert_eq!(kind(&[&[1, 4420, 4], &[1, 4420, 2]]), (PostKind::Detections, 1, 0));
        assert_eq!(kind(&[&[1, 4420, 4], &[1, 4419, 2]]).0, PostKind::Tensor);
        assert_eq!(kind(&[&[1, 2], &[1, 3], &[1, 4]]).0, PostKind::Tensor);
    }

    #[test]
    fn networks_of_bytes_take_pixels() {
        let range = |dtype, scale| {
            let facts =
                ModelFacts { inputs: vec![TensorFacts { dtype, shape: vec![1, 8, 8, 3] }], ..ModelFacts::default() };
            let mut model = resolved(&[], &[]);
            model.picture.scale = scale;
            model.resolve(&facts);
            (model.picture.scale, model.picture.mean[0])
        };
        let unsaid = Picture::defaults().scale;
        assert_eq!(range(DType::U8, unsaid), (1.0, 0.0));
        assert_eq!(range(DType::I8, unsaid), (1.0, 128.0));
        assert_eq!(range(DType::I8, 2.0), (2.0, 0.0), "as it was said");
        assert_eq!(range(DType::F16, unsaid), (unsaid, 0.0));
    }

    #[test]
    fn one_channel_is_gray() {
        let color = |shape: &[u64]| resolved(&[shape], &[&[1, 10]]).picture.color;
        assert_eq!(color(&[1, 1, 28, 28]), Color::Gray);
        assert_eq!(color(&[1, 28, 28, 1]), Color::Gray);
        assert_eq!(color(&[1, 3, 28, 28]), Color::Rgb);
        assert_eq!(color(&[1, 16]), Color::Rgb);
    }
}
