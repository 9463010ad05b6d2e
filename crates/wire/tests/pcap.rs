//! Pcap headers from outside: known answers, round trips in every variant, wrong input.

use proptest::prelude::*;
use wire::pcap::{
    ByteOrder, FILE_HEADER_LEN, FileError, FileHeader, MAX_CAPTURED_LEN, RECORD_HEADER_LEN, RecordError, RecordHeader,
    Resolution,
};

/// As tcpdump writes it on a little-endian machine: microseconds, 262144 bytes, Ethernet.
const TCPDUMP: [u8; FILE_HEADER_LEN] =
    [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
/// The same with nanoseconds, big-endian.
const BIG_NANOSECONDS: [u8; FILE_HEADER_LEN] =
    [0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 1];
/// 2001-09-09 01:46:40.000001 UTC (second 10^9 = 0x3b9aca00), 60 of 1514 bytes; little-endian, microseconds.
const RECORD: [u8; RECORD_HEADER_LEN] = [0x00, 0xca, 0x9a, 0x3b, 1, 0, 0, 0, 60, 0, 0, 0, 0xea, 0x05, 0, 0];

const fn file(byte_order: ByteOrder, resolution: Resolution) -> FileHeader {
    FileHeader { byte_order, resolution, snap_len: 262_144 }
}

fn with(at: usize, bytes: &[u8]) -> [u8; FILE_HEADER_LEN] {
    let mut header = TCPDUMP;
    header[at..at + bytes.len()].copy_from_slice(bytes);
    header
}

#[test]
fn known_files() {
    let expected = file(ByteOrder::Little, Resolution::Microseconds);
    assert_eq!(FileHeader::parse(&TCPDUMP), Ok(expected));
    assert_eq!(expected.to_bytes(), TCPDUMP);
    let expected = file(ByteOrder::Big, Resolution::Nanoseconds);
    assert_eq!(FileHeader::parse(&BIG_NANOSECONDS), Ok(expected));
    assert_eq!(expected.to_bytes(), BIG_NANOSECONDS);
    let mut new = TCPDUMP;
    new[..4].copy_from_slice(&[0x4d, 0x3c, 0xb2, 0xa1]);
    assert_eq!(FileHeader::new_ns().to_bytes(), new);
    // What is not used may be anything; a check sequence behind each frame is cut off with the padding.
    assert!(FileHeader::parse(&with(8, &[9; 8])).is_ok());
    assert!(FileHeader::parse(&with(23, &[0x24])).is_ok());
}

#[test]
fn known_records() {
    let record = RecordHeader { time_ns: 1_000_000_000_000_001_000, captured_len: 60, original_len: 1_514 };
    let micro = file(ByteOrder::Little, Resolution::Microseconds);
    assert_eq!(RecordHeader::parse(&RECORD, &micro), Ok(record));
    assert_eq!(record.to_bytes(&micro), Ok(RECORD));
    let nano = FileHeader::new_ns();
    assert_eq!(RecordHeader::parse(&RECORD, &nano).unwrap().time_ns, 1_000_000_000_000_000_001);
    // Rounded down to the resolution of the file.
    let later = RecordHeader { time_ns: record.time_ns + 999, ..record };
    assert_eq!(later.to_bytes(&micro), Ok(RECORD));
}

#[test]
fn other_files_are_refused_by_name() {
    let refused = |header| FileHeader::parse(&header).unwrap_err();
    let pcapng = refused(with(0, &[0x0a, 0x0d, 0x0d, 0x0a]));
    assert_eq!(pcapng, FileError::PcapNg);
    assert!(pcapng.to_string().contains("editcap -F nsecpcap"));
    assert_eq!(refused(with(0, b"\x1f\x8b\x08\x00")), FileError::BadMagic { magic: *b"\x1f\x8b\x08\x00" });
    assert_eq!(refused(with(4, &[2, 0, 3, 0])), FileError::UnsupportedVersion { major: 2, minor: 3 });
    assert_eq!(refused(with(4, &[3, 0, 4, 0])), FileError::UnsupportedVersion { major: 3, minor: 4 });
    let cooked = refused(with(20, &[113]));
    assert_eq!(cooked, FileError::LinkType { link_type: 113 });
    assert!(cooked.to_string().contains("not -i any"));
    assert_eq!(refused(with(22, &[1])), FileError::LinkType { link_type: 0x1_0001 }, "a reserved bit");
}

#[test]
fn damaged_records_are_refused() {
    let micro = file(ByteOrder::Little, Resolution::Microseconds);
    let nano = FileHeader::new_ns();
    let parse = |record: [u32; 4], file: &FileHeader| {
        let bytes: Vec<u8> = record.iter().flat_map(|field| field.to_le_bytes()).collect();
        RecordHeader::parse(&bytes.try_into().unwrap(), file)
    };
    let most = MAX_CAPTURED_LEN;
    assert!(parse([0, 0, most, most], &nano).is_ok());
    assert_eq!(parse([0, 0, most + 1, u32::MAX], &nano), Err(RecordError::TooLong { captured_len: most + 1 }));
    assert_eq!(parse([0, 0, 61, 60], &nano), Err(RecordError::LongerThanFrame { captured_len: 61, original_len: 60 }));
    assert!(parse([u32::MAX, 999_999, 0, 0], &micro).is_ok());
    let fraction = 1_000_000;
    assert_eq!(parse([0, fraction, 0, 0], &micro), Err(RecordError::BadFraction { fraction, limit: fraction }));
    let limit = 1_000_000_000;
    assert!(parse([0, limit - 1, 0, 0], &nano).is_ok());
    assert_eq!(parse([0, u32::MAX, 0, 0], &nano), Err(RecordError::BadFraction { fraction: u32::MAX, limit }));
}

#[test]
fn what_cannot_be_read_is_not_written() {
    let record = RecordHeader { time_ns: 0, captured_len: 60, original_len: 60 };
    let write = |record: RecordHeader| record.to_bytes(&FileHeader::new_ns());
    let last_ns = u64::from(u32::MAX) * 1_000_000_000 + 999_999_999;
    assert!(write(RecordHeader { time_ns: last_ns, ..record }).is_ok());
    let time_ns = last_ns + 1;
    assert_eq!(write(RecordHeader { time_ns, ..record }), Err(RecordError::TimeTooLate { time_ns }));
    assert!(write(RecordHeader { captured_len: 61, ..record }).is_err());
    assert!(write(RecordHeader { captured_len: u32::MAX, original_len: u32::MAX, ..record }).is_err());
}

fn files() -> impl Strategy<Value = FileHeader> {
    let order = prop_oneof![Just(ByteOrder::Little), Just(ByteOrder::Big)];
    let resolution = prop_oneof![Just(Resolution::Microseconds), Just(Resolution::Nanoseconds)];
    (order, resolution, any::<u32>()).prop_map(|(byte_order, resolution, snap_len)| FileHeader {
        byte_order,
        resolution,
        snap_len,
    })
}

proptest! {
    #[test]
    fn round_trip(file in files(), seconds: u32, micros in 0..1_000_000_u64, lens in (0..=MAX_CAPTURED_LEN, any::<u32>())) {
        prop_assert_eq!(FileHeader::parse(&file.to_bytes()), Ok(file));
        let time_ns = u64::from(seconds) * 1_000_000_000 + micros * 1_000;
        let record = RecordHeader { time_ns, captured_len: lens.0, original_len: lens.1.max(lens.0) };
        prop_assert_eq!(RecordHeader::parse(&record.to_bytes(&file).unwrap(), &file), Ok(record));
    }

    #[test]
    fn any_bytes(header: [u8; FILE_HEADER_LEN], record: [u8; RECORD_HEADER_LEN], file in files()) {
        let _ = FileHeader::parse(&header);
        if let Ok(header) = RecordHeader::parse(&record, &file) {
            prop_assert!(header.captured_len <= MAX_CAPTURED_LEN && header.captured_len <= header.original_len);
            prop_assert_eq!(header.to_bytes(&file), Ok(record));
        }
    }
}
