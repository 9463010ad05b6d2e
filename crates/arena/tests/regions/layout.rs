//! The layout of shared memory does not change without a new version.
//!
//! `layouts/N.txt` holds every fact of layout version N, one per line: types and fields, numbers, where the areas and rings of
//! two arenas begin, and an image of memory after known operations (`layout_image.rs`), which shows how words are packed.

use crate::layout_image::{SAMPLE, image};
use arena::Geometry;
use arena::facts::{ENUMS, NUMBERS, TYPES};
use arena::layout::{LAYOUT_VERSION, Layout};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Set to 1, the facts of a version that has no file yet are written to one.
const WRITE: &str = "FLUMEWAY_WRITE_LAYOUT";

/// Every size differs from every other one.
const LARGE: Geometry = Geometry {
    buffers: 5000,
    slots: 70,
    slot_input_bytes: 602_112,
    slot_output_bytes: 4032,
    preprocess: 2,
    infer: 3,
    ring_capacity: 256,
    max_streams: 9,
    gateways: 4,
};

fn path_of(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("layouts/{version}.txt"))
}

fn places(text: &mut String, name: &str, geometry: Geometry) {
    let layout = Layout::new(geometry).expect("a possible geometry");
    let words = geometry.to_words();
    writeln!(text, "arena {name}: geometry {words:?}").unwrap();
    for (area, at) in layout.areas() {
        writeln!(text, "arena {name}: {area} at {at:#x}").unwrap();
    }
    for ring in &layout.rings {
        let (id, kind, from, to) = (ring.id.0, ring.kind, ring.from.0, ring.to.0);
        let at = layout.ring_at(ring.id).unwrap();
        writeln!(text, "arena {name}: ring {id} {kind:?} {from} -> {to}, {} entries, at {at:#x}", ring.capacity)
            .unwrap();
    }
    let bytes = [layout.control_bytes, layout.packets_bytes, layout.inputs_bytes, layout.outputs_bytes];
    writeln!(text, "arena {name}: bytes of control, packets, inputs, outputs {bytes:?}").unwrap();
}

/// All facts, one per line.
fn facts() -> String {
    let mut text = format!(
        "# Flumeway's shared memory, layout version {LAYOUT_VERSION}. Written by crates/arena/tests/regions/layout.rs; a file \
         of a version is never changed.\n"
    );
    for t in TYPES {
        writeln!(text, "type {}: {} bytes, alignment {}", t.name, t.size, t.align).unwrap();
        for f in t.fields {
            writeln!(text, "field {}.{}: offset {}, {} bytes", t.name, f.name, f.offset, f.size).unwrap();
        }
    }
    for (name, value, number) in ENUMS {
        writeln!(text, "value {name}::{value} = {number}").unwrap();
    }
    for (name, number) in NUMBERS {
        writeln!(text, "number {name} = {number:#x}").unwrap();
    }
    places(&mut text, "small", SAMPLE);
    places(&mut text, "large", LARGE);
    for line in image() {
        writeln!(text, "image {line}").unwrap();
    }
    text
}

/// What to say if the facts of `version` are not those that its file holds; `None` if they are.
fn complaint(version: u32, recorded: &str, facts: &str) -> Option<String> {
    if recorded == facts {
        return None;
    }
    let (old, new): (HashSet<_>, HashSet<_>) = (recorded.lines().collect(), facts.lines().collect());
    let mut lines: Vec<_> = recorded.lines().filter(|l| !new.contains(l)).map(|l| format!("  - {l}")).collect();
    lines.extend(facts.lines().filter(|l| !old.contains(l)).map(|l| format!("  + {l}")));
    if lines.is_empty() {
        lines.push("  (the same lines in another order)".to_owned());
    }
    let next = version + 1;
    Some(format!(
        "the layout differs from crates/arena/layouts/{version}.txt in these lines (- recorded, + now):\n{}\n\
         Binaries of layout {version} may be attached to the same arena. If the change is meant, raise LAYOUT_VERSION in \
         crates/arena/src/layout.rs to {next} and write layouts/{next}.txt with\n  \
         {WRITE}=1 cargo test -p arena --test regions layout::",
        lines.join("\n")
    ))
}

