//! One workload on one set of cores: server and pipeline side by side, measured in turn.

use crate::compute::Compute;
use crate::figures::Figure;
use crate::link::{TcpLink, UdpLink};
use crate::machine::{self, pin};
use crate::measure::{Client, Loaded, median, percentile};
use crate::server::Server;
use crate::workload::{Cores, Workload};
use anyhow::Result;
use integration_tests::pipeline::Pipeline;
use serde_json::{Value, json};
use std::time::Instant;

/// Rounds of each comparison; odd, so that medians are values.
const ROUNDS: usize = 7;
/// Where infer runs on two cores, and where the engine runs by itself.
const ENGINE_CORE: usize = 1;
/// The client's own core.
const CLIENT_CORE: usize = 0;

/// All rounds of one system.
#[derive(Debug, Default)]
struct Side {
    round_trips_ns: Vec<u64>,
    fps: Vec<f64>,
    cpu_us_per_frame: Vec<f64>,
    /// Per round and process.
    cpu_us_by_process: Vec<Value>,
    lost: u64,
}

impl Side {
    fn round(&mut self, client: &mut Client<'_>, workload: &Workload, processes: &[(String, u32)]) -> Result<()> {
        self.round_trips_ns.extend(client.unloaded(workload.round_trips)?);
        let before: Vec<u64> = processes.iter().map(|(_, pid)| machine::cpu_ns(*pid)).collect();
        let Loaded { fps, answers } = client.loaded(workload.window, workload.loaded)?;
        let per_frame = |(p, before): (&(String, u32), &u64)| {
            (p.0.clone(), machine::cpu_ns(p.1).saturating_sub(*before) as f64 / 1e3 / answers as f64)
        };
        let spent: Vec<(String, f64)> = processes.iter().zip(&before).map(per_frame).collect();
        self.fps.push(fps);
        self.cpu_us_per_frame.push(spent.iter().map(|(_, us)| us).sum());
        self.cpu_us_by_process.push(spent.into_iter().collect());
        self.lost = client.lost;
        Ok(())
    }

    fn latency_us(&self, percent: f64) -> f64 {
        percentile(&self.round_trips_ns, percent) as f64 / 1e3
    }

    fn figures(&self, prefix: &str) -> [Figure; 5] {
        let figure = |name: &str, value| Figure::measured(format!("{prefix}.{name}"), value);
        [
            figure("latency_p50_us", self.latency_us(50.0)),
            figure("latency_p99_us", self.latency_us(99.0)),
            figure("fps", median(self.fps.iter().copied())),
            figure("cpu_us_per_frame", median(self.cpu_us_per_frame.iter().copied())),
            figure("lost", self.lost as f64),
        ]
    }

    fn json(&self) -> Value {
        let spectrum = [50.0, 90.0, 99.0, 100.0].map(|p| (format!("p{p}"), json!(self.latency_us(p))));
        json!({
            "round_trips": self.round_trips_ns.len(),
            "latency_us": spectrum.into_iter().collect::<serde_json::Map<_, _>>(),
            "fps": self.fps,
            "cpu_us_per_frame": self.cpu_us_per_frame,
            "cpu_us_per_frame_by_process": self.cpu_us_by_process,
            "lost": self.lost,
        })
    }
}

/// What one comparison came to.
#[derive(Debug)]
pub struct Outcome {
    /// For the report.
    pub figures: Vec<Figure>,
    /// For the file.
    pub raw: Value,
    /// Pipeline's throughput over that of the engine by itself, the median of the rounds' ratios; only where it was asked for.
    pub over_engine: Option<f64>,
}

/// The result that both systems must give, computed here.
fn expected(compute: &mut Compute, workload: &Workload) -> Result<Vec<u8>> {
    let mut room = vec![0; 4096];
    let (_, len) = compute.frame(workload.encoding, workload.width, workload.height, &workload.bytes, &mut room)?;
    room.truncate(len);
    Ok(room)
}

fn processes(pipeline: &Pipeline) -> Vec<(String, u32)> {
    let status = pipeline.status();
    let stages = status["stages"].as_array().cloned().unwrap_or_default();
    let stage = |s: &Value| Some((s["name"].as_str()?.to_owned(), s["pid"].as_u64()? as u32));
    let supervisor = status["pid"].as_u64().map(|pid| ("supervisor".to_owned(), pid as u32));
    stages.iter().filter_map(stage).chain(supervisor).collect()
}

