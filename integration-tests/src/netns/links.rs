//! The interfaces of a [`Net`]: what they counted, what is attached to them, which thread receives for them.

use super::setup::run;
use super::{Net, Side};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// What the kernel counted for an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Received packets dropped.
    pub rx_dropped: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets dropped instead of sent, also because the other end's queue was full.
    pub tx_dropped: u64,
}

/// An XDP program on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The interface.
    pub interface: String,
    /// In the driver, not the generic hook.
    pub is_native: bool,
    /// The program's id.
    pub program_id: u64,
}

/// Of `IFLA_XDP_ATTACHED` in `linux/if_link.h`.
const XDP_ATTACHED_DRV: u64 = 1;

impl Net {
    fn links(&self, side: Side, more: &[&str]) -> Vec<Value> {
        let mut command = Command::new("ip");
        command.args(["-n", self.name(side), "-j"]).args(more).arg("link");
        let text = run(&mut command).unwrap_or_else(|e| panic!("interfaces of {}: {e}", self.label));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("`ip -j link` printed {text}: {e}"))
    }

    /// XDP programs in a namespace.
    pub fn attachments(&self, side: Side) -> Vec<Attachment> {
        let attached = |link: &Value| {
            let xdp = link.get("xdp")?;
            Some(Attachment {
                interface: link["ifname"].as_str()?.to_owned(),
                is_native: xdp["mode"].as_u64() == Some(XDP_ATTACHED_DRV),
                program_id: xdp["prog"]["id"].as_u64()?,
            })
        };
        self.links(side, &[]).iter().filter_map(attached).collect()
    }

    /// Counters of a side's end of the pair.
    pub fn counters(&self, side: Side) -> Counters {
        let links = self.links(side, &["-s"]);
        let link = links.iter().find(|l| l["ifname"] == self.interface(side));
        let stats = &link.unwrap_or_else(|| panic!("{} is not there", self.interface(side)))["stats64"];
        let n = |way: &str, what: &str| stats[way][what].as_u64().unwrap_or(0);
        Counters {
            rx_packets: n("rx", "packets"),
            rx_bytes: n("rx", "bytes"),
            rx_dropped: n("rx", "dropped"),
            tx_packets: n("tx", "packets"),
            tx_bytes: n("tx", "bytes"),
            tx_dropped: n("tx", "dropped"),
        }
    }

    /// MAC address of a side's end of the pair.
    pub fn mac(&self, side: Side) -> String {
        let links = self.links(side, &[]);
        let link = links.iter().find(|l| l["ifname"] == self.interface(side));
        let mac = link.and_then(|l| l["address"].as_str()).map(str::to_owned);
        mac.unwrap_or_else(|| panic!("{} has no MAC address", self.interface(side)))
    }

    /// The driver's own counters (`ethtool -S`): per queue, and of XDP.
    pub fn driver_counters(&self, side: Side) -> BTreeMap<String, u64> {
        let text = run(self.command_in(side, "ethtool").args(["-S", self.interface(side)]));
        let text = text.unwrap_or_else(|e| panic!("ethtool -S {}: {e}", self.interface(side)));
        let counter = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_owned(), value.trim().parse().ok()?))
        };
        text.lines().filter_map(counter).collect()
    }

    /// A number that the kernel counts for a namespace, by its line and name in `/proc/net/snmp` or its name in `snmp6`.
    pub fn kernel_counter(&self, side: Side, name: &str) -> u64 {
        let read = || ["snmp", "snmp6"].map(|f| fs::read_to_string(format!("/proc/thread-self/net/{f}")));
        let [v4, v6] = self
            .inside(side, read)
            .expect("a thread in the namespace")
            .map(|text| text.expect("the kernel's counters"));
        if let Some((line, column)) = name.split_once('.') {
            let rows: Vec<Vec<&str>> = v4
                .lines()
                .filter_map(|l| l.split_once(": "))
                .filter(|(l, _)| *l == line)
                .map(|(_, r)| r.split(' ').collect())
                .collect();
            let at = rows[0].iter().position(|c| *c == column).unwrap_or_else(|| panic!("no {name} in {v4}"));
            return rows[1][at].parse().unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        let row = v6.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok());
        row.unwrap_or_else(|| panic!("no {name} in {v6}"))
    }

    /// Switches features (`ethtool -K`), like `("gro", false)`.
    pub fn offload(&self, side: Side, features: &[(&str, bool)]) -> Result<(), String> {
        let mut command = self.command_in(side, "ethtool");
        command.args(["-K", self.interface(side)]);
        for (feature, on) in features {
            command.arg(feature).arg(if *on { "on" } else { "off" });
        }
        run(&mut command).map(drop)
    }

    /// Lets kernel threads, one per queue, receive for a side, instead of whichever core the sender runs on. GRO is
    /// switched on with them: the kernel refuses threads to a veth without NAPI, and a veth has NAPI only with GRO or an
    /// XDP program. Afterwards programs may come and go, the threads stay.
    pub fn threaded_napi(&self, side: Side, on: bool) -> Result<(), String> {
        if on {
            self.offload(side, &[("gro", true)])?;
        }
        let script = format!("echo {} > /sys/class/net/{}/threaded", u8::from(on), self.interface(side));
        run(self.command_in(side, "sh").args(["-c", &script])).map(drop)
    }

    /// Those threads, by process id.
    pub fn napi_threads(&self, side: Side) -> Vec<u32> {
        let prefix = format!("napi/{}-", self.interface(side));
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut pids: Vec<u32> = processes
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid: &u32| {
                fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(&prefix))
            })
            .collect();
        pids.sort_unstable();
        pids
    }

    /// Processor time of those threads in nanoseconds.
    pub fn napi_cpu_ns(&self, side: Side) -> u64 {
        self.napi_threads(side).into_iter().map(crate::processes::cpu_ns).sum()
    }

    /// Binds those threads to a core.
    pub fn pin_napi(&self, side: Side, core: usize) -> Result<(), String> {
        let mut set = CpuSet::new();
        set.set(core);
        for pid in self.napi_threads(side) {
            sched_setaffinity(Pid::from_raw(pid as i32), &set).map_err(|e| format!("bind thread {pid}: {e}"))?;
        }
        Ok(())
    }
}
