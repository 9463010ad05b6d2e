//! Soak: live stage processes exchange buffers at full speed while they are killed at random.
//!
//! Four processes attach to one arena as the shipped stages do and send frames round: rx-gateway makes them (one to three
//! packets) and admits them, preprocess takes a slot and writes a tensor, infer reads it and writes a result, tx writes
//! the reply, rx-gateway takes the frame apart. This process is the supervisor: it kills a stage at a random moment,
//! sweeps, and activates the next incarnation. Time and again everything is stopped and accounted for: each buffer and
//! each slot in exactly one place, each frame finished once or in flight.
//!
//! `make soak SECONDS=60`; `SOAK_SEED` repeats the random choices (not the instants at which they fall). Exit code 1 if a buffer is
//! missing or doubled, if a stage ends by itself, if frames stop moving, or if 60 s or more brought fewer than 10 000
//! kills a minute.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_types, reason = "shared words come from `arena::sync`")]

mod audit;
mod campaign;
mod frames;
mod gateway;
mod kills;
mod life;
mod middle;
mod process;
mod report;
mod supervisor;
mod world;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a minute must bring.
const KILLS_PER_MINUTE: u64 = 10_000;

fn number(variable: &str) -> Result<Option<u64>, String> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| format!("{variable}={text}: a whole number is wanted"))
}

fn run() -> Result<(), String> {
    let seconds = number("SECONDS")?.unwrap_or(60);
    let by_clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
    let seed = number("SOAK_SEED")?.unwrap_or_else(by_clock);
    println!("soak: {seconds} s, SOAK_SEED={seed}");
    let mut supervisor = supervisor::Supervisor::start(seed)?;
    let ended = supervisor.soak(Duration::from_secs(seconds)).and_then(|()| supervisor.drain_and_account());
    let required = KILLS_PER_MINUTE * seconds / 60;
    let enough = supervisor.report.print(seconds, required);
    ended?;
    // A short soak beside other tests may be slow; one that kills hardly anybody proves nothing.
    let least = if seconds >= 60 { required } else { required / 5 };
    if !enough && supervisor.report.kills() < least {
        return Err(format!("fewer than {least} kills; the machine is too slow, or something else runs on it"));
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("soak FAILED: {why}");
            ExitCode::FAILURE
        }
    }
}
