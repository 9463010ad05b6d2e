//! Any bytes as what a process is started with: the launch variable, and the geometry in an arena's header.

use arena::Geometry;
use arena::launch::Launch;
use arena::layout::Layout;

/// No arena that [`Layout::new`] allows needs more than this for its control region.
const CONTROL_BYTES_MAX: u64 = 64 << 30;

/// One input.
pub fn run(data: &[u8]) {
    if let Ok(launch) = Launch::decode(&String::from_utf8_lossy(data)) {
        assert_eq!(Launch::decode(&launch.encode()).expect("what was encoded can be read"), launch);
        assert!(launch.descriptors().len() <= data.len() + 8);
    }
    let mut words = [0; 9];
    for (word, bytes) in words.iter_mut().zip(data.chunks(4)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    // Half the numbers close to what is allowed, the others anything.
    for (word, bytes) in words.iter_mut().zip(data.get(36..).unwrap_or_default().chunks(8)) {
        *word ^= bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    // An input that ends before the last number asks for one rx-gateway.
    words[8] ^= 1;
    let geometry = Geometry::from_words(words);
    let Ok(layout) = Layout::new(geometry) else { return };
    assert_eq!(geometry.to_words(), words, "a geometry that is not the one of the header was accepted");
    assert!(layout.control_bytes <= CONTROL_BYTES_MAX);
    let mut end = layout.areas().map(|(_, at)| at).into_iter().fold(0, |before, at| {
        assert!(at > before && at.is_multiple_of(4096));
        at
    });
    for ring in &layout.rings {
        let at = layout.ring_at(ring.id).expect("each ring has its place");
        assert!(at >= end, "ring {} lies in what is before it", ring.id.0);
        end = at + 8192 + 8 * u64::from(ring.capacity);
        assert!(end <= layout.control_bytes);
    }
}
