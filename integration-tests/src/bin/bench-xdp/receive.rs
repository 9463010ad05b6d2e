//! Receive rate of small packets: rx-gateway, which judges and discards them, against a bare loop that drops them.
//!
//! The kernel's receiving thread shares the core with them, so that the core is full, and the rate is what is left for
//! packets. Where it is not full, processor time per packet is compared.

use crate::subject::{Placement, Subject, Wait};
use anyhow::{Result, ensure};
use benches::figures::{Figure, Required};
use benches::statistics::{median, ratios};
use integration_tests::gate::number as count;
use integration_tests::load::{Load, number, offer};
use integration_tests::netns::{Net, Side};
use integration_tests::parts::Part;
use integration_tests::processes::cpu_ns;
use serde_json::{Value, json};

const ROUNDS: usize = 9;
const REQUIRED: Required = Required::AtLeast(0.8);
/// A core that is idle for less is full.
const IDLE_MAX: f64 = 0.05;
/// As fast as the generator can, one way.
const FLOOD: [&str; 7] = ["-r", "0", "-d", "1", "-x", "-b", "64"];

/// A value for each round.
#[derive(Default)]
struct Rates {
    packets_per_s: Vec<f64>,
    idle: Vec<f64>,
    cpu_ns_per_packet: Vec<f64>,
    offered_per_s: Vec<f64>,
}

impl Rates {
    /// `packets` came during the run of the generator that `result` tells of.
    fn add(&mut self, result: &Value, packets: f64, cpu_ns: u64) {
        let elapsed_ns = number(&result["elapsed_ns"]);
        self.packets_per_s.push(packets * 1e9 / elapsed_ns);
        self.idle.push((1.0 - cpu_ns as f64 / elapsed_ns).max(0.0));
        self.cpu_ns_per_packet.push(cpu_ns as f64 / packets);
        self.offered_per_s.push(number(&result["sent_per_s"]));
    }

    fn json(&self) -> Value {
        json!({
            "packets_per_s": self.packets_per_s, "idle": self.idle, "cpu_ns_per_packet": self.cpu_ns_per_packet,
            "offered_per_s": self.offered_per_s,
        })
    }
}

fn link(label: &str, place: &Placement) -> Result<Net> {
    let net = Net::new(label)?;
    net.threaded_napi(Side::Pipeline, true).map_err(anyhow::Error::msg)?;
    net.pin_napi(Side::Pipeline, place.rx_gateway).map_err(anyhow::Error::msg)?;
    Ok(net)
}

/// Processor time on the receiving core: the process and the kernel's thread.
fn spent_ns(net: &Net, pid: u32) -> u64 {
    cpu_ns(pid) + net.napi_cpu_ns(Side::Pipeline)
}

pub fn measure(place: &Placement) -> Result<Part> {
    let (ours, theirs) = (link("bench-rx", place)?, link("bench-drop", place)?);
    let pipeline = place.pipeline(&ours, "af_xdp");
    ours.pin_napi(Side::Pipeline, place.rx_gateway).map_err(anyhow::Error::msg)?;
    let gateway = pipeline.pid("rx-gateway");
    let discarded = || count(&pipeline.ledger()["packets"]["malformed"]);
    let (mut flumeway, mut bare) = (Rates::default(), Rates::default());
    for round in 0..ROUNDS {
        eprint!("\rreceive: round {} of {ROUNDS}  ", round + 1);
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                let (packets, spent) = (discarded(), spent_ns(&ours, gateway));
                let result = offer(&ours, place.generator, Load::Frames, &FLOOD)?;
                let spent = spent_ns(&ours, gateway) - spent;
                flumeway.add(&result, (discarded() - packets) as f64, spent);
            } else {
                let drop = Subject::bare(&theirs, "bare_drop", Wait::Poll, place.rx_gateway)?;
                theirs.pin_napi(Side::Pipeline, place.rx_gateway).map_err(anyhow::Error::msg)?;
                let spent = spent_ns(&theirs, drop.pid());
                let result = offer(&theirs, place.generator, Load::Frames, &FLOOD)?;
                let spent = spent_ns(&theirs, drop.pid()) - spent;
                let Subject::Bare(drop) = drop else { continue };
                bare.add(&result, number(&drop.stop()["packets"]), spent);
            }
        }
    }
    eprintln!();
    let ledger = pipeline.settle();
    ensure!(ledger["received"] == 0, "small packets were taken for frames: {ledger}");
    let mut part = Part::default();
    let mut figure = |name: &str, value: f64, required| part.figures.push(Figure::new(name, Ok(value), required));
    for (who, rates) in [("bare", &bare), ("rx_gateway", &flumeway)] {
        figure(&format!("receive.{who}.packets_per_s"), median(&rates.packets_per_s), Required::Nothing);
        figure(&format!("receive.{who}.idle_percent"), median(&rates.idle) * 100.0, Required::Nothing);
        figure(&format!("receive.{who}.cpu_ns_per_packet"), median(&rates.cpu_ns_per_packet), Required::Nothing);
    }
    let by_rate = median(&ratios(&flumeway.packets_per_s, &bare.packets_per_s));
    let by_cost = median(&ratios(&bare.cpu_ns_per_packet, &flumeway.cpu_ns_per_packet));
    let full = [&flumeway, &bare].iter().all(|r| median(&r.idle) < IDLE_MAX);
    let required = |counts: bool| if counts { REQUIRED } else { Required::Nothing };
    figure("receive.rate_ratio", by_rate, required(full));
    figure("receive.bare_cpu_over_rx_gateway_cpu", by_cost, required(!full));
    part.raw = json!({"rx_gateway": flumeway.json(), "bare": bare.json(), "core_is_full": full, "ledger": ledger});
    Ok(part)
}
