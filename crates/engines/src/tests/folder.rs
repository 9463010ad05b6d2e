//! Folders with engines' libraries, made for one test.

use crate::EngineOptions;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder that is removed at the end of the test.
pub(super) struct TempFolder(PathBuf);

impl TempFolder {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flumeway-engines-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self(path)
    }

    /// Options by which engines are looked for here first.
    pub(super) fn options(&self) -> EngineOptions {
        EngineOptions { runtime_dir: Some(self.0.clone()), ..EngineOptions::default() }
    }

    /// Where the library `file` of `engine` belongs.
    pub(super) fn library(&self, engine: &str, file: &str) -> PathBuf {
        let folder = self.0.join(engine);
        std::fs::create_dir_all(&folder).expect("the temporary directory is writable");
        folder.join(file)
    }

    /// Compiles the C file `source`, beside these tests, to a library. Rust links with the same compiler, so it is there.
    pub(super) fn compile(&self, source: &str, engine: &str, file: &str, definitions: &[&str]) {
        let options = [&["-shared", "-fPIC"], definitions].concat();
        self.run_compiler(&format!("src/tests/{source}"), engine, file, &options);
    }

    /// Compiles the C file `source` of the shims to a program.
    pub(super) fn compile_program(&self, source: &str, engine: &str, file: &str) {
        self.run_compiler(&format!("shims/{source}"), engine, file, &[]);
    }

    fn run_compiler(&self, source: &str, engine: &str, file: &str, options: &[&str]) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let mut cc = Command::new("cc");
        cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-D_DEFAULT_SOURCE"]).args(options);
        let done = cc.arg(source).arg("-o").arg(self.library(engine, file)).arg("-ldl").output().expect("a C compiler");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // Nothing depends on the removal.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
