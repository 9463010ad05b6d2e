//! Another network in a running one's place: checked first, loaded beside it, switched between two frames, and taken back if it fails.
//!
//! Loading is the replacement of infer's processes that a restart is too: the successor loads the new network while the process before it goes on, and
//! a network that takes its process down takes no frame with it.

use crate::choice::{Choice, settle_models};
use crate::orders::{Restart, Wait};
use crate::report::{error, ok};
use crate::start::Supervisor;
use arena::StageKind;
use arena::counters::InferCounter;
use config::{Engine, ModelFacts, Pipeline, Shadow};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

/// What is to happen to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelAction {
    /// Another file takes its place.
    Load {
        /// The file.
        file: PathBuf,
        /// What it must be; empty takes it as it is.
        sha256: String,
    },
    /// The file before the last load takes its place again.
    Rollback,
    /// A file is tried beside it.
    Shadow {
        /// The file.
        file: PathBuf,
        /// Hundredths of the frames that it gets too.
        percent: u32,
    },
    /// Nothing is tried beside it any more.
    Unshadow,
}

/// A network's file, and what runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub file: PathBuf,
    pub sha256: String,
    pub engine: Engine,
}

type Checked = Result<(Option<Choice>, ModelFacts), String>;

/// An order about a network that is under way.
#[derive(Debug)]
pub(crate) struct ModelOrder {
    number: usize,
    name: String,
    action: ModelAction,
    step: Step,
    /// The configurations before, as loaded and as in use.
    before: Option<(Box<Pipeline>, Box<Pipeline>)>,
    began_ns: u64,
}

#[derive(Debug)]
enum Step {
    /// flumeway-infer looks at the file, asked from a thread of its own: the supervisor waits for nobody.
    Checking(Receiver<Checked>),
    /// The stages may not be told yet.
    Publishing { choice: Option<Choice>, version: Option<Version> },
    /// infer's processes are replaced.
    Replacing { restart: Restart, choice: Option<Choice>, version: Option<Version> },
    /// It failed for this reason, and the stages may not be told yet that all stays as it was.
    Reverting(String),
    /// Those processes that have it already are replaced again.
    Restoring { restart: Restart, reason: String },
}

impl Supervisor {
    /// Begins an order about the network called `name`; the answer, if it can be given at once.
    pub(crate) fn order_model(&mut self, client: u64, name: &str, action: ModelAction, now_ns: u64) -> Option<Value> {
        let Some(number) = self.pipeline.model_number(name) else {
            let names: Vec<_> = self.pipeline.networks.iter().map(|n| n.model.name.clone()).collect();
            return Some(error(format!("there is no model {name:?}; write one of {}", names.join(", ")), false));
        };
        if self.mode.will_stop() {
            return Some(error("the pipeline stops", false));
        }
        if self.orders.iter().any(|order| matches!(order.wait, Wait::Model(_))) {
            return Some(error("another model is being loaded; ask again when that is done", true));
        }
        let file = match &action {
            ModelAction::Load { file, sha256 } => Some((file.clone(), sha256.clone(), None)),
            ModelAction::Shadow { .. } if self.pipeline.shadows.iter().any(|shadow| shadow.number != number) => {
                return Some(error(
                    "another model is shadowed already; end that with `model shadow NAME --off`",
                    false,
                ));
            }
            ModelAction::Shadow { file, .. } => Some((file.clone(), String::new(), None)),
            ModelAction::Rollback => match self.previous.get(&number) {
                Some(v) => Some((v.file.clone(), v.sha256.clone(), Some(v.engine))),
                None => return Some(error(format!("model {name} has not been replaced since the start"), false)),
            },
            ModelAction::Unshadow if self.pipeline.shadows.iter().all(|shadow| shadow.number != number) => {
                return Some(error(format!("nothing shadows model {name}"), false));
            }
            ModelAction::Unshadow => None,
        };
        let step = match file {
            Some((file, sha256, engine)) => Step::Checking(self.check_file(number, &file, &sha256, engine)),
            None => Step::Publishing { choice: None, version: None },
        };
        let order = ModelOrder { number, name: name.to_owned(), action, step, before: None, began_ns: now_ns };
        self.orders.push(crate::orders::Order { client, wait: Wait::Model(Box::new(order)) });
        None
    }

