//! What is told of packets and losses without any device.

use super::*;

#[test]
fn datagrams_are_ours_by_address_and_port() {
    let us = Filter { addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()], port: 9000 };
    let takes = |filter: &Filter, to: &str| filter.takes(&to.parse::<std::net::SocketAddr>().unwrap().into());
    assert!(takes(&us, "192.0.2.1:9000") && takes(&us, "[2001:db8::1]:9000"));
    assert!(!takes(&us, "192.0.2.2:9000") && !takes(&us, "192.0.2.1:9001"));
    assert!(takes(&Filter::default(), "192.0.2.2:1"));
}

#[test]
fn frames_that_no_kernel_takes_are_told_apart() {
    let us = Filter { addresses: vec!["192.0.2.1".parse().unwrap()], port: 9000 };
    let mut buffer = vec![0; 4096];
    let look = |bytes: &[u8], us: &Filter| -> Seen {
        let at = DataRange { offset: 0, len: bytes.len() as u16 };
        look_alone(bytes, at, 3, true, us)
    };
    let mut arp = [0xff; 42];
    arp[12..14].copy_from_slice(&[8, 6]);
    assert_eq!((look(&arp, &us).standing, look(&arp, &us).data.len), (Standing::Other, 42));
    assert_eq!(look(&arp[..10], &us).standing, Standing::Malformed);
    let path = wire::packet::Path {
        link: wire::packet::Link { peer_mac: [2; 6], local_mac: [4; 6], tags: [None; 2] },
        from: "192.0.2.9:5".parse().unwrap(),
        to: "192.0.2.1:9000".parse().unwrap(),
        hops: 64,
        identification: 0,
    };
    let at = wire::packet::write_headers(&mut buffer, 384..394, &path).unwrap();
    let seen = look(&buffer[at.clone()], &us);
    assert_eq!((seen.standing, seen.data.len, seen.link.unwrap().queue), (Standing::Unfiltered, 10, 3));
    assert_eq!(look(&buffer[at.clone()], &Filter { port: 1, ..us.clone() }).standing, Standing::Elsewhere);
    buffer[390] ^= 1;
    assert_eq!(look(&buffer[at], &us).standing, Standing::Malformed, "its checksum");
}

#[test]
fn losses_are_what_the_interface_has_and_the_books_have_not() {
    let first = books(Some(1000), Before::default());
    assert_eq!(first, (Some(1000), 0));
    let before = Before { link_base: first.0, packets: 90, ..Before::default() };
    assert_eq!(books(Some(1100), before), (Some(1000), 10));
    // What the port itself has told of is lost once.
    assert_eq!(books(Some(1100), Before { told: 7, ..before }), (Some(1000), 3));
    assert_eq!(books(Some(1100), Before { told: 12, ..before }), (Some(1000), 0));
    assert_eq!(books(Some(1150), Before { packets: 135, lost: 10, ..before }), (Some(1000), 5));
    assert_eq!(books(None, before), (None, 0));
    // A pipeline that begins to count late.
    assert_eq!(books(Some(1100), Before { link_base: None, packets: 90, lost: 3, told: 2 }), (Some(1005), 0));
}
