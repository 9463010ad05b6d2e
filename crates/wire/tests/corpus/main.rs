//! The fuzz targets' bodies over their committed corpus, and over bytes of proptest's making: `make fuzz` looks further.

use proptest::prelude::*;

#[path = "../../../../fuzz/bodies/datagram.rs"]
mod datagram;
#[path = "../../../../fuzz/bodies/neighbour.rs"]
mod neighbour;
#[path = "../../../../fuzz/bodies/packet.rs"]
mod packet;
#[path = "../../../../fuzz/bodies/pcap.rs"]
mod pcap;

fn replay(target: &str, run: fn(&[u8])) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files: Vec<_> = std::fs::read_dir(&dir).expect("a corpus").map(|e| e.expect("an entry").path()).collect();
    assert!(files.len() >= 10, "the corpus is gone: {} files in {}", files.len(), dir.display());
    for file in files {
        run(&std::fs::read(&file).expect("a file"));
    }
}

#[test]
fn the_corpus_of_datagram() {
    replay("datagram", datagram::run);
}

#[test]
fn the_corpus_of_packet() {
    replay("packet", packet::run);
}

#[test]
fn the_corpus_of_neighbour() {
    replay("neighbour", neighbour::run);
}

#[test]
fn the_corpus_of_pcap() {
    replay("pcap", pcap::run);
}

proptest! {
    #[test]
    fn any_bytes_as_a_datagram(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        datagram::run(&data);
    }

    #[test]
    fn any_bytes_as_a_frame(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        packet::run(&data);
    }

    #[test]
    fn any_bytes_as_a_question(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        neighbour::run(&data);
    }

    #[test]
    fn any_bytes_as_a_capture(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        pcap::run(&data);
    }
}
