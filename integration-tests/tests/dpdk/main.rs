//! DPDK through the binaries that users run: the pipeline on two ports of a switch, its clients behind it, and no kernel that
//! answers for the pipeline.
//!
//! Each test makes its own namespaces and says what is missing where it cannot.

mod access;
mod aimed;
mod kills;
mod link;
mod queues;
mod quiet;
mod restarts;
mod rights;
mod serving;
mod settings;
mod wrong_input;

use integration_tests::client::Client;
use integration_tests::gate::number;
use integration_tests::netns::{Options, Side, Switched, skipped};
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::traffic::config;
use integration_tests::{shipped, traffic};
use serde_json::Value;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// Where the pipelines listen.
const PORT: u16 = 9000;
/// Hugepages of 2 MiB that all tests of this machine share.
const HUGEPAGES: u64 = 1024;
/// Buffers: `net_af_xdp` keeps 2048 of them, which leaves too few of the small profile's.
const BUFFERS: u64 = 8192;

/// A poll-mode driver of an interface of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pmd {
    AfPacket,
    AfXdp,
}

impl Pmd {
    const ALL: [Self; 2] = [Self::AfPacket, Self::AfXdp];

    fn word(self) -> &'static str {
        match self {
            Self::AfPacket => "af-packet",
            Self::AfXdp => "af-xdp",
        }
    }

    /// As `[dpdk]` names it.
    fn device(self, interface: &str) -> String {
        match self {
            Self::AfPacket => format!("net_af_packet0,iface={interface}"),
            Self::AfXdp => format!("net_af_xdp0,iface={interface}"),
        }
    }
}

/// What a test's pipeline is to be. Lines are those of the tables that they are called after.
#[derive(Clone, Copy, Debug)]
struct Wanted<'a> {
    pmd: Pmd,
    ingress: &'a str,
    dpdk: &'a str,
    /// Whole tables.
    more: &'a str,
    /// Elements of a frame and of a result.
    elements: (usize, usize),
    /// Added to each device that receives.
    arguments: &'a str,
    /// rx-gateways; tx has the port behind theirs.
    gateways: usize,
}

impl Wanted<'_> {
    fn on(pmd: Pmd) -> Self {
        let elements = (traffic::ELEMENTS, traffic::ELEMENTS);
        Self { pmd, ingress: "", dpdk: "", more: "", elements, arguments: "", gateways: 1 }
    }

    fn text(&self, net: &Switched) -> String {
        let (input, output) = self.elements;
        config("null", &self.tables(net))
            .replace("[arena]\n", &format!("[arena]\nbuffers = {BUFFERS}\n"))
            .replace("null_input_elements = 16", &format!("null_input_elements = {input}"))
            .replace("null_output_elements = 16", &format!("null_output_elements = {output}"))
    }

    /// All but engine and profile.
    fn tables(&self, net: &Switched) -> String {
        let Self { pmd, ingress, dpdk, more, arguments, gateways, .. } = *self;
        let rx: Vec<_> = (0..gateways).map(|n| format!("{}{arguments}", pmd.device(net.port(n)))).collect();
        let tx = pmd.device(net.port(gateways));
        let addresses = [net.net().v4(Side::Pipeline), net.net().v6(Side::Pipeline)].map(|a| a.to_string());
        let several = if gateways > 1 { format!("[rx_gateway]\ninstances = {gateways}\n") } else { String::new() };
        format!(
            "[ingress]\ndriver = \"dpdk\"\nlisten = \"[::]:{PORT}\"\n{ingress}\n[dpdk]\nrx = {rx:?}\ntx = {tx:?}\n\
             addresses = {addresses:?}\n{dpdk}\n{several}{more}"
        )
    }

    fn start(&self, net: &Switched, name: &str) -> Pipeline {
        self.start_with(net, name, &shipped())
    }

    fn start_with(&self, net: &Switched, name: &str, stages: &Path) -> Pipeline {
        started(net, &format!("dpdk-{name}-{}", self.pmd.word()), &self.text(net), stages)
    }
}

/// A pipeline whose ports have started: what comes before is nobody's.
fn started(net: &Switched, name: &str, text: &str, stages: &Path) -> Pipeline {
    let pipeline = Pipeline::start_inside(net.net(), name, text, stages, &[]);
    wait_until("the ports to start", || {
        pipeline.status()["stages"].as_array().is_some_and(|all| all.iter().all(|stage| stage["at_work"] == true))
    });
    pipeline
}

/// Waits until a stage is back after its incarnation `before`, and its port, if it has one, has started.
fn wait_back(pipeline: &Pipeline, stage: &str, before: u64) {
    wait_until(&format!("{stage} to be at work again"), || {
        let entry = pipeline.stage(stage);
        number(&entry["incarnation"]) > before && entry["at_work"] == true
    });
}

/// Kills a stage, and waits until it is back.
fn kill(pipeline: &Pipeline, stage: &str) {
    let before = number(&pipeline.stage(stage)["incarnation"]);
    pipeline.kill_9(stage);
    wait_back(pipeline, stage, before);
}

