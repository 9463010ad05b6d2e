//! Headers that several tests start from.

use wire::{
    ClassEntry, Encoding, Fragment, FrameKey, MacKey, ReplyHeader, RequestHeader, StageTimes, Status, header_len,
    write_classes,
};

pub const CAR: ClassEntry<'_> = ClassEntry { class: 1, score: 0.75, label: Some("car") };
pub const TRUCK: ClassEntry<'_> = ClassEntry { class: 2, score: 0.25, label: None };

pub fn key() -> MacKey {
    MacKey::from_bytes(&core::array::from_fn(|position| position as u8))
}

pub fn request_header() -> RequestHeader {
    RequestHeader {
        key: FrameKey { stream_id: 7, session: 0x1122_3344_5566_7788, frame_id: 42 },
        fragment: Fragment::whole(8),
        encoding: Encoding::Gray8,
        width: 4,
        height: 2,
        deadline_us: 30_000,
        capture_time: 0x0102_0304_0506_0708,
        flags: 0,
    }
}

pub fn write_request(header: &RequestHeader, payload: &[u8], key: Option<&MacKey>) -> Vec<u8> {
    let mut out = vec![0; header_len(key.is_some()) + payload.len()];
    let len = header.write(&mut out, payload, key).unwrap();
    assert_eq!(len, out.len());
    out
}

pub fn reply_header() -> ReplyHeader {
    ReplyHeader {
        fragment: Fragment::whole(24),
        attempts: 1,
        result: wire::ResultInfo::Classes { count: 2 },
        times: StageTimes {
            assemble_ns: 1_000,
            preprocess_wait_ns: 2_000,
            preprocess_work_ns: 3_000,
            infer_wait_ns: 4_000,
            infer_work_ns: 5_000,
            tx_wait_ns: 6_000,
            tx_work_ns: 7_000,
            total_ns: 5_000_000_000,
        },
        ..ReplyHeader::new(request_header().key, request_header().capture_time, Status::Ok)
    }
}

/// The reply of `reply_header` with its two classes, written as tx writes it: the result first, then the header before it.
pub fn write_reply(key: Option<&MacKey>) -> Vec<u8> {
    let mut out = vec![0; header_len(key.is_some()) + 24];
    let (head, payload) = out.split_at_mut(header_len(key.is_some()));
    let (info, len) = write_classes(payload, [CAR, TRUCK]).unwrap();
    assert_eq!((info, len), (reply_header().result, payload.len()));
    let written = reply_header().write_header(head, &[payload], key).unwrap();
    assert_eq!(written, head.len());
    out
}
