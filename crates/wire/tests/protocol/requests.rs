//! Requests: round trips, and every way in which one can be wrong.

use std::collections::BTreeSet;

use proptest::prelude::*;
use wire::{
    BadRequestReason, BuildError, Encoding, Fragment, FragmentError, FragmentPlan, FrameKey, HeaderError, MacError,
    RequestError, RequestHeader, header_len, reseal,
};

use crate::golden::{REQUEST, REQUEST_WITH_MAC, unhex};
use crate::samples::{key, request_header, write_request};

/// The documented request with some bytes overwritten, its checksum right.
fn edited(edits: &[(usize, &[u8])]) -> Vec<u8> {
    let mut datagram = unhex(REQUEST);
    for &(at, bytes) in edits {
        datagram[at..at + bytes.len()].copy_from_slice(bytes);
    }
    reseal(&mut datagram, None).unwrap();
    datagram
}

fn error_of(datagram: &[u8]) -> RequestError {
    RequestHeader::parse(datagram).expect_err("this request is wrong")
}

/// A datagram for every error that parsing can give, with the error.
fn wrong_requests() -> Vec<(Vec<u8>, RequestError)> {
    let good = unhex(REQUEST);
    let mut odd_header = good.clone();
    odd_header[6] = 129;
    let mut extended = unhex(REQUEST_WITH_MAC);
    extended[128] = 0x02;
    reseal(&mut extended, None).unwrap();
    let mut overlong = extended.clone();
    overlong[128..132].copy_from_slice(&[1, 0, 61, 0]);
    reseal(&mut overlong, None).unwrap();
    let whole = (0, 1, 0, 8, 8);
    let uneven = |(index, count, offset, len, total_len)| {
        RequestError::from(FragmentError::UnevenStride { index, count, offset, len, total_len })
    };
    let geometry = |encoding, width, height| RequestError::BadGeometry { encoding, width, height };
    let wrong_total = |total_len, expected| RequestError::WrongTotal { total_len, expected };
    let damaged = {
        let mut datagram = good.clone();
        datagram[131] ^= 1;
        datagram
    };
    let RequestError::Header(checksum) = error_of(&damaged) else { panic!("a header error expected") };
    assert!(matches!(checksum, HeaderError::BadChecksum { stated: 0x68b8_33e5, .. }));
    vec![
        (Vec::new(), HeaderError::Truncated { len: 0 }.into()),
        (good[..127].to_vec(), HeaderError::Truncated { len: 127 }.into()),
        (edited(&[(0, b"flwy")]), HeaderError::BadMagic.into()),
        (edited(&[(5, &[2])]), HeaderError::WrongKind { kind: 2 }.into()),
        (odd_header, HeaderError::BadHeaderLen { header_len: 129 }.into()),
        (good[..135].to_vec(), HeaderError::LengthMismatch { stated: 136, datagram: 135 }.into()),
        (edited(&[(20, &[9])]), HeaderError::LengthMismatch { stated: 137, datagram: 136 }.into()),
        (edited(&[(20, &[0xff; 4])]), HeaderError::LengthMismatch { stated: 0x1_0000_007f, datagram: 136 }.into()),
        (damaged, checksum.into()),
        (edited(&[(4, &[2])]), HeaderError::UnsupportedVersion { version: 2 }.into()),
        (edited(&[(12, &[0, 0x80, 1])]), HeaderError::UnknownFlags { flags: 0x1_8000 }.into()),
        (overlong, HeaderError::BadExtension { offset: 128 }.into()),
        (extended, HeaderError::UnknownExtension { extension: 0x8002 }.into()),
        (edited(&[(42, &[0, 0])]), FragmentError::CountZero.into()),
        (edited(&[(40, &[1, 0])]), FragmentError::IndexBeyondCount { index: 1, count: 1 }.into()),
        (edited(&[(48, &[1, 0, 0, 4])]), FragmentError::TooLarge { total_len: (64 << 20) + 1 }.into()),
        (edited(&[(44, &[1])]), FragmentError::BeyondTotal { offset: 1, len: 8, total_len: 8 }.into()),
        (edited(&[(44, &[0xff; 4])]), FragmentError::BeyondTotal { offset: u32::MAX, len: 8, total_len: 8 }.into()),
        (edited(&[(48, &[9])]), uneven((whole.0, whole.1, whole.2, whole.3, 9))),
        (edited(&[(42, &[2]), (48, &[9])]), uneven((0, 2, 0, 8, 9))),
        (edited(&[(52, &[0])]), RequestError::UnknownEncoding { code: 0 }),
        (edited(&[(54, &[0])]), geometry(Encoding::Gray8, 0, 2)),
        (edited(&[(52, &[5]), (54, &[3])]), geometry(Encoding::Nv12, 3, 2)),
        (edited(&[(52, &[2])]), wrong_total(8, 24)),
        (edited(&[(54, &[0xff; 4])]), wrong_total(8, 65_535 * 65_535)),
        (write_request(&tensor_of(6), &[0; 6], None), wrong_total(6, 8)),
        (empty(), FragmentError::Empty.into()),
    ]
}