#[test]
fn the_layout_is_the_one_of_its_version() {
    let (path, facts) = (path_of(LAYOUT_VERSION), facts());
    if std::env::var_os(WRITE).is_some_and(|v| v == "1") {
        use std::io::Write as _;
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
        let mut file = file.unwrap_or_else(|e| {
            panic!(
                "{} is not written: {e}. The file of a version is never changed; raise LAYOUT_VERSION",
                path.display()
            )
        });
        file.write_all(facts.as_bytes()).expect("a writable file");
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_else(|e| {
        let command = "cargo test -p arena --test regions layout::";
        panic!("{}: {e}. Write the facts of layout {LAYOUT_VERSION} with {WRITE}=1 {command}", path.display())
    });
    if let Some(complaint) = complaint(LAYOUT_VERSION, &recorded, &facts) {
        panic!("{complaint}");
    }
}

#[test]
fn facts_are_told_apart_and_come_out_alike_each_time() {
    let text = facts();
    let lines: HashSet<_> = text.lines().collect();
    assert_eq!(lines.len(), text.lines().count(), "no line stands twice");
    assert_eq!(text, facts());
}

/// FNV-1a of each version's file.
const HASHES: [(u32, u64); 3] = [(1, 0xed73_de39_a833_84e7), (2, 0x93c8_962a_1b55_e688), (3, 0x93c6_7145_2e84_dd91)];

#[test]
fn every_earlier_version_has_its_file() {
    for version in 1..LAYOUT_VERSION {
        let text = std::fs::read_to_string(path_of(version)).expect("a file for each version");
        assert!(text.starts_with(&format!("# Flumeway's shared memory, layout version {version}.")), "{version}");
    }
    // A recorded version is history: its file is never written again. Add a line here for each new one.
    let recorded = HASHES.map(|(version, _)| version);
    assert_eq!(recorded.to_vec(), (1..=LAYOUT_VERSION).collect::<Vec<_>>(), "one hash for each version");
    for (version, hash) in HASHES {
        let text = std::fs::read(path_of(version)).expect("a file for each version");
        let is = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
        assert_eq!(is, hash, "layouts/{version}.txt was changed ({is:#018x})");
    }
    assert!(!path_of(LAYOUT_VERSION + 1).exists(), "a file of a version that is not the present one");
}

#[test]
fn a_complaint_names_the_lines_and_the_remedy() {
    let said = complaint(7, "a\nfield X.y: offset 8\nb\n", "a\nfield X.y: offset 16\nb\n").unwrap();
    for part in ["layouts/7.txt", "  - field X.y: offset 8\n  + field X.y: offset 16\n", "layouts/8.txt", WRITE] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(!said.contains("- a"), "what stayed is not told");
    assert!(complaint(7, "a\nb\n", "b\na\n").unwrap().contains("another order"));
}

/// A type that is made for shared memory (`repr(C`) stands in the table of facts.
#[test]
fn every_shared_type_is_in_the_table() {
    fn scan(dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).expect("sources").map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                scan(&entry, found);
                continue;
            }
            let text = std::fs::read_to_string(&entry).expect("text");
            let mut lines = text.lines();
            while let Some(line) = lines.next() {
                if line.trim_start().starts_with("#[repr(C") {
                    let declared = lines.by_ref().find_map(|l| l.split_once("struct ").map(|(_, rest)| rest));
                    let name = declared.and_then(|rest| rest.split(|c: char| !c.is_alphanumeric()).next());
                    found.push(name.expect("a struct follows its repr").to_owned());
                }
            }
        }
    }
    let mut found = Vec::new();
    scan(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort_unstable();
    let mut listed: Vec<_> = TYPES.iter().map(|t| t.name.to_owned()).collect();
    listed.sort_unstable();
    assert_eq!(found, listed, "the types with repr(C), and those in `facts::TYPES`");
}

/// No field overlaps another one, all lie inside, and no two types of the table are confused by name.
#[test]
fn fields_lie_side_by_side() {
    for t in TYPES {
        let mut end = 0;
        for f in t.fields {
            assert!(f.size > 0 && f.offset >= end, "{}.{}: {f:?} begins before {end}", t.name, f.name);
            end = f.offset + f.size;
        }
        assert!(end <= t.size && t.size.is_multiple_of(t.align), "{t:?}");
    }
}
