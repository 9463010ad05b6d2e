//! The files that a configuration names: where they lie, and what is in them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{ConfigError, Origin};
use crate::pipeline::Pipeline;
use crate::post::Post;

/// More than any list of classes: ImageNet-21k's has 2 MB with descriptions.
const MAX_LABELS_BYTES: u64 = 8 << 20;

/// `path`, taken from `base_dir` unless it is absolute; `.` components are left out.
pub(crate) fn absolute(base_dir: &Path, path: &Path) -> PathBuf {
    let joined = base_dir.join(path);
    // Fails only without a current folder; the path as it is then gives a clear error where it is used.
    std::path::absolute(&joined).unwrap_or(joined)
}

/// Makes the paths of model and labels absolute, sees that the model is there, and reads the labels.
pub(crate) fn load(pipeline: &mut Pipeline, at: &Origin, base_dir: &Path) -> Result<(), ConfigError> {
    if let Some(model) = &mut pipeline.infer.model {
        *model = absolute(base_dir, model);
        // Whether it is a network is for the engine to say; that it is missing is better said here, with the line.
        if let Err(error) = File::open(&*model) {
            let problem = format!("= \"{}\" cannot be read: {error}", model.display());
            return Err(at.error(
                "infer.model",
                &problem,
                "write the path of the network, relative to this file's folder",
            ));
        }
        if model.is_dir() {
            return Err(at.error(
                "infer.model",
                &format!("= \"{}\" is a folder", model.display()),
                "write the path of the network's file",
            ));
        }
    }
    for folder in [&mut pipeline.infer.runtime_dir, &mut pipeline.infer.cache_dir].into_iter().flatten() {
        *folder = absolute(base_dir, folder);
    }
    load_labels(&mut pipeline.post, at, "post.labels", base_dir)?;
    for (n, model) in pipeline.models.iter_mut().enumerate() {
        if let Some(file) = &model.file
            && let Err(error) = File::open(file)
        {
            let problem = format!("= \"{}\" cannot be read: {error}", file.display());
            let remedy = "write the path of the network, relative to this file's folder";
            return Err(at.error(&format!("model.{}.file", n + 1), &problem, remedy));
        }
        load_labels(&mut model.post, at, &format!("model.{}.labels", n + 1), base_dir)?;
    }
    Ok(())
}

fn load_labels(post: &mut Post, at: &Origin, key: &str, base_dir: &Path) -> Result<(), ConfigError> {
    if let Some(labels) = &mut post.labels {
        *labels = absolute(base_dir, labels);
        post.label_names = read_labels(labels).map_err(|problem| {
            let problem = format!("= \"{}\" {problem}", labels.display());
            at.error(key, &problem, "name a text file with one label per line")
        })?;
    }
    Ok(())
}

/// Refuses paths that are not UTF-8: they have no form in JSON, in which stages get the configuration.
pub(crate) fn check_names(pipeline: &Pipeline, at: &Origin) -> Result<(), ConfigError> {
    let supervisor = &pipeline.supervisor;
    let paths = [
        ("infer.model", pipeline.infer.model.as_ref()),
        ("infer.runtime_dir", pipeline.infer.runtime_dir.as_ref()),
        ("infer.cache_dir", pipeline.infer.cache_dir.as_ref()),
        ("post.labels", pipeline.post.labels.as_ref()),
        ("replay.input", pipeline.replay.input.as_ref()),
        ("replay.output", pipeline.replay.output.as_ref()),
        ("supervisor.bin_dir", Some(&supervisor.bin_dir)),
        ("supervisor.control_socket", Some(&supervisor.control_socket)),
        ("supervisor.quarantine_dir", Some(&supervisor.quarantine_dir)),
        ("stream.default.mac_key_file", pipeline.default_stream.mac_key_file.as_ref()),
    ];
    let models = pipeline
        .models
        .iter()
        .flat_map(|model| [("model.file", model.file.as_ref()), ("model.labels", model.post.labels.as_ref())]);
    let streams = pipeline.streams.iter().map(|stream| ("stream", stream.mac_key_file.as_ref()));
    match paths
        .into_iter()
        .chain(models)
        .chain(streams)
        .find(|(_, path)| path.is_some_and(|path| path.to_str().is_none()))
    {
        Some((key, Some(path))) => {
            let problem = format!("= \"{}\" is not UTF-8", path.display());
            Err(at.error(key, &problem, "use folders and files whose names are UTF-8"))
        }
        _ => Ok(()),
    }
}

/// The text of a file of at most `max_bytes`.
pub(crate) fn text(path: &Path, max_bytes: u64) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(max_bytes + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > max_bytes { Err(format!("has more than {max_bytes} bytes")) } else { Ok(text) }
}

fn read_labels(path: &Path) -> Result<Vec<String>, String> {
    let text = text(path, MAX_LABELS_BYTES)?;
    // A blank line in the middle would be a class without a name: kept, so that numbers stay right.
    let labels: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
    if labels.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(labels)
}
