//! How many scans a JPEG has: each costs a pass over the picture, so a small file with thousands could hold the stage for minutes.

/// Markers (ITU-T T.81, table B.1).
const SOS: u8 = 0xda;
const EOI: u8 = 0xd9;
/// Markers without a length: RST0..=RST7, SOI, TEM.
const ALONE: [std::ops::RangeInclusive<u8>; 2] = [0xd0..=0xd8, 0x01..=0x01];

/// Whether the file has more than `limit` scans. Of a sequential file whose first scan has all components, decoders read no other.
///
/// A file that is no JPEG gives some answer: decoding it says what is wrong.
pub(super) fn more_scans_than(limit: usize, file: &[u8]) -> bool {
    let (mut at, mut scans, mut frame) = (0, 0, Frame { components: 0, progressive: false });
    while let Some((marker, after)) = next_marker(file, at) {
        at = after;
        if marker == EOI {
            return false;
        }
        if ALONE.iter().any(|range| range.contains(&marker)) {
            continue;
        }
        let Some(&[high, low]) = file.get(at..).and_then(|rest| rest.first_chunk::<2>()) else { return false };
        let segment = file.get(at..at + usize::from(u16::from_be_bytes([high, low]))).unwrap_or(&[]);
        match marker {
            SOS => {
                scans += 1;
                let all = segment.get(2) == Some(&frame.components);
                if scans > limit {
                    return true;
                }
                if scans == 1 && all && !frame.progressive {
                    return false;
                }
            }
            // SOF0..=SOF15 without DHT, JPG and DAC; those of progressive processes are 2, 6, 10, 14.
            0xc0..=0xcf if ![0xc4, 0xc8, 0xcc].contains(&marker) => {
                frame = Frame { components: segment.get(7).copied().unwrap_or(0), progressive: marker & 3 == 2 };
            }
            _ => {}
        }
        at += segment.len().max(2);
    }
    false
}

struct Frame {
    components: u8,
    progressive: bool,
}

/// The first marker at or after `at`, and the byte after it. Stuffed zeros and fill bytes are none.
fn next_marker(file: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += file.get(at..)?.iter().position(|byte| *byte == 0xff)?;
        match *file.get(at + 1)? {
            0xff => at += 1,
            0x00 => at += 2,
            marker => return Some((marker, at + 2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::more_scans_than;

    const SOF0: &[u8] = &[0xff, 0xc0, 0, 17, 8, 0, 8, 0, 8, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0];
    const SCAN_OF_ONE: &[u8] = &[0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0x12, 0xff, 0x00, 0xff, 0xd3, 0x34];
    const SCAN_OF_ALL: &[u8] = &[0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0, 0x12];
    /// A comment that looks like a scan.
    const COMMENT: &[u8] = &[0xff, 0xfe, 0, 6, 0xff, 0xda, 0, 8];

    fn file(parts: &[&[u8]]) -> Vec<u8> {
        [&[&[0xff, 0xd8][..]], parts, &[&[0xff, 0xd9][..]]].concat().concat()
    }

    #[test]
    fn scans_are_counted() {
        for scans in 0..5 {
            let parts = [&[SOF0, COMMENT][..], &vec![SCAN_OF_ONE; scans]].concat();
            for limit in 0..5 {
                assert_eq!(more_scans_than(limit, &file(&parts)), scans > limit, "{scans} scans, limit {limit}");
            }
        }
    }

    #[test]
    fn what_follows_a_sequential_scan_of_all_is_not_read() {
        let sequential = [SOF0, SCAN_OF_ALL, SCAN_OF_ALL, SCAN_OF_ALL];
        assert!(!more_scans_than(1, &file(&sequential)));
        let mut progressive = SOF0.to_vec();
        progressive[1] = 0xc2;
        assert!(more_scans_than(1, &file(&[&progressive, SCAN_OF_ALL, SCAN_OF_ALL])));
    }

    #[test]
    fn any_bytes_give_an_answer() {
        for file in [&[][..], &[0xff], &[0xff, 0xda], &[0xff, 0xda, 0], &[0xff, 0xda, 0xff, 0xff], &[0xff; 9]] {
            assert!(!more_scans_than(1, file));
        }
    }
}
