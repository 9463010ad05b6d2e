//! Receive rate of small packets: rx-gateway, which judges and discards them, against `dpdk-testpmd`, which frees them.
//!
//! Both poll without a pause, on the core that the kernel's receiving thread has as well: by a poll-mode driver of an interface
//! of the kernel a packet is received twice, and the kernel's part is the larger one. What each needs by itself is measured
//! apart ([`held`](crate::held)).

use crate::device::{Pmd, Setup, null_engine, ports};
use crate::held::{Held, alone};
use crate::testpmd::{How, Outcome, TestPmd};
use anyhow::{Error, Result, ensure};
use benches::figures::Required;
use benches::statistics::{median, ratios};
use integration_tests::gate::number as count;
use integration_tests::load::{Load, offer};
use integration_tests::netns::{Net, Side, Switched};
use integration_tests::parts::Part;
use integration_tests::pipeline::Pipeline;
use integration_tests::rates::{FLOOD, Rates, compare, receive_on, spent_ns};
use rustix::process::{Pid, setpriority_process};
use serde_json::json;
use std::thread::sleep;
use std::time::Duration;

const ROUNDS: usize = 7;
const REQUIRED: Required = Required::AtLeast(0.9);
const BURST: usize = 32;
const KERNEL_NICE: i32 = -20;
/// rx-gateway spins as long as packets come, and sleeps when the others have their turn.
const SPIN_US: u32 = 100_000;
const UNTIL_IT_SLEEPS: Duration = Duration::from_millis(250);
/// What is on its way when the generator has ended.
const ON_THE_WAY: Duration = Duration::from_millis(10);

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
        let how = How { device: &device, core: cores.0, other_core: cores.1, burst: BURST, cache: None };
        let testpmd = TestPmd::launch(theirs.net().command_in(Side::Pipeline, "stdbuf"), &how)?;
        Ok(Self { pmd, cores, ours, theirs, pipeline, testpmd })
    }

    /// The kernel's thread receives on the pollers' core, and goes before them, as its interrupt would: the ring overflows when
    /// they are too slow, and not because the scheduler gives each its turn.
    fn kernel_first(&self, net: &Net) -> Result<()> {
        receive_on(net, self.cores.0).map_err(Error::msg)?;
        for pid in net.napi_threads(Side::Pipeline) {
            setpriority_process(Pid::from_raw(pid as i32), KERNEL_NICE)?;
        }
        Ok(())
    }

    fn discarded(&self) -> f64 {
        count(&self.pipeline.ledger()["packets"]["malformed"]) as f64
    }

    fn our_turn(&self, came: &mut Came) -> Result<()> {
        let generator = self.cores.1;
        let (net, gateway) = (self.ours.net(), self.pipeline.pid("rx-gateway"));
        self.kernel_first(net)?;
        let (packets, spent) = (self.discarded(), spent_ns(net, gateway));
        let result = offer(net, generator, Load::Frames, &FLOOD)?;
        let spent = spent_ns(net, gateway) - spent;
        came.rates.add(&result, self.discarded() - packets, spent);
        let packets = self.discarded();
        let round = alone(net, self.pmd, generator, gateway)?;
        sleep(ON_THE_WAY);
        came.alone.add(round, self.discarded() - packets);
        sleep(UNTIL_IT_SLEEPS);
        Ok(())
    }

    fn their_turn(&mut self, came: &mut Came) -> Result<()> {
        let generator = self.cores.1;
        let (net, pid) = (self.theirs.net(), self.testpmd.pid());
        self.kernel_first(net)?;
        self.testpmd.start()?;
        let spent = spent_ns(net, pid);
        let result = offer(net, generator, Load::Frames, &FLOOD)?;
        let spent = spent_ns(net, pid) - spent;
        let Outcome { packets, cycles_per_packet } = self.testpmd.stop()?;
        came.rates.add(&result, packets, spent);
        came.busy_cycles.push(cycles_per_packet);
        self.testpmd.start()?;
        let round = alone(net, self.pmd, generator, pid)?;
        sleep(ON_THE_WAY);
        came.alone.add(round, self.testpmd.stop()?.packets);
        Ok(())
    }
}

fn contest(pmd: Pmd, cores: (usize, usize), part: &mut Part) -> Result<()> {
    let mut contest = Contest::prepare(pmd, cores)?;
    let (mut ours, mut theirs) = (Came::default(), Came::default());
    for round in 0..ROUNDS {
        eprint!("\rreceive {}: round {} of {ROUNDS}  ", pmd.name(), round + 1);
        for turn in 0..2 {
            if (round + turn) % 2 == 0 { contest.our_turn(&mut ours)? } else { contest.their_turn(&mut theirs)? }
        }
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
