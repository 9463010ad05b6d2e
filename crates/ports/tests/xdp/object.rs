//! The committed object is what its source gives.

use crate::skip::skipped;
use std::path::Path;
use std::process::Command;

#[test]
fn the_object_is_reproducible_from_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let version = Command::new("clang-14").arg("--version").output();
    let Some(version) = version.ok().filter(|output| output.status.success()) else {
        skipped("clang-14 is not installed (make deps)");
        return;
    };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if !version.starts_with("Debian clang version 14.0.6") {
        skipped(&format!("the object was built by Debian's clang 14.0.6, and here is {version}"));
        return;
    }
    // Elsewhere than the sources' own folder: no path may be part of the object.
    let folder = std::env::temp_dir().join(format!("flumeway-bpf-{}", std::process::id()));
    let sources = folder.join("crates/ports/src/xdp");
    std::fs::create_dir_all(&sources).expect("a folder");
    let committed = root.join("crates/ports/src/xdp");
    for name in ["flumeway.bpf.c", "kernel.bpf.h"] {
        std::fs::copy(committed.join(name), sources.join(name)).expect(name);
    }
    std::fs::copy(root.join("Makefile"), folder.join("Makefile")).expect("Makefile");
    let made = Command::new("make").arg("bpf").current_dir(&folder).output().expect("make");
    let built = std::fs::read(sources.join("flumeway.bpf.o"));
    std::fs::remove_dir_all(&folder).expect("the folder is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let is_same = built.expect("an object") == std::fs::read(committed.join("flumeway.bpf.o")).expect("an object");
    assert!(is_same, "flumeway.bpf.o is not what its source gives; run: make bpf");
}
