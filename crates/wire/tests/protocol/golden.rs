//! Known answers: three datagrams that `reference.py` builds from the tables of docs/PROTOCOL.md, without this crate's code.

use wire::{Encoding, Fragment, FrameKey, MacError, MacKey, ReplyHeader, RequestHeader, ResultView, Status};

use crate::samples::{CAR, TRUCK, key, reply_header, request_header, write_reply};

/// One-packet request of 4 x 2 pixels gray8.
pub const REQUEST: &str = "\
46 4c 57 59 01 01 80 00 e5 33 b8 68 00 00 00 00
07 00 00 00 08 00 00 00 88 77 66 55 44 33 22 11
2a 00 00 00 00 00 00 00 00 00 01 00 00 00 00 00
08 00 00 00 04 00 04 00 02 00 00 00 30 75 00 00
08 07 06 05 04 03 02 01 00 00 00 00 00 00 00 00
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
66 6c 75 6d 65 77 61 79";

/// The same with a MAC; the key is 00 01 .. 1f.
pub const REQUEST_WITH_MAC: &str = "\
46 4c 57 59 01 01 c0 00 79 ae 8a 42 00 00 00 00
07 00 00 00 08 00 00 00 88 77 66 55 44 33 22 11
2a 00 00 00 00 00 00 00 00 00 01 00 00 00 00 00
08 00 00 00 04 00 04 00 02 00 00 00 30 75 00 00
08 07 06 05 04 03 02 01 00 00 00 00 00 00 00 00
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
01 80 10 00 89 98 c6 98 1d c1 a4 71 54 05 3e 5f
12 77 6d 4a 00 00 00 00 00 00 00 00 00 00 00 00
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
66 6c 75 6d 65 77 61 79";

/// Reply with two classes.
pub const REPLY: &str = "\
46 4c 57 59 01 02 80 00 22 37 99 cd 00 00 00 00
07 00 00 00 18 00 00 00 88 77 66 55 44 33 22 11
2a 00 00 00 00 00 00 00 00 00 01 00 00 00 00 00
18 00 00 00 00 00 01 01 02 00 00 00 e8 03 00 00
08 07 06 05 04 03 02 01 00 f2 05 2a 01 00 00 00
d0 07 00 00 b8 0b 00 00 a0 0f 00 00 88 13 00 00
70 17 00 00 58 1b 00 00 00 00 00 00 00 00 00 00
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
01 00 00 00 00 00 40 3f 03 63 61 72 02 00 00 00
00 00 80 3e 00 00 00 00";

/// The bytes of lines of hexadecimal pairs.
pub fn unhex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[test]
fn requests_are_written_as_documented() {
    let mut out = [0xaa; 256];
    let len = request_header().write(&mut out, b"flumeway", None).unwrap();
    assert_eq!(out[..len], unhex(REQUEST));
    let len = request_header().write(&mut out, b"flumeway", Some(&key())).unwrap();
    assert_eq!(out[..len], unhex(REQUEST_WITH_MAC));
    assert!(out[len..].iter().all(|&byte| byte == 0xaa), "nothing is written behind the datagram");
}

#[test]
fn requests_are_read_as_documented() {
    let datagram = unhex(REQUEST);
    let request = RequestHeader::parse(&datagram).unwrap();
    assert_eq!(
        request.header,
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
    );
    assert_eq!((request.payload, request.header_len(), request.has_mac()), (b"flumeway".as_slice(), 128, false));
    assert_eq!(request.authenticate(None), Ok(()));
    assert_eq!(request.authenticate(Some(&key())), Err(MacError::Missing));
}

#[test]
fn macs_are_verified_as_documented() {
    let datagram = unhex(REQUEST_WITH_MAC);
    let request = RequestHeader::parse(&datagram).unwrap();
    assert_eq!((request.payload, request.header_len(), request.has_mac()), (b"flumeway".as_slice(), 192, true));
    assert_eq!(request.authenticate(Some(&key())), Ok(()));
    assert_eq!(request.authenticate(Some(&MacKey::from_bytes(&[1; 32]))), Err(MacError::Wrong));
    assert_eq!(request.authenticate(None), Err(MacError::Unexpected));
}

#[test]
fn replies_are_written_and_read_as_documented() {
    let datagram = unhex(REPLY);
    assert_eq!(write_reply(None), datagram);
    let reply = ReplyHeader::parse(&datagram).unwrap();
    assert_eq!(reply.header, reply_header());
    assert_eq!(reply.header.status, Status::Ok);
    let Ok(ResultView::Classes(classes)) = reply.result() else { panic!("classes expected") };
    assert_eq!(classes.collect::<Vec<_>>(), [CAR, TRUCK]);
}

#[test]
fn the_documentation_shows_these_bytes() {
    let text = include_str!("../../../../docs/PROTOCOL.md");
    for golden in [REQUEST, REQUEST_WITH_MAC, REPLY] {
        assert!(text.contains(golden), "docs/PROTOCOL.md lacks\n{golden}");
    }
}
