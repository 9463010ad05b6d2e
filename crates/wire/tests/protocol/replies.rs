//! Replies: round trips, and every way in which one can be wrong.

use proptest::prelude::*;
use wire::{
    BadRequestReason, BuildError, Detection, DropReason, Fragment, FragmentError, FrameKey, HeaderError, MacError,
    ReplyError, ReplyHeader, ResultInfo, ResultView, StageTimes, Status, TensorShape, header_len, reseal,
    write_detections,
};

use crate::golden::{REPLY, REQUEST, unhex};
use crate::samples::{key, reply_header, request_header, write_reply};

fn edited(edits: &[(usize, &[u8])]) -> Vec<u8> {
    let mut datagram = unhex(REPLY);
    for &(at, bytes) in edits {
        datagram[at..at + bytes.len()].copy_from_slice(bytes);
    }
    reseal(&mut datagram, None).unwrap();
    datagram
}

#[test]
fn wrong_replies_are_refused() {
    let bad = ReplyError::BadResult { len: 24 };
    let wrong: Vec<(Vec<u8>, ReplyError)> = vec![
        (unhex(REQUEST), HeaderError::WrongKind { kind: 1 }.into()),
        (edited(&[(42, &[0])]), FragmentError::CountZero.into()),
        (edited(&[(52, &[5])]), ReplyError::UnknownStatus { status: 5 }),
        (edited(&[(55, &[4])]), ReplyError::UnknownResultKind { kind: 4 }),
        (edited(&[(55, &[3, 1, 0, 5])]), ReplyError::BadTensor { dtype: 5, rank: 0 }),
        (edited(&[(55, &[3, 1, 0, 1, 7])]), ReplyError::BadTensor { dtype: 1, rank: 7 }),
        (edited(&[(55, &[3, 1, 0, 1, 1]), (104, &[7])]), bad),
        (edited(&[(55, &[2, 2])]), bad),
        (edited(&[(56, &[3])]), bad),
        (edited(&[(55, &[0])]), bad),
        (edited(&[(52, &[1, 1])]), bad),
    ];
    for (datagram, error) in wrong {
        assert_eq!(ReplyHeader::parse(&datagram).unwrap_err(), error);
    }
    let tensor = edited(&[(55, &[3, 1, 0, 1, 2]), (104, &[2, 0, 0, 0, 3])]);
    assert!(matches!(ReplyHeader::parse(&tensor).unwrap().result(), Ok(ResultView::Tensor(_))));
}

#[test]
fn a_result_that_contradicts_its_entries_is_refused_when_read() {
    let mut label_too_long = unhex(REPLY);
    label_too_long[136] = 250;
    reseal(&mut label_too_long, None).unwrap();
    let reply = ReplyHeader::parse(&label_too_long).unwrap();
    assert_eq!(reply.result().unwrap_err(), ReplyError::BadResult { len: 24 });
}

#[test]
fn any_flipped_bit_is_noticed() {
    let good = unhex(REPLY);
    for bit in 0..good.len() * 8 {
        let mut datagram = good.clone();
        datagram[bit / 8] ^= 1 << (bit % 8);
        assert!(ReplyHeader::parse(&datagram).is_err(), "bit {bit}");
    }
}

#[test]
fn replies_carry_the_streams_mac() {
    let datagram = write_reply(Some(&key()));
    let reply = ReplyHeader::parse(&datagram).unwrap();
    assert_eq!((reply.header, reply.has_mac(), datagram.len()), (reply_header(), true, 192 + 24));
    assert_eq!(reply.authenticate(Some(&key())), Ok(()));
    assert_eq!(reply.authenticate(None), Err(MacError::Unexpected));
    let mut forged = datagram.clone();
    forged[54] = 9;
    reseal(&mut forged, None).unwrap();
    assert_eq!(ReplyHeader::parse(&forged).unwrap().authenticate(Some(&key())), Err(MacError::Wrong));
    reseal(&mut forged, Some(&key())).unwrap();
    assert_eq!(ReplyHeader::parse(&forged).unwrap().authenticate(Some(&key())), Ok(()));
}

#[test]
fn a_request_does_not_pass_for_a_reply() {
    let mut request = vec![0; 200];
    request_header().write(&mut request, b"flumeway", Some(&key())).unwrap();
    // The fields of a request make a status reply of it, as far as they go; the MAC does not fit.
    request[5] = 2;
    request[20] = 0;
    request[48] = 0;
    request[52..64].fill(0);
    request.truncate(192);
    reseal(&mut request, None).unwrap();
    let reply = ReplyHeader::parse(&request).unwrap();
    assert_eq!(reply.authenticate(Some(&key())), Err(MacError::Wrong));
}

#[test]
fn status_replies_are_no_longer_than_any_request() {
    for (mac_key, longest) in [(None, 128), (Some(key()), 192)] {
        let mut out = [0; 256];
        let status = Status::Dropped(DropReason::Deadline);
        let header = ReplyHeader::new(request_header().key, 5, status);
        let len = header.write_header(&mut out, &[], mac_key.as_ref()).unwrap();
        assert_eq!(len, longest);
        let reply = ReplyHeader::parse(&out[..len]).unwrap();
        assert_eq!(reply.header, header);
        assert!(matches!(reply.result(), Ok(ResultView::None)));
    }
}

