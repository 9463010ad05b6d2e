//! `make bench-dpdk`: what DPDK's poll-mode drivers cost and give under Flumeway.
//!
//! | part | what is compared |
//! |---|---|
//! | `net_null` | cycles per packet of `RxPort`, of a bare loop, of `dpdk-testpmd`, and of the owner words alone |
//! | `receive` | small packets through rx-gateway, and through `dpdk-testpmd` in rxonly mode on the same device |
//! | `restart` | time from SIGKILL of rx-gateway to the first answer of its successor's, and where it goes |
//! | `copies` | passes of our own code that only move bytes, per frame; what the driver copies |
//!
//! Contenders take turns in one run. Named parts alone (`bench-dpdk receive`) print and write nothing.
#![forbid(unsafe_code)]

mod copies;
mod device;
mod held;
mod null;
mod null_port;
mod receive;
mod restart;
mod testpmd;

use anyhow::Result;
use integration_tests::parts::{self, Measure};
use std::process::ExitCode;

/// First argument of this program as the receiver of `net_null`.
const NULL_PORT: &str = "receive-null";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &arguments[..] {
        [first, rest @ ..] if first == NULL_PORT => null_port::receive(rest).map(|()| true),
        parts => run(parts),
    };
    parts::exit_code("bench-dpdk", &outcome)
}

fn run(only: &[String]) -> Result<bool> {
    let parts: [Measure<'_>; 4] = [
        ("net_null", Box::new(|cores| null::measure(cores.pair))),
        ("receive", Box::new(|cores| receive::measure(cores.pair))),
        ("restart", Box::new(|cores| restart::measure(cores.pair))),
        ("copies", Box::new(|cores| copies::measure(cores.pair))),
    ];
    parts::conduct("bench-dpdk", "dpdk", &parts, only)
}