/// What keeps DPDK from being tested here, if something does; with it, hugepages are raised once.
fn missing() -> Option<String> {
    static FOUND: OnceLock<Option<String>> = OnceLock::new();
    FOUND.get_or_init(look).clone()
}

fn look() -> Option<String> {
    let stage = shipped().join("flumeway-rx-gateway");
    let said = Command::new(&stage).arg("--drivers").output().ok()?;
    let drivers: Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
    if drivers["dpdk"].is_null() {
        return Some(
            "the binaries are built without DPDK (apt install libdpdk-dev libclang-14-dev, then `make build`)"
                .to_owned(),
        );
    }
    let file = "/proc/sys/vm/nr_hugepages";
    let pages = || fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0_u64);
    if pages() < HUGEPAGES {
        // Others on this machine may want as many: they are not taken away again.
        let _ = fs::write(file, HUGEPAGES.to_string());
    }
    let there = pages();
    (there < HUGEPAGES / 4)
        .then(|| format!("{there} hugepages of 2 MiB, and the kernel gives no more: {HUGEPAGES} are wanted"))
}

/// The pipeline's ports and the switch; nothing, said aloud, where something is missing.
fn switched(label: &str, pairs: usize, options: Options) -> Option<Switched> {
    if let Some(missing) = missing() {
        skipped(label, &missing);
        return None;
    }
    Switched::or_skip(label, pairs, options)
}

/// Two ports with one queue each.
fn two_ports(label: &str, pmd: Pmd) -> Option<Switched> {
    switched(&format!("dpdk-{label}-{}", pmd.word()), 2, Options::default())
}

/// A client that takes replies from the address alone that it sends to.
fn client(net: &Switched, to: IpAddr, stream: u32) -> Client {
    let any: SocketAddr = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }.parse().unwrap();
    client_at(net, any, to, stream)
}

/// The same at an address of the traffic's.
fn client_at(net: &Switched, from: SocketAddr, to: IpAddr, stream: u32) -> Client {
    let to = SocketAddr::new(to, PORT);
    let open = || {
        let socket = UdpSocket::bind(from)?;
        socket.connect(to).map(|()| socket)
    };
    Client::with_socket(net.net().inside(Side::Traffic, open).flatten().unwrap(), to, stream)
}

/// The addresses that the pipeline answers for.
fn both(net: &Switched) -> [IpAddr; 2] {
    [net.net().v4(Side::Pipeline), net.net().v6(Side::Pipeline)]
}

/// Packets that rx-gateways have judged.
fn judged(ledger: &Value) -> u64 {
    ledger["packets"].as_object().expect("packets by verdict").values().map(number).sum()
}

/// Packets that a gateway's port has told of and not brought, and those that went with the port of a predecessor.
fn not_brought(pipeline: &Pipeline, gateway: &str) -> u64 {
    ["device_missed", "device_errors", "lost_in_device"].iter().map(|name| pipeline.counter(gateway, name)).sum()
}

/// Packets that have come to the port of `gateway` since it was there, as the interface under it counts.
fn came(net: &Switched, pipeline: &Pipeline, gateway: &str, port: usize) -> u64 {
    // One more than the interface had then: nothing is 0.
    net.arrived(port) - (pipeline.counter(gateway, "device_link_base") - 1)
}

/// `ip` in a namespace, arguments separated by spaces.
fn ip(net: &Switched, side: Side, arguments: &str) {
    let output = net.net().command_in(side, "ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Packets whose checksums the client's kernel found wrong.
fn wrong_checksums(net: &Switched) -> u64 {
    let names = ["Udp.InCsumErrors", "Ip.InHdrErrors", "Icmp.InCsumErrors", "Udp6InCsumErrors", "Ip6InHdrErrors"];
    names.into_iter().map(|name| net.net().kernel_counter(Side::Traffic, name)).sum()
}

/// What runs in the pipeline's namespace, programs on its interfaces, files of hugepages and folders of the library.
fn leftovers(net: &Switched) -> Vec<String> {
    let mut left: Vec<String> = net.processes().iter().map(|pid| format!("process {pid}")).collect();
    left.extend(net.net().attachments(Side::Pipeline).iter().map(|a| format!("XDP program {a:?}")));
    left.extend(files_of_the_library());
    left
}

/// What the library would keep of a stage in the file system, were it not told to keep all in memory: a folder, and a file of each
/// hugepage, named after the stage. A stage that is about to start has an empty folder for a moment.
fn files_of_the_library() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let of_hugepages = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let folder = words.next()?;
        (words.next() == Some("hugetlbfs")).then_some(folder)
    });
    let folders = of_hugepages.chain(["/var/run/dpdk"]);
    let names = folders.flat_map(|folder| names_in(Path::new(folder)));
    let of_the_dead = |name: &String| {
        let rest = ["flumeway-rx-", "flumeway-tx-"].iter().find_map(|prefix| name.strip_prefix(prefix));
        let digits = rest.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
        digits.is_some_and(|pid| !pid.parse().is_ok_and(integration_tests::processes::is_alive))
    };
    names.filter(of_the_dead).collect()
}

/// What a folder holds; nothing where there is none.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
