//! `make bench-ring`: the hop between two processes, over our ring and over what else there is.
//!
//! Two processes (two threads, where a peer knows no processes) on two cores, one buffer (or batch) outstanding; a hop is
//! half a round trip. All rows are measured in one
//! run, in short rounds in turn. Prints a table, writes `benches/results/ring.json` and `ring.svg`, and ends with 1 if a
//! bound is missed or a row could not be measured.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_types,
    reason = "words of the arena, named through its sync shim: clippy sees core's types behind it"
)]

mod chart;
mod contenders;
mod dpdk;
#[cfg(feature = "peers")]
mod iceoryx;
mod kernel;
mod lines;
mod pair;
mod partner;
mod results;
mod rings;
mod shared;
#[cfg(feature = "peers")]
mod threads;

use anyhow::Result;
use benches::{figures, machine};
use contenders::{Carrier, Drive, ROWS, Site};
use dpdk::RteRing;
use pair::Round;
use partner::Partner;
use results::Results;
use serde_json::json;
use shared::{Home, Which};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Instant;

/// Rounds of every row.
const ROUNDS: usize = 101;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &arguments[..] {
        [] => run(),
        [argument, run] if argument == partner::ARGUMENT => partner::serve(run).map(|()| true),
        _ => Err(anyhow::anyhow!("bench-ring takes no arguments")),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("bench-ring: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run() -> Result<bool> {
    let (start, busy, own) = (Instant::now(), machine::busy_ns(), machine::own_ns());
    let mut machine = machine::describe();
    let mut results = Results::new();
    match machine::two_cores(&machine::cores()) {
        Some(cores) => {
            machine["cores_used"] = json!([cores.0, cores.1]);
            measure(&mut results, cores)?;
        }
        None => results.rows.iter_mut().for_each(|row| row.rounds_ns = Err("needs 2 cores".to_owned())),
    }
    // What others computed meanwhile, in cores: what makes the numbers worthless on a busy machine.
    let foreign_ns = (machine::busy_ns() - busy).saturating_sub(machine::own_ns() - own);
    machine["foreign_load_cores"] = json!(foreign_ns as f64 / start.elapsed().as_nanos() as f64);
    machine["load_average_after"] = machine::load().into();
    machine["run_s"] = json!(start.elapsed().as_secs());
    println!("machine: {machine}\n\n{}", results.table());
    figures::write(&benches::root(), "ring.svg", &chart::svg(&results))?;
    figures::conclude(&benches::root(), "ring", &machine, &results.json(), &results.figures())
}

/// What side A plays with: the second process, `rte_ring`'s processes, the second thread.
struct Partners {
    process: Partner,
    rte_ring: Result<RteRing, String>,
    #[cfg(feature = "peers")]
    threads: threads::Threads,
}

fn measure(results: &mut Results, cores: (usize, usize)) -> Result<()> {
    machine::pin(cores.0)?;
    let rte_ring = RteRing::start(&benches::root(), cores).map_err(|e| format!("{e:#}"));
    let home = Home::create()?;
    let (channels, theirs) = kernel::Channels::pair()?;
    let mut site = Site {
        which: Which::A,
        arena: &home.arena,
        bells: &home.bells,
        supervisor: home.ours.as_fd(),
        channels: &channels,
        hand: shared::adopt(&home.arena)?,
        #[cfg(feature = "peers")]
        ports: iceoryx::Ports::open(std::process::id(), Which::A)?,
    };
    let mut partners = Partners {
        process: Partner::start(&home, &theirs, cores.1)?,
        rte_ring,
        #[cfg(feature = "peers")]
        threads: threads::Threads::start(home.arena.table(), cores.1)?,
    };
    for round in 0..ROUNDS {
        for turn in 0..ROWS.len() {
            // The order alternates, so that who comes after whom favours nobody.
            let number = if round % 2 == 0 { turn } else { ROWS.len() - 1 - turn };
            let row = &mut results.rows[number];
            match play(&mut site, &mut partners, number) {
                Ok(round) => row.add(&round),
                Err(Missing::Row(reason)) => row.rounds_ns = Err(reason),
                Err(Missing::Everything(error)) => return Err(error),
            }
        }
    }
    for held in site.hand {
        held.release();
    }
    #[cfg(feature = "peers")]
    partners.threads.finish()?;
    partners.process.finish()?;
    partners.rte_ring.map_or(Ok(()), RteRing::finish)
}

/// Why a round gave nothing.
enum Missing {
    /// This row cannot be measured here.
    Row(String),
    /// The two sides are no longer in step.
    Everything(anyhow::Error),
}

fn play(site: &mut Site<'_>, partners: &mut Partners, number: usize) -> Result<Round, Missing> {
    let row = &ROWS[number];
    match (row.carrier, &mut partners.rte_ring) {
        (Carrier::RteRing, Ok(program)) => {
            program.round(row.batch, row.pause, row.length).map_err(|e| Missing::Row(format!("{e:#}")))
        }
        (Carrier::RteRing, Err(reason)) => Err(Missing::Row(reason.clone())),
        (carrier, _) if carrier.is_optional() && !cfg!(feature = "peers") => {
            Err(Missing::Row("built without feature peers; `make bench-ring` builds with it".to_owned()))
        }
        #[cfg(feature = "peers")]
        (carrier, _) if carrier.is_in_process() => partners.threads.round(number).map_err(Missing::Everything),
        _ => {
            partners.process.order(number, row.length).map_err(Missing::Everything)?;
            site.play(row, Drive(row.length)).map_err(Missing::Everything)
        }
    }
}
