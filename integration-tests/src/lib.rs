//! What the tests that run the real binaries share: a pipeline under test, and a client that knows what it sent.
#![forbid(unsafe_code)]

pub mod bare;
pub mod client;
pub mod gate;
pub mod impair;
pub mod load;
pub mod netns;
pub mod parts;
pub mod payloads;
pub mod pipeline;
pub mod processes;
pub mod rates;
pub mod raw;
pub mod traffic;
pub mod vm;

use std::path::PathBuf;

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository's root")
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |t| root().join(t))
}

/// The binaries that users run (`make build`).
pub fn shipped() -> PathBuf {
    let dir = target().join("release");
    assert!(dir.join("flumeway").exists(), "{} has no binaries: run `make build` first", dir.display());
    dir
}

/// Stage binaries with named kill points (`make kill-builds`).
pub fn with_kill_points() -> PathBuf {
    let dir = target().join("kill-points");
    assert!(dir.join("flumeway-tx").exists(), "{} has no binaries: run `make kill-builds` first", dir.display());
    dir
}

/// Models and photographs beside the project; `None`, said aloud, where they are not.
pub fn shared() -> Option<PathBuf> {
    let dir = std::env::var_os("FLUMEWAY_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    if dir.join("models").is_dir() {
        return Some(dir);
    }
    eprintln!("SKIPPED: {} with the reference models and photographs is missing", dir.display());
    None
}

/// What a test wants to tell besides that it passed: shown with `--nocapture`, and kept for `make test` to print.
pub fn report(name: &str, text: &str) {
    eprint!("{name}: {text}");
    let dir = target().join("reports");
    std::fs::create_dir_all(&dir).expect("the folder of reports");
    std::fs::write(dir.join(name), format!("{name}: {text}")).expect("write a report");
}
