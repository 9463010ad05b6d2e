//! Any bytes as a pcap file, read to the first record that is damaged or cut. What is read can be written again.

use wire::pcap::{FILE_HEADER_LEN, FileHeader, MAX_CAPTURED_LEN, RECORD_HEADER_LEN, RecordHeader};

/// One input.
pub fn run(data: &[u8]) {
    let Some((header, mut rest)) = data.split_first_chunk::<FILE_HEADER_LEN>() else { return };
    let Ok(file) = FileHeader::parse(header) else { return };
    assert_eq!(FileHeader::parse(&file.to_bytes()), Ok(file));
    while let Some((header, frames)) = rest.split_first_chunk::<RECORD_HEADER_LEN>() {
        let Ok(record) = RecordHeader::parse(header, &file) else { return };
        assert!(record.captured_len <= MAX_CAPTURED_LEN && record.captured_len <= record.original_len);
        assert_eq!(record.to_bytes(&file), Ok(*header));
        let in_ns = record.to_bytes(&FileHeader::new_ns()).expect("what was read can be written");
        assert_eq!(RecordHeader::parse(&in_ns, &FileHeader::new_ns()), Ok(record));
        let Some((_, next)) = frames.split_at_checked(record.captured_len as usize) else { return };
        rest = next;
    }
}
