//! How long rx-gateway is away after SIGKILL: until a frame that was sent afterwards is answered.
//!
//! The stage's own counters say what the library's environment and the port took; the rest is ours: the supervisor learns of the
//! death, sweeps, starts the process, which attaches and adopts.

use crate::device::{Pmd, Setup, client, null_engine, ports};
use anyhow::{Result, ensure};
use benches::figures::Required;
use benches::statistics::{median, quantile};
use integration_tests::client::Client;
use integration_tests::gate::number;
use integration_tests::parts::Part;
use integration_tests::pipeline::{PATIENCE, Pipeline};
use integration_tests::processes::signal;
use integration_tests::traffic::tensor_of;
use rustix::process::Signal;
use serde_json::json;
use std::thread::sleep;
use std::time::{Duration, Instant};

const KILLS: usize = 20;
/// Between two frames.
const GAP: Duration = Duration::from_micros(500);
/// Frames before each kill: the pipeline is at work.
const BEFORE: u64 = 100;
/// Counters of the stage that say what of it the library took.
const COUNTERS: [&str; 3] = ["eal_init_us", "port_start_us", "recovery_us"];

/// A value for each kill, milliseconds.
#[derive(Default)]
struct Away {
    answered: Vec<f64>,
    ours: Vec<f64>,
    counters: [Vec<f64>; 3],
}

/// Sends frames one by one; how long it took until one of them was answered.
fn until_answered(client: &mut Client, next: &mut u64, start: Instant) -> Result<Duration> {
    let first = *next;
    loop {
        client.send_tensor(*next, &tensor_of(*next));
        *next += 1;
        let until = Instant::now() + GAP;
        while Instant::now() < until {
            client.receive();
            if (first..*next).any(|id| client.replies.contains_key(&id)) {
                return Ok(start.elapsed());
            }
            sleep(Duration::from_micros(50));
        }
        ensure!(start.elapsed() < PATIENCE, "no frame is answered any more");
    }
}

fn kill(pipeline: &Pipeline, client: &mut Client, next: &mut u64, away: &mut Away) -> Result<()> {
    for _ in 0..BEFORE {
        until_answered(client, next, Instant::now())?;
    }
    let before = number(&pipeline.stage("rx-gateway")["incarnation"]);
    let pid = pipeline.pid("rx-gateway");
    let start = Instant::now();
    signal(pid, Signal::KILL);
    let answered = until_answered(client, next, start)?.as_secs_f64() * 1e3;
    pipeline.wait_incarnation("rx-gateway", before);
    let counted = COUNTERS.map(|name| pipeline.counter("rx-gateway", name) as f64 / 1e3);
    for (all, ms) in away.counters.iter_mut().zip(counted) {
        all.push(ms);
    }
    away.answered.push(answered);
    away.ours.push(answered - counted[0] - counted[1]);
    Ok(())
}

fn on(pmd: Pmd, cores: (usize, usize), part: &mut Part) -> Result<()> {
    let net = ports("bench-restart", 2)?;
    let (rx, tx) = (pmd.device(net.port(0)), pmd.device(net.port(1)));
    let infer = null_engine();
    let setup = Setup { devices: [&rx, &tx], core: cores.0, spin_us: 20, infer: &infer, more: "" };
    let pipeline = setup.start(&net, &format!("restart-{}", pmd.name()));
    let (mut client, mut next, mut away) = (client(&net)?, 0, Away::default());
    for n in 0..KILLS {
        eprint!("\rrestart {}: kill {} of {KILLS}  ", pmd.name(), n + 1);
        kill(&pipeline, &mut client, &mut next, &mut away)?;
    }
    eprintln!();
    let lost = pipeline.counter("rx-gateway", "lost_in_device");
    let name = |figure: &str| format!("restart.{}.{figure}", pmd.name());
    let mut figure = |name: String, value: f64| part.figure(name, value, Required::Nothing);
    figure(name("answered_again_ms"), median(&away.answered));
    figure(name("answered_again_p95_ms"), quantile(&away.answered, 0.95));
    figure(name("eal_ms"), median(&away.counters[0]));
    figure(name("port_start_ms"), median(&away.counters[1]));
    figure(name("ours_ms"), median(&away.ours));
    figure(name("recovery_ms"), median(&away.counters[2]));
    part.raw[pmd.name()] = json!({
        "answered_again_ms": away.answered, "ours_ms": away.ours, "eal_ms": away.counters[0],
        "port_start_ms": away.counters[1], "recovery_ms": away.counters[2], "frames_sent": next, "lost_in_device": lost,
        "ledger": pipeline.ledger(),
    });
    Ok(())
}

pub fn measure(cores: (usize, usize)) -> Result<Part> {
    let mut part = Part::default();
    for pmd in Pmd::ALL {
        on(pmd, cores, &mut part)?;
    }
    Ok(part)
}
