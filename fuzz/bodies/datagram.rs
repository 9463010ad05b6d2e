//! Any bytes as a datagram: as they are, and with a checksum (and MAC) that is right, since hardly any would pass otherwise.
//! What is read can be written again, and is read alike.

use wire::{MacKey, ReplyAssembler, ReplyHeader, Request, RequestHeader, ResultView};

const KEY: [u8; 32] = [0x5a; 32];

fn read_request(datagram: &[u8], key: &MacKey) {
    let _ = RequestHeader::peek_key(datagram);
    let _ = RequestHeader::verify_mac(datagram, Some(key));
    let Ok(request) = RequestHeader::parse(datagram) else { return };
    assert!(request.header_len().is_multiple_of(64));
    assert_eq!(request.header_len() + request.payload.len(), datagram.len());
    for key in [None, Some(key)] {
        let _ = request.authenticate(key);
        let mut again = vec![0; datagram.len() + 64];
        let len = request.header.write(&mut again, request.payload, key).expect("what was read can be written");
        let Request { header, payload, .. } = RequestHeader::parse(&again[..len]).expect("and read again");
        assert_eq!((header, payload), (request.header, request.payload));
    }
}

fn read_reply(datagram: &[u8], key: &MacKey) {
    let Ok(reply) = ReplyHeader::parse(datagram) else { return };
    let _ = (reply.authenticate(None), reply.authenticate(Some(key)));
    match reply.result() {
        Ok(ResultView::Classes(classes)) => assert!(classes.count() <= datagram.len()),
        Ok(ResultView::Detections(detections)) => assert!(detections.count() <= datagram.len()),
        Ok(ResultView::Tensor(tensor)) => assert!(tensor.elements().count() <= datagram.len()),
        Ok(ResultView::None) | Err(_) => {}
    }
    let mut again = vec![0; datagram.len() + 64];
    let len = reply.header.write_header(&mut again, &[reply.payload], Some(key)).expect("what was read can be written");
    again.truncate(len);
    again.extend_from_slice(reply.payload);
    assert_eq!(ReplyHeader::parse(&again).expect("and read again").header, reply.header);
    let mut assembler = ReplyAssembler::new(2, 1 << 16);
    for _ in 0..2 {
        if let Ok(Some(complete)) = assembler.push(&reply) {
            let _ = complete.result();
        }
    }
    assert!(assembler.pending() <= 2);
}

fn read(datagram: &[u8], key: &MacKey) {
    read_request(datagram, key);
    read_reply(datagram, key);
}

/// One input.
pub fn run(data: &[u8]) {
    let key = MacKey::from_bytes(&KEY);
    read(data, &key);
    let mut sealed = data.to_vec();
    if wire::reseal(&mut sealed, Some(&key)).is_ok() {
        read(&sealed, &key);
    }
    // Magic, version, kind and lengths right as well: what is behind them is reached at once.
    let (Some((kind, rest)), Some(payload_len)) = (data.split_first(), (data.len() + 7).checked_sub(128)) else {
        return;
    };
    let mut whole = wire::MAGIC.to_vec();
    whole.extend_from_slice(&[wire::VERSION, 1 + kind % 2, 128, 0]);
    whole.extend_from_slice(rest);
    whole[20..24].copy_from_slice(&(payload_len as u32).to_le_bytes());
    if wire::reseal(&mut whole, Some(&key)).is_ok() {
        read(&whole, &key);
    }
}
