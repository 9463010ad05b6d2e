//! `ports` alone: an echo through RxPort and TxPort against the bare echo, in turn on one link.

use crate::subject::{Subject, Wait};
use anyhow::{Result, ensure};
use benches::figures::{Figure, Required};
use benches::statistics::{median, ratios};
use integration_tests::load::{Load, number, offer};
use integration_tests::netns::Net;
use integration_tests::parts::Part;
use integration_tests::processes::cpu_ns;
use serde_json::{Value, json};

/// Odd, so that medians are values.
const ROUNDS: usize = 11;
/// Packets a second at which processor time is taken: a fraction of what either can do.
const RATE: &str = "50000";
const REQUIRED: Required = Required::AtMost(1.10);

/// What one of the two came to, a value for each round.
#[derive(Default)]
struct Side {
    p50_ns: Vec<f64>,
    p99_ns: Vec<f64>,
    cpu_ns_per_packet: Vec<f64>,
}

impl Side {
    fn json(&self) -> Value {
        json!({"p50_ns": self.p50_ns, "p99_ns": self.p99_ns, "cpu_ns_per_packet": self.cpu_ns_per_packet})
    }

    fn round(&mut self, net: &Net, subject: Subject, cores: (usize, usize), wait: Wait) -> Result<()> {
        let options = ["-W", "1", "-d", "0.7", "-u", "0.1"];
        let result = offer(net, cores.1, Load::Frames, &options)?;
        ensure!(result["lost"] == 0, "packets were lost one at a time: {result}");
        self.p50_ns.push(number(&result["rtt"]["p50_ns"]));
        self.p99_ns.push(number(&result["rtt"]["p99_ns"]));
        // One that spins uses all there is.
        if wait == Wait::Poll {
            let before = cpu_ns(subject.pid());
            let result = offer(net, cores.1, Load::Frames, &["-r", RATE, "-d", "0.7"])?;
            let spent_ns = cpu_ns(subject.pid()) - before;
            ensure!(number(&result["lost"]) < 0.05 * number(&result["sent"]), "too fast: {result}");
            self.cpu_ns_per_packet.push(spent_ns as f64 / number(&result["received"]));
        }
        subject.stop(net)
    }
}

/// Both under both wait strategies.
pub fn measure(cores: (usize, usize)) -> Result<Part> {
    let net = Net::new("bench-echo")?;
    let mut part = Part::default();
    for wait in [Wait::Spin, Wait::Poll] {
        let (mut port, mut bare) = (Side::default(), Side::default());
        for round in 0..ROUNDS {
            eprint!("\recho {}: round {} of {ROUNDS}  ", wait.name(), round + 1);
            // Who comes first alternates: a machine that grows slower or faster favours nobody.
            for turn in 0..2 {
                if (round + turn) % 2 == 0 {
                    port.round(&net, Subject::port(&net, wait, cores.0)?, cores, wait)?;
                } else {
                    bare.round(&net, Subject::bare(&net, "bare_echo", wait, cores.0)?, cores, wait)?;
                }
            }
        }
        eprintln!();
        let name = |figure: &str| format!("echo.{}.{figure}", wait.name());
        let mut measured = |figure: &str, value: f64, required: Required| {
            part.figures.push(Figure::new(name(figure), Ok(value), required));
        };
        for (who, side) in [("bare", &bare), ("ports", &port)] {
            measured(&format!("{who}.p50_us"), median(&side.p50_ns) / 1e3, Required::Nothing);
            measured(&format!("{who}.p99_us"), median(&side.p99_ns) / 1e3, Required::Nothing);
        }
        measured("p50_ratio", median(&ratios(&port.p50_ns, &bare.p50_ns)), REQUIRED);
        measured("p99_ratio", median(&ratios(&port.p99_ns, &bare.p99_ns)), Required::Nothing);
        if wait == Wait::Poll {
            measured("bare.cpu_ns_per_packet", median(&bare.cpu_ns_per_packet), Required::Nothing);
            measured("ports.cpu_ns_per_packet", median(&port.cpu_ns_per_packet), Required::Nothing);
            let ratio = median(&ratios(&port.cpu_ns_per_packet, &bare.cpu_ns_per_packet));
            measured("cpu_ratio", ratio, REQUIRED);
        }
        part.raw[wait.name()] = json!({"rate_per_s": RATE, "ports": port.json(), "bare": bare.json()});
    }
    Ok(part)
}
