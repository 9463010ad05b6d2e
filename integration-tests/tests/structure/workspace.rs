//! Crates: who depends on whom, and which lints hold.

use crate::tree::Tree;
use cargo_metadata::{DependencyKind, MetadataCommand};
use toml::Value;

/// A crate and those of ours that it depends on.
pub type Edges = (String, Vec<String>);

/// What the manifests declare, optional dependencies included; dependencies of tests do not count.
pub fn declared(tree: &Tree) -> Vec<Edges> {
    let metadata = MetadataCommand::new().manifest_path(tree.manifest()).no_deps().exec().expect("cargo metadata");
    let members: Vec<String> = metadata.packages.iter().map(|p| p.name.to_string()).collect();
    let mut edges = Vec::new();
    for package in &metadata.packages {
        let ours = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
        let ours = ours.filter(|d| members.contains(&d.name) || d.path.is_some()).map(|d| d.name.clone());
        edges.push((package.name.to_string(), ours.collect()));
    }
    edges
}

/// Edges that `allowed` does not have, crates that it does not know, and rows for crates that do not exist.
pub fn edges(declared: &[Edges], allowed: &[(&str, &[&str])], may_use_any: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, dependencies) in declared.iter().filter(|(name, _)| !may_use_any.contains(&name.as_str())) {
        let Some((_, allowed)) = allowed.iter().find(|(row, _)| row == name) else {
            findings.push(format!("{name}: a crate that the table of edges does not know"));
            continue;
        };
        let wrong = dependencies.iter().filter(|d| !allowed.contains(&d.as_str()));
        findings.extend(wrong.map(|d| format!("{name} depends on {d}; it may depend on {allowed:?}")));
    }
    let missing = allowed.iter().filter(|(row, _)| !declared.iter().any(|(name, _)| name == row));
    findings.extend(
        missing.map(|(row, _)| format!("{row}: the table of edges has a row for it, and there is no such crate")),
    );
    findings
}

/// Manifests without `[lints] workspace = true`.
pub fn crate_lints(manifests: &[(String, String)]) -> Vec<String> {
    let takes = |text: &str| at(&parse(text), &["lints", "workspace"]) == Some(Value::Boolean(true));
    let without = manifests.iter().filter(|(_, text)| !takes(text));
    without.map(|(path, _)| format!("{path}: lacks `[lints] workspace = true`")).collect()
}

/// Manifests besides their `home` that turn on a feature made for tests, and `home` if it does so by default.
pub fn test_features(manifests: &[(String, String)], home: &str, features: &[&str]) -> Vec<String> {
    let named =
        |text: &str, feature: &str| text.lines().any(|l| !l.trim_start().starts_with('#') && l.contains(feature));
    let mut findings = Vec::new();
    for (path, text) in manifests {
        if path == home {
            let defaults = at(&parse(text), &["features", "default"]);
            findings.extend(defaults.map(|d| format!("{path}: has default features: {d}")));
            continue;
        }
        let on = features.iter().filter(|f| named(text, f));
        findings.extend(on.map(|f| format!("{path} names the feature {f}, which is for test runs alone")));
    }
    findings
}

/// What the workspace must deny, and clippy must ban.
pub fn workspace_lints(manifest: &str, clippy: &str) -> Vec<String> {
    let manifest = parse(manifest);
    let mut findings = Vec::new();
    for path in [["rust", "unsafe_op_in_unsafe_fn"], ["clippy", "undocumented_unsafe_blocks"]] {
        let level = at(&manifest, &["workspace", "lints", path[0], path[1]]);
        let level = level.and_then(|v| v.get("level").cloned().or(Some(v)));
        if !level.as_ref().and_then(Value::as_str).is_some_and(|l| ["deny", "forbid"].contains(&l)) {
            findings.push(format!("Cargo.toml: [workspace.lints.{}] does not deny {}", path[0], path[1]));
        }
    }
    let banned = at(&parse(clippy), &["disallowed-types"]);
    let banned: Vec<_> =
        banned.iter().filter_map(Value::as_array).flatten().map(|v| v.get("path").unwrap_or(v)).collect();
    for kind in ["U8", "U16", "U32", "U64", "Usize", "Bool"] {
        let path = format!("core::sync::atomic::Atomic{kind}");
        if !banned.iter().any(|v| v.as_str() == Some(&path)) {
            findings.push(format!("clippy.toml: disallowed-types lacks {path}"));
        }
    }
    findings
}