    /// Has flumeway-infer look at a file as network `number`.
    fn check_file(
        &self,
        number: usize,
        file: &std::path::Path,
        sha256: &str,
        engine: Option<Engine>,
    ) -> Receiver<Checked> {
        let mut only = self.source.with_only(number);
        only.set_file(0, file, sha256);
        if let Some(engine) = engine {
            only.set_engine(0, engine);
        }
        let (tell, told) = channel();
        let check = move || {
            let checked = settle_models(&mut only).map_err(|e| e.to_string());
            let first = checked.and_then(|(choices, facts)| {
                let facts = facts.into_iter().next().ok_or("flumeway-infer described nothing")?;
                Ok((choices.into_iter().next().flatten(), facts))
            });
            // Nobody listens any more where the pipeline has stopped meanwhile.
            let _ = tell.send(first);
        };
        if let Err(error) = std::thread::Builder::new().name("check-model".to_owned()).spawn(check) {
            tracing::error!(%error, "no thread to check a model with");
        }
        told
    }

    /// One step further; the answer when it is done.
    pub(crate) fn advance_model(&mut self, order: &mut ModelOrder, now_ns: u64) -> Option<Value> {
        if self.mode.will_stop() {
            return Some(error("the pipeline stops", false));
        }
        let step = std::mem::replace(&mut order.step, Step::Reverting(String::new()));
        let (step, answer) = match step {
            Step::Checking(told) => match told.try_recv() {
                Ok(checked) => match self.judge(order, checked) {
                    Ok(step) => (step, None),
                    Err(reason) => return Some(error(reason, false)),
                },
                Err(TryRecvError::Empty) => (Step::Checking(told), None),
                Err(TryRecvError::Disconnected) => {
                    return Some(error("the model could not be checked; see the log", true));
                }
            },
            Step::Publishing { choice, version } if self.may_publish(now_ns) => {
                match self.publish_model(order, version.as_ref(), now_ns) {
                    Ok(restart) => (Step::Replacing { restart, choice, version }, None),
                    Err(reason) => return Some(error(reason, true)),
                }
            }
            Step::Replacing { mut restart, choice, version } => match self.advance_restart(&mut restart, now_ns) {
                None => (Step::Replacing { restart, choice, version }, None),
                Some(answer) if answer["ok"] == true => {
                    return Some(self.conclude(order, choice, version.as_ref(), now_ns));
                }
                Some(answer) => (Step::Reverting(answer["error"].as_str().unwrap_or("it failed").to_owned()), None),
            },
            Step::Reverting(reason) if self.may_publish(now_ns) => {
                (Step::Restoring { restart: self.revert(order, now_ns), reason }, None)
            }
            Step::Restoring { mut restart, reason } => {
                if self.advance_restart(&mut restart, now_ns).is_some() {
                    let text = format!("model {} stays as it was: {reason}", order.name);
                    tracing::warn!("{text}");
                    return Some(error(text, false));
                }
                (Step::Restoring { restart, reason }, None)
            }
            waiting => (waiting, None),
        };
        order.step = step;
        answer
    }

    /// Whether what was checked can stand in the network's place.
    fn judge(&self, order: &ModelOrder, checked: Checked) -> Result<Step, String> {
        let (choice, facts) = checked.map_err(|said| format!("model {} stays as it was: {said}", order.name))?;
        let network = &self.pipeline.networks[order.number];
        if !facts.same_tensors(&network.facts) {
            return Err(format!(
                "model {} stays as it was: the new one takes {:?} and gives {:?}, frames on their way are made for {:?} and {:?}; \
                 restart the pipeline with it, or add it as a [[model]]",
                order.name, facts.inputs, facts.outputs, network.facts.inputs, network.facts.outputs
            ));
        }
        let file = match &order.action {
            ModelAction::Load { file, .. } | ModelAction::Shadow { file, .. } => file.clone(),
            ModelAction::Rollback | ModelAction::Unshadow => {
                self.previous.get(&order.number).map(|v| v.file.clone()).unwrap_or_default()
            }
        };
        let before = if order.action == ModelAction::Rollback { self.previous.get(&order.number) } else { None };
        let named = self.source.all_models()[order.number].engine;
        let engine = choice.as_ref().map(|c| c.engine).or(before.map(|v| v.engine)).unwrap_or(named);
        let version = Version { file, sha256: facts.sha256, engine };
        Ok(Step::Publishing { choice, version: Some(version) })
    }

