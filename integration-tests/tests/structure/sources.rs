//! What may stand in a source file, and where.

use crate::lexer::{Source, Token, lex};

fn starts_with_any(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| path.starts_with(prefix))
}

/// `unsafe`, or a permission for it, outside `places` and outside the files `ffi.rs` of the crates in `ffi`; and
/// permissions to leave it unexplained, anywhere.
pub fn unsafe_places(path: &str, source: &Source<'_>, places: &[&str], ffi: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for lint in ["unsafe_op_in_unsafe_fn", "undocumented_unsafe_blocks"] {
        let lines = enclosed(source, lint, &PERMITS);
        findings.extend(lines.into_iter().map(|line| format!("{path}:{line}: permits {lint}")));
    }
    let is_ffi = starts_with_any(path, ffi) && path.ends_with("/ffi.rs");
    if !is_ffi && !starts_with_any(path, places) {
        findings.extend(source.find(&["unsafe"]).into_iter().map(|line| format!("{path}:{line}: unsafe")));
        let lines = enclosed(source, "unsafe_code", &PERMITS);
        findings.extend(lines.into_iter().map(|line| format!("{path}:{line}: permits unsafe code")));
    }
    findings
}

/// Attributes that take a lint back.
const PERMITS: [&str; 3] = ["allow", "expect", "warn"];

/// Lines in which `word` stands in the parentheses of one of `openers`.
fn enclosed(source: &Source<'_>, word: &str, openers: &[&str]) -> Vec<usize> {
    let tokens = &source.tokens;
    let is_enclosed = |at: usize| opener(tokens, at).is_some_and(|t| openers.contains(&t.text));
    (0..tokens.len()).filter(|at| tokens[*at].text == word && is_enclosed(*at)).map(|at| tokens[at].line).collect()
}

/// The word before the parenthesis that encloses the token at `at`.
fn opener<'a>(tokens: &[Token<'a>], at: usize) -> Option<Token<'a>> {
    let mut depth = 0;
    for n in (0..at).rev() {
        match tokens[n].text {
            ")" => depth += 1,
            "(" if depth == 0 => return n.checked_sub(1).map(|before| tokens[before]),
            "(" => depth -= 1,
            ";" | "{" | "}" => return None,
            _ => {}
        }
    }
    None
}

/// Atomic types of the standard library, by whatever path, outside `places`. Fences and orderings are no shared words.
pub fn raw_atomics(path: &str, source: &Source<'_>, places: &[&str]) -> Vec<String> {
    if starts_with_any(path, places) {
        return Vec::new();
    }
    let tokens = &source.tokens;
    let is_path = |at: usize| tokens.get(at..at + 2).is_some_and(|t| t[0].text == ":" && t[1].text == ":");
    let mut findings = Vec::new();
    let mut find = |line: usize, what: &str| findings.push(format!("{path}:{line}: {what} of the standard library"));
    for (at, token) in tokens.iter().enumerate().filter(|(_, t)| t.text == "atomic") {
        if !is_path(at + 1) {
            // `use std::sync::atomic;` or `use std::sync::{atomic, ..}` would hide the path of what follows.
            if (at >= 2 && is_path(at - 2)) || in_use(tokens, at) {
                find(token.line, "the module of atomics");
            }
            continue;
        }
        for named in named_after(&tokens[at + 3..]) {
            if named.text.starts_with("Atomic") || ["*", "self"].contains(&named.text) {
                find(named.line, named.text);
            }
        }
    }
    findings
}

/// What a path goes on with: one name, or all those in braces.
fn named_after<'t, 'a>(rest: &'t [Token<'a>]) -> &'t [Token<'a>] {
    if rest.first().is_none_or(|t| t.text != "{") {
        return &rest[..rest.len().min(1)];
    }
    let mut depth = 0;
    let end = rest.iter().position(|t| {
        depth += i32::from(t.text == "{") - i32::from(t.text == "}");
        depth == 0
    });
    &rest[..end.unwrap_or(rest.len())]
}

/// Whether the token at `at` stands in a `use` declaration.
fn in_use(tokens: &[Token<'_>], at: usize) -> bool {
    let is_part = |t: &&Token<'_>| t.text != ";" && t.text != "(" && t.text != "=";
    tokens[..at].iter().rev().take_while(is_part).any(|t| t.text == "use")
}

/// Placeholders, ignored tests, and words that mark something as undone in comments.
pub fn leftovers(path: &str, source: &Source<'_>) -> Vec<String> {
    let patterns: [&[&str]; 4] =
        [&["todo", "!"], &["unimplemented", "!"], &["#", "[", "ignore", "]"], &["#", "[", "ignore", "="]];
    let mut findings = Vec::new();
    for pattern in patterns {
        findings.extend(source.find(pattern).into_iter().map(|line| format!("{path}:{line}: {}", pattern.concat())));
    }
    for line in enclosed(source, "ignore", &["cfg_attr"]) {
        findings.push(format!("{path}:{line}: ignored by condition"));
    }
    for comment in &source.comments {
        findings.extend(marks(comment.text).map(|(n, word)| format!("{path}:{}: {word}", comment.line + n)));
    }
    findings
}

/// The same words, in a file that is not Rust.
pub fn leftover_words(path: &str, text: &str) -> Vec<String> {
    marks(text).map(|(n, word)| format!("{path}:{}: {word}", n + 1)).collect()
}

/// Lines, counted from 0, with a word that marks something as undone.
fn marks(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(n, line)| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.find(|word| ["FIXME", "TODO", "XXX"].contains(word)).map(|word| (n, word))
    })
}

