//! Tests across the engines. Those of one part stand with it.

mod armnn;
mod bad_models;
mod child;
mod folder;
mod images;
mod onnx;
mod onnxruntime;
mod openvino;
mod reference;
mod shims;
mod suite;
mod tensorrt;
mod tflite;

use crate::{EngineKind, EngineOptions, survey};
use std::path::{Path, PathBuf};

/// Options with which this test finds the libraries that `make engines` puts into the target folder.
fn options() -> EngineOptions {
    let program = std::env::current_exe().expect("this test has a path");
    // target/PROFILE/deps/test
    let engines = program.ancestors().nth(3).map(|target| target.join("engines"));
    EngineOptions { runtime_dir: engines, ..EngineOptions::default() }
}

/// The engines that run ONNX models here. What is not there is said aloud, and fails where skips do.
fn onnx_engines() -> Vec<&'static str> {
    let mut usable = Vec::new();
    for found in survey(&options()) {
        let kind: EngineKind = found.engine.parse().expect("a name of an engine");
        if !kind.reads_onnx() {
            continue;
        }
        if found.is_usable() {
            usable.push(found.engine);
        } else if kind.is_built() && !kind.needs_gpu() {
            let reason = found.note.unwrap_or_default();
            println!("SKIPPED: engine {}: {reason}", found.engine);
            assert!(
                std::env::var_os("FLUMEWAY_NO_SKIPS").is_none(),
                "engine {} is missing here: {reason}",
                found.engine
            );
        }
    }
    usable
}

/// A file that is removed at the end of the test.
pub(crate) struct TempFile(PathBuf);

impl TempFile {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Self {
        // Tests that run at the same time, each in a thread of its own, may choose the same name.
        let (process, thread) = (std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(format!("flumeway-engines-{process}-{thread:?}-{name}"));
        std::fs::write(&path, bytes).expect("the temporary directory is writable");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Nothing depends on the removal.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A file of the reference models and photographs, which are not part of the repository: `FLUMEWAY_SHARED`, or `shared` beside
/// the checkout. Says so aloud and returns `None` where they are missing.
pub(crate) fn shared(relative: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("FLUMEWAY_SHARED").map_or_else(beside, PathBuf::from);
    let path = root.join(relative);
    if !path.exists() {
        let folder = relative.split('/').next().unwrap_or(relative);
        println!("SKIPPED: ../shared/{folder} missing ({})", path.display());
        return None;
    }
    Some(path)
}
