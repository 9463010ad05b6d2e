//! The fuzz targets' bodies over their committed corpus, and over bytes of proptest's making: `make fuzz` looks further.

#![allow(clippy::disallowed_types, reason = "shared words come from `arena::sync`")]

use proptest::prelude::*;

#[path = "../../../../fuzz/bodies/ring.rs"]
mod ring;
#[path = "../../../../fuzz/bodies/start.rs"]
mod start;

fn replay(target: &str, run: fn(&[u8])) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files: Vec<_> = std::fs::read_dir(&dir).expect("a corpus").map(|e| e.expect("an entry").path()).collect();
    assert!(files.len() >= 10, "the corpus of {target} is gone: {} files in {}", files.len(), dir.display());
    for file in files {
        run(&std::fs::read(&file).expect("a file"));
    }
}

#[test]
fn the_corpus_of_ring() {
    replay("ring", ring::run);
}

#[test]
fn the_corpus_of_start() {
    replay("start", start::run);
}

proptest! {
    #[test]
    fn any_bytes_as_a_ring(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        ring::run(&data);
    }

    #[test]
    fn any_bytes_as_a_start(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        start::run(&data);
    }

    /// Bytes that are a launch variable but for one of them.
    #[test]
    fn a_launch_variable_with_another_byte(at in 0..90_usize, byte: u8) {
        let text = "owner=5;ticket=9;control=3;packets=4r;inputs=-;outputs=6w;bells=7,8;config=10;supervisor=11;port=;core=1";
        let mut data = text.as_bytes().to_vec();
        data[at] = byte;
        start::run(&data);
    }
}
