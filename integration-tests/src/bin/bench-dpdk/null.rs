//! Cycles per packet on `net_null`, and what the pool's cache and the burst do to them: where the defaults come from.

use crate::NULL_PORT;
use crate::null_port::WORDS;
use crate::testpmd::{How, TestPmd};
use anyhow::{Context as _, Result, bail, ensure};
use benches::figures::Required;
use benches::statistics::{median, ratios};
use integration_tests::bare::build_with_dpdk;
use integration_tests::load::number;
use integration_tests::parts::Part;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const DEVICE: &str = "net_null0,size=64";
/// Of a turn of the comparison, and of one of the table.
const TURN_S: f64 = 0.2;
const ROUNDS: usize = 5;
const CELL_S: f64 = 0.08;
/// What the comparison runs with.
const BURST: usize = 32;
const CACHE: usize = 256;
const BURSTS: [usize; 5] = [4, 8, 16, 32, 64];
const CACHES: [usize; 5] = [0, 32, 128, 256, 512];

/// Runs one of the two receivers; what it printed.
fn once(program: &Path, first: &[&str], core: usize, burst: usize, cache: usize, seconds: f64) -> Result<Value> {
    let numbers = [core.to_string(), burst.to_string(), cache.to_string(), seconds.to_string()];
    let output = Command::new(program).args(first).args(&numbers).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("{}: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_str(&text).with_context(|| format!("{} printed {text}", program.display()))
}

/// `dpdk-testpmd` has nothing to wait for: the cycles of its core over the packets.
fn testpmd(cores: (usize, usize)) -> Result<f64> {
    let how =
        How { device: DEVICE, core: cores.0, other_core: cores.1, burst: BURST, cache: Some(CACHE), descriptors: 1024 };
    let mut testpmd = TestPmd::launch(Command::new("stdbuf"), &how)?;
    testpmd.start()?;
    std::thread::sleep(Duration::from_secs_f64(TURN_S / 4.0));
    testpmd.stop()?;
    let start = Instant::now();
    testpmd.start()?;
    std::thread::sleep(Duration::from_secs_f64(TURN_S));
    let outcome = testpmd.stop()?;
    ensure!(outcome.packets > 0.0, "dpdk-testpmd received nothing in {:?}", start.elapsed());
    // By the counter of the calls that brought something, which all did: what starting and stopping took is not in it.
    Ok(outcome.cycles_per_packet)
}

pub fn measure(cores: (usize, usize)) -> Result<Part> {
    let (bare, own) = (build_with_dpdk("bare_rx").map_err(anyhow::Error::msg)?, std::env::current_exe()?);
    let core = cores.0;
    let tsc_hz = number(&once(&bare, &[DEVICE], core, BURST, CACHE, CELL_S)?["tsc_hz"]);
    let by_bare = |burst, cache, seconds| {
        Ok::<f64, anyhow::Error>(number(&once(&bare, &[DEVICE], core, burst, cache, seconds)?["cycles_per_packet"]))
    };
    let by_us = |device: &str, burst, cache, seconds| {
        let result = once(&own, &[NULL_PORT, device], core, burst, cache, seconds)?;
        Ok::<f64, anyhow::Error>(number(&result["ns_per_packet"]) * tsc_hz / 1e9)
    };
    let names = ["testpmd", "bare", "port", "owner_words"];
    let mut cycles: [Vec<f64>; 4] = Default::default();
    for round in 0..ROUNDS {
        eprint!("\rnet_null: round {} of {ROUNDS}  ", round + 1);
        for turn in 0..names.len() {
            let who = if round % 2 == 0 { turn } else { names.len() - 1 - turn };
            cycles[who].push(match who {
                0 => testpmd(cores)?,
                1 => by_bare(BURST, CACHE, TURN_S)?,
                2 => by_us(DEVICE, BURST, CACHE, TURN_S)?,
                _ => by_us(WORDS, BURST, CACHE, TURN_S)?,
            });
        }
    }
    let mut part = Part::default();
    for (name, cycles) in names.iter().zip(&cycles) {
        part.figure(format!("net_null.{name}.cycles_per_packet"), median(cycles), Required::Nothing);
        part.raw[*name] = json!(cycles);
    }
    part.figure("net_null.port_over_testpmd", median(&ratios(&cycles[2], &cycles[0])), Required::Nothing);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for cache in CACHES {
        eprint!("\rnet_null: cache {cache}      ");
        let row =
            |cell: &dyn Fn(usize) -> Result<f64>| BURSTS.iter().map(|burst| cell(*burst)).collect::<Result<Vec<_>>>();
        ours.push(row(&|burst| by_us(DEVICE, burst, cache, CELL_S))?);
        theirs.push(row(&|burst| by_bare(burst, cache, CELL_S))?);
    }
    eprintln!();
    println!("cycles per packet on net_null: RxPort (bare loop)");
    println!("{:>8} {}", "cache", BURSTS.map(|b| format!("{:>16}", format!("burst {b}"))).concat());
    for ((cache, ours), theirs) in CACHES.iter().zip(&ours).zip(&theirs) {
        let cells: Vec<_> =
            ours.iter().zip(theirs).map(|(o, t)| format!("{:>16}", format!("{o:.0} ({t:.0})"))).collect();
        println!("{cache:>8} {}", cells.concat());
    }
    part.raw["table"] = json!({"bursts": BURSTS, "caches": CACHES, "port": ours, "bare": theirs});
    part.raw["tsc_hz"] = tsc_hz.into();
    Ok(part)
}