fn parse(text: &str) -> Value {
    Value::Table(text.parse().expect("a TOML document"))
}

fn at(value: &Value, path: &[&str]) -> Option<Value> {
    path.iter().try_fold(value, |value, key| value.get(key)).cloned()
}

#[test]
fn a_wrong_edge_is_found() {
    let allowed: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"])];
    let owned = |edges: &[(&str, &[&str])]| -> Vec<Edges> {
        edges.iter().map(|(name, to)| ((*name).to_owned(), to.iter().map(|t| (*t).to_owned()).collect())).collect()
    };
    assert_eq!(edges(&owned(&[("a", &[]), ("b", &["a"]), ("tests", &["a", "b"])]), allowed, &["tests"]), [""; 0]);
    let upward = edges(&owned(&[("a", &["b"]), ("b", &["a"])]), allowed, &[]);
    assert_eq!(upward, ["a depends on b; it may depend on []"]);
    assert_eq!(edges(&owned(&[("a", &[]), ("b", &[]), ("c", &[])]), allowed, &[]).len(), 1, "an unknown crate");
    assert_eq!(edges(&owned(&[("a", &[])]), allowed, &[]).len(), 1, "a row for no crate");
}

#[test]
fn the_tree_has_edges_to_check() {
    let declared = declared(&Tree::open());
    let of = |name: &str| declared.iter().find(|(n, _)| n == name).map(|(_, to)| to.clone()).unwrap_or_default();
    assert!(of("infer").contains(&"engines".to_owned()), "{declared:?}");
    assert!(!of("ports").contains(&"ports".to_owned()), "a dependency of tests is counted");
}

#[test]
fn a_crate_without_the_lints_is_found() {
    let manifest = |text: &str| vec![("crates/x/Cargo.toml".to_owned(), text.to_owned())];
    assert_eq!(crate_lints(&manifest("[lints]\nworkspace = true")), [""; 0]);
    assert_eq!(crate_lints(&manifest("[package]\nname = \"x\"")).len(), 1);
    assert_eq!(crate_lints(&manifest("[lints]\nworkspace = false")).len(), 1);
}

#[test]
fn a_lint_that_is_not_denied_is_found() {
    let types = ["U8", "U16", "U32", "U64", "Usize", "Bool"].map(|t| format!("\"core::sync::atomic::Atomic{t}\""));
    let clippy = format!("disallowed-types = [{}]", types.join(","));
    let lints = |rust: &str, clippy: &str| {
        format!("[workspace.lints]\nrust.unsafe_op_in_unsafe_fn = {rust}\nclippy.undocumented_unsafe_blocks = {clippy}")
    };
    assert_eq!(workspace_lints(&lints("\"deny\"", "{ level = \"forbid\" }"), &clippy), [""; 0]);
    assert_eq!(workspace_lints(&lints("\"warn\"", "\"deny\""), &clippy).len(), 1);
    assert_eq!(workspace_lints(&lints("\"deny\"", "{ level = \"allow\" }"), &clippy).len(), 1);
    assert_eq!(workspace_lints("", &clippy).len(), 2);
    assert_eq!(workspace_lints(&lints("\"deny\"", "\"deny\""), "disallowed-types = []").len(), 6);
}

#[test]
fn a_test_feature_that_is_turned_on_is_found() {
    let manifests =
        |home: &str, other: &str| vec![("home".to_owned(), home.to_owned()), ("other".to_owned(), other.to_owned())];
    let find = |home: &str, other: &str| test_features(&manifests(home, other), "home", &["bugs"]).len();
    assert_eq!(
        find("[features]\nbugs = []", "[dependencies]\nhome = \"1\" # no bugs\n# bugs"),
        1,
        "a trailing word counts"
    );
    assert_eq!(find("[features]\nbugs = []", "[dependencies]\nhome = \"1\"\n# bugs"), 0);
    assert_eq!(find("[features]\nbugs = []", "[dependencies]\nhome = { features = [\"bugs\"] }"), 1);
    assert_eq!(find("[features]\ndefault = [\"bugs\"]", ""), 1);
}