    /// Changes the configuration, tells the stages, and begins to replace infer's processes.
    fn publish_model(
        &mut self,
        order: &mut ModelOrder,
        version: Option<&Version>,
        now_ns: u64,
    ) -> Result<Restart, String> {
        let (source, pipeline) = (self.source.clone(), self.pipeline.clone());
        for config in [&mut self.source, &mut self.pipeline] {
            change(config, order, version);
        }
        if let Some(version) = version.filter(|_| !matches!(order.action, ModelAction::Shadow { .. })) {
            self.pipeline.set_engine(order.number, version.engine);
            let network = &mut self.pipeline.networks[order.number];
            network.model.file = Some(version.file.clone());
            network.model.sha256.clone_from(&version.sha256);
            network.model.engine = version.engine;
            network.facts.sha256.clone_from(&version.sha256);
        }
        if let Err(error) = self.publish_document(now_ns) {
            (self.source, self.pipeline) = (source, pipeline);
            return Err(format!("the document cannot be written: {error}"));
        }
        order.before = Some((Box::new(source), Box::new(pipeline)));
        Ok(self.replace_infer(now_ns))
    }

    /// What shadows have done since the pipeline began: frames, answers that differed, other best elements, errors.
    pub(crate) fn shadow_counts(&self) -> [u64; 4] {
        let counters = [
            InferCounter::ShadowFrames,
            InferCounter::ShadowDiffers,
            InferCounter::ShadowOtherBest,
            InferCounter::ShadowErrors,
        ];
        let infer = || self.units.iter().filter(|unit| unit.kind() == StageKind::Infer);
        counters.map(|counter| {
            let pages = infer().filter_map(|unit| self.holdings.arena.page(unit.id));
            pages.map(|page| page.counter(counter as usize)).sum()
        })
    }

    fn replace_infer(&self, now_ns: u64) -> Restart {
        let infer = self.units.iter().enumerate().filter(|(_, unit)| unit.kind() == StageKind::Infer);
        Restart { queue: infer.map(|(n, _)| n).collect(), current: None, done: Vec::new(), began_ns: now_ns }
    }

    /// It runs: what was before can be had back.
    fn conclude(
        &mut self,
        order: &ModelOrder,
        choice: Option<Choice>,
        version: Option<&Version>,
        now_ns: u64,
    ) -> Value {
        let took_ms = now_ns.saturating_sub(order.began_ns) / 1_000_000;
        // Until now a process with another shadow may have counted.
        self.shadow_base = self.shadow_counts();
        let replaces = matches!(order.action, ModelAction::Load { .. } | ModelAction::Rollback);
        if let (true, Some(version), Some((_, before))) = (replaces, version, &order.before) {
            let old = &before.networks[order.number];
            if let Some(file) = &old.model.file {
                let old = Version { file: file.clone(), sha256: old.facts.sha256.clone(), engine: old.model.engine };
                self.previous.insert(order.number, old);
            }
            self.facts[order.number].sha256.clone_from(&version.sha256);
            self.choices[order.number] = choice;
        }
        tracing::info!(model = order.name, ?order.action, took_ms, "model");
        ok(json!({
            "model": order.name,
            "file": version.map(|v| &v.file),
            "sha256": version.map(|v| &v.sha256),
            "engine": version.map(|v| v.engine),
            "took_ms": took_ms,
        }))
    }

    /// All as before: tells the stages, and replaces those processes that have it already.
    fn revert(&mut self, order: &mut ModelOrder, now_ns: u64) -> Restart {
        if let Some((source, pipeline)) = order.before.take() {
            (self.source, self.pipeline) = (*source, *pipeline);
            if let Err(error) = self.publish_document(now_ns) {
                tracing::error!(%error, "the document cannot be written; a stage that restarts loads the refused model");
            }
        }
        self.replace_infer(now_ns)
    }
}

/// What an order changes in a configuration.
fn change(config: &mut Pipeline, order: &ModelOrder, version: Option<&Version>) {
    config.shadows.retain(|shadow| shadow.number != order.number);
    match (&order.action, version) {
        (ModelAction::Shadow { percent, .. }, Some(version)) => config.shadows.push(Shadow {
            number: order.number,
            file: version.file.clone(),
            sha256: version.sha256.clone(),
            engine: version.engine,
            percent: *percent,
        }),
        (ModelAction::Load { .. } | ModelAction::Rollback, Some(version)) => {
            config.set_file(order.number, &version.file, &version.sha256);
        }
        _ => {}
    }
}
