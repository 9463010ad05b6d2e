//! [`Pipeline`]: a whole configuration, read, completed with defaults and checked.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::af_xdp::{AfXdp, DeviceFacts};
use crate::dpdk::Dpdk;
use crate::dpdk_fit;
use crate::error::{ConfigError, Origin};
use crate::files;
use crate::general::{General, Profile};
use crate::ingress::{Driver, Ingress, Limits};
use crate::memory::{Arena, Rings};
use crate::model::{DEFAULT_MODEL, MAX_MODELS, Manifest, Model, Network, Shadow, check_sha256};
use crate::post::Post;
use crate::reader::Document;
use crate::replay::Replay;
use crate::stages::{Engine, Infer, Preprocess, RxGateway};
use crate::stream::{Stream, StreamId};
use crate::supervisor::Supervisor;

/// Longest configuration file that is read.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// A configuration with every default filled in. As JSON it is what the supervisor hands to the stages.
///
/// What depends on the machine or the model stays [`crate::Auto`] until [`Self::resolve`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// `[pipeline]`
    #[serde(rename = "pipeline")]
    pub general: General,
    /// `[arena]`
    pub arena: Arena,
    /// `[rings]`
    pub rings: Rings,
    /// `[ingress]`
    pub ingress: Ingress,
    /// `[af_xdp]`
    pub af_xdp: AfXdp,
    /// `[dpdk]`
    pub dpdk: Dpdk,
    /// `[replay]`
    pub replay: Replay,
    /// `[limits]`
    pub limits: Limits,
    /// `[rx_gateway]`
    pub rx_gateway: RxGateway,
    /// `[preprocess]`
    pub preprocess: Preprocess,
    /// `[infer]`
    pub infer: Infer,
    /// `[post]`
    pub post: Post,
    /// `[[stream]] id = "default"`: of all streams without an entry of their own.
    pub default_stream: Stream,
    /// The other `[[stream]]` entries, ordered by id.
    pub streams: Vec<Stream>,
    /// `[supervisor]`
    pub supervisor: Supervisor,
    /// `[[model]]`: the networks besides the default one.
    pub models: Vec<Model>,
    /// Networks that are tried beside those that answer.
    #[serde(default)]
    pub shadows: Vec<Shadow>,
    /// All networks, the default one first; [`Self::resolve`] fills them in, and no key of the file does.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// The interface that a driver of its own drives; the supervisor fills it in, and no key of the file does.
    #[serde(default)]
    pub device: Option<DeviceFacts>,
    /// Where each key stands in the file.
    #[serde(skip)]
    pub origin: Origin,
}

