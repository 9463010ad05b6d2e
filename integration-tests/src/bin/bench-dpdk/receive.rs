//! Receive rate of small packets: rx-gateway, which judges and discards them, against `dpdk-testpmd`, which frees them.
//!
//! Both poll without a pause, on the core that the kernel's receiving thread has as well: by a poll-mode driver of an interface
//! of the kernel a packet is received twice, and the kernel's part is the larger one. The rate is the throughput (RFC 2544,
//! section 26.1): the highest that is received, but for what the loss allows. Beyond it the kernel's thread takes the core from
//! whoever polls, and what arrives says nothing about either. What each needs by itself is measured apart
//! ([`held`](crate::held)).

use crate::device::{Pmd, Setup, null_engine, ports};
use crate::held::{Held, alone, go_first};
use crate::testpmd::{How, Outcome, TestPmd};
use anyhow::{Context as _, Error, Result, ensure};
use benches::figures::Required;
use benches::statistics::{median, ratios};
use integration_tests::gate::number as count;
use integration_tests::load::{Load, number, offer};
use integration_tests::netns::{Net, Side, Switched};
use integration_tests::parts::Part;
use integration_tests::pipeline::Pipeline;
use integration_tests::rates::{Rates, compare, receive_on, spent_ns};
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::Duration;

const ROUNDS: usize = 11;
const REQUIRED: Required = Required::AtLeast(0.9);
const BURST: usize = 32;
/// rx-gateway spins as long as packets come, and sleeps when the others have their turn.
const SPIN_US: u32 = 20_000;
const UNTIL_IT_SLEEPS: Duration = Duration::from_millis(60);
/// What is on its way when the generator has ended.
const ON_THE_WAY: Duration = Duration::from_millis(10);
/// Where the search for the throughput begins: above it. Packets a second.
const MOST_PER_S: f64 = 2e6;
/// Halvings of that: the throughput to 8 000 a second.
const STEPS: usize = 8;
/// A rate at which a larger part is lost, twice, is above the throughput.
const LOSS: f64 = 0.005;
const TRIES: usize = 2;
/// Of one trial.
const TRIAL_S: &str = "0.3";

/// What one of the two came to.
#[derive(Default)]
struct Came {
    rates: Rates,
    alone: Held,
    /// Of testpmd's own, cycles per packet of calls that brought some.
    busy_cycles: Vec<f64>,
}

struct Contest {
    pmd: Pmd,
    cores: (usize, usize),
    ours: Switched,
    theirs: Switched,
    pipeline: Pipeline,
    testpmd: TestPmd,
}

impl Contest {
    fn prepare(pmd: Pmd, cores: (usize, usize)) -> Result<Self> {
        let (ours, theirs) = (ports("bench-rx", 2)?, ports("bench-testpmd", 1)?);
        let (rx, tx) = (pmd.deep_device(ours.port(0)), pmd.device(ours.port(1)));
        let infer = null_engine();
        let setup = Setup { devices: [&rx, &tx], core: cores.0, spin_us: SPIN_US, infer: &infer, more: "" };
        let pipeline = setup.start(&ours, pmd.name());
        let device = pmd.deep_device(theirs.port(0));
        let how = How {
            device: &device,
            core: cores.0,
            other_core: cores.1,
            burst: BURST,
            cache: None,
            descriptors: pmd.descriptors(),
        };
        let testpmd = TestPmd::launch(theirs.net().command_in(Side::Pipeline, "stdbuf"), &how)?;
        Ok(Self { pmd, cores, ours, theirs, pipeline, testpmd })
    }

    /// The kernel's thread receives on the pollers' core, and goes before them, as its interrupt would: the ring overflows when
    /// they are too slow, and not because the scheduler gives each its turn.
    fn kernel_first(&self, net: &Net) -> Result<()> {
        receive_on(net, self.cores.0).map_err(Error::msg)?;
        net.napi_threads(Side::Pipeline).into_iter().try_for_each(go_first)
    }

    fn discarded(&self) -> f64 {
        count(&self.pipeline.ledger()["packets"]["malformed"]) as f64
    }

    /// One trial of rx-gateway, at so many packets a second.
    fn our_trial(&self, rate: f64) -> Result<Trial> {
        let (net, gateway) = (self.ours.net(), self.pipeline.pid("rx-gateway"));
        let (packets, spent) = (self.discarded(), spent_ns(net, gateway));
        let result = self.generate(net, rate)?;
        let spent_ns = spent_ns(net, gateway) - spent;
        sleep(UNTIL_IT_SLEEPS);
        Ok(Trial { result, packets: self.discarded() - packets, spent_ns })
    }

    fn their_trial(&mut self, rate: f64, came: &mut Came) -> Result<Trial> {
        let pid = self.testpmd.pid();
        self.testpmd.start()?;
        let net = self.theirs.net();
        let spent = spent_ns(net, pid);
        let result = self.generate(net, rate)?;
        let spent_ns = spent_ns(net, pid) - spent;
        sleep(ON_THE_WAY);
        let Outcome { packets, cycles_per_packet } = self.testpmd.stop()?;
        came.busy_cycles.push(cycles_per_packet);
        Ok(Trial { result, packets, spent_ns })
    }

