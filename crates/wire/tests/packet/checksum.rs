//! The Internet checksum against its definition, word by word.

use proptest::prelude::*;
use wire::packet::internet_checksum;

/// RFC 1071 section 1, as it stands there.
fn naive(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks(2).fold(0_u32, |sum, word| {
        let sum = sum + u32::from(word[0]) * 256 + word.get(1).map_or(0, |low| u32::from(*low));
        (sum & 0xffff) + (sum >> 16)
    });
    !(sum as u16)
}

#[test]
fn known_answers() {
    // The example of RFC 1071 section 3: the sum is ddf2.
    assert_eq!(internet_checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    assert_eq!(internet_checksum(&[]), 0xffff);
    assert_eq!(internet_checksum(&[0xff; 20]), 0);
    // An odd byte is the high half of a word.
    assert_eq!(internet_checksum(&[0x12]), !0x1200);
}

#[test]
fn carries_are_kept_over_the_longest_packet() {
    for len in [65_534, 65_535] {
        let bytes = vec![0xff; len];
        assert_eq!(internet_checksum(&bytes), naive(&bytes), "{len} bytes");
    }
}

proptest! {
    #[test]
    fn as_defined(bytes in proptest::collection::vec(prop_oneof![Just(0_u8), Just(0xff), any::<u8>()], 0..300)) {
        prop_assert_eq!(internet_checksum(&bytes), naive(&bytes));
    }

    #[test]
    fn zero_over_its_own(bytes in proptest::collection::vec(any::<[u8; 2]>(), 1..100)) {
        let mut bytes = bytes.concat();
        bytes[0] |= 1; // A sum of nothing but zeros is the other zero.
        bytes.extend_from_slice(&internet_checksum(&bytes).to_be_bytes());
        prop_assert_eq!(internet_checksum(&bytes), 0);
    }
}
