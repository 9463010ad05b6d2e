//! A library that takes its process down is an engine that is not chosen, and nothing worse.

use super::{picture, roadside, rows};
use integration_tests::client::Client;
use integration_tests::pipeline::{Pipeline, folder};
use std::path::Path;
use std::process::Command;

/// Builds a shared library whose loading ends the process by `how`, a statement of C.
fn library(path: &Path, how: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("the engine's folder");
    let source = path.with_extension("c");
    let text = format!(
        "#include <stdlib.h>\n#include <signal.h>\n__attribute__((constructor)) static void end(void) {{ {how}; }}\n"
    );
    std::fs::write(&source, text).expect("a source file");
    let built = Command::new("gcc").args(["-shared", "-fPIC", "-o"]).arg(path).arg(&source).status().expect("gcc");
    assert!(built.success(), "the library is built");
}

#[test]
fn an_engine_that_crashes_is_only_not_chosen() {
    for (how, signal) in [("abort()", "signal: 6"), ("*(volatile int *)0 = 0", "signal: 11")] {
        let dir = folder("crashing-engines");
        library(&dir.join("engines/onnxruntime/libonnxruntime.so"), how);
        let text = format!(
            "[infer]\nmodel = \"{}\"\nruntime_dir = \"{1}/engines\"\ncache_dir = \"{1}/cache\"\n",
            roadside(),
            dir.display()
        );
        let pipeline = Pipeline::start("crashing", &text);
        let mut client = Client::new(pipeline.listen(), 1);
        (0..5).for_each(|id| super::ask(&mut client, id, &picture(id as u8)));
        pipeline.assert_whole();
        let model = pipeline.status()["models"][0].clone();
        drop(pipeline);
        std::fs::remove_dir_all(&dir).expect("the test's own folder");
        let row = rows(&model["chosen_from"]).iter().find(|row| row["engine"] == "onnxruntime").expect("a row");
        assert!(row["reason"].as_str().is_some_and(|reason| reason.contains(signal)), "{row}");
        assert!(model["engine"] != "onnxruntime" && model["engine"] != "auto", "{model}");
    }
}