fn tensor_of(len: u32) -> RequestHeader {
    RequestHeader { encoding: Encoding::TensorF32, fragment: Fragment::whole(len), ..request_header() }
}

/// A header alone, which the builder refuses to write.
fn empty() -> Vec<u8> {
    let mut datagram = unhex(REQUEST);
    datagram.truncate(128);
    datagram[20] = 0;
    datagram[48] = 0;
    reseal(&mut datagram, None).unwrap();
    datagram
}

#[test]
fn every_error_is_reached_and_says_what_is_wrong() {
    let mut codes = BTreeSet::new();
    for (datagram, expected) in wrong_requests() {
        let error = error_of(&datagram);
        assert_eq!(error, expected);
        codes.insert(error.code());
    }
    for error in [MacError::Missing, MacError::Unexpected, MacError::Wrong] {
        codes.insert(RequestError::from(error).code());
    }
    let unsendable = FragmentPlan::new(1 << 20, 130, 128).unwrap_err();
    assert_eq!(unsendable, FragmentError::TooManyFragments { total_len: 1 << 20, max_datagram: 130 });
    codes.insert(RequestError::from(unsendable).code());
    assert_eq!(codes, (1..RequestError::NAMES.len() as u8).collect());
    let names: BTreeSet<&str> = RequestError::NAMES.into_iter().collect();
    assert_eq!(names.len(), RequestError::NAMES.len(), "names tell errors apart");
}

#[test]
fn only_undamaged_and_authentic_requests_are_answered() {
    for (datagram, error) in wrong_requests() {
        let code = error.code();
        assert_eq!(error.bad_request_reason().is_some(), (7..=20).contains(&code), "{error}");
        assert_eq!(RequestHeader::peek_key(&datagram).is_some(), code >= 7, "{error}");
    }
    assert_eq!(RequestError::from(MacError::Wrong).bad_request_reason(), None);
    let newer = edited(&[(4, &[2])]);
    assert_eq!(error_of(&newer).bad_request_reason(), Some(BadRequestReason::UnsupportedVersion));
    assert_eq!(RequestHeader::peek_key(&newer), Some(request_header().key));
}

#[test]
fn macs_of_refused_requests_can_be_checked() {
    let square = RequestHeader { height: 4, ..request_header() };
    let datagram = write_request(&square, b"flumeway", Some(&key()));
    assert_eq!(error_of(&datagram).bad_request_reason(), Some(BadRequestReason::WrongSize));
    assert_eq!(RequestHeader::verify_mac(&datagram, Some(&key())), Ok(()));
    assert_eq!(RequestHeader::verify_mac(&datagram, None), Err(MacError::Unexpected.into()));
    assert_eq!(RequestHeader::verify_mac(&edited(&[]), Some(&key())), Err(MacError::Missing.into()));
    let newer = HeaderError::UnsupportedVersion { version: 2 };
    assert_eq!(RequestHeader::verify_mac(&edited(&[(4, &[2])]), Some(&key())), Err(newer.into()));
}

#[test]
fn flags_and_extensions_that_may_be_ignored_are() {
    let flagged = edited(&[(14, &[0xff, 0xff])]);
    assert_eq!(RequestHeader::parse(&flagged).unwrap().header.flags, 0xffff_0000);
    let reserved = edited(&[(53, &[1]), (58, &[1, 1]), (72, &[1; 56])]);
    assert_eq!(RequestHeader::parse(&reserved).unwrap().header, request_header());
    let mut extended = unhex(REQUEST_WITH_MAC);
    extended[128..130].copy_from_slice(&0x7fff_u16.to_le_bytes());
    reseal(&mut extended, None).unwrap();
    let request = RequestHeader::parse(&extended).unwrap();
    assert_eq!((request.header, request.header_len(), request.has_mac()), (request_header(), 192, false));
}

#[test]
fn headers_up_to_512_bytes_are_read() {
    for (len, accepted) in [(448_usize, true), (512, true), (576, false)] {
        let mut datagram = unhex(REQUEST);
        datagram.splice(128..128, std::iter::repeat_n(0, len - 128));
        datagram[6..8].copy_from_slice(&(len as u16).to_le_bytes());
        assert_eq!(reseal(&mut datagram, None).is_ok(), accepted);
        match RequestHeader::parse(&datagram) {
            Ok(request) => assert_eq!((request.payload, accepted), (b"flumeway".as_slice(), true)),
            Err(error) => {
                assert_eq!(error, HeaderError::BadHeaderLen { header_len: len as u16 }.into());
                assert!(!accepted);
            }
        }
    }
}