    fn generate(&self, net: &Net, rate: f64) -> Result<Value> {
        let rate = rate.to_string();
        offer(net, self.cores.1, Load::Frames, &["-r", &rate, "-d", TRIAL_S, "-x", "-b", "32"])
    }

    /// Both searches, step by step in turns.
    fn throughputs(&mut self, round: usize, ours: &mut Came, theirs: &mut Came) -> Result<()> {
        self.kernel_first(self.ours.net())?;
        self.kernel_first(self.theirs.net())?;
        let mut searches = [Search::default(), Search::default()];
        for step in 0..STEPS * TRIES {
            for turn in 0..2 {
                let who = (round + step + turn) % 2;
                let Some(rate) = searches[who].next() else { continue };
                let outcome = if who == 0 { self.our_trial(rate)? } else { self.their_trial(rate, theirs)? };
                searches[who].learn(rate, outcome);
            }
        }
        for (search, came) in searches.into_iter().zip([ours, theirs]) {
            let best = search.best.context("packets are lost at any rate")?;
            came.rates.add(&best.result, best.packets, best.spent_ns);
        }
        Ok(())
    }

    fn apart(&mut self, ours: &mut Came, theirs: &mut Came) -> Result<()> {
        let generator = self.cores.1;
        let packets = self.discarded();
        let round = alone(self.ours.net(), self.pmd, generator, self.pipeline.pid("rx-gateway"))?;
        sleep(UNTIL_IT_SLEEPS);
        ours.alone.add(self.pmd, round, self.discarded() - packets);
        self.testpmd.start()?;
        let round = alone(self.theirs.net(), self.pmd, generator, self.testpmd.pid())?;
        sleep(ON_THE_WAY);
        theirs.alone.add(self.pmd, round, self.testpmd.stop()?.packets);
        Ok(())
    }
}

/// What came of one rate.
struct Trial {
    result: Value,
    packets: f64,
    spent_ns: u64,
}

/// For the highest rate at which nearly all packets are received.
#[derive(Default)]
struct Search {
    /// Not too much, as far as known.
    low: f64,
    /// Too much.
    high: Option<f64>,
    best: Option<Trial>,
    /// Trials of the present rate.
    failed: usize,
}

impl Search {
    /// None: it is found.
    fn next(&self) -> Option<f64> {
        let high = self.high.unwrap_or(MOST_PER_S);
        (high - self.low > MOST_PER_S / f64::from(1 << STEPS)).then(|| f64::midpoint(self.low, high))
    }

    fn learn(&mut self, rate: f64, trial: Trial) {
        if trial.packets >= number(&trial.result["sent"]) * (1.0 - LOSS) {
            self.low = rate;
            self.best = Some(trial);
            self.failed = 0;
            return;
        }
        self.failed += 1;
        if self.failed == TRIES {
            self.high = Some(rate);
            self.failed = 0;
        }
    }
}

fn contest(pmd: Pmd, cores: (usize, usize), part: &mut Part) -> Result<()> {
    let mut contest = Contest::prepare(pmd, cores)?;
    let (mut ours, mut theirs) = (Came::default(), Came::default());
    for round in 0..ROUNDS {
        eprint!("\rreceive {}: round {} of {ROUNDS}  ", pmd.name(), round + 1);
        contest.throughputs(round, &mut ours, &mut theirs)?;
        contest.apart(&mut ours, &mut theirs)?;
    }
    eprintln!();
    let ledger = contest.pipeline.settle();
    ensure!(ledger["received"] == 0, "small packets were taken for frames: {ledger}");
    let prefix = format!("receive.{}", pmd.name());
    let mut raw = compare(part, &prefix, &ours.rates, ("testpmd", &theirs.rates), REQUIRED);
    for (who, came) in [("testpmd", &theirs), ("rx_gateway", &ours)] {
        let name = format!("{prefix}.{who}.alone_cpu_ns_per_packet");
        part.figure(name, median(&came.alone.cpu_ns_per_packet), Required::Nothing);
        let name = format!("{prefix}.{who}.alone_packets_each_time");
        part.figure(name, median(&came.alone.packets_each_time), Required::Nothing);
        raw[format!("{who}_alone")] = json!({
            "cpu_ns_per_packet": came.alone.cpu_ns_per_packet, "packets_each_time": came.alone.packets_each_time,
        });
    }
    let by_cost = median(&ratios(&theirs.alone.cpu_ns_per_packet, &ours.alone.cpu_ns_per_packet));
    part.figure(format!("{prefix}.alone_testpmd_cpu_over_rx_gateway_cpu"), by_cost, Required::Nothing);
    raw["testpmd_busy_cycles_per_packet"] = json!(theirs.busy_cycles);
    raw["ring"] = pmd.ring().into();
    raw["ledger"] = ledger;
    part.raw[pmd.name()] = raw;
    Ok(())
}

pub fn measure(cores: (usize, usize)) -> Result<Part> {
    let mut part = Part::default();
    for pmd in Pmd::ALL {
        contest(pmd, cores, &mut part)?;
    }
    Ok(part)
}
