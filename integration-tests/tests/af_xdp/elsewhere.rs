//! Replies to a fixed address (`reply_to`): by the link as soon as the next hop is known, by the kernel's socket until then, and
//! again after the kernel has forgotten it or the host has another network card.

use crate::{PORT, Wanted, client, filter, ip, wrong_checksums};
use integration_tests::client::Client;
use integration_tests::netns::{Net, Options, Side};
use integration_tests::pipeline::Pipeline;
use integration_tests::report;
use integration_tests::traffic::{assert_right, steady};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Ports of the two receivers: the configuration names them before their sockets are there.
const PORTS: [u16; 2] = [7_004, 7_006];
/// Until all replies must go by the link: the supervisor asks once a second, and [`impatient`] bounds what the kernel takes.
const BOUND: Duration = Duration::from_secs(30);
const STREAMS: [u32; 2] = [4, 6];
/// Frames of each stream in a step.
const STEP: u64 = 20;

/// Addresses of the traffic's side besides those that its network gave it.
fn third() -> [IpAddr; 2] {
    [Ipv4Addr::new(10, 80, 0, 9).into(), Ipv6Addr::new(0xfd00, 0x80, 0, 0, 0, 0, 0, 9).into()]
}

/// Who sends, who gets the replies, and what the kernel sends for the pipeline.
struct Elsewhere<'a> {
    net: &'a Net,
    pipeline: &'a Pipeline,
    senders: [Client; 2],
    receivers: [Client; 2],
    sent: u64,
}

impl<'a> Elsewhere<'a> {
    /// The third addresses come to be reached only now.
    fn new(net: &'a Net, pipeline: &'a Pipeline) -> Self {
        let (ours, theirs) = (net.interface(Side::Pipeline), net.interface(Side::Traffic));
        for address in third() {
            let (bits, more) = if address.is_ipv6() { (128, " nodad") } else { (32, "") };
            ip(net, Side::Traffic, &format!("addr add {address}/{bits} dev {theirs}{more}"));
            ip(net, Side::Pipeline, &format!("route add {address}/{bits} dev {ours}"));
        }
        let at = [net.v4(Side::Pipeline), net.v6(Side::Pipeline)];
        // Connected: only what comes from the address that was asked is taken.
        let open = |n: usize| {
            let socket = UdpSocket::bind((third()[n], PORTS[n]))?;
            socket.connect((at[n], PORT)).map(|()| socket)
        };
        let receiver = |n: usize| {
            let socket = net.inside(Side::Traffic, || open(n)).flatten().expect("a socket at a third address");
            Client::with_socket(socket, SocketAddr::new(at[n], PORT), STREAMS[n])
        };
        let senders = [0, 1].map(|n| client(net, at[n], STREAMS[n]));
        Self { net, pipeline, senders, receivers: [0, 1].map(receiver), sent: 0 }
    }

    /// Datagrams that the pipeline's kernel has sent.
    fn by_kernel(&self) -> u64 {
        ["Udp.OutDatagrams", "Udp6OutDatagrams"].map(|c| self.net.kernel_counter(Side::Pipeline, c)).iter().sum()
    }

    /// A step's frames; how many replies the kernel sent meanwhile.
    fn send(&mut self) -> u64 {
        let before = self.by_kernel();
        for sender in &mut self.senders {
            steady(sender, self.sent..self.sent + STEP, 1_000, |_| {});
        }
        self.sent += STEP;
        self.pipeline.settle();
        self.by_kernel() - before
    }

    /// Every frame so far is answered, once, and right.
    fn assert_none_lost(&mut self) {
        for receiver in &mut self.receivers {
            receiver.receive_until(self.sent as usize);
            for id in 0..self.sent {
                assert_right(receiver, id);
                assert_eq!(receiver.replies[&id].len(), 1, "stream {} frame {id}", receiver.stream);
            }
        }
        assert_eq!(self.senders.each_mut().map(Client::receive), [0, 0], "replies came back to the senders");
    }

