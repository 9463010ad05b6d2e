//! Processor time of the whole pipeline for a one-packet frame: AF_XDP against UDP.
//!
//! Each driver has a link, namespaces and a pipeline of its own; those that are not measured sleep. On both links threads
//! receive (threaded NAPI): the pipeline's on the pipeline's core and counted, the traffic side's on the generator's core and not.

use crate::subject::{Placement, processes, spent_ns};
use anyhow::{Context as _, Result, ensure};
use benches::figures::{Figure, Required};
use benches::statistics::{median, ratios};
use integration_tests::load::{Load, number, offer};
use integration_tests::netns::{Net, Side};
use integration_tests::parts::Part;
use integration_tests::pipeline::Pipeline;
use serde_json::{Map, Value, json};
use std::path::Path;

const ROUNDS: usize = 9;
const REQUIRED: Required = Required::AtMost(0.7);
/// A rate is sustained if no more than this share of its frames is lost, and the generator keeps up with it.
const LOST_MAX: f64 = 0.001;
const KEPT_UP: f64 = 0.97;
const ATTEMPTS: usize = 5;
/// First rate tried, frames a second, and the steps of the search: up by half, then halvings of what is left.
const FIRST_RATE: f64 = 20_000.0;
const LAST_RATE: f64 = 2_000_000.0;
const HALVINGS: usize = 4;

/// One driver's own link and pipeline.
struct Lane {
    name: &'static str,
    // Dropped before the namespaces that it runs in.
    pipeline: Pipeline,
    net: Net,
    processes: Vec<(String, u32)>,
    saturation_per_s: f64,
}

/// What it spent, a value for each round.
#[derive(Default)]
struct Spent {
    ns_per_frame: Vec<f64>,
    /// As shares of the frames answered.
    lost: Vec<f64>,
    /// By process, the receiving thread last.
    parts: Vec<Vec<f64>>,
}

/// A way to measure a lane: whether the traffic side leaves UDP checksums to its interface, which on a veth nobody computes.
struct Way {
    name: &'static str,
    lane: usize,
    offload: bool,
}

const WAYS: [Way; 3] = [
    Way { name: "af_xdp", lane: 0, offload: false },
    Way { name: "udp", lane: 1, offload: false },
    Way { name: "udp_unverified", lane: 1, offload: true },
];

impl Lane {
    fn start(driver: &'static str, place: &Placement) -> Result<Self> {
        let net = Net::new(&format!("bench-{driver}"))?;
        for (side, core) in [(Side::Pipeline, place.rx_gateway), (Side::Traffic, place.generator)] {
            net.threaded_napi(side, true).and_then(|()| net.pin_napi(side, core)).map_err(anyhow::Error::msg)?;
        }
        let pipeline = place.pipeline(&net, driver);
        // A program that comes may bring new threads.
        net.pin_napi(Side::Pipeline, place.rx_gateway).map_err(anyhow::Error::msg)?;
        let processes = processes(&pipeline);
        Ok(Self { name: driver, pipeline, net, processes, saturation_per_s: 0.0 })
    }

    fn paced(&self, place: &Placement, requests: &Path, rate: f64, seconds: f64) -> Result<Value> {
        let (rate, seconds) = (format!("{rate:.0}"), seconds.to_string());
        // It sleeps between packets: one that spins would keep the thread that receives for it from its core until the
        // link, which holds 256 packets, is full.
        let options = ["-r", &rate, "-d", &seconds, "-u", "0.1", "-w", "poll"];
        let result = offer(&self.net, place.generator, Load::File(requests), &options)?;
        ensure!(result["unexpected"] == 0, "a frame was not answered with a result: {result}");
        Ok(result)
    }

