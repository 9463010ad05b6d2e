//! The fuzz target's body over its committed corpus, and over bytes of proptest's making: `make fuzz` looks further.

use proptest::prelude::*;

#[path = "../../../../fuzz/bodies/datagram.rs"]
mod datagram;

#[test]
fn the_corpus_of_datagram() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/datagram");
    let files: Vec<_> = std::fs::read_dir(&dir).expect("a corpus").map(|e| e.expect("an entry").path()).collect();
    assert!(files.len() >= 10, "the corpus is gone: {} files in {}", files.len(), dir.display());
    for file in files {
        datagram::run(&std::fs::read(&file).expect("a file"));
    }
}

proptest! {
    #[test]
    fn any_bytes_as_a_datagram(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        datagram::run(&data);
    }
}
