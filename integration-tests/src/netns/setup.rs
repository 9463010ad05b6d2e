//! Making the namespaces and the links in them, with iproute2 and ethtool.

use super::{Missing, Net, Side};
use std::net::IpAddr;
use std::process::Command;

/// Runs a command; its standard output, or the first line of what it complained about.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("{}: {e}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().trim().to_owned();
    Err(if complaint.is_empty() { format!("it ended with {}", output.status) } else { complaint })
}

/// `ip` with these arguments, separated by spaces.
pub fn ip(arguments: &str) -> Result<String, String> {
    run(Command::new("ip").args(arguments.split_whitespace()))
}

/// A step that nothing a machine may lack can make fail.
fn must<T>(net: &Net, result: Result<T, String>) -> T {
    result.unwrap_or_else(|e| panic!("network namespaces of {}: {e}", net.label))
}

/// Both namespaces, the pair, addresses, offloads.
pub fn make(net: &Net) -> Result<(), Missing> {
    for name in &net.names {
        ip(&format!("netns add {name}")).map_err(Missing::Namespaces)?;
    }
    let [a, b] = &net.names;
    let [link_a, link_b] = &net.interfaces;
    let (queues, mtu) = (net.options.queues, net.options.mtu);
    let shape = format!("mtu {mtu} numtxqueues {queues} numrxqueues {queues}");
    ip(&format!("-n {a} link add {link_a} {shape} type veth peer name {link_b} {shape} netns {b}"))
        .map_err(Missing::Veth)?;
    for side in [Side::Pipeline, Side::Traffic] {
        let name = net.name(side);
        must(net, ip(&format!("-n {name} link set lo up")));
        no_duplicate_detection(net, side).map_err(Missing::Ipv6)?;
        bring_up(net, side, net.interface(side), &[(net.v4(side), 30), (net.v6(side), 64)])?;
    }
    // What an XDP program sees is the packet as it lies in memory. A checksum that the sender's stack leaves to the hardware
    // is not there; on a wire it would be.
    must(net, net.offload(Side::Traffic, &[("tx", false)]));
    Ok(())
}

/// Addresses are usable at once, the link-local ones as well.
fn no_duplicate_detection(net: &Net, side: Side) -> Result<(), String> {
    let script = "for i in all default; do echo 0 > /proc/sys/net/ipv6/conf/$i/accept_dad || exit 1; done";
    run(net.command_in(side, "sh").args(["-c", script])).map(drop)
}

fn bring_up(net: &Net, side: Side, interface: &str, addresses: &[(IpAddr, u8)]) -> Result<(), Missing> {
    let name = net.name(side);
    for (address, prefix) in addresses {
        let (more, is_v6) = if address.is_ipv6() { (" nodad", true) } else { ("", false) };
        let added = ip(&format!("-n {name} addr add {address}/{prefix} dev {interface}{more}"));
        match added {
            Err(e) if is_v6 => return Err(Missing::Ipv6(e)),
            added => must(net, added),
        };
    }
    must(net, ip(&format!("-n {name} link set {interface} up")));
    Ok(())
}
