//! Where the libraries of engines are looked for that are not built in.

use crate::options::EngineOptions;
use std::path::{Path, PathBuf};

/// Environment variable with a folder as [`EngineOptions::runtime_dir`] is one.
pub const RUNTIME_DIR_VARIABLE: &str = "FLUMEWAY_ENGINES";

/// Where packages put them.
const SYSTEM_DIR: &str = "/usr/lib/flumeway/engines";

/// Folders that may have the library of `engine`, best first: `ENGINE` below the folder of the options, below that of the environment, below
/// `engines` beside the program and beside its folder (where `make engines` puts them), and below the system's.
pub(crate) fn folders(engine: &str, options: &EngineOptions) -> Vec<PathBuf> {
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent);
    let roots = [
        options.runtime_dir.clone(),
        std::env::var_os(RUNTIME_DIR_VARIABLE).map(PathBuf::from),
        beside.map(|folder| folder.join("engines")),
        beside.and_then(Path::parent).map(|folder| folder.join("engines")),
        Some(PathBuf::from(SYSTEM_DIR)),
    ];
    roots.into_iter().flatten().filter(|root| root.is_absolute()).map(|root| root.join(engine)).collect()
}

/// Files in `folders` named `library` (`libx.so`), or so with a version behind it (`libx.so.1.2`); in one folder the plain name first, then the
/// others in the order of their names. The folders' order is kept.
pub(crate) fn libraries(folders: &[PathBuf], library: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let named = |path: &PathBuf| {
            let rest = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(library));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) && path.is_file()
        };
        let mut here: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(named).collect();
        here.sort();
        found.append(&mut here);
    }
    found
}

/// `folders` as a sentence's part, for messages.
pub(crate) fn listed(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_library_are_found_and_other_libraries_are_not() {
        let root = std::env::temp_dir().join(format!("flumeway-runtime-{}", std::process::id()));
        let folder = root.join("ort");
        std::fs::create_dir_all(folder.join("libx.so.dir")).unwrap();
        for name in ["libx.so.1.2", "libx.so", "libx_extra.so", "libxx.so", "libx.sox", "readme"] {
            std::fs::write(folder.join(name), b"").unwrap();
        }
        let options = EngineOptions { runtime_dir: Some(root.clone()), ..EngineOptions::default() };
        let found = libraries(&folders("ort", &options), "libx.so");
        let names: Vec<_> =
            found.iter().map(|path| path.strip_prefix(&folder).unwrap().display().to_string()).collect();
        std::fs::remove_dir_all(root).unwrap();
        assert_eq!(names, ["libx.so", "libx.so.1.2"]);
    }

    #[test]
    fn a_relative_folder_is_not_looked_at() {
        let options = EngineOptions { runtime_dir: Some(PathBuf::from("here")), ..EngineOptions::default() };
        assert!(folders("ort", &options).iter().all(|folder| folder.is_absolute()));
    }
}
