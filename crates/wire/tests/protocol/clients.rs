//! What clients use: frames cut into datagrams, datagrams joined to results.

use proptest::prelude::*;
use wire::{
    ALIGNMENT, CompleteReply, Encoding, Fragment, FragmentError, FragmentPlan, Fragmenter, FrameKey, MAX_DATAGRAM,
    MAX_TOTAL_LEN, ReplyAssembler, ReplyError, ReplyHeader, RequestHeader, ResultInfo, ResultView, TensorShape,
};

use crate::samples::{key, reply_header, request_header};

fn jpeg() -> RequestHeader {
    RequestHeader { encoding: Encoding::Jpeg, width: 0, height: 0, ..request_header() }
}

/// The datagrams of a tensor result of `values`, each of at most `max_datagram` bytes.
fn tensor_reply(frame_id: u64, values: &[f32], max_datagram: usize) -> Vec<Vec<u8>> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let result = ResultInfo::Tensor(TensorShape::f32(&[values.len() as u32]).unwrap());
    let key = FrameKey { frame_id, ..request_header().key };
    let write = |fragment: Fragment| {
        let payload = &bytes[fragment.offset as usize..][..fragment.len as usize];
        let mut head = vec![0; 128];
        ReplyHeader { key, fragment, result, ..reply_header() }.write_header(&mut head, &[payload], None).unwrap();
        [head, payload.to_vec()].concat()
    };
    FragmentPlan::new(bytes.len(), max_datagram, 128).unwrap().fragments().map(write).collect()
}

fn push(assembler: &mut ReplyAssembler, datagram: &[u8]) -> Option<CompleteReply> {
    assembler.push(&ReplyHeader::parse(datagram).unwrap()).unwrap()
}

fn elements(reply: &CompleteReply) -> Vec<f32> {
    let ResultView::Tensor(tensor) = reply.result().unwrap() else { panic!("tensor expected") };
    tensor.elements().collect()
}

#[test]
fn plans_of_known_frames() {
    let rgb8_1080p = FragmentPlan::new(1920 * 1080 * 3, 1472, 128).unwrap();
    assert_eq!((rgb8_1080p.stride(), rgb8_1080p.count()), (1344, 4629));
    let jumbo = FragmentPlan::new(1920 * 1080 * 3, MAX_DATAGRAM, 128).unwrap();
    assert_eq!((jumbo.stride(), jumbo.count()), (3200, 1944));
    let exactly_one = FragmentPlan::new(1345, 1473, 128).unwrap();
    assert_eq!(exactly_one.fragment(0), Some(Fragment::whole(1345)));
    assert_eq!(exactly_one.fragment(1), None);
    let nothing = FragmentPlan::new(0, 128, 128).unwrap();
    assert_eq!(nothing.fragment(0), Some(Fragment::whole(0)));
}

#[test]
fn frames_that_cannot_be_cut_are_refused() {
    let too_many = |total_len, max_datagram| FragmentError::TooManyFragments { total_len, max_datagram };
    assert_eq!(FragmentPlan::new(1, 127, 128).unwrap_err(), too_many(1, 127));
    assert_eq!(FragmentPlan::new(0, 127, 128).unwrap_err(), too_many(0, 127));
    assert_eq!(FragmentPlan::new(64, 191, 128).unwrap_err(), too_many(64, 191));
    assert_eq!(FragmentPlan::new(65_535 * 64, 192, 128).unwrap().count(), 65_535);
    assert_eq!(FragmentPlan::new(65_535 * 64 + 1, 192, 128).unwrap_err(), too_many(65_535 * 64 + 1, 192));
    let over = MAX_TOTAL_LEN + 1;
    assert_eq!(FragmentPlan::new(over, 1472, 128).unwrap_err(), FragmentError::TooLarge { total_len: over as u64 });
    assert_eq!(Fragmenter::new(jpeg(), &[], 1472, None).unwrap_err(), FragmentError::Empty);
}

#[test]
fn a_fragment_can_be_sent_again() {
    let frame: Vec<u8> = (0..1000_u32).map(|byte| byte as u8).collect();
    let mut fragmenter = Fragmenter::new(jpeg(), &frame, 400, None).unwrap();
    let (mut first, mut again) = ([0; 400], [0; 400]);
    let len = fragmenter.next_into(&mut first).unwrap().unwrap();
    assert_eq!(fragmenter.write_fragment(0, &mut again), Some(Ok(len)));
    assert_eq!(first, again);
    assert!(fragmenter.next_into(&mut [0; 100]).unwrap().is_err(), "no room: the fragment is not passed over");
    let len = fragmenter.next_into(&mut first).unwrap().unwrap();
    assert_eq!(RequestHeader::parse(&first[..len]).unwrap().header.fragment.index, 1);
    assert_eq!(fragmenter.write_fragment(fragmenter.plan().count(), &mut again), None);
}

