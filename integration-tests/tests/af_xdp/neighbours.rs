//! Who else uses the interface: all that is not for the pipeline passes as if there were no program.

use crate::{PORT, Wanted, client, filter, ip};
use integration_tests::netns::{Net, Options, Side};
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::raw;
use integration_tests::traffic::{assert_right, tensor_of};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

fn both(net: &Net) -> [IpAddr; 2] {
    [net.v4(Side::Pipeline), net.v6(Side::Pipeline)]
}

/// 100 kB there and back, through segmentation offloads and acknowledgements.
fn tcp_works(net: &Net, at: IpAddr) {
    let listener = net.inside(Side::Pipeline, || TcpListener::bind((at, 0)).unwrap()).unwrap();
    let to = listener.local_addr().unwrap();
    let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut peer, _) = listener.accept().unwrap();
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut got = vec![0; 100_000];
            peer.read_exact(&mut got).unwrap();
            peer.write_all(&got).unwrap();
        });
        let connect = || TcpStream::connect_timeout(&to, PATIENCE);
        let mut stream = net.inside(Side::Traffic, connect).flatten().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&sent).unwrap();
        let mut got = vec![0; sent.len()];
        stream.read_exact(&mut got).unwrap();
        assert!(got == sent, "{to}");
    });
}

/// The same port on TCP, and other ports of UDP, are not the pipeline's.
fn udp_works(net: &Net, at: IpAddr) {
    let receiver = net.inside(Side::Pipeline, || UdpSocket::bind((at, PORT + 1)).unwrap()).unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let any: SocketAddr = if at.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }.parse().unwrap();
    let sender = net.inside(Side::Traffic, || UdpSocket::bind(any).unwrap()).unwrap();
    sender.set_read_timeout(Some(PATIENCE)).unwrap();
    sender.send_to(b"hello", (at, PORT + 1)).unwrap();
    let mut buffer = [0; 16];
    let (n, from) = receiver.recv_from(&mut buffer).unwrap();
    receiver.send_to(&buffer[..n], from).unwrap();
    let n = sender.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"hello");
}

fn frames_work(net: &Net, pipeline: &Pipeline, stream: u32) {
    let before = filter(pipeline, "redirected");
    for (n, to) in both(net).into_iter().enumerate() {
        let mut client = client(net, to, 2 * stream + n as u32);
        for id in 0..20 {
            client.send_tensor(id, &tensor_of(id));
        }
        client.receive_until(20);
        (0..20).for_each(|id| assert_right(&client, id));
    }
    assert_eq!(filter(pipeline, "redirected"), before + 40);
}

#[test]
fn other_traffic_of_the_interface_passes_as_before() {
    let Some(net) = Net::or_skip("xdp-neighbours", Options::default()) else { return };
    let pipeline = Wanted::default().start(&net, "neighbours");
    frames_work(&net, &pipeline, 0);
    let redirected = filter(&pipeline, "redirected");
    for at in both(&net) {
        tcp_works(&net, at);
        udp_works(&net, at);
    }
    assert!(raw::ping(&net, net.v4(Side::Pipeline), b"hello", PATIENCE), "no echo reply");
    assert_eq!(filter(&pipeline, "redirected"), redirected, "none of that was the pipeline's");
    // Link addresses have to be asked for anew: ARP and neighbour solicitation are the kernel's.
    for (side, interface) in [Side::Pipeline, Side::Traffic].map(|s| (s, net.interface(s).to_owned())) {
        ip(&net, side, &format!("neigh flush dev {interface}"));
    }
    frames_work(&net, &pipeline, 1);
    for at in both(&net) {
        tcp_works(&net, at);
    }
    pipeline.assert_whole();
}

#[test]
fn fragments_of_ip_are_refused_and_counted() {
    let Some(net) = Net::or_skip("xdp-fragments", Options::default()) else { return };
    let pipeline = Wanted::default().start(&net, "fragments");
    for to in both(&net) {
        let any: SocketAddr = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }.parse().unwrap();
        let sender = net.inside(Side::Traffic, || UdpSocket::bind(any).unwrap()).unwrap();
        for _ in 0..5 {
            sender.send_to(&[0; 4_000], (to, PORT)).unwrap();
        }
        // Those of another port are the kernel's to reassemble.
        let other = net.inside(Side::Pipeline, || UdpSocket::bind((to, PORT + 1)).unwrap()).unwrap();
        other.set_read_timeout(Some(PATIENCE)).unwrap();
        sender.send_to(&[7; 4_000], (to, PORT + 1)).unwrap();
        let mut buffer = [0; 8_192];
        assert_eq!(other.recv(&mut buffer).unwrap(), 4_000, "{to}");
    }
    wait_until("fragments to be counted", || filter(&pipeline, "fragments") == 10);
    frames_work(&net, &pipeline, 0);
    let ledger = pipeline.assert_whole();
    assert_eq!((filter(&pipeline, "fragments"), &ledger["received"]), (10, &40.into()), "{ledger}");
}
