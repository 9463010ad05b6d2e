//! Receive rates of two contenders on a core that both share with the kernel's receiving thread.
//!
//! A rate says what a core can do only while that core is full; else processor time per packet does.

use crate::load::number;
use crate::netns::{Net, Side};
use crate::parts::Part;
use crate::processes::cpu_ns;
use benches::figures::Required;
use benches::statistics::{median, ratios};
use serde_json::{Value, json};

/// A core that is idle for less is full.
const IDLE_MAX: f64 = 0.05;
/// As fast as the generator can, one way.
pub const FLOOD: [&str; 7] = ["-r", "0", "-d", "1", "-x", "-b", "64"];

/// A value for each round.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    packets_per_s: Vec<f64>,
    idle: Vec<f64>,
    cpu_ns_per_packet: Vec<f64>,
    offered_per_s: Vec<f64>,
}

impl Rates {
    /// `packets` came during the run of the generator that `result` tells of, and cost `cpu_ns` on the receiving core.
    pub fn add(&mut self, result: &Value, packets: f64, cpu_ns: u64) {
        let elapsed_ns = number(&result["elapsed_ns"]);
        self.packets_per_s.push(packets * 1e9 / elapsed_ns);
        self.idle.push((1.0 - cpu_ns as f64 / elapsed_ns).max(0.0));
        self.cpu_ns_per_packet.push(cpu_ns as f64 / packets);
        self.offered_per_s.push(number(&result["sent_per_s"]));
    }

    fn is_full(&self) -> bool {
        median(&self.idle) < IDLE_MAX
    }

    fn json(&self) -> Value {
        json!({
            "packets_per_s": self.packets_per_s, "idle": self.idle, "cpu_ns_per_packet": self.cpu_ns_per_packet,
            "offered_per_s": self.offered_per_s,
        })
    }
}

/// Lets the kernel's thread receive for the pipeline's side on this core.
pub fn receive_on(net: &Net, core: usize) -> Result<(), String> {
    net.threaded_napi(Side::Pipeline, true)?;
    net.pin_napi(Side::Pipeline, core)
}

/// Processor time on the receiving core: the process and the kernel's thread.
pub fn spent_ns(net: &Net, pid: u32) -> u64 {
    cpu_ns(pid) + net.napi_cpu_ns(Side::Pipeline)
}

/// Adds what rx-gateway and a yardstick came to, and the ratio that counts; the numbers to keep.
pub fn compare(
    part: &mut Part,
    prefix: &str,
    ours: &Rates,
    (name, theirs): (&str, &Rates),
    required: Required,
) -> Value {
    for (who, rates) in [(name, theirs), ("rx_gateway", ours)] {
        part.figure(format!("{prefix}.{who}.packets_per_s"), median(&rates.packets_per_s), Required::Nothing);
        part.figure(format!("{prefix}.{who}.idle_percent"), median(&rates.idle) * 100.0, Required::Nothing);
        part.figure(format!("{prefix}.{who}.cpu_ns_per_packet"), median(&rates.cpu_ns_per_packet), Required::Nothing);
    }
    let by_rate = median(&ratios(&ours.packets_per_s, &theirs.packets_per_s));
    let by_cost = median(&ratios(&theirs.cpu_ns_per_packet, &ours.cpu_ns_per_packet));
    let full = ours.is_full() && theirs.is_full();
    let counts = |counts: bool| if counts { required } else { Required::Nothing };
    part.figure(format!("{prefix}.rate_ratio"), by_rate, counts(full));
    part.figure(format!("{prefix}.{name}_cpu_over_rx_gateway_cpu"), by_cost, counts(!full));
    json!({"rx_gateway": ours.json(), name: theirs.json(), "core_is_full": full})
}