/// Runs the comparison on a machine with `machine_cores` cores; with `engine_alone`, the engine in a loop by itself takes part in each round.
pub fn compare(workload: &Workload, cores: Cores, machine_cores: usize, engine_alone: bool) -> Result<Outcome> {
    // Loaded here, where the engine by itself will run, since its worker thread stays there.
    pin(&[ENGINE_CORE.min(machine_cores - 1)])?;
    let mut compute = Compute::load(workload)?;
    let expected = expected(&mut compute, workload)?;
    // Children inherit this, and choose their own cores among these.
    pin(&(0..machine_cores).collect::<Vec<_>>())?;
    let server = Server::start(workload, cores, machine_cores)?;
    // At once: the server ends with its connection, and so with this process, however that ends.
    let mut tcp = Client::new(TcpLink::new(server.address, workload, &expected)?);
    let pipeline = Pipeline::start(
        &format!("baseline-{}-{}", workload.name, cores.name()),
        &workload.pipeline_toml(cores, machine_cores),
    );
    pin(&[CLIENT_CORE])?;
    let of_server = [("server".to_owned(), server.pid())];
    let of_pipeline = processes(&pipeline);
    let mut udp = Client::new(UdpLink::new(pipeline.listen(), workload, &expected)?);
    for client in [&mut tcp, &mut udp] {
        client.unloaded(workload.round_trips / 5)?;
    }
    let ours = || {
        let all = of_server.iter().chain(&of_pipeline).map(|(_, pid)| *pid).chain([std::process::id()]);
        all.map(machine::cpu_ns).sum::<u64>()
    };
    let (start, busy, own) = (Instant::now(), machine::busy_ns(), ours());
    let (mut one, mut other, mut engine_fps) = (Side::default(), Side::default(), Vec::new());
    for round in 0..ROUNDS {
        if engine_alone {
            pin(&[ENGINE_CORE])?;
            engine_fps.push(compute.infer_for(workload.loaded)?);
            pin(&[CLIENT_CORE])?;
        }
        // Who comes first alternates, so that a machine that grows slower or faster favours nobody.
        if round % 2 == 0 {
            one.round(&mut tcp, workload, &of_server)?;
            other.round(&mut udp, workload, &of_pipeline)?;
        } else {
            other.round(&mut udp, workload, &of_pipeline)?;
            one.round(&mut tcp, workload, &of_server)?;
        }
    }
    // What others computed meanwhile, in cores: near 0 on a quiet machine, and what makes the numbers worthless on a busy one.
    let foreign_ns = (machine::busy_ns() - busy).saturating_sub(ours() - own);
    let foreign = foreign_ns as f64 / start.elapsed().as_nanos() as f64;
    let ledger = pipeline.settle();
    let prefix = format!("{}.{}", workload.name, cores.name());
    let mut figures = Vec::from(one.figures(&format!("{prefix}.server")));
    figures.extend(other.figures(&format!("{prefix}.flumeway")));
    let ratio = median(other.fps.iter().zip(&one.fps).map(|(f, s)| f / s));
    figures.push(Figure::measured(format!("{prefix}.flumeway_fps_over_server"), ratio));
    figures.push(Figure::measured(format!("{prefix}.foreign_load_cores"), foreign));
    let over_engine = engine_alone.then(|| median(other.fps.iter().zip(&engine_fps).map(|(f, e)| f / e)));
    if engine_alone {
        figures.push(Figure::measured(format!("{prefix}.engine_alone_fps"), median(engine_fps.iter().copied())));
    }
    let raw = json!({
        "workload": workload.name, "cores": cores.name(), "model": workload.model_name(), "engine": workload.engine,
        "frame_bytes": workload.bytes.len(), "window": workload.window, "rounds": ROUNDS,
        "server": one.json(), "flumeway": other.json(), "engine_alone_fps": engine_fps, "foreign_load_cores": foreign,
        "ledger": ledger,
    });
    Ok(Outcome { figures, raw, over_engine })
}
