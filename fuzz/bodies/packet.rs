//! Any bytes as an Ethernet frame: as they are, and with an IPv4 checksum that is right, since hardly any would pass otherwise.
//! What is read can be answered, and the answer is read as one.

use wire::packet::{
    DEFAULT_HOPS, MAX_HEADER_LEN, Path, UdpPacket, header_len, internet_checksum, parse, verify_udp_checksum,
    write_headers,
};

/// Makes the IPv4 header's checksum right, if there is such a header.
fn reseal(frame: &mut [u8]) {
    let mut at = 12;
    while let Some([0x81, 0x00] | [0x88, 0xa8]) = frame.get(at..at + 2) {
        at += 4;
    }
    let ip = at + 2;
    let Some(first) = frame.get(ip) else { return };
    let len = usize::from(first & 0x0f) * 4;
    if let Some(header) = frame.get_mut(ip..ip + len).filter(|header| header.len() >= 20) {
        header[10..12].fill(0);
        let checksum = internet_checksum(header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

fn answer(frame: &[u8], request: &UdpPacket) {
    let payload = &frame[request.payload.clone()];
    let path = Path::answering(request);
    let needed = header_len(path.to.is_ipv6(), path.link.tag_count());
    let mut buffer = vec![0xa5; MAX_HEADER_LEN];
    buffer.extend_from_slice(payload);
    let whole =
        write_headers(&mut buffer, MAX_HEADER_LEN..MAX_HEADER_LEN + payload.len(), &path).expect("there is room");
    assert_eq!(whole.len(), needed + payload.len());
    let answer = &buffer[whole];
    let packet = parse(answer).expect("what was written can be read");
    assert!(verify_udp_checksum(answer, &packet));
    assert_eq!(&answer[packet.payload.clone()], payload);
    assert_eq!((packet.source, packet.destination), (request.destination, request.source));
    assert_eq!((packet.link.peer_mac, packet.link.local_mac), (request.link.local_mac, request.link.peer_mac));
    assert_eq!((packet.link.tags, packet.hops), (request.link.tags, DEFAULT_HOPS));
    assert_eq!(packet.can_be_answered(), request.can_be_answered());
}

fn read(frame: &[u8]) {
    let Ok(packet) = parse(frame) else { return };
    assert!(packet.payload.start >= 42 && packet.payload.end <= frame.len());
    assert_eq!(packet.source.is_ipv4(), packet.destination.is_ipv4());
    let _ = verify_udp_checksum(frame, &packet);
    answer(frame, &packet);
    // Padding changes nothing.
    let mut padded = frame.to_vec();
    padded.extend_from_slice(&[0; 9]);
    assert_eq!(parse(&padded), Ok(packet));
}

/// One input.
pub fn run(data: &[u8]) {
    read(data);
    let mut sealed = data.to_vec();
    reseal(&mut sealed);
    read(&sealed);
}