/// A file that should be several.
pub fn too_long(path: &str, text: &str, most: usize) -> Option<String> {
    let lines = text.lines().count();
    (lines > most).then(|| format!("{path}: {lines} lines, {most} are the most"))
}

const NOTHING: [String; 0] = [];

#[test]
fn unsafe_in_the_wrong_place_is_found() {
    let check = |path: &str, text: &str| unsafe_places(path, &lex(text), &["crates/arena/"], &["crates/ports/"]);
    let block = "fn f() {\n    unsafe { g() }\n}";
    assert_eq!(check("crates/wire/src/lib.rs", block), ["crates/wire/src/lib.rs:2: unsafe"]);
    assert_eq!(check("crates/ports/src/udp/rx.rs", block).len(), 1, "not in ffi.rs");
    assert_eq!(check("crates/wire/src/ffi.rs", block).len(), 1, "not a crate with foreign functions");
    assert_eq!(check("crates/ports/src/notffi.rs", block).len(), 1);
    assert_eq!(check("crates/tx/src/lib.rs", "#[unsafe(no_mangle)] fn f() {}").len(), 1);
    assert_eq!(check("crates/tx/src/lib.rs", "#![allow(missing_docs, unsafe_code)]").len(), 1);
    assert_eq!(check("crates/arena/src/ring.rs", block), NOTHING);
    assert_eq!(check("crates/ports/src/udp/ffi.rs", block), NOTHING);
    assert_eq!(
        check("crates/tx/src/lib.rs", "#![forbid(unsafe_code)] // unsafe\nconst A: &str = \"unsafe\";"),
        NOTHING
    );
}

#[test]
fn unexplained_unsafe_is_found_even_where_unsafe_may_stand() {
    let text = "#![allow(clippy::undocumented_unsafe_blocks)]\n#[expect(unsafe_op_in_unsafe_fn, reason = \"f(x)\")]";
    assert_eq!(unsafe_places("crates/arena/src/ring.rs", &lex(text), &["crates/arena/"], &[]).len(), 2);
    let denied = "#![deny(clippy::undocumented_unsafe_blocks)]";
    assert_eq!(unsafe_places("crates/arena/src/ring.rs", &lex(denied), &["crates/arena/"], &[]), NOTHING);
}

#[test]
fn atomics_are_found_by_every_path() {
    let check = |text: &str| raw_atomics("crates/tx/src/lib.rs", &lex(text), &["crates/arena/"]).len();
    for bad in [
        "use std::sync::atomic::AtomicU64;",
        "use core::sync::atomic::{Ordering, AtomicBool as Flag};",
        "use std::{io, sync::{Arc, atomic::{AtomicUsize, Ordering}}};",
        "use std::sync::atomic::*;",
        "use std::sync::atomic;",
        "use std::sync::{Arc, atomic};",
        "use std::sync::atomic::{self, Ordering};",
        "static A: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);",
        "fn f(a: &core::sync::atomic::AtomicPtr<u8>) {}",
    ] {
        assert!(check(bad) > 0, "{bad}");
    }
    for good in [
        "use std::sync::atomic::{Ordering, compiler_fence};",
        "use arena::sync::{AtomicU64, Ordering};",
        "std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);",
        "fn f(atomic: bool) { g(1, atomic, 2); } // std::sync::atomic::AtomicU64",
    ] {
        assert_eq!(check(good), 0, "{good}");
    }
    let arena = raw_atomics("crates/arena/src/sync.rs", &lex("use std::sync::atomic::AtomicU64;"), &["crates/arena/"]);
    assert_eq!(arena, NOTHING);
}

#[test]
fn what_is_left_undone_is_found() {
    let check = |text: &str| leftovers("a.rs", &lex(text));
    assert_eq!(check("fn f() { todo!() }\nfn g() { unimplemented!(\"x\") }").len(), 2);
    assert_eq!(check("#[ignore]\n#[ignore = \"slow\"]\n#[cfg_attr(miri, ignore)]").len(), 3);
    assert_eq!(check("/* a\n FIXME: b */"), ["a.rs:2: FIXME"]);
    assert_eq!(check("//! XXX\n/// TODO later").len(), 2);
    assert_eq!(check("let ignore = \"FIXME\"; // mktemp XXXXXX, to do, ignore"), NOTHING);
    assert_eq!(leftover_words("run.sh", "a\nb # FIXME\n"), ["run.sh:2: FIXME"]);
    assert_eq!(leftover_words("run.sh", "mktemp /tmp/a.XXXXXX"), NOTHING);
}

#[test]
fn a_long_file_is_found() {
    assert_eq!(too_long("a.rs", &"x\n".repeat(11), 10).as_deref(), Some("a.rs: 11 lines, 10 are the most"));
    assert_eq!(too_long("a.rs", &"x\n".repeat(10), 10), None);
}
