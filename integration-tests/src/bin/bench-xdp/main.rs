//! `make bench-xdp`: what AF_XDP costs and gives, on veth pairs in network namespaces of its own.
//!
//! | part | what is compared |
//! |---|---|
//! | `echo` | an echo in one process through RxPort and TxPort, and a bare one in C |
//! | `cost` | processor time per frame of the whole pipeline on AF_XDP, and on UDP |
//! | `receive` | small packets through rx-gateway, and a bare loop that drops them |
//! | `wire` | round trips through the pipeline for several placements, and the bare echo's |
//! | `hitless` | frames sent while rx-gateway and tx are killed, and frames answered |
//!
//! Contenders take turns in one run. Named parts alone (`bench-xdp echo cost`) print and write nothing.
#![forbid(unsafe_code)]

mod cost;
mod echo;
mod echo_port;
mod hitless;
mod receive;
mod subject;
mod wire_time;

use anyhow::Result;
use integration_tests::parts::{self, Measure};
use integration_tests::payloads;
use integration_tests::pipeline::folder;
use std::process::ExitCode;
use subject::Placement;

/// First argument of this program as the echo.
const ECHO: &str = "serve-echo";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &arguments[..] {
        [first, rest @ ..] if first == ECHO => echo_port::serve(rest).map(|()| true),
        parts => run(parts),
    };
    parts::exit_code("bench-xdp", &outcome)
}

fn run(only: &[String]) -> Result<bool> {
    let dir = folder("bench-xdp");
    let requests = payloads::write(&dir)?;
    let parts: [Measure<'_>; 5] = [
        ("echo", Box::new(|cores| echo::measure(cores.pair))),
        ("cost", Box::new(|cores| cost::measure(&Placement::packed(cores.pair), &requests))),
        ("receive", Box::new(|cores| receive::measure(&Placement::packed(cores.pair)))),
        ("wire", Box::new(|cores| wire_time::measure(&cores.all, cores.pair, &requests))),
        ("hitless", Box::new(|cores| hitless::measure(&Placement::packed(cores.pair)))),
    ];
    let outcome = parts::conduct("bench-xdp", "xdp", &parts, only);
    let _ = std::fs::remove_dir_all(dir);
    outcome
}
