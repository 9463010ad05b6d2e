//! Pairs between the namespaces for drivers beside which no kernel stands: ports of the pipeline, joined by a switch.
//!
//! The traffic's ends are ports of a bridge, whose own interface has the traffic's addresses. The pipeline's ends have none, of
//! either family: nothing but the pipeline answers there. Nobody's link address is written down anywhere.

use super::setup::run;
use super::{Missing, Net, Options, Side, skipped};
use crate::processes::is_alive;
use std::fmt::Write as _;
use std::process::Command;

/// The bridge's name: the client's interface.
pub const SWITCH: &str = "switch";

/// The client's hardware address: without one of its own a bridge takes a port's, and another's when that port is unplugged.
const CLIENTS_MAC: &str = "02:00:00:00:77:02";

/// How long the client believes a link address that it has been told, in milliseconds: as long as any test takes.
const REACHABLE_MS: u32 = 3_600_000;

/// How soon it asks for one again, in milliseconds: the kernel's second is long for a test.
const ASK_MS: u32 = 50;

/// A [`Net`] of several pairs.
#[derive(Debug)]
pub struct Switched {
    net: Net,
    ports: Vec<String>,
    peers: Vec<String>,
}

impl Switched {
    /// `pairs`, which are the pipeline's ports.
    ///
    /// # Errors
    /// [`Missing`], as [`Net::with`]; the kernel may also lack bridges.
    pub fn with(label: &str, pairs: usize, options: Options) -> Result<Self, Missing> {
        let net = Net::with(label, options)?;
        let name = |side: Side, n: usize| match n {
            0 => net.interface(side).to_owned(),
            n => format!("{}-{}", net.interface(side), n + 1),
        };
        let [ports, peers] =
            [Side::Pipeline, Side::Traffic].map(|side| (0..pairs).map(|n| name(side, n)).collect::<Vec<_>>());
        script(&net, Side::Pipeline, &pipeline_side(&net, &ports, &peers)).map_err(Missing::Veth)?;
        script(&net, Side::Traffic, &traffic_side(&net, &peers)).map_err(Missing::Bridge)?;
        Ok(Self { net, ports, peers })
    }

    /// [`Switched::with`], or nothing and [`skipped`].
    pub fn or_skip(label: &str, pairs: usize, options: Options) -> Option<Self> {
        match Self::with(label, pairs, options) {
            Ok(net) => Some(net),
            Err(missing) => {
                skipped(label, &missing.to_string());
                None
            }
        }
    }

    /// The namespaces.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The interface that is the pipeline's port `n`.
    pub fn port(&self, n: usize) -> &str {
        &self.ports[n]
    }

    /// Does `work` while port `n` is not plugged into the switch.
    pub fn without(&self, n: usize, work: impl FnOnce()) {
        let peer = &self.peers[n];
        let run = |text: &str| script(&self.net, Side::Traffic, text).expect("a port of the switch");
        run(&format!("ip link set {peer} nomaster\n"));
        work();
        run(&format!("ip link set {peer} master {SWITCH}\n{}", until_forwarding(peer)));
    }

    /// A number that the kernel counts for port `n` (`/sys/class/net/*/statistics`).
    pub fn counted(&self, n: usize, what: &str) -> u64 {
        let path = format!("/sys/class/net/{}/statistics/{what}", self.port(n));
        let text = run(self.net.command_in(Side::Pipeline, "cat").arg(&path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        text.trim().parse().unwrap_or_else(|e| panic!("{path}: {text}: {e}"))
    }

    /// Packets that came to port `n`, whoever took them.
    pub fn arrived(&self, n: usize) -> u64 {
        self.counted(n, "rx_packets")
    }

    /// Processes in the pipeline's namespace.
    pub fn processes(&self) -> Vec<u32> {
        let text = run(Command::new("ip").args(["netns", "pids", self.net.name(Side::Pipeline)])).unwrap_or_default();
        text.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(|pid| is_alive(*pid)).collect()
    }

    /// Forgets every link address that the client has learned.
    pub fn forget_neighbours(&self) {
        script(&self.net, Side::Traffic, &format!("ip neigh flush dev {SWITCH}\n")).expect("flush neighbours");
    }
}

fn script(net: &Net, side: Side, text: &str) -> Result<(), String> {
    run(net.command_in(side, "sh").args(["-e", "-c", text])).map(drop)
}

fn pipeline_side(net: &Net, ports: &[String], peers: &[String]) -> String {
    let Options { queues, mtu } = net.options();
    let shape = format!("mtu {mtu} numtxqueues {queues} numrxqueues {queues}");
    let mut text = format!(
        "for i in all default {}; do echo 1 > /proc/sys/net/ipv6/conf/$i/disable_ipv6; done\nip addr flush dev {0}\n",
        ports[0]
    );
    for (port, peer) in ports.iter().zip(peers).skip(1) {
        let there = net.name(Side::Traffic);
        let _ = writeln!(text, "ip link add {port} {shape} type veth peer name {peer} {shape} netns {there}");
        let _ = writeln!(text, "ip link set {port} up");
    }
    text
}

fn traffic_side(net: &Net, peers: &[String]) -> String {
    let mtu = net.options().mtu;
    let mut text = format!(
        "ip addr flush dev {}\nip link add {SWITCH} address {CLIENTS_MAC} mtu {mtu} type bridge mcast_snooping 0\n\
         for f in ipv4 ipv6; do cd /proc/sys/net/$f/neigh/{SWITCH}\n\
         echo {REACHABLE_MS} > base_reachable_time_ms; echo {ASK_MS} > retrans_time_ms; echo 40 > mcast_solicit; done\n",
        peers[0]
    );
    for peer in peers {
        // As in a pair of two hosts: on a wire checksums are there.
        let _ = writeln!(text, "ethtool -K {peer} tx off > /dev/null\nip link set {peer} master {SWITCH} up");
    }
    let (v4, v6) = (net.v4(Side::Traffic), net.v6(Side::Traffic));
    let _ = writeln!(text, "ip addr add {v4}/30 dev {SWITCH}\nip addr add {v6}/64 dev {SWITCH} nodad");
    let _ = writeln!(text, "ip link set {SWITCH} up");
    // The kernel may tell the bridge up to a second later that a link is there (net/core/link_watch.c); 3 is "forwarding".
    for peer in peers {
        text.push_str(&until_forwarding(peer));
    }
    text
}

fn until_forwarding(peer: &str) -> String {
    let state = format!("/sys/class/net/{peer}/brport/state");
    format!("n=0; until [ \"$(cat {state})\" = 3 ] || [ $n = 200 ]; do sleep 0.02; n=$((n+1)); done\n")
}
