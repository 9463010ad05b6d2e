//! Where the bundled network and its frames lie.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wire::Encoding;

use crate::client::{Frame, load_files};
use crate::failure::Failure;

/// Environment variable that names the folder, before all other places.
pub const MODELS_VARIABLE: &str = "FLUMEWAY_MODELS";
/// File that makes a folder the one looked for.
const NETWORK: &str = "roadside.onnx";

/// The bundled classifier: five classes of roadside scenes.
#[derive(Debug, Clone)]
pub struct Roadside {
    /// The network, ONNX.
    pub network: PathBuf,
    /// Its labels, one per line in class order.
    pub labels: PathBuf,
    /// Held-out JPEG frames, each with the class that is right, in turn through the classes.
    pub frames: Vec<Frame>,
}

/// The folder with the bundled network: `$FLUMEWAY_MODELS`, else where an installation puts it, else the source tree that this
/// program was built from.
pub fn find() -> Result<PathBuf, Failure> {
    let variable = std::env::var_os(MODELS_VARIABLE).map(PathBuf::from);
    let places = match variable {
        Some(folder) => vec![folder],
        None => standard_places(std::env::current_exe().ok().as_deref()),
    };
    if let Some(folder) = places.iter().find(|folder| folder.join(NETWORK).is_file()) {
        return Ok(folder.clone());
    }
    let looked: Vec<String> = places.iter().map(|folder| folder.display().to_string()).collect();
    Err(Failure::environment(format!(
        "the bundled network {NETWORK} is not in {}; set {MODELS_VARIABLE} to the folder that holds it",
        looked.join(" nor in ")
    )))
}

fn standard_places(executable: Option<&Path>) -> Vec<PathBuf> {
    let installed = executable.and_then(Path::parent).map(|folder| folder.join("../share/flumeway/models"));
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    installed.into_iter().chain([built_from]).collect()
}

impl Roadside {
    /// Reads the frames and their labels from `folder`.
    pub fn load(folder: &Path) -> Result<Self, Failure> {
        let unusable = |what: &Path, why: &dyn std::fmt::Display| {
            Failure::environment(format!("{} {why}; restore the folder models/ of this release", what.display()))
        };
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|error| unusable(path, &format_args!("cannot be read: {error}")))
        };
        let labels = folder.join("roadside.labels");
        let classes: Vec<String> = read(&labels)?.lines().map(str::to_owned).collect();
        let table = folder.join("frames/labels.json");
        let right: BTreeMap<String, String> = serde_json::from_str(&read(&table)?)
            .map_err(|error| unusable(&table, &format_args!("is no table of labels: {error}")))?;
        let names: Vec<&String> = right.keys().collect();
        let paths: Vec<PathBuf> = names.iter().map(|name| folder.join("frames").join(name)).collect();
        let mut frames = load_files(&paths, Encoding::Jpeg).map_err(Failure::environment)?;
        for (frame, name) in frames.iter_mut().zip(names) {
            let class = classes.iter().position(|class| *class == right[name]);
            let unknown = || unusable(&table, &format_args!("gives {name} a label that roadside.labels lacks"));
            frame.expected_class = Some(class.ok_or_else(unknown)? as u32);
        }
        if frames.is_empty() {
            return Err(unusable(&table, &"names no frames"));
        }
        take_turns(&mut frames, classes.len());
        Ok(Self { network: folder.join(NETWORK), labels, frames })
    }
}

/// Puts frames of different classes after one another, so that a mix-up of neighbours shows as a wrong class.
fn take_turns(frames: &mut [Frame], classes: usize) {
    let mut seen = vec![0_usize; classes];
    let mut places: BTreeMap<String, (usize, Option<u32>)> = BTreeMap::new();
    for frame in frames.iter() {
        let class = frame.expected_class.unwrap_or(0) as usize;
        places.insert(frame.name.clone(), (seen[class], frame.expected_class));
        seen[class] += 1;
    }
    frames.sort_by_key(|frame| places[&frame.name]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")
    }

    #[test]
    fn the_bundled_frames_have_classes_and_neighbours_differ() {
        let roadside = Roadside::load(&models()).unwrap();
        assert!(roadside.frames.len() >= 24, "a few dozen");
        let pairs = roadside.frames.windows(2);
        assert!(pairs.into_iter().all(|pair| pair[0].expected_class != pair[1].expected_class));
        assert!(roadside.frames.iter().all(|frame| frame.expected_class < Some(5) && frame.bytes.len() > 1000));
    }

    #[test]
    fn a_missing_folder_says_what_to_set() {
        let failure = Roadside::load(Path::new("/nowhere")).unwrap_err();
        assert!(failure.message.contains("/nowhere/roadside.labels"), "{failure}");
        assert_eq!(failure.status, crate::failure::ExitStatus::Environment);
        let places = standard_places(Some(Path::new("/usr/bin/flumeway")));
        assert_eq!(places[0], Path::new("/usr/bin/../share/flumeway/models"));
    }
}
