//! Two network namespaces with a veth pair between them. Neither has a name: each lives as long as a process in it that reads
//! from us, so that nothing is left when the test ends, however it ends.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

/// Our end; the peer's is called the same with a `p` behind.
pub const INTERFACE: &str = "fwx";
/// Addresses and MACs: ours, the peer's.
pub const V4: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 78, 0, 1), Ipv4Addr::new(10, 78, 0, 2)];
pub const V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0x78, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd00, 0x78, 0, 0, 0, 0, 0, 2)];
pub const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0xa], [2, 0, 0, 0, 0, 0xb]];

/// One namespace, and the process that keeps it.
pub struct Namespace {
    keeper: Child,
    file: File,
}

impl Namespace {
    fn new() -> Result<Self, String> {
        let mut keeper = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("unshare (util-linux) cannot be run: {e}"))?;
        let mut byte = [0];
        let there = keeper.stdout.as_mut().is_some_and(|out| out.read_exact(&mut byte).is_ok());
        let file = File::open(format!("/proc/{}/ns/net", keeper.id()));
        match file {
            Ok(file) if there => Ok(Self { keeper, file }),
            _ => Err("making a network namespace takes root".to_owned()),
        }
    }

    /// The calling thread is in the namespace from now on.
    pub fn enter(&self) {
        let entered = move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network));
        entered.expect("a namespace of ours");
    }

    /// Runs `work` on a thread that has entered the namespace. Sockets opened there stay there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let worker = || {
            self.enter();
            work()
        };
        std::thread::scope(|scope| scope.spawn(worker).join()).unwrap_or_else(|e| std::panic::resume_unwind(e))
    }

    /// Interfaces that are made from now on say nothing by themselves: no packet of the tests is one that announces the machine.
    fn be_quiet(&self) {
        let settings = [
            ("router_solicitations", "0"),
            ("mldv1_unsolicited_report_interval", "1000000000"),
            ("mldv2_unsolicited_report_interval", "1000000000"),
        ];
        self.inside(|| {
            for (name, value) in settings {
                // Without IPv6 there is nothing to be silenced.
                let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/default/{name}"), value);
            }
        });
    }

    fn ip(&self, words: &str) -> Result<(), String> {
        let run = || Command::new("ip").args(words.split_whitespace()).output();
        let output = self.inside(run).map_err(|e| format!("ip (iproute2) cannot be run: {e}"))?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() { Ok(()) } else { Err(format!("ip {words}: {said}")) }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Both namespaces.
pub struct Net {
    pub pipeline: Namespace,
    pub traffic: Namespace,
}

impl Net {
    /// What the machine lacks, if it lacks anything.
    pub fn new() -> Result<Self, String> {
        let net = Self { pipeline: Namespace::new()?, traffic: Namespace::new()? };
        [&net.pipeline, &net.traffic].into_iter().for_each(Namespace::be_quiet);
        let mac = |side: usize| MACS[side].map(|byte| format!("{byte:02x}")).join(":");
        let (ours, theirs, keeper) = (mac(0), mac(1), net.traffic.keeper.id());
        let shape = "mtu 1500 numtxqueues 1 numrxqueues 1";
        net.pipeline.ip(&format!(
            "link add {INTERFACE} address {ours} {shape} type veth peer name {INTERFACE}p address {theirs} {shape} netns {keeper}"
        ))?;
        for (namespace, side, name) in [(&net.pipeline, 0, "fwx"), (&net.traffic, 1, "fwxp")] {
            namespace.ip(&format!("addr add {}/30 dev {name}", V4[side]))?;
            namespace.ip(&format!("addr add {}/64 dev {name} nodad", V6[side]))?;
            namespace.ip(&format!("link set {name} up"))?;
            // No packet of the tests is one that asks for an address.
            for address in [V4[1 - side].to_string(), V6[1 - side].to_string()] {
                namespace.ip(&format!("neigh replace {address} lladdr {} dev {name} nud permanent", mac(1 - side)))?;
            }
        }
        Ok(net)
    }
}