    /// Once of several times: what others do to the machine can make it fail, and never succeed.
    fn sustains(&self, place: &Placement, requests: &Path, rate: f64) -> Result<bool> {
        for _ in 0..ATTEMPTS {
            let result = self.paced(place, requests, rate, 0.5)?;
            let (sent, lost) = (number(&result["sent"]), number(&result["lost"]));
            if lost <= sent * LOST_MAX && number(&result["sent_per_s"]) >= rate * KEPT_UP {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The highest paced rate at which next to nothing is lost, to a few percent.
    fn saturation(&self, place: &Placement, requests: &Path) -> Result<f64> {
        let (mut good, mut bad) = (0.0, FIRST_RATE);
        while bad < LAST_RATE && self.sustains(place, requests, bad)? {
            (good, bad) = (bad, bad * 1.5);
        }
        for _ in 0..HALVINGS {
            let rate = f64::midpoint(good, bad);
            if self.sustains(place, requests, rate)? { good = rate } else { bad = rate }
        }
        Ok(good)
    }

    fn spent_ns(&self) -> Vec<u64> {
        let mut all = spent_ns(&self.processes);
        all.push(self.net.napi_cpu_ns(Side::Pipeline));
        all
    }

    fn round(&self, place: &Placement, requests: &Path, rate: f64, way: &Way, spent: &mut Spent) -> Result<()> {
        // A veth that could segment TCP hands packets over without NAPI, and its peer's thread would not receive.
        self.net.offload(Side::Traffic, &[("tx", way.offload), ("tso", false)]).map_err(anyhow::Error::msg)?;
        for attempt in 1..=ATTEMPTS {
            let before = self.spent_ns();
            let result = self.paced(place, requests, rate, 1.0)?;
            let (frames, lost) = (number(&result["received"]), number(&result["lost"]));
            // A round in which others had the cores is taken again, and the last one as it is: its losses are told.
            if lost > frames * LOST_MAX && attempt < ATTEMPTS {
                continue;
            }
            let parts: Vec<f64> = self.spent_ns().iter().zip(&before).map(|(a, b)| (a - b) as f64 / frames).collect();
            spent.ns_per_frame.push(parts.iter().sum());
            spent.parts.push(parts);
            spent.lost.push(lost / frames);
            break;
        }
        Ok(())
    }

    /// Median of each process, nanoseconds per frame.
    fn table(&self, spent: &Spent) -> Map<String, Value> {
        let names = self.processes.iter().map(|(name, _)| name.as_str()).chain(["napi"]);
        let part = |n: usize| median(&spent.parts.iter().map(|p| p[n]).collect::<Vec<_>>());
        names.enumerate().map(|(n, name)| (name.to_owned(), json!(part(n)))).collect()
    }
}

pub fn measure(place: &Placement, requests: &Path) -> Result<Part> {
    let mut lanes = [Lane::start("af_xdp", place)?, Lane::start("udp", place)?];
    for lane in &mut lanes {
        lane.paced(place, requests, FIRST_RATE, 0.5)?;
        lane.saturation_per_s = lane.saturation(place, requests)?;
        eprintln!("cost: {} sustains {:.0} frames/s", lane.name, lane.saturation_per_s);
        ensure!(lane.saturation_per_s > 0.0, "{} loses frames at {FIRST_RATE}/s", lane.name);
    }
    let slower = lanes.iter().map(|l| l.saturation_per_s).reduce(f64::min).context("no lane")?;
    let rate = slower / 2.0;
    let mut spent: [Spent; WAYS.len()] = Default::default();
    for round in 0..ROUNDS {
        eprint!("\rcost: round {} of {ROUNDS}  ", round + 1);
        for turn in 0..WAYS.len() {
            let n = (round + turn) % WAYS.len();
            lanes[WAYS[n].lane].round(place, requests, rate, &WAYS[n], &mut spent[n])?;
        }
    }
    eprintln!();
    let mut part = Part::default();
    let mut figure = |name: String, value: f64, required| part.figures.push(Figure::new(name, Ok(value), required));
    for lane in &lanes {
        figure(format!("cost.{}.saturation_per_s", lane.name), lane.saturation_per_s, Required::Nothing);
    }
    figure("cost.rate_per_s".to_owned(), rate, Required::Nothing);
    for (way, spent) in WAYS.iter().zip(&spent) {
        figure(format!("cost.{}.cpu_ns_per_frame", way.name), median(&spent.ns_per_frame), Required::Nothing);
        let table = lanes[way.lane].table(spent);
        eprintln!("cost: {:<16} {}", way.name, text(&table));
        part.raw[way.name] = json!({"ns_per_frame": spent.ns_per_frame, "lost": spent.lost, "by_process": table});
    }
    let [xdp, others @ ..] = &spent;
    let ratio = |udp: &Spent| median(&ratios(&xdp.ns_per_frame, &udp.ns_per_frame));
    for (way, udp) in WAYS[1..].iter().zip(others) {
        figure(format!("cost.over_{}", way.name), ratio(udp), Required::Nothing);
    }
    // The less favourable of the two counts.
    let worst = others.iter().map(ratio).fold(f64::NAN, f64::max);
    figure("cost.cpu_ratio".to_owned(), worst, REQUIRED);
    for lane in &lanes {
        let ledger = lane.pipeline.settle();
        ensure!(ledger["balanced"] == true, "{}: the ledger does not balance: {ledger}", lane.name);
        part.raw[lane.name]["ledger"] = ledger;
    }
    part.raw["rate_per_s"] = json!(rate);
    Ok(part)
}

fn text(table: &Map<String, Value>) -> String {
    let cells = table.iter().map(|(name, ns)| format!("{name} {:.0}", number(ns)));
    cells.collect::<Vec<_>>().join(", ")
}