#[test]
fn fragments_of_other_frames_are_told_apart() {
    let part = |index, count, offset, len, total_len| RequestHeader {
        fragment: Fragment { index, count, offset, len, total_len },
        ..jpeg()
    };
    let first = part(0, 3, 0, 64, 160);
    assert!(first.same_frame(&part(2, 3, 128, 32, 160)));
    assert!(!first.same_frame(&part(1, 2, 128, 32, 160)), "another count and stride");
    assert!(!first.same_frame(&part(2, 3, 128, 33, 161)), "another length");
    assert!(!first.same_frame(&RequestHeader { capture_time: 1, ..part(1, 3, 64, 64, 160) }), "another time");
}

#[test]
fn results_are_joined_in_any_order_and_copies_ignored() {
    let values: Vec<f32> = (0..100).map(|value| value as f32).collect();
    let datagrams = tensor_reply(1, &values, 256);
    assert_eq!(datagrams.len(), 4);
    let mut assembler = ReplyAssembler::new(4, 4096);
    for index in [3, 1, 1, 0, 3] {
        assert_eq!(push(&mut assembler, &datagrams[index]), None);
    }
    let whole = push(&mut assembler, &datagrams[2]).expect("all parts have arrived");
    assert_eq!(elements(&whole), values);
    assert_eq!((whole.header.fragment, assembler.pending()), (Fragment::whole(400), 0));
}

#[test]
fn unfragmented_replies_pass_through() {
    let mut assembler = ReplyAssembler::new(1, 4096);
    let whole = push(&mut assembler, &tensor_reply(1, &[1.0, 2.0], 256)[0]).unwrap();
    assert_eq!(elements(&whole), [1.0, 2.0]);
}

#[test]
fn a_reply_made_anew_replaces_the_incomplete_one() {
    let old = tensor_reply(1, &[1.0; 100], 256);
    let new = tensor_reply(1, &[2.0; 100], 320);
    let mut assembler = ReplyAssembler::new(4, 4096);
    assert_eq!(push(&mut assembler, &old[0]), None);
    let joined: Vec<_> = new.iter().filter_map(|datagram| push(&mut assembler, datagram)).collect();
    assert_eq!(elements(&joined[0]), [2.0; 100]);
    assert_eq!((joined.len(), assembler.pending()), (1, 0));
}

#[test]
fn memory_is_bounded() {
    let mut assembler = ReplyAssembler::new(2, 400);
    for frame_id in 0..5 {
        assert_eq!(push(&mut assembler, &tensor_reply(frame_id, &[1.0; 100], 256)[0]), None);
    }
    assert_eq!((assembler.pending(), assembler.evicted()), (2, 3));
    let long = tensor_reply(9, &[1.0; 101], 256);
    let error = assembler.push(&ReplyHeader::parse(&long[0]).unwrap()).unwrap_err();
    assert_eq!(error, ReplyError::TooLarge { total_len: 404, limit: 400 });
    assembler.forget(FrameKey { frame_id: 4, ..request_header().key });
    assert_eq!(assembler.pending(), 1);
}

proptest! {
    #[test]
    fn every_frame_is_cut_and_joined(
        frame in proptest::collection::vec(any::<u8>(), 1..5_000),
        max_datagram in 256_usize..2_000,
        with_mac in any::<bool>(),
    ) {
        let mac_key = with_mac.then(key);
        let mut fragmenter = Fragmenter::new(jpeg(), &frame, max_datagram, mac_key.as_ref()).unwrap();
        let (mut out, mut joined, mut first) = (vec![0; max_datagram], Vec::new(), None);
        while let Some(len) = fragmenter.next_into(&mut out) {
            let request = RequestHeader::parse(&out[..len.unwrap()]).unwrap();
            let header = *first.get_or_insert(request.header);
            prop_assert!(header.same_frame(&request.header));
            prop_assert_eq!(request.header.fragment.offset as usize, joined.len());
            prop_assert!((request.header.fragment.offset as usize).is_multiple_of(ALIGNMENT));
            prop_assert_eq!(request.authenticate(mac_key.as_ref()), Ok(()));
            joined.extend_from_slice(request.payload);
        }
        prop_assert_eq!(joined, frame);
    }
}
