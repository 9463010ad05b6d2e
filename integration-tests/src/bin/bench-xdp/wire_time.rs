//! Round trips through the whole pipeline, one frame at a time, for several placements; against the bare echo in the place of
//! rx-gateway and tx. What the pipeline adds to the echo are its hops, which the replies' own times decompose.

use crate::subject::{Placement, Subject, Wait};
use anyhow::{Context as _, Result, ensure};
use benches::figures::{Figure, Required};
use benches::statistics::{median, ratios};
use integration_tests::bare::{PORT, wait_detached};
use integration_tests::load::{Load, number, offer};
use integration_tests::netns::{Net, Side};
use integration_tests::parts::Part;
use integration_tests::traffic::ELEMENTS;
use serde_json::{Value, json};
use std::path::Path;

const ROUNDS: usize = 7;
/// Cores with which each stage, the supervisor and the generator have one of their own.
const FREE_CORES: usize = 6;
const REQUIRED: Required = Required::AtMost(1.5);
const JUDGED: &str = "own-cores";
/// Frames of the run whose stage times are reported.
const DECOMPOSED: &str = "2000";

fn placements(all: &[usize], cores: (usize, usize)) -> Vec<Placement> {
    let packed = Placement::packed(cores);
    let (first, other) = cores;
    let halves = Placement { name: "two-cores", preprocess: other, infer: other, ..packed.clone() };
    let mut placements = vec![packed, halves];
    if let [supervisor, rx_gateway, preprocess, infer, tx, generator, ..] = *all {
        let wait = Wait::Spin;
        placements.push(Placement { name: JUDGED, supervisor, rx_gateway, preprocess, infer, tx, generator, wait });
    } else if let [_, _, third, ..] = *all {
        placements.push(Placement { name: "three-cores", infer: third, tx: first, ..placements[0].clone() });
    }
    placements
}

/// A value for each round.
#[derive(Default)]
struct Trips {
    p50_ns: Vec<f64>,
    p99_ns: Vec<f64>,
}

impl Trips {
    fn round(&mut self, net: &Net, place: &Placement, requests: &Path) -> Result<()> {
        // The generator sleeps where a stage may need its core.
        let wait = if place.infer == place.generator { "poll" } else { "spin" };
        let options = ["-W", "1", "-d", "0.7", "-u", "0.1", "-w", wait];
        // An echo has no status: the generator's look at it says nothing here.
        let result = offer(net, place.generator, Load::FileInFrames(requests), &options)?;
        ensure!(result["lost"] == 0, "frames were lost one at a time: {result}");
        self.p50_ns.push(number(&result["rtt"]["p50_ns"]));
        self.p99_ns.push(number(&result["rtt"]["p99_ns"]));
        Ok(())
    }

    fn json(&self) -> Value {
        json!({"p50_ns": self.p50_ns, "p99_ns": self.p99_ns})
    }
}

/// Where the pipeline's own clock says that the time went, medians in microseconds.
fn decompose(net: &Net) -> Result<Value> {
    let to = format!("{}:{PORT}", net.v4(Side::Pipeline));
    let elements = ELEMENTS.to_string();
    let options = ["send", "--to", &to, "--tensor", &elements, "--rate", "0", "--window", "1"];
    let output = net.flumeway(Side::Traffic, &options).args(["--count", DECOMPOSED, "--json"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).with_context(|| format!("`flumeway send` printed {text}"))?;
    Ok(report["stages"].clone())
}

fn compare(place: &Placement, requests: &Path, part: &mut Part) -> Result<()> {
    let net = Net::new("bench-wire")?;
    let (mut flumeway, mut bare) = (Trips::default(), Trips::default());
    let mut stages = Vec::new();
    for round in 0..ROUNDS {
        eprint!("\rwire {}: round {} of {ROUNDS}  ", place.name, round + 1);
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                let pipeline = place.pipeline(&net, "af_xdp");
                flumeway.round(&net, place, requests)?;
                stages.push(decompose(&net)?);
                ensure!(pipeline.settle()["balanced"] == true, "the ledger does not balance");
                drop(pipeline);
                wait_detached(&net);
            } else {
                let echo = Subject::bare(&net, "bare_echo", place.wait, place.rx_gateway)?;
                bare.round(&net, place, requests)?;
                echo.stop(&net)?;
            }
        }
    }
    eprintln!();
    let name = |figure: &str| format!("wire.{}.{figure}", place.name);
    let mut figure = |name: String, value, required| part.figures.push(Figure::new(name, Ok(value), required));
    for (who, trips) in [("echo", &bare), ("pipeline", &flumeway)] {
        figure(name(&format!("{who}.p50_us")), median(&trips.p50_ns) / 1e3, Required::Nothing);
        figure(name(&format!("{who}.p99_us")), median(&trips.p99_ns) / 1e3, Required::Nothing);
    }
    for stage in ["assemble", "preprocess_wait", "preprocess", "infer_wait", "infer", "tx_wait", "tx", "total"] {
        let values: Vec<f64> = stages.iter().map(|s| number(&s[stage]["p50"])).collect();
        figure(name(&format!("{stage}.p50_us")), median(&values), Required::Nothing);
    }
    let required = if place.name == JUDGED { REQUIRED } else { Required::Nothing };
    figure(name("p50_ratio"), median(&ratios(&flumeway.p50_ns, &bare.p50_ns)), required);
    figure(name("p99_ratio"), median(&ratios(&flumeway.p99_ns, &bare.p99_ns)), required);
    part.raw[place.name] = json!({
        "placement": format!("{place:?}"), "pipeline": flumeway.json(), "echo": bare.json(), "stages": stages,
    });
    Ok(())
}

pub fn measure(all: &[usize], cores: (usize, usize), requests: &Path) -> Result<Part> {
    let mut part = Part::default();
    for place in placements(all, cores) {
        compare(&place, requests, &mut part)?;
    }
    if all.len() < FREE_CORES {
        for figure in ["p50_ratio", "p99_ratio"] {
            let name = format!("wire.{JUDGED}.{figure}");
            part.figures.push(Figure::needs_cores(name, FREE_CORES, REQUIRED));
        }
    }
    Ok(part)
}