#[test]
fn any_flipped_bit_is_noticed() {
    for golden in [REQUEST, REQUEST_WITH_MAC] {
        let good = unhex(golden);
        for bit in 0..good.len() * 8 {
            let mut datagram = good.clone();
            datagram[bit / 8] ^= 1 << (bit % 8);
            assert!(RequestHeader::parse(&datagram).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn any_byte_forged_without_the_key_is_noticed() {
    let good = unhex(REQUEST_WITH_MAC);
    for at in 0..good.len() {
        let mut forged = good.clone();
        forged[at] ^= 0x10;
        // A forger can make the checksum right, but not the MAC.
        let sealed = reseal(&mut forged, None).is_ok();
        if let (true, Ok(request)) = (sealed, RequestHeader::parse(&forged)) {
            let verdict = request.authenticate(Some(&key()));
            // The checksum field itself is computed anew, so that changing it changes nothing.
            assert_eq!(verdict.is_ok(), (8..12).contains(&at), "byte {at}");
        }
    }
}

#[test]
fn headers_are_not_written_when_something_does_not_fit() {
    let header = request_header();
    assert_eq!(header.write(&mut [0; 135], b"flumeway", None), Err(BuildError::NoRoom { needed: 136, room: 135 }));
    assert_eq!(header.write(&mut [0; 256], b"flume", None), Err(BuildError::PayloadLen { stated: 8, given: 5 }));
    let uneven = Fragment { index: 0, count: 2, offset: 0, len: 8, total_len: 16 };
    assert!(matches!(
        RequestHeader { fragment: uneven, ..header }.write(&mut [0; 256], b"flumeway", None),
        Err(BuildError::Fragment(FragmentError::UnevenStride { .. }))
    ));
    assert_eq!(reseal(&mut [0; 127], None), Err(BuildError::NotADatagram));
    assert_eq!(reseal(&mut [0; 256], None), Err(BuildError::NotADatagram));
}

prop_compose! {
    fn any_header()(
        (stream_id, session, frame_id) in any::<(u32, u64, u64)>(),
        (deadline_us, capture_time) in any::<(u32, u64)>(),
        (width, height) in any::<(u16, u16)>(),
        ignorable in any::<u16>(),
        words in 1_u32..600,
    ) -> RequestHeader {
        RequestHeader {
            key: FrameKey { stream_id, session, frame_id },
            fragment: Fragment::whole(words * 4),
            encoding: Encoding::TensorF32,
            width,
            height,
            deadline_us,
            capture_time,
            flags: u32::from(ignorable) << 16,
        }
    }
}

proptest! {
    #[test]
    fn requests_survive_the_wire(header in any_header(), fill in any::<u8>(), with_mac in any::<bool>()) {
        let payload = vec![fill; header.fragment.len as usize];
        let mac_key = with_mac.then(key);
        let datagram = write_request(&header, &payload, mac_key.as_ref());
        let request = RequestHeader::parse(&datagram).unwrap();
        prop_assert_eq!(request.header, header);
        prop_assert_eq!(request.payload, payload.as_slice());
        prop_assert_eq!(request.header_len(), header_len(with_mac));
        prop_assert_eq!(request.authenticate(mac_key.as_ref()), Ok(()));
        prop_assert_eq!(RequestHeader::peek_key(&datagram), Some(header.key));
    }

    #[test]
    fn arbitrary_bytes_are_refused_quietly(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(RequestHeader::parse(&bytes).is_err());
    }

    /// Arbitrary bytes inside a right envelope reach the checks behind the checksum.
    #[test]
    fn arbitrary_fields_do_no_harm(
        fields in proptest::collection::vec(any::<u8>(), 32..48),
        at in 12_usize..300,
        blocks in 2_u16..8,
        payload_len in 0_usize..200,
    ) {
        let header_len = usize::from(blocks) * 64;
        let mut datagram = unhex(REQUEST);
        datagram.resize(header_len + payload_len, 0x5a);
        let at = at.min(datagram.len() - fields.len());
        datagram[at..at + fields.len()].copy_from_slice(&fields);
        datagram[6..8].copy_from_slice(&(blocks * 64).to_le_bytes());
        datagram[20..24].copy_from_slice(&(payload_len as u32).to_le_bytes());
        reseal(&mut datagram, None).unwrap();
        if let Ok(request) = RequestHeader::parse(&datagram) {
            prop_assert_eq!(request.payload.len(), payload_len);
            prop_assert_eq!(request.header.fragment.check(false), Ok(()));
            let _ = request.authenticate(Some(&key()));
        }
    }

    #[test]
    fn bursts_of_damage_are_noticed(at in 0_usize..132, burst in 1_u32..) {
        let mut datagram = unhex(REQUEST);
        for (byte, damage) in datagram[at..].iter_mut().zip(burst.to_le_bytes()) {
            *byte ^= damage;
        }
        prop_assert!(RequestHeader::parse(&datagram).is_err());
    }
}