impl Pipeline {
    /// Reads, completes and checks a file, the files it names included.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let unreadable = |error: std::io::Error| {
            let message = format!("the configuration cannot be read: {error}");
            Origin::of_file(&name).error_in_text("", None, message, "name a readable pipeline.toml")
        };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            let message = format!("the configuration has more than {MAX_FILE_BYTES} bytes");
            return Err(Origin::of_file(&name).error_in_text("", None, message, "name a pipeline.toml"));
        }
        let base_dir = path.parent().unwrap_or(Path::new(""));
        Self::from_toml_str(&text, base_dir, &name)
    }

    /// Like [`Self::load`], from a text. Relative paths in it start at `base_dir`; `file_name` is for messages.
    pub fn from_toml_str(text: &str, base_dir: &Path, file_name: &str) -> Result<Self, ConfigError> {
        let (mut pipeline, _) = Self::read(text, base_dir, file_name)?;
        let origin = std::mem::take(&mut pipeline.origin);
        files::load(&mut pipeline, &origin, base_dir)?;
        pipeline.origin = origin;
        pipeline.validate()?;
        Ok(pipeline)
    }

    /// The default configuration for the network in `path`, as `flumeway run --model` uses it.
    pub fn for_model(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let mut pipeline = Self::default_with(Engine::Auto);
        let manifest = Manifest::beside(Some(&files::absolute(Path::new(""), path.as_ref())))?;
        pipeline.infer.model = Some(path.as_ref().to_owned());
        pipeline.infer.sha256 = manifest.sha256;
        pipeline.preprocess.picture = manifest.picture;
        pipeline.post = manifest.post;
        files::load(&mut pipeline, &Origin::default(), Path::new(""))?;
        pipeline.validate()?;
        Ok(pipeline)
    }

    /// The default configuration with another engine. One that needs a model has none yet, and does not validate.
    pub fn default_with(engine: Engine) -> Self {
        let general = General::default();
        let profile = general.profile;
        Self {
            arena: Arena::defaults(profile),
            rings: Rings::defaults(profile),
            ingress: Ingress::defaults(),
            af_xdp: AfXdp::defaults(),
            dpdk: Dpdk::defaults(),
            replay: Replay::defaults(),
            limits: Limits::defaults(profile),
            rx_gateway: RxGateway::defaults(),
            preprocess: Preprocess::defaults(),
            infer: Infer { engine, ..Infer::defaults() },
            post: Post::defaults(),
            default_stream: Stream::defaults(),
            streams: Vec::new(),
            supervisor: Supervisor::defaults(&general.name, Path::new("")),
            models: Vec::new(),
            shadows: Vec::new(),
            networks: Vec::new(),
            device: None,
            origin: Origin::default(),
            general,
        }
    }

    /// Sets the sizes that depend on the profile to the defaults of `profile`.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.general.profile = profile;
        self.arena = Arena::defaults(profile);
        self.rings = Rings::defaults(profile);
        self.limits = Limits::defaults(profile);
        self
    }

    /// Checks every value and how they fit together. [`Self::load`] has done so; who changes fields must do it again.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let at = &self.origin;
        files::check_names(self, at)?;
        self.general.check(at)?;
        self.rings.check(at)?;
        self.arena.check(at, &self.rings)?;
        self.ingress.check(at)?;
        self.af_xdp.check(at)?;
        self.dpdk.check(at)?;
        self.replay.check(at, self.ingress.driver)?;
        if self.ingress.driver == Driver::Replay && self.rx_gateway.instances != 1 {
            let problem = format!(
                "= {} with [ingress] driver = \"replay\", whose file has one reader",
                self.rx_gateway.instances
            );
            return Err(at.error("rx_gateway.instances", &problem, "write 1"));
        }
        self.rx_gateway.check(at)?;
        dpdk_fit::check(self)?;
        self.limits.check(at, &self.arena, &self.ingress, self.rx_gateway.instances)?;
        self.preprocess.check(at)?;
        self.infer.check(at)?;
        let instances = [self.rx_gateway.instances, self.preprocess.instances, self.infer.instances];
        self.general.check_cores(at, instances)?;
        self.post.check(at, "post")?;
        self.check_models(at)?;
        self.supervisor.check(at)?;
        // `stream` searches; a file is sorted when it is read, JSON may come as it likes.
        let in_order = self.streams.is_sorted_by(|a, b| a.id < b.id) && self.default_stream.id == StreamId::Default;
        if !in_order || self.streams.first().is_some_and(|stream| stream.id == StreamId::Default) {
            return Err(at.error("stream", "entries are not in the order of their ids", "sort them, each id once"));
        }
        for stream in std::iter::once(&self.default_stream).chain(&self.streams) {
            self.check_model_of(stream, at)?;
        }
        self.default_stream.check(at, &self.ingress)?;
        if self.streams.len() > self.limits.max_streams as usize {
            return Err(at.error(
                "limits.max_streams",
                &format!(
                    "= {} is less than the {} streams that have entries",
                    self.limits.max_streams,
                    self.streams.len()
                ),
                format!("write at least {}", self.streams.len()),
            ));
        }
        self.streams.iter().try_for_each(|stream| stream.check(at, &self.ingress))
    }

    fn check_models(&self, at: &Origin) -> Result<(), ConfigError> {
        check_sha256(at, "infer.sha256", &self.infer.sha256)?;
        if self.models.len() >= MAX_MODELS {
            let problem = format!("has {} entries", self.models.len());
            return Err(at.error("model", &problem, format!("write at most {}", MAX_MODELS - 1)));
        }
        for (n, model) in self.models.iter().enumerate() {
            let path = format!("model.{}", n + 1);
            model.check(at, &path)?;
            let taken = self.models[..n].iter().any(|other| other.name == model.name);
            if taken || model.name == DEFAULT_MODEL {
                let problem = format!("= \"{}\" is taken", model.name);
                return Err(at.error(&format!("{path}.name"), &problem, "give each network a name of its own"));
            }
        }
        Ok(())
    }

    fn check_model_of(&self, stream: &Stream, at: &Origin) -> Result<(), ConfigError> {
        if self.model_number(&stream.model).is_some() {
            return Ok(());
        }
        let names: Vec<_> = self.models.iter().map(|model| model.name.as_str()).collect();
        let known = [&[DEFAULT_MODEL][..], &names].concat().join(", ");
        let problem = format!("= \"{}\" is no model of this pipeline", stream.model);
        Err(at.error(
            &format!("stream.{}.model", stream.id),
            &problem,
            format!("write one of {known}, or add a [[model]]"),
        ))
    }

    /// The default network, as `[infer]`, `[preprocess]` and `[post]` have it.
    pub fn default_model(&self) -> Model {
        Model {
            name: DEFAULT_MODEL.to_owned(),
            file: self.infer.model.clone(),
            sha256: self.infer.sha256.clone(),
            engine: self.infer.engine,
            picture: self.preprocess.picture.clone(),
            post: self.post.clone(),
        }
    }

    /// Every network as configured, the default one first.
    pub fn all_models(&self) -> Vec<Model> {
        std::iter::once(self.default_model()).chain(self.models.iter().cloned()).collect()
    }

    /// Place of the network called `name` in [`Self::all_models`] and [`Self::networks`].
    pub fn model_number(&self, name: &str) -> Option<usize> {
        if name == DEFAULT_MODEL {
            return Some(0);
        }
        self.models.iter().position(|model| model.name == name).map(|n| n + 1)
    }

    /// This pipeline as if network `number` were its only one: for questions about it.
    #[must_use]
    pub fn with_only(&self, number: usize) -> Self {
        let mut only = self.clone();
        if let Some(model) = self.all_models().into_iter().nth(number) {
            only.infer.model = model.file;
            only.infer.sha256 = model.sha256;
            only.infer.engine = model.engine;
            only.preprocess.picture = model.picture;
            only.post = model.post;
        }
        only.models.clear();
        only.shadows.clear();
        only.networks.clear();
        only.streams.clear();
        DEFAULT_MODEL.clone_into(&mut only.default_stream.model);
        only
    }

    /// Puts another file in the place of network `number`'s.
    pub fn set_file(&mut self, number: usize, file: &Path, sha256: &str) {
        match number.checked_sub(1) {
            None => {
                self.infer.model = Some(file.to_owned());
                sha256.clone_into(&mut self.infer.sha256);
            }
            Some(n) => {
                if let Some(model) = self.models.get_mut(n) {
                    model.file = Some(file.to_owned());
                    sha256.clone_into(&mut model.sha256);
                }
            }
        }
    }

    /// Puts `engine` in the place of network `number`'s.
    pub fn set_engine(&mut self, number: usize, engine: Engine) {
        match number.checked_sub(1) {
            None => self.infer.engine = engine,
            Some(n) => {
                if let Some(model) = self.models.get_mut(n) {
                    model.engine = engine;
                }
            }
        }
    }

    /// The file that it was read from, if it was.
    pub fn file(&self) -> Option<&str> {
        self.origin.file()
    }

    /// What holds for stream `id`: its own entry, else the default one.
    pub fn stream(&self, id: u32) -> &Stream {
        match self.streams.binary_search_by_key(&StreamId::Id(id), |stream| stream.id) {
            Ok(position) => &self.streams[position],
            Err(_) => &self.default_stream,
        }
    }

    /// An error about `key` (dotted: `ingress.listen`) that names the line it was written on. `problem` continues the key.
    pub fn error_at(&self, key: &str, problem: &str, remedy: impl Into<String>) -> ConfigError {
        self.origin.error(key, problem, remedy)
    }

    /// As one line of JSON. It holds the streams' keys: for a memfd between supervisor and stages, never for a log.
    ///
    /// Empty, which [`Self::from_json`] refuses, if a path is not UTF-8; [`Self::validate`] refuses that before.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads and checks what [`Self::to_json`] wrote.
    pub fn from_json(json: &[u8]) -> Result<Self, ConfigError> {
        let pipeline: Self = serde_json::from_slice(json).map_err(|error| {
            let remedy = "start supervisor and stages from one release, or one and the next";
            Origin::default().error_in_text(
                "",
                None,
                format!("the configuration handed over is unreadable: {error}"),
                remedy,
            )
        })?;
        pipeline.validate()?;
        Ok(pipeline)
    }

    fn read(text: &str, base_dir: &Path, file_name: &str) -> Result<(Self, BTreeSet<String>), ConfigError> {
        let mut document = Document::parse(text, file_name)?;
        let general = document.section("pipeline", General::read)?;
        let profile = general.profile;
        let name = general.name.clone();
        let mut infer = document.section("infer", Infer::read)?;
        let file = infer.model.as_ref().map(|file| files::absolute(base_dir, file));
        let Manifest { sha256, picture, post } = Manifest::beside(file.as_deref())?;
        if infer.sha256.is_empty() {
            infer.sha256 = sha256;
        }
        let engine = infer.engine;
        let mut pipeline = Self {
            general,
            arena: document.section("arena", |section| Arena::read(section, profile))?,
            rings: document.section("rings", |section| Rings::read(section, profile))?,
            ingress: document.section("ingress", Ingress::read)?,
            af_xdp: document.section("af_xdp", AfXdp::read)?,
            dpdk: document.section("dpdk", Dpdk::read)?,
            replay: document.section("replay", |section| Replay::read(section, base_dir))?,
            limits: document.section("limits", |section| Limits::read(section, profile))?,
            rx_gateway: document.section("rx_gateway", RxGateway::read)?,
            preprocess: document.section("preprocess", |section| Preprocess::read(section, picture))?,
            infer,
            post: document.section("post", |section| Post::read(section, post))?,
            models: document.list("model", |section| Model::read(section, engine, base_dir))?,
            default_stream: Stream::defaults(),
            streams: Vec::new(),
            supervisor: document.section("supervisor", |section| Supervisor::read(section, &name, base_dir))?,
            shadows: Vec::new(),
            networks: Vec::new(),
            device: None,
            origin: Origin::default(),
        };
        let mut base = Stream::defaults();
        pipeline.streams = document.streams(|section, id| {
            let stream = Stream::read(section, id, &base, base_dir)?;
            if id == StreamId::Default {
                base = stream.clone();
            }
            Ok(stream)
        })?;
        pipeline.streams.sort_by_key(|stream| stream.id);
        pipeline.streams.retain(|stream| stream.id != StreamId::Default);
        pipeline.default_stream = base;
        let (origin, known) = document.finish()?;
        pipeline.origin = origin;
        Ok((pipeline, known))
    }
}

/// Every key there is, dotted, those of `[[stream]]` as `stream.policy`.
pub fn known_keys() -> BTreeSet<String> {
    // Entries with nothing but what they must have are a complete file; the tests of this crate hold that.
    let text = "[[stream]]\nid = \"default\"\n[[ingress.acl]]\naction = \"allow\"\n[[model]]\nname = \"x\"";
    let read = Pipeline::read(text, Path::new(""), "");
    let (_, mut known) = read.unwrap_or_else(|_| (Pipeline::default_with(Engine::Null), BTreeSet::new()));
    known.insert("stream.id".to_owned());
    known
}
