//! The files of the project.

use std::fs;
use std::path::{Path, PathBuf};

/// The project's root folder.
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Where this crate was built from.
    pub fn open() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
        Self { root: root.to_owned() }
    }

    /// The workspace's manifest.
    pub fn manifest(&self) -> PathBuf {
        self.root.join("Cargo.toml")
    }

    /// A file's text.
    pub fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Whether there is such a file or folder.
    pub fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Names of the files in a folder.
    pub fn names(&self, folder: &str) -> Vec<String> {
        entries(&self.root.join(folder)).iter().map(|p| name(p)).collect()
    }

    /// Path and text of every source file whose extension, or whole name, is one of `kinds`.
    pub fn texts(&self, kinds: &[&str]) -> Vec<(String, String)> {
        let is_wanted = |path: &PathBuf| {
            let extension = path.extension().map(|e| e.to_string_lossy().into_owned());
            kinds.contains(&name(path).as_str()) || extension.is_some_and(|e| kinds.contains(&e.as_str()))
        };
        let mut files = Vec::new();
        walk(&self.root, &mut files);
        files.iter().filter(|p| is_wanted(p)).map(|p| self.with_text(p)).collect()
    }

    /// The documents: `*.md` at the root and everywhere under `docs`.
    pub fn documents(&self) -> Vec<(String, String)> {
        let mut files = entries(&self.root);
        files.retain(|p| p.is_file());
        walk(&self.root.join("docs"), &mut files);
        files.iter().filter(|p| p.extension().is_some_and(|e| e == "md")).map(|p| self.with_text(p)).collect()
    }

    /// Path and text of the manifests of all crates of this workspace; `fuzz` is a workspace of its own.
    pub fn member_manifests(&self) -> Vec<(String, String)> {
        let manifests = self.texts(&["Cargo.toml"]);
        manifests.into_iter().filter(|(path, _)| path != "Cargo.toml" && !path.starts_with("fuzz/")).collect()
    }

    fn with_text(&self, path: &Path) -> (String, String) {
        let relative = path.strip_prefix(&self.root).expect("under the root").to_string_lossy().into_owned();
        let text = self.text(&relative);
        (relative, text)
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|e| e.path()).collect();
    paths.sort();
    paths
}

/// All files below `folder` but hidden ones and what tools wrote (`target`, caches).
fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    if folder.join("CACHEDIR.TAG").exists() || ["target", "__pycache__"].contains(&name(folder).as_str()) {
        return;
    }
    for path in entries(folder) {
        if name(&path).starts_with('.') || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}
