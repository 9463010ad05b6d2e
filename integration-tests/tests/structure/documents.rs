//! What documents say exists, exists.

use crate::lexer::lex;
use std::path::{Component, Path};

/// Decisions (`NNNN-*.md` among `names`) that `index` has no link to.
pub fn unlisted(names: &[String], index: &str) -> Vec<String> {
    let is_decision = |name: &&String| {
        let number = name.strip_suffix(".md").and_then(|stem| stem.split_once('-')).map(|(number, _)| number);
        number.is_some_and(|n| n.len() == 4 && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let listed: Vec<String> = links(index).into_iter().map(|(_, target)| target).collect();
    let missing = names.iter().filter(is_decision).filter(|name| !listed.contains(name));
    missing.map(|name| format!("docs/decisions/README.md does not list {name}")).collect()
}

/// Links of a document that lead to no file; those to other sites are not followed.
pub fn dead_links(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    for (line, target) in links(text) {
        let file = target.split('#').next().unwrap_or_default();
        if file.is_empty() || target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        if !resolve(folder, file).is_some_and(|p| exists(&p)) {
            findings.push(format!("{path}:{line}: {target} does not exist"));
        }
    }
    findings
}

/// A path relative to `folder`, relative to the root; `None` if it leaves the project.
fn resolve(folder: &Path, file: &str) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for component in folder.join(file).components() {
        match component {
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => _ = parts.pop()?,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}

/// Targets of `[text](target)` and `[label]: target`, with their lines; code does not count.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut in_fence = false;
    for (n, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
            continue;
        }
        if in_fence {
            continue;
        }
        let line = without_code(line);
        for after in line.split("](").skip(1) {
            links.push((n + 1, target(after.split(')').next().unwrap_or_default())));
        }
        if let Some((label, after)) = line.trim_start().split_once("]: ")
            && label.starts_with('[')
        {
            links.push((n + 1, target(after)));
        }
    }
    links
}

/// A link's target without its title and angle brackets.
fn target(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().trim_matches(['<', '>']).to_owned()
}

/// A line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Rows of the promises' tables whose test does not exist. A test is `path::function`, in backticks or not, several
/// divided by commas; `pending` names none yet.
pub fn promises(text: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut findings = Vec::new();
    let (mut column, mut rows) = (None, 0);
    for (n, line) in text.lines().enumerate() {
        let Some(cells) = cells(line) else {
            column = None;
            continue;
        };
        let Some(at) = column else {
            column = cells.iter().position(|c| c.eq_ignore_ascii_case("test"));
            continue;
        };
        if cells.iter().all(|c| !c.is_empty() && c.chars().all(|c| c == '-' || c == ':')) {
            continue;
        }
        rows += 1;
        let named = cells.get(at).map_or("", String::as_str);
        for test in named.split([',', ' ']).map(|t| t.trim_matches('`')).filter(|t| !t.is_empty()) {
            if let Err(what) = find_test(test, &read) {
                findings.push(format!("RELIABILITY.md:{}: {what}", n + 1));
            }
        }
        if named.is_empty() {
            findings.push(format!("RELIABILITY.md:{}: neither a test nor `pending`", n + 1));
        }
    }
    if rows == 0 {
        findings.push("RELIABILITY.md has no table with a column `test`".to_owned());
    }
    findings
}

/// The cells of a table's row.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(|cell| cell.trim().to_owned()).collect())
}

fn find_test(test: &str, read: impl Fn(&str) -> Option<String>) -> Result<(), String> {
    if test == "pending" {
        return Ok(());
    }
    let Some((path, function)) = test.rsplit_once("::") else {
        return Err(format!("{test} is neither `path::function` nor `pending`"));
    };
    let Some(text) = read(path) else { return Err(format!("{path} does not exist")) };
    if lex(&text).find(&["fn", function]).is_empty() {
        return Err(format!("{path} has no function {function}"));
    }
    Ok(())
}

#[test]
fn an_unlisted_decision_is_found() {
    let names = ["0001-a.md", "0002-b.md", "README.md", "notes.md"].map(str::to_owned);
    assert_eq!(unlisted(&names, "- [0001](0001-a.md): a\n- [0002](0002-b.md): b"), [""; 0]);
    let missing = unlisted(&names, "- [0001](0001-a.md): a, and 0002-b.md without a link");
    assert_eq!(missing, ["docs/decisions/README.md does not list 0002-b.md"]);
}

#[test]
fn a_dead_link_is_found() {
    let exists = |path: &str| ["README.md", "docs/PROTOCOL.md", "crates/wire"].contains(&path);
    let check = |text: &str| dead_links("docs/A.md", text, exists);
    let good = "[p](PROTOCOL.md#header) [r](../README.md \"title\") [w](<../crates/wire/>) [x](https://a.example/b) [top](#top)";
    assert_eq!(check(good), [""; 0]);
    assert_eq!(check("a\n[p](PROTOCOLS.md)"), ["docs/A.md:2: PROTOCOLS.md does not exist"]);
    assert_eq!(check("[r](README.md)").len(), 1, "relative to the document, not to the root");
    assert_eq!(check("[r](../../README.md)").len(), 1, "outside the project");
    assert_eq!(check("[label]: NOWHERE.md").len(), 1);
    assert_eq!(check("`[a](b)`\n```\n[c](d)\n```\n[e](f)"), ["docs/A.md:5: f does not exist"]);
}

#[test]
fn a_promise_without_its_test_is_found() {
    let read = |path: &str| (path == "tests/kill.rs").then(|| "#[test]\nfn survives() {}\n// fn gone() {}".to_owned());
    let check =
        |row: &str| promises(&format!("| promise | figure | test | proven on |\n|---|---|:-:|---|\n{row}\n"), read);
    assert_eq!(check("| a | 1 | `tests/kill.rs::survives` | here |\n| b | 2 | pending | |"), [""; 0]);
    assert_eq!(check("| a | 1 | tests/kill.rs::survives, `pending` | |"), [""; 0]);
    assert_eq!(check("| a | 1 | tests/kill.rs::gone | |"), ["RELIABILITY.md:3: tests/kill.rs has no function gone"]);
    assert_eq!(check("| a | 1 | tests/none.rs::survives | |").len(), 1);
    assert_eq!(check("| a | 1 | soon | |").len(), 1);
    assert_eq!(check("| a | 1 | | |").len(), 1);
    assert_eq!(promises("No table.", read).len(), 1);
    assert_eq!(promises("| promise | figure |\n|---|---|\n| a | 1 |", read).len(), 1, "no column for tests");
}
