//! AF_XDP through the binaries that users run: the pipeline in one network namespace, its clients in the other.
//!
//! Each test makes its own namespaces and says what is missing where it cannot.

mod access;
mod aimed;
mod elsewhere;
mod hitless;
mod neighbours;
mod queues;
mod rights;
mod serving;
mod tags;
mod wrong_input;

use integration_tests::client::Client;
use integration_tests::gate::number;
use integration_tests::netns::{Net, Side};
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::traffic::config;
use integration_tests::{shipped, traffic};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// Where the pipelines listen.
const PORT: u16 = 9000;
/// A further address of the pipeline's interface, that other routes lead to.
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 1));

/// What a test's pipeline is to be. Lines are those of the tables that they are called after.
#[derive(Clone, Copy, Debug)]
struct Wanted<'a> {
    driver: &'a str,
    listen: SocketAddr,
    ingress: &'a str,
    af_xdp: &'a str,
    /// Whole tables.
    more: &'a str,
    /// Elements of a frame and of a result.
    elements: (usize, usize),
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self {
            driver: "af_xdp",
            listen: SocketAddr::from(([0_u16; 8], PORT)),
            ingress: "",
            af_xdp: "",
            more: "",
            elements: (traffic::ELEMENTS, traffic::ELEMENTS),
        }
    }
}

impl Wanted<'_> {
    fn text(&self, interface: &str) -> String {
        let Self { driver, listen, ingress, af_xdp, more, elements: (input, output) } = self;
        let tables = format!(
            "[ingress]\ndriver = \"{driver}\"\nlisten = \"{listen}\"\n{ingress}\n[af_xdp]\ninterface = \"{interface}\"\n\
             {af_xdp}\n{more}"
        );
        config("null", &tables)
            .replace("null_input_elements = 16", &format!("null_input_elements = {input}"))
            .replace("null_output_elements = 16", &format!("null_output_elements = {output}"))
    }

    fn start(&self, net: &Net, name: &str) -> Pipeline {
        let text = self.text(net.interface(Side::Pipeline));
        let pipeline = Pipeline::start_inside(net, &format!("xdp-{name}"), &text, &shipped(), &[]);
        wait_served(&pipeline);
        pipeline
    }
}

/// Waits until frames go to the sockets of the interface. Before, the kernel's own socket has them, and the counts that tests
/// expect would be others.
fn wait_served(pipeline: &Pipeline) {
    wait_until("the gateways to serve their queues", || {
        let device = &pipeline.status()["ingress"]["device"];
        device.is_null() || device["served"].as_array().map(Vec::len) == device["queues"].as_array().map(Vec::len)
    });
}

/// Takes replies until no more than `most` of `sent` frames are without one: what waits must fit the rings, however slow the
/// machine is.
fn keep_up(client: &mut Client, sent: u64, most: usize) {
    client.receive_until((sent as usize).saturating_sub(most));
}

/// A client that takes replies from the address alone that it sends to.
fn client(net: &Net, to: IpAddr, stream: u32) -> Client {
    let to = SocketAddr::new(to, PORT);
    let any: SocketAddr = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }.parse().unwrap();
    let open = || {
        let socket = UdpSocket::bind(any)?;
        socket.connect(to).map(|()| socket)
    };
    Client::with_socket(net.inside(Side::Traffic, open).flatten().unwrap(), to, stream)
}

/// What the XDP program has counted.
fn filter(pipeline: &Pipeline, counter: &str) -> u64 {
    number(&pipeline.status()["ingress"]["filter"][counter])
}

/// Packets that rx-gateways have judged.
fn judged(ledger: &Value) -> u64 {
    ledger["packets"].as_object().expect("packets by verdict").values().map(number).sum()
}

/// `ip` in a namespace, arguments separated by spaces.
fn ip(net: &Net, side: Side, arguments: &str) {
    let output = net.command_in(side, "ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Gives the pipeline's interface its second address, which the traffic reaches through `interface`.
fn add_second(net: &Net, interface: &str) {
    ip(net, Side::Pipeline, &format!("addr add {SECOND}/32 dev {}", net.interface(Side::Pipeline)));
    ip(net, Side::Traffic, &format!("route add {SECOND} dev {interface}"));
}

/// Packets whose checksums the receiving kernel found wrong.
fn wrong_checksums(net: &Net) -> u64 {
    let names = ["Udp.InCsumErrors", "Ip.InHdrErrors", "Icmp.InCsumErrors", "Udp6InCsumErrors", "Ip6InHdrErrors"];
    names.into_iter().map(|name| net.kernel_counter(Side::Traffic, name)).sum()
}
