//! `deploy/pipeline.toml` and `docs/CONFIGURATION.md` name every key there is, with the defaults that the code has.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::Folder;
use config::{Engine, Pipeline, known_keys};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `key = value` of a line that shows a default, without the hash in front.
fn default_of(line: &str) -> Option<&str> {
    let shown = line.strip_prefix('#')?;
    let (key, _) = shown.split_once(" = ")?;
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    is_key.then_some(shown)
}

fn key_of(line: &str) -> Option<&str> {
    line.split_once(" = ").map(|(key, _)| key).filter(|key| !key.starts_with('#'))
}

/// The examples of lists that are empty by default: tables whose header has a hash in front, up to the next empty line.
fn examples(reference: &str) -> impl Iterator<Item = &str> {
    reference.split("\n\n").filter_map(|part| part.find("\n#[[").map(|at| &part[at + 1..]))
}

/// The reference with every default written out, and without what it sets for the bundled model.
fn all_defaults(reference: &str) -> String {
    let mut text = String::new();
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    let defaults = examples(reference).fold(reference.to_owned(), |text, example| text.replace(example, ""));
    for line in defaults.lines() {
        if line.starts_with('[') {
            shown.clear();
        }
        if let Some(default) = default_of(line) {
            shown.extend(key_of(default));
            text.push_str(default);
        } else if !key_of(line).is_some_and(|key| shown.contains(key)) {
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

#[test]
fn every_default_in_the_reference_is_the_default() {
    let folder = Folder::new("reference");
    folder.file("m.onnx", "x", 0o644);
    let text = all_defaults(&read("deploy/pipeline.toml")).replace("model = \"\"", "model = \"m.onnx\"");
    let written = Pipeline::from_toml_str(&text, folder.path(), "pipeline.toml").unwrap_or_else(|e| panic!("{e}"));
    let none = Pipeline::from_toml_str("[infer]\nmodel = \"m.onnx\"", folder.path(), "").unwrap();
    assert_eq!(written, none, "the reference with all defaults written out is a file without any");

    let mut built = Pipeline::default_with(Engine::Auto);
    built.infer.model = Some(folder.path().join("m.onnx"));
    built.supervisor.quarantine_dir = folder.path().join("quarantine");
    assert_eq!(written, built, "default_with has the same defaults");
}

#[test]
fn the_reference_as_it_stands_differs_only_in_what_the_model_needs() {
    let folder = Folder::new("as-it-stands");
    folder.file("models/roadside.onnx", "x", 0o644).file("models/roadside.labels", "empty road\ncar\n", 0o644);
    folder.file("deploy/pipeline.toml", &read("deploy/pipeline.toml"), 0o644);
    let pipeline = Pipeline::load(folder.path().join("deploy/pipeline.toml")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(pipeline.post.label_names, ["empty road", "car"]);
    let mut expected = Pipeline::default_with(Engine::Auto);
    expected.preprocess.picture.mean = [0.5; 3];
    expected.preprocess.picture.std = [0.5; 3];
    expected.infer.model = Some(folder.path().join("deploy/../models/roadside.onnx"));
    expected.post.labels = Some(folder.path().join("deploy/../models/roadside.labels"));
    expected.post.label_names.clone_from(&pipeline.post.label_names);
    expected.supervisor.quarantine_dir = folder.path().join("deploy/quarantine");
    assert_eq!(pipeline, expected);
}

#[test]
fn the_reference_shows_exactly_the_keys_there_are() {
    let reference = read("deploy/pipeline.toml");
    let examples: String = examples(&reference)
        .flat_map(|example| [&example.replace("\n#", "\n")[1..], "\n"].map(str::to_owned))
        .collect();
    let text = all_defaults(&reference) + &examples;
    let mut table = String::new();
    let mut shown = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with('[') {
            table = line.split('#').next().unwrap_or("").trim_matches(['[', ']', ' ']).to_owned();
        } else if let Some(key) = key_of(line) {
            assert!(shown.insert(format!("{table}.{key}")), "{table}.{key} is shown twice");
        }
    }
    assert_eq!(shown, known_keys());
}

#[test]
fn the_examples_in_the_reference_are_valid() {
    let folder = Folder::new("examples");
    let reference = read("deploy/pipeline.toml");
    let deploy = folder.path().join("deploy");
    std::fs::create_dir_all(&deploy).unwrap();
    folder.file("models/roadside.onnx", "any", 0o644);
    let (mut rules, mut models) = (0, 0);
    for example in examples(&reference) {
        let text = format!("[infer]\nengine = \"null\"\n{}", &example.replace("\n#", "\n")[1..]);
        let pipeline = Pipeline::from_toml_str(&text, &deploy, "example").unwrap_or_else(|e| panic!("{e}"));
        rules += pipeline.ingress.acl.len();
        models += pipeline.models.len();
    }
    assert!(rules > 0 && models == 1, "{rules} {models}");
}

#[test]
fn the_documentation_explains_exactly_the_keys_there_are() {
    let text = read("docs/CONFIGURATION.md");
    let mut table = String::new();
    let mut explained = BTreeSet::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## `[") {
            table = heading.trim_matches(['[', ']', '`']).to_owned();
        } else if let Some(key) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next()) {
            assert!(explained.insert(format!("{table}.{key}")), "{table}.{key} is explained twice");
        }
    }
    assert_eq!(explained, known_keys());
}

#[test]
fn the_live_marks_in_the_documentation_are_the_live_keys() {
    let text = read("docs/CONFIGURATION.md");
    let mut table = String::new();
    let mut live = BTreeSet::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## `[") {
            table = heading.trim_matches(['[', ']', '`']).to_owned();
        } else if line.starts_with("| `") && line.ends_with("| live |") && table != "stream" {
            let key = line[3..].split('`').next().unwrap_or("");
            // A list changes as a whole.
            live.insert(if table == "ingress.acl" { table.clone() } else { format!("{table}.{key}") });
        }
    }
    assert_eq!(live, config::LIVE_KEYS.iter().map(|key| (*key).to_owned()).collect());
}

#[test]
fn the_examples_are_configurations() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        Pipeline::load(&file).unwrap_or_else(|error| panic!("{error}"));
    }
}
