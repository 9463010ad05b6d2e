//! The protocol's scenarios, written once and run by plain threads, loom, shuttle, AddressSanitizer and valgrind.
//!
//! | command | engine |
//! |---|---|
//! | `make threads` | plain threads: `--features simulated-death` |
//! | `make loom` | loom: `RUSTFLAGS="--cfg loom"` |
//! | `make shuttle` | shuttle, random and PCT schedules: `RUSTFLAGS="--cfg shuttle"` |
//! | `make sanitize` | plain threads under AddressSanitizer, and under valgrind |
//!
//! Arguments: parts of scenarios' names; `--fail-fast` (the shortest first, up to the first failure). Each scenario says how many executions it made and how many
//! deaths it died. What each engine is known to miss: docs/decisions/0007-proof.md.

#![cfg(any(loom, shuttle, feature = "simulated-death"))]
#![allow(
    clippy::disallowed_types,
    reason = "counters of the test itself; the scenarios' words come from `arena::sync`"
)]

mod deaths;
mod doorbell;
mod engine;
mod flow;
mod frames;
mod replace;
mod rig;

use engine::Explored;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

type Scenario = (&'static str, fn() -> Explored);

macro_rules! scenarios {
    ($($module:ident: $($name:ident)*;)*) => {
        &[$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name),)*)*]
    };
}

/// The longest first, so that they do not run alone at the end.
const SCENARIOS: &[Scenario] = scenarios! {
    frames: slots_are_attached a_frame_is_dissolved a_frame_is_admitted a_frame_goes_home;
    replace: a_standby_takes_over;
    deaths: the_producer_dies the_consumer_of_batches_dies the_consumer_of_single_buffers_dies
        the_successor_dies_over_its_recovery_ring the_supervisor_dies a_late_sweep_leaves_the_successor_alone
        claims_of_earlier_incarnations_are_swept claims_of_earlier_incarnations_are_taken_over;
    flow: push_and_pop a_batch a_full_ring an_empty_ring many_laps the_end_after_many_laps a_second_push_is_poison
        a_stale_entry_is_poison a_damaged_lap_is_stepped_over an_index_out_of_range_is_poison;
    replace: parked_comes_after_every_commit a_standby_is_numbered_at_its_activation attaching_writes_nothing;
    frames: a_slot_that_went_home_is_nobodys a_journal_line_is_whole;
    doorbell: no_commit_is_slept_over no_room_is_slept_over;
};

fn main() -> ExitCode {
    let (options, names): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|a| a.starts_with('-'));
    let fail_fast = options.iter().any(|o| o == "--fail-fast");
    let mut chosen: Vec<_> = SCENARIOS
        .iter()
        .filter(|(name, _)| names.is_empty() || names.iter().any(|n| name.contains(n.as_str())))
        .collect();
    if fail_fast {
        chosen.reverse();
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (stop, total) = (AtomicBool::new(false), Mutex::new(Explored::default()));
    // Models run one to a core; scenarios of real threads have the machine to themselves.
    let workers = if cfg!(any(loom, shuttle)) { std::thread::available_parallelism().map_or(1, Into::into) } else { 1 };
    let work = || {
        while !stop.load(Ordering::Relaxed)
            && let Some((name, scenario)) = chosen.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let begin = Instant::now();
            let Ok(explored) = std::panic::catch_unwind(scenario) else {
                println!("{name}: FAILED");
                failed.fetch_add(1, Ordering::Relaxed);
                stop.fetch_or(fail_fast, Ordering::Relaxed);
                continue;
            };
            let Explored { executions, deaths } = explored;
            println!("{name}: {executions} executions, {deaths} deaths, {:.1} s", begin.elapsed().as_secs_f64());
            let mut total = total.lock().expect("no panic while it is held");
            *total = *total + explored;
        }
    };
    std::thread::scope(|s| (0..workers).for_each(|_| drop(s.spawn(work))));
    let (Explored { executions, deaths }, failed) =
        (*total.lock().expect("no panic while it is held"), failed.load(Ordering::Relaxed));
    println!(
        "{}: {} scenarios, {executions} executions, {deaths} deaths, {failed} failed",
        engine::ENGINE,
        chosen.len()
    );
    if failed == 0 && !chosen.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