#[test]
fn the_payload_may_lie_in_several_places() {
    let payload: Vec<u8> = (0..24).collect();
    let shape = TensorShape::f32(&[1, 6]).unwrap();
    let header = ReplyHeader { result: ResultInfo::Tensor(shape), ..reply_header() };
    let mut in_one = vec![0; 128];
    header.write_header(&mut in_one, &[&payload], None).unwrap();
    let mut in_parts = vec![0; 128];
    header.write_header(&mut in_parts, &[&payload[..5], &[], &payload[5..]], None).unwrap();
    assert_eq!(in_one, in_parts);
    let datagram = [in_one, payload.clone()].concat();
    let reply = ReplyHeader::parse(&datagram).unwrap();
    let Ok(ResultView::Tensor(tensor)) = reply.result() else { panic!("tensor expected") };
    assert_eq!((tensor.shape.dims(), tensor.bytes), ([1, 6].as_slice(), payload.as_slice()));
}

#[test]
fn headers_are_not_written_when_something_does_not_fit() {
    let header = reply_header();
    let payload = [0; 24];
    let refused = |header: ReplyHeader, room: usize, parts: &[&[u8]]| {
        header.write_header(&mut vec![0; room], parts, None).unwrap_err()
    };
    assert_eq!(refused(header, 127, &[&payload]), BuildError::NoRoom { needed: 128, room: 127 });
    assert_eq!(refused(header, 128, &[&payload[1..]]), BuildError::PayloadLen { stated: 24, given: 23 });
    let status = Status::BadRequest(BadRequestReason::DecodeFailed);
    assert_eq!(refused(ReplyHeader { status, ..header }, 128, &[&payload]), BuildError::ResultShape);
    let result = ResultInfo::Classes { count: 3 };
    assert_eq!(refused(ReplyHeader { result, ..header }, 128, &[&payload]), BuildError::ResultShape);
    let fragment = Fragment { count: 0, ..Fragment::whole(24) };
    assert_eq!(refused(ReplyHeader { fragment, ..header }, 128, &[&payload]), FragmentError::CountZero.into());
}

#[test]
fn parts_of_a_result_have_none_to_show() {
    let fragment = Fragment { index: 1, count: 2, offset: 64, len: 8, total_len: 72 };
    let header = ReplyHeader { fragment, result: ResultInfo::Detections { count: 3 }, ..reply_header() };
    let mut datagram = vec![0; 136];
    let (head, payload) = datagram.split_at_mut(128);
    header.write_header(head, &[payload], None).unwrap();
    let reply = ReplyHeader::parse(&datagram).unwrap();
    assert_eq!(reply.result().unwrap_err(), ReplyError::Fragmented { count: 2 });
}

fn any_status() -> impl Strategy<Value = Status> {
    (0_u8..5, any::<u8>()).prop_map(|(status, reason)| Status::from_codes(status, reason).unwrap())
}

prop_compose! {
    fn any_reply()(
        (stream_id, session, frame_id, capture_time) in any::<(u32, u64, u64, u64)>(),
        status in any_status(),
        (attempts, ignorable) in any::<(u8, u16)>(),
        (waits, works) in any::<([u32; 3], [u32; 3])>(),
        (assemble_ns, total_ns) in any::<(u32, u64)>(),
    ) -> ReplyHeader {
        ReplyHeader {
            attempts,
            times: StageTimes {
                assemble_ns,
                preprocess_wait_ns: waits[0],
                preprocess_work_ns: works[0],
                infer_wait_ns: waits[1],
                infer_work_ns: works[1],
                tx_wait_ns: waits[2],
                tx_work_ns: works[2],
                total_ns,
            },
            flags: u32::from(ignorable) << 16,
            ..ReplyHeader::new(FrameKey { stream_id, session, frame_id }, capture_time, status)
        }
    }
}

proptest! {
    #[test]
    fn replies_survive_the_wire(
        header in any_reply(),
        numbers in proptest::collection::vec((0.0_f32..1.0, any::<u32>()), 0..40),
        with_mac in any::<bool>(),
    ) {
        let boxes: Vec<Detection> = numbers
            .iter()
            .map(|&(number, class)| Detection { x0: number, y0: -number, x1: 1.0, y1: 0.5, score: number / 2.0, class })
            .collect();
        let mac_key = with_mac.then(key);
        let mut datagram = vec![0; 192 + 40 * 24];
        let (head, payload) = datagram.split_at_mut(header_len(with_mac));
        let (result, len) = write_detections(payload, boxes.iter().copied()).unwrap();
        let header = if header.status == Status::Ok {
            ReplyHeader { result, fragment: Fragment::whole(len as u32), ..header }
        } else {
            header
        };
        let used = header.fragment.len as usize;
        header.write_header(head, &[&payload[..used]], mac_key.as_ref()).unwrap();
        datagram.truncate(header_len(with_mac) + used);
        let reply = ReplyHeader::parse(&datagram).unwrap();
        prop_assert_eq!(reply.header, header);
        prop_assert_eq!(reply.authenticate(mac_key.as_ref()), Ok(()));
        match reply.result().unwrap() {
            ResultView::Detections(read) => prop_assert_eq!(read.collect::<Vec<_>>(), boxes),
            ResultView::None => prop_assert!(header.status != Status::Ok),
            other => prop_assert!(false, "{:?} was not sent", other),
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_quietly(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(ReplyHeader::parse(&bytes).is_err());
    }

    /// Arbitrary bytes inside a right envelope reach the checks behind the checksum, and those of the result.
    #[test]
    fn arbitrary_fields_do_no_harm(fields in proptest::collection::vec(any::<u8>(), 1..40), at in 24_usize..152) {
        let mut datagram = unhex(REPLY);
        let end = (at + fields.len()).min(datagram.len());
        datagram[at..end].copy_from_slice(&fields[..end - at]);
        reseal(&mut datagram, None).unwrap();
        if let Ok(reply) = ReplyHeader::parse(&datagram)
            && let Ok(ResultView::Classes(classes)) = reply.result()
        {
            prop_assert!(classes.count() <= 2);
        }
    }
}
