//! The structure that ARCHITECTURE.md promises, checked: who depends on whom, where `unsafe` and atomics may stand, how
//! long a file may be, and that the documents name what exists.
//!
//! Each check is a function from text to findings, so that it can be tried on a bad example too (the tests in
//! `structure/`); the tests here run them on the tree.

#[path = "structure/documents.rs"]
mod documents;
#[path = "structure/lexer.rs"]
mod lexer;
#[path = "structure/sources.rs"]
mod sources;
#[path = "structure/tree.rs"]
mod tree;
#[path = "structure/workspace.rs"]
mod workspace;

use lexer::Source;
use tree::Tree;

/// Which of our crates each may depend on (normal and build dependencies). Stages never depend on one another; the
/// supervisor and the command line execute stages, so that these may be of another release.
const EDGES: &[(&str, &[&str])] = &[
    ("arena", &[]),
    ("wire", &[]),
    ("config", &[]),
    ("acl", &["config"]),
    ("engines", &[]),
    ("stage", &["arena", "config"]),
    ("dpdk-sys", &[]),
    ("ports", &["acl", "arena", "dpdk-sys", "wire"]),
    ("rx-gateway", &["acl", "arena", "config", "ports", "stage", "wire"]),
    ("preprocess", &["arena", "config", "stage", "wire"]),
    ("infer", &["arena", "config", "engines", "stage", "wire"]),
    ("tx", &["arena", "config", "ports", "stage", "wire"]),
    ("supervisor", &["acl", "arena", "config", "ports", "wire"]),
    ("flumeway", &["arena", "config", "ports", "supervisor", "wire"]),
];

/// Crates of tests and benchmarks, which may use any.
const MAY_USE_ANY: &[&str] = &["integration-tests", "benches"];

/// Where `unsafe` may stand: prefixes of paths. Besides these, files called `ffi.rs` in the crates [`FFI`].
const UNSAFE: &[&str] =
    &["crates/arena/", "crates/dpdk-sys/", "crates/preprocess/src/simd/", "crates/supervisor/src/spawn.rs"];
const FFI: &[&str] = &["crates/ports/", "crates/engines/", "crates/preprocess/src/image/turbojpeg/"];

/// Where raw atomics may stand.
const ATOMICS: &[&str] = &["crates/arena/"];

/// Lines of a source file.
const MOST_LINES: usize = 600;

/// Fails with all findings at once.
fn none(findings: &[String]) {
    assert!(findings.is_empty(), "{} findings:\n  {}", findings.len(), findings.join("\n  "));
}

fn findings_in_rust(check: impl Fn(&str, &Source<'_>) -> Vec<String>) -> Vec<String> {
    let files = Tree::open().texts(&["rs"]);
    assert!(files.len() > 50, "only {} Rust files were found: the walk is broken", files.len());
    files.iter().flat_map(|(path, text)| check(path, &lexer::lex(text))).collect()
}

#[test]
fn dependencies_point_one_way() {
    none(&workspace::edges(&workspace::declared(&Tree::open()), EDGES, MAY_USE_ANY));
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    none(&workspace::crate_lints(&Tree::open().member_manifests()));
}

#[test]
fn no_build_contains_what_is_for_tests() {
    let home = "crates/arena/Cargo.toml";
    none(&workspace::test_features(&Tree::open().member_manifests(), home, &["seeded-bugs", "simulated-death"]));
}

/// Headers that cannot be read end a build: without what reads them there is none of DPDK in it.
#[test]
fn make_builds_without_dpdk_where_its_headers_cannot_be_read() {
    let build = |definition: &str| {
        let mut make = std::process::Command::new("make");
        make.args(["-n", "build", definition]).current_dir(integration_tests::root());
        for inherited in ["MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "DPDK", "LIBCLANG_PATH"] {
            make.env_remove(inherited);
        }
        String::from_utf8(make.output().expect("make").stdout).expect("text")
    };
    let without = build("LIBCLANG=");
    assert!(without.contains("build --release") && !without.contains("dpdk"), "{without}");
    assert!(build("DPDK=yes").contains("rx-gateway/dpdk"));
}

#[test]
fn unsafe_lints_are_denied() {
    let tree = Tree::open();
    none(&workspace::workspace_lints(&tree.text("Cargo.toml"), &tree.text("clippy.toml")));
}

#[test]
fn unsafe_stands_where_it_may() {
    none(&findings_in_rust(|path, source| sources::unsafe_places(path, source, UNSAFE, FFI)));
}

#[test]
fn raw_atomics_live_in_the_arena() {
    none(&findings_in_rust(|path, source| sources::raw_atomics(path, source, ATOMICS)));
}

#[test]
fn nothing_is_left_undone() {
    none(&findings_in_rust(sources::leftovers));
    let others = Tree::open().texts(&["py", "sh", "c", "h", "toml", "yml", "yaml", "Makefile"]);
    none(&others.iter().flat_map(|(path, text)| sources::leftover_words(path, text)).collect::<Vec<_>>());
}

#[test]
fn files_are_short() {
    let files = Tree::open().texts(&["rs", "py", "sh", "c", "h"]);
    none(&files.iter().filter_map(|(path, text)| sources::too_long(path, text, MOST_LINES)).collect::<Vec<_>>());
}

#[test]
fn decisions_are_listed() {
    let tree = Tree::open();
    none(&documents::unlisted(&tree.names("docs/decisions"), &tree.text("docs/decisions/README.md")));
}

#[test]
fn links_in_documents_resolve() {
    let tree = Tree::open();
    let files = tree.documents();
    none(
        &files
            .iter()
            .flat_map(|(path, text)| documents::dead_links(path, text, |p| tree.exists(p)))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn promises_name_tests_that_exist() {
    let tree = Tree::open();
    assert!(
        tree.exists("RELIABILITY.md"),
        "RELIABILITY.md is missing: it lists each promise with the test that proves it"
    );
    none(&documents::promises(&tree.text("RELIABILITY.md"), |path| tree.exists(path).then(|| tree.text(path))));
}