    /// Sends until a whole step is answered to the right place without the kernel; how long that took.
    fn until_by_link(&mut self) -> Duration {
        let start = Instant::now();
        loop {
            let have = self.receivers.each_mut().map(|r| (r.receive(), r.replies.len() as u64).1);
            let by_kernel = self.send();
            let deadline = Instant::now() + Duration::from_millis(200);
            let arrived = |r: &mut Client, have: u64| {
                while r.replies.len() as u64 != have + STEP && Instant::now() < deadline {
                    r.receive();
                }
                r.replies.len() as u64 == have + STEP
            };
            let all = self.receivers.iter_mut().zip(have).fold(true, |all, (r, have)| arrived(r, have) && all);
            if all && by_kernel == 0 {
                return start.elapsed();
            }
            assert!(start.elapsed() < BOUND, "all arrived: {all}, {by_kernel} replies by the kernel");
        }
    }
}

/// How long the pipeline's kernel trusts what it knows of a neighbour, and how long it waits before it asks: seconds here, by
/// default most of a minute (arp(7): `base_reachable_time_ms`, `delay_first_probe_time`).
fn impatient(net: &Net) {
    let dir = |family| format!("/proc/sys/net/{family}/neigh/{}", net.interface(Side::Pipeline));
    let set =
        |family| format!("cd {} && echo 1000 > base_reachable_time_ms && echo 1 > delay_first_probe_time", dir(family));
    for family in ["ipv4", "ipv6"] {
        let output = net.command_in(Side::Pipeline, "sh").args(["-c", &set(family)]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn wanted() -> String {
    let stream = |n: usize| {
        let to = SocketAddr::new(third()[n], PORTS[n]);
        format!("[[stream]]\nid = {}\nreply_to = \"{to}\"\n", STREAMS[n])
    };
    format!("{}{}", stream(0), stream(1))
}

#[test]
fn replies_to_a_fixed_address_go_by_the_link() {
    let Some(net) = Net::or_skip("xdp-elsewhere", Options::default()) else { return };
    let more = wanted();
    let pipeline = Wanted { more: &more, ..Wanted::default() }.start(&net, "elsewhere");
    let checksums = wrong_checksums(&net);
    let mut elsewhere = Elsewhere::new(&net, &pipeline);
    assert_eq!(elsewhere.by_kernel(), 0);
    assert!(elsewhere.send() > 0, "nobody knows the next hops yet, and the kernel did not send");
    let known = elsewhere.until_by_link();
    elsewhere.assert_none_lost();

    let ours = net.interface(Side::Pipeline);
    ip(&net, Side::Pipeline, &format!("neigh flush dev {ours}"));
    // Long enough for the supervisor to see it.
    let (start, mut by_kernel) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(3) {
        by_kernel += elsewhere.send();
    }
    let flushed = elsewhere.until_by_link();
    elsewhere.assert_none_lost();
    let sent = elsewhere.sent;
    assert_eq!(filter(&pipeline, "redirected"), 2 * sent);
    assert_eq!(pipeline.counter("tx", "send_errors"), 0);
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["answered"], 2 * sent, "{ledger}");
    assert_eq!(wrong_checksums(&net), checksums, "the receivers' kernel found checksums wrong");
    let text = format!("by the link after {known:.1?}; forgotten: {by_kernel} by the kernel, then {flushed:.1?}");
    report("xdp-elsewhere", &format!("{} replies; {text}\n", 2 * sent));
}

#[test]
fn a_host_with_another_card_gets_its_replies_again() {
    let Some(net) = Net::or_skip("xdp-moved", Options::default()) else { return };
    impatient(&net);
    let more = wanted();
    let pipeline = Wanted { more: &more, ..Wanted::default() }.start(&net, "moved");
    let mut elsewhere = Elsewhere::new(&net, &pipeline);
    elsewhere.until_by_link();
    elsewhere.assert_none_lost();
    ip(&net, Side::Traffic, &format!("link set dev {} address 02:00:00:00:7a:92", net.interface(Side::Traffic)));
    // What goes to the old address meanwhile is lost, as with any sender on this link.
    let moved = elsewhere.until_by_link();
    for (n, receiver) in elsewhere.receivers.iter().enumerate() {
        let last = elsewhere.sent - STEP..elsewhere.sent;
        last.for_each(|id| assert_eq!(receiver.replies[&id].len(), 1, "stream {} frame {id}", STREAMS[n]));
    }
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["answered"], 2 * elsewhere.sent, "{ledger}");
    report("xdp-moved", &format!("replies arrive again after {moved:.1?}\n"));
}
